"""LangGraph's stores with a vector index, whose embedder hands out the vectors that it is given.

SqliteStore needs a sqlite3 module that can load extensions: Python's own, or pysqlite3 where that was built without.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langgraph.store.base import PutOp
from langgraph.store.memory import InMemoryStore

from ..vector_data import DIMENSIONS, Chosen, Floats, key_of, metadata_of
from .rival import VectorRival

_SPACE = ("bench",)
_QUERY = "the query"
_AT_ONCE = 5_000

#: The two stores call the same setting by two names.
_INDEX = {"dims": DIMENSIONS, "fields": ["text"], "text_fields": ["text"]}


class LangGraphMemory(VectorRival):
    name = "langgraph-memory"
    how = "InMemoryStore; every vector compared"
    packages = ("langgraph-checkpoint",)
    persistent = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known: dict[str, list[float]] = {}
        self.store: Any = self.open(folder, {**_INDEX, "embed": self.embed})

    def open(self, folder: Path, index: Any) -> Any:
        return InMemoryStore(index=index)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self.known[text] for text in texts]

    def build(self, vectors: Floats) -> None:
        for start in range(0, len(vectors), _AT_ONCE):
            part = vectors[start : start + _AT_ONCE]
            values = [metadata_of(i) for i in range(start, start + len(part))]
            self.known = {value["text"]: row.tolist() for value, row in zip(values, part, strict=True)}
            self.store.batch([PutOp(_SPACE, key_of(i), value) for i, value in enumerate(values, start)])

    def add(self, number: int, vector: Floats) -> None:
        value = metadata_of(number)
        self.known = {value["text"]: vector.tolist()}
        self.store.put(_SPACE, key_of(number), value)

    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        self.known = {_QUERY: query.tolist()}
        condition = None if chosen is None else {chosen.field: 1}
        items = self.store.search(_SPACE, query=_QUERY, filter=condition, limit=k)
        return [(item.key, item.value) for item in items]

    def close(self) -> None:
        self.known = {}


class LangGraphSqlite(LangGraphMemory):
    name = "langgraph"
    how = "SqliteStore in WAL mode, synchronous NORMAL; every vector compared"
    packages = ("langgraph-checkpoint-sqlite", "sqlite-vec")
    persistent = True
    shared = True

    def open(self, folder: Path, index: Any) -> Any:
        from langgraph.store.sqlite import SqliteStore

        driver: Any = sqlite3
        if not hasattr(sqlite3.Connection, "enable_load_extension"):
            import pysqlite3.dbapi2 as driver  # type: ignore[import-not-found,no-redef]
        self.connection = driver.connect(folder / "store.db", check_same_thread=False, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        store = SqliteStore(self.connection, index=index)
        store.setup()
        return store

    def close(self) -> None:
        self.connection.close()
