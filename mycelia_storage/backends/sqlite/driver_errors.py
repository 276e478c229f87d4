"""The one table from apsw's errors to ours. The cause is always kept."""

from __future__ import annotations

from typing import Final

import apsw

from ...errors import (
    CommitUnknown,
    InvalidInput,
    StorageBusy,
    StorageClosed,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageReadOnly,
    UniqueViolation,
)

#: The first row whose class fits wins.
_TABLE: Final[tuple[tuple[type[Exception], type[StorageError], str], ...]] = (
    (apsw.BusyError, StorageBusy, "another writer held the database for longer than busy_timeout"),
    (apsw.LockedError, StorageBusy, "the database is locked"),
    (apsw.ReadOnlyError, StorageReadOnly, "the database cannot be written"),
    (apsw.PermissionsError, StorageReadOnly, "the database cannot be written"),
    (apsw.FullError, StorageFull, "the disk is full"),
    (apsw.CorruptError, StorageCorrupt, "the database is damaged"),
    (apsw.NotADBError, StorageCorrupt, "the file is no database"),
    (apsw.FormatError, StorageCorrupt, "the file is no database"),
    (apsw.ConstraintError, UniqueViolation, "a unique index already holds these values"),
    (apsw.TooBigError, InvalidInput, "the entry is larger than SQLite's limit of 1 GB"),
    (apsw.ConnectionClosedError, StorageClosed, "the storage is closed"),
    (apsw.CursorClosedError, StorageClosed, "the storage is closed"),
)

# Failed syncs and writes of a commit: the process sees a rollback, the disk may yet hold the commit.
_UNKNOWN_OUTCOME: Final = frozenset(
    {
        apsw.SQLITE_IOERR_FSYNC,
        apsw.SQLITE_IOERR_DIR_FSYNC,
        apsw.SQLITE_IOERR_TRUNCATE,
        apsw.SQLITE_IOERR_COMMIT_ATOMIC,
    }
)

_NO_SPACE: Final = 28  # ENOSPC
_FILE_TOO_LARGE: Final = 27  # EFBIG


def translate(error: Exception, about: str = "", connection: apsw.Connection | None = None) -> StorageError:
    """Our error for one of apsw's; ``about`` says which namespace and key. ``connection``, if it can be used, knows
    the operating system's reason.
    """
    where = f" ({about})" if about else ""
    if isinstance(error, UnicodeDecodeError):
        return StorageCorrupt(f"stored text is no UTF-8{where}")
    extended = getattr(error, "extendedresult", 0)
    if isinstance(error, apsw.IOError):
        if extended in _UNKNOWN_OUTCOME:
            return CommitUnknown(f"the commit could not be made durable; it may or may not be on disk{where}: {error}")
        if connection is not None and connection.system_errno in (_NO_SPACE, _FILE_TOO_LARGE):
            return StorageFull(f"the disk, or the quota for the file, is full{where}")
    for theirs, ours, text in _TABLE:
        if isinstance(error, theirs):
            return ours(f"{text}{where}: {error}")
    return StorageError(f"SQLite failed{where}: {error}")
