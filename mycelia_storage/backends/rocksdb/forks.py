"""What becomes of RocksDB in the child of a fork: nothing. It cannot be used there, and nothing of it is released.

RocksDB's threads do not exist in the child, yet it takes them for there: what it opens there would hang when the first
table is to be written, closing could write, and even the end of the process waits for the threads, for ever or until
it crashes. So storages refuse all calls in the child, opening one is an error, and the process ends without RocksDB's
last rites. A program started anew (``spawn``, ``exec``) is free of all this.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import TYPE_CHECKING

from ...errors import BackendUnavailable

if TYPE_CHECKING:
    from .storage import RocksDBStorageBackend

_storages: weakref.WeakSet[RocksDBStorageBackend] = weakref.WeakSet()
_was_used = False
_is_inherited = False


def begin_use() -> None:
    """RocksDB is about to be used in this process. Raises BackendUnavailable in the child of one that used it."""
    global _was_used
    if _is_inherited:
        raise BackendUnavailable(
            "RocksDB was used in this process before it forked and cannot be used in the child, where its threads are"
            ' missing: start the child anew, with multiprocessing.get_context("spawn") or a command of its own'
        )
    _was_used = True


def watch(storage: RocksDBStorageBackend) -> None:
    """Take part in forks from now on."""
    _storages.add(storage)


def _in_child() -> None:
    global _is_inherited
    if not _was_used:
        return
    _is_inherited = True
    for storage in list(_storages):
        for held in storage.abandon():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))  # never destroyed, not at the end of the process either
    _storages.clear()
    library = ctypes.CDLL(None)
    if hasattr(library, "on_exit"):  # called with the exit status, before what C++ registered earlier
        library.on_exit(library._exit, None)


os.register_at_fork(after_in_child=_in_child)
