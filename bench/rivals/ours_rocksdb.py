"""This project's RocksDB backend through its public interface, default options."""

from __future__ import annotations

from pathlib import Path

from mycelia_storage import RocksDBStorageBackend, StorageBackend

from .ours import Contract


class OursRocksDB(Contract):
    name = "ours-rocksdb"
    durability = "log written, not synced"
    packages = ("rocksdict", "orjson")

    def open(self, folder: Path) -> StorageBackend:
        return RocksDBStorageBackend({"dbPath": str(folder / "ours")})
