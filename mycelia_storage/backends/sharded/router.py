"""The router: finds the shard of a namespace, and makes sure that it still was the right one when the answer came.

See the package for the protocol. A :class:`View` is what the client knows at a moment; it is replaced, not changed,
when a shard shows a table with a newer epoch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from ...contract import StorageBackend, Transaction
from ...errors import CommitUnknown, InvalidInput, StorageBusy, StorageClosed, StorageError, TransactionError
from . import ledger
from .ledger import ARRIVED, FENCED, LEFT, MOVE, RESERVED, TABLE
from .routing import Table

T = TypeVar("T")

#: Seconds, also through the sleep of the machine where the system can tell.
clock: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)

#: Seconds between two looks at a fence.
FENCE_POLL: Final = 0.002

#: Namespaces whose place is remembered.
_REMEMBERED: Final = 10_000

#: Errors that say nothing about where a namespace is.
_NOT_ABOUT_PLACE: Final = (InvalidInput, StorageClosed, TransactionError)


class Lease:
    """Until when a shard's table is known to have no newer epoch, by :func:`clock`."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until = 0.0


class Route:
    """Where a settled namespace is."""

    __slots__ = ("lease", "shard")

    def __init__(self, shard: StorageBackend, lease: Lease) -> None:
        self.shard = shard
        self.lease = lease


class View:
    """A table with what has been learnt while it was the newest."""

    def __init__(self, table: Table, shards: Mapping[str, StorageBackend]) -> None:
        self.table = table
        self.shards = {name: shards[name] for name in table.shards}
        self.numbers = {name: number for number, name in enumerate(table.shards)}
        self.leases = {name: Lease() for name in table.shards}
        self.left: set[str] = set()
        """Names in transit that have left their owner; within an epoch they never come back."""
        self.closed: set[str] = set()
        """Owners that have nothing in transit left."""
        self.routes: dict[Any, Route] = {}
        """By namespace as callers give it."""
        self.arrived: dict[tuple[str, str], dict[str, Any] | None] = {}
        self._places: dict[str, tuple[str, str]] = {}

    def holder(self, top: str) -> tuple[str, bool]:
        """The shard to ask for ``top``, and whether it is settled there."""
        try:
            owner, heir = self._places[top]
        except KeyError:
            if len(self._places) >= _REMEMBERED:
                self._places.clear()
            owner, heir = self._places[top] = self.table.owner(top), self.table.heir(top)
        if heir == owner:
            return owner, True
        if top in self.left or owner in self.closed:
            return heir, True
        return owner, False

    def frozen(self) -> View:
        """A copy that what others learn does not reach."""
        if not self.table.is_moving:
            return self  # nothing can be learnt
        copy = View(self.table, self.shards)
        copy.left, copy.closed = set(self.left), set(self.closed)
        return copy


class Claim(NamedTuple):
    """What a shard's ledger says of a top-level namespace; ``fence`` is when its fence may be lifted (UTC ms)."""

    holds: bool
    fence: int | None


class Router:
    """The view of a storage, and the ways to work under it. Safe in any thread."""

    def __init__(
        self,
        table: Table,
        shards: Mapping[str, StorageBackend],
        find: Callable[[str, Table], StorageBackend],
        patience: float,
    ) -> None:
        self._shards = dict(shards)
        self._find = find
        self._patience = patience
        self._guard = threading.Lock()
        self._find_all(table)
        self.view = View(table, self._shards)

    @property
    def shards(self) -> dict[str, StorageBackend]:
        """Every shard that was opened, by name."""
        return self._shards

    # -- what is known -------------------------------------------------------------------------------------------------

    def adopt(self, table: Table) -> View:
        """Work with ``table`` if it is newer than what is known; the view that then holds."""
        with self._guard:
            if table.epoch > self.view.table.epoch:
                self._find_all(table)
                self.view = View(table, self._shards)
            return self.view

    def _find_all(self, table: Table) -> None:
        for name in table.shards:
            if name not in self._shards:
                self._shards[name] = self._find(name, table)

    def renew(self, view: View, name: str) -> View:
        """Renew the lease of a shard; another view than ``view`` if its table was newer."""
        began = clock()
        data = view.shards[name].get(TABLE, namespace=RESERVED)
        if data is None or data["epoch"] > view.table.epoch:
            return self.adopt(ledger.table_of(data, name))
        if data["closed"] and data["epoch"] == view.table.epoch:
            view.closed.add(name)
        view.leases[name].until = began + view.table.lease
        return view

    def current(self) -> View:
        """A view under which every shard has a lease, names that left their owner included."""
        view = self.view
        for name in view.shards:
            if clock() >= view.leases[name].until and self.renew(view, name) is not view:
                return self.current()
        if view.table.is_moving:
            for name in view.shards:
                if self.renew(view, name) is not view:
                    return self.current()
                for top, record in ledger.records(view.shards[name], MOVE, view.table.epoch).items():
                    if record["state"] == LEFT:
                        view.left.add(top)
        return view

    def look(self, view: View, top: str, name: str, reader: StorageBackend) -> Claim:
        """Whether the shard ``name`` holds ``top`` by its own ledger, read through ``reader``."""
        if not view.table.is_moving:
            data = reader.get(TABLE, namespace=RESERVED)
            if data is not None and data["epoch"] <= view.table.epoch:
                return Claim(view.holder(top)[0] == name, None)
        # Both at one moment: with the finish of an epoch its records go.
        rows = reader.get_many([TABLE, MOVE + top], namespace=RESERVED)
        table = ledger.table_of(rows.get(TABLE), name)
        if table.epoch > view.table.epoch:
            view = self.adopt(table)
        if table.epoch == view.table.epoch:
            if table.closed:
                view.closed.add(name)
            record = rows.get(MOVE + top)
            if record is not None and record["epoch"] == table.epoch:
                if record["state"] == LEFT:
                    view.left.add(top)
                elif record["state"] == FENCED:
                    return Claim(view.holder(top)[0] == name, record["until"])
        # A shard that is behind has given nothing away since: what the newer table says holds for it.
        return Claim(view.holder(top)[0] == name, None)

    def arrival(self, view: View, top: str, name: str) -> dict[str, Any] | None:
        """How ``top`` came to the shard that holds it, None when it was always there."""
        if (name, top) not in view.arrived:
            view.arrived[name, top] = view.shards[name].get(ARRIVED + top, namespace=RESERVED)
        return view.arrived[name, top]

    # -- single names --------------------------------------------------------------------------------------------------

    def read(self, namespace: str, given: Any, call: Callable[[StorageBackend], T]) -> T:
        """Carry out a read on the shard of ``namespace``, again if it turns out to have moved.

        ``given`` is the namespace as the caller spelt it, for the cache of routes.
        """
        top = ledger.checked_top(namespace)
        give_up = None
        while True:
            view = self.view
            name, settled = view.holder(top)
            shard, lease = view.shards[name], view.leases[name]
            result: Any = None
            failure: StorageError | None = None
            try:
                result = call(shard)
            except _NOT_ABOUT_PLACE:
                raise
            except StorageError as error:
                failure = error
            if self._still(view, top, name, settled):
                if failure is not None:
                    raise failure
                if settled:
                    if len(view.routes) >= _REMEMBERED:
                        view.routes.clear()
                    view.routes[given] = Route(shard, lease)
                return result  # type: ignore[no-any-return]
            give_up = self._wait(top, give_up, None, shard)

    def holds(self, view: View, top: str, name: str) -> bool:
        """Whether what was just read of ``top`` from the shard ``name`` counts."""
        known, settled = view.holder(top)
        return known == name and self._still(view, top, name, settled)

    def _still(self, view: View, top: str, name: str, settled: bool) -> bool:
        if settled:
            if clock() < view.leases[name].until:
                return True
            if self.renew(view, name) is view:
                return True
        return self.look(self.view, top, name, self._shards[name]).holds

    def write(self, namespace: str, call: Callable[[StorageBackend], T], *, batch: bool = False) -> T:
        """Carry out a write on the shard of ``namespace``; a ``batch`` in a transaction in any case.

        Raises CommitUnknown, StorageBusy and what ``call`` raises.
        """
        top = ledger.checked_top(namespace)
        give_up = None
        while True:
            view = self.view
            name, settled = view.holder(top)
            shard, lease = view.shards[name], view.leases[name]
            if batch or not settled:
                fence = None
                with shard.transaction() as tx:
                    claim = self.look(view, top, name, tx)
                    if claim.holds and claim.fence is None:
                        return call(tx)
                    fence = claim.fence if claim.holds else None
                    tx.rollback()
                give_up = self._wait(top, give_up, fence, shard)
                continue
            if clock() >= lease.until and self.renew(view, name) is not view:
                continue
            failure: StorageError | None = None
            result: Any = None
            try:
                result = call(shard)
            except (*_NOT_ABOUT_PLACE, CommitUnknown, StorageBusy):
                raise
            except StorageError as error:
                failure = error
            if clock() >= lease.until:
                claim = self.look(self.view, top, name, shard)
                if not claim.holds or claim.fence is not None:
                    if failure is not None:
                        continue  # it wrote nothing
                    raise CommitUnknown(
                        f"namespace {namespace!r} was moved to another shard during this write,"
                        " and whether the copy has it cannot be told: read back before retrying"
                    )
            if failure is not None:
                raise failure
            return result  # type: ignore[no-any-return]

    def begin(self, namespace: str, start: Callable[[StorageBackend], Transaction]) -> tuple[View, str, Transaction]:
        """A write transaction on the shard of ``namespace``, begun by ``start``."""
        top = ledger.checked_top(namespace)
        give_up = None
        while True:
            view = self.view
            name, _ = view.holder(top)
            shard = view.shards[name]
            tx = start(shard)
            try:
                claim = self.look(view, top, name, tx)
                if claim.holds and claim.fence is None:
                    return self.view, name, tx
            except BaseException:
                tx.rollback()
                raise
            tx.rollback()
            give_up = self._wait(top, give_up, claim.fence if claim.holds else None, shard)

    def _wait(self, top: str, give_up: float | None, fence: int | None, shard: StorageBackend) -> float:
        """Before another attempt: when to give up. Raises StorageBusy once that has come."""
        now = clock()
        if give_up is None:
            give_up = now + self._patience
        elif now >= give_up:
            raise StorageBusy(f"namespace {top!r} was being moved to another shard for longer than busy_timeout")
        if fence is not None:
            if fence < time.time_ns() // 1_000_000:
                self._lift_fence(top, shard)
            time.sleep(FENCE_POLL)
        return give_up

    def _lift_fence(self, top: str, shard: StorageBackend) -> None:
        """Let writers go on: the mover that fenced the name has not come back in time."""
        with shard.transaction() as tx:
            record = tx.get(MOVE + top, namespace=RESERVED)
            if record is not None and record["state"] == FENCED and record["until"] < time.time_ns() // 1_000_000:
                ledger.write(tx, MOVE + top, record | {"state": ledger.COPYING, "token": None})

    # -- all shards ----------------------------------------------------------------------------------------------------

    def everywhere(
        self, call: Callable[[View, Mapping[str, StorageBackend]], T], undo: Callable[[T], object] | None = None
    ) -> T:
        """Carry out a read of all shards, again if a namespace moved meanwhile; ``undo`` its result then."""
        while True:
            view = self.current()
            left, closed = frozenset(view.left), frozenset(view.closed)
            result = call(view, view.shards)
            try:
                if self.current() is view and view.left == left and view.closed == closed:
                    return result
            except BaseException:
                if undo is not None:
                    undo(result)
                raise
            if undo is not None:
                undo(result)
