"""What becomes of open storages in the child of a fork: they are unusable there, and nothing of them is released.

RocksDB's threads do not exist in the child and its locks may be held by them for ever, so even closing it could hang or
write. The folder stays locked by the parent; the child opens one of its own when the parent has closed.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .storage import RocksDBStorageBackend

_storages: weakref.WeakSet[RocksDBStorageBackend] = weakref.WeakSet()


def watch(storage: RocksDBStorageBackend) -> None:
    """Take part in forks from now on."""
    _storages.add(storage)


def _in_child() -> None:
    for storage in list(_storages):
        for held in storage.abandon():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))  # never destroyed, not at the end of the process either
    _storages.clear()


os.register_at_fork(after_in_child=_in_child)
