"""Transactions: a private state that replaces the storage's at commit.

A transaction and its savepoints share one :class:`Work`. The savepoints form a stack: ending one ends those above it,
and undoing one puts back the state it began with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from ..contract import Entry, Transaction
from ..errors import StorageReadOnly, TransactionError, TransactionExpired
from .draft import Draft
from .state import State
from .turn import Claim
from .writing import StateWrites

if TYPE_CHECKING:
    from .storage import StateStorage

T = TypeVar("T")


class Work:
    """What a transaction and its savepoints share."""

    def __init__(self, storage: StateStorage, state: State, claim: Claim, read_only: bool) -> None:
        self.storage = storage
        self.state: State | None = state
        self.claim = claim
        self.read_only = read_only
        self.touched: set[str] = set()
        self.stack: list[StateTransaction] = []
        self.lock = threading.RLock()

    def check(self) -> None:
        """Raises StorageClosed, TransactionExpired."""
        self.storage.check_open()
        if self.claim.is_due:
            self.let_go()
            raise TransactionExpired("the transaction passed its time limit and was rolled back")

    def let_go(self) -> None:
        """Hold no state any longer: the transaction is over, whoever still has it."""
        state, self.state = self.state, None
        if state is not None:
            state.release()
        for transaction in self.stack:
            transaction._begun_with = None


class StateTransaction(StateWrites, Transaction):
    """A transaction, a snapshot, or a savepoint of either."""

    def __init__(self, work: Work, *, read_only: bool) -> None:
        self.id = uuid4().hex
        self.backend_name = work.storage.backend_name
        self._work = work
        self._read_only = read_only
        self._begun_with = work.state
        self._finished = False
        work.stack.append(self)

    @property
    def is_active(self) -> bool:
        work = self._work
        return not (self._finished or work.claim.is_due or work.storage.is_closed)

    @property
    def finished(self) -> bool:
        return self._finished

    def commit(self, id: str | None = None) -> None:
        if id is not None and id != self.id:
            self._transaction(id).commit()
            return
        work = self._work
        with work.lock:
            self._check()
            try:
                if work.stack[0] is self:
                    work.storage._end(work, publish=not work.read_only)
            finally:  # a commit that failed has undone everything
                self._finish()

    def rollback(self, id: str | None = None) -> None:
        if id is not None and id != self.id:
            self._transaction(id).rollback()
            return
        work = self._work
        with work.lock:
            self._check()
            work.state = self._begun_with
            if work.stack[0] is self:
                work.storage._end(work, publish=False)
            self._finish()

    def restore(self, entries: Iterable[Entry]) -> int:
        return self._restore(entries)

    def _finish(self) -> None:
        stack = self._work.stack
        while True:
            ended = stack.pop()
            ended._finished = True
            ended._begun_with = None
            if ended is self:
                break
        if not stack:
            self._work.let_go()

    def _check(self) -> None:
        if self._finished:
            raise TransactionError(f"transaction {self.id} has ended")
        self._work.check()

    def _state(self) -> State:
        state = self._work.state
        self._check()
        assert state is not None  # it is let go of at the end alone
        return state

    def _whole_storage(self) -> StateStorage:
        return self._work.storage

    def _shows_committed(self) -> bool:
        return self._work.read_only

    def _write(self, change: Callable[[Draft], T]) -> T:
        work = self._work
        with work.lock:
            self._check()
            if self._read_only:
                raise StorageReadOnly("a snapshot takes no writes")
            draft = Draft(self._state(), work.storage.clock)
            result = change(draft)
            self._check()
            work.touched |= draft.touched
            work.state = draft.state
            return result

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> StateTransaction:
        with self._work.lock:
            self._check()
            return StateTransaction(self._work, read_only=read_only or self._read_only)

    def _transaction(self, id: str) -> Transaction:
        with self._work.lock:
            self._check()
            stack = self._work.stack
            for found in stack[stack.index(self) :]:
                if found.id == id:
                    return found
        raise TransactionError(f"no open transaction {id!r} in this one")
