"""What happens to open storages when the process forks.

SQLite keeps a table of locks per file in memory. A child inherits that table but none of the locks, so even a new
connection in the child would trust locks that nobody holds. Hence everything is closed *before* the fork; parent and
child then each open connections of their own when next used. Where a transaction is open at that moment, it goes on
in the parent, and the child's copy of the storage is closed.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backend import SQLiteStorageBackend

_storages: weakref.WeakSet[SQLiteStorageBackend] = weakref.WeakSet()
_emptied: list[SQLiteStorageBackend] = []
_inherited: list[object] = []

_WAIT = 1.0


def watch(storage: SQLiteStorageBackend) -> None:
    """Take part in forks from now on."""
    _storages.add(storage)


def forget(storage: SQLiteStorageBackend) -> None:
    """The storage has been closed."""
    _storages.discard(storage)


def _before() -> None:
    for storage in list(_storages):
        if not storage._sessions.open() and storage._file.lock.acquire(_WAIT):
            _emptied.append(storage)
            storage._file.close_connections()


def _in_parent() -> None:
    while _emptied:
        _emptied.pop()._file.lock.release()


def _in_child() -> None:
    for storage in list(_storages):
        if storage in _emptied:
            storage._begin_in_child()
        else:
            # Its connections must be neither used nor closed here: keep them alive for good.
            file = storage._file
            _inherited.extend((file.connection, file.readers, storage._sessions.snapshots, file.local))
            _inherited.extend(file.readers)
            for session in storage._sessions.open():
                session.mutex = threading.RLock()
                session.state = "inherited"
            file.connection = None
            file.closed = True
            _storages.discard(storage)
    _emptied.clear()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
