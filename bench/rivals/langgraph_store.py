"""LangGraph's SqliteStore. A conversation is a namespace, as its users do, so a prefix is a search of that namespace.

Its search returns whole items: there is no listing of keys alone. No field index. The store leaves the connection's
settings to its user; it gets WAL and synchronous NORMAL here, without which a put costs several times as much.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langgraph.store.base import GetOp, PutOp
from langgraph.store.sqlite import SqliteStore

from .engine import Engine, Unsupported

ROOT = "bench"
_OPS_A_BATCH = 5_000
_EVERYTHING = 2**31


class LangGraph(Engine):
    name = "langgraph"
    packages = ("langgraph-checkpoint-sqlite",)
    durability = "WAL, synchronous NORMAL"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.connection = sqlite3.connect(folder / "store.db", check_same_thread=False, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.store: Any = SqliteStore(self.connection)
        self.store.setup()

    def get(self, key: str) -> Any:
        item = self.store.get(_namespace(key), key)
        return None if item is None else item.value

    def get_entry(self, key: str) -> Any:
        return self.store.get(_namespace(key), key)

    def set(self, key: str, value: dict[str, Any]) -> None:
        self.store.put(_namespace(key), key, value)

    def delete(self, key: str) -> None:
        self.store.delete(_namespace(key), key)

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        for start in range(0, len(pairs), _OPS_A_BATCH):
            part = pairs[start : start + _OPS_A_BATCH]
            self.store.batch([PutOp(_namespace(key), key, value) for key, value in part])

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        items = self.store.batch([GetOp(_namespace(key), key) for key in keys])
        return {item.key: item.value for item in items if item is not None}

    def list_prefix(self, prefix: str) -> Sequence[str]:
        return sorted(item.key for item in self.store.search(_namespace(prefix), limit=_EVERYTHING))

    def scan(self) -> Sequence[Any]:
        items: Sequence[Any] = self.store.search((ROOT,), limit=_EVERYTHING)
        return items

    def create_index(self, field: str) -> None:
        raise Unsupported

    def query(self, field: str, value: Any) -> Sequence[Any]:
        items: Sequence[Any] = self.store.search((ROOT,), filter={field: value}, limit=_EVERYTHING)
        return items

    def close(self) -> None:
        self.connection.close()


def _namespace(key: str) -> tuple[str, str]:
    return ROOT, key.partition("/")[0]
