"""``graph`` on the command line."""

from __future__ import annotations

import os
import threading
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
    assert (result.exit_code, result.stderr) == (0, "Read 2 nodes, 1 relationships and 0 vectors.\n")
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


def test_vectors_go_with_a_graph(run_graph, run_on: Callable, tmp_path: Path) -> None:  # type: ignore[no-untyped-def, type-arg]
    vector = tmp_path / "vector.jsonl"
    vector.write_text('{"vector": {"node_id": "bob", "float32": [1, 2, 3], "metadata": {"k": 1}}}')
    assert run_graph("graph", "import", "graph", str(vector)).stderr == "Read 0 nodes, 0 relationships and 1 vectors.\n"
    file = tmp_path / "g.jsonl"
    run_graph.ok("graph", "export", "graph", str(file))
    # A new graph has vectors as the file has them, whether a line says so or not; --dimensions says it otherwise.
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    for number, path in enumerate((file, bare)):
        other = run_on(f"other{number}.db")
        other.ok("graph", "import", "copy", str(path))
        assert other.lines("graph", "export", "copy", "-") == run_graph.lines("graph", "export", "graph", "-")
    refused = run_on("third.db")("graph", "import", "copy", str(file), "--dimensions", "4")
    assert (refused.exit_code, "line 1" in refused.stderr) == (2, True)
    said = run_graph("graph", "export", "graph", str(tmp_path / "g.graphml")).stderr
    assert said.splitlines() == [
        "Wrote 2 nodes, 1 relationships and 0 vectors.",
        "1 vectors stayed behind: only jsonl carries them.",
    ]


def test_a_graph_is_read_from_a_pipe(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(LINES,))
    writer.start()
    run.ok("graph", "import", "graph", str(pipe), "--format", "jsonl")
    writer.join()
    assert run.lines("graph", "stats", "graph")[0]["nodes"] == 2


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
