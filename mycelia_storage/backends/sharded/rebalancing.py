"""Changing which shard has what: announce, move every namespace concerned, finish. See the package for the protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from ...contract import StorageBackend
from ...errors import InvalidConfig, InvalidNamespace, StorageBusy
from . import ledger, opening
from .cursors import MAX_SHARDS
from .ledger import IDENTITY, LEFT, MOVE, RESERVED, TABLE
from .moving import Move, MoveReport
from .router import Router, clock
from .routing import Table
from .settings import ShardedSettings, ShardSource


class RebalanceReport(NamedTuple):
    """What a rebalance did."""

    moves: list[MoveReport]

    @property
    def entries(self) -> int:
        """Entries that changed their shard."""
        return sum(move.entries for move in self.moves)


def add_shard(router: Router, settings: ShardedSettings, source: ShardSource, name: str | None) -> str:
    """Announce a ring with one shard more; the shard's name."""
    propagate(router)
    table = router.view.table
    shard = opening.open_shard(source, settings)
    identity = shard.get(IDENTITY, namespace=RESERVED)
    if name is None:
        known_as = [known for known, storage in router.shards.items() if storage is shard]
        name = identity["name"] if identity is not None else known_as[0] if known_as else f"s{len(table.shards)}"
    try:
        if name in table.shards:
            if identity == {"name": name, "cluster": table.cluster}:
                if shard is not router.shards.get(name) and not isinstance(source, StorageBackend):
                    shard.close()
                return name
            raise InvalidConfig(f"there is a shard {name!r} already")
        _check_new(shard, name, table)
        if table.is_moving:
            raise StorageBusy("another change of the shards is under way: finish it with rebalance()")
        address = opening.address_of(source, shard)
        new = table.announced(
            shards=(*table.shards, name),
            next_ring=(*table.ring, name),
            next_pins=dict(table.pins),
            addresses=table.addresses | ({} if address is None else {name: address}),
        )
        opening.write_identity(shard, name, table)
        router.shards[name] = shard
        _decide(router, new)
    except BaseException:
        if not isinstance(source, StorageBackend) and router.view.shards.get(name) is not shard:
            router.shards.pop(name, None)
            shard.close()
        raise
    return name


def _check_new(shard: StorageBackend, name: str, table: Table) -> None:
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidConfig("the name of a shard is a non-empty string")
    if len(table.shards) == MAX_SHARDS:
        raise InvalidConfig(f"a sharded storage has at most {MAX_SHARDS} shards")
    identity = shard.get(IDENTITY, namespace=RESERVED)
    if identity is not None and identity != {"name": name, "cluster": table.cluster}:
        raise InvalidConfig(f"the storage given as shard {name!r} is shard {identity['name']!r} already")
    for top in ledger.tops(shard):
        if any(shard.count(namespace=own) for own in ledger.family(shard, top)):
            raise InvalidConfig(f"the storage given as shard {name!r} is not empty: it has entries of {top!r}")


def pin(router: Router, namespace: str, shard: str | None) -> None:
    """Announce another pin, or one fewer."""
    top = ledger.checked_top(namespace)
    if top != namespace:
        raise InvalidNamespace(f"only a top-level namespace has a shard of its own, not {namespace!r}")
    propagate(router)
    table = router.view.table
    if shard is not None and shard not in table.shards:
        raise InvalidConfig(f"there is no shard {shard!r}")
    if table.is_moving:
        raise StorageBusy("another change of the shards is under way: finish it with rebalance()")
    pins = {name: place for name, place in table.pins.items() if name != top}
    if shard is not None:
        pins[top] = shard
    _decide(router, table.announced(next_ring=table.ring, next_pins=pins))


def _decide(router: Router, new: Table) -> None:
    """Make ``new`` the table, if it follows the one that the first shard has. Raises StorageBusy."""
    home = router.shards[new.shards[0]]
    with home.transaction() as tx:
        found = ledger.table_of(tx.get(TABLE, namespace=RESERVED), new.shards[0])
        if found.epoch != new.epoch - 1:
            raise StorageBusy("another client has changed the shards meanwhile: look, and try again")
        ledger.write(tx, TABLE, new.to_json())
    router.adopt(new)
    propagate(router)


def propagate(router: Router) -> None:
    """Bring every shard's table up to the newest there is, and forget the moves of earlier epochs."""
    home_name = router.view.table.shards[0]
    table = router.adopt(ledger.read_table(router.shards[home_name], home_name)).table
    for name in table.shards:
        shard = router.shards[name]
        if ledger.read_table(shard, name).epoch < table.epoch:
            with shard.transaction() as tx:
                if ledger.table_of(tx.get(TABLE, namespace=RESERVED), name).epoch < table.epoch:
                    ledger.write(tx, TABLE, replace(table, closed=False).to_json())
        for kind in (MOVE, ledger.INCOMING):
            old = [top for top, record in ledger.records(shard, kind).items() if record["epoch"] < table.epoch]
            if old:
                shard.delete_many([kind + top for top in old], namespace=RESERVED)


def rebalance(router: Router, progress: Callable[[int, int], None] | None) -> RebalanceReport:
    """Move what is in transit, then finish the epoch."""
    propagate(router)
    began = clock()
    table = router.view.table
    moves: list[MoveReport] = []
    if not table.is_moving:
        return RebalanceReport(moves)

    def settled() -> None:
        time.sleep(max(0.0, began + table.settle - clock()))

    donors = dict.fromkeys([*table.ring, *table.pins.values()])
    counter = _Counter(progress)
    for name in donors:
        counter.expect(sum(_size(router.shards[name], top) for top in _in_transit(router.shards[name], name, table)))
    for name in donors:
        while True:
            for top in _waiting(router.shards[name], name, table):
                heir = table.heir(top)
                move = Move(top, table, (name, router.shards[name]), (heir, router.shards[heir]))
                report = move.run(settled, counter.count)
                if report is not None:
                    moves.append(report)
            if _close(router.shards[name], name, table, settled):
                break
    try:
        _decide(router, table.finished())
    except StorageBusy:
        propagate(router)
        if router.view.table.epoch == table.epoch:
            raise
        # Another rebalance came to the same end first.
    return RebalanceReport(moves)


def _waiting(shard: StorageBackend, name: str, table: Table) -> list[str]:
    """The names in transit on a shard that have not left, or whose old copy is still there."""
    known = ledger.records(shard, MOVE, table.epoch)
    here = _in_transit(shard, name, table)
    return [top for top in here if top not in known or known[top]["state"] != LEFT or not known[top].get("cleaned")]


def _in_transit(reader: StorageBackend, name: str, table: Table) -> list[str]:
    return [top for top in ledger.tops(reader) if table.owner(top) == name and table.heir(top) != name]


def _close(shard: StorageBackend, name: str, table: Table, settled: Callable[[], None]) -> bool:
    """Give fresh names in transit to their new owners from now on; False if one has appeared meanwhile."""
    settled()
    with shard.transaction() as tx:
        found = ledger.table_of(tx.get(TABLE, namespace=RESERVED), name)
        if found.epoch != table.epoch:
            return found.epoch > table.epoch
        if _waiting(tx, name, table):
            return False
        ledger.write(tx, TABLE, replace(found, closed=True).to_json())
    return True


def _size(shard: StorageBackend, top: str) -> int:
    """Steps of progress: each entry is copied, and then compared."""
    return 2 * sum(shard.count(namespace=namespace) for namespace in ledger.family(shard, top))


class _Counter:
    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self._progress = progress
        self._done = self._total = 0

    def expect(self, steps: int) -> None:
        self._total += steps

    def count(self, steps: int) -> None:
        self._done += steps
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._total))
