"""Children that fork with an open storage, or hold its lock while the library does everything else it can."""

from __future__ import annotations

import os

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.contract import Transaction
from mycelia_storage.errors import StorageClosed, StorageError

from .forkserver import Talk


def fork(talk: Talk, path: str) -> None:
    """Fork with an open storage, a warm reader and a transaction pending; both sides go on."""
    storage = SQLiteStorageBackend({"dbPath": path})
    storage.set("before", 1)
    assert storage.get("before") == 1
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert storage.get("before") == 1
            storage.set("from the child", storage.get("before") + 1)
            with storage.transaction() as tx:
                tx.set("by transaction", 3)
            storage.close()
            status = 0
        finally:
            os._exit(status)
    for number in range(200):
        storage.set(f"meanwhile{number}", number)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the child failed"
    storage.set("after", 1)
    assert storage.get("from the child") == 2
    assert storage.get("by transaction") == 3
    assert storage.count() == 204
    assert storage.check().ok
    storage.close()
    talk.say("both went on")


def fork_in_transaction(talk: Talk, path: str) -> None:
    """Fork inside a transaction: it is the parent's alone; the child's death does not end it.

    The child may find its copy of the storage closed, but must never write through it.
    """
    storage = SQLiteStorageBackend({"dbPath": path, "busyTimeout": 100})
    with storage.transaction() as tx:
        tx.set("k", "parent")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if _is_shut_out(storage, tx) else 2
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert status == 0, "the child wrote through its parent's transaction, or failed"
        tx.set("l", "parent")
    assert storage.get_many(["k", "l"]) == {"k": "parent", "l": "parent"}
    assert storage.check().ok
    storage.close()
    talk.say("the parent's transaction went on")


def lose_the_lock(talk: Talk, path: str) -> None:
    """Hold the write lock while this process does what drops POSIX locks when done carelessly."""
    storage = SQLiteStorageBackend({"dbPath": path})
    with storage.transaction() as tx:
        tx.set("k", "held")
        storage.get_status()
        storage.get("k")
        second = SQLiteStorageBackend({"dbPath": path})
        second.get("k")
        second.get_status()
        second.check()
        second.backup(path + ".copy")
        second.close()
        talk.say("holding")
        talk.wait()
    storage.close()
    talk.say("committed")


def _is_shut_out(storage: SQLiteStorageBackend, tx: Transaction) -> bool:
    for attempt in (lambda: tx.set("k", "child"), lambda: tx.commit(), lambda: storage.set("k", "child")):
        try:
            attempt()
        except StorageError:
            continue
        return False
    try:
        return storage.get("k") is None  # uncommitted, so invisible
    except StorageClosed:
        return True
