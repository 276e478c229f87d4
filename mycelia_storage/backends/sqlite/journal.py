"""The journal of migrations in a SQLite file, and whose file it is.

===========  ==================================================================================================
the file is  when
===========  ==================================================================================================
empty        it has no table and no application id
ours         its application id is :data:`APPLICATION_ID`
plan         no application id, and ``storage_entries`` has exactly the original's columns: the original
             JavaScript backend made it; it counts as version 1 even if its ``schema_version`` is empty or missing
foreign      anything else
===========  ==================================================================================================

The original's journal is ``schema_version(version, applied_at)``. The first migration transaction rebuilds it with
more columns, keeps its rows, and sets the application id; until then nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import apsw

from ...errors import ForeignDatabase, MigrationError, SchemaTooNew
from ...migrations import CORE, JournalRow, Migrator, core_migrations
from .driver_errors import translate

#: "Myce", in the header of every file of ours.
APPLICATION_ID: Final = 0x4D796365

#: The newest version in schema/sqlite, so that opening a file reads no SQL; a test keeps it true.
NEWEST_VERSION: Final = 3

Origin = Literal["empty", "ours", "plan", "foreign"]

_PLAN_ENTRIES: Final = frozenset({"id", "namespace", "key", "value", "metadata", "created_at", "updated_at"})
_PLAN_JOURNAL: Final = frozenset({"version", "applied_at"})
_PLAN_VERSION: Final = 1

_VERSION: Final = f"SELECT max(version) FROM schema_version WHERE component = '{CORE}'"
_COLUMNS: Final = "SELECT name FROM pragma_table_info(?)"
_ANY_TABLE: Final = "SELECT 1 FROM sqlite_schema LIMIT 1"
_CREATE_JOURNAL: Final = """
CREATE TABLE schema_version (
  component TEXT NOT NULL DEFAULT 'core',
  version INTEGER NOT NULL,
  name TEXT,
  checksum TEXT,
  applied_at INTEGER NOT NULL,
  snapshot TEXT,
  PRIMARY KEY (component, version)
)
"""
_READ_PLAN: Final = "SELECT version, NULL, NULL, applied_at FROM schema_version ORDER BY version"
_READ: Final = """
SELECT version, name, checksum, applied_at, snapshot FROM schema_version WHERE component = ? ORDER BY version
"""
_COMPONENTS: Final = "SELECT DISTINCT component FROM schema_version ORDER BY component"
_INSERT: Final = """
INSERT INTO schema_version (component, version, name, checksum, applied_at, snapshot) VALUES (?, ?, ?, ?, ?, ?)
"""
_DELETE: Final = "DELETE FROM schema_version WHERE component = ? AND version = ?"
_DEFINITIONS: Final = """
SELECT tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY tbl_name, type DESC, name
"""


def prepare(connection: apsw.Connection, migrate: bool) -> int:
    """Bring the file to the newest schema, or see that it is there; return its version. A file that is up to date
    costs two statements.

    Raises ForeignDatabase, SchemaTooNew, MigrationError (``migrate`` is False or the connection read-only, and a
    migration is needed; or one failed) and what SQLite raises, translated. The connection needs its busy timeout.
    """
    try:
        if connection.execute("PRAGMA application_id").get == APPLICATION_ID:
            version = _recorded_version(connection)
            if version == NEWEST_VERSION:
                return NEWEST_VERSION
        else:
            version = current_version(connection)
        if version > NEWEST_VERSION:
            raise SchemaTooNew(
                f"{_shown(connection)} has schema version {version}; this library knows {NEWEST_VERSION}"
            )
        read_only = connection.readonly("main")
    except apsw.Error as error:
        raise translate(error, connection.filename) from error
    if not migrate or read_only:
        raise MigrationError(
            f"{_shown(connection)} has schema version {version} and needs {NEWEST_VERSION}; run: "
            f"mycelia-storage migrate up --db {connection.filename}"
        )
    migrator = migrator_of(connection)
    migrator.up()
    return migrator.version()


def migrator_of(connection: apsw.Connection) -> Migrator:
    """The library's own migrations for this connection."""
    return Migrator(SQLiteJournal(connection), core_migrations("sqlite"))


def is_ours(connection: apsw.Connection) -> Origin:
    """Whose file it is; see the module's table."""
    with _snapshot(connection):
        return _origin(connection)


def _origin(connection: apsw.Connection) -> Origin:
    application_id = connection.execute("PRAGMA application_id").get
    if application_id == APPLICATION_ID:
        return "ours"
    if application_id != 0:
        return "foreign"
    if connection.execute(_ANY_TABLE).get is None:
        return "empty"
    journal = _columns(connection, "schema_version")
    if _columns(connection, "storage_entries") == _PLAN_ENTRIES and journal in (frozenset(), _PLAN_JOURNAL):
        return "plan"
    return "foreign"


def current_version(connection: apsw.Connection) -> int:
    """The schema version of the file, 0 for an empty one; writes nothing. Raises ForeignDatabase."""
    return max((row.version for row in SQLiteJournal(connection).read_journal(CORE)), default=0)


class SQLiteJournal:
    """A :class:`~mycelia_storage.migrations.MigrationTarget` on a connection of its caller."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                # A full disk or an I/O error may have ended it already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except apsw.Error as error:
            raise translate(error, connection.filename) from error

    def read_journal(self, component: str) -> list[JournalRow]:
        connection = self.connection
        try:
            with _snapshot(connection):
                origin = _origin(connection)
                if origin == "foreign":
                    raise ForeignDatabase(f"{_shown(connection)} is a database of another application")
                columns = _columns(connection, "schema_version")
                if "component" in columns:
                    return [JournalRow(*row) for row in connection.execute(_READ, (component,))]
                if origin == "plan" and component == CORE:
                    return self._adopted_rows(has_journal=bool(columns))
                if origin == "ours" and _columns(connection, "storage_entries"):
                    raise MigrationError(f"{_shown(connection)} has lost its table schema_version")
                return []
        except apsw.Error as error:
            raise translate(error, connection.filename) from error

    def components(self) -> list[str]:
        own = self.read_journal(CORE)  # raises for a file that is not ours
        try:
            if "component" in _columns(self.connection, "schema_version"):
                return [name for (name,) in self.connection.execute(_COMPONENTS, can_cache=False)]
        except apsw.Error as error:
            raise translate(error, self.connection.filename) from error
        return [CORE] if own else []

    def ensure_journal(self) -> None:
        if "component" in _columns(self.connection, "schema_version"):
            return
        adopted = self.read_journal(CORE)
        self.connection.execute("DROP TABLE IF EXISTS schema_version")
        self.connection.execute(_CREATE_JOURNAL)
        for row in adopted:
            self.insert_row(CORE, row)
        self.connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def insert_row(self, component: str, row: JournalRow) -> None:
        self.connection.execute(_INSERT, (component, *row), can_cache=False)

    def delete_row(self, component: str, version: int) -> None:
        self.connection.execute(_DELETE, (component, version), can_cache=False)

    def run_script(self, sql: str) -> None:
        # A table is rebuilt by renaming the old one out of the way. The legacy form leaves the views and foreign keys
        # of others alone, so that they mean the new table; the current form would point them at the one about to go.
        connection = self.connection
        before = connection.config(apsw.SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, -1)
        connection.config(apsw.SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1)
        try:
            # Stepping through the rows of a SELECT is what makes the statements after it run.
            for _ in connection.execute(sql, can_cache=False):
                pass
        finally:
            connection.config(apsw.SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, before)

    def table_definitions(self, component: str) -> list[str]:
        prefix = "storage_" if component == CORE else component + "_"
        rows = self.connection.execute(_DEFINITIONS, can_cache=False)
        return [sql for table, sql in rows if table.startswith(prefix) or table == component]

    def _adopted_rows(self, has_journal: bool) -> list[JournalRow]:
        rows = [JournalRow(*row) for row in self.connection.execute(_READ_PLAN)] if has_journal else []
        if not rows:
            # The original's own migrate could stop between its tables and its journal row.
            return [JournalRow(_PLAN_VERSION, None, None, time.time_ns() // 1_000_000)]
        if rows[-1].version > _PLAN_VERSION:
            raise SchemaTooNew(
                f"{_shown(self.connection)} has version {rows[-1].version} of the original's schema; "
                f"this library can adopt version {_PLAN_VERSION}"
            )
        return rows


def _recorded_version(connection: apsw.Connection) -> int:
    try:
        return connection.execute(_VERSION).get or 0
    except apsw.SQLError:  # the application id, but no journal
        return current_version(connection)


@contextmanager
def _snapshot(connection: apsw.Connection) -> Iterator[None]:
    # Several statements tell whose file it is; a migration that commits between two of them must not show.
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _columns(connection: apsw.Connection, table: str) -> frozenset[str]:
    return frozenset(name for (name,) in connection.execute(_COLUMNS, (table,)))


def _shown(connection: apsw.Connection) -> str:
    return repr(connection.filename or ":memory:")
