"""Loading: batches of any size, what replaces what, and the rows of relationships after all of it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidInput, InvalidKey, InvalidValue
from mycelia_storage.layers.graph import Graph, Node, NodeNotFound, Relationship, carrying
from mycelia_storage.layers.graph.layout import in_key, link_keys, link_value, out_key
from mycelia_storage.names import join_key

SEED = 20_261_121


def chain(length: int) -> list[Any]:
    nodes = [Node(f"n{number}", {"n": number}) for number in range(length)]
    return [*nodes, *(Relationship(f"n{n}", f"n{n + 1}", "next", id=f"e{n}") for n in range(length - 1))]


def rows(storage: StorageBackend, table: str) -> dict[str, Any]:
    return {entry.key: entry.value for entry in storage.scan(namespace=f"graph/{table}")}


def check_rows(storage: StorageBackend, graph: Graph) -> None:
    """The rows of links are those that nodes and relationships ask for."""
    gone = {node.id for node in graph.nodes(deleted=True) if node.deleted}
    wanted: dict[str, dict[str, Any]] = {"out": {}, "in": {}, "hidden": {}}
    for one in graph.relationships():
        if one.from_node in gone or one.to_node in gone:
            for end in (one.from_node, one.to_node):
                wanted["hidden"][join_key(end, one.id)] = None
        else:
            wanted["out"][out_key(one.link)] = link_value(one.link)
            wanted["in"][in_key(one.link)] = link_value(one.link)
    for table, expected in wanted.items():
        assert rows(storage, table) == expected
    assert set(rows(storage, "live")) == set(graph.list_node_ids())


@pytest.mark.parametrize("batch", [None, 1, 7, 10_000])
def test_all_is_stored_whatever_the_batch(storage: StorageBackend, graph: Graph, batch: int | None) -> None:
    assert graph.store_all(iter(chain(40)), batch=batch) == (40, 39, 0)
    assert graph.list_node_ids() == sorted(f"n{number}" for number in range(40))
    assert graph.shortest_path("n0", "n39").nodes == [f"n{number}" for number in range(40)]  # type: ignore[union-attr]
    check_rows(storage, graph)
    assert graph.store_all(chain(40), batch=batch) == (40, 39, 0)
    check_rows(storage, graph)


def test_batches_before_a_bad_one_stay(graph: Graph) -> None:
    items = [*chain(6)[:6], Relationship("n0", "n1", "next"), Relationship("n0", "nobody", "next"), Node("late")]
    with pytest.raises(NodeNotFound):
        graph.store_all(items, batch=4)
    assert graph.list_node_ids() == ["n0", "n1", "n2", "n3"]
    with pytest.raises(InvalidInput):
        graph.store_all(items, batch=0)


def test_large_data_makes_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Watched(Graph):
        def store_many(self, given: Iterable[Node], *args: Any, **kwargs: Any) -> Any:
            sizes.append(len(list(given)))
            return super().store_many(given, *args, **kwargs)

    monkeypatch.setattr(carrying, "_MOST_CHARS", 1_000)
    with MemoryStorageBackend() as storage:
        graph = Watched(storage)
        graph.initialize()
        graph.store_all(Node(f"n{number}", {"texts": ["x" * 200, {"more": "y" * 200}]}) for number in range(7))
        graph.store_all(Node(f"m{number}", number) for number in range(7))
    assert sizes == [3, 3, 1, 7]


def test_a_file_of_any_order_is_as_strict_as_single_writes(graph: Graph) -> None:
    with pytest.raises(NodeNotFound):
        graph.store_all([Relationship("a", "b", "to"), Node("a"), Node("b")], batch=1)
    # In one batch the nodes come first.
    graph.store_all([Relationship("a", "b", "to"), Node("a"), Node("b")])
    assert len(graph.load_relationships("a")) == 1


def test_rows_follow_random_loads(storage: StorageBackend, graph: Graph) -> None:
    chosen = random.Random(SEED)
    names = "abcdef"
    graph.store_many([Node(name) for name in names])
    for _ in range(60):
        match chosen.randrange(4):
            case 0:
                graph.delete_node(chosen.choice(names), soft=True)
            case 1:
                graph.restore_node(chosen.choice(names))
            case _:
                graph.store_all(
                    Relationship(
                        chosen.choice(names),
                        chosen.choice(names),
                        chosen.choice(("x", "y")),
                        id=str(chosen.randrange(8)),
                        weight=chosen.choice((1, 2)),
                        valid_to=chosen.choice((None, 5)),
                    )
                    for _ in range(chosen.choice((1, 3, 90)))
                )
        check_rows(storage, graph)


def test_keys_of_links_are_composite_keys_of_any_text() -> None:
    chosen = random.Random(SEED)
    texts = ["a", "\x01", "\x02", "\x02\x02", "s\x01s", "é", "a b", "\t", "\U0001f600", "x" * 100]
    for _ in range(300):
        one, other, kind, id = (chosen.choice(texts) for _ in range(4))
        link = Relationship(one, other, kind, id=id).link
        assert link_keys(link) == (join_key(one, kind, other, id), join_key(other, kind, one, id))
        assert link_keys(link) == (out_key(link), in_key(link))


@pytest.mark.parametrize("bad", ["", "\0", "a\0b", "\ud800", "x" * 257, "é" * 129, "\x01" * 129, 1, None])
def test_bad_ids_are_refused_alone_and_among_good_ones(bad: Any) -> None:
    for build in (
        lambda: Node(bad),
        lambda: Relationship(bad, "b", "to", id="1"),
        lambda: Relationship("a", bad, "to", id="1"),
        lambda: Relationship("a", "b", bad, id="1"),
    ):
        with pytest.raises((InvalidKey, InvalidInput)):
            build()
    if bad != "":  # which asks for a random one
        with pytest.raises((InvalidKey, InvalidInput)):
            Relationship("a", "b", "to", id=bad)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1, -0.5, True, "1", None])
def test_bad_weights_are_refused(weight: Any) -> None:
    with pytest.raises(InvalidInput):
        Relationship("a", "b", "to", weight=weight)


def test_a_weight_beyond_64_bits_is_no_json(graph: Graph) -> None:
    """It raised OverflowError from the depths of the standard library."""
    graph.store_many([Node("a"), Node("b")])
    with pytest.raises(InvalidValue):
        graph.store_relationship(Relationship("a", "b", "to", weight=10**400))


def test_what_is_stored_leaves_what_was_given_alone(graph: Graph) -> None:
    node, edge = Node("a", {"n": 1}), Relationship("a", "a", "self", id="1")
    (stored,), (held,) = graph.store_many([node], [edge])
    assert (node.created_at, edge.recorded_at) == (None, None)
    assert stored.created_at is not None
    assert held.recorded_at is not None
    assert held.recorded_at == held.created_at
    assert stored == graph.load_node("a")
    assert held == graph.load_relationship("1")
