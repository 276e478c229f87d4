"""Transactions on one shard, and snapshots of all.

A transaction for writing belongs to the shard of the first namespace that it touches, and begins there at that touch;
where every namespace is on one shard it begins at the call. A second shard raises TransactionError. A snapshot begins
at the call on every shard; each shows one moment of its shard, within the call. Savepoints stack.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from ...contract import ChangePage, StorageBackend, Transaction
from ...errors import StorageBusy, StorageClosed, StorageReadOnly, TransactionError, TransactionExpired
from ...names import Namespace, check_namespace
from . import ledger
from .changes import page_of
from .operations import ShardedOperations
from .router import View, clock

if TYPE_CHECKING:
    from .storage import ShardedStorageBackend

T = TypeVar("T")


class Work:
    """What a transaction and its savepoints share. ``place`` is the one shard that it writes to."""

    def __init__(self, storage: ShardedStorageBackend, isolation: str, bound: bool, read_only: bool) -> None:
        self.storage = storage
        self.isolation = isolation
        self.bound = bound
        self.read_only = read_only
        self.view: View | None = None
        self.place: str | None = None
        self.stack: list[ShardedTransaction] = []
        self.deadline = clock() + storage.settings.transaction_timeout
        self.lock = threading.RLock()
        self.thread = threading.get_ident() if bound and not read_only else None


class ShardedTransaction(ShardedOperations, Transaction):
    """A transaction, a savepoint in one, or a snapshot."""

    _spans_shards = False

    def __init__(self, work: Work, inners: dict[str, Transaction], read_only: bool) -> None:
        self.id = f"tx_{uuid4().hex}"
        self._work = work
        self._router = work.storage._router
        self._inners = inners
        self._read_only = read_only
        self._finished = False
        work.stack.append(self)
        work.storage._remember(self)

    @property
    def transactions_span_namespaces(self) -> bool:
        return self._work.storage.transactions_span_namespaces

    # -- life ------------------------------------------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        if self._finished or self._work.storage.is_closed or self not in self._work.stack:
            return False
        if not self._inners:
            return clock() < self._work.deadline
        return all(inner.is_active for inner in self._inners.values())

    @property
    def finished(self) -> bool:
        return self._finished

    def commit(self, id: str | None = None) -> None:
        if id is not None and id != self.id:
            return self._transaction(id).commit()
        return self._end(lambda inner: inner.commit())

    def rollback(self, id: str | None = None) -> None:
        if id is not None and id != self.id:
            return self._transaction(id).rollback()
        return self._end(lambda inner: inner.rollback())

    def _end(self, end: Callable[[Transaction], None]) -> None:
        with self._work.lock:
            self._check()
            try:
                for inner in self._inners.values():
                    end(inner)
            except TransactionExpired:
                raise
            except BaseException:
                self._finish()
                raise
            self._finish()

    def _finish(self) -> None:
        stack = self._work.stack
        while stack:
            ended = stack.pop()
            ended._finished = ended._finished or ended is self
            self._work.storage._forget(ended)
            if ended is self:
                break

    def _check(self) -> None:
        if self._finished:
            raise TransactionError(f"transaction {self.id} has ended")
        if self._work.storage.is_closed:
            raise StorageClosed("the storage was closed; its open transactions were rolled back")
        if self not in self._work.stack:
            raise TransactionError("the transaction around this savepoint has ended it")
        if not self._inners and clock() >= self._work.deadline:
            raise TransactionExpired("the transaction passed its time limit and was rolled back")

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> Transaction:
        with self._work.lock:
            self._check()
            inners = {name: inner._begin(read_only, isolation, bound) for name, inner in self._inners.items()}
            return ShardedTransaction(self._work, inners, read_only or self._read_only)

    def _transaction(self, id: str) -> Transaction:
        found = self._work.storage._transaction(id)
        if not isinstance(found, ShardedTransaction) or found._work is not self._work:
            raise TransactionError(f"no open transaction {id!r} in this one")
        return found

    # -- the shard -------------------------------------------------------------------------------------------------

    def _inner(self, namespace: Namespace) -> Transaction:
        """The shard's transaction for a namespace. The lock is held."""
        self._check()
        work = self._work
        name = check_namespace(namespace)
        top = ledger.checked_top(name)
        if work.view is None:
            self._open(name)
        assert work.view is not None
        place, settled = work.view.holder(top)
        if work.place is None:
            return self._inners[place]
        inner = self._inners[work.place]
        if not settled and place == work.place:
            claim = self._router.look(work.view, top, place, inner)
            if claim.fence is not None:
                raise StorageBusy(f"namespace {name!r} is being moved to another shard: try again")
            place, _ = work.view.holder(top)
        if place != work.place:
            raise TransactionError(
                f"namespace {name!r} is on shard {place!r} and this transaction on shard {work.place!r}:"
                " one commit covers one shard"
            )
        return inner

    def _open(self, namespace: str) -> None:
        """Begin on the shard of the first namespace, with every savepoint that stands by now."""
        work = self._work

        def start(shard: StorageBackend) -> Transaction:
            return shard._begin(False, work.isolation, work.bound)

        view, name, inner = self._router.begin(namespace, start)
        for transaction in work.stack:
            if transaction is not work.stack[0]:
                inner = inner._begin(transaction._read_only, work.isolation, work.bound)
            transaction._inners[name] = inner
        work.view, work.place = view.frozen(), name

    def _read(self, namespace: Namespace, call: Callable[[StorageBackend], T]) -> T:
        with self._work.lock:
            return call(self._inner(namespace))

    def _write(self, namespace: Namespace, call: Callable[[StorageBackend], T], *, batch: bool = False) -> T:
        with self._work.lock:
            self._check()
            if self._read_only:
                check_namespace(namespace)
                raise StorageReadOnly("a read-only transaction cannot write")
            return call(self._inner(namespace))

    def _gather(self, call: Callable[[View, Mapping[str, StorageBackend]], T]) -> T:
        with self._work.lock:
            self._check()
            view = self._work.view
            if view is None or not (self._work.read_only or view.table.sole_shard()):
                raise TransactionError(
                    "a transaction sees one shard: list, read changes or look after all namespaces outside it"
                )
            return call(view, self._inners)

    def _changes_of(self, namespace: str, since: int | None, limit: int | None) -> ChangePage:
        with self._work.lock:
            inner = self._inner(namespace)
            view = self._work.view
            assert view is not None
            name = view.holder(ledger.checked_top(namespace))[0]
            arrival = inner.get(ledger.ARRIVED + ledger.checked_top(namespace), namespace=ledger.RESERVED)
            return page_of(inner, view, name, arrival, namespace, since, limit)

    def ping(self) -> None:
        with self._work.lock:
            self._check()
            for inner in self._inners.values():
                inner.ping()

    def clear(self, *, namespace: Namespace | None = None) -> int:
        if namespace is not None:
            return self._write(namespace, lambda shard: shard.clear(namespace=namespace))
        self._check()
        if self._read_only:
            raise StorageReadOnly("a read-only transaction cannot write")
        return sum(self.clear(namespace=name) for name in self.list_namespaces())

    def __repr__(self) -> str:
        return f"ShardedTransaction({self.id!r})"
