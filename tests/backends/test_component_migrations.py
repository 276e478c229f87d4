"""Migrations of core and of a component on real databases: there and back with data intact, and failing half-way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mycelia_storage.config import open_storage
from mycelia_storage.errors import MigrationError
from mycelia_storage.migrations import Migration, Migrator, derive_schema_name

if TYPE_CHECKING:
    from mycelia_storage.contract import StorageBackend

NAME = derive_schema_name("@your-org/notes")

GOOD = [
    Migration(
        NAME,
        1,
        "notes",
        f"CREATE TABLE {NAME}_notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
        f"DROP TABLE {NAME}_notes",
    ),
    Migration(
        NAME,
        2,
        "shelves",
        f"CREATE TABLE {NAME}_shelves (note INTEGER NOT NULL, shelf TEXT NOT NULL);"
        f"INSERT INTO {NAME}_shelves SELECT id, 'unsorted' FROM {NAME}_notes",
        f"DROP TABLE {NAME}_shelves",
    ),
    Migration(
        NAME,
        3,
        "index",
        f"CREATE INDEX {NAME}_shelves_note ON {NAME}_shelves (note)",
        f"DROP INDEX {NAME}_shelves_note",
    ),
]
# The first statement works, the second does not.
BROKEN = Migration(
    NAME, 3, "broken", f"INSERT INTO {NAME}_notes VALUES (9, 'half'); INSERT INTO missing VALUES (1)", ""
)


class Database:
    """A storage, and SQL beside it as an administrator has it."""

    def __init__(self, storage: StorageBackend, address: str, schema: str) -> None:
        self.storage = storage
        self._address = address
        self._schema = schema

    @contextmanager
    def migrator(self, *migrations: Migration) -> Iterator[Migrator]:
        """The component's migrations on it."""
        with self.storage.component_migrator(NAME, migrations) as migrator:
            yield migrator

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a statement answers."""
        if self._schema:
            import psycopg

            with psycopg.connect(self._address, autocommit=True) as connection:
                connection.execute(f"SET search_path = {self._schema}")
                cursor = connection.execute(sql)
                return cursor.fetchall() if cursor.description else []
        import apsw

        connection = apsw.Connection(self._address)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def tables(self) -> set[str]:
        """The component's tables."""
        sql = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        if self._schema:
            sql = f"SELECT tablename FROM pg_tables WHERE schemaname = '{self._schema}'"
        return {name.removeprefix(f"{NAME}_") for (name,) in self.rows(sql) if name.startswith(NAME)}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A new storage with an entry in it."""
    if request.param == "postgres":
        address, schema = request.getfixturevalue("postgres_place"), "migrated"
        with open_storage(address, schema=schema) as storage:
            storage.set("k", "kept")
            yield Database(storage, address, schema)
        import psycopg

        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("SET client_min_messages = error")
            connection.execute("DROP SCHEMA migrated CASCADE")
        return
    address = str(tmp_path / "m.db")
    with open_storage(address) as storage:
        storage.set("k", "kept")
        yield Database(storage, address, "")


def test_a_component_goes_forward_back_and_forward_with_its_data(database: Database) -> None:
    with database.migrator(*GOOD) as migrator:
        assert migrator.up(1) == [1]
        database.rows(f"INSERT INTO {NAME}_notes VALUES (1, 'one'), (2, 'two')")
        assert migrator.up() == [2, 3]
        assert [line.state for line in migrator.status()] == ["applied"] * 3
        assert database.rows(f"SELECT note, shelf FROM {NAME}_shelves ORDER BY note") == [
            (1, "unsorted"),
            (2, "unsorted"),
        ]
        assert migrator.down(1, allow_destructive=True) == [3, 2]
        assert [line.state for line in migrator.status()] == ["applied", "pending", "pending"]
        assert database.tables() == {"notes"}
        assert migrator.up() == [2, 3]
        assert migrator.up() == []
    assert database.rows(f"SELECT text FROM {NAME}_notes ORDER BY id") == [("one",), ("two",)]
    assert database.storage.get("k") == "kept"
    assert database.storage.check().ok


def test_a_failed_migration_leaves_the_version_before_it(database: Database) -> None:
    with database.migrator(*GOOD[:2], BROKEN) as migrator:
        with pytest.raises(MigrationError):
            migrator.up()
        assert migrator.version() == 2
        assert [line.state for line in migrator.status()] == ["applied", "applied", "pending"]
    assert database.rows(f"SELECT count(*) FROM {NAME}_notes") == [(0,)]
    with database.migrator(*GOOD) as migrator:
        assert migrator.up() == [3]
    assert database.storage.get("k") == "kept"


def test_what_destroys_needs_to_be_allowed(database: Database) -> None:
    with database.migrator(*GOOD) as migrator:
        migrator.up()
        with pytest.raises(MigrationError):
            migrator.down(0)
        assert migrator.version() == 3
        assert migrator.down(0, allow_destructive=True) == [3, 2, 1]
    assert database.tables() == set()
    assert database.storage.get("k") == "kept"


def test_components_do_not_move_the_librarys_own_version(database: Database) -> None:
    before = database.storage.get_status().schema_version
    with database.migrator(*GOOD) as migrator:
        migrator.up()
    assert database.storage.get_status().schema_version == before


def test_the_journal_tells_of_every_component_in_it(database: Database) -> None:
    other = [Migration("zoo", 1, "cages", "CREATE TABLE zoo_cages (id INTEGER)", "DROP TABLE zoo_cages")]
    with database.migrator(*GOOD) as migrator:
        migrator.up(2)
    with database.storage.component_migrator("zoo", other) as migrator:
        migrator.up()
        told = migrator.status_of_others()
        assert migrator.target.components() == ["core", NAME, "zoo"]
    own = database.storage.get_status().schema_version
    assert [(line.component, line.version, line.state) for line in told] == [
        *(("core", version, "recorded") for version in range(1, own + 1)),
        (NAME, 1, "recorded"),
        (NAME, 2, "recorded"),
    ]
    assert [line.name for line in told[-2:]] == ["notes", "shelves"]
    assert all(line.applied_at is not None for line in told)


def test_no_component_passes_for_the_library(database: Database) -> None:
    for name in ("core", "storage", "storage_entries", "schema_version"):
        with pytest.raises(MigrationError, match="reserved"), database.storage.component_migrator(name, []):
            raise AssertionError(name)
