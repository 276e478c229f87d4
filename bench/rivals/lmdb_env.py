"""lmdb with its default of syncing every commit, values as orjson bytes. No metadata, versions, filters or indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb
import orjson

from .engine import Engine


class Lmdb(Engine):
    name = "lmdb"
    durability = "every commit synced"
    packages = ("lmdb", "orjson")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.env = lmdb.open(str(folder), map_size=2**34)

    def get(self, key: str) -> Any:
        with self.env.begin() as txn:
            data = txn.get(key.encode())
        return None if data is None else orjson.loads(data)

    def has(self, key: str) -> bool:
        with self.env.begin() as txn:
            return txn.get(key.encode()) is not None

    def set(self, key: str, value: dict[str, Any]) -> None:
        with self.env.begin(write=True) as txn:
            txn.put(key.encode(), orjson.dumps(value))

    def delete(self, key: str) -> None:
        with self.env.begin(write=True) as txn:
            txn.delete(key.encode())

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        with self.env.begin(write=True) as txn:
            txn.cursor().putmulti((key.encode(), orjson.dumps(value)) for key, value in pairs)

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        with self.env.begin() as txn:
            found = txn.cursor().getmulti([key.encode() for key in keys])
        return {key.decode(): orjson.loads(data) for key, data in found}

    def list_prefix(self, prefix: str) -> Sequence[str]:
        wanted = prefix.encode()
        keys = []
        with self.env.begin() as txn:
            cursor = txn.cursor()
            if cursor.set_range(wanted):
                for key in cursor.iternext(values=False):
                    if not key.startswith(wanted):
                        break
                    keys.append(key.decode())
        return keys

    def scan(self) -> Iterator[Any]:
        with self.env.begin() as txn:
            for key, data in txn.cursor():
                yield key.decode(), orjson.loads(data)

    def close(self) -> None:
        self.env.close()
