"""A disk that fills up, or whose syncs fail, on command. Functions for children: the VFS is a process-wide default."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.errors import CommitUnknown, StorageError, StorageFull

from .forkserver import Talk

#: The default before ours takes its place.
SYSTEM_VFS = apsw.vfs_names()[0]


class FailingVFS(apsw.VFS):
    """The system's VFS until told otherwise."""

    def __init__(self) -> None:
        self.room: int | None = None
        """Bytes that files may still grow by; None is plenty."""
        self.sync_fails = False
        super().__init__("failing", SYSTEM_VFS, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> FailingFile:  # noqa: N802 - SQLite's name
        return FailingFile(self, name, flags)


class FailingFile(apsw.VFSFile):
    """One open file of it."""

    def __init__(self, disk: FailingVFS, name: Any, flags: list[int]) -> None:
        self.disk = disk
        super().__init__(SYSTEM_VFS, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self.disk.room is not None:
            growth = max(offset + len(data) - self.xFileSize(), 0)
            if growth > self.disk.room:
                raise apsw.FullError("no room")
            self.disk.room -= growth
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self.disk.sync_fails:
            error = apsw.IOError("the sync failed")
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]
            raise error
        super().xSync(flags)


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except StorageError as error:
        return type(error).__name__
    return "written"


WRITES: dict[str, Callable[[SQLiteStorageBackend], object]] = {
    "set": lambda storage: storage.set("big", "x" * 100_000),
    "overwrite": lambda storage: storage.set("kept", "x" * 100_000),
    "set_many": lambda storage: storage.set_many({f"m{n}": "x" * 3000 for n in range(100)}),
    "delete_many": lambda storage: storage.delete_many([f"fill{n}" for n in range(200)]),
    "transaction": lambda storage: _two_writes(storage),
}


def _two_writes(storage: SQLiteStorageBackend) -> None:
    with storage.transaction() as tx:
        tx.set("kept", "changed")
        tx.set("big", "x" * 500_000)


def fill(storage: SQLiteStorageBackend) -> None:
    """Something to lose."""
    storage.create_namespace("tracked", track_changes=True)
    storage.set("kept", "first", namespace="tracked")
    storage.set_many({f"fill{n}": {"n": n, "text": "y" * 200} for n in range(200)})
    storage.set("kept", "first")


def state(storage: SQLiteStorageBackend) -> list[Any]:
    """All that is stored, for comparison."""
    return [
        [entry for name in storage.list_namespaces() for entry in storage.scan(namespace=name)],
        storage.changes().changes,
    ]


def fill_the_disk(talk: Talk, path: str, write: str, room: int, wal: bool) -> None:
    """Fail one write for lack of room, read, make room, write."""
    disk = FailingVFS()
    with closing(SQLiteStorageBackend({"dbPath": path, "walMode": wal})) as storage:
        fill(storage)
        before = state(storage)
        disk.room = room
        failed = _outcome(lambda: WRITES[write](storage))
        same = state(storage) == before
        again = _outcome(lambda: WRITES[write](storage))
        disk.room = None
        later = _outcome(lambda: WRITES[write](storage))
        report = storage.check()
    talk.say({"failed": failed, "same": same, "again": again, "later": later, "problems": report.problems})


def fail_the_sync(talk: Talk, path: str) -> None:
    """Commit on a disk whose sync fails; then on a good one."""
    disk = FailingVFS()
    with closing(SQLiteStorageBackend({"dbPath": path, "synchronous": "FULL"})) as storage:
        fill(storage)
        disk.sync_fails = True
        outcomes = [_outcome(lambda: storage.set("kept", "second"))]
        outcomes.append(_outcome(lambda: storage.set_many({"kept": "third", "other": 1})))
        outcomes.append(_outcome(lambda: _commit_by_id(storage)))
        disk.sync_fails = False
        held = storage.get("kept")
        later = _outcome(lambda: storage.set("kept", "fourth"))
        report = storage.check()
    talk.say({"outcomes": outcomes, "held": held, "later": later, "problems": report.problems})


def _commit_by_id(storage: SQLiteStorageBackend) -> None:
    transaction = storage.begin_transaction()
    transaction.set("kept", "by id")
    storage.commit(transaction.id)


def fail_the_checkpoint(talk: Talk, path: str) -> None:
    """Under NORMAL only the checkpoint syncs: commits succeed, and the status must tell of its failure."""
    disk = FailingVFS()
    with closing(SQLiteStorageBackend({"dbPath": path, "synchronous": "NORMAL"})) as storage:
        fill(storage)
        disk.sync_fails = True
        written = 0
        while written < 3000 and storage.get_status().last_error is None:
            for _ in range(100):
                storage.set(f"more{written}", "z" * 5000)
                written += 1
        told = storage.get_status()
        disk.sync_fails = False
        storage.optimize()
        report = storage.check()
        intact = storage.count() == 201 + written
    talk.say({"last_error": told.last_error, "healthy": told.healthy, "intact": intact, "problems": report.problems})


def real_full_disk(talk: Talk, folder: str) -> None:
    """Fill a small file system to the brim, fail, delete the ballast, write again."""
    ballast = Path(folder) / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    with closing(SQLiteStorageBackend({"dbPath": str(Path(folder) / "storage.db")})) as storage:
        written, failed = 0, ""
        while written < 10_000 and not failed:
            try:
                storage.set(f"k{written:05}", "x" * 2000)
            except StorageError as error:
                failed = type(error).__name__
            else:
                written += 1
        intact = storage.count() == written
        batch = _outcome(lambda: storage.set_many({f"m{n}": "x" * 3000 for n in range(1000)}))
        still = storage.count() == written
        reads = all(storage.get(f"k{n:05}") == "x" * 2000 for n in range(written))
        ballast.unlink()
        later = _outcome(lambda: storage.set("later", 1))
        problems = storage.check().problems
    with closing(SQLiteStorageBackend({"dbPath": str(Path(folder) / "storage.db")})) as storage:
        kept = storage.count() == written + 1
    talk.say(
        {
            "written": written,
            "failed": failed,
            "batch": batch,
            "intact": intact and still and reads and kept,
            "later": later,
            "problems": problems,
        }
    )


def limited_file_size(talk: Talk, path: str) -> None:
    """The system refuses to grow a file past a limit (EFBIG), as a quota would."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with closing(SQLiteStorageBackend({"dbPath": path})) as storage:
        fill(storage)
        before = state(storage)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        failed = _outcome(lambda: storage.set_many({f"m{n}": "x" * 3000 for n in range(1000)}))
        same = state(storage) == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        later = _outcome(lambda: storage.set_many({f"m{n}": "x" * 3000 for n in range(1000)}))
        problems = storage.check().problems
    talk.say({"failed": failed, "same": same, "later": later, "problems": problems})


FULL = StorageFull.__name__
UNKNOWN = CommitUnknown.__name__


def mount_small(folder: Path, size: str = "3m") -> bool:
    """Mount a file system of that size at ``folder``, if this process may; whether it did."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def unmount(folder: Path) -> None:
    """Undo :func:`mount_small`."""
    subprocess.run(["umount", str(folder)], check=True)
