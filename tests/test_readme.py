"""The README's examples run, and its claims about commands and files hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_a_python_example_runs(number: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXAMPLES[number]],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_shell_examples_run(tmp_path: Path) -> None:
    commands = [line for line in README.splitlines() if "mycelia-storage " in line and "--db agent.db" in line]
    assert len(commands) == 4
    for line in commands:
        _, _, arguments = line.partition("mycelia-storage ")
        arguments = arguments.replace("examples/", f"{ROOT}/examples/")
        done = subprocess.run(
            f"{sys.executable} -m mycelia_storage.cli {arguments}",
            shell=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, line + done.stderr
        assert done.stdout or "load" in line


def test_the_files_to_read_exist() -> None:
    section = README.split("## Reading the source")[1]
    named = re.findall(r"^\d\. `([^`]+)`", section, re.MULTILINE)
    assert len(named) == 9
    assert [name for name in named if not (ROOT / name).exists()] == []
