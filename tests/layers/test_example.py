"""The example runs as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_runs() -> None:
    command = [sys.executable, "-W", "error", "examples/remember.py"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "hives behind the orchard" in lines[1]
    assert "physician gave me new tablets" in lines[5]
    assert lines[-1] == "Forgotten of Jon: 4 - left: 3"
