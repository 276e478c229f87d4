"""What a workload may ask of an engine. An adapter answers with the engine's own best call and leaves out the rest.

Values go in and come out as Python dicts: encoding and decoding belong to every measurement.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar


class Unsupported(Exception):
    """The engine has no such operation; its cell in the table is a dash."""


class Engine(ABC):
    """One open database in ``folder``, created if missing."""

    name: ClassVar[str]
    durability: ClassVar[str]
    """What survives what, with the settings used here."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions the results record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def get(self, key: str) -> Any:
        """The value, or None."""

    @abstractmethod
    def set(self, key: str, value: dict[str, Any]) -> Any:
        """Store a value under a new or an existing key."""

    @abstractmethod
    def delete(self, key: str) -> Any:
        """Remove a key that exists."""

    @abstractmethod
    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        """Store all pairs in as few transactions as the engine can."""

    def has(self, key: str) -> bool:
        raise Unsupported

    def get_entry(self, key: str) -> Any:
        """The value with metadata, version and times."""
        raise Unsupported

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        raise Unsupported

    def list_prefix(self, prefix: str) -> Sequence[str]:
        """The keys that start so, in key order."""
        raise Unsupported

    def scan(self) -> Iterable[Any]:
        """Every entry with its key and decoded value, and its metadata where there are any."""
        raise Unsupported

    def create_index(self, field: str) -> None:
        """Index a field of the values, for ``query``."""
        raise Unsupported

    def query(self, field: str, value: Any) -> Sequence[Any]:
        """The entries whose ``field`` equals ``value``, decoded."""
        raise Unsupported

    def track_changes(self) -> None:
        """From now on log every write in its transaction."""
        raise Unsupported

    def newest(self, prefix: str, count: int) -> Sequence[Any]:
        """The values of the last ``count`` keys of a prefix, newest first. Stands in where there is no such call."""
        keys = list(self.list_prefix(prefix))[: -count - 1 : -1]
        return [self.get(key) for key in keys]

    def update_metadata(self, key: str, changes: dict[str, Any]) -> Any:
        """Merge into an entry's metadata. Without metadata they live in the value, which is read and written back."""
        value = self.get(key)
        self.set(key, {**value, "metadata": {**value.get("metadata", {}), **changes}})

    @abstractmethod
    def close(self) -> None:
        """Release everything."""
