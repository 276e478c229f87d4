"""AsyncStorage: the storage contract for asyncio.

    async with AsyncStorage(SQLiteStorageBackend("agent.db")) as db:
        await db.set("ada", {"age": 36}, namespace="users")
        async with db.transaction() as tx:
            await tx.set("bob", {"age": 41}, namespace="users")

Nothing is implemented a second time: every method sends the method of the same name to a worker thread
(:mod:`mycelia_storage.lanes`). Which lane decides who can wait for whom:

============  =======  =================================================================================
lane          threads  carries
============  =======  =================================================================================
reads         4        reads and snapshots; they never wait for a writer
writes        1        writes and the begin of transactions, in the order they were made
transaction   1        what happens inside the open transaction, for which the lane of writes may be waiting
work          4        ``run`` and whatever takes long: check, backup, optimize
watchers      64       waits for changes, each at most WATCH_SLICE seconds long
============  =======  =================================================================================

**Cancelling.** A call that is cancelled before its turn is not made; one under way ends unheard, so a cancelled write
may have happened. A cancelled begin is undone, a cancelled block is rolled back, a commit under way runs to its end:
no transaction of ``async with db.transaction()`` stays open. A handle from ``begin_transaction`` is its owner's to
end, like any, and its time limit is the last resort.

An AsyncStorage works for one event loop at a time, and for the next one when that is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    MutableSet,
    Sequence,
)
from functools import partial, wraps
from itertools import islice
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar
from weakref import WeakSet

from .contract import Change, ChangePage, Entry, StorageBackend, Transaction
from .errors import StorageClosed, TransactionError
from .lanes import Lane
from .names import DEFAULT_NAMESPACE, KeyPart, Namespace
from .storage_lanes import StorageLanes, abandon, certainly, commit, roll_back, roll_back_strictly

P = ParamSpec("P")
R = TypeVar("R")

#: A cancelled ``watch`` leaves its thread after at most this many seconds.
WATCH_SLICE: Final = 0.25

_DEFAULT: Final = {"namespace": DEFAULT_NAMESPACE}

#: Entries that ``scan`` fetches per hop.
SCAN_PAGE: Final = 100

_Method = Callable[Concatenate[StorageBackend, P], R]
_Awaited = Callable[Concatenate["_AsyncContract", P], Coroutine[Any, Any, R]]


def _on(lane: str) -> Callable[[_Method[P, R]], _Awaited[P, R]]:
    """Makes the awaitable method of a contract method, carried by the lane that ``_lane(lane)`` gives."""

    def awaited(method: _Method[P, R]) -> _Awaited[P, R]:
        name = method.__name__

        @wraps(method)
        async def call(self: _AsyncContract, /, *args: P.args, **kwargs: P.kwargs) -> R:
            result: R = await self._lane(lane).submit(getattr(self._target, name), args, kwargs)
            return result

        return call

    return awaited


_reads = _on("reads")
_writes = _on("writes")
_works = _on("work")


class _AsyncContract:
    """The methods that a storage and a transaction have in common."""

    _target: StorageBackend
    _get: Callable[..., Any]

    def _lanes(self) -> StorageLanes:
        raise NotImplementedError

    def _lane(self, name: str) -> Lane:
        """The lane for "reads", "writes" or "work" """
        raise NotImplementedError

    get_entry = _reads(StorageBackend.get_entry)
    has = _reads(StorageBackend.has)
    get_many = _reads(StorageBackend.get_many)
    get_across = _reads(StorageBackend.get_across)
    list = _reads(StorageBackend.list)
    query = _reads(StorageBackend.query)
    count = _reads(StorageBackend.count)
    get_metadata = _reads(StorageBackend.get_metadata)
    list_namespaces = _reads(StorageBackend.list_namespaces)
    get_namespace = _reads(StorageBackend.get_namespace)
    list_indexes = _reads(StorageBackend.list_indexes)
    follow = _reads(StorageBackend.follow)
    follow_keys = _reads(StorageBackend.follow_keys)
    search_text = _reads(StorageBackend.search_text)
    search_vectors = _reads(StorageBackend.search_vectors)
    has_near = _reads(StorageBackend.has_near)
    changes = _reads(StorageBackend.changes)
    ping = _reads(StorageBackend.ping)
    get_status = _reads(StorageBackend.get_status)

    set = _writes(StorageBackend.set)
    delete = _writes(StorageBackend.delete)
    set_many = _writes(StorageBackend.set_many)
    delete_many = _writes(StorageBackend.delete_many)
    restore = _writes(StorageBackend.restore)
    run_transaction = _writes(StorageBackend.run_transaction)
    clear = _writes(StorageBackend.clear)
    set_metadata = _writes(StorageBackend.set_metadata)
    create_namespace = _writes(StorageBackend.create_namespace)
    delete_namespace = _writes(StorageBackend.delete_namespace)
    create_index = _writes(StorageBackend.create_index)
    drop_index = _writes(StorageBackend.drop_index)

    check = _works(StorageBackend.check)
    query_sql = _works(StorageBackend.query_sql)
    backup = _works(StorageBackend.backup)
    optimize = _works(StorageBackend.optimize)
    component_migrator = _works(StorageBackend.component_migrator)

    def _reads(self) -> Lane:
        return self._lane("reads")

    @wraps(StorageBackend.get)
    def get(
        self, key: str, default: Any = None, *, namespace: Namespace = DEFAULT_NAMESPACE
    ) -> Coroutine[Any, Any, Any]:
        # No coroutine function: of the contract this is what gets gathered by the hundred, and a future costs less.
        args = (key,) if default is None else (key, default)
        kwargs = _DEFAULT if namespace == DEFAULT_NAMESPACE else {"namespace": namespace}
        return self._reads().submit(self._get, args, kwargs)

    async def scan(
        self,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
        after: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[Entry]:
        """Entries in key order, as StorageBackend.scan gives them; arguments are checked at the first step."""
        bounds = {"namespace": namespace, "prefix": prefix, "start": start, "end": end, "after": after}
        kwargs = {**bounds, "reverse": reverse, "limit": limit}
        entries: Iterator[Entry] = await self._lane("reads").submit(self._target.scan, (), kwargs)
        while page := await self._lane("reads").submit(_page, (entries,)):
            for entry in page:
                yield entry

    async def scan_prefixes(
        self,
        prefixes: Iterable[str],
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        parts: Mapping[int, Collection[KeyPart]] | None = None,
    ) -> AsyncIterator[Entry]:
        """The entries under each prefix in turn; arguments are checked at the first step."""
        kwargs = {"namespace": namespace, "parts": parts}
        entries: Iterator[Entry] = await self._lane("reads").submit(self._target.scan_prefixes, (prefixes,), kwargs)
        while page := await self._lane("reads").submit(_page, (entries,)):
            for entry in page:
                yield entry

    async def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """``function(*args, **kwargs)`` on a worker thread: how a layer on :attr:`storage` is called."""
        result: R = await self._lane("work").submit(function, args, kwargs)
        return result

    @property
    def storage(self) -> StorageBackend:
        """The synchronous storage or transaction behind this one, to build a layer on. Use it inside ``run``."""
        return self._target

    def transaction(self, *, read_only: bool = False, isolation: str = "serializable") -> _TransactionBlock:
        """A transaction for ``async with``: commits at the end of the block, rolls back on an exception or cancel.

        It belongs to the task: until it ends, that task's writes through the storage itself raise TransactionError,
        and those of other tasks wait. On a transaction it is a savepoint.
        """
        return _TransactionBlock(self, read_only, isolation)

    async def begin_transaction(self, *, read_only: bool = False, isolation: str = "serializable") -> AsyncTransaction:
        """The same for explicit commit and rollback; belongs to no task."""
        lanes = self._lanes()
        kwargs = {"read_only": read_only, "isolation": isolation}
        lane = self._lane("reads" if read_only else "writes")
        begun = lane.submit(self._target.begin_transaction, (), kwargs, undo=roll_back)
        try:
            transaction: Transaction = await asyncio.shield(begun)
        except asyncio.CancelledError:
            # It may be waiting for the lock, or have begun already: whatever it comes to is undone.
            begun.add_done_callback(partial(abandon, lanes))
            raise
        return AsyncTransaction(transaction, lanes, read_only)

    def _owners(self) -> MutableSet[asyncio.Task[Any]]:
        """The tasks with an open block of ``transaction()`` that writes."""
        raise NotImplementedError


class AsyncStorage(_AsyncContract):
    """The storage contract for asyncio. Owns ``storage``: closing this closes it."""

    def __init__(self, storage: StorageBackend) -> None:
        self._target = storage
        self._get = storage.get
        self._bound: StorageLanes | None = None
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._closing: asyncio.Future[None] | None = None
        self.supports_transactions = storage.supports_transactions
        self.supports_query = storage.supports_query
        self.supports_metadata = storage.supports_metadata
        self.backend_name = storage.backend_name

    def _lanes(self) -> StorageLanes:
        lanes, loop = self._bound, asyncio.get_running_loop()
        if lanes is not None and lanes.loop is loop:
            return lanes
        if self._closing is not None:
            raise StorageClosed("the storage has been closed")
        if lanes is not None:
            if not lanes.loop.is_closed():
                raise RuntimeError("this AsyncStorage belongs to another event loop, which is still open")
            lanes.stop()
        self._bound = StorageLanes(self._target, self._get, loop)
        return self._bound

    def _reads(self) -> Lane:
        lanes = self._bound
        if lanes is None or lanes.loop is not asyncio.get_running_loop():
            lanes = self._lanes()
        return lanes.reads

    def _lane(self, name: str) -> Lane:
        lanes = self._lanes()
        if name == "reads":
            return lanes.reads
        if name == "work":
            return lanes.work
        if self._tasks and asyncio.current_task() in self._tasks:
            raise TransactionError("this task has a transaction open: write through it, or after it")
        return lanes.writes

    def _owners(self) -> MutableSet[asyncio.Task[Any]]:
        return self._tasks

    async def commit(self, id: str) -> None:
        """Commit the transaction of that id. Raises TransactionError, TransactionExpired, CommitUnknown."""
        await certainly(self._lanes(), self._target.commit, id)

    async def rollback(self, id: str) -> None:
        """Undo the transaction of that id. Raises TransactionError, TransactionExpired."""
        await certainly(self._lanes(), self._target.rollback, id)

    async def watch(
        self, *, namespace: Namespace | None = None, since: int | None = None, timeout: float | None = None
    ) -> AsyncIterator[Change]:
        """New changes as they are committed, by any process, as StorageBackend.watch gives them.

        ``since=None`` starts at the first step. ``timeout`` bounds the wait for the next change, in seconds.
        """
        lanes = self._lanes()
        cursor = since
        if cursor is None:
            cursor = await lanes.reads.submit(self._target._last_seq)
        waited_from = lanes.loop.time()
        while True:
            left = None if timeout is None else waited_from + timeout - lanes.loop.time()
            patience = WATCH_SLICE if left is None else max(min(WATCH_SLICE, left), 0)
            page: ChangePage = await lanes.watchers.submit(_await_changes, (self._target, namespace, cursor, patience))
            cursor = page.cursor
            for change in page.changes:
                yield change
            if page.changes:
                waited_from = lanes.loop.time()
            elif left is not None and left <= patience:
                return

    async def close(self) -> None:
        """Finish the calls under way, roll back what is open and release everything. Closing twice is no error."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        lanes = self._bound
        if lanes is None or lanes.loop is not asyncio.get_running_loop():
            lanes = self._bound = StorageLanes(self._target, self._get, asyncio.get_running_loop())
        # The lane of writes may be waiting for one of these.
        for transaction in tuple(lanes.open.values()):
            lanes.transaction.submit(roll_back, (transaction,), certain=True)
        for lane in (lanes.writes, lanes.reads, lanes.work, lanes.watchers):
            await lane.drained()
        closed = lanes.transaction.submit(self._target.close, certain=True)
        await lanes.transaction.drained()
        await closed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncTransaction(_AsyncContract):
    """A transaction for asyncio: sees its own writes, invisible to others until :meth:`commit`."""

    def __init__(self, transaction: Transaction, lanes: StorageLanes, read_only: bool) -> None:
        self._target: Transaction = transaction
        self._get = transaction.get
        self._bound = lanes
        self._read_only = read_only
        self.id = transaction.id
        if not read_only:
            lanes.open[self.id] = transaction

    def _lanes(self) -> StorageLanes:
        return self._bound

    def _lane(self, name: str) -> Lane:
        return self._bound.reads if self._read_only else self._bound.transaction

    def _owners(self) -> MutableSet[asyncio.Task[Any]]:
        return set()  # a savepoint claims nothing: its transaction has

    @property
    def is_active(self) -> bool:
        """Whether it can still be used."""
        return self._target.is_active

    @property
    def finished(self) -> bool:
        """Whether commit or rollback was called."""
        return self._target.finished

    async def commit(self, id: str | None = None) -> None:
        """Make the writes durable and visible, all at once. With an id: of that savepoint."""
        await self._end(commit, id)

    async def rollback(self, id: str | None = None) -> None:
        """Undo the writes. With an id: of that savepoint."""
        await self._end(roll_back_strictly, id)

    async def _end(self, function: Callable[[Transaction, str | None], None], id: str | None) -> None:
        try:
            await certainly(self._bound, function, self._target, id)
        finally:
            if id is None:
                self._bound.open.pop(self.id, None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or roll back on an exception; nothing if the block already did either."""
        if error is not None:
            if self.is_active:
                await certainly(self._bound, roll_back, self._target)
            self._bound.open.pop(self.id, None)
        elif not self.finished:
            await self.commit()


class _TransactionBlock:
    """What ``transaction()`` returns: begins at ``async with``."""

    def __init__(self, storage: _AsyncContract, read_only: bool, isolation: str) -> None:
        self._storage = storage
        self._read_only = read_only
        self._isolation = isolation
        self._transaction: AsyncTransaction | None = None
        self._task: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> AsyncTransaction:
        if self._transaction is not None:
            raise TransactionError("a transaction block is entered once; call transaction() again")
        storage = self._storage
        self._transaction = await storage.begin_transaction(read_only=self._read_only, isolation=self._isolation)
        self._task = asyncio.current_task()
        if self._task is not None and not self._read_only:
            storage._owners().add(self._task)
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._transaction is not None
        try:
            await self._transaction.__aexit__(kind, error, trace)
        finally:
            if self._task is not None:
                self._storage._owners().discard(self._task)


def _page(entries: Iterator[Entry]) -> Sequence[Entry]:
    return tuple(islice(entries, SCAN_PAGE))


def _await_changes(storage: StorageBackend, namespace: Namespace | None, cursor: int, patience: float) -> ChangePage:
    """The changes after ``cursor``, having waited for one at most ``patience`` seconds."""
    page = storage.changes(namespace=namespace, since=cursor)
    if page.changes or page.has_more:
        return page
    for _ in storage.watch(namespace=namespace, since=page.cursor, timeout=patience):
        break
    # Read again either way: the cursor also moves past the changes of other namespaces, which may be pruned.
    return storage.changes(namespace=namespace, since=page.cursor)
