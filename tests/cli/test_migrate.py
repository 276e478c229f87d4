"""``migrate`` on the command line: the library's own schema beside those of plug-ins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = {
    "0001_notes.up": "CREATE TABLE your_org_notes (id INTEGER PRIMARY KEY, text TEXT);",
    "0001_notes.down": "DROP TABLE your_org_notes;",
    "0002_more.up": "CREATE INDEX your_org_notes_text ON your_org_notes (text);",
    "0002_more.down": "DROP INDEX your_org_notes_text;",
}


@pytest.fixture
def component(tmp_path: Path) -> tuple[str, ...]:
    """The options that name a plug-in with two migrations."""
    folder = tmp_path / "schema"
    for dialect in ("sqlite", "postgres"):
        (folder / dialect).mkdir(parents=True)
        for name, sql in SCRIPTS.items():
            (folder / dialect / f"{name}.sql").write_text(sql)
    return ("--component", "@your-org/", "--migrations", str(folder))


@pytest.fixture(params=["sqlite", "postgres"])
def line(request: pytest.FixtureRequest, run_on: Callable[[str], Any]) -> Iterator[Any]:
    """The command line on a storage of each SQL backend, with an entry in it."""
    found = run_on("agent.db")
    if request.param == "postgres":
        import psycopg

        address = request.getfixturevalue("postgres_dsn")
        found.db = f"{address}&schema=by_hand"
    found.ok("set", "n", "k", "1")
    yield found
    if request.param == "postgres":
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("SET client_min_messages = error")
            connection.execute("DROP SCHEMA by_hand CASCADE")


def states(lines: list[Any]) -> list[tuple[str, int, str, str]]:
    """What matters of a status."""
    return [(one["component"], one["version"], one["name"], one["state"]) for one in lines]


def test_a_components_migrations(line: Any, component: tuple[str, ...]) -> None:
    assert [one["state"] for one in line.lines("migrate", "status", *component)] == ["pending", "pending"]
    assert json.loads(line.ok("migrate", "up", *component, "--json")) == [1, 2]
    assert json.loads(line.ok("migrate", "down", "--to", "1", *component, "--json")) == [2]
    refused = line("migrate", "down", "--to", "0", *component)
    assert refused.exit_code == 1
    assert json.loads(line.ok("migrate", "down", "--to", "0", "--allow-destructive", *component, "--json")) == [1]
    assert [one["state"] for one in line.lines("migrate", "status")][:1] == ["applied"]
    assert line("migrate", "status", "--component", "x").exit_code == 2


def test_status_shows_the_components_that_the_journal_knows(line: Any, component: tuple[str, ...]) -> None:
    own = states(line.lines("migrate", "status"))
    assert {(name, state) for name, _, _, state in own} == {("core", "applied")}
    line.ok("migrate", "up", "--to", "1", *component)
    everything = line.lines("migrate", "status")
    assert states(everything) == [*own, ("your_org", 1, "notes", "recorded")]
    chosen = line.lines("migrate", "status", *component)
    # With the files at hand more is known, and of this component alone.
    assert states(chosen) == [("your_org", 1, "notes", "applied"), ("your_org", 2, "more", "pending")]
    assert everything[-1]["applied_at"] == chosen[0]["applied_at"]
    line.ok("migrate", "down", "--to", "0", "--allow-destructive", *component)
    assert states(line.lines("migrate", "status")) == own


def test_the_table_says_what_recorded_means(
    run: Any, component: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mycelia_storage.cli import migrate

    monkeypatch.setattr(migrate, "wants_json", lambda as_json: as_json)
    run.ok("set", "n", "k", "1")
    alone = run("migrate", "status")
    assert (alone.exit_code, alone.stderr) == (0, "")
    run.ok("migrate", "up", *component)
    both = run("migrate", "status")
    rows = [row.split() for row in both.stdout.splitlines() if row.strip()]
    assert rows[0] == ["component", "version", "name", "state", "applied"]
    assert [row[:1] + row[3:4] for row in rows if row[0] in ("core", "your_org")] == [
        *[["core", "applied"]] * 3,
        *[["your_org", "recorded"]] * 2,
    ]
    assert "--migrations" in both.stderr


def test_a_component_is_never_the_library(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "schema" / "sqlite").mkdir(parents=True)
    (tmp_path / "schema" / "sqlite" / "0001_x.up.sql").write_text("CREATE TABLE x (a INTEGER);")
    run.ok("set", "n", "k", "1")
    for name in ("core", "@core/", "storage-entries"):
        refused = run("migrate", "up", "--component", name, "--migrations", str(tmp_path / "schema"))
        assert refused.exit_code == 1
        assert "reserved" in refused.stderr


def test_going_back_to_nothing_has_to_be_allowed(run) -> None:  # type: ignore[no-untyped-def]
    run.ok("set", "n", "k", "1")
    refused = run("migrate", "down", "--to", "0")
    assert refused.exit_code == 2
    assert "--allow-destructive" in refused.stderr
    run.ok("migrate", "down", "--to", "0", "--dry-run")
    assert run.ok("get", "n", "k").strip() == "1"
    run.ok("migrate", "down", "--to", "0", "--allow-destructive")
    run.ok("migrate", "up")
    assert run("get", "n", "k").exit_code == 1
