"""Whose file it is, adopting a file of the original JavaScript backend, and the way there and back.

The original's file is built here from its published schema with the standard library's sqlite3, as another program
would: its tables, its four indexes, its journal, and values as JSON.stringify writes them.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import apsw
import pytest

import mycelia_storage
from mycelia_storage.backends.sqlite.journal import (
    APPLICATION_ID,
    NEWEST_VERSION,
    SQLiteJournal,
    current_version,
    is_ours,
    migrator_of,
    prepare,
)
from mycelia_storage.errors import (
    ForeignDatabase,
    MigrationError,
    SchemaTooNew,
    StorageBusy,
    StorageCorrupt,
)
from mycelia_storage.migrations import Migration, Migrator, core_migrations
from mycelia_storage.values import decode_value

PLAN_ENTRIES = """
CREATE TABLE IF NOT EXISTS storage_entries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace   TEXT NOT NULL DEFAULT 'default',
    key         TEXT NOT NULL,
    value       TEXT NOT NULL,
    metadata    TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE(namespace, key)
);
"""
PLAN_INDEXES = """
CREATE INDEX IF NOT EXISTS idx_storage_namespace_key ON storage_entries(namespace, key);
CREATE INDEX IF NOT EXISTS idx_storage_namespace ON storage_entries(namespace);
CREATE INDEX IF NOT EXISTS idx_storage_created_at ON storage_entries(created_at);
CREATE INDEX IF NOT EXISTS idx_storage_updated_at ON storage_entries(updated_at);
"""
PLAN_NAMESPACES = """
CREATE TABLE IF NOT EXISTS storage_namespaces (name TEXT PRIMARY KEY, metadata TEXT, created_at INTEGER NOT NULL);
"""
PLAN_JOURNAL = """
CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL);
"""
PLAN = PLAN_ENTRIES + PLAN_INDEXES + PLAN_NAMESPACES + PLAN_JOURNAL

APPLIED_AT = 1_700_000_000_000

# id, namespace, key, value, metadata, created_at, updated_at. Ids have holes: INSERT OR REPLACE gave new ones.
ENTRIES = [
    (3, "users", "ada", '{"name":"Ada","age":36}', '{"lang":"en"}', 1_700_000_000_001, 1_700_000_000_002),
    (4, "users", "Ünïcode ключ", '"\\u0000 and text"', None, 1_700_000_000_003, 1_700_000_000_003),
    (9, "only/in/entries", "big", "18446744073709551615", "{}", 1_700_000_000_004, 1_700_000_000_005),
    (10, "only/in/entries", "surrogate", '"\\ud800"', None, 1_700_000_000_006, 1_700_000_000_006),
    (12, "default", "null", "null", None, 0, 0),
]
NAMESPACES = [("users", '{"owner":"me"}', 1_699_999_999_999), ("empty", None, 5)]


def build_plan_file(path: Path, *, wal: bool = False, journal: bool = True, script: str = PLAN) -> Path:
    with closing(sqlite3.connect(path)) as database:
        if wal:
            database.execute("PRAGMA journal_mode = WAL")
        database.executescript(script)
        database.executemany("INSERT INTO storage_entries VALUES (?, ?, ?, ?, ?, ?, ?)", ENTRIES)
        if script == PLAN:
            database.executemany("INSERT INTO storage_namespaces VALUES (?, ?, ?)", NAMESPACES)
        if journal:
            database.execute("INSERT INTO schema_version VALUES (1, ?)", (APPLIED_AT,))
        database.commit()
    return path


@pytest.fixture
def connect() -> Iterator[Callable[..., apsw.Connection]]:
    """Connections with the backend's own safety settings; closed at the end."""
    opened = []

    def connect(path: Path | str, *, read_only: bool = False, busy_timeout: int = 5000) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(str(path), flags=flags)
        opened.append(connection)
        connection.set_busy_timeout(busy_timeout)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
        return connection

    yield connect
    for connection in opened:
        connection.close()


Connect = Callable[..., apsw.Connection]


def rows(connection: apsw.Connection, sql: str) -> list[Any]:
    return list(connection.execute(sql))


def tables(connection: apsw.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every table with its columns: what two files of one schema have in common however they came about."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {name: rows(connection, f"SELECT * FROM pragma_table_info('{name}')") for name in sorted(names)}


def indexes(connection: apsw.Connection) -> list[Any]:
    return rows(connection, "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' ORDER BY 1")


ENTRY_COLUMNS = "SELECT id, namespace, key, value, metadata, created_at, updated_at FROM storage_entries ORDER BY id"


# -- a fresh file


def test_the_newest_version_is_the_newest_file() -> None:
    assert core_migrations("sqlite")[-1].version == NEWEST_VERSION


def test_a_fresh_file_gets_the_newest_schema(tmp_path: Path, connect: Connect) -> None:
    connection = connect(tmp_path / "fresh.db")
    assert is_ours(connection) == "empty"
    assert current_version(connection) == 0
    assert (tmp_path / "fresh.db").stat().st_size == 0, "looking writes nothing"
    assert prepare(connection, migrate=True) == NEWEST_VERSION
    assert is_ours(connection) == "ours"
    assert current_version(connection) == NEWEST_VERSION
    assert rows(connection, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert rows(connection, "SELECT name, metadata FROM storage_namespaces") == [("default", None)]
    assert [line.state for line in migrator_of(connection).status()] == ["applied"] * NEWEST_VERSION


def test_an_up_to_date_file_costs_two_statements(connect: Connect) -> None:
    connection = connect(":memory:")
    prepare(connection, migrate=True)
    ran: list[str] = []
    connection.exec_trace = lambda _cursor, sql, _bindings: ran.append(sql) is None
    assert prepare(connection, migrate=False) == NEWEST_VERSION
    assert len(ran) == 2, ran


def test_the_snapshot_shows_the_tables_after_each_step(connect: Connect) -> None:
    connection = connect(":memory:")
    prepare(connection, migrate=True)
    first, second, third = (json.loads(row.snapshot or "[]") for row in SQLiteJournal(connection).read_journal("core"))
    assert any(sql.startswith("CREATE TABLE storage_entries") and "AUTOINCREMENT" in sql for sql in first)
    assert any("idx_storage_created_at" in sql for sql in first)
    assert any(sql.startswith("CREATE TABLE storage_changes") for sql in second)
    assert not any("idx_storage" in sql or "schema_version" in sql for sql in second)
    assert any(sql.startswith("CREATE TABLE storage_vector_log") for sql in third)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_needed_migration_that_is_not_allowed_names_the_command(
    tmp_path: Path, connect: Connect, read_only: bool
) -> None:
    path = build_plan_file(tmp_path / "plan.db")
    before = path.read_bytes()
    connection = connect(path, read_only=read_only)
    with pytest.raises(MigrationError, match=r"mycelia-storage migrate up --db .*plan.db"):
        prepare(connection, migrate=read_only)
    connection.close()
    assert path.read_bytes() == before


# -- the original's file


@pytest.mark.parametrize("wal", [False, True])
def test_a_file_of_the_original_keeps_every_entry(tmp_path: Path, connect: Connect, wal: bool) -> None:
    connection = connect(build_plan_file(tmp_path / "plan.db", wal=wal))
    assert is_ours(connection) == "plan"
    assert current_version(connection) == 1
    assert prepare(connection, migrate=True) == NEWEST_VERSION
    assert is_ours(connection) == "ours"
    assert rows(connection, ENTRY_COLUMNS) == ENTRIES
    assert rows(connection, "SELECT count(*) FROM storage_entries WHERE typeof(value) <> 'text'") == [(0,)]
    versions = dict(rows(connection, "SELECT key, version FROM storage_entries"))
    assert versions == {entry[2]: max(entry[6] * 1000, 1) for entry in ENTRIES}
    assert rows(connection, "SELECT count(*) FROM storage_entries WHERE expires_at IS NOT NULL") == [(0,)]
    namespaces = rows(connection, "SELECT name, metadata, created_at, track_changes FROM storage_namespaces ORDER BY 1")
    assert namespaces == [
        ("default", None, 0, 0),
        ("empty", None, 5, 0),
        ("only/in/entries", None, 1_700_000_000_004, 0),
        ("users", '{"owner":"me"}', 1_699_999_999_999, 0),
    ]
    assert rows(connection, "PRAGMA integrity_check") == [("ok",)]


def test_values_that_only_the_original_could_write_stay_readable(tmp_path: Path, connect: Connect) -> None:
    connection = connect(build_plan_file(tmp_path / "plan.db"))
    prepare(connection, migrate=True)
    values = dict(rows(connection, "SELECT key, value FROM storage_entries"))
    assert decode_value(values["big"]) == 2**64 - 1
    assert decode_value(values["surrogate"]) == "\ud800"


def test_an_adopted_file_has_the_same_schema_as_a_fresh_one(tmp_path: Path, connect: Connect) -> None:
    adopted = connect(build_plan_file(tmp_path / "plan.db"))
    fresh = connect(":memory:")
    prepare(adopted, migrate=True)
    prepare(fresh, migrate=True)
    assert tables(adopted) == tables(fresh)
    assert indexes(adopted) == indexes(fresh)


def test_the_journal_of_an_adopted_file_keeps_its_row(tmp_path: Path, connect: Connect) -> None:
    connection = connect(build_plan_file(tmp_path / "plan.db"))
    assert [(line.version, line.state, line.applied_at) for line in migrator_of(connection).status()] == [
        (1, "applied", APPLIED_AT),
        *((version, "pending", None) for version in range(2, NEWEST_VERSION + 1)),
    ]
    assert SQLiteJournal(connection).components() == ["core"]
    assert migrator_of(connection).status_of_others() == []
    prepare(connection, migrate=True)
    first, second, *_ = SQLiteJournal(connection).read_journal("core")
    assert first == (1, None, None, APPLIED_AT, None)
    assert second.name is not None
    assert second.checksum is not None
    assert [line.state for line in migrator_of(connection).status()] == ["applied"] * NEWEST_VERSION


@pytest.mark.parametrize(
    ("script", "about"),
    [
        (PLAN, "its journal is empty"),
        (PLAN_ENTRIES + PLAN_INDEXES + PLAN_NAMESPACES, "its journal is missing"),
        (PLAN_ENTRIES, "it stopped after its first table"),
    ],
)
def test_a_file_that_the_original_left_half_made_is_adopted(
    tmp_path: Path, connect: Connect, script: str, about: str
) -> None:
    connection = connect(build_plan_file(tmp_path / "plan.db", journal=False, script=script))
    assert is_ours(connection) == "plan", about
    assert current_version(connection) == 1
    assert prepare(connection, migrate=True) == NEWEST_VERSION
    assert rows(connection, ENTRY_COLUMNS) == ENTRIES
    names = {name for (name,) in connection.execute("SELECT name FROM storage_namespaces")}
    assert {"users", "only/in/entries", "default"} <= names


def test_tables_and_views_of_others_in_the_file_survive(tmp_path: Path, connect: Connect) -> None:
    path = build_plan_file(tmp_path / "plan.db")
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            """
            CREATE VIEW names AS SELECT key FROM storage_entries WHERE namespace = 'users';
            CREATE TABLE mine (x, entry REFERENCES storage_entries (id));
            INSERT INTO mine VALUES (1, 3);
            """
        )
    connection = connect(path)
    prepare(connection, migrate=True)
    connection.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM names").fetchone() == (2,)
        assert database.execute("SELECT * FROM mine").fetchall() == [(1, 3)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_later_schema_of_the_original_is_too_new(tmp_path: Path, connect: Connect) -> None:
    path = build_plan_file(tmp_path / "plan.db")
    with closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO schema_version VALUES (2, 1)")
        database.commit()
    before = path.read_bytes()
    connection = connect(path)
    with pytest.raises(SchemaTooNew, match="version 2 of the original"):
        prepare(connection, migrate=True)
    connection.close()
    assert path.read_bytes() == before


# -- other files


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE users (id)",
        "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL)",
        "CREATE TABLE storage_entries (id, key, value)",
        PLAN.replace("metadata    TEXT,", "metadata TEXT, extra TEXT,"),
        PLAN_ENTRIES + "CREATE TABLE schema_version (major, minor)",
        PLAN + "PRAGMA application_id = 7",
        "PRAGMA application_id = 7",
        "CREATE VIEW v AS SELECT 1",
    ],
)
def test_a_database_of_another_application_is_refused_and_untouched(
    tmp_path: Path, connect: Connect, script: str
) -> None:
    path = tmp_path / "foreign.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)
        database.commit()
    before = path.read_bytes()
    connection = connect(path)
    assert is_ours(connection) == "foreign"
    for act in (
        lambda: prepare(connection, migrate=True),
        lambda: prepare(connection, migrate=False),
        lambda: current_version(connection),
        lambda: migrator_of(connection).up(),
        lambda: migrator_of(connection).status(),
    ):
        with pytest.raises(ForeignDatabase, match=r"foreign.db"):
            act()
    connection.close()
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path, connect: Connect) -> None:
    path = tmp_path / "no.db"
    path.write_bytes(b"this is a text file, long enough to have a header\n" * 100)
    before = path.read_bytes()
    connection = connect(path)
    with pytest.raises(StorageCorrupt):
        prepare(connection, migrate=True)
    connection.close()
    assert path.read_bytes() == before


def test_a_newer_file_is_refused_and_untouched(tmp_path: Path, connect: Connect) -> None:
    path = tmp_path / "new.db"
    connection = connect(path)
    prepare(connection, migrate=True)
    connection.execute("INSERT INTO schema_version (version, applied_at) VALUES (?, 1)", (NEWEST_VERSION + 1,))
    connection.close()
    before = path.read_bytes()
    connection = connect(path)
    for migrate in (True, False):
        with pytest.raises(SchemaTooNew, match=f"version {NEWEST_VERSION + 1}"):
            prepare(connection, migrate=migrate)
    assert [line.state for line in migrator_of(connection).status()][-1] == "unknown"
    connection.close()
    assert path.read_bytes() == before


def test_a_file_of_ours_that_lost_its_journal_is_not_migrated(connect: Connect) -> None:
    connection = connect(":memory:")
    prepare(connection, migrate=True)
    connection.execute("DROP TABLE schema_version")
    with pytest.raises(MigrationError, match="lost its table schema_version"):
        prepare(connection, migrate=True)


# -- there and back


def test_down_and_up_again_keep_the_data(tmp_path: Path, connect: Connect) -> None:
    connection = connect(build_plan_file(tmp_path / "plan.db"))
    prepare(connection, migrate=True)
    connection.execute(
        "CREATE INDEX declared ON storage_entries"
        " (namespace, CASE WHEN typeof(value) = 'text' THEN json_extract(value, '$.age') END)"
    )
    connection.execute(
        "INSERT INTO storage_entries (id, namespace, key, value, metadata, created_at, updated_at, version, expires_at)"
        " VALUES (20, 'users', 'blob', x'00ff', '{}', 7, 8, 9, NULL), (21, 'users', 'gone', '1', NULL, 1, 1, 1, 1),"
        " (22, 'users', 'later', '2', NULL, 1, 1, 1, unixepoch() * 1000 + 1000000)"
    )
    expected = [
        *ENTRIES,
        (20, "users", "blob", b"\x00\xff", "{}", 7, 8),
        (22, "users", "later", "2", None, 1, 1),
    ]
    assert migrator_of(connection).down(1) == [*range(NEWEST_VERSION, 1, -1)]
    assert current_version(connection) == 1
    assert rows(connection, ENTRY_COLUMNS) == expected, "an expired entry does not come back to life"
    assert ("declared", "storage_entries") not in indexes(connection)

    plan = connect(build_plan_file(tmp_path / "other.db"))
    ignored = ("schema_version", "sqlite_sequence")
    assert {n: c for n, c in tables(connection).items() if n not in ignored} == {
        n: c for n, c in tables(plan).items() if n not in ignored
    }
    assert [line for line in indexes(connection) if line[1] != "schema_version"] == indexes(plan)
    connection.execute("INSERT INTO storage_entries (key, value, created_at, updated_at) VALUES ('new', '1', 1, 1)")
    assert rows(connection, "SELECT max(id) FROM storage_entries") == [(23,)], "AUTOINCREMENT goes on where it was"
    connection.execute("DELETE FROM storage_entries WHERE key = 'new'")

    assert prepare(connection, migrate=True) == NEWEST_VERSION
    assert rows(connection, ENTRY_COLUMNS) == expected
    assert rows(connection, "SELECT metadata, created_at FROM storage_namespaces WHERE name = 'users'") == [
        ('{"owner":"me"}', 1_699_999_999_999)
    ]
    assert rows(connection, "PRAGMA integrity_check") == [("ok",)]


def test_down_to_nothing_and_up_again(connect: Connect) -> None:
    connection = connect(":memory:")
    prepare(connection, migrate=True)
    assert migrator_of(connection).down(0) == [*range(NEWEST_VERSION, 0, -1)]
    assert is_ours(connection) == "ours"
    assert current_version(connection) == 0
    assert set(tables(connection)) == {"schema_version", "sqlite_sequence"}
    assert prepare(connection, migrate=True) == NEWEST_VERSION


def test_an_interrupted_migration_leaves_the_version_before_it(tmp_path: Path, connect: Connect) -> None:
    class Interrupted(Exception):
        pass

    class FailsLate(SQLiteJournal):
        def insert_row(self, component: str, row: Any) -> None:
            if row.version == 2:
                raise Interrupted
            super().insert_row(component, row)

    path = build_plan_file(tmp_path / "plan.db")
    connection = connect(path)
    with pytest.raises(MigrationError) as caught:
        Migrator(FailsLate(connection), core_migrations("sqlite")).up()
    assert isinstance(caught.value.__cause__, Interrupted)
    assert not connection.in_transaction
    assert is_ours(connection) == "plan"
    assert rows(connection, "SELECT * FROM schema_version") == [(1, APPLIED_AT)]
    assert rows(connection, "SELECT * FROM storage_entries ORDER BY id") == ENTRIES
    assert prepare(connection, migrate=True) == NEWEST_VERSION

    fresh = connect(":memory:")
    with pytest.raises(MigrationError):
        Migrator(FailsLate(fresh), core_migrations("sqlite")).up()
    assert current_version(fresh) == 1


def test_a_failing_statement_rolls_back_the_statements_before_it(connect: Connect) -> None:
    connection = connect(":memory:")
    prepare(connection, migrate=True)
    bad = Migration("notes", 1, "bad", "CREATE TABLE notes_a (x); INSERT INTO notes_missing VALUES (1);")
    with pytest.raises(MigrationError, match="notes_missing") as caught:
        Migrator(SQLiteJournal(connection), [bad], "notes").up()
    assert isinstance(caught.value.__cause__.__cause__, apsw.SQLError)  # type: ignore[union-attr]
    assert "notes_a" not in tables(connection)


def test_a_component_has_its_own_line_and_snapshot(connect: Connect) -> None:
    connection = connect(":memory:")
    prepare(connection, migrate=True)
    step = Migration(
        "notes", 1, "start", "CREATE TABLE notes_a (x); SELECT 1; CREATE INDEX notes_i ON notes_a (x)", "SELECT 1"
    )
    migrator = Migrator(SQLiteJournal(connection), [step], "notes")
    assert migrator.up() == [1]
    (row,) = SQLiteJournal(connection).read_journal("notes")
    assert json.loads(row.snapshot or "") == ["CREATE TABLE notes_a (x)", "CREATE INDEX notes_i ON notes_a (x)"]
    assert current_version(connection) == NEWEST_VERSION
    assert prepare(connection, migrate=False) == NEWEST_VERSION


# -- several at once


def test_a_held_write_lock_is_busy_and_nothing_is_written(tmp_path: Path, connect: Connect) -> None:
    path = build_plan_file(tmp_path / "plan.db")
    holder = connect(path)
    holder.execute("BEGIN IMMEDIATE")
    waiting = connect(path, busy_timeout=0)
    with pytest.raises(StorageBusy):
        prepare(waiting, migrate=True)
    holder.execute("ROLLBACK")
    assert is_ours(waiting) == "plan"
    assert prepare(waiting, migrate=True) == NEWEST_VERSION


def test_a_migration_that_commits_while_another_process_looks_does_not_show(tmp_path: Path, connect: Connect) -> None:
    path = build_plan_file(tmp_path / "plan.db", wal=True)
    looking, migrating = connect(path), connect(path)
    seen: list[str] = []

    def migrate_before_the_next_look(_cursor: Any, sql: str, _bindings: Any) -> bool:
        seen.append(sql)
        if seen.count("PRAGMA application_id") == 1 and not sql.startswith(("BEGIN", "PRAGMA")):
            looking.exec_trace = None
            prepare(migrating, migrate=True)
        return True

    looking.exec_trace = migrate_before_the_next_look
    assert is_ours(looking) == "plan", "half old and half new would look foreign"
    assert len(seen) > 1
    assert is_ours(looking) == "ours"


STARTER = """
import sys, apsw
from mycelia_storage.backends.sqlite.journal import migrator_of, prepare
connection = apsw.Connection(sys.argv[1])
connection.set_busy_timeout(30_000)
print("ready", flush=True)
sys.stdin.readline()
applied = migrator_of(connection).up()
assert prepare(connection, migrate=False)
print(applied)
"""


@pytest.mark.parametrize("kind", ["fresh", "plan", "plan in WAL mode"])
def test_of_several_processes_each_migration_is_applied_by_one(tmp_path: Path, connect: Connect, kind: str) -> None:
    path = tmp_path / "shared.db"
    if kind != "fresh":
        build_plan_file(path, wal="WAL" in kind)
    root = Path(mycelia_storage.__file__).parents[1]
    path_of_modules = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    applied: list[int] = []
    with ExitStack() as stack:
        starters = []
        for _ in range(5):
            starter = subprocess.Popen(
                [sys.executable, "-c", STARTER, str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path_of_modules},
            )
            stack.enter_context(starter)
            stack.callback(starter.kill)
            starters.append(starter)
        for starter in starters:
            assert starter.stdout is not None
            assert starter.stdout.readline() == "ready\n"
        for starter in starters:
            assert starter.stdin is not None
            starter.stdin.write("\n")
            starter.stdin.flush()
        for starter in starters:
            out, _ = starter.communicate(timeout=60)
            assert starter.returncode == 0
            applied += json.loads(out)
    assert sorted(applied) == [*range(1 if kind == "fresh" else 2, NEWEST_VERSION + 1)]
    connection = connect(path)
    assert current_version(connection) == NEWEST_VERSION
    assert rows(connection, ENTRY_COLUMNS) == ([] if kind == "fresh" else ENTRIES)
    assert rows(connection, "PRAGMA integrity_check") == [("ok",)]
