"""The frame of a backend over states: who may write, which transactions are open, when to sweep."""

from __future__ import annotations

import threading
import weakref
from abc import abstractmethod
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import TypeVar

from ..clock import HybridClock
from ..contract import Status, Transaction
from ..dumps import write_dump
from ..errors import StorageBusy, StorageClosed, TransactionError, TransactionExpired
from ..indexes import VectorIndex
from ..nearest.index import NearestIndex
from ..nearest.settings import VectorSettings
from .draft import Draft
from .settings import StateSettings
from .state import State
from .transactions import StateTransaction, Work
from .turn import Claim, WriterTurn
from .writing import StateWrites

T = TypeVar("T")

#: Ids of expired transactions that are remembered, so that their use gets the right error.
_REMEMBERED = 1_000


class StateStorage(StateWrites):
    """A storage whose committed state is replaced by one writer at a time.

    A backend gives the states (``_state`` to read, ``_base`` to write upon) and ``_keep``, and calls ``_start``.
    """

    #: Changes a log may hold beyond its retention until the next sweep; 0 prunes it with every commit.
    _log_slack = 0

    def _start(self, settings: StateSettings) -> None:
        self.settings: StateSettings = settings
        self.clock = HybridClock()
        self.is_closed = False
        self._turn = WriterTurn()
        self._open: dict[str, StateTransaction] = {}
        self._expired: dict[str, None] = {}
        self._bound = threading.local()
        self._last_error: str | None = None
        self._sweeping_stopped = threading.Event()
        self._nearest: dict[tuple[str, VectorIndex], NearestIndex] = {}

    def _start_sweeping(self) -> None:
        stop = self._sweeping_stopped
        weakref.finalize(self, stop.set)
        arguments = (weakref.ref(self), stop, self.settings.sweep_interval)
        name = f"mycelia-{self.backend_name}-sweep"
        threading.Thread(target=_sweep_on, args=arguments, name=name, daemon=True).start()

    # -- what a backend gives --------------------------------------------------------------------------------------

    @abstractmethod
    def _base(self) -> State:
        """The committed state for a single write, which is made while it is the writer's turn."""

    @abstractmethod
    def _keep(self, state: State, touched: set[str]) -> None:
        """Make this the committed state; called while holding ``_turn.changed``. All of it or nothing."""

    @abstractmethod
    def _let_go(self) -> None:
        """Release everything, at the end of ``close``."""

    def check_open(self) -> None:
        """Raises StorageClosed."""
        if self.is_closed:
            raise StorageClosed("the storage is closed")

    # -- reading and writing ---------------------------------------------------------------------------------------

    def nearest_index(self, namespace: str, declared: VectorIndex) -> NearestIndex:
        """What is known of a vector index beside the state; nothing yet, if it was not asked for before."""
        found = self._nearest.get((namespace, declared))
        if found is None:
            settings = VectorSettings(
                self.settings.vectors_compared,
                linked_from=self.settings.vectors_linked,
                rescored=self.settings.vectors_rescored,
            )
            found = self._nearest.setdefault((namespace, declared), NearestIndex(declared, settings))
        return found

    def _whole_storage(self) -> StateStorage:
        return self

    def _shows_committed(self) -> bool:
        return True

    def _write(self, change: Callable[[Draft], T]) -> T:
        self._refuse_inside_bound()
        claim = self._claim(self.settings.busy_timeout / 1000)
        try:
            draft = Draft(self._base(), self.clock)
            result = change(draft)
            self._publish(claim, draft, draft.touched)
            return result
        finally:
            self._turn.give_up(claim)

    def _claim(self, timeout: float) -> Claim:
        self.check_open()
        claim = Claim()
        self._turn.take(claim, timeout)
        claim.start(self.settings.transaction_timeout)
        return claim

    def _publish(self, claim: Claim, draft: Draft, touched: set[str], slack: int | None = None) -> None:
        settings = self.settings
        slack = self._log_slack if slack is None else slack
        draft.prune(tuple(touched), settings.change_retention, settings.change_retention_age, slack)
        with self._turn.changed:
            self.check_open()
            if not self._turn.holds(claim):
                raise TransactionExpired("the transaction passed its time limit and was rolled back")
            self._keep(draft.state, touched)

    def _wait_for_commit(self, seconds: float) -> None:
        with self._turn.changed:
            if not self.is_closed:
                self._turn.changed.wait(seconds)

    # -- transactions ----------------------------------------------------------------------------------------------

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> Transaction:
        if read_only:
            self.check_open()
            claim = Claim()
            claim.start(self.settings.transaction_timeout)
        else:
            self._refuse_inside_bound()
            claim = self._claim(self.settings.busy_timeout / 1000)
        try:
            transaction = StateTransaction(Work(self, self._state(), claim, read_only), read_only=read_only)
        except BaseException:
            self._turn.give_up(claim)
            raise
        with self._turn.changed:
            self._forget_expired()
            self._open[transaction.id] = transaction
        if bound and not read_only:
            self._bound.transaction = transaction
        return transaction

    def _transaction(self, id: str) -> Transaction:
        self.check_open()
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
            if publish and work.touched and work.state is not None:
                self._publish(work.claim, Draft(work.state, self.clock), work.touched)
            elif publish:
                with self._turn.changed:
                    if not self._turn.holds(work.claim):
                        raise TransactionExpired("the transaction passed its time limit and was rolled back")
        finally:
            with self._turn.changed:
                self._open.pop(work.stack[0].id, None)
            self._turn.give_up(work.claim)

    def _forget_expired(self) -> None:
        for id in [id for id, transaction in self._open.items() if not transaction.is_active]:
            self._open.pop(id)._work.let_go()
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
            draft = Draft(self._base(), self.clock)
            draft.sweep()
            self._publish(claim, draft, {*draft.state.names()}, slack=0)
            for namespace, declared in list(self._nearest):
                space = draft.state.space(namespace)
                if space is None or declared not in space.vector_indexes.values():
                    self._nearest.pop((namespace, declared), None)
        finally:
            self._turn.give_up(claim)

    def backup(
        self, path: str | Path, *, overwrite: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Write a dump (:mod:`mycelia_storage.dumps`), which ``mycelia-storage load`` reads; mode 0600."""
        claim = Claim()
        claim.start(inf)
        snapshot = StateTransaction(Work(self, self._state(), claim, read_only=True), read_only=True)
        try:
            write_dump(snapshot, path, overwrite=overwrite, progress=progress)
        finally:
            snapshot._work.let_go()

    def close(self) -> None:
        with self._turn.changed:
            if self.is_closed:
                return
            self.is_closed = True
            for transaction in self._open.values():
                transaction._work.let_go()
            self._open.clear()
            self._sweeping_stopped.set()
            self._nearest.clear()
            try:
                self._let_go()
            finally:
                self._turn.changed.notify_all()


def _sweep_on(storage: weakref.ref[StateStorage], stop: threading.Event, interval: float) -> None:
    """Sweep every ``interval`` seconds until told to stop, or the storage is gone."""
    while not stop.wait(interval):
        target = storage()
        if target is None:
            return
        try:
            with target._turn.changed:
                target._forget_expired()
            target._sweep(0)
        except StorageBusy:
            pass  # a later round comes
        except StorageClosed:
            return
        except Exception as error:  # whatever it was, the next round is tried and the status tells
            target._last_error = f"sweep: {error}"
        del target
