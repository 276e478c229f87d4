"""PostgreSQL's own indexes behind the declared ones: their names, making them, and dropping what nobody declares.

An index of a partitioned table stands on the one partition that holds the namespace.
"""

from __future__ import annotations

from typing import Final

import psycopg

from ...indexes import FieldIndex
from .filter_sql import create_index_sql
from .place import Place, quote_name
from .pool import Link

_TABLE: Final = """SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = 'r' AND (c.relname = 'storage_entries' OR (c.relispartition
  AND c.relname LIKE 'storage\\_entries\\_p%%'
  AND satisfies_hash_partition((SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid),
    (SELECT count(*)::integer FROM pg_inherits WHERE inhparent = (SELECT inhparent FROM pg_inherits
      WHERE inhrelid = c.oid)),
    substr(c.relname, 18)::integer, %s::text COLLATE "C")))"""
_ORPHANS: Final = """SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = 'i' AND starts_with(c.relname, %s)
AND NOT EXISTS (SELECT 1 FROM {s}.storage_indexes WHERE tenant = {t} AND sql_name = c.relname)"""

#: Milliseconds that dropping an index may hold up the readers that come after it.
_MOMENT: Final = 50


def prefix(place: Place) -> str:
    """What the names of this schema's and tenant's indexes begin with."""
    return f"mycelia_ix_{place.lock & (2**64 - 1):016x}_"


def build(link: Link, place: Place, sql_name: str, namespace: str, index: FieldIndex) -> None:
    """Make an index, inside a transaction. Raises psycopg's errors, InvalidFilter, InvalidInput.

    Without statistics the planner takes a namespace for one row, and then reads it rather than the index.
    """
    table = link.rows(_TABLE, (place.schema, namespace), False)[0][0]
    statements = create_index_sql(sql_name, namespace, index, tenant=place.tenant or "", table=table)
    path = f"SET LOCAL search_path = {quote_name(place.schema)}, pg_temp"
    analyse = f"ANALYZE {quote_name(table)} (namespace, tenant)"
    link.script("; ".join([path, *statements, analyse, "SET LOCAL search_path TO DEFAULT"]))


def drop_orphans(link: Link, place: Place) -> None:
    """Drop indexes whose declarations are gone, as far as no reader is in the way. The link has no transaction open."""
    for (name,) in link.rows(place.sql(_ORPHANS), (place.schema, prefix(place)), False):
        try:
            link.script(
                f"BEGIN; SET LOCAL lock_timeout = {_MOMENT}; "
                f"DROP INDEX IF EXISTS {quote_name(place.schema)}.{quote_name(name)}; COMMIT"
            )
        except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege, psycopg.errors.DeadlockDetected):
            link.script("ROLLBACK")
