"""The memory backend itself: the published state, and whose turn it is to replace it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...clock import HybridClock
from ...contract import Status, Transaction
from ...dumps import write_dump
from ...errors import StorageBusy, StorageClosed, TransactionError, TransactionExpired
from .draft import Draft
from .settings import MemorySettings
from .state import State
from .transactions import MemoryTransaction, Work
from .turn import Claim, WriterTurn
from .writing import MemoryWrites

T = TypeVar("T")

#: Ids of expired transactions that are remembered, so that their use gets the right error.
_REMEMBERED = 1_000


class MemoryStorageBackend(MemoryWrites):
    """The contract in memory; gone when the process ends. The model that other backends are compared with.

    Options are those of :class:`MemorySettings`, as keywords or in one mapping.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = MemorySettings.read(config, options)
        self.clock = HybridClock()
        self.is_closed = False
        self._published = State()
        self._turn = WriterTurn()
        self._open: dict[str, MemoryTransaction] = {}
        self._expired: dict[str, None] = {}
        self._bound = threading.local()
        self._last_error: str | None = None
        stop = threading.Event()
        self._stop_sweeping = weakref.finalize(self, stop.set)
        arguments = (weakref.ref(self), stop, self.settings.sweep_interval)
        threading.Thread(target=_sweep_on, args=arguments, name="mycelia-memory-sweep", daemon=True).start()

    # -- reading and writing ---------------------------------------------------------------------------------------

    def _state(self) -> State:
        if self.is_closed:
            raise StorageClosed("the storage is closed")
        return self._published

    def _write(self, change: Callable[[Draft], T]) -> T:
        self._refuse_inside_bound()
        claim = self._claim(self.settings.busy_timeout / 1000)
        try:
            draft = Draft(self._state(), self.clock)
            result = change(draft)
            self._publish(claim, draft, draft.touched)
            return result
        finally:
            self._turn.give_up(claim)

    def _claim(self, timeout: float) -> Claim:
        self._state()
        claim = Claim()
        self._turn.take(claim, timeout)
        claim.start(self.settings.transaction_timeout)
        return claim

    def _publish(self, claim: Claim, draft: Draft, touched: set[str]) -> None:
        draft.prune(tuple(touched), self.settings.change_retention, self.settings.change_retention_age)
        with self._turn.changed:
            self._state()
            if not self._turn.holds(claim):
                raise TransactionExpired("the transaction passed its time limit and was rolled back")
            self._published = draft.state

    def _wait_for_commit(self, seconds: float) -> None:
        with self._turn.changed:
            if not self.is_closed:
                self._turn.changed.wait(seconds)

    # -- transactions ----------------------------------------------------------------------------------------------

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> Transaction:
        if read_only:
            claim = Claim()
            claim.start(self.settings.transaction_timeout)
        else:
            self._refuse_inside_bound()
            claim = self._claim(self.settings.busy_timeout / 1000)
        transaction = MemoryTransaction(Work(self, self._state(), claim, read_only), read_only=read_only)
        with self._turn.changed:
            self._forget_expired()
            self._open[transaction.id] = transaction
        if bound and not read_only:
            self._bound.transaction = transaction
        return transaction

    def _transaction(self, id: str) -> Transaction:
        self._state()
        with self._turn.changed:
            self._forget_expired()
            if id in self._expired:
                raise TransactionExpired("the transaction passed its time limit and was rolled back")
            found = self._open.get(id)
        if found is None:
            raise TransactionError(f"no open transaction {id!r}")
        return found

    def _end(self, work: Work, *, publish: bool) -> None:
        """Commit or forget the work of a transaction."""
        try:
            if publish:
                self._publish(work.claim, Draft(work.state, self.clock), work.touched)
        finally:
            with self._turn.changed:
                self._open.pop(work.stack[0].id, None)
            self._turn.give_up(work.claim)

    def _forget_expired(self) -> None:
        for id in [id for id, transaction in self._open.items() if not transaction.is_active]:
            del self._open[id]
            self._expired[id] = None
        while len(self._expired) > _REMEMBERED:
            del self._expired[next(iter(self._expired))]

    def _refuse_inside_bound(self) -> None:
        bound = getattr(self._bound, "transaction", None)
        if bound is None:
            return
        if bound.is_active:
            raise TransactionError("this thread has a transaction open: write through it, or use its transaction()")
        self._bound.transaction = None

    # -- care ------------------------------------------------------------------------------------------------------

    def get_status(self) -> Status:
        with self._turn.changed:
            transactions = sum(transaction.is_active for transaction in self._open.values())
        status = super().get_status()
        details = status.details | {"open_transactions": transactions}
        return status._replace(last_error=self._last_error, details=details)

    def optimize(self) -> None:
        self._refuse_inside_bound()
        self._sweep(self.settings.busy_timeout / 1000)

    def _sweep(self, timeout: float) -> None:
        claim = self._claim(timeout)
        try:
            draft = Draft(self._state(), self.clock)
            draft.sweep()
            tracked = {space.name for space in draft.state.spaces.values() if len(space.log)}
            self._publish(claim, draft, tracked)
        finally:
            self._turn.give_up(claim)

    def backup(
        self, path: str | Path, *, overwrite: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Write a dump (:mod:`mycelia_storage.dumps`), which ``mycelia-storage load`` reads; mode 0600."""
        snapshot = MemoryTransaction(Work(self, self._state(), Claim(), read_only=True), read_only=True)
        write_dump(snapshot, path, overwrite=overwrite, progress=progress)

    def close(self) -> None:
        with self._turn.changed:
            self.is_closed = True
            self._open.clear()
            self._published = State()
            self._turn.changed.notify_all()
        self._stop_sweeping()


def _sweep_on(storage: weakref.ref[MemoryStorageBackend], stop: threading.Event, interval: float) -> None:
    """Sweep every ``interval`` seconds until told to stop, or the storage is gone."""
    while not stop.wait(interval):
        target = storage()
        if target is None:
            return
        try:
            target._sweep(0)
        except StorageBusy:
            pass  # a later round comes
        except StorageClosed:
            return
        except Exception as error:  # whatever it was, the next round is tried and the status tells
            target._last_error = f"sweep: {error}"
        del target
