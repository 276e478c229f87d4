"""This project's SQLite backend through its public interface, default options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mycelia_storage import FieldIndex, SQLiteStorageBackend, StorageBackend, where

from .engine import Engine

NAMESPACE = "bench"


class Contract(Engine):
    """Any backend of the contract. The calls of one key are partials, which cost next to nothing, set at open."""

    durability = "none"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.storage = storage = self.open(folder)
        for name in ("get", "get_entry", "has", "set", "delete"):
            setattr(self, name, partial(getattr(storage, name), namespace=NAMESPACE))

    def open(self, folder: Path) -> StorageBackend:
        raise NotImplementedError

    def get(self, key: str) -> Any:
        raise NotImplementedError

    def set(self, key: str, value: dict[str, Any]) -> Any:
        raise NotImplementedError

    def delete(self, key: str) -> Any:
        raise NotImplementedError

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        return self.storage.set_many(pairs, namespace=NAMESPACE)

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        return self.storage.get_many(keys, namespace=NAMESPACE)

    def list_prefix(self, prefix: str) -> Sequence[str]:
        return self.storage.list(prefix + "*", namespace=NAMESPACE)

    def scan(self) -> Iterable[Any]:
        return self.storage.scan(namespace=NAMESPACE)

    def create_index(self, field: str) -> None:
        self.storage.create_index(NAMESPACE, FieldIndex(field))

    def query(self, field: str, value: Any) -> Sequence[Any]:
        return self.storage.query(where(field) == value, namespace=NAMESPACE)

    def track_changes(self) -> None:
        self.storage.create_namespace(NAMESPACE, exist_ok=True, track_changes=True)

    def newest(self, prefix: str, count: int) -> Sequence[Any]:
        entries = self.storage.scan(namespace=NAMESPACE, prefix=prefix, reverse=True, limit=count)
        return [entry.value for entry in entries]

    def update_metadata(self, key: str, changes: dict[str, Any]) -> Any:
        return self.storage.set_metadata(key, changes, namespace=NAMESPACE)

    def close(self) -> None:
        self.storage.close()


class Ours(Contract):
    name = "ours"
    durability = "WAL, synchronous NORMAL"
    packages = ("apsw", "orjson")

    def open(self, folder: Path) -> StorageBackend:
        return SQLiteStorageBackend({"dbPath": str(folder / "ours.db")})
