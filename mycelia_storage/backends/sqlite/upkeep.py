"""What the background thread does for a file: see :mod:`mycelia_storage.upkeep`."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from ...errors import StorageCorrupt
from ...upkeep import Upkeep
from .reading import now_ms
from .search_upkeep import WAITING
from .vector_codes import save_due

if TYPE_CHECKING:
    from .backend import SQLiteStorageBackend
    from .writing import EntryWriter

_SWEEP_AT_ONCE: Final = 500
_ANY_EXPIRED: Final = "SELECT 1 FROM storage_entries WHERE expires_at <= ? LIMIT 1"
_ANY_CHANGES: Final = "SELECT 1 FROM storage_changes LIMIT 1"


class SQLiteUpkeep(Upkeep["SQLiteStorageBackend"]):
    """The thread of one SQLite storage."""

    def look_after(self, storage: SQLiteStorageBackend) -> None:
        for session in storage._sessions.open():
            session.expire()

    def sweep_up(self, storage: SQLiteStorageBackend) -> None:
        while storage._rows(_ANY_EXPIRED, (now_ms(),)):
            storage._change(lambda writer: writer.sweep(_SWEEP_AT_ONCE))
        if storage._rows(_ANY_CHANGES, ()):
            storage._change(lambda writer: writer.prune())
        for (namespace,) in storage._rows(WAITING, ()):
            with suppress(StorageCorrupt):  # which searches and check() tell
                storage._change(partial(_settle, namespace=namespace))
        if storage._nearest:
            save_due(storage)


def _settle(writer: EntryWriter, namespace: str) -> None:
    writer._search.settle(namespace)
