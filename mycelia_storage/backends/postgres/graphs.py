"""Graphs (HNSW) over vector indexes: PostgreSQL's own indexes, which serve speed alone.

A graph is a partial index over the vectors of one index that are in the state ``IN_GRAPH``, as halves::

    CREATE INDEX mycelia_ix_..._5 ON storage_vectors USING hnsw ((embedding::halfvec(384)) halfvec_ip_ops)
    WITH (m = 16, ef_construction = 200) WHERE index_id = 5 AND state = 1

To put a vector into a graph takes far longer than to store it. So writers leave theirs ``LOOSE``, where every search
compares it with its query, and upkeep moves loose vectors into the graph a few at a time: a write is cheap, and a
search sees it at once. ``create_index`` over many vectors builds the whole graph, which takes less time.

A half has 11 bits: what the graph finds are candidates, ranked by the vectors themselves (:mod:`.vector_search`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import orjson
import psycopg

from ...indexes import VectorIndex, index_from_json
from . import physical
from .kept_indexes import KeptVector
from .place import Place, quote_name
from .pool import Link
from .vector_rows import ALWAYS, IN_GRAPH, LOOSE

if TYPE_CHECKING:
    from .backend import PostgresStorageBackend

__all__ = ["ALWAYS", "IN_GRAPH", "LOOSE", "build", "grow", "operator", "wanted"]

#: pgvector's limit for halves in HNSW.
MOST_DIMENSIONS: Final = 4_000
#: Vectors moved in one transaction: some tenths of a second, for which a writer of one of them may wait.
_AT_ONCE: Final = 100
#: Milliseconds that beginning a graph may hold up writers while it waits for those before.
_MOMENT: Final = 500
#: Loose vectors that are not worth a sweep's moving: to compare so many takes 0.2 ms.
_FEW: Final = 500
#: Bytes of memory for building: a half and links of 8 bytes on some levels. Past what it has, building is much slower.
_MOST_MEMORY: Final = 2_000_000_000

_INDEXES: Final = """SELECT i.index_id, i.namespace, i.name, i.declaration, i.sql_name,
(SELECT coalesce(sum(entries), 0)::bigint FROM {s}.storage_sums AS u WHERE u.index_id = i.index_id) AS entries,
(SELECT n.nspname FROM pg_extension AS x JOIN pg_namespace AS n ON n.oid = x.extnamespace WHERE x.extname = 'vector')
FROM {s}.storage_indexes AS i WHERE i.tenant = {t} AND i.declaration::json ->> 'kind' = 'vector' ORDER BY i.index_id"""
_NAME: Final = "UPDATE {s}.storage_indexes SET sql_name = %s WHERE tenant = {t} AND index_id = %s AND sql_name = ''"
_ENOUGH_LOOSE: Final = "SELECT 1 FROM {s}.storage_vectors WHERE index_id = %s AND state = 0 OFFSET %s LIMIT 1"
_MOVE: Final = """UPDATE {s}.storage_vectors SET state = 1 WHERE index_id = %s AND state = 0 AND key = ANY (ARRAY(
SELECT key FROM {s}.storage_vectors WHERE index_id = %s AND state = 0 LIMIT %s FOR UPDATE SKIP LOCKED))"""


def wanted(index: VectorIndex, entries: int, exact_up_to: int) -> bool:
    """Whether an index of so many vectors is to have a graph."""
    return entries > exact_up_to and index.dimensions <= MOST_DIMENSIONS


def operator(index: VectorIndex) -> tuple[str, str]:
    """pgvector's operator of distance, and its operators' class: cosine is the inner product of unit vectors."""
    return ("<->", "halfvec_l2_ops") if index.metric == "l2" else ("<#>", "halfvec_ip_ops")


def build(link: Link, place: Place, sql_name: str, home: str, vector: KeptVector, entries: int) -> None:
    """Make a graph over the vectors that are to be in it, inside a transaction. Raises psycopg's errors."""
    index, schema = vector.declared, quote_name(home)
    links = max(2, index.m)
    memory = min(_MOST_MEMORY, 64_000_000 + entries * (2 * index.dimensions + 40 * links + 100))
    link.script(
        f"SELECT set_config('maintenance_work_mem', greatest(pg_size_bytes(current_setting('maintenance_work_mem')),"
        f" {memory}) / 1024 || 'kB', true); "
        f"CREATE INDEX {quote_name(sql_name)} ON {quote_name(place.schema)}.storage_vectors USING hnsw"
        f" ((embedding::{schema}.halfvec({index.dimensions})) {schema}.{operator(index)[1]})"
        f" WITH (m = {links}, ef_construction = {min(1_000, max(4, 2 * links, index.ef_construction))})"
        f" WHERE index_id = {vector.index_id} AND state = {IN_GRAPH};"
        f" ANALYZE {quote_name(place.schema)}.storage_vectors"
    )


def grow(storage: PostgresStorageBackend, go_on: Callable[[], bool]) -> None:
    """Begin graphs that are wanted and move loose vectors into them, as long as ``go_on()``. Raises our errors."""
    for index_id, _, name, declaration, sql_name, entries, home in storage._rows(_INDEXES, ()):
        index: Any = index_from_json(orjson.loads(declaration))
        if not wanted(index, entries, storage.settings.vector_exact_up_to):
            continue
        if not sql_name and not _begin(storage, KeptVector(index_id, name, index), str(home), entries):
            continue
        if not storage._rows(_ENOUGH_LOOSE, (index_id, min(_FEW, entries // 100))):
            continue
        while _move(storage, index_id):
            if not go_on():
                return


def _move(storage: PostgresStorageBackend, index_id: int) -> bool:
    """Move some; whether there were any."""

    def move(link: Link) -> bool:
        link.rows(storage._place.sql(_MOVE), (index_id, index_id, _AT_ONCE), False)
        return link.affected > 0

    return storage._with_link(move)


def _begin(storage: PostgresStorageBackend, vector: KeptVector, home: str, entries: int) -> bool:
    """Make a graph that is still empty; whether there is one now. Writers of vectors wait for a moment."""
    place = storage._place
    sql_name = f"{physical.prefix(place)}{vector.index_id}"

    def make(link: Link) -> bool:
        try:
            link.script(f"BEGIN; SET LOCAL lock_timeout = {_MOMENT}" + (f"; {place.enter}" if place.enter else ""))
            link.rows(place.sql(_NAME), (sql_name, vector.index_id), False)
            mine = link.affected > 0
            if mine:
                build(link, place, sql_name, home, vector, entries)
            link.script("COMMIT")
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            link.script("ROLLBACK")
            return False
        except psycopg.Error:
            link.script("ROLLBACK")
            raise
        return True

    return storage._with_link(make)
