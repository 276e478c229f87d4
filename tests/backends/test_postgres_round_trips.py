"""How often a call waits for the PostgreSQL server, and that what is remembered to wait less is not trusted blindly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import psycopg
import pytest

from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.backends.postgres.kept_indexes import KeptText
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import BatchError, InvalidValue, TransactionError
from mycelia_storage.indexes import FieldIndex, TextIndex, VectorIndex
from mycelia_storage.layers.agents import AgentStore, string_to_uuid

Open = Callable[..., PostgresStorageBackend]
Trips = Callable[[Callable[[], Any]], int]


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> Trips:
    """How many messages a call sends to the server and waits for."""
    counted = 0
    wait = psycopg.Connection.wait

    def counting(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal counted
        counted += 1
        return wait(self, *arguments, **options)

    def count(call: Callable[[], Any]) -> int:
        nonlocal counted
        for _ in range(8):  # statements are prepared once they have run a few times, which takes one more
            call()
        counted = 0
        call()
        return counted

    monkeypatch.setattr(psycopg.Connection, "wait", counting)
    return count


def writing(storage: StorageBackend, items: Callable[[], list[Any]]) -> Callable[[], Any]:
    return lambda: storage.run_transaction(lambda tx: tx.set_many(items(), namespace="n"))


def test_a_small_batch_in_a_transaction_is_one_round_trip(open_one: Open, trips: Trips) -> None:
    storage = open_one()
    empty = trips(lambda: storage.run_transaction(lambda _: None))
    assert trips(writing(storage, lambda: [("a", 1), ("b", [2])])) == empty + 1


def test_a_memory_is_created_in_few_round_trips(open_one: Open, trips: Trips) -> None:
    storage = open_one()
    agent, speaker, room = (string_to_uuid(name) for name in ("agent", "speaker", "room"))
    store = AgentStore(storage, agent)
    store.create_entities([{"id": speaker, "names": ["Speaker"]}])
    store.create_rooms([{"id": room, "source": "test", "type": "GROUP"}])
    memory = {"entityId": speaker, "roomId": room, "content": {"text": "hello"}}
    # BEGIN, whether room, entity and id are there, the entries, COMMIT.
    assert trips(lambda: store.create_memory(memory, "messages", True)) == 4
    vector = numpy.ones(384, dtype=numpy.float32)
    # And the vector.
    assert trips(lambda: store.create_memory({**memory, "embedding": vector}, "messages", True)) == 5
    assert storage.check().ok


def test_what_others_did_to_a_namespace_is_noticed(open_one: Open) -> None:
    ours, theirs = open_one(), open_one()
    numbers = iter(range(100))

    def write() -> str:
        key = f"k{next(numbers)}"
        writing(ours, lambda: [(key, {"text": "raven", "x": key})])()
        return key

    write()
    write()
    theirs.create_index("n", TextIndex("text"))
    late = write()
    assert late in [hit.key for hit in theirs.search_text("raven", namespace="n")]
    theirs.create_index("n", FieldIndex("x", unique=True))
    late = write()
    assert late in theirs.list(namespace="n")
    theirs.drop_index("n", "x")
    write()
    theirs.delete_namespace("n", recursive=True)
    late = write()
    assert theirs.list(namespace="n") == [late]
    assert theirs.list_namespaces() == ["default", "n"]
    theirs.delete_namespace("n", recursive=True)
    theirs.create_namespace("n", track_changes=True)
    late = write()
    assert [change.key for change in theirs.changes(namespace="n").changes] == [late]
    assert theirs.check().ok


def test_what_the_transaction_itself_did_is_noticed(open_one: Open) -> None:
    storage = open_one()
    writing(storage, lambda: [("a", {"text": "raven"})])()
    tx = storage.transaction()
    tx.set_many([("b", 1)], namespace="fresh")
    tx.rollback()
    writing(storage, lambda: [{"namespace": "fresh", "key": "c", "value": 1}])()
    assert storage.list_namespaces() == ["default", "fresh", "n"]
    with storage.transaction() as tx:
        tx.create_index("n", TextIndex("text"))
        tx.set_many([("b", {"text": "raven"})], namespace="n")
        assert [hit.key for hit in tx.search_text("raven", namespace="n")] == ["a", "b"]
    assert storage.check().ok


def test_versions_rise_over_a_key_deleted_ahead_of_the_clock(open_one: Open) -> None:
    ours, theirs = open_one(), open_one()
    writing(ours, lambda: [("a", 1)])()
    entry = theirs.get_entry("a", namespace="n")
    assert entry is not None
    theirs.restore([entry._replace(key="b", version=2**60)])
    theirs.delete("b", namespace="n")
    writing(ours, lambda: [("b", 2)])()
    written = theirs.get_entry("b", namespace="n")
    assert written is not None
    assert written.version > 2**60


def test_a_refused_batch_leaves_the_transaction_usable(open_one: Open) -> None:
    storage = open_one()
    storage.create_index("v", VectorIndex(2))
    good = numpy.ones(2, dtype=numpy.float32).tobytes()
    for _ in range(3):
        with storage.transaction(isolation="snapshot") as tx:
            tx.set_many([("a", good)], namespace="v")
            with pytest.raises(BatchError):
                tx.set_many([("b", good), ("c", b"short")], namespace="v")
            with pytest.raises(BatchError):
                tx.set_many([("d", 1), ("", 2)])
            tx.set_many([("e", 1)])
        assert storage.list(namespace="v") == ["a"]
        assert storage.list() == ["e"]
        assert storage.check().ok


def test_what_an_index_cannot_keep_ends_the_transaction(open_one: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry has been written by then, and must not be committed without it."""
    storage = open_one()
    storage.create_index("n", TextIndex("text"))
    writing(storage, lambda: [("a", {"text": "raven"})])()

    def fail(*_: Any) -> Any:
        raise InvalidValue("no words")

    tx = storage.transaction(isolation="snapshot")
    with monkeypatch.context() as patched:
        patched.setattr(KeptText, "words", fail)
        with pytest.raises(InvalidValue):
            tx.set_many([("b", {"text": "owl"})], namespace="n")
    with pytest.raises(TransactionError):
        tx.set("c", 1)
    with pytest.raises(TransactionError):
        tx.commit()
    assert storage.list(namespace="n") == ["a"]
    assert storage.check().ok


@pytest.mark.parametrize("count", [1, 20, 21])
def test_few_and_many_vectors_are_kept_alike(open_one: Open, count: int) -> None:
    storage = open_one()
    storage.create_index("v", VectorIndex(3, "l2"))
    storage.create_index("v", VectorIndex(3, "dot"), name="dot")
    vectors = numpy.random.default_rng(20_261_121).normal(size=(count, 3)).astype("<f4")
    for scale in (1.0, 1e6, 1.0):  # numbers too large for a graph, and back
        batch = [
            {
                "key": f"k{number}",
                "value": (vector * numpy.float32(scale)).tobytes(),
                "ttl": 1_000 if number % 2 else None,
            }
            for number, vector in enumerate(vectors)
        ]
        storage.set_many(batch, namespace="v")
        assert storage.check().ok
        hits = storage.search_vectors(vectors[0] * numpy.float32(scale), namespace="v", index="vector:l2", limit=1)
        assert [hit.key for hit in hits] == ["k0"]
