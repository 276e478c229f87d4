"""Another process holds the lock: StorageBusy within busy_timeout, then the same call works."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import StorageBusy

from .forkserver import ForkServer
from .plan_file import make_plan_file

TIMEOUT = 150  # milliseconds


def _in_transaction(storage: StorageBackend) -> None:
    with storage.transaction() as tx:
        tx.set("k", 2)


WRITES = {
    "set": lambda storage: storage.set("k", 2),
    "set_many": lambda storage: storage.set_many({"k": 2, "l": 3}),
    "delete": lambda storage: storage.delete("k"),
    "set_metadata": lambda storage: storage.set_metadata("k", {"a": 1}),
    "clear": lambda storage: storage.clear(),
    "create_namespace": lambda storage: storage.create_namespace("n"),
    "transaction": _in_transaction,
}


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_writes_against_a_held_lock_are_busy_and_then_work(tmp_path: Path, server: ForkServer, begin: str) -> None:
    path = str(tmp_path / "storage.db")
    with closing(SQLiteStorageBackend({"dbPath": path, "busyTimeout": TIMEOUT})) as storage:
        storage.set("k", 1)
        with server.start("locking:hold", path=path, begin=begin) as other:
            assert other.line() == "held"
            for name, write in WRITES.items():
                began = time.monotonic()
                with pytest.raises(StorageBusy):
                    write(storage)
                waited = time.monotonic() - began
                assert waited >= TIMEOUT / 1000 * 0.9, f"{name} did not wait"
                assert waited < TIMEOUT / 1000 + 5, f"{name} waited {waited} s"
            assert storage.get("k") == 1, "a reader does not wait for a writer in WAL"
            other.tell("release")
            assert other.line() == "released"
        for name, write in WRITES.items():
            storage.set("k", 1)
            write(storage)
            assert storage.check().ok, name


def test_a_write_waits_for_the_lock_and_goes_through(tmp_path: Path, server: ForkServer) -> None:
    path = str(tmp_path / "storage.db")
    with closing(SQLiteStorageBackend({"dbPath": path})) as storage:
        storage.set("k", 1)
        with server.start("locking:hold", path=path, begin="BEGIN IMMEDIATE") as other:
            assert other.line() == "held"
            writer = threading.Thread(target=storage.set, args=("k", 2))
            writer.start()
            assert storage.get("k") == 1
            other.tell("release")
            writer.join(10)
        assert storage.get("k") == 2


def test_a_rollback_journal_locked_exclusively_is_busy_for_readers_too(tmp_path: Path, server: ForkServer) -> None:
    path = str(tmp_path / "storage.db")
    with closing(SQLiteStorageBackend({"dbPath": path, "walMode": False, "busyTimeout": TIMEOUT})) as storage:
        storage.set("k", 1)
        with server.start("locking:hold", path=path, begin="BEGIN EXCLUSIVE") as other:
            assert other.line() == "held"
            with pytest.raises(StorageBusy):
                storage.get_entry("k")
            with pytest.raises(StorageBusy):
                storage.set("k", 2)
            other.tell("release")
            assert other.line() == "released"
        assert storage.get("k") == 1
        storage.set("k", 2)


def test_opening_a_locked_file_that_needs_a_migration_is_busy(tmp_path: Path, server: ForkServer) -> None:
    path = tmp_path / "plan.db"
    make_plan_file(path, 50)
    with server.start("locking:hold", path=str(path), begin="BEGIN IMMEDIATE") as other:
        assert other.line() == "held"
        with pytest.raises(StorageBusy):
            SQLiteStorageBackend({"dbPath": str(path), "busyTimeout": TIMEOUT})
        other.tell("release")
        assert other.line() == "released"
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        assert storage.count(namespace="old") == 50


def test_opening_a_file_that_another_process_writes_does_not_wait(tmp_path: Path, server: ForkServer) -> None:
    path = str(tmp_path / "storage.db")
    SQLiteStorageBackend({"dbPath": path}).close()
    with server.start("locking:hold", path=path, begin="BEGIN IMMEDIATE") as other:
        assert other.line() == "held"
        with closing(SQLiteStorageBackend({"dbPath": path, "busyTimeout": TIMEOUT})) as storage:
            assert storage.get("k") is None
            with pytest.raises(StorageBusy):
                storage.set("k", 1)
        other.tell("release")
        assert other.line() == "released"


def test_a_transaction_in_another_thread_is_waited_for_no_longer_than_the_timeout(tmp_path: Path) -> None:
    with closing(SQLiteStorageBackend({"dbPath": str(tmp_path / "s.db"), "busyTimeout": TIMEOUT})) as storage:
        handle = storage.begin_transaction()
        handle.set("k", 1)
        with pytest.raises(StorageBusy):
            storage.set("k", 2)
        storage.commit(handle.id)
        storage.set("k", 3)
        assert storage.get("k") == 3
