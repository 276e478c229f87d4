"""Nodes: storing, loading, listing, deleting, hard and soft."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidInput, StorageClosed, StorageCorrupt, TransactionError
from mycelia_storage.layers.graph import (
    Graph,
    Node,
    NodeHasRelationships,
    NodeNotFound,
    Relationship,
    StorageConfig,
)

Fill = Callable[..., Graph]

HARD_TEXTS = ["a/b", "50%", "_", "~1", "*?", "'; --", '"', "\x01", "\x02\x03", "\n", " ", "é", "😀", "\ud7ff", "\uffff"]


def test_a_node_comes_back_as_it_was_stored(graph: Graph) -> None:
    node = Node.new("user:123", {"name": "Ada", "deep": [1, {"a": None}]}, "user", ["x", "y", "x"], "peer1")
    stored = graph.store_node(node)
    assert graph.load_node("user:123") == stored
    assert (stored.data, stored.node_type, stored.tags) == (node.data, "user", ("x", "y"))
    assert stored.created_by == stored.updated_by == "peer1"
    assert stored.created_at == stored.updated_at is not None
    assert graph.load_node("user:124") is None


def test_storing_again_keeps_who_created_it_and_when(graph: Graph) -> None:
    first = graph.store_node(Node("a", 1, created_at=5, updated_at=5, created_by="ada"))
    second = graph.store_node(Node("a", 2, created_by="bob", updated_by="bob"))
    assert (first.created_at, second.created_at, second.created_by, second.updated_by) == (5, 5, "ada", "bob")
    assert second.updated_at is not None
    assert second.updated_at > 5
    assert graph.load_node("a") == second


def test_lists_are_in_order_and_paged(fill: Fill) -> None:
    graph = fill("dbca")
    assert graph.list_node_ids() == ["a", "b", "c", "d"]
    assert graph.list_node_ids(limit=2, after="a") == ["b", "c"]
    assert [node.id for node in graph.nodes()] == ["a", "b", "c", "d"]


def test_types_and_tags_follow_a_node(graph: Graph) -> None:
    graph.store_node(Node("a", None, "person", ("x", "y")))
    graph.store_node(Node("b", None, "person", ("y",)))
    graph.store_node(Node("c", None, "persona"))
    assert [node.id for node in graph.list_nodes_by_type("person")] == ["a", "b"]
    assert [node.id for node in graph.list_nodes_by_type("person", limit=1, after="a")] == ["b"]
    assert [node.id for node in graph.list_nodes_by_tag("y")] == ["a", "b"]
    assert graph.list_node_types() == ["person", "persona"]
    graph.store_node(Node("a", None, "place", ("z",)))
    assert [node.id for node in graph.list_nodes_by_type("person")] == ["b"]
    assert [node.id for node in graph.list_nodes_by_tag("y")] == ["b"]
    assert [node.id for node in graph.list_nodes_by_tag("z")] == ["a"]
    assert graph.list_nodes_by_tag("x") == []
    assert graph.get_stats().node_tags == 2


def test_any_text_may_be_an_id_a_type_or_a_tag(graph: Graph) -> None:
    graph.store_many([Node(text, text, text, (text, "all")) for text in HARD_TEXTS])
    for text in HARD_TEXTS:
        found = graph.load_node(text)
        assert found is not None
        assert (found.data, found.node_type) == (text, text)
        assert [node.id for node in graph.list_nodes_by_tag(text)] == [text]
        assert [node.id for node in graph.list_nodes_by_type(text)] == [text]
    assert len(graph.list_nodes_by_tag("all")) == len(HARD_TEXTS)
    for text in HARD_TEXTS:
        graph.store_relationship(Relationship(text, text, text, id=text))
        assert [one.id for one in graph.load_relationships(text)] == [text]


def test_a_tag_may_hold_nul_and_be_long(graph: Graph) -> None:
    tags = ("\0", "\x01", "\x01\x01", "\x01\x02", "a\0b", "x" * 600)
    graph.store_node(Node("a", None, None, tags))
    graph.store_node(Node("b", None, None, ("\x01\x01\x01",)))
    for tag in tags:
        assert [node.id for node in graph.list_nodes_by_tag(tag)] == ["a"]
    loaded = graph.load_node("a")
    assert loaded is not None
    assert loaded.tags == tags


@pytest.mark.parametrize(
    "bad",
    [
        {"id": ""},
        {"id": "x" * 257},
        {"id": "é" * 129},
        {"id": "a\0"},
        {"id": "\ud800"},
        {"id": 5},
        {"id": "a", "node_type": ""},
        {"id": "a", "node_type": "t" * 129},
        {"id": "a", "tags": ("",)},
        {"id": "a", "tags": "ab"},
        {"id": "a", "tags": (5,)},
        {"id": "a", "tags": ("\ud800",)},
        {"id": "a", "tags": ("x" * 641,)},
        {"id": "a", "metadata": []},
        {"id": "a", "created_at": 1.5},
        {"id": "a", "created_by": None},
        {"id": "a", "deleted": 1},
    ],
)
def test_what_is_no_node_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Node(**bad)  # type: ignore[arg-type]


def test_the_longest_ids_fit_into_a_key(graph: Graph) -> None:
    first, second = "\x01" * 128, "😀" * 64
    graph.store_many([Node(first), Node(second)], [Relationship(first, second, "t" * 128, id="i" * 256)])
    assert [one.node.id for one in graph.neighbours(first).neighbours] == [second]


def test_data_of_a_mebibyte(graph: Graph) -> None:
    data = {"text": "wörd " * 200_000, "n": list(range(1000))}
    graph.store_node(Node("big", data))
    loaded = graph.load_node("big")
    assert loaded is not None
    assert loaded.data == data


def test_data_that_is_no_json_is_refused_and_nothing_written(graph: Graph) -> None:
    with pytest.raises(InvalidInput):
        graph.store_node(Node("a", {1: 2}))
    assert graph.list_node_ids() == []


def test_deleting_a_node_takes_everything_of_it(fill: Fill, storage: StorageBackend) -> None:
    graph = fill("abc", "ab", "ba", "bc", "aa")
    graph.store_node(Node("a", {"name": "a"}, "t", ("x",)))
    graph.store_vector("a", [1, 0, 0])
    assert graph.delete_node("a") is True
    assert graph.delete_node("a") is False
    assert graph.load_node("a") is None
    assert [one.id for one in graph.relationships()] == ["bc"]
    assert graph.list_nodes_by_tag("x") == graph.list_nodes_by_type("t") == graph.search_nodes("a") == []
    stats = graph.get_stats()
    assert (stats.nodes, stats.relationships, stats.node_tags, stats.vectors) == (2, 1, 0, 0)
    for node in "bc":
        graph.delete_node(node)
    held = {name: storage.count(namespace=name) for name in storage.list_namespaces(prefix="graph")}
    assert set(held.values()) == {0}, held


def test_a_node_with_relationships_may_be_refused(fill: Fill) -> None:
    graph = fill("abc", "ab")
    for node in "ab":
        with pytest.raises(NodeHasRelationships, match=node):
            graph.delete_node(node, edges="refuse")
    graph.delete_node("b", soft=True)
    with pytest.raises(NodeHasRelationships):
        graph.delete_node("a", edges="refuse")
    assert graph.delete_node("c", edges="refuse") is True
    with pytest.raises(InvalidInput):
        graph.delete_node("a", edges="cut")  # type: ignore[arg-type]


def test_a_soft_deleted_node_is_out_of_every_answer_and_comes_back_whole(fill: Fill) -> None:
    graph = fill("abcd", "ab", "bc", "cd", "bb")
    graph.store_node(Node("b", {"name": "banana"}, "fruit", ("sweet",)))
    graph.store_vector("b", [1, 2, 3], {"k": 1})
    everything = graph.subgraph("a", hops=3)
    assert graph.delete_node("b", soft=True) is True
    assert graph.delete_node("b", soft=True) is False
    assert graph.load_node("b") is None
    held = graph.load_node("b", deleted=True)
    assert held is not None
    assert held.deleted is True
    assert graph.list_node_ids() == ["a", "c", "d"]
    assert graph.list_nodes_by_type("fruit") == graph.list_nodes_by_tag("sweet") == []
    assert graph.search_nodes("banana") == []
    assert graph.search_vectors([1, 2, 3]) == []
    assert graph.load_relationships("a") == graph.load_relationships("b") == []
    assert graph.shortest_path("a", "d") is None
    assert [one.id for one in graph.load_relationships("c")] == ["cd"]
    with pytest.raises(NodeNotFound):
        graph.store_relationship(Relationship("a", "b", "next"))
    with pytest.raises(NodeNotFound):
        graph.store_vector("b", [1, 2, 3])
    stats = graph.get_stats()
    assert (stats.nodes, stats.deleted_nodes, stats.relationships, stats.vectors) == (3, 1, 4, 1)
    assert graph.restore_node("b") is True
    assert graph.restore_node("b") is False
    assert graph.subgraph("a", hops=3).relationships == everything.relationships
    assert [node.id for node in graph.search_nodes("banana")] == ["b"]
    assert [(hit.id, hit.metadata) for hit in graph.search_vectors([1, 2, 3])] == [("b", {"k": 1})]


def test_a_relationship_between_two_soft_deleted_nodes_waits_for_both(fill: Fill) -> None:
    graph = fill("abc", "ab", "bc")
    graph.delete_node("a", soft=True)
    graph.delete_node("b", soft=True)
    graph.restore_node("a")
    assert graph.load_relationships("a") == []
    graph.restore_node("b")
    assert [one.id for one in graph.load_relationships("b")] == ["bc", "ab"]


def test_a_soft_deleted_node_can_be_deleted_for_good(fill: Fill, storage: StorageBackend) -> None:
    graph = fill("ab", "ab", "aa")
    graph.store_vector("a", [1, 0, 0])
    graph.delete_node("a", soft=True)
    assert graph.delete_node("a") is True
    assert graph.load_node("a", deleted=True) is None
    assert list(graph.relationships()) == []
    assert storage.count(namespace="graph/hidden") == storage.count(namespace="graph/resting") == 0


def test_two_graphs_in_one_storage_know_nothing_of_each_other(graph: Graph, storage: StorageBackend) -> None:
    other = Graph(storage, graph.config, name=("tenants", "a/b", "graph"))
    other.initialize()
    graph.store_node(Node("a", {"name": "one"}))
    other.store_node(Node("a", {"name": "two"}))
    assert [node.data["name"] for node in other.search_nodes("one two")] == ["two"]
    other.delete_node("a")
    assert graph.list_node_ids() == ["a"]


def test_a_transaction_commits_all_of_it_or_nothing(graph: Graph) -> None:
    with graph.begin_transaction() as inside:
        inside.store_node(Node("a", {"name": "Ada"}))
        inside.store_node(Node("b"))
        inside.store_relationship(Relationship("a", "b", "knows"))
        inside.store_vector("a", [1, 0, 0])
        assert inside.shortest_path("a", "b") is not None
        assert [node.id for node in inside.search_nodes("ada")] == ["a"]
        assert graph.list_node_ids() == []
        with pytest.raises(TransactionError):
            inside.begin_transaction()
    assert graph.list_node_ids() == ["a", "b"]
    with pytest.raises(NodeHasRelationships), graph.begin_transaction() as inside:  # noqa: PT012
        inside.store_node(Node("c"))
        inside.delete_node("a", edges="refuse")
    later = graph.begin_transaction()
    later.delete_node("b")
    later.rollback()
    assert graph.neighbours("a").neighbours[0].node.id == "b"
    last = graph.begin_transaction()
    last.delete_node("b")
    last.commit()
    assert graph.list_node_ids() == ["a"]  # and not c


def test_a_failure_in_the_middle_leaves_nothing(graph: Graph) -> None:
    with pytest.raises(NodeNotFound, match="ghost"):
        graph.store_many([Node("a")], [Relationship("a", "ghost", "knows")])
    assert graph.list_node_ids() == []


def test_a_record_that_somebody_else_wrote_is_damage(graph: Graph, storage: StorageBackend) -> None:
    storage.set("x", {"deleted": False, "surprise": 1}, namespace="graph/nodes")
    with pytest.raises(StorageCorrupt, match="'x'"):
        graph.load_node("x")


def test_a_closed_graph_says_so(graph: Graph, storage: StorageBackend) -> None:
    graph.close()
    graph.close()
    with pytest.raises(StorageClosed):
        graph.list_node_ids()
    assert storage.has("a") is False


def test_configuration_has_the_originals_fields_and_defaults() -> None:
    config = StorageConfig()
    vectors = config.vector_config
    assert (config.backend, config.max_connections, config.enable_wal, config.enable_foreign_keys) == (
        "sqlite",
        10,
        True,
        True,
    )
    assert (vectors.dimensions, vectors.max_vectors, vectors.hnsw_m) == (384, 1_000_000, 16)
    assert (vectors.hnsw_ef_construction, vectors.hnsw_ef) == (200, 50)
    assert StorageConfig("Sqlite", "a.db", enable_wal=False).storage == {
        "backend": "sqlite",
        "options": {"dbPath": "a.db", "walMode": False},
    }
    with pytest.raises(InvalidInput, match="rocksdb"):
        _ = StorageConfig("Sled").storage


def test_a_configuration_opens_a_storage(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from mycelia_storage.config import open_storage

    for backend in ("Sqlite", "RocksDb", "memory"):
        config = StorageConfig(backend, str(tmp_path / backend))
        with Graph(open_storage(config.storage), config, owns_storage=True) as graph:
            graph.initialize()
            graph.store_node(Node("a"))
            assert graph.get_stats().backend == backend.lower()
