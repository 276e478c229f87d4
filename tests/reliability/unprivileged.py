"""What a user without privileges meets: files and folders that may not be written."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.errors import StorageError

from .forkserver import Talk

NOBODY = 65534


def lower() -> None:
    """Give up root, for good; nothing to do for others."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def open_and_write(talk: Talk, path: str, read_only: bool) -> None:
    """Open, read, write; say what happened to each."""
    lower()
    said: dict[str, object] = {}
    try:
        storage = SQLiteStorageBackend({"dbPath": path, "read_only": read_only})
    except StorageError as error:
        talk.say({"open": type(error).__name__})
        return
    with closing(storage):
        said["open"] = "opened"
        for name, attempt in {
            "read": lambda: storage.get("k"),
            "write": lambda: storage.set("k", 2),
            "create": lambda: storage.create_namespace("n"),
        }.items():
            try:
                said[name] = attempt()
            except StorageError as error:
                said[name] = type(error).__name__
    talk.say(said)


def create(talk: Talk, folder: str) -> None:
    """Create a database in a folder and back it up, under a mask that lets all read; say the modes of all files."""
    os.umask(0o022)
    path = Path(folder) / "new" / "deep" / "storage.db"
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        storage.set("k", 1)
        storage.backup(path.parent / "backup.db")
        storage.set("k", 2)
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in sorted(path.parent.iterdir())}
    modes["deep/"] = oct(path.parent.stat().st_mode & 0o777)
    talk.say(modes)
