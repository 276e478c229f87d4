"""A dict: the live objects themselves, no copy, no codec, gone with the process. What nothing can undercut."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .engine import Engine


class BareDict(Engine):
    name = "dict"
    durability = "none (memory)"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.data.get(key)

    def has(self, key: str) -> bool:
        return key in self.data

    def set(self, key: str, value: dict[str, Any]) -> None:
        self.data[key] = value

    def delete(self, key: str) -> None:
        del self.data[key]

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        self.data.update(pairs)

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        return {key: self.data[key] for key in keys if key in self.data}

    def list_prefix(self, prefix: str) -> Sequence[str]:
        keys = sorted(self.data)
        start = bisect_left(keys, prefix)
        stop = start
        while stop < len(keys) and keys[stop].startswith(prefix):
            stop += 1
        return keys[start:stop]

    def scan(self) -> Iterable[Any]:
        return sorted(self.data.items(), key=lambda item: item[0])

    def query(self, field: str, value: Any) -> Sequence[Any]:
        return [item for item in self.data.items() if item[1].get(field) == value]

    def close(self) -> None:
        self.data = {}
