"""The contract over names that are really spread, and what one commit cannot cover.

Where names lie on several shards, a transaction begins on a shard when it first touches it and never reaches a second
one. The tests of the contract that say otherwise are overridden here, one by one, by what holds instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.backends.sharded import ShardedStorageBackend
from mycelia_storage.backends.sharded.routing import choose
from mycelia_storage.contract import BatchResult, Entry, StorageBackend
from mycelia_storage.errors import BatchError, InvalidNamespace, StorageBusy, TransactionError, TransactionExpired
from mycelia_storage.testing import OpenStorage, StorageContract
from mycelia_storage.testing.fixtures import eventually

SHARDS = ("s0", "s1", "s2")

# "default" hashes to s0, "n" and "m" to s1, "other" to s2.


def on(shard: str) -> str:
    """A top-level namespace that hashes to a shard."""
    return next(name for name in (f"name{number}" for number in range(100)) if choose(SHARDS, name) == shard)


class TestSpread(StorageContract):
    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        def open_new(transaction_timeout: float = 60.0, **options: Any) -> StorageBackend:
            shards = [MemoryStorageBackend(options, transaction_timeout=transaction_timeout) for _ in SHARDS]
            return ShardedStorageBackend(shards, transaction_timeout=transaction_timeout)

        return open_new

    def test_the_names_of_the_suite_are_spread(self) -> None:
        assert [choose(SHARDS, name) for name in ("default", "n", "other")] == list(SHARDS)

    # -- overridden ------------------------------------------------------------------------------------------------

    def test_a_writer_waits_for_the_writer_before_it(self, storage: StorageBackend) -> None:
        """From the first touch on."""
        handle = storage.begin_transaction()
        storage.set("k", 1)
        handle.set("k", 2)
        assert storage.get("k") == 1
        storage.set("k", 1, namespace="n")
        handle.commit()
        assert storage.get("k") == 2

    def test_a_writer_waits_no_longer_than_busy_timeout(self, open_storage: OpenStorage) -> None:
        with open_storage(busy_timeout=30) as storage:
            handle = storage.begin_transaction()
            handle.set("k", 1)
            for call in (
                lambda: storage.set("k", 2),
                lambda: storage.set_many({"k": 2}),
                lambda: storage.delete("k"),
                lambda: storage.clear(),
                lambda: storage.begin_transaction().set("k", 1),
            ):
                with pytest.raises(StorageBusy):
                    call()
            storage.create_namespace("n")  # on another shard
            handle.rollback()

    def test_a_handle_belongs_to_no_thread_so_the_same_thread_waits_too(self, open_storage: OpenStorage) -> None:
        with open_storage(busy_timeout=20) as storage:
            handle = storage.begin_transaction()
            handle.set("mine", 1)
            with pytest.raises(StorageBusy):
                storage.set("k", 1)
            handle.commit()
            assert storage.list() == ["mine"]

    def test_an_exception_undoes_everything(self, storage: StorageBackend) -> None:
        storage.set("kept", 1, namespace="n")
        with pytest.raises(LookupError), storage.transaction() as tx:  # noqa: PT012
            tx.set("k", 1, namespace="n/below")
            tx.delete("kept", namespace="n")
            raise LookupError
        assert storage.list(namespace="n") == ["kept"]
        assert storage.list_namespaces() == ["default", "n"]

    def test_it_has_the_whole_contract_and_reads_its_own_writes(self, storage: StorageBackend) -> None:
        storage.set("k", 1)
        with storage.transaction() as tx:
            tx.set("k", 2)
            assert tx.get("k") == 2
            calls: list[Callable[[], object]] = [
                lambda: tx.get("k", namespace="n"),
                lambda: tx.set("k", 1, namespace="n"),
                lambda: tx.set_many([{"key": "k", "value": 1, "namespace": "n"}], atomic=False),
                lambda: tx.set_many([("l", 1), {"key": "k", "value": 1, "namespace": "n"}]),
                lambda: tx.restore([Entry("n", "k", 1, {}, 1, 1, 1, None)]),
                lambda: list(tx.scan(namespace="n")),
                lambda: tx.list_namespaces(),
                lambda: tx.changes(),
                lambda: tx.clear(),
                lambda: tx.get_status(),
            ]
            for call in calls:
                with pytest.raises(TransactionError, match="one shard"):
                    call()
            assert tx.list() == ["k"]
            assert tx.list_namespaces(prefix="default") == ["default"]
        assert storage.get("k") == 2

    def test_a_failing_savepoint_undoes_the_inner_part(self, storage: StorageBackend) -> None:
        """Also a savepoint that was made before the transaction touched anything."""
        with storage.transaction() as tx:
            with pytest.raises(LookupError), tx.transaction() as inner:  # noqa: PT012
                tx.set("outside", 1)
                inner.set("inside", 1)
                raise LookupError
            assert tx.list() == []
            tx.set("k", 1)
        assert storage.list() == ["k"]

    def test_savepoints_and_snapshots_have_the_limit_too(self, open_storage: OpenStorage) -> None:
        with open_storage(transaction_timeout=0.05) as storage:
            untouched, touched = storage.begin_transaction(), storage.begin_transaction()
            touched.set("k", 1)
            inner = touched.transaction()
            snapshot = storage.begin_transaction(read_only=True)
            eventually(lambda: not any(tx.is_active for tx in (untouched, touched, inner, snapshot)))
            for ended in (untouched, inner, touched, snapshot):
                with pytest.raises(TransactionExpired):
                    ended.get("k")
                with pytest.raises(TransactionExpired):
                    ended.commit()

    def test_an_items_own_options_win(self, storage: StorageBackend) -> None:
        items: list[Any] = [
            ("plain", 1),
            {"key": "own", "value": 2, "namespace": "other", "metadata": {"own": 1}, "ttl": 500},
            {"key": "segments", "value": 4, "namespace": ("a/b", "c")},
        ]
        with pytest.raises(TransactionError, match="shard"):
            storage.set_many(items, namespace="n")
        assert storage.list_namespaces() == ["default"]
        result = storage.set_many(items, namespace="n", metadata={"common": 1}, atomic=False)
        assert result == BatchResult(3, {})
        assert storage.get_metadata("plain", namespace="n") == {"common": 1}
        assert storage.get_metadata("own", namespace="other") == {"own": 1}
        assert storage.get("segments", namespace=("a/b", "c")) == 4


@pytest.fixture
def storage() -> Any:
    with ShardedStorageBackend([MemoryStorageBackend() for _ in SHARDS]) as storage:
        yield storage


def test_a_family_lies_on_one_shard(storage: ShardedStorageBackend) -> None:
    with storage.transaction() as tx:
        for below in ("", "/a", "/a/b", "/c"):
            tx.set("k", 1, namespace=f"users{below}")
        assert tx.list_namespaces(prefix="users") == ["users", "users/a", "users/a/b", "users/c"]
    assert storage.delete_namespace("users", recursive=True) == 4


def test_a_thread_with_a_transaction_writes_past_it_nowhere(storage: ShardedStorageBackend) -> None:
    with storage.transaction() as tx:
        for namespace in map(on, SHARDS):
            with pytest.raises(TransactionError):
                storage.set("k", 1, namespace=namespace)
        tx.set("k", 1, namespace=on("s1"))
        with pytest.raises(TransactionError):
            storage.set("k", 1, namespace=on("s2"))
        assert storage.get("k", namespace=on("s2")) is None
    storage.set("k", 1, namespace=on("s2"))


def test_a_snapshot_shows_all_shards(storage: ShardedStorageBackend) -> None:
    names = [on(shard) for shard in SHARDS]
    for name in names:
        storage.set("k", 1, namespace=name)
    with storage.transaction(read_only=True) as snapshot:
        for name in names:
            storage.set("k", 2, namespace=name)
        storage.set("k", 2, namespace="late")
        assert [snapshot.get("k", namespace=name) for name in names] == [1, 1, 1]
        assert snapshot.list_namespaces() == sorted(["default", *names])
        assert snapshot.get_status().entries == 3
        with snapshot.transaction() as inner:
            assert [inner.count(namespace=name) for name in names] == [1, 1, 1]


def test_a_batch_for_several_shards(storage: ShardedStorageBackend) -> None:
    items = [{"key": f"k{number}", "value": number, "namespace": on(SHARDS[number % 3])} for number in range(3_000)]
    with pytest.raises(TransactionError, match="one commit covers one shard"):
        storage.set_many(iter(items))
    assert storage.get_status().entries == 0
    bad = {"key": "bad", "value": {1}, "namespace": on("s1")}
    result = storage.set_many(iter([*items, bad]), atomic=False)
    assert (result.written, list(result.errors)) == (3_000, [(on("s1"), "bad")])
    assert [storage.count(namespace=on(shard)) for shard in SHARDS] == [1_000] * 3
    with pytest.raises(BatchError):
        storage.set_many([bad, bad | {"key": "good", "value": 1}])
    assert not storage.has("good", namespace=on("s1"))


def test_a_restore_for_several_shards_is_refused_whole(storage: ShardedStorageBackend) -> None:
    entries = [Entry(on(shard), "k", 1, {}, 5, 1, 1, None) for shard in SHARDS]
    with pytest.raises(TransactionError, match="a restore"):
        storage.restore(entries)
    assert storage.get_status().entries == 0
    assert [storage.restore([entry]) for entry in entries] == [1, 1, 1]
    assert storage.get_entry("k", namespace=on("s2")) == entries[2]


def test_pins_bring_names_together() -> None:
    pins = {on("s1"): "s0", on("s2"): "s0"}
    with ShardedStorageBackend([MemoryStorageBackend() for _ in SHARDS], pins=pins) as storage:
        with storage.transaction() as tx:
            for shard in SHARDS:
                tx.set("k", 1, namespace=on(shard))
        assert storage.get_status().details["shards"]["s0"]["entries"] == 3


def test_clear_and_status_cover_all_shards(storage: ShardedStorageBackend) -> None:
    names = [on(shard) for shard in SHARDS]
    for name in names:
        storage.set_many({"a": 1, "b": 2}, namespace=name)
    status = storage.get_status()
    assert (status.entries, status.namespaces) == (6, 4)
    assert {name: shard["entries"] for name, shard in status.details["shards"].items()} == dict.fromkeys(SHARDS, 2)
    assert storage.check().ok
    assert storage.clear() == 6
    assert storage.list_namespaces() == sorted(["default", *names])
    assert storage.get_status().entries == 0


def test_the_ledger_is_out_of_sight(storage: ShardedStorageBackend) -> None:
    calls: list[Callable[[], object]] = [
        lambda: storage.get("table", namespace="~mycelia-shards"),
        lambda: storage.set("table", 1, namespace="~mycelia-shards/x"),
        lambda: storage.delete_namespace("~mycelia-shards", recursive=True),
        lambda: list(storage.scan(namespace="~mycelia-shards")),
        lambda: storage.changes(namespace="~mycelia-shards"),
    ]
    for call in calls:
        with pytest.raises(InvalidNamespace):
            call()
    storage.set("k", 1, namespace=("~mycelia-shards",))  # a tuple's segments are escaped
    assert storage.list_namespaces() == ["default", "~0mycelia-shards"]
    storage.clear()
    assert storage.check().ok
