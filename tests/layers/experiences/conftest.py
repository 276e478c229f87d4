"""A store of experiences on each backend."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from mycelia_storage import (
    MemoryStorageBackend,
    RocksDBStorageBackend,
    ShardedStorageBackend,
    SQLiteStorageBackend,
)
from mycelia_storage.contract import StorageBackend
from mycelia_storage.layers.experiences import ExperienceStore

from .making import DIMENSION

BACKENDS = ("memory", "rocksdb", "sqlite", "postgres", "sharded")

OpenStorage = Callable[[], StorageBackend]
MakeStore = Callable[[], ExperienceStore]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_storage(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStorage]:
    """Opens empty storages of the backend; all are closed at the end."""
    numbers = count()
    schemas = request.getfixturevalue("postgres_schemas") if backend == "postgres" else None
    with ExitStack() as opened:

        def open_new() -> StorageBackend:
            name = f"s{next(numbers)}"
            if backend == "memory":
                storage: StorageBackend = MemoryStorageBackend()
            elif backend == "rocksdb":
                storage = RocksDBStorageBackend({"dbPath": str(tmp_path / name)})
            elif backend == "sqlite":
                storage = SQLiteStorageBackend({"dbPath": str(tmp_path / f"{name}.db"), "synchronous": "OFF"})
            elif backend == "sharded":
                storage = ShardedStorageBackend([MemoryStorageBackend(), MemoryStorageBackend()])
            else:
                from mycelia_storage.backends.postgres import PostgresStorageBackend

                storage = PostgresStorageBackend(schemas.url, schema=schemas.new())
            return opened.enter_context(storage)

        yield open_new


@pytest.fixture
def storage(open_storage: OpenStorage) -> StorageBackend:
    return open_storage()


@pytest.fixture
def store(storage: StorageBackend) -> ExperienceStore:
    return ExperienceStore(storage, DIMENSION)


@pytest.fixture
def team(store: ExperienceStore) -> str:
    """A collective."""
    return store.create_collective("team")


@pytest.fixture
def rng() -> random.Random:
    return random.Random(20_261_121)
