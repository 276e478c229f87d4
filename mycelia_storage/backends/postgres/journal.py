"""The journal of migrations in a schema, and whose schema it is.

Migrations run with the search path at the schema, under an advisory lock of their transaction, so that of several
starters one applies each. A schema that has a table ``storage_entries`` and no journal is another application's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from ...errors import ForeignDatabase, InvalidConfig, MigrationError, SchemaTooNew
from ...migrations import CORE, JournalRow, Migrator, core_migrations
from .driver_errors import translate
from .place import quote_name
from .pool import Link, Row

#: The newest version in schema/postgres, so that opening a storage reads no SQL; a test keeps it true.
NEWEST_VERSION: Final = 3

#: Milliseconds to wait for another starter's migration.
_PATIENCE: Final = 120_000

_VERSION: Final = "SELECT max(version) FROM %schema%.schema_version WHERE component = 'core'"
_ENCODING: Final = "SELECT current_setting('server_encoding')"
_HAS_SCHEMA: Final = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
_HAS_TABLE: Final = """SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s"""
_CREATE_JOURNAL: Final = """
CREATE TABLE IF NOT EXISTS %schema%.schema_version (
  component text NOT NULL DEFAULT 'core',
  version integer NOT NULL,
  name text,
  checksum text,
  applied_at bigint NOT NULL,
  snapshot text,
  PRIMARY KEY (component, version)
)
"""
_READ: Final = """SELECT version, name, checksum, applied_at, snapshot FROM %schema%.schema_version
WHERE component = %s ORDER BY version"""
_COMPONENTS: Final = 'SELECT DISTINCT component COLLATE "C" AS name FROM %schema%.schema_version ORDER BY name'
_INSERT: Final = """INSERT INTO %schema%.schema_version (component, version, name, checksum, applied_at, snapshot)
VALUES (%s, %s, %s, %s, %s, %s)"""
_DELETE: Final = "DELETE FROM %schema%.schema_version WHERE component = %s AND version = %s"
# A table without its defaults and keys in full: what a snapshot shows, not what could be run.
_DEFINITIONS: Final = """SELECT definition FROM (
  SELECT c.relname AS relation, 0 AS kind, 'TABLE ' || c.relname || ' (' || string_agg(
    a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
    ', ' ORDER BY a.attnum) || ')' AS definition
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND (starts_with(c.relname, %s) OR c.relname = %s)
  GROUP BY c.relname
  UNION ALL
  SELECT tablename, 1, indexdef FROM pg_indexes
  WHERE schemaname = %s AND (starts_with(tablename, %s) OR tablename = %s)
) AS shown ORDER BY relation, kind, definition"""


def prepare(link: Link, schema: str, migrate: bool, partitions: int, address: str) -> int:
    """Bring the schema to the newest version, or see that it is there; return its version.

    Raises ForeignDatabase, SchemaTooNew, InvalidConfig (the database is not in UTF-8), MigrationError (``migrate`` is
    False and a migration is needed; or one failed).
    """
    try:
        if link.rows(_ENCODING)[0][0] != "UTF8":
            raise InvalidConfig(f"the database at {address} is not encoded in UTF-8")
        version = recorded_version(link, schema)
        if version == NEWEST_VERSION:
            return version
        if version == 0 and link.rows(_HAS_TABLE, (schema, "storage_entries"), False):
            version = recorded_version(link, schema)  # another starter may have made both since the first look
            if version == 0:
                raise ForeignDatabase(
                    f"the schema {schema!r} at {address} has a table storage_entries of another origin"
                )
            if version == NEWEST_VERSION:
                return version
    except psycopg.Error as error:
        raise translate(error, f"opening schema {schema!r}") from error
    if version > NEWEST_VERSION:
        raise SchemaTooNew(f"schema {schema!r} at {address} has version {version}; this library knows {NEWEST_VERSION}")
    if not migrate:
        raise MigrationError(
            f"schema {schema!r} at {address} has version {version} and needs {NEWEST_VERSION}; run: "
            "mycelia-storage migrate up --db URL"
        )
    migrator = migrator_of(link, schema, partitions)
    migrator.up()
    return migrator.version()


def migrator_of(link: Link, schema: str, partitions: int = 0) -> Migrator:
    """The library's own migrations for this connection."""
    return Migrator(PostgresJournal(link, schema, partitions), core_migrations("postgres"))


def recorded_version(link: Link, schema: str) -> int:
    """The version of the schema, 0 where there is none. Raises psycopg's errors."""
    try:
        return int(link.rows(_VERSION.replace("%schema%", _escaped(schema)), (), False)[0][0] or 0)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return 0


class PostgresJournal:
    """A :class:`~mycelia_storage.migrations.MigrationTarget` on a connection of its caller."""

    def __init__(self, link: Link, schema: str, partitions: int = 0) -> None:
        self._link = link
        self._schema = schema
        self._partitions = partitions
        digest = hashlib.sha256(f"mycelia migrations\0{schema}".encode()).digest()
        self._lock = int.from_bytes(digest[:8], "big", signed=True)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        link, schema = self._link, self._schema
        try:
            link.script(
                f"BEGIN; SET LOCAL lock_timeout = {_PATIENCE}; SELECT pg_advisory_xact_lock({self._lock}); "
                f"SELECT set_config('mycelia.partitions', '{self._partitions}', true)"
            )
            try:
                if not link.rows(_HAS_SCHEMA, (schema,), False):
                    link.script(f"CREATE SCHEMA {quote_name(schema)}")
                link.script(f"SET LOCAL search_path = {quote_name(schema)}, pg_temp")
                yield
                link.script("COMMIT")
            except BaseException:
                if not link.lost and link.in_transaction:
                    link.script("ROLLBACK")
                raise
        except psycopg.Error as error:
            raise translate(error, f"migrating schema {schema!r}") from error

    def read_journal(self, component: str) -> list[JournalRow]:
        try:
            if not self._link.rows(_HAS_TABLE, (self._schema, "schema_version"), False):
                return []
            return [JournalRow(*row) for row in self._run(_READ, component)]
        except psycopg.Error as error:
            raise translate(error, f"the journal of schema {self._schema!r}") from error

    def components(self) -> list[str]:
        try:
            if not self._link.rows(_HAS_TABLE, (self._schema, "schema_version"), False):
                return []
            return [name for (name,) in self._run(_COMPONENTS)]
        except psycopg.Error as error:
            raise translate(error, f"the journal of schema {self._schema!r}") from error

    def ensure_journal(self) -> None:
        self._run(_CREATE_JOURNAL)

    def insert_row(self, component: str, row: JournalRow) -> None:
        self._run(_INSERT, component, *row)

    def delete_row(self, component: str, version: int) -> None:
        self._run(_DELETE, component, version)

    def run_script(self, sql: str) -> None:
        self._link.script(sql)

    def table_definitions(self, component: str) -> list[str]:
        prefix = "storage_" if component == CORE else component + "_"
        wanted = (self._schema, prefix, component)
        return [text for (text,) in self._link.rows(_DEFINITIONS, (*wanted, *wanted), False)]

    def _run(self, sql: str, *parameters: object) -> list[Row]:
        return self._link.rows(sql.replace("%schema%", _escaped(self._schema)), parameters, False)


def _escaped(schema: str) -> str:
    return quote_name(schema).replace("%", "%%")
