"""Relationships: integrity, parallel ones, loops, pages of neighbours, time, merging."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidInput
from mycelia_storage.layers.graph import (
    Graph,
    Node,
    NodeNotFound,
    Relationship,
    RelationshipNotFound,
    StorageConfig,
    VectorConfig,
)

Fill = Callable[..., Graph]


def test_a_relationship_comes_back_as_it_was_stored(fill: Fill) -> None:
    graph = fill("ab")
    stored = graph.store_relationship(Relationship("a", "b", "knows", {"since": 2020}, created_by="p"))
    assert graph.load_relationship(stored.id) == stored
    assert (stored.data, stored.created_by, stored.weight) == ({"since": 2020}, "p", 1)
    assert stored.created_at == stored.recorded_at is not None
    assert graph.load_relationships("a") == graph.load_relationships("b") == [stored]
    assert graph.load_relationships("a", direction="in") == []
    assert graph.load_relationship("x") is None


def test_no_relationship_leads_to_a_missing_node(fill: Fill) -> None:
    graph = fill("a")
    for ends in (("a", "ghost"), ("ghost", "a")):
        with pytest.raises(NodeNotFound, match="ghost"):
            graph.store_relationship(Relationship(*ends, "knows"))
    assert list(graph.relationships()) == []


def test_without_foreign_keys_it_may(storage: StorageBackend) -> None:
    config = StorageConfig(enable_foreign_keys=False, vector_config=VectorConfig(dimensions=3))
    graph = Graph(storage, config)
    graph.initialize()
    graph.store_relationship(Relationship("a", "ghost", "knows", id="1"))
    assert [one.id for one in graph.load_relationships("a")] == ["1"]
    assert graph.neighbours("a").neighbours == []
    assert graph.reach("a") == {"a": 0, "ghost": 1}
    graph.store_node(Node("ghost"))
    assert [one.node.id for one in graph.neighbours("a").neighbours] == ["ghost"]
    graph.delete_node("ghost", soft=True)
    graph.store_relationship(Relationship("b", "ghost", "knows", id="2"))
    assert graph.load_relationships("b") == []
    graph.restore_node("ghost")
    assert [one.id for one in graph.load_relationships("ghost")] == ["1", "2"]


def test_parallel_relationships_and_loops_are_their_own(fill: Fill) -> None:
    graph = fill("ab", "ab")
    graph.store_relationship(Relationship("a", "b", "next", id="again"))
    graph.store_relationship(Relationship("a", "a", "next", id="loop"))
    assert [one.id for one in graph.load_relationships("a")] == ["loop", "ab", "again"]
    assert [(one.link.relationship_id, one.direction) for one in graph.neighbours("a", direction="in").neighbours] == [
        ("loop", "in")
    ]
    assert graph.delete_relationship("a", "b", "next") == 2
    assert graph.delete_relationship("a", "b", "next") == 0
    assert graph.delete_relationship_by_id("loop") is True
    assert graph.delete_relationship_by_id("loop") is False


def test_replacing_a_relationship_moves_its_ends(fill: Fill) -> None:
    graph = fill("abc", "ab")
    first = graph.load_relationship("ab")
    assert first is not None
    second = graph.store_relationship(Relationship("b", "c", "other", id="ab", created_by="x"))
    assert second.created_at == first.created_at
    assert graph.load_relationships("a") == []
    assert graph.load_relationships("b") == graph.load_relationships("c") == [second]


def test_hidden_relationships_can_be_deleted(fill: Fill, storage: StorageBackend) -> None:
    graph = fill("ab", "ab", "ba")
    graph.delete_node("b", soft=True)
    assert graph.delete_relationship("a", "b", "next") == 1
    assert graph.delete_relationship_by_id("ba") is True
    graph.restore_node("b")
    assert graph.load_relationships("a") == []
    assert storage.count(namespace="graph/hidden") == 0


def test_neighbours_come_in_pages(fill: Fill) -> None:
    graph = fill("abcdefg", "ab", "ac", "ad", "ga")
    graph.store_many([], [Relationship("a", "b", "likes", id="1"), Relationship("e", "a", "likes", id="2")])
    for limit in (1, 2, 3, 7):
        for types, wanted in ((None, "bbcdeg"), (["likes"], "be"), (["next", "likes"], "bbcdeg"), ("none", "")):
            found, cursor = [], None
            while True:
                page = graph.neighbours("a", direction="both", types=types, limit=limit, cursor=cursor)
                found += [one.node.id for one in page.neighbours]
                assert len(page.neighbours) <= limit
                if page.cursor is None:
                    break
                cursor = page.cursor
            assert sorted(found) == list(wanted)
    page = graph.neighbours("a", limit=2)
    graph.delete_relationship("a", "b", "likes")
    graph.delete_relationship_by_id(page.neighbours[-1].link.relationship_id)
    onward = graph.neighbours("a", limit=9, cursor=page.cursor)
    assert [one.node.id for one in onward.neighbours] == ["c", "d"]
    assert graph.neighbours("nobody").neighbours == []
    assert graph.neighbours("a", limit=0) == ([], None) or graph.neighbours("a", limit=0).neighbours == []


def test_directions_and_types(fill: Fill) -> None:
    graph = fill("abc", "ab", "ca")
    graph.store_relationship(Relationship("a", "c", "nexte", id="other"))
    assert [one.node.id for one in graph.neighbours("a").neighbours] == ["b", "c"]
    assert [one.node.id for one in graph.neighbours("a", types="next").neighbours] == ["b"]
    assert [one.node.id for one in graph.neighbours("a", direction="in").neighbours] == ["c"]
    both = graph.neighbours("a", direction="both").neighbours
    assert [(one.node.id, one.direction) for one in both] == [("b", "out"), ("c", "out"), ("c", "in")]


@pytest.mark.parametrize(
    "bad", [{"direction": "up"}, {"limit": -1}, {"cursor": "x"}, {"types": [""]}, {"types": [5]}, {"as_of": 1.5}]
)
def test_bad_questions_are_refused(graph: Graph, bad: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        graph.neighbours("a", **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        {"weight": -1},
        {"weight": float("nan")},
        {"weight": float("inf")},
        {"weight": True},
        {"relation_type": ""},
        {"relation_type": "t" * 129},
        {"from_node": ""},
        {"id": "x" * 257},
        {"valid_from": 5, "valid_to": 4},
        {"valid_from": "2020"},
    ],
)
def test_what_is_no_relationship_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Relationship(**{"from_node": "a", "to_node": "b", "relation_type": "t", **bad})  # type: ignore[arg-type]


def test_relationships_hold_for_a_time(fill: Fill) -> None:
    graph = fill("abc")
    graph.store_many(
        [],
        [
            Relationship("a", "b", "lives_in", id="old", valid_from=100, valid_to=200, recorded_at=150),
            Relationship("a", "c", "lives_in", id="new", valid_from=200, recorded_at=900),
        ],
    )

    def where(**when: int) -> list[str]:
        return [one.node.id for one in graph.neighbours("a", types="lives_in", **when).neighbours]

    assert where() == ["b", "c"]
    assert [where(as_of=time) for time in (99, 100, 199, 200, 10**15)] == [[], ["b"], ["b"], ["c"], ["c"]]
    assert where(as_of=300, known_at=800) == []
    assert where(known_at=899) == ["b"]
    assert [one.id for one in graph.load_relationships("a", as_of=150)] == ["old"]
    assert graph.reach("a", as_of=150) == {"a": 0, "b": 1}
    assert graph.shortest_path("a", "c", as_of=150) is None
    assert [one.id for one in graph.subgraph("a", as_of=250).relationships] == ["new"]


def test_a_relationship_ends_and_stays_readable(fill: Fill) -> None:
    graph = fill("ab", "ab", valid_from=10)
    ended = graph.end_relationship("ab", 20)
    assert (ended.valid_from, ended.valid_to) == (10, 20)
    assert graph.neighbours("a", as_of=20).neighbours == []
    assert len(graph.neighbours("a", as_of=19).neighbours) == 1
    with pytest.raises(RelationshipNotFound, match="xy"):
        graph.end_relationship("xy", 5)
    with pytest.raises(InvalidInput):
        graph.end_relationship("ab", 5)


def test_an_end_was_none_to_who_asked_before_it_was_recorded(fill: Fill) -> None:
    graph = fill("ab", "ab", valid_from=10, recorded_at=100)
    ended = graph.end_relationship("ab", 20)
    assert ended.recorded_at == 100
    told = ended.end_recorded_at
    assert told is not None
    assert told > 100

    def holds(as_of: int, known_at: int | None) -> bool:
        found = [
            bool(graph.neighbours("a", as_of=as_of, known_at=known_at).neighbours),
            "b" in graph.reach("a", as_of=as_of, known_at=known_at),
            graph.shortest_path("b", "a", direction="in", weighted=True, as_of=as_of, known_at=known_at) is not None,
        ]
        assert len(set(found)) == 1
        return found[0]

    assert [holds(25, known) for known in (99, 100, told - 1, told, None)] == [False, True, True, False, False]
    assert [holds(15, known) for known in (99, 100, told - 1, told, None)] == [False, True, True, True, True]
    assert graph.load_relationship("ab") == ended
    replaced = graph.store_relationship(Relationship("a", "b", "next", id="ab", valid_from=10))
    assert replaced.recorded_at is not None
    assert replaced.recorded_at > 100
    assert not holds(15, 100)


def test_duplicates_are_merged(graph: Graph) -> None:
    graph.store_many(
        [
            Node("mel", {"name": "Mel", "age": None}, None, ("x",)),
            Node("melanie", {"name": "Melanie", "city": "Lyon"}, "person", ("y",), {"source": 2}),
            Node("caro", {"name": "Caroline"}),
            Node("gone"),
        ],
        [
            Relationship("mel", "caro", "knows", id="1"),
            Relationship("melanie", "caro", "knows", id="2"),
            Relationship("caro", "melanie", "likes", id="3"),
            Relationship("mel", "melanie", "same_as", id="4"),
            Relationship("melanie", "melanie", "likes", id="5"),
            Relationship("melanie", "gone", "knew", id="6"),
        ],
    )
    graph.store_vector("melanie", [1, 2, 3], {"k": 1})
    graph.delete_node("gone", soft=True)
    merged = graph.merge_nodes("mel", ["melanie"], by="me")
    assert (merged.moved, merged.dropped) == (3, 2)
    node = graph.load_node("mel")
    assert node == merged.node
    assert node is not None
    assert node.data == {"name": "Mel", "age": None, "city": "Lyon"}
    assert (node.node_type, node.tags, node.updated_by) == ("person", ("x", "y"), "me")
    assert node.metadata == {"source": 2, "merged_from": ["melanie"]}
    assert graph.load_node("melanie", deleted=True) is None
    assert [one.id for one in graph.load_relationships("mel")] == ["1", "5", "3"]
    graph.restore_node("gone")
    assert [one.id for one in graph.load_relationships("gone")] == ["6"]
    assert [(hit.id, hit.metadata) for hit in graph.search_vectors([1, 2, 3])] == [("mel", {"k": 1})]
    assert [one.id for one in graph.list_nodes_by_type("person")] == ["mel"]


def test_merging_what_cannot_be_merged(fill: Fill) -> None:
    graph = fill("ab", "ab")
    with pytest.raises(NodeNotFound, match="ghost"):
        graph.merge_nodes("a", ["b", "ghost"])
    with pytest.raises(InvalidInput):
        graph.merge_nodes("a", ["a"])
    with pytest.raises(InvalidInput):
        graph.merge_nodes("a", "b")
    assert graph.list_node_ids() == ["a", "b"]
