"""Which storage a command works on: the ``--db`` option, and opening it to read or to write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ..config import open_storage, read_config
from ..contract import StorageBackend
from ..errors import StorageError

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Seconds that a command's transactions may last: a snapshot lives as long as its dump or copy takes.
LONG_TRANSACTION: Final = 7 * 24 * 3600.0


def db_option(command: _Command) -> _Command:
    """Add ``--db`` (or MYCELIA_DB), which every command has."""
    return click.option(
        "--db",
        envvar="MYCELIA_DB",
        show_envvar=True,
        required=True,
        metavar="FILE_OR_URL",
        help="The storage: a file, or a URL such as sqlite:///agent.db.",
    )(command)


def json_option(command: _Command) -> _Command:
    """Add ``--json``, which every printing command has."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON lines, on a terminal too.")(command)


def open_to_read(db: str, **options: Any) -> StorageBackend:
    """Open a storage read-only. Raises StorageError when its file is missing: reading creates nothing."""
    require_file(db)
    if read_config(db)[0] == "memory":  # new and empty: there is nothing to protect
        return _open(db, **options)
    return _open(db, read_only=True, **options)


def open_to_write(db: str, **options: Any) -> StorageBackend:
    """Open a storage, creating its file if need be."""
    return _open(db, **options)


def open_existing(db: str, **options: Any) -> StorageBackend:
    """Open a storage that is there, to change it."""
    require_file(db)
    return _open(db, **options)


def require_file(db: str) -> None:
    """Raise StorageError when ``db`` names a file that does not exist, or shards of which one is missing."""
    name, options = read_config(db)
    shards = options.get("shards", ()) if name == "sharded" else ()
    for address in shards.values() if isinstance(shards, dict) else shards:
        require_file(address)
    file = file_of(db)
    if file is not None and not file.exists():
        raise StorageError(f"no storage at {os.fspath(file)!r} (nothing was created)")


def file_of(db: str) -> Path | None:
    """The file or folder that ``db`` names, None where it is kept elsewhere."""
    name, options = read_config(db)
    path = options.get("db_path") if name in ("sqlite", "rocksdb") else None
    return None if path in (None, ":memory:") else Path(path)


def _open(db: str, **options: Any) -> StorageBackend:
    return open_storage(db, **options)
