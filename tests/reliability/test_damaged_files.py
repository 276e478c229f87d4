"""Files that are not ours, not whole or not databases: a typed error, and what is not ours is not touched."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.errors import ForeignDatabase, StorageCorrupt, StorageError

from .plan_file import make_plan_file

ENTRIES = 400
PAGE = 4096


def value(number: int) -> dict[str, object]:
    return {"number": number, "text": "t" * 300}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound file of ours, closed, so without a -wal."""
    path = tmp_path / "storage.db"
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        storage.create_namespace("tracked", track_changes=True)
        storage.set_many({f"k{number:04}": value(number) for number in range(ENTRIES)})
        storage.set_many({f"k{number:04}": value(number) for number in range(20)}, namespace="tracked")
    assert [file.name for file in tmp_path.iterdir()] == ["storage.db"]
    return path


def open_and_read(path: Path) -> list[str]:
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        return storage.list()


def check_and_read(path: Path) -> list[str]:
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        assert storage.check().problems
        return [entry.key for entry in storage.scan()]


# -- no database at all ----------------------------------------------------------------------------------------------

NO_DATABASE: dict[str, bytes] = {
    "text": b"Dear diary,\n" * 1000,
    "short text": b"hello",
    "two bytes": b"\r\n",
    "zeros": bytes(8192),
    "random": random.Random(1).randbytes(8192),
    "the magic alone": b"SQLite format 3\0",
    "magic, then text": b"SQLite format 3\0" + b"x" * 8176,
    "another magic": b"SQLite format 4\0" + bytes(8176),
}


@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
@pytest.mark.parametrize("content", NO_DATABASE.values(), ids=NO_DATABASE.keys())
def test_a_file_that_is_no_database_is_refused_and_not_touched(tmp_path: Path, content: bytes, read_only: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StorageCorrupt):
        SQLiteStorageBackend({"dbPath": str(path), "read_only": read_only})
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


# -- databases of others ---------------------------------------------------------------------------------------------


def _script(sql: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with closing(apsw.Connection(str(path))) as connection:
            connection.execute(sql).fetchall()

    return make


FOREIGN: dict[str, Callable[[Path], None]] = {
    "a table": _script("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'Ada')"),
    "a table in WAL": _script("PRAGMA journal_mode = WAL; CREATE TABLE users (name TEXT)"),
    "an application id": _script("PRAGMA application_id = 252006675; CREATE TABLE t (x)"),
    "an application id alone": _script("PRAGMA application_id = 252006675; PRAGMA user_version = 3"),
    "a table of our name": _script("CREATE TABLE storage_entries (id INTEGER PRIMARY KEY, body TEXT)"),
    "our journal's name": _script("CREATE TABLE schema_version (version INTEGER); CREATE TABLE other (x)"),
    "a view": _script("CREATE VIEW storage_entries AS SELECT 1 AS id"),
}


@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_database_of_another_application_is_refused_and_not_touched(
    tmp_path: Path, make: Callable[[Path], None], read_only: bool
) -> None:
    path = tmp_path / "theirs.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(ForeignDatabase):
        SQLiteStorageBackend({"dbPath": str(path), "read_only": read_only})
    assert path.read_bytes() == before
    # To read a file in WAL mode SQLite makes an empty -wal, and without the right to write cannot remove it.
    left = {file.name: file.stat().st_size for file in tmp_path.iterdir() if not file.name.endswith("-shm")}
    assert left in ({"theirs.db": len(before)}, {"theirs.db": len(before), "theirs.db-wal": 0})


# -- ours, damaged ---------------------------------------------------------------------------------------------------


def test_a_damaged_header_is_reported(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[0:16] = bytes(16)
    path.write_bytes(damaged)
    with pytest.raises(StorageCorrupt):
        open_and_read(path)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("kept", [17, 100, PAGE - 1, PAGE, 2 * PAGE + 10])
def test_a_truncated_file_is_reported(path: Path, kept: int) -> None:
    whole = path.read_bytes()
    assert kept < len(whole) // 2
    path.write_bytes(whole[:kept])
    # A file cut at a page's end may be opened: then check() tells, and reading the lost part raises.
    with pytest.raises(StorageCorrupt):
        check_and_read(path)


def test_every_page_blotted_out_is_noticed_by_check_or_by_opening(path: Path) -> None:
    whole = path.read_bytes()
    silent, untyped = [], []
    for page in range(len(whole) // PAGE):
        blotted = bytearray(whole)
        blotted[page * PAGE : (page + 1) * PAGE] = b"\xa5" * PAGE
        path.write_bytes(blotted)
        try:
            with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
                if storage.check().ok:
                    silent.append(page)
        except StorageCorrupt:
            pass
        except StorageError as error:
            untyped.append((page, error))
    assert silent == []
    assert untyped == []


def test_bit_flips_give_a_typed_error_or_the_stored_values_shape_never_a_crash(path: Path) -> None:
    whole = path.read_bytes()
    rng = random.Random(20)
    for _ in range(60):
        place, bit = rng.randrange(len(whole)), rng.randrange(8)
        flipped = bytearray(whole)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
                storage.check()
                for entry in storage.scan():
                    assert isinstance(entry.value, dict)
                storage.set("new", 1)
                storage.changes()
        except StorageError:
            pass  # a typed error is an answer; any other exception fails the test


def test_values_that_are_no_json_are_corruption(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE storage_entries SET value = '{\"cut' WHERE key = 'k0007'")
        connection.execute("UPDATE storage_entries SET metadata = '[not json' WHERE key = 'k0008'")
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        assert not storage.check().ok
        with pytest.raises(StorageCorrupt):
            storage.get("k0007")
        with pytest.raises(StorageCorrupt):
            storage.get_entry("k0008")
        with pytest.raises(StorageCorrupt):
            list(storage.scan())
        assert storage.get("k0009") == value(9)


def test_an_index_out_of_step_with_the_table_is_found_by_check(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        index_page = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name LIKE 'sqlite_autoindex_storage_entries%'"
        ).get
    damaged = bytearray(path.read_bytes())
    at = (index_page - 1) * PAGE
    # An index page without cells: the table still has its rows.
    damaged[at : at + 8] = b"\x0a\x00\x00\x00\x00\x10\x00\x00"
    path.write_bytes(damaged)
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        assert not storage.check().ok


def test_a_plan_file_cut_short_is_reported_and_not_migrated(tmp_path: Path) -> None:
    path = tmp_path / "plan.db"
    make_plan_file(path, 500)
    whole = path.read_bytes()
    path.write_bytes(whole[: 5 * PAGE])
    with pytest.raises(StorageCorrupt):
        open_and_read(path)
    assert path.read_bytes() == whole[: 5 * PAGE]


# -- hostile files -----------------------------------------------------------------------------------------------------


def test_triggers_and_views_in_a_file_do_not_run(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(
            """
            CREATE TRIGGER steal AFTER INSERT ON storage_entries WHEN new.namespace <> 'stolen' BEGIN
              INSERT INTO storage_entries (namespace, key, value, created_at, updated_at, version)
              VALUES ('stolen', new.key, new.value, 0, 0, 1);
            END;
            CREATE TRIGGER wipe AFTER UPDATE ON storage_entries BEGIN DELETE FROM storage_entries; END;
            CREATE TRIGGER undo BEFORE DELETE ON storage_entries BEGIN SELECT raise(IGNORE); END;
            CREATE TRIGGER hush BEFORE INSERT ON storage_changes BEGIN SELECT raise(IGNORE); END;
            """
        )
    try:
        storage = SQLiteStorageBackend({"dbPath": str(path)})
    except StorageError:
        return  # refusing the file is as good
    with closing(storage):
        storage.set("new", 1)
        storage.set("k0001", 2, namespace="tracked")
        assert storage.delete("k0002") is True
        assert storage.get("k0002") is None
        assert storage.list(namespace="stolen") == []
        assert storage.count() == ENTRIES
        assert storage.changes(namespace="tracked").changes[-1].key == "k0001"


def test_a_view_in_place_of_our_table_is_not_read(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("ALTER TABLE storage_entries RENAME TO hidden")
        connection.execute("CREATE VIEW storage_entries AS SELECT * FROM hidden WHERE abs(random()) >= 0")
    with pytest.raises(StorageError):
        open_and_read(path)
