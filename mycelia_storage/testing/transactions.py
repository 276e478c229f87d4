"""Transactions: all or nothing, savepoints, handles, snapshots, the time limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ..contract import StorageBackend, Transaction
from ..errors import (
    BatchError,
    InvalidInput,
    KeyExists,
    StorageBusy,
    StorageClosed,
    StorageReadOnly,
    TransactionError,
    TransactionExpired,
    UniqueViolation,
)
from ..filters import where
from ..indexes import FieldIndex
from .fixtures import ContractCase, OpenStorage, eventually


class TransactionContract(ContractCase):
    """transaction, begin_transaction, commit, rollback."""

    def test_a_block_commits_at_its_end(self, storage: StorageBackend) -> None:
        with storage.transaction() as tx:
            version = tx.set("k", 1, namespace="n", metadata={"m": 1})
            assert not storage.has("k", namespace="n")
            assert storage.list_namespaces() == ["default"]
        entry = storage.get_entry("k", namespace="n")
        assert entry is not None
        assert entry[2:5] == (1, {"m": 1}, version)

    def test_an_exception_undoes_everything(self, storage: StorageBackend) -> None:
        storage.set("kept", 1)
        with pytest.raises(LookupError), storage.transaction() as tx:  # noqa: PT012
            tx.set("k", 1, namespace="n")
            tx.delete("kept")
            tx.create_namespace("m")
            tx.create_index("default", FieldIndex("x"))
            raise LookupError
        assert storage.list() == ["kept"]
        assert storage.list_namespaces() == ["default"]
        assert storage.list_indexes("default") == {}

    def test_it_has_the_whole_contract_and_reads_its_own_writes(self, storage: StorageBackend) -> None:
        storage.set("old", {"x": 0})
        with storage.transaction() as tx:
            tx.set_many({"a": {"x": 1}, "b": {"x": 2}})
            tx.set("n", 1, namespace="n", ttl=1000)
            tx.set_metadata("a", {"m": 1})
            assert tx.delete("old")
            assert tx.get("a") == {"x": 1}
            assert tx.get_many(["a", "old"]) == {"a": {"x": 1}}
            assert tx.list() == ["a", "b"]
            assert [entry.key for entry in tx.scan(reverse=True)] == ["b", "a"]
            assert [entry.key for entry in tx.query(where("x") > 1)] == ["b"]
            assert tx.count(filter=where("$metadata.m") == 1) == 1
            assert tx.get_metadata("a") == {"m": 1}
            assert tx.list_namespaces() == ["default", "n"]
            info = tx.get_namespace("n")
            assert info is not None
            assert info.entries == 1
            tx.create_index("default", FieldIndex("x", unique=True))
            with pytest.raises(UniqueViolation):
                tx.set("c", {"x": 1})
            assert tx.delete_many(["b", "c"]) == 1
            assert tx.clear(namespace="n") == 1
            assert tx.delete_namespace("n") == 0
            assert storage.list() == ["old"]
        assert storage.list() == ["a"]
        assert list(storage.list_indexes("default")) == ["x"]

    def test_a_failed_write_leaves_the_rest_of_the_transaction(self, storage: StorageBackend) -> None:
        with storage.transaction() as tx:
            tx.set("a", 1)
            with pytest.raises(KeyExists):
                tx.set("a", 2, overwrite=False)
            with pytest.raises(BatchError):
                tx.set_many([("b", 1), ("c", {1})])
            with pytest.raises(InvalidInput):
                tx.set("", 1)
            assert tx.list() == ["a"]
            tx.set("d", 1)
        assert storage.list() == ["a", "d"]

    def test_ending_it_early(self, storage: StorageBackend) -> None:
        with storage.transaction() as tx:
            tx.set("a", 1)
            tx.commit()
            assert storage.has("a")
            assert not tx.is_active
            assert tx.finished
        with storage.transaction() as tx:
            tx.set("b", 1)
            tx.rollback()
        assert storage.list() == ["a"]

    @pytest.mark.parametrize("end", ["commit", "rollback"])
    @pytest.mark.parametrize("read_only", [False, True])
    def test_use_after_the_end(self, storage: StorageBackend, end: str, read_only: bool) -> None:
        tx = storage.begin_transaction(read_only=read_only)
        assert tx.is_active
        assert not tx.finished
        getattr(tx, end)()
        assert tx.finished
        calls: list[Any] = [
            lambda: tx.get("k"),
            lambda: list(tx.scan()),
            lambda: tx.set("k", 1),
            lambda: tx.set_many({"k": 1}),
            lambda: tx.changes(),
            lambda: tx.transaction(),
            tx.commit,
            tx.rollback,
            lambda: storage.commit(tx.id),
            lambda: storage.rollback(tx.id),
        ]
        for call in calls:
            with pytest.raises(TransactionError):
                call()

    def test_a_scan_outlives_no_transaction(self, storage: StorageBackend) -> None:
        storage.set_many((f"{number:05}", number) for number in range(3_000))
        with storage.transaction(read_only=True) as tx:
            scan = tx.scan()
            next(scan)
        with pytest.raises(TransactionError):
            list(scan)

    # -- handles ---------------------------------------------------------------------------------------------------

    def test_a_handle_ends_by_id(self, storage: StorageBackend) -> None:
        tx = storage.begin_transaction()
        tx.set("a", 1)
        assert not storage.has("a")
        storage.commit(tx.id)
        assert storage.get("a") == 1
        tx = storage.begin_transaction()
        tx.set("b", 1)
        storage.rollback(tx.id)
        assert storage.list() == ["a"]
        assert not tx.is_active

    @pytest.mark.parametrize("bad", ["", "unknown", None, 7], ids=repr)
    def test_an_unknown_id(self, storage: StorageBackend, bad: Any) -> None:
        with pytest.raises(TransactionError):
            storage.commit(bad)
        with pytest.raises(TransactionError):
            storage.rollback(bad)

    def test_ids_differ(self, storage: StorageBackend) -> None:
        ids = set()
        for _ in range(5):
            tx = storage.begin_transaction()
            ids.add(tx.id)
            tx.rollback()
        assert len(ids) == 5

    def test_a_handle_belongs_to_no_thread_so_the_same_thread_waits_too(self, open_storage: OpenStorage) -> None:
        with open_storage(busy_timeout=20) as storage:
            tx = storage.begin_transaction()
            with pytest.raises(StorageBusy):
                storage.set("k", 1)
            with pytest.raises(StorageBusy):
                storage.begin_transaction()
            tx.set("mine", 1)
            tx.commit()
            storage.set("k", 1)
            assert storage.list() == ["k", "mine"]

    # -- the thread's own transaction ------------------------------------------------------------------------------

    def test_writing_past_ones_own_transaction_is_an_error_at_once(self, storage: StorageBackend) -> None:
        storage.set("k", 1)
        calls: list[Any] = [
            lambda: storage.set("k", 2),
            lambda: storage.set_many({"k": 2}),
            lambda: storage.delete("k"),
            lambda: storage.delete_many(["k"]),
            lambda: storage.restore([]),
            lambda: storage.clear(),
            lambda: storage.set_metadata("k", {"a": 1}),
            lambda: storage.create_namespace("n"),
            lambda: storage.delete_namespace("n"),
            lambda: storage.create_index("default", FieldIndex("x")),
            lambda: storage.drop_index("default", "x"),
            lambda: storage.transaction(),
            lambda: storage.begin_transaction(),
        ]
        with storage.transaction() as tx:
            tx.set("k", 3)
            for call in calls:
                with pytest.raises(TransactionError):
                    call()
            assert storage.get("k") == 1
            assert storage.query(where("$value") == 1)[0].key == "k"
        assert storage.get("k") == 3
        storage.set("k", 4)

    def test_a_snapshot_of_ones_own_is_not_in_the_way(self, storage: StorageBackend) -> None:
        with storage.transaction(read_only=True) as snapshot:
            storage.set("k", 1)
            with storage.transaction() as tx:
                tx.set("l", 1)
            assert snapshot.list() == []
        assert storage.list() == ["k", "l"]

    # -- savepoints ------------------------------------------------------------------------------------------------

    def test_a_failing_savepoint_undoes_the_inner_part(self, storage: StorageBackend) -> None:
        storage.set("k", 0)
        with storage.transaction() as tx:
            tx.set("k", 1)
            with pytest.raises(LookupError), tx.transaction() as inner:  # noqa: PT012
                inner.set("k", 2)
                inner.set("in", 1, namespace="n")
                assert tx.get("k") == 2
                raise LookupError
            assert tx.get("k") == 1
            assert tx.list_namespaces() == ["default"]
            with tx.transaction() as inner:
                inner.set("second", 1)
            assert tx.has("second")
        assert storage.get_many(["k", "second"]) == {"k": 1, "second": 1}

    def test_savepoints_nest(self, storage: StorageBackend) -> None:
        with storage.transaction() as tx:
            tx.set("1", 1)
            with tx.transaction() as a:
                a.set("2", 1)
                with a.transaction() as b:
                    b.set("3", 1)
                with a.transaction() as c:
                    c.set("4", 1)
                    c.rollback()
                assert a.list() == ["1", "2", "3"]
            with tx.transaction() as d:
                with d.transaction() as e:
                    e.set("5", 1)
                d.rollback()
        assert storage.list() == ["1", "2", "3"]

    def test_an_outer_rollback_takes_the_inner_commit_along(self, storage: StorageBackend) -> None:
        with storage.transaction() as tx:
            with tx.transaction() as inner:
                inner.set("k", 1)
            tx.rollback()
        assert storage.list() == []

    def test_ending_the_outer_ends_the_inner(self, storage: StorageBackend) -> None:
        tx = storage.begin_transaction()
        inner = tx.transaction()
        inner.set("k", 1)
        tx.commit()
        assert storage.get("k") == 1
        with pytest.raises(TransactionError):
            inner.set("k", 2)
        with pytest.raises(TransactionError):
            inner.commit()

    def test_savepoints_end_by_id(self, storage: StorageBackend) -> None:
        with storage.transaction() as tx:
            first = tx.begin_transaction()
            first.set("a", 1)
            tx.commit(first.id)
            second = tx.begin_transaction()
            second.set("b", 1)
            tx.rollback(second.id)
            assert second.finished
            with pytest.raises(TransactionError):
                tx.commit(second.id)
            assert tx.is_active
        assert storage.list() == ["a"]

    # -- snapshots -------------------------------------------------------------------------------------------------

    def test_a_snapshot_shows_the_state_at_the_call(self, storage: StorageBackend) -> None:
        storage.set("k", 1)
        storage.create_index("default", FieldIndex("x"))
        snapshot = storage.transaction(read_only=True)
        storage.set("k", 2)
        storage.set("l", 1, namespace="n")
        storage.drop_index("default", "x")
        with snapshot:
            assert snapshot.get("k") == 1
            assert snapshot.list_namespaces() == ["default"]
            assert list(snapshot.list_indexes("default")) == ["x"]
            assert snapshot.get_status().entries == 1
            storage.delete("k")
            storage.delete_namespace("n", recursive=True)
            assert snapshot.count() == 1
        assert storage.list() == []

    def test_writing_in_a_snapshot(self, storage: StorageBackend) -> None:
        storage.set("k", 1)
        with storage.transaction(read_only=True) as snapshot:
            calls: list[Any] = [
                lambda: snapshot.set("k", 2),
                lambda: snapshot.set_many({"k": 2}),
                lambda: snapshot.delete("k"),
                lambda: snapshot.delete_many(["k"]),
                lambda: snapshot.clear(),
                lambda: snapshot.set_metadata("k", {}),
                lambda: snapshot.create_namespace("n"),
                lambda: snapshot.create_index("default", FieldIndex("x")),
            ]
            for call in calls:
                with pytest.raises(StorageReadOnly):
                    call()
        assert storage.get("k") == 1

    def test_many_snapshots_stand_side_by_side(self, storage: StorageBackend) -> None:
        snapshots: list[Transaction] = []
        for number in range(10):
            storage.set("k", number)
            snapshots.append(storage.begin_transaction(read_only=True))
        assert [snapshot.get("k") for snapshot in snapshots] == list(range(10))
        for snapshot in snapshots:
            snapshot.rollback()

    # -- options and the end of the storage ------------------------------------------------------------------------

    def test_isolation_levels(self, storage: StorageBackend) -> None:
        for level in ("serializable", "snapshot", "repeatable read", "READ_COMMITTED"):
            with storage.transaction(isolation=level) as tx:
                tx.set(level, 1)
        assert storage.count() == 4
        for bad in ("", "read uncommitted", None):
            with pytest.raises(InvalidInput):
                storage.transaction(isolation=bad)  # type: ignore[arg-type]

    def test_what_belongs_to_the_storage(self, storage: StorageBackend, tmp_path: Any) -> None:
        with storage.transaction() as tx:
            for call in (tx.close, tx.optimize, lambda: tx.backup(tmp_path / "b")):
                with pytest.raises(TransactionError):
                    call()

    def test_closing_the_storage_rolls_back(self, open_storage: OpenStorage) -> None:
        storage = open_storage()
        tx = storage.begin_transaction()
        tx.set("k", 1)
        storage.close()
        assert not tx.is_active
        for call in (lambda: tx.get("k"), lambda: tx.set("k", 1), tx.commit, lambda: storage.commit(tx.id)):
            with pytest.raises((StorageClosed, TransactionError)):
                call()

    # -- repeated by itself ----------------------------------------------------------------------------------------

    def test_a_function_runs_again_until_its_transaction_goes_through(self, storage: StorageBackend) -> None:
        storage.set("n", 0)
        runs: list[int] = []

        def count_up(tx: Transaction, step: int, *, busy: int = 0) -> int:
            runs.append(step)
            number = int(tx.get("n")) + step
            tx.set("n", number)
            if len(runs) <= busy:
                raise StorageBusy("met another")
            return number

        assert storage.run_transaction(count_up, 2, busy=3) == 2
        assert runs == [2] * 4
        assert storage.get("n") == 2

        def fail(tx: Transaction) -> None:
            tx.delete("n")
            raise LookupError

        with pytest.raises(StorageBusy):
            storage.run_transaction(count_up, 1, attempts=2, busy=100)
        with pytest.raises(LookupError):
            storage.run_transaction(fail)
        for bad in (0, True, "1"):
            with pytest.raises(InvalidInput):
                storage.run_transaction(count_up, 1, attempts=bad)  # type: ignore[arg-type]
        with storage.transaction() as outer:
            assert outer.run_transaction(count_up, 1) == 3
        assert storage.get("n") == 3

        def count_often() -> None:
            for _ in range(10):
                storage.run_transaction(count_up, 1, attempts=1_000)

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(count_often) for _ in range(4)]:
                done.result(60)
        assert storage.get("n") == 43

    # -- the time limit --------------------------------------------------------------------------------------------

    def test_past_its_time_limit_a_transaction_is_undone(self, open_storage: OpenStorage) -> None:
        with open_storage(transaction_timeout=0.05) as storage:
            tx = storage.begin_transaction()
            tx.set("k", 1)
            eventually(lambda: not tx.is_active)
            assert not tx.finished
            for call in (lambda: tx.get("k"), lambda: tx.set("k", 2), lambda: list(tx.scan()), tx.commit, tx.rollback):
                with pytest.raises(TransactionExpired):
                    call()
            with pytest.raises(TransactionExpired):
                storage.commit(tx.id)
            assert storage.list() == []
            storage.set("k", 3)
            assert storage.get("k") == 3

    def test_a_block_past_the_limit_does_not_commit_in_silence(self, open_storage: OpenStorage) -> None:
        with open_storage(transaction_timeout=0.05) as storage:
            with pytest.raises(TransactionExpired), storage.transaction() as tx:  # noqa: PT012
                tx.set("k", 1)
                eventually(lambda: not tx.is_active)
            assert storage.list() == []
            with storage.transaction() as tx:
                tx.set("k", 2)
            assert storage.get("k") == 2

    def test_savepoints_and_snapshots_have_the_limit_too(self, open_storage: OpenStorage) -> None:
        with open_storage(transaction_timeout=0.05) as storage:
            tx = storage.begin_transaction()
            inner = tx.transaction()
            snapshot = storage.begin_transaction(read_only=True)
            eventually(lambda: not (tx.is_active or inner.is_active or snapshot.is_active))
            for ended in (inner, tx, snapshot):
                with pytest.raises(TransactionExpired):
                    ended.get("k")
                with pytest.raises(TransactionExpired):
                    ended.commit()

    def test_a_forgotten_transaction_does_not_stop_the_others(self, open_storage: OpenStorage) -> None:
        with open_storage(transaction_timeout=0.05, busy_timeout=20_000) as storage:
            forgotten = storage.begin_transaction()
            forgotten.set("k", 1)
            storage.set("k", 2)
            assert storage.get("k") == 2
            with pytest.raises(TransactionExpired):
                forgotten.commit()
            assert storage.get("k") == 2
