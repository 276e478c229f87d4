"""Whose folder it is, before RocksDB touches it: ours have a small file that says so, with the version of the layout.

The file is written before the database is first opened, so a database without it is somebody else's.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

import orjson

from ...errors import (
    ForeignDatabase,
    InvalidConfig,
    SchemaTooNew,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageReadOnly,
)
from .layout import FORMAT

MARK: Final = "mycelia-storage.json"

_NAME: Final = "mycelia-storage-rocksdb"
_CURRENT: Final = "CURRENT"
_ROOM: Final = 2**18


def prepare_folder(path: str, read_only: bool) -> None:
    """Make sure that ``path`` is a folder of ours, made (0700) if there is none.

    Raises ForeignDatabase, SchemaTooNew, StorageCorrupt, StorageReadOnly, InvalidConfig (nothing there to read).
    """
    folder = Path(path)
    try:
        if folder.exists() and not folder.is_dir():
            raise ForeignDatabase(f"{path!r} is a file; a RocksDB storage is a folder")
        if not (folder / MARK).exists():
            if folder.exists() and any(not _is_unfinished(file) for file in folder.iterdir()):
                raise ForeignDatabase(f"the folder {path!r} holds files of another application")
            if read_only:
                raise InvalidConfig(f"no storage at {path!r} to open read-only")
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            write_mark(folder)
        _read_mark(folder)
    except PermissionError as error:
        raise StorageReadOnly(f"the folder {path!r} cannot be used: {error.strerror}") from error
    except OSError as error:
        raise StorageError(f"the folder {path!r} cannot be used: {error.strerror}") from error
    if not (folder / _CURRENT).exists():
        if any(file.suffix in (".sst", ".log") or file.name.startswith("MANIFEST") for file in folder.iterdir()):
            raise StorageCorrupt(f"the database in {path!r} has lost its file {_CURRENT}")
        if read_only:
            raise InvalidConfig(f"the storage at {path!r} was never written; there is nothing to read")


def _is_unfinished(file: Path) -> bool:
    """Whether it is a mark that somebody began to write."""
    return file.name.startswith(f".{MARK}.")


def check_room(path: str) -> None:
    """Raise StorageFull unless there is room to replay the log into tables."""
    logged = sum(file.stat().st_size for file in Path(path).glob("*.log"))
    trial = Path(path) / f".room.{os.getpid()}"
    try:
        descriptor = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, logged + _ROOM)
        finally:
            os.close(descriptor)
            trial.unlink()
    except OSError as error:
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) else StorageError
        raise kind(f"no room to go on in {path!r} after a failed write: {error.strerror}") from error


def write_mark(folder: Path) -> None:
    """Say whose folder it is, all at once."""
    partial = folder / f".{MARK}.{os.getpid()}"
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps({"format": _NAME, "version": FORMAT}))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MARK)


def _read_mark(folder: Path) -> None:
    try:
        data = orjson.loads((folder / MARK).read_bytes())
        name, version = data["format"], data["version"]
    except (ValueError, KeyError, TypeError):
        raise StorageCorrupt(f"the file {MARK} in {str(folder)!r} is damaged") from None
    if name != _NAME or not isinstance(version, int):
        raise ForeignDatabase(f"the folder {str(folder)!r} belongs to another application")
    if version > FORMAT:
        raise SchemaTooNew(f"the layout of {str(folder)!r} has version {version}; this library knows {FORMAT}")
