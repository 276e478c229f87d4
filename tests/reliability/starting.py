"""A process that opens a storage at the same moment as others."""

from __future__ import annotations

from mycelia_storage.backends.sqlite import SQLiteStorageBackend

from .forkserver import Talk


def open_and_add(talk: Talk, path: str, number: int) -> None:
    """Wait for the signal, open, write one entry of one's own, say how many applied migrations the file tells of."""
    talk.say("ready")
    talk.wait()
    storage = SQLiteStorageBackend({"dbPath": path})
    storage.set(f"from {number}", number, namespace="starters")
    talk.say(storage.get_status().schema_version)
    storage.close()
