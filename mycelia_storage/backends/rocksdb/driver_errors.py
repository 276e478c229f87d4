"""The one table from rocksdict's errors to ours. rocksdict has one class for all but closing, so its text decides."""

from __future__ import annotations

from typing import Final

from ...errors import (
    BackendUnavailable,
    CommitUnknown,
    StorageBusy,
    StorageClosed,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageReadOnly,
)

#: The first row with a part that the lower-case text holds wins.
_TABLE: Final[tuple[tuple[str, type[StorageError], str], ...]] = (
    ("instance already closed", StorageClosed, "the storage is closed"),
    ("lock hold by current process", StorageBusy, "the folder is already open in this process"),
    ("while lock file", StorageBusy, "the folder is open in another process; RocksDB serves one at a time"),
    ("no space left", StorageFull, "the disk is full"),
    ("file too large", StorageFull, "the quota for files is full"),
    ("disk quota", StorageFull, "the quota for files is full"),
    ("read only mode", StorageReadOnly, "the storage was opened read-only"),
    ("read-only file system", StorageReadOnly, "the folder cannot be written"),
    ("permission denied", StorageReadOnly, "the folder cannot be written"),
    ("corruption", StorageCorrupt, "the database is damaged"),
    ("no such file", StorageCorrupt, "a file of the database is missing"),
    ("checksum mismatch", StorageCorrupt, "the database is damaged"),
    ("too many open files", BackendUnavailable, "the process has too many files open"),
)


def translate(error: Exception, about: str = "", *, committing: bool = False) -> StorageError:
    """Our error for one of rocksdict's; ``about`` says which folder, or namespace and key.

    ``committing``: it was the write of a commit, so what the table does not know leaves the outcome unknown.
    """
    if isinstance(error, StorageError):
        return error
    text = str(error)
    where = f" ({about})" if about else ""
    lowered = text.lower()
    for part, kind, meaning in _TABLE:
        if part in lowered:
            return kind(f"{meaning}{where}: {text}")
    if committing and "io error" in lowered:
        return CommitUnknown(f"the commit could not be written; it may or may not be on disk{where}: {text}")
    return StorageError(f"RocksDB failed{where}: {text}")
