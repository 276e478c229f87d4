"""The background thread: ends overdue transactions, sweeps expired entries, old changes and dropped indexes.

It starts with the first write or transaction and holds its storage weakly, so a forgotten storage still goes away.
Sweeps of several processes do not get in each other's way: each takes the entries that no other is at.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from ...errors import StorageBusy, StorageClosed, StorageError, StorageReadOnly
from . import physical

if TYPE_CHECKING:
    from .backend import PostgresStorageBackend

SWEEP: Final = "SELECT {s}.storage_sweep({w}, %s)"
PRUNE: Final = "SELECT {s}.storage_prune({w}, %s, %s)"
_ANY_EXPIRED: Final = """SELECT 1 FROM {s}.storage_entries
WHERE tenant = {t} AND expires_at IS NOT NULL AND expires_at <= {now} LIMIT 1"""
_ANY_CHANGES: Final = "SELECT 1 FROM {s}.storage_changes WHERE tenant = {t} LIMIT 1"
_NOW: Final = "SELECT {now}"

_SWEEP_AT_ONCE: Final = 500


class Upkeep:
    """The thread of one storage."""

    def __init__(self, storage: PostgresStorageBackend) -> None:
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
            if self._thread is None and storage is not None and not self._stop.is_set():
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

    def expire_transactions(self) -> None:
        """Roll back the transactions that are past their time limit."""
        storage = self._storage()
        if storage is not None:
            for session in list(storage._sessions):
                session.expire()

    def sweep(self) -> None:
        """Remove expired entries, a bounded number per transaction, and changes past their limits."""
        storage = self._storage()
        if storage is None or storage.settings.read_only:
            return
        while storage._rows(_ANY_EXPIRED, ()):
            if not storage._call(SWEEP, (_SWEEP_AT_ONCE,)):
                break
        if storage._rows(_ANY_CHANGES, ()):
            age = storage.settings.change_retention_age
            older = None if age is None else storage._rows(_NOW, ())[0][0] - int(age * 1000)
            storage._call(PRUNE, (storage.settings.change_retention, older))
        try:
            storage._with_link(lambda link: physical.drop_orphans(link, storage._place))
        except StorageError as error:
            storage._last_error = f"dropping an index: {error}"


def _run(reference: weakref.ref[PostgresStorageBackend], stop: threading.Event, pause: float, interval: float) -> None:
    next_sweep = time.monotonic() + interval
    while not stop.wait(pause):
        storage = reference()
        if storage is None:
            return
        try:
            storage._upkeep.expire_transactions()
            for pool in storage._pools():
                pool.close_idle()
            if time.monotonic() >= next_sweep:
                next_sweep = time.monotonic() + interval
                storage._upkeep.sweep()
        except (StorageBusy, StorageReadOnly):
            pass  # next time
        except StorageClosed:
            return
        except StorageError as error:
            storage._last_error = f"upkeep: {error}"
        del storage
