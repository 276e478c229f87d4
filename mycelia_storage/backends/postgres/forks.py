"""What happens to open storages when the process forks.

A connection is a socket that parent and child would share. The child leaves those it inherited untouched for good (to
close one would say good-bye in the parent's name) and opens connections of its own. A transaction that is open at that
moment goes on in the parent; the child's copy of it is of no use.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backend import PostgresStorageBackend

_storages: weakref.WeakSet[PostgresStorageBackend] = weakref.WeakSet()
_inherited: list[object] = []


def watch(storage: PostgresStorageBackend) -> None:
    """Take part in forks from now on."""
    _storages.add(storage)


def forget(storage: PostgresStorageBackend) -> None:
    """The storage has been closed."""
    _storages.discard(storage)


def _in_child() -> None:
    for storage in list(_storages):
        _inherited.extend((*storage._pools(), storage._listener, *storage._sessions))
        for session in storage._sessions:
            session.mutex = threading.RLock()
            session.state = "inherited"
        storage._transactions.clear()
        storage._reset()


os.register_at_fork(after_in_child=_in_child)
