"""The background thread: ends overdue transactions, sweeps expired entries and old changes.

It starts with the first write that needs it and holds its storage weakly, so a forgotten storage still goes away.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

from ...errors import StorageBusy, StorageClosed, StorageError
from .reading import now_ms

if TYPE_CHECKING:
    from .backend import SQLiteStorageBackend

_SWEEP_AT_ONCE = 500
_ANY_EXPIRED = "SELECT 1 FROM storage_entries WHERE expires_at <= ? LIMIT 1"
_ANY_CHANGES = "SELECT 1 FROM storage_changes LIMIT 1"


class Upkeep:
    """The thread of one storage."""

    def __init__(self, storage: SQLiteStorageBackend) -> None:
        self._storage = weakref.ref(storage)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def start(self) -> None:
        """Start the thread unless it runs."""
        if self._thread is not None:
            return
        storage = self._storage()
        with self._guard:
            if self._thread is None and storage is not None and not storage.settings.read_only:
                settings = storage.settings
                pause = min(settings.sweep_interval, settings.transaction_timeout / 4)
                self._thread = threading.Thread(
                    target=_run,
                    args=(self._storage, self._stop, pause, settings.sweep_interval),
                    name="mycelia-upkeep",
                    daemon=True,
                )
                self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def restart_in_child(self) -> None:
        """Threads do not survive a fork."""
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._thread = None

    def expire_transactions(self) -> None:
        """Roll back the transactions that are past their time limit."""
        storage = self._storage()
        if storage is not None:
            for session in [storage._session, *storage._snapshots]:
                if session is not None:
                    session.expire()

    def sweep(self) -> None:
        """Remove expired entries, a bounded number per transaction, and changes past their limits."""
        storage = self._storage()
        if storage is None or storage.settings.read_only:
            return
        while storage._rows(_ANY_EXPIRED, (now_ms(),)):
            storage._write(lambda writer: writer.sweep(_SWEEP_AT_ONCE))
        if storage._rows(_ANY_CHANGES, ()):
            storage._write(lambda writer: writer.prune())


def _run(reference: weakref.ref[SQLiteStorageBackend], stop: threading.Event, pause: float, interval: float) -> None:
    next_sweep = time.monotonic() + interval
    while not stop.wait(pause):
        storage = reference()
        if storage is None:
            return
        try:
            storage._upkeep.expire_transactions()
            if time.monotonic() >= next_sweep:
                next_sweep = time.monotonic() + interval
                storage._upkeep.sweep()
        except StorageBusy:
            pass  # next time
        except StorageClosed:
            return
        except StorageError as error:
            storage._last_error = f"upkeep: {error}"
        del storage
