"""This project's memory backend."""

from __future__ import annotations

from pathlib import Path

from mycelia_storage import MemoryStorageBackend, StorageBackend

from .ours import Contract


class Memory(Contract):
    name = "memory"
    durability = "none (memory)"

    def open(self, folder: Path) -> StorageBackend:
        return MemoryStorageBackend()
