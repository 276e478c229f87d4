"""The sharded storage itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from ...contract import ChangePage, Entry, StorageBackend, Transaction, check_isolation
from ...dumps import write_dump
from ...errors import StorageClosed, TransactionError
from ...names import DEFAULT_NAMESPACE, Namespace, check_namespace
from . import ledger, opening, rebalancing
from .changes import page_of
from .operations import ShardedOperations
from .router import Router, View, clock
from .routing import Table
from .settings import ShardedSettings, ShardSource
from .transactions import ShardedTransaction, Work

T = TypeVar("T")

_REMEMBERED: Final = 1_000
_LOOK_EVERY: Final = 100


class ShardedStorageBackend(ShardedOperations):
    """Storage over several storages; see the package for how.

    >>> from mycelia_storage import MemoryStorageBackend
    >>> with ShardedStorageBackend([MemoryStorageBackend(), MemoryStorageBackend()]) as storage:
    ...     version = storage.set("k", {"answer": 42}, namespace="users/ada")
    ...     storage.get("k", namespace="users/ada")
    {'answer': 42}

    ``shards`` are storages, or addresses that ``open_storage`` opens; :class:`~.settings.ShardedSettings` lists the
    options. It owns its shards and closes them. Beyond the contract it has :meth:`add_shard`, :meth:`pin` and
    :meth:`rebalance`. Where one commit would have to cover several shards it raises TransactionError.

    Raises InvalidConfig (a wrong order, a wrong shard, options), and what opening a shard raises.
    """

    def __init__(
        self,
        shards: Sequence[ShardSource] | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if shards is not None:
            options["shards"] = shards
        self.settings = ShardedSettings.read(None, options)
        self.is_closed = False
        table, opened = opening.open_all(self.settings)
        try:
            self._router = Router(table, opened, self._find, self.settings.busy_timeout / 1000)
        except BaseException:
            opening.close_opened(opened, self.settings)
            raise
        self._open: dict[str, ShardedTransaction] = {}
        self._bound: dict[int, ShardedTransaction] = {}
        self._guard = threading.Lock()
        self.supports_transactions = all(shard.supports_transactions for shard in opened.values())
        self.supports_query = all(shard.supports_query for shard in opened.values())
        self.supports_metadata = all(shard.supports_metadata for shard in opened.values())

    def _find(self, name: str, table: Table) -> StorageBackend:
        return opening.find_shard(name, table, self.settings)

    @property
    def transactions_span_namespaces(self) -> bool:
        return self._router.view.table.sole_shard() is not None

    # -- the way to a shard ----------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Any:
        try:
            route = self._router.view.routes[namespace]
        except (KeyError, TypeError):
            pass
        else:
            value = route.shard.get(key, default, namespace=namespace)
            if clock() < route.lease.until:
                return value
        return self._read(namespace, lambda shard: shard.get(key, default, namespace=namespace))

    def get_entry(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Entry | None:
        try:
            route = self._router.view.routes[namespace]
        except (KeyError, TypeError):
            pass
        else:
            entry = route.shard.get_entry(key, namespace=namespace)
            if clock() < route.lease.until:
                return entry
        return self._read(namespace, lambda shard: shard.get_entry(key, namespace=namespace))

    def has(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> bool:
        try:
            route = self._router.view.routes[namespace]
        except (KeyError, TypeError):
            pass
        else:
            found = route.shard.has(key, namespace=namespace)
            if clock() < route.lease.until:
                return found
        return self._read(namespace, lambda shard: shard.has(key, namespace=namespace))

    def _read(self, namespace: Namespace, call: Callable[[StorageBackend], T]) -> T:
        if self.is_closed:
            raise StorageClosed("the storage is closed")
        return self._router.read(check_namespace(namespace), namespace, call)

    def _write(self, namespace: Namespace, call: Callable[[StorageBackend], T], *, batch: bool = False) -> T:
        if self.is_closed:
            raise StorageClosed("the storage is closed")
        if self._bound:
            self._refuse_inside_bound()
        return self._router.write(check_namespace(namespace), call, batch=batch)

    def _gather(self, call: Callable[[View, Mapping[str, StorageBackend]], T]) -> T:
        if self.is_closed:
            raise StorageClosed("the storage is closed")
        return self._router.everywhere(call)

    def scan(
        self,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
        after: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        options: dict[str, Any] = {"namespace": namespace, "prefix": prefix, "start": start, "end": end}
        options["reverse"] = reverse
        # Checked by the shard at the call; a scan reads nothing before it is drawn.
        self._read(namespace, lambda shard: shard.scan(after=after, limit=limit, **options))
        return self._scan(check_namespace(namespace), options, after, limit)

    def _scan(self, namespace: str, options: Any, after: str | None, limit: int | None) -> Iterator[Entry]:
        """Entries, each looked at under a lease after it was read; from where it stood if the namespace moves."""
        top = ledger.checked_top(namespace)
        while True:
            if self.is_closed:
                raise StorageClosed("the storage is closed")
            view = self._router.view
            name, settled = view.holder(top)
            lease = view.leases[name]
            entries = view.shards[name].scan(after=after, limit=limit, **options)
            moved = False
            if settled:
                until = lease.until
                for entry in entries:
                    if clock() >= until:
                        if not self._router.holds(view, top, name):
                            moved = True
                            break
                        until = lease.until
                    after = entry.key
                    if limit is not None:
                        limit -= 1
                    yield entry
            else:
                # Each look is a read of the ledger.
                while part := list(islice(entries, _LOOK_EVERY)):
                    if not self._router.holds(view, top, name):
                        moved = True
                        break
                    after = part[-1].key
                    if limit is not None:
                        limit -= len(part)
                    yield from part
            if not moved and self._router.holds(view, top, name):
                return

    def _changes_of(self, namespace: str, since: int | None, limit: int | None) -> ChangePage:
        def page(shard: StorageBackend) -> ChangePage:
            view = self._router.view
            top = ledger.checked_top(namespace)
            name = next(name for name, known in view.shards.items() if known is shard)
            return page_of(shard, view, name, self._router.arrival(view, top, name), namespace, since, limit)

        return self._read(namespace, page)

    def clear(self, *, namespace: Namespace | None = None) -> int:
        """As the contract has it; without ``namespace``, one namespace after the other, each by itself."""
        if namespace is not None:
            return self._write(namespace, lambda shard: shard.clear(namespace=namespace))
        self._refuse_inside_bound()
        first = self._write(DEFAULT_NAMESPACE, lambda shard: shard.clear(namespace=DEFAULT_NAMESPACE))
        others = [name for name in self.list_namespaces() if name != DEFAULT_NAMESPACE]
        return first + sum(self.clear(namespace=name) for name in others)

    # -- transactions ----------------------------------------------------------------------------------------------

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> Transaction:
        check_isolation(isolation)
        if self.is_closed:
            raise StorageClosed("the storage is closed")
        work = Work(self, isolation, bound, read_only)
        if read_only:
            view, snapshots = self._router.everywhere(
                lambda view, shards: (view, _begin_on_each(shards, isolation, bound)),
                lambda begun: _roll_back(begun[1]),
            )
            work.view = view.frozen()
            return ShardedTransaction(work, snapshots, read_only=True)
        self._refuse_inside_bound()
        inners: dict[str, Transaction] = {}
        if self._router.view.table.sole_shard() is not None:
            # Nothing to wait for: whatever is touched first will be there.
            view, name, inner = self._router.begin(
                DEFAULT_NAMESPACE, lambda shard: shard._begin(False, isolation, bound)
            )
            if view.table.sole_shard() is None:
                inner.rollback()
            else:
                work.view, work.place, inners[name] = view.frozen(), name, inner
        transaction = ShardedTransaction(work, inners, read_only=False)
        if bound:
            self._bound[threading.get_ident()] = transaction
        return transaction

    def _transaction(self, id: str) -> Transaction:
        if self.is_closed:
            raise StorageClosed("the storage is closed")
        found = self._open.get(id)
        if found is None:
            raise TransactionError(f"no open transaction {id!r}")
        return found

    def _remember(self, transaction: ShardedTransaction) -> None:
        with self._guard:
            self._open[transaction.id] = transaction
            if len(self._open) > _REMEMBERED:
                for id in [id for id, known in self._open.items() if not known.is_active][: _REMEMBERED // 2]:
                    del self._open[id]

    def _forget(self, transaction: ShardedTransaction) -> None:
        with self._guard:
            self._open.pop(transaction.id, None)
            thread = transaction._work.thread
            if thread is not None and self._bound.get(thread) is transaction:
                del self._bound[thread]

    def _refuse_inside_bound(self) -> None:
        thread = threading.get_ident()
        bound = self._bound.get(thread)
        if bound is None:
            return
        if bound.is_active:
            raise TransactionError("this thread has a transaction open: write through it, or end it first")
        del self._bound[thread]

    # -- shards ----------------------------------------------------------------------------------------------------

    def add_shard(self, shard: ShardSource, *, name: str | None = None) -> str:
        """Take in another, empty shard under ``name`` (default: ``s`` and its number); the name.

        From then on the namespaces that will belong to it are in transit: they are used as before, each write being
        a transaction, until :meth:`rebalance` has moved them. A shard that is in already changes nothing.
        Raises InvalidConfig, StorageBusy while another change is under way.
        """
        self._refuse_inside_bound()
        return rebalancing.add_shard(self._router, self.settings, shard, name)

    def pin(self, namespace: Namespace, shard: str | None) -> None:
        """Give a top-level namespace a shard whatever its hash says, or None to follow the hash; then rebalance().

        Raises InvalidConfig for an unknown shard, InvalidNamespace for a lower level, StorageBusy as add_shard does.
        """
        self._refuse_inside_bound()
        rebalancing.pin(self._router, check_namespace(namespace), shard)

    def rebalance(self, *, progress: Callable[[int, int], None] | None = None) -> rebalancing.RebalanceReport:
        """Move every namespace whose place changes, while others read and write; what was moved.

        ``progress(done, total)`` counts entries copied. Killed at any point, the next call goes on. Raises
        StorageBusy when another process has taken over, and what reading and writing the shards raise.
        """
        self._refuse_inside_bound()
        return rebalancing.rebalance(self._router, progress)

    # -- care ------------------------------------------------------------------------------------------------------

    def ping(self) -> None:
        if self.is_closed:
            raise StorageClosed("the storage is closed")
        for shard in self._router.view.shards.values():
            shard.ping()

    def optimize(self) -> None:
        self._refuse_inside_bound()
        if self.is_closed:
            raise StorageClosed("the storage is closed")
        for shard in self._router.shards.values():
            shard.optimize()

    def backup(
        self, path: str | Path, *, overwrite: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Write a dump (:mod:`mycelia_storage.dumps`), which ``mycelia-storage load`` reads; mode 0600.

        Of every shard one moment, the moments lying close together.
        """
        with self.transaction(read_only=True) as snapshot:
            write_dump(snapshot, path, overwrite=overwrite, progress=progress)

    def close(self) -> None:
        self.is_closed = True
        with self._guard:
            self._open.clear()
            self._bound.clear()
        self._router.view.routes.clear()
        for shard in self._router.shards.values():
            shard.close()

    def __repr__(self) -> str:
        return f"ShardedStorageBackend({list(self._router.view.table.shards)!r})"


def _begin_on_each(shards: Mapping[str, StorageBackend], isolation: str, bound: bool) -> dict[str, Transaction]:
    snapshots: dict[str, Transaction] = {}
    try:
        for name, shard in shards.items():
            snapshots[name] = shard._begin(True, isolation, bound)
    except BaseException:
        _roll_back(snapshots)
        raise
    return snapshots


def _roll_back(snapshots: Mapping[str, Transaction]) -> None:
    for snapshot in snapshots.values():
        snapshot.rollback()
