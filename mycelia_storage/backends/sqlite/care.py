"""Status, check and backup."""

from __future__ import annotations

import ctypes
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apsw

from ...contract import CheckReport, Status
from ...errors import InvalidInput, StorageError, StorageFull
from .change_log import Rows
from .connections import open_connection
from .driver_errors import translate
from .reading import now_ms
from .search_upkeep import SearchUpkeep

if TYPE_CHECKING:
    from .backend import SQLiteStorageBackend

_ENTRIES: Final = """SELECT (SELECT count(*) FROM storage_entries)
- (SELECT count(*) FROM storage_entries WHERE expires_at <= ?)"""
_NAMESPACES: Final = "SELECT count(*) FROM storage_namespaces"
_HOMELESS: Final = """SELECT DISTINCT namespace FROM storage_entries
WHERE namespace NOT IN (SELECT name FROM storage_namespaces) LIMIT 20"""
_BAD_JSON: Final = (
    "SELECT namespace, key FROM storage_entries WHERE (typeof(value) = 'text' AND NOT json_valid(value))"
    " OR typeof(value) NOT IN ('text', 'blob') OR (metadata IS NOT NULL AND NOT json_valid(metadata)) LIMIT 20"
)
_BAD_VERSIONS: Final = "SELECT namespace, key FROM storage_entries WHERE version < 1 LIMIT 20"
_LOST_INDEXES: Final = """SELECT namespace, name FROM storage_indexes
WHERE json_extract(declaration, '$.kind') = 'field'
AND sql_name NOT IN (SELECT name FROM sqlite_schema WHERE type = 'index')"""

_BACKUP_PAGES: Final = 1_000


def status(storage: SQLiteStorageBackend, rows: Rows) -> Status:
    """The storage at a glance, counted through ``rows``; raises only StorageClosed."""
    problem = storage._file.last_error
    entries = namespaces = 0
    try:
        entries = int(rows(_ENTRIES, (now_ms(),))[0][0])
        namespaces = int(rows(_NAMESPACES, ())[0][0])
        problem = moved(storage) or problem
    except StorageError as error:
        if storage._file.closed:
            raise
        problem = str(error)
    settings = storage.settings
    details: dict[str, Any] = {
        "path": storage.path,
        "journal_mode": storage.journal_mode,
        "synchronous": settings.synchronous.upper(),
        "sqlite_version": apsw.sqlite_lib_version(),
        "read_only": settings.read_only,
        "open_transactions": len(storage._sessions.transactions),
    }
    if settings.wal_mode and storage.journal_mode != "wal":
        details["note"] = "this file system cannot carry a WAL: a rollback journal is used, readers wait for writers"
    return Status(
        healthy=problem is None,
        backend="sqlite",
        entries=entries,
        namespaces=namespaces,
        size_bytes=_size(storage.path),
        wal_bytes=_size(storage.path + "-wal"),
        schema_version=storage.schema_version,
        last_error=problem,
        details=details,
    )


def moved(storage: SQLiteStorageBackend) -> str | None:
    """What to say when the file is no longer where it was opened, else None."""
    if not _has_moved(storage):
        return None
    return f"the file {storage.path!r} was moved or deleted while open: what is written now is lost"


def check(storage: SQLiteStorageBackend, rows: Rows) -> CheckReport:
    """Read the whole file: pages, indexes against rows, JSON, and that everything has its namespace.

    All that ``rows`` runs has to see one state.
    """
    problems: list[str] = []
    try:
        problems += [line for (line,) in rows("PRAGMA integrity_check(100)", ()) if line != "ok"]
        problems += [f"namespace {name!r} is not registered" for (name,) in rows(_HOMELESS, ())]
        for sql, fault in ((_BAD_JSON, "is damaged"), (_BAD_VERSIONS, "has no valid version")):
            problems += [f"the entry {key!r} in namespace {name!r} {fault}" for name, key in rows(sql, ())]
        problems += [f"index {name!r} of namespace {ns!r} is gone" for ns, name in rows(_LOST_INDEXES, ())]
        problems += SearchUpkeep(rows).problems()
        if _has_moved(storage):
            problems.append(f"the file {storage.path!r} was moved or deleted while open")
    except StorageError as error:
        if storage._file.closed:
            raise
        problems.append(str(error))
    return CheckReport(not problems, problems)


def backup(
    storage: SQLiteStorageBackend, path: str | Path, overwrite: bool, progress: Callable[[int, int], None] | None
) -> None:
    """Copy one state of the database to ``path`` through SQLite, readable by its owner alone.

    It is written beside ``path`` and moved there when complete. A read transaction on the source fixes the state:
    without one, each commit of another process would make the copy start over.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise InvalidInput(f"{str(path)!r} already exists")
    if target.exists() and target.samefile(storage.path):
        raise InvalidInput("a database cannot be backed up onto itself")
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    source = open_connection(storage.path, storage.settings, query_only=True)
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        copy = apsw.Connection(str(partial))
        try:
            copy.execute("PRAGMA synchronous = FULL")
            source.execute("BEGIN")
            source.execute("SELECT value FROM storage_state").fetchall()
            with copy.backup("main", source, "main") as run:
                while not run.done:
                    run.step(_BACKUP_PAGES)
                    if progress is not None:
                        progress(run.page_count - run.remaining, run.page_count)
            source.execute("ROLLBACK")
        finally:
            copy.close()
        if overwrite:
            partial.replace(target)
            for sidecar in ("-wal", "-shm"):
                Path(str(target) + sidecar).unlink(missing_ok=True)
        else:
            os.link(partial, target)  # unlike a rename, this refuses a file that has appeared meanwhile
            partial.unlink()
    except apsw.Error as error:
        raise translate(error, f"backup to {str(path)!r}") from error
    except FileExistsError as error:
        raise InvalidInput(f"{str(path)!r} already exists") from error
    except OSError as error:
        if error.errno == 28:
            raise StorageFull(f"no space for the backup {str(path)!r}") from error
        raise StorageError(f"cannot write the backup {str(path)!r}: {error.strerror}") from error
    finally:
        source.close(True)
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _has_moved(storage: SQLiteStorageBackend) -> bool:
    """Whether the path now leads to another file, or none, than the one that was opened."""
    connection = storage._file.connection
    if connection is None:
        return not Path(storage.path).exists()
    moved = ctypes.c_int(0)
    try:
        connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, ctypes.addressof(moved))
    except apsw.Error:
        return False
    return bool(moved.value)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
