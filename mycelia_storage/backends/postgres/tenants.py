"""Tenants: row level security, switched on by the first storage that is opened with one.

The policies come with the tables and sleep until then. A role that row level security does not bind (a superuser, one
with BYPASSRLS, an owner without FORCE) would see every tenant's rows through any slip, so such a role is refused.
"""

from __future__ import annotations

from typing import Final

import psycopg

from ...errors import InvalidConfig, StorageError
from .driver_errors import translate
from .place import Place, quote_name
from .pool import Link

TABLES: Final = (
    "storage_entries",
    "storage_namespaces",
    "storage_changes",
    "storage_indexes",
    "storage_unique",
    "storage_state",
    "storage_texts",
    "storage_postings",
    "storage_sums",
)

#: Made with the first vector index.
VECTORS: Final = "storage_vectors"

_ROLE: Final = "SELECT current_user::text, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
_UNGUARDED: Final = """SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND (c.relname = ANY (%s::text[]) OR starts_with(c.relname, 'storage_entries_p'))
AND c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND c.relforcerowsecurity) ORDER BY c.relname"""
_ENTER: Final = "SELECT {s}.storage_enter({t})"
_KNOWN: Final = "SELECT 1 FROM {s}.storage_namespaces WHERE tenant = {t} AND namespace = 'default'"


def confine(link: Link, place: Place, may_change: bool) -> None:
    """See that this role can reach the tenant's rows alone, and make the tenant's own rows.

    ``may_change``: switch row level security on if the role owns the tables. Raises InvalidConfig for a role that is
    not bound by it, StorageError where it is off and must stay so.
    """
    try:
        role, is_super, bypasses = link.rows(_ROLE, (), False)[0]
        if is_super or bypasses:
            why = "is a superuser" if is_super else "has BYPASSRLS"
            raise InvalidConfig(
                f"role {role!r} {why}, so row level security does not bind it: open a storage with a tenant as a"
                " role of its own"
            )
        unguarded = [name for (name,) in link.rows(_UNGUARDED, (place.schema, [*TABLES, VECTORS]), False)]
        if unguarded:
            _guard(link, place, role, unguarded, may_change)
        if may_change and not link.rows(place.sql(_KNOWN), ()):
            link.rows(place.sql(_ENTER), ())
    except psycopg.Error as error:
        raise translate(error, f"tenant of schema {place.schema!r}") from error


def _guard(link: Link, place: Place, role: str, tables: list[str], may_change: bool) -> None:
    orders = [
        f"ALTER TABLE {quote_name(place.schema)}.{quote_name(name)} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        for name in tables
    ]
    refusal = (
        f"row level security is not enabled and forced on {', '.join(tables)} in schema {place.schema!r}; as their"
        f" owner run: {'; '.join(orders)}"
    )
    if not may_change:
        raise StorageError(refusal)
    try:
        link.script("BEGIN; " + "; ".join(orders) + "; COMMIT")
    except psycopg.errors.InsufficientPrivilege:
        link.script("ROLLBACK")
        raise StorageError(f"role {role!r} does not own the tables, and {refusal}") from None
