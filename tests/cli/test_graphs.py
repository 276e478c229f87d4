"""``graph`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

LINES = """{"node": {"id": "ada", "data": {"name": "Ada"}, "node_type": "person", "tags": ["x"]}}
{"node": {"id": "bob", "data": {"name": "Bob"}}}
{"relationship": {"from_node": "ada", "to_node": "bob", "relation_type": "knows", "id": "1", "valid_from": 5}}
"""


@pytest.fixture
def run_graph(run, tmp_path: Path):  # type: ignore[no-untyped-def]
    """The command line on a storage with a small graph."""
    file = tmp_path / "people.jsonl"
    file.write_text(LINES)
    result = run("graph", "import", "graph", str(file), "--dimensions", "3")
    assert (result.exit_code, result.stderr) == (0, "Read 2 nodes and 1 relationships.\n")
    return run


def test_a_graph_goes_in_and_out(run_graph, run_on: Callable, tmp_path: Path) -> None:  # type: ignore[no-untyped-def, type-arg]
    kinds = [next(iter(line)) for line in run_graph.lines("graph", "export", "graph", "-")]
    assert kinds == ["node", "node", "relationship"]
    for name in ("g.graphml", "g.json", "g.jsonl"):
        run_graph.ok("graph", "export", "graph", str(tmp_path / name))
        other = run_on(f"{name}.db")
        other.ok("graph", "import", "copy", str(tmp_path / name))
        assert other.lines("graph", "stats", "copy")[0]["relationships"] == 1
    assert run_graph("graph", "export", "graph", str(tmp_path / "g.json")).exit_code == 1
    assert run_graph.lines("graph", "stats", "graph")[0]["nodes"] == 2
    assert run_graph("graph", "export", "nothing", "-").exit_code == 1


def test_sql_on_the_command_line(run_graph) -> None:  # type: ignore[no-untyped-def]
    rows = run_graph.lines("graph", "sql", "graph", "SELECT id, node_type FROM nodes WHERE id = ?", "ada")
    assert rows == [{"id": "ada", "node_type": "person"}]
    refused = run_graph("graph", "sql", "graph", "DROP TABLE nodes")
    assert refused.exit_code == 2
    assert "Error" in refused.stderr
    assert "more than 1" in run_graph("graph", "sql", "graph", "SELECT id FROM nodes", "--limit", "1").stderr


def test_drawings(run_graph, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert '"Ada"' in run_graph.ok("graph", "mermaid", "graph", "ada")
    assert '"bob" [label="Bob"]' in run_graph.ok("graph", "dot", "graph", "ada", "--as-of", "5")
    assert "Bob" not in run_graph.ok("graph", "dot", "graph", "ada", "--as-of", "4")
    picture = tmp_path / "p.svg"
    run_graph.ok("graph", "picture", "graph", "ada", str(picture))
    assert b"<svg" in picture.read_bytes()
    assert run_graph("graph", "picture", "graph", "ada", "p.exe").exit_code == 2
    assert run_graph("graph", "dot", "graph", "ghost").exit_code == 1


def test_a_components_migrations(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "schema"
    (folder / "sqlite").mkdir(parents=True)
    scripts = {
        "0001_notes.up": "CREATE TABLE your_org_notes (id INTEGER PRIMARY KEY, text TEXT);",
        "0001_notes.down": "DROP TABLE your_org_notes;",
        "0002_more.up": "CREATE INDEX your_org_notes_text ON your_org_notes (text);",
        "0002_more.down": "DROP INDEX your_org_notes_text;",
    }
    for name, sql in scripts.items():
        (folder / "sqlite" / f"{name}.sql").write_text(sql)
    of = ("--component", "@your-org/", "--migrations", str(folder))
    run.ok("set", "n", "k", "1")
    assert [line["state"] for line in run.lines("migrate", "status", *of)] == ["pending", "pending"]
    assert json.loads(run.ok("migrate", "up", *of, "--json")) == [1, 2]
    assert json.loads(run.ok("migrate", "down", "--to", "1", *of, "--json")) == [2]
    refused = run("migrate", "down", "--to", "0", *of)
    assert refused.exit_code == 1
    assert json.loads(run.ok("migrate", "down", "--to", "0", "--allow-destructive", *of, "--json")) == [1]
    assert [line["state"] for line in run.lines("migrate", "status")][:1] == ["applied"]
    assert run("migrate", "status", "--component", "x").exit_code == 2


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
