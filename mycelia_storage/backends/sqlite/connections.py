"""Opening a connection with the settings that every one of them needs.

Order matters: the busy timeout comes before anything that takes a lock, the check whose file it is before anything
that writes, the switch to WAL after it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import apsw

from ...errors import InvalidConfig, StorageError, StorageReadOnly
from .driver_errors import translate
from .settings import SQLiteSettings

logger = logging.getLogger("mycelia_storage.sqlite")

# File systems whose shared memory or locks WAL cannot trust.
_NO_WAL_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "fuse.sshfs", "afs", "ceph", "lustre")


#: File times lag behind by up to a tick of the kernel's clock, in microseconds.
CLOCK_TICK: Final = 20_000

# Closing a file drops the process's locks on it, so nobody here may have it open in SQLite before it is closed again.
_creating = threading.Lock()


def create_file(path: str) -> None:
    """Make sure the database file exists, readable by its owner alone; SQLite's sidecar files inherit the mode."""
    folder = Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if Path(path).is_dir():
            raise InvalidConfig(f"dbPath {path!r} is a directory")
        with _creating:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not folder.is_dir():
            raise InvalidConfig(f"the folder of dbPath {path!r} is a file") from None
    except NotADirectoryError:
        raise InvalidConfig(f"the folder of dbPath {path!r} is a file") from None
    except PermissionError as error:
        raise StorageReadOnly(f"cannot create {path!r}: {error.strerror}") from error
    except OSError as error:
        raise StorageError(f"cannot create {path!r}: {error.strerror}") from error


def open_connection(path: str, settings: SQLiteSettings, *, query_only: bool) -> apsw.Connection:
    """A connection with its settings. ``query_only`` connections cannot write. Raises our errors."""
    try:
        connection = _connect(path, settings)
        connection.set_busy_timeout(settings.busy_timeout)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
        connection.execute(f"PRAGMA cache_size = -{settings.cache_size:d}")
        connection.execute(f"PRAGMA synchronous = {settings.synchronous.upper()}")
        if query_only:
            connection.execute("PRAGMA query_only = 1")
            connection.execute(f"PRAGMA mmap_size = {settings.mmap_size:d}")
        if settings.debug:
            connection.exec_trace = _statement_logger(settings.debug == "values")
    except apsw.Error as error:
        raise translate(error, path) from error
    return connection


def _connect(path: str, settings: SQLiteSettings) -> apsw.Connection:
    # NOFOLLOW is not asked for: a link to a database is a common set-up; base_dir is the tool against escapes.
    cache = settings.prepare_cache_size
    if not settings.read_only:
        return apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=cache)
    if not Path(path).exists():
        raise StorageError(f"there is no database {path!r}")
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY, statementcachesize=cache)
    try:
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
    except (apsw.CantOpenError, apsw.ReadOnlyError):
        # A WAL database in a folder that cannot be written, with no -wal: nobody writes it, so read it as it stands.
        connection.close()
        if Path(path + "-wal").exists():
            raise
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        uri = Path(path).as_uri() + "?immutable=1"
        connection = apsw.Connection(uri, flags=flags, statementcachesize=cache)
    return connection


def last_written(path: str) -> int:
    """When the database was last written, by the system's clock then, in microseconds since 1970."""
    times = [file.stat().st_mtime_ns for file in (Path(path), Path(path + "-wal")) if file.exists()]
    return max(times, default=0) // 1000


def switch_journal(connection: apsw.Connection, path: str, settings: SQLiteSettings) -> str:
    """Set the journal mode and return the one in force. Two first openers may collide here, so it is retried."""
    wanted = "wal" if settings.wal_mode and file_system_of(path) not in _NO_WAL_FILE_SYSTEMS else "delete"
    deadline = time.monotonic() + settings.busy_timeout / 1000
    while True:
        try:
            mode = str(connection.execute("PRAGMA journal_mode").get)
            if mode != wanted:
                mode = str(connection.execute(f"PRAGMA journal_mode = {wanted}").get)
            return mode
        except (apsw.BusyError, apsw.LockedError) as error:
            if time.monotonic() >= deadline:
                raise translate(error, path) from error
            time.sleep(0.002)
        except apsw.Error as error:
            raise translate(error, path) from error


def file_system_of(path: str) -> str:
    """The type of the file system that holds ``path``, "" where the system does not tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    folder = str(Path(path).parent.resolve())
    best, kind = -1, ""
    for line in mounts:
        point, found = line.split()[1:3]
        inside = folder == point or folder.startswith(point.rstrip("/") + "/")
        if inside and len(point) > best:
            best, kind = len(point), found
    return kind


def _statement_logger(with_values: bool) -> Callable[[Any, str, Any], bool]:
    def log(_cursor: Any, sql: str, bindings: Any) -> bool:
        if with_values:
            logger.debug("%s %r", sql, bindings)
        else:
            logger.debug("%s", sql)
        return True

    return log
