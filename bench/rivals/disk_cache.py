"""diskcache.Cache with its defaults, but no eviction. It pickles the dicts; it has no query, range or metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diskcache import Cache

from .engine import Engine


class DiskCache(Engine):
    name = "diskcache"
    durability = "WAL, synchronous NORMAL"
    packages = ("diskcache",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.cache = Cache(str(folder), eviction_policy="none", size_limit=2**40)

    def get(self, key: str) -> Any:
        return self.cache.get(key)

    def has(self, key: str) -> bool:
        return key in self.cache

    def set(self, key: str, value: dict[str, Any]) -> None:
        self.cache.set(key, value)

    def delete(self, key: str) -> None:
        self.cache.delete(key)

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        with self.cache.transact():
            for key, value in pairs:
                self.cache.set(key, value)

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        with self.cache.transact():
            return {key: value for key in keys if (value := self.cache.get(key)) is not None}

    def list_prefix(self, prefix: str) -> Sequence[str]:
        return [key for key in self.cache.iterkeys() if key.startswith(prefix)]

    def scan(self) -> Iterator[Any]:
        for key in self.cache.iterkeys():
            yield key, self.cache.get(key)

    def close(self) -> None:
        self.cache.close()
