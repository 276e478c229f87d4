"""Read-only SQL over views, for people and programs that are not trusted with the database.

==========================  ==========================================================================================
what keeps it in            how
==========================  ==========================================================================================
words                       :mod:`.sql_words`: one SELECT, functions of a list, no names with a schema as functions
names after a dot           those that are functions to the server are refused, as ``(x).name`` is a call
READ ONLY transaction       the server refuses every write, and functions that write
DECLARE CURSOR              the server takes a plain query there and nothing else: no WITH that writes, no INTO, no COPY
extended protocol           the server takes one statement; parameters are bound by it
search_path                 ``pg_catalog`` alone: nobody's functions, operators, types or tables come in by a bare name
locks                       before a row is read, the server tells which tables the query has locked: every table or
                            view that it names is among them. Any but the entries is refused
timeouts                    ``statement_timeout`` for the whole of it; a limit of rows, and of bytes as rows come in
cutting                     a query that the server has not stopped two seconds later loses its connection
==========================  ==========================================================================================

The server interrupts a query between two rows, and in most functions. Some run to their end, such as a search of one
huge text in another: the caller is answered in time, but the server goes on with it for as long as it takes. Who must
not be able to do that should not be let to write SQL.

The views are CTEs before the query, which the planner sees through.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from psycopg.types.string import TextLoader

from ...errors import SqlRefused, SqlTimeout, StorageError
from ...sql_views import MOST_BYTES, Parameter, SqlColumn, SqlRows, SqlView, size_of
from .driver_errors import translate
from .place import LIVE, Place, quote_name, quote_text
from .pool import Link
from .sql_words import Query

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS: Final = """BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {limit};
SET LOCAL idle_in_transaction_session_timeout = {idle}; SET LOCAL lock_timeout = {limit};
SET LOCAL standard_conforming_strings = on; SET LOCAL search_path = pg_catalog; SET LOCAL jit = off;
SET LOCAL max_parallel_workers_per_gather = 0"""

# No table stands in it, so it adds no lock to what it shows.
_LOCKED: Final = """SELECT relation FROM pg_catalog.pg_lock_status()
WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation'"""
_CALLS: Final = """SELECT proname::text FROM pg_catalog.pg_proc WHERE proname = ANY (%s::pg_catalog.name[])
AND pronamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'pg_catalog') LIMIT 1"""
_ENTRIES: Final = """WITH RECURSIVE tables AS (SELECT %s::pg_catalog.regclass::oid AS id
UNION SELECT inhrelid FROM pg_catalog.pg_inherits JOIN tables ON inhparent = id),
kept AS (SELECT id FROM tables UNION SELECT indexrelid FROM pg_catalog.pg_index JOIN tables ON indrelid = id)
SELECT relation FROM unnest(%s::oid[]) AS relation WHERE relation NOT IN (SELECT id FROM kept)"""

#: Whole numbers with more digits are floats, mostly infinite, as they are on SQLite.
_MOST_DIGITS: Final = 300
#: Seconds that the server has to stop a query by itself.
_GRACE: Final = 2.0
_TYPES: Final = {
    "integer": "bigint",
    "real": "double precision",
    "boolean": "boolean",
}
#: States of SQL that blame the query: syntax, names, types, values, privileges, what a read-only transaction refuses.
_ITS_FAULT: Final = ("0A", "21", "22", "25006", "2B", "34", "42", "54")
_TIMEOUTS: Final = ("57014", "55P03", "25P03", "25P04")


def query(
    link: Link,
    place: Place,
    asked: Query,
    parameters: tuple[Parameter, ...],
    views: Mapping[str, SqlView],
    limit: int,
    timeout: float,
) -> SqlRows:
    """The answer of one SELECT, on a connection of the pool. Raises SqlRefused, SqlTimeout."""
    made = ", ".join(f"{quote_name(name)} AS NOT MATERIALIZED ({_view(place, view)})" for name, view in views.items())
    rest = f", {asked.ctes}" if asked.ctes else f" ({asked.select})"
    statement = f"DECLARE mycelia_query NO SCROLL CURSOR FOR WITH RECURSIVE {made.replace('%', '%%')}{rest}"
    deadline = time.monotonic() + timeout
    # In a transaction of its own: the query's has locks on the entries alone.
    _check_members(link, asked.members.difference(*_columns(views)))
    milliseconds = max(1, int(timeout * 1000))
    script = _SETTINGS.format(limit=milliseconds, idle=milliseconds + 5_000)
    link.script(f"{script}; {place.enter}" if place.enter else script)
    with _Cutter(link, timeout + _GRACE) as cutter:
        try:
            with link.connection.cursor(binary=True) as cursor:
                cursor.execute(statement, parameters, prepare=False)
            _check_tables(link, place)
            return _fetch(link, limit, deadline, timeout)
        except psycopg.Error as error:
            if cutter.has_cut:
                link.close()
                raise SqlTimeout(f"the query took longer than {timeout:g} seconds") from error
            raise _blamed(error, timeout) from error
        finally:
            if not link.lost:
                link.script("ROLLBACK")


class _Cutter:
    """Cuts a connection when the time is over, unless it was left before."""

    def __init__(self, link: Link, seconds: float) -> None:
        self.has_cut = False
        self._link = link
        self._left = False
        self._turn = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._turn:  # a connection that goes back to the pool is another's
            self._left = True
        self._timer.cancel()

    def _cut(self) -> None:
        with self._turn:
            if self._left or self._link.lost:
                return
            self.has_cut = True
            with socket.socket(fileno=os.dup(self._link.connection.fileno())) as ours:
                ours.shutdown(socket.SHUT_RDWR)


def _columns(views: Mapping[str, SqlView]) -> list[set[str]]:
    return [{column.name for column in view.columns} for view in views.values()]


def _check_members(link: Link, names: frozenset[str]) -> None:
    """Raise SqlRefused if one of the names after a dot is a function. Others are in no schema that is searched."""
    if names:
        # The server cuts a longer name off after 63 bytes; whether in the middle of a character is no matter here.
        cut = [name.encode()[:63].decode(errors="ignore") for name in names]
        with link.connection.cursor() as cursor:
            found = cursor.execute(_CALLS, (cut,), prepare=False).fetchone()
        if found is not None:
            raise SqlRefused(f"a query may not use the function {found[0]}")


def _check_tables(link: Link, place: Place) -> None:
    """Raise SqlRefused if the query has locked any table but the entries."""
    with link.connection.cursor(binary=True) as cursor:
        locked = [relation for (relation,) in cursor.execute(_LOCKED, (), prepare=False)]
        table = f"{quote_name(place.schema)}.storage_entries"
        if cursor.execute(_ENTRIES, (table, locked), prepare=False).fetchone() is not None:
            raise SqlRefused("a query may use the views alone, no other table")


def _fetch(link: Link, limit: int, deadline: float, timeout: float) -> SqlRows:
    rows: list[tuple[Any, ...]] = []
    size = 0
    with link.connection.cursor() as cursor:
        for kind in ("json", "jsonb"):
            cursor.adapters.register_loader(kind, TextLoader)
        cursor.execute("FETCH FORWARD 0 FROM mycelia_query", prepare=False)
        columns = [column.name for column in cursor.description or ()]
        # Row by row: a few hundred rows of a hundred megabytes each would be too many to hold.
        arriving: Any = cursor.stream(f"FETCH FORWARD {limit + 1} FROM mycelia_query")
        with closing(arriving):
            for row in arriving:
                rows.append(tuple(_plain(value) for value in row))
                size += size_of(rows[-1])
                if size > MOST_BYTES:
                    raise SqlTimeout(f"the answer takes more than {MOST_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise SqlTimeout(f"the query took longer than {timeout:g} seconds")
    return SqlRows(columns, rows[:limit], len(rows) > limit)


def _plain(value: Any) -> Any:
    """A value as SQLite would have it: null, a boolean, number, text or bytes."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Decimal):
        whole = value.is_finite() and value.adjusted() <= _MOST_DIGITS and value == value.to_integral_value()
        return int(value) if whole else float(value)
    return str(value)


def _blamed(error: psycopg.Error, timeout: float) -> StorageError:
    state = error.sqlstate or ""
    if state in _TIMEOUTS:
        return SqlTimeout(f"the query took longer than {timeout:g} seconds")
    if state.startswith(_ITS_FAULT) or isinstance(error, psycopg.DataError | psycopg.ProgrammingError):
        return SqlRefused(f"the query is not answered: {error.diag.message_primary or error}")
    return translate(error)


def _view(place: Place, view: SqlView) -> str:
    columns = ", ".join(f"{_source(column)} AS {quote_name(column.name)}" for column in view.columns)
    tables = f"{quote_name(place.schema)}.storage_entries AS entry"
    if view.each is not None:
        # A list only: anything else has no members, on SQLite neither.
        members = _field(view.each, "json")
        only = f"CASE WHEN jsonb_typeof({members}) = 'array' THEN {members} END"
        tables += f" CROSS JOIN LATERAL jsonb_array_elements_text({only}) AS member(value)"
    tenant = quote_text(place.tenant or "")
    return (
        f"SELECT {columns} FROM {tables} WHERE entry.namespace = {quote_text(view.namespace)}"
        f" AND entry.tenant = {tenant} AND {LIVE}"
    )


def _source(column: SqlColumn) -> str:
    source = column.source
    if source == ("each",):
        return "member.value"
    if source[0] not in ("value", "metadata"):
        return f"entry.{source[0]}"
    if source == ("value",) and column.kind == "bytes":
        return "entry.value"
    return _field(source, column.kind)


def _field(source: tuple[str, ...], kind: str) -> str:
    document = "entry.document" if source[0] == "value" else "entry.metadata_document"
    names: Iterator[str] = (quote_text(name).strip() for name in source[1:])
    path = f"ARRAY[{', '.join(names)}]::text[]"
    if kind == "json":
        return f"nullif({document} #> {path}, 'null'::jsonb)"
    text = f"({document} #>> {path})"
    return f"{text}::{_TYPES[kind]}" if kind in _TYPES else text
