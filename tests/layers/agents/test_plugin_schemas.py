"""Plug-ins' own tables: migrations, journal, snapshot, status and the guard, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidInput, MigrationError, StorageClosed
from mycelia_storage.layers.agents import AgentStore
from mycelia_storage.layers.agents.plugin_schemas import PluginSchemas
from mycelia_storage.migrations import Migration, derive_schema_name

from .conftest import open_backend
from .people import AGENT

PACKAGE = "@your-org/plugin-name"


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageBackend]:
    """An empty storage; that on PostgreSQL in a schema that goes with all that is in it."""
    if request.param != "postgres":
        with open_backend(request.param, tmp_path, request) as opened:
            yield opened
        return
    import psycopg

    from mycelia_storage.backends.postgres import PostgresStorageBackend

    dsn = request.getfixturevalue("postgres_dsn")
    with PostgresStorageBackend(url=dsn, schema="plugins") as opened:
        yield opened
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET client_min_messages = error")
        connection.execute("DROP SCHEMA plugins CASCADE")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The migrations of a package, for both dialects."""
    for dialect in ("sqlite", "postgres"):
        place = tmp_path / "schema" / dialect
        place.mkdir(parents=True)
        (place / "0001_notes.up.sql").write_text(
            "CREATE TABLE your_org_plugin_name_notes (id INTEGER PRIMARY KEY, text TEXT);"
        )
        (place / "0001_notes.down.sql").write_text("DROP TABLE your_org_plugin_name_notes;")
    return tmp_path / "schema"


def add(folder: Path, name: str, sql: str) -> None:
    for dialect in ("sqlite", "postgres"):
        (folder / dialect / name).write_text(sql)


def test_migrations_run_once_and_are_told(storage: StorageBackend, folder: Path) -> None:
    store = AgentStore(storage, AGENT)
    assert store.run_plugin_migrations({PACKAGE: folder}, dry_run=True) == {PACKAGE: [1]}
    assert store.run_plugin_migrations({PACKAGE: folder}) == {PACKAGE: [1]}
    assert store.run_plugin_migrations({PACKAGE: folder}) == {PACKAGE: []}
    schemas = PluginSchemas(storage)
    assert schemas.register(PACKAGE, folder) == "your_org_plugin_name" == derive_schema_name(PACKAGE)
    status = schemas.status(PACKAGE)
    assert status.has_run
    assert status.snapshots == 1
    assert status.last_migration is not None
    assert (status.last_migration["version"], status.last_migration["name"]) == (1, "notes")
    assert any("your_org_plugin_name_notes" in line for line in schemas.snapshot(PACKAGE))
    assert schemas.check(PACKAGE) is None
    storage.set("k", 1, namespace="beside")
    assert storage.check().ok


def test_what_destroys_data_needs_force(storage: StorageBackend, folder: Path) -> None:
    schemas = PluginSchemas(storage)
    schemas.register(PACKAGE, folder)
    schemas.run()
    add(folder, "0002_more.up.sql", "ALTER TABLE your_org_plugin_name_notes ADD COLUMN extra TEXT;")
    add(folder, "0003_less.up.sql", "ALTER TABLE your_org_plugin_name_notes DROP COLUMN extra;")
    schemas.register(PACKAGE, folder)
    found = schemas.check(PACKAGE)
    assert found is not None
    assert found.has_data_loss
    assert (found.pending, list(found.destructive)) == ([2, 3], [3])
    with pytest.raises(MigrationError, match="destroys data"):
        schemas.run()
    assert schemas.status(PACKAGE).last_migration["version"] == 1  # type: ignore[index]
    assert schemas.run(force=True) == {PACKAGE: [2, 3]}
    with pytest.raises(MigrationError):
        schemas.down(PACKAGE, 0, force=True)
    assert schemas.reset(PACKAGE) == 3
    assert not schemas.status(PACKAGE).has_run


def test_down_and_up_again(storage: StorageBackend, folder: Path) -> None:
    schemas = PluginSchemas(storage)
    schemas.register(PACKAGE, folder)
    schemas.run()
    with pytest.raises(MigrationError, match="destroys data"):
        schemas.down(PACKAGE, 0)
    assert schemas.down(PACKAGE, 0, force=True) == [1]
    assert schemas.run() == {PACKAGE: [1]}


def test_one_that_fails_leaves_the_others(storage: StorageBackend, folder: Path) -> None:
    schemas = PluginSchemas(storage)
    name = schemas.register(
        "broken", [Migration("broken", 1, "x", "CREATE TABLE broken_x (id INTEGER); SELECT nonsense;")]
    )
    assert name == "broken"
    schemas.register(PACKAGE, folder)
    with pytest.raises(MigrationError, match="1 plug-in schema"):
        schemas.run()
    assert schemas.status(PACKAGE).has_run
    assert not schemas.status("broken").has_run
    schemas.register("broken", [Migration("broken", 1, "x", "CREATE TABLE broken_x (id INTEGER);")])
    assert schemas.run()["broken"] == [1], "nothing was left of the failed one"


def test_of_many_starters_one_applies(storage: StorageBackend, folder: Path) -> None:
    results: list[list[int]] = []

    def start() -> None:
        results.append(AgentStore(storage, AGENT).run_plugin_migrations({PACKAGE: folder})[PACKAGE])

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [[], [], [], [1]]


def test_names_that_meet_are_refused(storage: StorageBackend, folder: Path) -> None:
    schemas = PluginSchemas(storage)
    schemas.register(PACKAGE, folder)
    with pytest.raises(MigrationError, match="one schema name"):
        schemas.register("your-org-plugin.name", folder)
    for reserved in ("core", "storage", "@storage/entries", "schema-version"):
        with pytest.raises(MigrationError, match="reserved"):
            schemas.register(reserved, folder)
    with pytest.raises(InvalidInput):
        schemas.register("@@", folder)
    with pytest.raises(InvalidInput):
        schemas.status("never registered")
    with pytest.raises(InvalidInput):
        schemas.register("other", [Migration("wrong", 1, "x", "SELECT 1;")])
    storage.close()
    with pytest.raises((StorageClosed, MigrationError)):
        schemas.run()


@pytest.mark.parametrize("storage", ["memory", "rocksdb"], indirect=True)
def test_a_storage_without_sql_says_so(storage: StorageBackend, folder: Path) -> None:
    assert storage.sql_dialect is None
    with pytest.raises(MigrationError, match="no SQL schema"):
        PluginSchemas(storage).register(PACKAGE, folder)
    with pytest.raises(MigrationError, match="no SQL schema"):
        storage.component_migrator("x", [])
