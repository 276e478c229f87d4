"""Graphs on every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.layers.graph import Graph, Node, Relationship, StorageConfig, VectorConfig

BACKENDS = ["memory", "rocksdb", "sqlite", "postgres"]
CONFIG = StorageConfig(vector_config=VectorConfig(dimensions=3))


def open_backend(backend: str, folder: Path, request: pytest.FixtureRequest) -> StorageBackend:
    """An empty storage."""
    if backend == "sqlite":
        from mycelia_storage.backends.sqlite import SQLiteStorageBackend

        return SQLiteStorageBackend(folder / "graph.db", synchronous="OFF")
    if backend == "rocksdb":
        from mycelia_storage.backends.rocksdb import RocksDBStorageBackend

        return RocksDBStorageBackend(folder / "graph.rocks")
    if backend == "postgres":
        from mycelia_storage.backends.postgres import PostgresStorageBackend

        schemas = request.getfixturevalue("postgres_schemas")
        return PostgresStorageBackend(url=schemas.url, schema=schemas.new())
    from mycelia_storage.backends.memory import MemoryStorageBackend

    return MemoryStorageBackend()


@pytest.fixture(params=BACKENDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageBackend]:
    """An empty storage of each backend."""
    opened = open_backend(request.param, tmp_path, request)
    yield opened
    opened.close()


@pytest.fixture
def graph(storage: StorageBackend) -> Graph:
    """An empty graph whose vectors have three dimensions."""
    made = Graph(storage, CONFIG)
    made.initialize()
    return made


@pytest.fixture
def fill(graph: Graph) -> Callable[..., Graph]:
    """Stores nodes given as letters and relationships given as pairs of letters, ids being the pairs themselves."""

    def fill_it(nodes: str, *pairs: str, relation_type: str = "next", **fields: Any) -> Graph:
        edges = [Relationship(pair[0], pair[1], relation_type, id=pair, **fields) for pair in pairs]
        graph.store_many([Node(letter, {"name": letter}) for letter in nodes], edges)
        return graph

    return fill_it
