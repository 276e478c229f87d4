"""The floor of the RocksDB backend: its rows, keys and options on bare rocksdict, with the same JSON codec.

No checks, no locks, no reading of what a write replaces, no counters; one thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import orjson
from rocksdict import Rdict, WriteBatch

from mycelia_storage.backends.rocksdb.engine import options_for
from mycelia_storage.backends.rocksdb.layout import HEADER, HEADER_SIZE, JSON, METADATA
from mycelia_storage.backends.rocksdb.settings import RocksDBSettings

from .engine import Engine

ENTRIES = "ebench\0"
START = len(ENTRIES)


class RocksDBFloor(Engine):
    name = "rocksdb-floor"
    durability = "log written, not synced"
    packages = ("rocksdict", "orjson")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.database = Rdict(str(folder), options_for(RocksDBSettings(db_path=str(folder))))

    def get(self, key: str) -> Any:
        data = self.database.get(f"{ENTRIES}{key}".encode())
        if data is None:
            return None
        return orjson.loads(data[HEADER_SIZE:]) if data[0] == JSON else _decoded(key, data)[1]

    def get_entry(self, key: str) -> Any:
        data = self.database.get(f"{ENTRIES}{key}".encode())
        return None if data is None else _decoded(key, data)

    def has(self, key: str) -> bool:
        return f"{ENTRIES}{key}".encode() in self.database

    def set(self, key: str, value: dict[str, Any]) -> None:
        self.database[f"{ENTRIES}{key}".encode()] = _packed(value)

    def delete(self, key: str) -> None:
        del self.database[f"{ENTRIES}{key}".encode()]

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in pairs:
            batch.put(f"{ENTRIES}{key}".encode(), _packed(value))
        self.database.write(batch)

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        found: Any = self.database.get([f"{ENTRIES}{key}".encode() for key in keys])
        rows = zip(keys, found, strict=True)
        return {key: orjson.loads(data[HEADER_SIZE:]) for key, data in rows if data is not None}

    def list_prefix(self, prefix: str) -> Sequence[str]:
        first = f"{ENTRIES}{prefix}".encode()
        found = takewhile(lambda key: key.startswith(first), self.database.keys(from_key=first))
        return [key[START:].decode() for key in found]

    def scan(self) -> Iterator[Any]:
        first = ENTRIES.encode()
        for key, data in self.database.items(from_key=first):
            if not key.startswith(first):
                break
            yield _decoded(key[START:].decode(), data)

    def track_changes(self) -> None:
        """Nothing: the measure for a tracked write is the plain one."""

    def update_metadata(self, key: str, changes: dict[str, Any]) -> None:
        full = f"{ENTRIES}{key}".encode()
        old = self.database[full]
        kind, _, created_at, _, expires_at, size = HEADER.unpack_from(old)
        held = orjson.loads(old[HEADER_SIZE : HEADER_SIZE + size]) if kind & METADATA else {}
        text = orjson.dumps({**held, **changes})
        now = time.time_ns() // 1000
        header = HEADER.pack(kind | METADATA, now, created_at, now // 1000, expires_at, len(text))
        self.database[full] = header + text + old[HEADER_SIZE + size :]

    def close(self) -> None:
        self.database.close()


def _packed(value: dict[str, Any]) -> bytes:
    now = time.time_ns() // 1000
    return HEADER.pack(JSON, now, now // 1000, now // 1000, 0, 0) + orjson.dumps(value)


def _decoded(key: str, data: bytes) -> tuple[Any, ...]:
    kind, version, created_at, updated_at, expires_at, size = HEADER.unpack_from(data)
    start = HEADER_SIZE + size
    metadata = orjson.loads(data[HEADER_SIZE:start]) if kind & METADATA else {}
    return key, orjson.loads(data[start:]), metadata, version, created_at, updated_at, expires_at or None
