"""Opening the shards, and making sure that each is the one it is taken for.

The first shard is written first, in one transaction: identity and table, which names all others. A creation that was
interrupted goes on at the next open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from ...contract import StorageBackend
from ...errors import BackendUnavailable, InvalidConfig, StorageError
from . import ledger
from .ledger import IDENTITY, RESERVED, TABLE
from .routing import Table
from .settings import OpenShard, ShardedSettings, ShardSource

_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^@/]*@")


def open_shard(source: ShardSource, settings: ShardedSettings) -> StorageBackend:
    """The storage itself, or the one opened at an address."""
    if isinstance(source, StorageBackend):
        return source
    opener: OpenShard | None = settings.open_shard
    if opener is None:
        from ...config import open_storage

        opener = open_storage
    return opener(source, **settings.shard_options)


def open_all(settings: ShardedSettings) -> tuple[Table, dict[str, StorageBackend]]:
    """The newest routing table and the shards by name. Raises InvalidConfig and what opening a shard raises."""
    shards: dict[str, StorageBackend] = {}
    try:
        for name, source in settings.shards.items():
            shards[name] = open_shard(source, settings)
        return _join(shards, settings), shards
    except BaseException:
        close_opened(shards, settings)
        raise


def close_opened(shards: Mapping[str, StorageBackend], settings: ShardedSettings) -> None:
    """Close the shards that were opened here, not those that were given as storages."""
    for name, shard in shards.items():
        if shard is not settings.shards.get(name):
            shard.close()


def _join(shards: Mapping[str, StorageBackend], settings: ShardedSettings) -> Table:
    home_name, home = next(iter(shards.items()))
    if home.get(TABLE, namespace=RESERVED) is None:
        _create(home, home_name, shards, settings)
    found = ledger.read_table(home, home_name)
    newest = found
    for position, (name, shard) in enumerate(shards.items()):
        identity = shard.get(IDENTITY, namespace=RESERVED)
        if identity is None and name in found.shards and not settings.read_only:
            _check_contents(shard, name, found)
            identity = write_identity(shard, name, found)
        if identity is None:
            continue  # in reserve: add_shard() takes it in
        if identity["cluster"] != found.cluster:
            raise InvalidConfig(f"shard {name!r} belongs to another sharded storage")
        if identity["name"] != name:
            raise InvalidConfig(
                f"the storage given as shard {name!r} (number {position}) is shard {identity['name']!r}:"
                " a wrong order or a wrong address"
            )
        table = ledger.read_table(shard, name)
        if table.epoch > newest.epoch:
            newest = table
    return newest


def _create(home: StorageBackend, name: str, shards: Mapping[str, StorageBackend], settings: ShardedSettings) -> None:
    table = Table(
        epoch=1,
        cluster=uuid4().hex,
        shards=tuple(shards),
        ring=settings.ring or tuple(shards),
        pins=dict(settings.pins or {}),
        lease=float(settings.lease),
        settle=float(settings.lease + 5 if settings.settle is None else settings.settle),
        addresses={},
    )
    if settings.read_only:
        raise InvalidConfig(f"shard {name!r} belongs to no sharded storage yet, and it was opened read-only")
    for other_name, other in shards.items():
        if other_name != name and other.get(IDENTITY, namespace=RESERVED) is not None:
            raise InvalidConfig(
                f"shard {other_name!r} belongs to a sharded storage and {name!r} to none: a wrong order or address"
            )
    _check_contents(home, name, table)
    with home.transaction() as tx:
        if tx.get(TABLE, namespace=RESERVED) is None:
            if tx.get(IDENTITY, namespace=RESERVED) is None:
                ledger.write(tx, IDENTITY, {"name": name, "cluster": table.cluster})
            ledger.write(tx, TABLE, table.to_json())


def write_identity(shard: StorageBackend, name: str, table: Table) -> dict[str, Any]:
    """Make a blank shard one of ours, or learn what it has become meanwhile."""
    with shard.transaction() as tx:
        identity: dict[str, Any] | None = tx.get(IDENTITY, namespace=RESERVED)
        if identity is None:
            identity = {"name": name, "cluster": table.cluster}
            ledger.write(tx, IDENTITY, identity)
            ledger.write(tx, TABLE, table.to_json())
        return identity


def _check_contents(shard: StorageBackend, name: str, table: Table) -> None:
    """Raise InvalidConfig if the shard already holds what would not be found there."""
    for top in ledger.tops(shard):
        if table.owner(top) != name and any(shard.count(namespace=own) for own in ledger.family(shard, top)):
            raise InvalidConfig(
                f"the storage given as shard {name!r} has entries of {top!r}, which would belong to shard"
                f" {table.owner(top)!r}: open it as the only shard, then use add_shard() and rebalance()"
            )


def address_of(source: ShardSource, shard: StorageBackend) -> str | None:
    """What other clients may open a shard by: its file, or its URL without a password."""
    path = shard.get_status().details.get("path")
    if isinstance(path, str):
        return path
    return _PASSWORD.sub(r"\1@", source) if isinstance(source, str) else None


def find_shard(name: str, table: Table, settings: ShardedSettings) -> StorageBackend:
    """Open a shard that was added after this client was. Raises BackendUnavailable."""
    address = table.addresses.get(name)
    problem: StorageError | None = None
    if address is not None:
        try:
            shard = open_shard(address, settings)
            identity = shard.get(IDENTITY, namespace=RESERVED)
            if identity == {"name": name, "cluster": table.cluster}:
                return shard
            shard.close()
        except StorageError as error:
            problem = error
    place = f" at {address!r}" if address else ""
    raise BackendUnavailable(
        f"shard {name!r} was added and cannot be reached{place}: add it to the shards given"
    ) from problem
