"""rocksdict in raw mode, values as orjson bytes. No metadata, versions, filters or indexes; one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from rocksdict import Options, Rdict, WriteBatch

from .engine import Engine


class RocksDict(Engine):
    name = "rocksdict"
    durability = "log written, not synced"
    packages = ("rocksdict", "orjson")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.database: Any = Rdict(str(folder), Options(raw_mode=True))

    def get(self, key: str) -> Any:
        data = self.database.get(key.encode())
        return None if data is None else orjson.loads(data)

    def has(self, key: str) -> bool:
        return key.encode() in self.database

    def set(self, key: str, value: dict[str, Any]) -> None:
        self.database[key.encode()] = orjson.dumps(value)

    def delete(self, key: str) -> None:
        del self.database[key.encode()]

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in pairs:
            batch.put(key.encode(), orjson.dumps(value))
        self.database.write(batch)

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        found = self.database.get([key.encode() for key in keys])
        return {key: orjson.loads(data) for key, data in zip(keys, found, strict=True) if data is not None}

    def list_prefix(self, prefix: str) -> Sequence[str]:
        wanted = prefix.encode()
        keys = []
        for key in self.database.keys(from_key=wanted):
            if not key.startswith(wanted):
                break
            keys.append(key.decode())
        return keys

    def scan(self) -> Iterator[Any]:
        for key, data in self.database.items():
            yield key.decode(), orjson.loads(data)

    def close(self) -> None:
        self.database.close()
