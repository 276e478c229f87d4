"""Transactions of the memory backend: a private state that replaces the storage's at commit.

A transaction and its savepoints share one :class:`Work`. The savepoints form a stack: ending one ends those above it,
and undoing one puts back the state it began with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from ...contract import Entry, Transaction
from ...errors import StorageClosed, StorageReadOnly, TransactionError, TransactionExpired
from .draft import Draft
from .state import State
from .turn import Claim
from .writing import MemoryWrites

if TYPE_CHECKING:
    from .storage import MemoryStorageBackend

T = TypeVar("T")

_NOTHING = State()


class Work:
    """What a transaction and its savepoints share."""

    def __init__(self, storage: MemoryStorageBackend, state: State, claim: Claim, read_only: bool) -> None:
        self.storage = storage
        self.state = state
        self.claim = claim
        self.read_only = read_only
        self.touched: set[str] = set()
        self.stack: list[MemoryTransaction] = []
        self.lock = threading.RLock()

    def check(self) -> None:
        """Raise StorageClosed, TransactionExpired."""
        if self.storage.is_closed:
            raise StorageClosed("the storage was closed; its open transactions were rolled back")
        if self.claim.is_due:
            self.state = _NOTHING
            raise TransactionExpired("the transaction passed its time limit and was rolled back")


class MemoryTransaction(MemoryWrites, Transaction):
    """A transaction, a snapshot, or a savepoint of either."""

    def __init__(self, work: Work, *, read_only: bool) -> None:
        self.id = uuid4().hex
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
            if work.stack[0] is self:
                work.storage._end(work, publish=not work.read_only)
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
            ended._begun_with = _NOTHING
            if ended is self:
                break
        if not stack:
            self._work.state = _NOTHING

    def _check(self) -> None:
        if self._finished:
            raise TransactionError(f"transaction {self.id} has ended")
        self._work.check()

    def _state(self) -> State:
        state = self._work.state
        self._check()
        return state

    def _write(self, change: Callable[[Draft], T]) -> T:
        work = self._work
        with work.lock:
            self._check()
            if self._read_only:
                raise StorageReadOnly("a snapshot takes no writes")
            draft = Draft(work.state, work.storage.clock)
            result = change(draft)
            self._check()
            work.touched |= draft.touched
            work.state = draft.state
            return result

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> MemoryTransaction:
        with self._work.lock:
            self._check()
            return MemoryTransaction(self._work, read_only=read_only or self._read_only)

    def _transaction(self, id: str) -> Transaction:
        with self._work.lock:
            self._check()
            stack = self._work.stack
            for found in stack[stack.index(self) :]:
                if found.id == id:
                    return found
        raise TransactionError(f"no open transaction {id!r} in this one")
