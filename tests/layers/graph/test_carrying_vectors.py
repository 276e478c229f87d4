"""Vectors in JSON lines: the same bytes come back, on every backend; what does not fit is refused by its line."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import numpy
import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidInput, InvalidValue
from mycelia_storage.layers.graph import (
    Graph,
    Node,
    NodeNotFound,
    NodeVector,
    Relationship,
    StorageConfig,
    VectorConfig,
    carrying,
)
from mycelia_storage.layers.graph.carrying import export, load
from mycelia_storage.layers.graph.lines import declared_vectors

from .conftest import CONFIG

# The smallest and the largest number, one that is not normal, minus zero, and two that decimals cut short would change.
HARD = numpy.array([[1e-45, -3.4028235e38, 1.1754942e-38], [-0.0, 0.1, 3.1415927]], dtype="<f4")
NODES = ('{"node": {"id": "a"}}', '{"node": {"id": "b"}}', '{"node": {"id": "c"}}')


def some_graph(graph: Graph) -> Graph:
    graph.store_many(
        [Node("a/1", {"n": 1}, "person", ("x", "%")), Node("b"), Node("c"), Node("d")],
        [Relationship("a/1", "b", "knows", id="1")],
        vectors=[
            ("c", HARD[1], {"deep": [{"": None}]}),
            ("a/1", HARD[0], {}),
            ("b", [1, 2, 3], {"node_type": "mine", "tags": 5}),
        ],
    )
    graph.delete_node("b", soft=True)
    return graph


def copy_of(graph: Graph, config: StorageConfig = CONFIG) -> Graph:
    """An empty graph in the same storage."""
    copy = Graph(graph.storage, config, name="copy")
    copy.initialize()
    return copy


def rows(graph: Graph, table: str) -> list[tuple[str, Any, Any]]:
    """What a table of a graph holds, without times."""
    entries = graph.storage.scan(namespace=f"{graph.name}/{table}")
    return [(entry.key, entry.value, entry.metadata) for entry in entries]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


def empty_graph(dimensions: int = 3, **fields: Any) -> Graph:
    config = StorageConfig(vector_config=VectorConfig(dimensions), **fields)
    graph = Graph(MemoryStorageBackend(), config)
    graph.initialize()
    return graph


def test_vectors_come_back_bit_by_bit(graph: Graph, tmp_path: Path) -> None:
    some_graph(graph)
    path = tmp_path / "g.jsonl"
    assert export(graph, path) == (4, 1, 3)
    copy = copy_of(graph)
    assert load(copy, path) == (4, 1, 3)
    for table in ("vectors", "resting", "texts", "hidden"):
        assert rows(copy, table) == rows(graph, table)
    assert [(key, value) for key, value, _ in rows(copy, "vectors")] == [
        ("a/1", HARD[0].tobytes()),
        ("c", HARD[1].tobytes()),
    ]
    # The words and numbers of the caller's metadata are the caller's, whatever the names.
    assert list(copy.vectors(deleted=True))[1] == NodeVector(
        "b", numpy.array([1, 2, 3], dtype="<f4").tobytes(), {"node_type": "mine", "tags": 5}
    )
    assert load(copy, path) == (4, 1, 3)
    assert rows(copy, "vectors") == rows(graph, "vectors")


def test_a_vector_that_rests_is_found_when_its_node_is_restored(graph: Graph, tmp_path: Path) -> None:
    export(some_graph(graph), tmp_path / "g.jsonl")
    copy = copy_of(graph)
    load(copy, tmp_path / "g.jsonl")
    assert [hit.id for hit in copy.search_vectors([1, 2, 3])] == ["c", "a/1"]
    assert copy.load_vector("b") is None
    assert copy.restore_node("b")
    assert [(hit.id, hit.score) for hit in copy.search_vectors([1, 2, 3], 1)] == [("b", 1.0)]
    assert copy.load_vector("b") == [1, 2, 3]


def test_the_lines_are_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    export(some_graph(empty_graph()), path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == [
        "vector_config",
        *["node"] * 4,
        "relationship",
        *["vector"] * 3,
    ]
    assert lines[0]["vector_config"]["dimensions"] == 3
    last = lines[-1]["vector"]
    assert last == {
        "node_id": "c",
        "float32": base64.b64encode(HARD[1].tobytes()).decode(),
        "metadata": {"deep": [{"": None}]},
    }
    assert declared_vectors(path) == VectorConfig(3)


def test_a_file_from_before_vectors_is_read(tmp_path: Path) -> None:
    graph = empty_graph()
    graph.store_many([Node("a")], vectors=[("a", [1, 2, 3], {})])
    edge = '{"relationship": {"from_node": "a", "to_node": "b", "relation_type": "t", "id": "1"}}'
    path = write(tmp_path / "g.jsonl", *NODES, edge)
    assert declared_vectors(path) is None
    assert load(graph, path) == (3, 1, 0)
    assert graph.load_vector("a") == [1, 2, 3]
    other = empty_graph()
    other.store_many([Node("a"), Node("b")], [Relationship("a", "b", "t")])
    export(other, tmp_path / "h.jsonl")
    assert [next(iter(json.loads(line))) for line in (tmp_path / "h.jsonl").read_text().splitlines()] == [
        *["node"] * 2,
        "relationship",
    ]


def test_numbers_made_by_hand_are_read(tmp_path: Path) -> None:
    graph = empty_graph()
    path = write(tmp_path / "g.jsonl", NODES[0], '{"vector": {"node_id": "a", "float32": [0.1, 2, -0.0]}}')
    assert declared_vectors(path) == VectorConfig(3)
    assert load(graph, path) == (1, 0, 1)
    assert graph.storage.get("a", namespace="graph/vectors") == numpy.array([0.1, 2, -0.0], dtype="<f4").tobytes()


def test_other_dimensions_are_refused_before_anything_is_stored(graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    export(some_graph(graph), path)
    copy = copy_of(graph, StorageConfig(vector_config=VectorConfig(dimensions=4)))
    with pytest.raises(InvalidValue, match=r"line 1\b.* 3 dimensions.* 4\b"):
        load(copy, path)
    without = write(tmp_path / "h.jsonl", *path.read_text().splitlines()[1:])
    with pytest.raises(InvalidValue, match=r"line 6\b.*'a/1'.* 3 dimensions.* 4 dimensions"):
        load(copy, without)
    assert copy.get_stats()[:5] == (0, 0, 0, 0, 0)


def test_a_vector_of_a_node_that_is_missing_names_its_line(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "BATCH", 2)
    vector = '{{"vector": {{"node_id": "{}", "float32": [1, 2, 3]}}}}'
    lines = (*NODES, vector.format("a"), "", vector.format("b"), vector.format("ghost"))
    with pytest.raises(NodeNotFound, match=r"^line 7: no node 'ghost'"):
        load(graph, write(tmp_path / "g.jsonl", *lines))
    # The first two batches of two stay, nothing of the third.
    assert graph.list_node_ids() == ["a", "b", "c"]
    assert [vector.node_id for vector in graph.vectors()] == ["a"]


@pytest.mark.parametrize("kind", ["relationship", "vector"])
def test_the_line_that_is_named_is_the_one_that_was_refused(tmp_path: Path, kind: str) -> None:
    edge = '{"relationship": {"from_node": "ghost", "to_node": "a", "relation_type": "t"}}'
    vector = '{"vector": {"node_id": "ghost", "float32": [1, 2, 3]}}'
    path = write(tmp_path / "g.jsonl", NODES[0], edge, vector)
    graph = empty_graph(enable_foreign_keys=kind == "relationship")
    with pytest.raises(NodeNotFound, match=f"^line {2 if kind == 'relationship' else 3}: "):
        load(graph, path)
    assert graph.get_stats()[:5] == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "line",
    [
        '{"vector": {"node_id": "a"}}',
        '{"vector": {"node_id": "a", "float32": "AAA"}}',
        '{"vector": {"node_id": "a", "float32": "AAAAAAAAAAAAAAAAé"}}',
        '{"vector": {"node_id": "a", "float32": ""}}',
        '{"vector": {"node_id": "a", "float32": "AAAAAAAAAAAAAA=="}}',
        '{"vector": {"node_id": "a", "float32": "AADAfwAAgD8AAIA/"}}',  # NaN
        '{"vector": {"node_id": "a", "float32": "AAAAAAAAAAAAAAAA"}}',  # zeros have no direction
        '{"vector": {"node_id": "a", "float32": [1, 2]}}',
        '{"vector": {"node_id": "a", "float32": [1, 2, "3"]}}',
        '{"vector": {"node_id": "a", "float32": [1, 2, true]}}',
        '{"vector": {"node_id": "a", "float32": [1, 2, 1e39]}}',
        '{"vector": {"node_id": "a", "float32": [1, 2, 1' + "0" * 400 + "]}}",
        '{"vector": {"node_id": 1, "float32": [1, 2, 3]}}',
        '{"vector": {"float32": [1, 2, 3]}}',
        '{"vector": {"node_id": "a", "float32": [1, 2, 3], "metadata": []}}',
        '{"vector": {"node_id": "a", "float32": [1, 2, 3], "colour": 1}}',
        '{"vector": [1, 2, 3]}',
        '{"vector_config": {"dimensions": 0}}',
        '{"vector_config": {"dimensions": 3, "metric": "near"}}',
        '{"vector_config": {"colour": 1}}',
        '{"vector_config": {}, "vector": {}}',
    ],
)
def test_bad_vectors_are_refused_by_their_line(tmp_path: Path, line: str) -> None:
    graph = empty_graph()
    with pytest.raises(InvalidInput, match=r"^line 2\b"):
        load(graph, write(tmp_path / "g.jsonl", NODES[0], line))
    assert graph.list_node_ids() == []


@pytest.mark.parametrize("name", ["g.json", "g.graphml"])
def test_files_of_other_programs_have_no_vectors(tmp_path: Path, name: str) -> None:
    graph = some_graph(empty_graph())
    assert export(graph, tmp_path / name) == (3, 0, 0)
    before = list(graph.vectors(deleted=True))
    load(graph, tmp_path / name)
    assert list(graph.vectors(deleted=True)) == before
    assert b"float32" not in (tmp_path / name).read_bytes()


def test_a_node_and_its_vector_are_one_write(graph: Graph) -> None:
    with pytest.raises(InvalidValue):
        graph.store_many([Node("a")], vectors=[("a", [1, 2], {})])
    with pytest.raises(NodeNotFound):
        graph.store_many([Node("a"), Node("b", deleted=True)], vectors=[("b", [1, 2, 3], {})])
    assert graph.load_node("a") is None
    graph.store_many([Node("a")], vectors=[("a", [1, 2, 3], {"k": 1})])
    assert [(hit.id, hit.metadata) for hit in graph.search_vectors([1, 2, 3])] == [("a", {"k": 1})]


def test_vectors_come_in_order_of_id_and_go_into_another_graph(graph: Graph, storage: StorageBackend) -> None:
    some_graph(graph)
    assert [vector.node_id for vector in graph.vectors()] == ["a/1", "c"]
    assert [vector.node_id for vector in graph.vectors(deleted=True)] == ["a/1", "b", "c"]
    copy = copy_of(graph)
    copy.store_many(graph.nodes())
    assert copy.store_vectors(graph.vectors()) == 2
    assert rows(copy, "vectors") == rows(graph, "vectors")
    assert storage.count(namespace="copy/resting") == 0


def test_a_file_wins_over_whatever_was_there(graph: Graph, tmp_path: Path) -> None:
    chosen = random.Random(20_261_121)

    def change(changed: Graph) -> None:
        for id in "abcdef":
            changed.store_node(Node(id, tags=(chosen.choice("xy"),)))
            if chosen.random() < 0.8:
                changed.store_vector(id, [chosen.random() for _ in range(3)], {"n": chosen.randrange(9)})
            if chosen.random() < 0.5:
                changed.delete_node(id, soft=True)

    copy = copy_of(graph)
    for number in range(4):
        change(graph)
        change(copy)
        for id in "abcdef":  # one that the file has no vector for keeps its own
            if id not in {vector.node_id for vector in graph.vectors(deleted=True)}:
                copy.delete_node(id)
        path = tmp_path / f"{number}.jsonl"
        export(graph, path)
        load(copy, path)
        for table in ("live", "tags", "vectors", "resting"):
            assert rows(copy, table) == rows(graph, table)
