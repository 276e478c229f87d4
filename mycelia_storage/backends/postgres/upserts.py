"""Rows of a batch on their way into ``storage_entries``: sent along with one upsert, or staged by COPY before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .transactions import PostgresTransaction

_Row = tuple[Any, ...]

#: The columns of the stage, in the order of a row; ``version`` and the times are restore's.
COLUMNS: Final = {
    "namespace": "text",
    "key": "text",
    "value": "bytea",
    "is_json": "bool",
    "document": "text",
    "metadata": "text",
    "metadata_document": "text",
    "ends": "int8",
    "version": "int8",
    "created": "int8",
    "updated": "int8",
}
SET_COLUMNS: Final = 8
FEWEST_COLUMNS: Final = 4
NOTHING: Final = (None,) * (SET_COLUMNS - FEWEST_COLUMNS)

# pg_temp is the session's, but the table lasts no longer than the transaction. Its rows lie in the order of the COPY.
_MAKE_STAGE: Final = """CREATE TEMP TABLE IF NOT EXISTS mycelia_stage (
namespace text COLLATE "C", key text COLLATE "C", value bytea, is_json boolean, document text, metadata text,
metadata_document text, ends bigint, version bigint, created bigint, updated bigint) ON COMMIT DROP;
TRUNCATE pg_temp.mycelia_stage"""

_INTO: Final = """INSERT INTO {s}.storage_entries AS e (tenant, namespace, key, value, is_json, document, metadata,
metadata_document, version, created_at, updated_at, expires_at)
SELECT {t}, b.namespace, b.key, b.value, b.is_json,
CASE WHEN b.is_json THEN coalesce(b.document, convert_from(b.value, 'UTF8'))::jsonb END,
b.metadata, coalesce(b.metadata_document, b.metadata)::jsonb, """
_OVER: Final = """
ON CONFLICT (namespace, tenant, key) DO UPDATE SET value = excluded.value, is_json = excluded.is_json,
document = excluded.document, metadata = excluded.metadata, metadata_document = excluded.metadata_document,
version = greatest(e.version + 1, excluded.version), updated_at = excluded.updated_at,
expires_at = excluded.expires_at, created_at = """
_MICROS: Final = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"
# The time once, not for every row: it is a tenth of the statement.
UPSERT: Final = f"""WITH clock AS MATERIALIZED (SELECT {_MICROS} AS us, {{now}} AS ms)
{_INTO} greatest(clock.us, %s::bigint), clock.ms, clock.ms, clock.ms + b.ends FROM clock, %source%{_OVER}
CASE WHEN e.expires_at <= excluded.updated_at THEN excluded.created_at ELSE e.created_at END"""
# None is written unless all namespaces are as they were known, and their vector indexes have room.
_UPSERT_KNOWN: Final = UPSERT.replace(
    "FROM clock, %source%",
    """FROM clock, %source% WHERE (
  SELECT count(*) FROM unnest(%s::text[], %s::bigint[]) AS known (namespace, uniques)
  JOIN {s}.storage_namespaces AS n ON n.tenant = {t} AND n.namespace = known.namespace COLLATE "C"
  WHERE n.uniques = known.uniques AND n.version_floor < %s::bigint AND NOT n.track_changes
) = %s AND NOT EXISTS (
  SELECT 1 FROM unnest(%s::bigint[], %s::bigint[]) AS filled (id, most)
  WHERE (SELECT sum(u.entries) FROM {s}.storage_sums AS u WHERE u.index_id = filled.id) > filled.most
)""",
)
UPSERT_NEW: Final = f"{UPSERT} WHERE e.expires_at <= excluded.updated_at RETURNING e.namespace, e.key"
RESTORE: Final = f"{_INTO} b.version, b.created, b.updated, b.ends FROM %source%{_OVER} excluded.created_at"
_LOG: Final = """WITH moved AS (UPDATE {s}.storage_state SET value = value + %s WHERE tenant = {t} AND name = 'seq'
RETURNING value - %s AS last)
INSERT INTO {s}.storage_changes (tenant, seq, namespace, key, operation, version, at)
SELECT {t}, moved.last + row_number() OVER (ORDER BY b.%order%), e.namespace, e.key, 'set', e.version, {now}
FROM moved, %source%
JOIN {s}.storage_namespaces AS n ON n.tenant = {t} AND n.namespace = b.namespace COLLATE "C" AND n.track_changes
JOIN {s}.storage_entries AS e ON e.tenant = {t} AND e.namespace = n.namespace AND e.key = b.key COLLATE "C"
"""
_WAKE: Final = "SELECT {s}.storage_wake({t})"

#: Up to so many entries travel as arrays.
FEW: Final = 100


class Source:
    """Rows on their way into the database: staged by COPY, or sent along as arrays. ``width``: columns of a row."""

    def __init__(self, steps: PostgresTransaction, rows: list[_Row], width: int) -> None:
        self._steps = steps
        names, types = list(COLUMNS)[:width], list(COLUMNS.values())[:width]
        self._parameters: tuple[Any, ...] = ()
        if len(rows) <= FEW:
            width = max(width, SET_COLUMNS)
            names, types = list(COLUMNS)[:width], list(COLUMNS.values())[:width]
            arrays = ", ".join(f"%s::{kind}[]" for kind in types)
            self._order = "ordinal"
            self._text = f"unnest({arrays}) WITH ORDINALITY AS b ({', '.join(names)}, ordinal)"
            found = list(map(list, zip(*rows, strict=True)))
            self._parameters = (*found, *[[None] * len(rows)] * (len(names) - len(found)))
        else:
            self._order = "ctid"
            self._text = "pg_temp.mycelia_stage AS b"
            steps.script(_MAKE_STAGE)
            if width < len(rows[0]):
                rows = [row[:width] for row in rows]
            steps.copy(f"COPY pg_temp.mycelia_stage ({', '.join(names)}) FROM STDIN (FORMAT BINARY)", types, rows)

    def run(self, statement: str, *first: Any) -> list[_Row]:
        """A statement with ``%source%`` in it, whose parameters follow ``first``."""
        text = statement.replace("%source%", self._text).replace("%order%", self._order)
        return self._steps.run(text, (*first, *self._parameters), None if self._parameters else False)

    def run_known(self, lowest: int, names: list[str], generations: list[int], rooms: list[tuple[int, int]]) -> bool:
        """Write rows sent as arrays if these namespaces are of these generations, and vector indexes hold no more than
        this; whether it was so."""
        text = _UPSERT_KNOWN.replace("%source%", self._text)
        known = (names, generations, lowest, len(names), [id for id, _ in rooms], [most for _, most in rooms])
        return self._steps.change(text, (lowest, *self._parameters, *known)) > 0

    def start(self, statement: str, number: int) -> None:
        """The same for a statement with a number as its one parameter; while it runs, the next rows can be made."""
        if self._parameters:
            self.run(statement, number)
        else:
            self._steps.start(statement.replace("%source%", self._text), number)

    def log(self, tracked: int) -> None:
        """Log the rows of tracked namespaces, so many, as set."""
        self.run(_LOG, tracked, tracked)
        self._steps.run(_WAKE, ())
