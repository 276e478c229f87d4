"""This project's PostgreSQL backend through its public interface, default options."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from mycelia_storage import FieldIndex, where
from mycelia_storage.backends.postgres import PostgresStorageBackend

NAMESPACE = "bench"


class PostgresOurs:
    """Any use of the contract; ``options`` go to the backend."""

    name = "ours"

    def __init__(self, url: str, schema: str, **options: Any) -> None:
        self.storage = PostgresStorageBackend(url, schema=schema, **options)
        self.lock = self.storage._place.lock
        for name in ("get", "set", "delete"):
            setattr(self, name, partial(getattr(self.storage, name), namespace=NAMESPACE))

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        return self.storage.get_many(keys, namespace=NAMESPACE)

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        return self.storage.set_many(pairs, namespace=NAMESPACE)

    def index(self) -> None:
        self.storage.create_index(NAMESPACE, FieldIndex("id"))

    def between(self, low: int, high: int) -> Sequence[Any]:
        """The entries whose id is from ``low`` up to but not ``high``."""
        return self.storage.query((where("id") >= low) & (where("id") < high), namespace=NAMESPACE)

    def close(self) -> None:
        self.storage.close()
