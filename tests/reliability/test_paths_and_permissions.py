"""Where the file may be, who may read it, what happens where it cannot be written, moved or gone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.errors import InvalidConfig, StorageError, StorageReadOnly

from .forkserver import ForkServer
from .unprivileged import NOBODY

REFUSED = StorageReadOnly.__name__


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can reach (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _give_away(*paths: Path) -> None:
    if os.getuid() == 0:
        for path in paths:
            os.chown(path, NOBODY, NOBODY)


# -- dbPath ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", " ", "a\0b", "\0", None, 7, b"bytes.db", ["x"]], ids=repr)
def test_a_path_that_names_no_file_is_refused(tmp_path: Path, path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidConfig):
        SQLiteStorageBackend({"dbPath": path})
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig):
        SQLiteStorageBackend({"dbPath": str(tmp_path)})
    with pytest.raises(InvalidConfig):
        SQLiteStorageBackend({"dbPath": str(tmp_path) + "/"})
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(InvalidConfig):
        SQLiteStorageBackend({"dbPath": str(tmp_path / "file" / "storage.db")})
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize(
    "path", ["../outside.db", "a/../../outside.db", "link/outside.db", "link/../outside.db", "file-link.db", ".", ""]
)
def test_base_dir_confines(tmp_path: Path, path: str) -> None:
    base, outside = tmp_path / "base", tmp_path / "elsewhere"
    base.mkdir()
    outside.mkdir()
    (base / "link").symlink_to(outside)
    (base / "file-link.db").symlink_to(outside / "outside.db")
    for given in (path, str(base / path)):
        with pytest.raises(InvalidConfig):
            SQLiteStorageBackend({"dbPath": given, "base_dir": str(base)})
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "outside.db").exists()


def test_base_dir_does_not_take_a_neighbour_for_itself(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(InvalidConfig):
        SQLiteStorageBackend({"dbPath": str(tmp_path / "base2" / "s.db"), "base_dir": str(tmp_path / "base")})
    assert not (tmp_path / "base2").exists()


def test_base_dir_lets_its_own_files_in(tmp_path: Path) -> None:
    with closing(SQLiteStorageBackend({"dbPath": "a/b/s.db", "base_dir": str(tmp_path)})) as storage:
        storage.set("k", 1)
    assert (tmp_path / "a" / "b" / "s.db").exists()


@pytest.mark.parametrize(
    "name", ["a?mode=memory.db", "file:x.db", "a#b.db", "50%41.db", "'; DROP TABLE x; --.db", "é.db"]
)
def test_a_path_is_a_path_and_no_uri(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        storage.set("k", 1)
        (tmp_path / "backup").mkdir()
        storage.backup(tmp_path / "backup" / name)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, "backup"])
    for file in (path, tmp_path / "backup" / name):
        with closing(SQLiteStorageBackend({"dbPath": str(file), "read_only": True})) as storage:
            assert storage.get("k") == 1


# -- modes -----------------------------------------------------------------------------------------------------------


def test_files_and_folders_are_their_owners_alone(tmp_path: Path, server: ForkServer) -> None:
    (modes,) = server.run("unprivileged:create", folder=str(tmp_path))
    assert modes.pop("deep/") == "0o700"
    assert {"storage.db", "storage.db-wal", "storage.db-shm", "backup.db"} <= modes.keys()
    assert set(modes.values()) == {"0o600"}


# -- read-only -------------------------------------------------------------------------------------------------------


def _make(folder: Path) -> Path:
    path = folder / "storage.db"
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        storage.set("k", 1)
    return path


def test_a_read_only_storage_reads_and_refuses_writes(tmp_path: Path) -> None:
    path = _make(tmp_path)
    before = path.read_bytes()
    with closing(SQLiteStorageBackend({"dbPath": str(path), "read_only": True})) as storage:
        assert storage.get("k") == 1
        with pytest.raises(StorageReadOnly):
            storage.set("k", 2)
        with pytest.raises(StorageReadOnly):
            storage.delete("k")
        with pytest.raises(StorageReadOnly):
            storage.create_namespace("n")
        with pytest.raises(StorageReadOnly):
            storage.transaction()
        assert storage.check().ok
        assert storage.get_status().healthy
    assert path.read_bytes() == before


@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
def test_a_file_that_may_not_be_written(open_folder: Path, server: ForkServer, read_only: bool) -> None:
    path = _make(open_folder)
    before = path.read_bytes()
    path.chmod(0o444)
    open_folder.chmod(0o555)
    (found,) = server.run("unprivileged:open_and_write", path=str(path), read_only=read_only)
    if read_only:
        assert found == {"open": "opened", "read": 1, "write": REFUSED, "create": REFUSED}
    else:
        assert found in ({"open": REFUSED}, {"open": "opened", "read": 1, "write": REFUSED, "create": REFUSED})
    assert path.read_bytes() == before
    assert [file.name for file in open_folder.iterdir()] == ["storage.db"]


def test_a_folder_that_may_not_be_written(open_folder: Path, server: ForkServer) -> None:
    """The file could be written, but no -wal can be made beside it."""
    path = _make(open_folder)
    path.chmod(0o600)
    _give_away(path)
    open_folder.chmod(0o555)
    (found,) = server.run("unprivileged:open_and_write", path=str(path), read_only=False)
    assert found in ({"open": REFUSED}, {"open": "opened", "read": 1, "write": REFUSED, "create": REFUSED})
    (found,) = server.run("unprivileged:open_and_write", path=str(path), read_only=True)
    assert found == {"open": "opened", "read": 1, "write": REFUSED, "create": REFUSED}


def test_a_folder_where_nothing_can_be_created(open_folder: Path, server: ForkServer) -> None:
    open_folder.chmod(0o555)
    (found,) = server.run("unprivileged:open_and_write", path=str(open_folder / "new.db"), read_only=False)
    assert found == {"open": REFUSED}
    (found,) = server.run("unprivileged:open_and_write", path=str(open_folder / "sub" / "new.db"), read_only=False)
    assert found == {"open": REFUSED}


def test_a_file_of_another_user(open_folder: Path, server: ForkServer) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make a file that the tests' own user may not read")
    path = _make(open_folder)  # mode 0600, root's
    for read_only in (False, True):
        (found,) = server.run("unprivileged:open_and_write", path=str(path), read_only=read_only)
        assert found["open"] != "opened"  # and it is a StorageError, or the child would have failed


def test_read_only_never_creates_a_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        SQLiteStorageBackend({"dbPath": str(tmp_path / "sub" / "none.db"), "read_only": True})
    assert list(tmp_path.iterdir()) == []


# -- the file goes away while open -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "renamed", "replaced"])
def test_writes_to_a_file_that_went_away_do_not_vanish_in_silence(tmp_path: Path, how: str) -> None:
    path = _make(tmp_path)
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        storage.set("k", 2)
        if how == "replaced":
            (tmp_path / "other").mkdir()
            _make(tmp_path / "other").replace(path)
        elif how == "renamed":
            path.rename(tmp_path / "moved.db")
        else:
            path.unlink()
        try:
            storage.set("k", 3)
            told = False
        except StorageError:
            told = True
        status = storage.get_status()
        assert told or not status.healthy
        assert status.last_error
        with pytest.raises(StorageError):
            storage.ping()
