"""Threads: readers never wait, writers take turns, nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from ..contract import StorageBackend
from ..errors import StorageBusy, TransactionError, VersionConflict
from .fixtures import ContractCase, OpenStorage

_PATIENCE = 60


@contextmanager
def _elsewhere() -> Iterator[Callable[..., Any]]:
    """A function that runs a call in another thread and gives its result."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda call, *args, **kwargs: pool.submit(call, *args, **kwargs).result(_PATIENCE)


class ConcurrencyContract(ContractCase):
    """One storage, many threads."""

    def test_readers_see_the_committed_state_while_a_transaction_is_open(self, open_storage: OpenStorage) -> None:
        with open_storage(busy_timeout=0) as storage, _elsewhere() as elsewhere:
            storage.set("k", 1)
            with storage.transaction() as tx:
                tx.set("k", 2)
                tx.set("l", 1)
                assert elsewhere(storage.get, "k") == 1
                assert elsewhere(storage.list) == ["k"]
                assert elsewhere(lambda: [entry.value for entry in storage.scan()]) == [1]
                assert elsewhere(storage.count) == 1
                assert elsewhere(lambda: storage.get_status().entries) == 1
                snapshot = elsewhere(storage.begin_transaction, read_only=True)
            assert elsewhere(storage.get, "k") == 2
            assert snapshot.get("k") == 1
            snapshot.commit()

    def test_a_writer_waits_for_the_writer_before_it(self, storage: StorageBackend) -> None:
        with ThreadPoolExecutor(1) as pool:
            with storage.transaction() as tx:
                waiting = pool.submit(storage.set, "k", 2)
                tx.set("k", 1)
                assert not waiting.done()
                assert storage.get("k") is None
            version = waiting.result(_PATIENCE)
        entry = storage.get_entry("k")
        assert entry is not None
        assert (entry.value, entry.version) == (2, version)

    def test_a_writer_waits_no_longer_than_busy_timeout(self, open_storage: OpenStorage) -> None:
        with open_storage(busy_timeout=30) as storage, _elsewhere() as elsewhere:
            with storage.transaction() as tx:
                tx.set("k", 1)
                for call in (
                    lambda: storage.set("k", 2),
                    lambda: storage.set_many({"k": 2}),
                    lambda: storage.delete("k"),
                    lambda: storage.clear(),
                    lambda: storage.create_namespace("n"),
                    lambda: storage.begin_transaction(),
                ):
                    with pytest.raises(StorageBusy):
                        elsewhere(call)
            assert elsewhere(storage.set, "l", 1)
            assert storage.list() == ["k", "l"]

    def test_the_next_writer_starts_from_what_the_one_before_left(self, storage: StorageBackend) -> None:
        def count_up() -> None:
            for _ in range(25):
                with storage.transaction() as tx:
                    tx.set("n", tx.get("n", 0) + 1)

        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(count_up) for _ in range(6)]:
                done.result(_PATIENCE)
        assert storage.get("n") == 150

    def test_compare_and_set_loses_no_update(self, storage: StorageBackend) -> None:
        storage.set("n", 0)

        def count_up() -> None:
            for _ in range(25):
                while True:
                    entry = storage.get_entry("n")
                    assert entry is not None
                    try:
                        storage.set("n", entry.value + 1, if_version=entry.version)
                        break
                    except VersionConflict:
                        pass

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(count_up) for _ in range(4)]:
                done.result(_PATIENCE)
        assert storage.get("n") == 100

    def test_a_batch_is_seen_whole_or_not_at_all(self, storage: StorageBackend) -> None:
        keys = [f"{number:03}" for number in range(600)]
        storage.set_many((key, 0) for key in keys)
        stop = threading.Event()
        torn: list[Any] = []

        def read() -> int:
            rounds = 0
            while not stop.is_set() or rounds == 0:
                for seen in (
                    set(storage.get_many(keys).values()),
                    {entry.value for entry in storage.query()},
                ):
                    if len(seen) != 1:
                        torn.append(seen)
                rounds += 1
            return rounds

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            try:
                for number in range(1, 9):
                    storage.set_many((key, number) for key in keys)
            finally:
                stop.set()
            assert all(reader.result(_PATIENCE) for reader in readers)
        assert torn == []

    def test_a_block_belongs_to_its_thread(self, storage: StorageBackend) -> None:
        with ThreadPoolExecutor(1) as pool:
            with storage.transaction() as tx:
                other = pool.submit(storage.set, "other", 1)
                with pytest.raises(TransactionError):
                    storage.set("mine", 1)
                tx.set("inside", 1)
            other.result(_PATIENCE)
        assert storage.list() == ["inside", "other"]

    def test_a_handle_moves_between_threads(self, storage: StorageBackend) -> None:
        with _elsewhere() as one, _elsewhere() as two:
            tx = one(storage.begin_transaction)
            two(tx.set, "k", 1)
            assert one(tx.get, "k") == 1
            two(storage.commit, tx.id)
            assert storage.get("k") == 1
            snapshot = one(storage.begin_transaction, read_only=True)
            assert two(snapshot.get, "k") == 1
            two(snapshot.rollback)
            one(storage.set, "k", 2)

    def test_versions_rise_in_the_order_of_commit(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)

        def write(worker: int) -> None:
            for number in range(20):
                storage.set(f"{(worker + number) % 4}", worker, namespace="n")

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(write, worker) for worker in range(4)]:
                done.result(_PATIENCE)
        changes = storage.changes(namespace="n").changes
        assert len(changes) == 80
        for key in "0123":
            versions = [change.version for change in changes if change.key == key]
            assert versions == sorted(set(versions))
