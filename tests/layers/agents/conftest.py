"""Agent stores on every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.layers.agents import AgentStore

from .people import AGENT, World

BACKENDS = ["sqlite", "memory", "rocksdb", "postgres"]


def open_backend(backend: str, folder: Path, request: pytest.FixtureRequest) -> StorageBackend:
    """An empty storage."""
    if backend == "sqlite":
        from mycelia_storage.backends.sqlite import SQLiteStorageBackend

        return SQLiteStorageBackend(folder / "agents.db", synchronous="OFF")
    if backend == "rocksdb":
        from mycelia_storage.backends.rocksdb import RocksDBStorageBackend

        return RocksDBStorageBackend(folder / "agents.rocks")
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
def open_store(storage: StorageBackend) -> Callable[..., AgentStore]:
    """Opens stores on the storage; vectors have four dimensions, or eight."""

    def open_more(agent_id: str = AGENT, **options: Any) -> AgentStore:
        return AgentStore(storage, agent_id, **{"embedding_dimension": 4, "dimensions": (4, 8), **options})

    return open_more


@pytest.fixture
def store(open_store: Callable[..., AgentStore]) -> AgentStore:
    """A store without anything in it."""
    return open_store()


@pytest.fixture
def world(store: AgentStore) -> World:
    """A store in which Ada and Bob sit in two rooms of a world."""
    return World(store)
