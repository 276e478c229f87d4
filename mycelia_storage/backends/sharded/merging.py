"""Answers of several shards as one. What a shard holds of names that belong elsewhere is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...contract import CheckReport, Status, StorageBackend
from . import ledger
from .ledger import RESERVED
from .router import View
from .routing import top_of

Shards = Mapping[str, StorageBackend]


def names_at(view: View, name: str, shard: StorageBackend) -> tuple[list[str], list[str]]:
    """The namespaces of a shard: those that users find there, and the rest."""
    users: list[str] = []
    others: list[str] = []
    for namespace in shard.list_namespaces():
        top = top_of(namespace)
        (users if top != RESERVED and view.holder(top)[0] == name else others).append(namespace)
    return users, others


def names(view: View, shards: Shards) -> list[str]:
    """The namespaces of all shards in order of their UTF-8 bytes."""
    found = [namespace for name, shard in shards.items() for namespace in names_at(view, name, shard)[0]]
    return sorted(found, key=str.encode)


def status(backend: str, view: View, shards: Shards) -> Status:
    """One status of all: healthy if every shard is, sizes added up, each shard's own under ``details``."""
    found: dict[str, Status] = {}
    for name, shard in shards.items():
        users, others = names_at(view, name, shard)
        own = shard.get_status()
        entries = own.entries - sum(shard.count(namespace=namespace) for namespace in others)
        found[name] = own._replace(entries=entries, namespaces=len(users))
    table = view.table
    errors = [f"shard {name!r}: {own.last_error}" for name, own in found.items() if own.last_error]
    details: dict[str, Any] = {
        "epoch": table.epoch,
        "ring": [*table.ring],
        "pins": table.pins,
        "rebalancing": table.is_moving,
        "shards": {name: own._asdict() for name, own in found.items()},
    }
    return Status(
        all(own.healthy for own in found.values()),
        backend,
        sum(own.entries for own in found.values()),
        sum(own.namespaces for own in found.values()),
        sum(own.size_bytes for own in found.values()),
        sum(own.wal_bytes for own in found.values()),
        max(own.schema_version for own in found.values()),
        errors[0] if errors else None,
        details,
    )


def check(view: View, shards: Shards) -> CheckReport:
    """One report of all, with what is wrong with a shard's place among the others."""
    problems = [
        f"shard {name!r}: {problem}" for name, shard in shards.items() for problem in _problems(view, name, shard)
    ]
    return CheckReport(not problems, problems)


def _problems(view: View, name: str, shard: StorageBackend) -> list[str]:
    problems = list(shard.check().problems)
    identity = shard.get(ledger.IDENTITY, namespace=RESERVED)
    if identity != {"name": name, "cluster": view.table.cluster}:
        problems.append("its identity is not what the routing table says")
    if ledger.read_table(shard, name).epoch < view.table.epoch:
        problems.append("its routing table is behind; rebalance() brings it up to date")
    for top in ledger.tops(shard):
        owner, heir = view.table.owner(top), view.table.heir(top)
        if name not in (owner, heir) and any(shard.count(namespace=own) for own in ledger.family(shard, top)):
            problems.append(f"it has entries of {top!r}, which belongs to shard {owner!r}")
    return problems
