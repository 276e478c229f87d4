"""Making and dropping indexes, inside an exclusive transaction.

A declaration is a row of ``storage_indexes``, seen and undone like any. A field index of PostgreSQL's own stands
behind it where the role owns the tables; it serves queries, and nothing but speed depends on it. What makes an index
unique are the prints of :mod:`.uniques`; text and vector indexes are rows too (:mod:`.keeping`), and the graph of a
large vector index serves speed alone (:mod:`.graphs`). A dropped declaration is gone at once; PostgreSQL's index goes
when upkeep finds a moment without readers, since DROP INDEX waits for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from ...contract import EntryList
from ...errors import BackendUnavailable, InvalidInput, UniqueViolation
from ...indexes import FieldIndex, Index, TextIndex, VectorIndex, index_from_json, index_to_json
from . import batches, graphs, keeping
from .kept_indexes import KeptIndexes, KeptVector, keep_text
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
_MARK: Final = """UPDATE {s}.storage_namespaces SET uniques = %s, searched = %s
WHERE tenant = {t} AND namespace = %s"""
_MAKE_VECTORS: Final = "SELECT {s}.storage_make_vectors()"
_HOME: Final = """SELECT n.nspname FROM pg_extension AS x JOIN pg_namespace AS n ON n.oid = x.extnamespace
WHERE x.extname = 'vector'"""
_FORGET: Final = {
    kind: [f"DELETE FROM {{s}}.{table} WHERE tenant = {{t}} AND index_id = %s" for table in (*tables, "storage_sums")]
    for kind, tables in (("text", ("storage_postings", "storage_texts")), ("vector", ("storage_vectors",)))
}
_CLAIM: Final = """INSERT INTO {s}.storage_unique (tenant, index_id, print, namespace, key)
SELECT {t}, %s, b.print, %s, b.key FROM unnest(%s::bytea[], %s::text[]) AS b (print, key)"""

_AT_ONCE: Final = 5_000
_PAGE: Final = 2_500


def create(steps: PostgresTransaction, namespace: str, index: Index, name: str | None) -> str:
    """Build an index; its name. Raises UniqueViolation, InvalidInput, InvalidFilter, InvalidValue, IndexFull, and
    BackendUnavailable for a vector index on a server without pgvector."""
    if not isinstance(index, Index):
        raise InvalidInput(f"{type(index).__name__} is no declaration of an index")
    name = index.default_name if name is None else name
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidInput("the name of an index is a non-empty string without NUL")
    paths = parse_index(index) if isinstance(index, FieldIndex) else ()
    for declaration, _ in steps.run(_FIND, (namespace, name)):
        if index_from_json(orjson.loads(declaration)) == index:
            return name
        raise InvalidInput(f"index {name!r} of namespace {namespace!r} has another declaration")
    batches.prepare(steps, [namespace])
    steps.take_time()
    index_id = _number(steps)
    sql_name = f"{steps.index_prefix}{index_id}"
    if isinstance(index, TextIndex):
        built = False
        for entries in _pages(steps, namespace):
            keeping.keep_texts(steps, keep_text(index_id, index), entries, fresh=True)
    elif isinstance(index, VectorIndex):
        built = _keep_all_vectors(steps, namespace, sql_name, KeptVector(index_id, name, index))
    else:
        built = steps.build_index(sql_name, namespace, index)
        if index.unique:
            _claim_all(steps, namespace, name, index_id, paths)
    declaration = orjson.dumps(index_to_json(index)).decode()
    steps.run(_ADD, (namespace, name, declaration, index_id, sql_name if built else ""))
    if not isinstance(index, FieldIndex) or index.unique:
        _mark(steps, namespace, index_id)
    return name


def drop(steps: PostgresTransaction, namespace: str, name: str) -> bool:
    """Remove an index; whether it existed."""
    if not isinstance(name, str) or "\0" in name:
        return False
    found = steps.run(_FIND, (namespace, name))
    for declaration, index_id in found:
        steps.run(_REMOVE, (namespace, name))
        index = index_from_json(orjson.loads(declaration))
        for order in _FORGET.get(index.kind, ()):
            steps.run(order, (index_id,))
        if not isinstance(index, FieldIndex) or index.unique:
            steps.run(_FREE, (index_id,))
            _mark(steps, namespace, _number(steps))
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


def _mark(steps: PostgresTransaction, namespace: str, generation: int) -> None:
    """Tell writers that what they have to send along has changed."""
    left = [index_from_json(orjson.loads(other)) for (other,) in steps.run(_LEFT, (namespace,))]
    searched = any(not isinstance(index, FieldIndex) for index in left)
    unique = any(isinstance(index, FieldIndex) and index.unique for index in left)
    steps.run(_MARK, (generation if searched or unique else 0, searched, namespace))


def _keep_all_vectors(steps: PostgresTransaction, namespace: str, sql_name: str, vector: KeptVector) -> bool:
    """Keep the vectors of a namespace; whether they have a graph from the start, as many of them do."""
    if not steps.run(_MAKE_VECTORS, ())[0][0]:
        raise BackendUnavailable(
            "a vector index needs the extension pgvector, 0.8 or newer, which this server does not have or does not let"
            " this role create; have an administrator run CREATE EXTENSION vector in this database"
        )
    found = steps.count(namespace=namespace)
    known = KeptIndexes(1, vectors=(vector,))
    if found > vector.declared.max_vectors:
        raise known.full(namespace)
    linked = steps.wants_graph(vector, found)
    for entries in _pages(steps, namespace):
        for entry in entries:
            known.check(entry)
        keeping.keep_vectors(steps, namespace, vector, entries, graphs.IN_GRAPH if linked else graphs.LOOSE)
    return linked and steps.build_graph(sql_name, str(steps.run(_HOME, ())[0][0]), vector, found)


def _pages(steps: PostgresTransaction, namespace: str) -> Iterator[EntryList]:
    entries = steps.scan(namespace=namespace)
    while page := list(islice(entries, _PAGE)):
        yield page
