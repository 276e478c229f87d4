"""Corners of the graph that once were wrong, one test each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidInput
from mycelia_storage.layers.graph import Graph, Node, Relationship

Fill = Callable[..., Graph]


def test_a_node_restored_and_deleted_in_one_call_keeps_its_vector_out_of_searches(
    graph: Graph, storage: StorageBackend
) -> None:
    graph.store_node(Node("a"))
    graph.store_vector("a", [1, 2, 3])
    graph.delete_node("a", soft=True)
    graph.store_many([Node("a"), Node("a", deleted=True)])
    assert graph.search_vectors([1, 2, 3]) == []
    assert storage.list(namespace="graph/resting") == ["a"]
    graph.restore_node("a")
    assert [hit.id for hit in graph.search_vectors([1, 2, 3])] == ["a"]


def test_a_node_said_twice_in_one_call_is_labelled_as_said_last(graph: Graph, storage: StorageBackend) -> None:
    graph.store_node(Node("a"))
    graph.store_vector("a", [1, 2, 3])
    graph.store_many([Node("a", tags=("x",), deleted=True), Node("a", tags=("y",), deleted=True)])
    entry = storage.get_entry("a", namespace="graph/resting")
    assert entry is not None
    assert entry.metadata["tags"] == ["y"]
    graph.restore_node("a")
    assert graph.find_by_vector([1, 2, 3], tag="x") == []
    assert [hit.node.id for hit in graph.find_by_vector([1, 2, 3], tag="y")] == ["a"]


def test_merging_keeps_what_was_merged_into_each_before(graph: Graph) -> None:
    graph.store_many([Node(id) for id in "abcd"])
    graph.merge_nodes("a", ["b"])
    graph.merge_nodes("c", ["d"])
    graph.store_node(Node("e"))
    assert graph.merge_nodes("e", ["a", "c"]).node.metadata == {"merged_from": ["b", "d", "a", "c"]}


@pytest.mark.parametrize("field", [5, "abc", None, {"a": 1}, [1]])
def test_metadata_named_as_that_of_a_merge_stops_no_merge(graph: Graph, field: object) -> None:
    graph.store_many([Node("a", metadata={"merged_from": field}), Node("b")])
    assert graph.merge_nodes("a", ["b"]).node.metadata == {"merged_from": ["b"]}


def test_relationships_that_say_the_same_in_another_order_are_merged(graph: Graph) -> None:
    edges = [
        Relationship("a", "o", "t", {"x": 1, "y": 2}, id="1"),
        Relationship("b", "o", "t", {"y": 2, "x": 1}, id="2"),
    ]
    graph.store_many([Node("a"), Node("b"), Node("o")], edges)
    merged = graph.merge_nodes("a", ["b"])
    assert (merged.moved, merged.dropped) == (0, 1)


def test_a_hidden_relationship_can_be_ended(fill: Fill) -> None:
    graph = fill("ab", "ab")
    graph.delete_node("b", soft=True)
    assert graph.end_relationship("ab", 5).valid_to == 5
    assert graph.load_relationships("a") == []
    graph.restore_node("b")
    assert [one.valid_to for one in graph.load_relationships("a")] == [5]


def test_a_weight_beyond_floats_is_refused(fill: Fill) -> None:
    graph = fill("ab")
    with pytest.raises(InvalidInput):
        graph.store_relationship(Relationship("a", "b", "next", weight=10**400))


@pytest.mark.parametrize("tag", [None, 5, "", "\ud800", "x" * 641])
def test_what_is_no_tag_is_no_question(graph: Graph, tag: object) -> None:
    with pytest.raises(InvalidInput):
        graph.list_nodes_by_tag(tag)  # type: ignore[arg-type]


def test_a_cursor_of_another_call_is_refused(fill: Fill) -> None:
    graph = fill("abc", "ab", "ac", "ba", "bc")
    cursor = graph.neighbours("a", limit=1).cursor
    assert cursor is not None
    assert [one.node.id for one in graph.neighbours("a", cursor=cursor).neighbours] == ["c"]
    for other in ({"node_id": "b"}, {"node_id": "a", "direction": "in"}, {"node_id": "a", "types": "x"}):
        with pytest.raises(InvalidInput, match="cursor"):
            graph.neighbours(cursor=cursor, **other)  # type: ignore[arg-type]
