"""The backends that every layer's tests go through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from mycelia_storage import (
    MemoryStorageBackend,
    PostgresStorageBackend,
    RocksDBStorageBackend,
    SQLiteStorageBackend,
    StorageBackend,
)

BACKENDS = ["memory", "rocksdb", "sqlite", "postgres"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of a backend."""
    name: str = request.param
    return name


@pytest.fixture
def open_storage(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[], StorageBackend]]:
    """Opens a new, empty storage of the backend; closed at the end."""
    numbers = count()

    def open_new() -> StorageBackend:
        path = str(tmp_path / f"s{next(numbers)}")
        if backend == "memory":
            return stack.enter_context(MemoryStorageBackend())
        if backend == "rocksdb":
            return stack.enter_context(RocksDBStorageBackend(path))
        if backend == "sqlite":
            return stack.enter_context(SQLiteStorageBackend(path))
        schemas = request.getfixturevalue("postgres_schemas")
        return stack.enter_context(PostgresStorageBackend(schemas.url, schema=schemas.new()))

    if backend == "postgres":
        request.getfixturevalue("postgres_schemas")
    with ExitStack() as stack:
        yield open_new


@pytest.fixture
def storage(open_storage: Callable[[], StorageBackend]) -> StorageBackend:
    """A new, empty storage."""
    return open_storage()
