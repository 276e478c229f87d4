"""The command line called in this process, on a database file of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mycelia_storage.cli import cli


class CommandLine:
    """Calls commands with ``--db`` set; ``db`` is the file."""

    def __init__(self, db: Path) -> None:
        self.db = db

    def __call__(self, *arguments: str, input: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, list(arguments), input=input, env={"MYCELIA_DB": str(self.db)})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *arguments: str, input: str | bytes | None = None) -> str:
        """The output of a command that must succeed."""
        result = self(*arguments, input=input)
        assert result.exit_code == 0, result.output
        return result.stdout

    def lines(self, *arguments: str) -> list[Any]:
        """The JSON lines that a command prints."""
        return [json.loads(line) for line in self.ok(*arguments).splitlines()]


@pytest.fixture
def run(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "agent.db")


@pytest.fixture
def run_on(tmp_path: Path) -> Callable[[str], CommandLine]:
    return lambda name: CommandLine(tmp_path / name)


@pytest.fixture
def garden() -> Path:
    """The example file of the repository."""
    return Path(__file__).parents[2] / "examples" / "garden.jsonl"
