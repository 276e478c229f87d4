"""The example runs, and does what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_two_agents_share_their_lessons(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "shared_lessons.py"), str(tmp_path / "lessons.db")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert sum(line.startswith("bob hears from ada: ") for line in lines) == 3
    assert "bob tries: quote the path" in lines
    assert lines[-1].startswith("it helped: energy 0.80 -> 0.9")
