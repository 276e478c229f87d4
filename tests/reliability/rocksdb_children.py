"""What child processes do with a RocksDB storage: hold it, fork with it, run out of room."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import closing
from pathlib import Path

from mycelia_storage.backends.rocksdb import RocksDBStorageBackend
from mycelia_storage.errors import StorageClosed, StorageError

from .forkserver import Talk
from .unprivileged import lower


def hold(talk: Talk, path: str) -> None:
    """Keep the storage open until told otherwise."""
    with RocksDBStorageBackend(path) as storage:
        storage.set("k", "held")
        talk.say("open")
        talk.wait()
    talk.say("closed")


def fork(talk: Talk, path: str) -> None:
    """Fork with a warm storage, an open transaction, a snapshot and a scan half way; only the parent may go on."""
    storage = RocksDBStorageBackend(path)
    storage.set_many((f"{number:04}", number) for number in range(1_000))
    snapshot = storage.begin_transaction(read_only=True)
    scan = storage.scan()
    next(scan)
    with storage.transaction() as tx:
        tx.set("by transaction", 1)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                refused = [
                    _refused(attempt)
                    for attempt in (
                        lambda: storage.get("0001"),
                        lambda: storage.set("0001", "child"),
                        lambda: storage.delete("0001"),
                        lambda: storage.set_many({"0001": "child"}),
                        lambda: storage.transaction(),
                        lambda: storage.list(),
                        lambda: storage.get_many(["0001"]),
                        lambda: tx.set("0001", "child"),
                        lambda: tx.commit(),
                        lambda: snapshot.get("0001"),
                        lambda: list(scan),
                        lambda: RocksDBStorageBackend(path),
                    )
                ]
                storage.close()
                status = 0 if all(refused) else 2
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert status == 0, f"the child was not refused, or failed: {status}"
    storage.set("after", 1)
    assert len(list(scan)) == 1_001
    assert snapshot.count() == 1_000
    snapshot.rollback()
    assert storage.count() == 1_002
    storage.close()
    with RocksDBStorageBackend(path) as again:
        assert again.get("by transaction") == 1
        assert again.check().ok
    talk.say("the parent went on")


def limited_file_size(talk: Talk, path: str) -> None:
    """The system refuses to grow a file past a limit (EFBIG), as a quota would."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with closing(RocksDBStorageBackend(path)) as storage:
        storage.set_many({f"k{n}": "x" * 1_000 for n in range(50)})
        before = list(storage.scan())
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        failed = _outcome(lambda: storage.set_many({f"m{n}": "x" * 3_000 for n in range(1_000)}))
        again = _outcome(lambda: storage.set("k0", 1))
        same = list(storage.scan()) == before
        healthy = storage.get_status().healthy
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        later = _outcome(lambda: storage.set_many({f"m{n}": "x" * 3_000 for n in range(1_000)}))
        problems = storage.check().problems
    talk.say({"failed": [failed, again], "same": same, "healthy": healthy, "later": later, "problems": problems})


def real_full_disk(talk: Talk, folder: str) -> None:
    """Fill a small file system to the brim, fail, delete the ballast, write again."""
    ballast = Path(folder) / "ballast"
    ballast.write_bytes(bytes(24_000_000))
    path = Path(folder) / "storage"
    with closing(RocksDBStorageBackend(path)) as storage:
        written, failed = 0, ""
        while written < 20_000 and not failed:
            try:
                storage.set(f"k{written:05}", "x" * 2_000)
            except StorageError as error:
                failed = type(error).__name__
            else:
                written += 1
        intact = storage.count() == written
        again = _outcome(lambda: storage.set("again", 1))
        ballast.unlink()
        later = _outcome(lambda: storage.set("later", 1))
        problems = storage.check().problems
    with closing(RocksDBStorageBackend(path)) as storage:
        kept = storage.count() == written + 1 and all(storage.get(f"k{n:05}") == "x" * 2_000 for n in range(written))
    talk.say({"failed": [failed, again], "intact": intact and kept, "later": later, "problems": problems})


def without_privileges(talk: Talk, path: str, read_only: bool) -> None:
    """Open, as nobody, what belongs to somebody else."""
    lower()
    talk.say(_outcome(lambda: RocksDBStorageBackend(path, read_only=read_only).close()))


def _refused(attempt: object) -> bool:
    try:
        attempt()  # type: ignore[operator]
    except (StorageClosed, StorageError):
        return True
    return False


def _outcome(call: object) -> str:
    try:
        call()  # type: ignore[operator]
    except StorageError as error:
        return type(error).__name__
    return "done"
