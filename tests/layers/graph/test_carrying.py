"""Graphs as files: JSON lines, node-link JSON, GraphML; as Mermaid, DOT and a picture."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import networkx
import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.errors import InvalidInput
from mycelia_storage.layers.graph import Graph, Node, NodeNotFound, Relationship, StorageConfig, VectorConfig
from mycelia_storage.layers.graph.carrying import export, load, store_all
from mycelia_storage.layers.graph.drawing import draw, to_dot, to_mermaid
from mycelia_storage.layers.graph.networks import from_networkx, to_networkx


def empty_graph() -> Graph:
    graph = Graph(MemoryStorageBackend(), StorageConfig(vector_config=VectorConfig(dimensions=3)))
    graph.initialize()
    return graph


def some_graph(graph: Graph) -> Graph:
    graph.store_many(
        [
            Node("a/1", {"name": 'Ada "<b>" \\', "n": [1, None]}, "person", ("x", "%")),
            Node("b", None, None, (), {"m": 1}),
            Node("c", "text"),
        ],
        [
            Relationship("a/1", "b", "knows", {"since": 2020}, id="1", weight=0.5, valid_from=-5, valid_to=5),
            Relationship("a/1", "b", "knows", id="2"),
            Relationship("b", "b", "is", id="3"),
        ],
    )
    return graph


def content(graph: Graph) -> tuple[list[Node], list[Relationship]]:
    return list(graph.nodes(deleted=True)), list(graph.relationships())


@pytest.mark.parametrize("name", ["g.jsonl", "g.json", "g.graphml"])
def test_a_file_carries_the_whole_graph(graph: Graph, tmp_path: Path, name: str) -> None:
    some_graph(graph)
    path = tmp_path / name
    assert export(graph, path) == (3, 3, 0)
    with pytest.raises(FileExistsError):
        export(graph, path)
    other = empty_graph()
    assert load(other, path) == (3, 3, 0)
    assert content(other) == content(graph)
    assert load(other, path) == (3, 3, 0)
    assert content(other) == content(graph)


def test_json_lines_carry_soft_deleted_nodes(graph: Graph) -> None:
    some_graph(graph)
    graph.delete_node("b", soft=True)
    stream = io.BytesIO()
    assert export(graph, stream, "jsonl") == (3, 3, 0)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [next(iter(line)) for line in lines] == ["node"] * 3 + ["relationship"] * 3


def test_a_soft_deleted_node_comes_back_with_its_hidden_relationships(tmp_path: Path) -> None:
    first = some_graph(empty_graph())
    first.delete_node("b", soft=True)
    path = tmp_path / "g.jsonl"
    export(first, path)
    second = empty_graph()
    load(second, path)
    assert content(second) == content(first)
    assert second.load_relationships("a/1") == []
    second.restore_node("b")
    assert len(second.load_relationships("a/1")) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1"),
        ('{"node": {"id": "a"}}\n{"edge": {}}', "line 2"),
        ('{"node": {"id": ""}}', "line 1"),
        ('{"node": {"id": "a", "colour": 1}}', "line 1"),
        ('{"relationship": {"from_node": "a"}}', "line 1"),
        ("[]", "line 1"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=said):
        load(empty_graph(), path)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    graph = empty_graph()
    entity = '<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "b">]><graphml>&a;</graphml>'
    files = (("a.json", "{"), ("b.json", "[]"), ("c.graphml", "<x"), ("d.graphml", entity), ("e.xyz", ""))
    for name, text in files:
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(InvalidInput):
            load(graph, path)
    path = tmp_path / "f.jsonl"
    path.write_text('{"relationship": {"from_node": "a", "to_node": "b", "relation_type": "t"}}')
    with pytest.raises(NodeNotFound, match=r"^line 1: no node 'a'"):
        load(graph, path)
    assert graph.list_node_ids() == []


def test_any_graph_of_networkx_is_taken() -> None:
    graph = empty_graph()
    club = networkx.karate_club_graph()
    assert store_all(graph, from_networkx(club)) == (34, 156, 0)
    found = graph.load_node("0")
    assert found is not None
    assert found.data == {"club": "Mr. Hi"}
    path = graph.shortest_path("15", "16")
    assert path is not None
    assert path.cost == networkx.shortest_path_length(club, 15, 16)
    light = graph.shortest_path("15", "16", weighted=True)
    assert light is not None
    assert light.cost == networkx.shortest_path_length(club, 15, 16, weight="weight")
    network = networkx.DiGraph()
    network.add_edge("a", "b", weight=-1)
    with pytest.raises(InvalidInput, match="weight"):
        store_all(graph, from_networkx(network))
    assert to_networkx(graph.subgraph("0", hops=1)).number_of_nodes() == 17


def test_labels_stay_labels() -> None:
    graph = empty_graph()
    evil = '"]; click n0 call x() <script> --> \n"; } \\" end'
    graph.store_many([Node("a", {"name": evil}), Node(evil[:20])], [Relationship("a", evil[:20], evil[:30], id="1")])
    part = graph.subgraph("a")
    mermaid, dot = to_mermaid(part), to_dot(part)
    assert mermaid.count("\n") == 4
    assert mermaid.count('"') == 6
    assert "<script>" not in mermaid + dot
    assert dot.count("\n") == 6
    assert dot.count('"') == 2 * (2 * 2 + 3)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    graph = some_graph(empty_graph())
    graph.store_node(Node("b", {"name": "costs $5 and $6"}))
    part = graph.subgraph("a/1")
    for name, begins in (("p.png", b"\x89PNG"), ("p.svg", b"<?xml")):
        draw(part, tmp_path / name, title="Ada $ and others")
        assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize("name", ["g.jsonl", "g.json", "g.graphml"])
def test_an_export_that_fails_leaves_no_file(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = some_graph(empty_graph())
    path = tmp_path / name
    with monkeypatch.context() as failing:

        def fail(_: Graph) -> Iterator[Relationship]:
            raise KeyboardInterrupt

        failing.setattr(Graph, "relationships", fail)
        with pytest.raises(KeyboardInterrupt):
            export(graph, path)
    assert not path.exists()
    export(graph, path)
    held = path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        export(graph, path)
    assert path.read_bytes() == held
