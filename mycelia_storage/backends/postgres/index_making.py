"""Making and dropping indexes, inside an exclusive transaction.

A declaration is a row of ``storage_indexes``, seen and undone like any. A field index of PostgreSQL's own stands
behind it where the role owns the tables; it serves queries, and nothing but speed depends on it. What makes an index
unique are the prints of :mod:`.uniques`. A dropped declaration is gone at once; PostgreSQL's index goes when upkeep
finds a moment without readers, since DROP INDEX waits for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from ...errors import InvalidInput, UniqueViolation
from ...indexes import FieldIndex, Index, index_from_json, index_to_json
from . import batches
from .uniques import fingerprint, parse_index

if TYPE_CHECKING:
    from .transactions import PostgresTransaction

_FIND: Final = """SELECT declaration, index_id FROM {s}.storage_indexes
WHERE tenant = {t} AND namespace = %s AND name = %s"""
_NUMBER: Final = "SELECT nextval({numbers})"
_ADD: Final = """INSERT INTO {s}.storage_indexes (tenant, namespace, name, declaration, index_id, sql_name)
VALUES ({t}, %s, %s, %s, %s, %s)"""
_REMOVE: Final = "DELETE FROM {s}.storage_indexes WHERE tenant = {t} AND namespace = %s AND name = %s"
_FREE: Final = "DELETE FROM {s}.storage_unique WHERE tenant = {t} AND index_id = %s"
_LEFT: Final = "SELECT declaration FROM {s}.storage_indexes WHERE tenant = {t} AND namespace = %s"
_MARK: Final = "UPDATE {s}.storage_namespaces SET uniques = %s WHERE tenant = {t} AND namespace = %s"
_CLAIM: Final = """INSERT INTO {s}.storage_unique (tenant, index_id, print, namespace, key)
SELECT {t}, %s, b.print, %s, b.key FROM unnest(%s::bytea[], %s::text[]) AS b (print, key)"""

_AT_ONCE: Final = 5_000


def create(steps: PostgresTransaction, namespace: str, index: Index, name: str | None) -> str:
    """Build an index; its name. Raises UniqueViolation, InvalidInput, InvalidFilter."""
    if not isinstance(index, FieldIndex):
        raise InvalidInput(f"the postgres backend keeps no {type(index).__name__}")
    name = index.default_name if name is None else name
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidInput("the name of an index is a non-empty string without NUL")
    paths = parse_index(index)
    for declaration, _ in steps.run(_FIND, (namespace, name)):
        if index_from_json(orjson.loads(declaration)) == index:
            return name
        raise InvalidInput(f"index {name!r} of namespace {namespace!r} has another declaration")
    batches.prepare(steps, [namespace])
    index_id = _number(steps)
    sql_name = f"{steps.index_prefix}{index_id}"
    built = steps.build_index(sql_name, namespace, index)
    if index.unique:
        _claim_all(steps, namespace, name, index_id, paths)
        steps.run(_MARK, (index_id, namespace))
    declaration = orjson.dumps(index_to_json(index)).decode()
    steps.run(_ADD, (namespace, name, declaration, index_id, sql_name if built else ""))
    return name


def drop(steps: PostgresTransaction, namespace: str, name: str) -> bool:
    """Remove an index; whether it existed."""
    if not isinstance(name, str) or "\0" in name:
        return False
    found = steps.run(_FIND, (namespace, name))
    for declaration, index_id in found:
        steps.run(_REMOVE, (namespace, name))
        if _is_unique(declaration):
            steps.run(_FREE, (index_id,))
            left = any(_is_unique(other) for (other,) in steps.run(_LEFT, (namespace,)))
            steps.run(_MARK, (_number(steps) if left else 0, namespace))
    return bool(found)


def _claim_all(steps: PostgresTransaction, namespace: str, name: str, index_id: int, paths: Any) -> None:
    holders: dict[bytes, str] = {}
    seen: set[bytes] = set()
    for entry in steps.scan(namespace=namespace):
        print = fingerprint(paths, entry)
        if print is None:
            continue
        if print in seen:
            raise UniqueViolation(f"two entries collide (index {name!r} of namespace {namespace!r})")
        seen.add(print)
        holders[print] = entry.key
        if len(holders) >= _AT_ONCE:
            steps.run(_CLAIM, (index_id, namespace, list(holders), list(holders.values())))
            holders = {}
    if holders:
        steps.run(_CLAIM, (index_id, namespace, list(holders), list(holders.values())))


def _number(steps: PostgresTransaction) -> int:
    return int(steps.run(_NUMBER, ())[0][0])


def _is_unique(declaration: str) -> bool:
    index = index_from_json(orjson.loads(declaration))
    return isinstance(index, FieldIndex) and index.unique
