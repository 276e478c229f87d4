"""Read-only SQL over views, for people and programs that are not trusted with the file.

Each query has a connection of its own, opened read-only, on which SQLite's authorizer sees every table, column and
function that the statement uses, before it runs:

==============================  ========================================================================================
what                            is let through
==============================  ========================================================================================
statement                       one SELECT; no EXPLAIN
storage_entries                 only inside the temporary views behind the views, which have random names: a subquery
                                or CTE that calls itself ``nodes`` gains nothing
other tables                    json_each and json_tree
functions                       :data:`FUNCTIONS`
everything else                 nothing: no write, ATTACH, PRAGMA, transaction, virtual table, schema
==============================  ========================================================================================

SQLite interrupts a statement between two steps of its machine. One step, such as a LIKE over a large text, runs to its
end. For that the length of texts and patterns is limited, so that a step takes five seconds at most, what multiplies
one text by another is made again (:mod:`.sql_functions`), and ``json_patch`` and ``unhex`` are missing. A row is held
whole before its size is known, so the more columns it has the shorter each must be.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import apsw

from ...errors import SqlRefused, SqlTimeout
from ...sql_views import MOST_BYTES, Parameter, SqlColumn, SqlRows, SqlView, size_of
from .connections import open_connection
from .driver_errors import translate
from .settings import SQLiteSettings
from .sql_functions import replace_functions


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: What a query may call: functions that compute from their arguments, and the time.
FUNCTIONS: Final = _words("""
    -> ->> abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce concat concat_ws cos cosh
    count cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value
    floor format glob group_concat hex if ifnull iif instr json json_array json_array_length json_each
    json_error_position json_extract json_group_array json_group_object json_insert json_object json_pretty
    json_quote json_remove json_replace json_set json_tree json_type json_valid julianday lag last_value lead
    length like likelihood likely ln log log10 log2 lower ltrim max median min mod nth_value ntile nullif
    octet_length percent_rank percentile pi pow power printf quote radians random rank replace round row_number
    rtrim sign sin sinh sqrt strftime string_agg substr substring sum tan tanh time timediff total trim trunc
    typeof unicode unixepoch unlikely upper
""")

#: Bytes of a text or blob, and of the texts and blobs of one row.
_LONGEST: Final = 32 * 2**20
_LONGEST_ROW: Final = 256 * 2**20

_LIMITS: Final = {
    apsw.SQLITE_LIMIT_LENGTH: _LONGEST,
    apsw.SQLITE_LIMIT_SQL_LENGTH: 500_000,
    apsw.SQLITE_LIMIT_COLUMN: 200,
    apsw.SQLITE_LIMIT_EXPR_DEPTH: 200,
    apsw.SQLITE_LIMIT_COMPOUND_SELECT: 100,
    apsw.SQLITE_LIMIT_VDBE_OP: 250_000,
    apsw.SQLITE_LIMIT_ATTACHED: 0,
    apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 64,
    apsw.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    apsw.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_LISTS: Final = {"json_each", "json_tree"}
_STEPS_A_LOOK: Final = 2_000
_LIVE: Final = "(expires_at IS NULL OR expires_at > CAST(unixepoch('subsec') * 1000 AS INTEGER))"


def query(
    path: str,
    settings: SQLiteSettings,
    sql: str,
    parameters: tuple[Parameter, ...],
    views: Mapping[str, SqlView],
    limit: int,
    timeout: float,
) -> SqlRows:
    """The answer of one SELECT. Raises SqlRefused, SqlTimeout and what opening raises."""
    connection = open_connection(path, replace(settings, read_only=True, debug=False), query_only=False)
    try:
        hidden = _make_views(connection, views)
        return _Guard(connection, set(views), hidden, timeout).run(sql, parameters, limit)
    except apsw.Error as error:
        raise translate(error, path) from error
    finally:
        with suppress(apsw.Error):
            connection.close(True)


class _Guard:
    """A connection on which nothing but one query over the views can run."""

    def __init__(self, connection: apsw.Connection, views: set[str], hidden: set[str], timeout: float) -> None:
        self._connection = connection
        self._views = views
        self._hidden = hidden
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._denied: str | None = None
        self._columns: list[str] = []
        tables = connection.execute("SELECT name FROM sqlite_schema UNION ALL SELECT name FROM pragma_module_list")
        self._tables = {str(name).lower() for (name,) in tables} - _LISTS
        connection.execute("PRAGMA query_only = 1")
        for limit, most in _LIMITS.items():
            connection.limit(limit, most)
        replace_functions(connection, _LONGEST)
        connection.authorizer = self._authorize
        connection.set_progress_handler(lambda: time.monotonic() > self._deadline, _STEPS_A_LOOK)

    def run(self, sql: str, parameters: tuple[Parameter, ...], limit: int) -> SqlRows:
        cursor = self._connection.cursor()

        def only_one(cursor: apsw.Cursor, text: str, _bindings: Any) -> bool:
            if _bare(sql) != _bare(text):
                raise SqlRefused("one statement at a time")
            if cursor.is_explain or not cursor.is_readonly:
                raise SqlRefused("a query is a SELECT")
            self._columns = [name for name, *_ in cursor.get_description()]
            most = _LONGEST_ROW // max(1, len(self._columns))
            self._connection.limit(apsw.SQLITE_LIMIT_LENGTH, min(_LONGEST, most))
            return True

        cursor.exec_trace = only_one
        rows: list[tuple[Any, ...]] = []
        size = 0
        try:
            cursor.execute(sql, parameters, can_cache=False)
            for row in cursor:
                if len(rows) == limit:
                    return SqlRows(self._columns, rows, True)
                size += size_of(row)
                if size > MOST_BYTES:
                    raise SqlTimeout(f"the answer takes more than {MOST_BYTES} bytes")
                rows.append(row)
        except (apsw.InterruptError, apsw.TooBigError, apsw.NoMemError) as error:
            raise self._stopped(error) from error
        except (apsw.SQLError, apsw.AuthError, apsw.BindingsError, apsw.MismatchError, apsw.RangeError) as error:
            raise self._refused(error) from error
        except UnicodeDecodeError as error:
            raise SqlRefused("the query made a text that is no UTF-8") from error
        if not self._columns:
            raise SqlRefused("a query is a SELECT")
        return SqlRows(self._columns, rows, False)

    def _stopped(self, error: apsw.Error) -> SqlTimeout:
        if isinstance(error, apsw.InterruptError):
            return SqlTimeout(f"the query took longer than {self._timeout:g} seconds")
        return SqlTimeout("the query made a text or blob that is too large")

    def _refused(self, error: apsw.Error) -> SqlRefused:
        if self._denied is not None:
            return SqlRefused(f"a query may not use {self._denied}")
        return SqlRefused(f"the query is not answered: {error}")

    def _authorize(
        self, operation: int, first: str | None, second: str | None, database: str | None, inside: str | None
    ) -> int:
        if operation in (apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE):
            return apsw.SQLITE_OK
        if operation == apsw.SQLITE_READ:
            if self._may_read(first, second, database, inside):
                return apsw.SQLITE_OK
            self._denied = f"the table {first}"
            return apsw.SQLITE_DENY
        if operation == apsw.SQLITE_FUNCTION:
            if (second or "").lower() in FUNCTIONS:
                return apsw.SQLITE_OK
            self._denied = f"the function {second}"
            return apsw.SQLITE_DENY
        self._denied = f"what is no SELECT ({apsw.mapping_authorizer_function.get(operation, operation)})"
        return apsw.SQLITE_DENY

    def _may_read(self, table: str | None, column: str | None, database: str | None, inside: str | None) -> bool:
        if database is None:
            # A table of which no column is used, by the name that the statement has for it: a list or a subquery too.
            return not column and (table or "").lower() not in self._tables
        if database == "main":
            return table in _LISTS or (table == "storage_entries" and inside in self._hidden)
        # A view's name comes as the statement has it, in any case.
        return database == "temp" and (
            (table or "").lower() in self._views or (table in self._hidden and (inside or "").lower() in self._views)
        )


def _make_views(connection: apsw.Connection, views: Mapping[str, SqlView]) -> set[str]:
    """Make the views, each over one of a random name that reads the entries; those names."""
    hidden = set()
    for name, view in views.items():
        secret = f"view_{secrets.token_hex(16)}"
        hidden.add(secret)
        columns = ", ".join(f'{_source(column)} AS "{column.name}"' for column in view.columns)
        tables = "main.storage_entries"
        if view.each is not None:
            tables += f" JOIN json_each({_field(view.each)}) AS member"
        connection.execute(
            f'CREATE TEMP VIEW "{secret}" AS SELECT {columns} FROM {tables}'
            f" WHERE namespace = {_text(view.namespace)} AND {_LIVE}"
        )
        connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT * FROM temp."{secret}"')
    return hidden


def _source(column: SqlColumn) -> str:
    source = column.source
    if source == ("each",):
        return "member.value"
    if len(source) == 1:
        return f"storage_entries.{source[0]}"
    return f"nullif({_field(source)}, 'null')" if column.kind == "json" else _field(source, "->>")


def _field(source: tuple[str, ...], operator: str = "->") -> str:
    if len(source) == 1:
        return f"storage_entries.{source[0]}"
    path = "$" + "".join(f".{json.dumps(name, ensure_ascii=False)}" for name in source[1:])
    return f"storage_entries.{source[0]} {operator} {_text(path)}"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _bare(sql: str) -> str:
    """A statement without the space around it and what ends it."""
    return sql.strip().rstrip("; \t\r\n\f")
