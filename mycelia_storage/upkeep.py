"""The background thread of a storage: ends overdue transactions, sweeps expired entries and old changes.

It starts with the first write that needs it and holds its storage weakly, so a forgotten storage still goes away.
"""

from __future__ import annotations

import threading
import time
import weakref
from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol, TypeVar

from .errors import StorageBusy, StorageClosed, StorageError, StorageReadOnly


class Timed(Protocol):
    """The settings that say how often; seconds."""

    @property
    def sweep_interval(self) -> float: ...
    @property
    def transaction_timeout(self) -> float: ...


class Kept(Protocol):
    """What the thread needs of a storage."""

    _last_error: str | None

    @property
    def settings(self) -> Any: ...


S = TypeVar("S", bound=Kept)


class Upkeep(ABC, Generic[S]):
    """The thread of one storage. A backend's own says what there is to do: :meth:`look_after` and :meth:`sweep_up`."""

    def __init__(self, storage: S) -> None:
        self._storage = weakref.ref(storage)
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def look_after(self, storage: S) -> None:
        """What is done often: roll back the transactions that are past their time limit."""

    @abstractmethod
    def sweep_up(self, storage: S) -> None:
        """Remove expired entries, a bounded number per transaction, and changes past their limits."""

    @property
    def started(self) -> bool:
        """Whether the thread was started."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread unless it runs, was stopped, or the storage is only read."""
        if self._thread is not None:
            return
        storage = self._storage()
        with self._guard:
            if self._thread is None and storage is not None and not self._stop.is_set():
                self._thread = threading.Thread(
                    target=_run,
                    args=(weakref.ref(self), self._storage, self._stop, storage.settings),
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

    def sweep(self) -> None:
        """Sweep now."""
        storage = self._storage()
        if storage is not None and not storage.settings.read_only:
            self.sweep_up(storage)


def _run(upkeep: weakref.ref[Upkeep[S]], reference: weakref.ref[S], stop: threading.Event, settings: Timed) -> None:
    interval = settings.sweep_interval
    pause = min(interval, settings.transaction_timeout / 4)
    next_sweep = time.monotonic() + interval
    while not stop.wait(pause):
        storage, keeper = reference(), upkeep()
        if storage is None or keeper is None:
            return
        try:
            keeper.look_after(storage)
            if time.monotonic() >= next_sweep:
                next_sweep = time.monotonic() + interval
                keeper.sweep()
        except (StorageBusy, StorageReadOnly):
            pass  # next time
        except StorageClosed:
            return
        except StorageError as error:
            storage._last_error = f"upkeep: {error}"
        del storage, keeper
