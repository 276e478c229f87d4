"""What each shard keeps about itself, in a namespace that users of the sharded storage do not see.

No tuple of segments is ever written as ``~`` and another letter than 0 or 1, so only a raw string could meet the name;
such a string is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...contract import StorageBackend
from ...errors import InvalidNamespace, StorageCorrupt
from .routing import Table, top_of

RESERVED: Final = "~mycelia-shards"

IDENTITY: Final = "identity"
TABLE: Final = "table"
MOVE: Final = "move/"
INCOMING: Final = "incoming/"
ARRIVED: Final = "arrived/"

COPYING: Final = "copying"
FENCED: Final = "fenced"
LEFT: Final = "left"


def checked_top(namespace: str) -> str:
    """The top level of a checked namespace. Raises InvalidNamespace for the reserved one."""
    top = top_of(namespace)
    if top == RESERVED:
        raise InvalidNamespace(f"namespace {RESERVED!r} is reserved")
    return top


def read_table(shard: StorageBackend, name: str) -> Table:
    """The shard's routing table. Raises StorageCorrupt when it is gone."""
    return table_of(shard.get(TABLE, namespace=RESERVED), name)


def table_of(data: Any, name: str) -> Table:
    """A table as read from the shard ``name``."""
    if data is None:
        raise StorageCorrupt(f"shard {name!r} has lost its routing table")
    return Table.from_json(data)


def write(tx: StorageBackend, key: str, value: Mapping[str, Any]) -> None:
    """Write a record."""
    tx.set(key, dict(value), namespace=RESERVED)


def records(reader: StorageBackend, kind: str, epoch: int | None = None) -> dict[str, dict[str, Any]]:
    """All records of a kind by top-level namespace, of that epoch or of any."""
    found = {}
    for entry in reader.scan(namespace=RESERVED, prefix=kind):
        if epoch is None or entry.value["epoch"] == epoch:
            found[entry.key[len(kind) :]] = entry.value
    return found


def keep_tracking(tx: StorageBackend, namespace: str) -> None:
    """Note that users want a namespace tracked, should a move have turned tracking on for itself."""
    key = MOVE + top_of(namespace)
    record = tx.get(key, namespace=RESERVED)
    if record is not None and namespace in record["tracked"]:
        write(tx, key, record | {"tracked": [name for name in record["tracked"] if name != namespace]})


def family(reader: StorageBackend, top: str) -> list[str]:
    """The namespaces of a shard that are ``top`` or below it."""
    if top:
        return reader.list_namespaces(prefix=top)
    return [name for name in reader.list_namespaces() if top_of(name) == top]


def tops(reader: StorageBackend) -> list[str]:
    """The top-level namespaces that exist on a shard."""
    return list(dict.fromkeys(top for name in reader.list_namespaces() if (top := top_of(name)) != RESERVED))
