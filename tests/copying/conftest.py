"""What the tests of copying share: the backends that they go through."""

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
from tests.postgres_server import PostgresSchemas

#: Each opens a new, empty storage, given a path that is free and the schemas of a server.
BACKENDS: dict[str, Callable[[Path, PostgresSchemas], StorageBackend]] = {
    "memory": lambda _, __: MemoryStorageBackend(),
    "sqlite": lambda path, _: SQLiteStorageBackend(str(path)),
    "rocksdb": lambda path, _: RocksDBStorageBackend(str(path)),
    "postgres": lambda _, schemas: PostgresStorageBackend(schemas.url, schema=schemas.new()),
}

PAIRS = [(source, destination) for source in BACKENDS for destination in BACKENDS]

Open = Callable[[str], StorageBackend]


@pytest.fixture
def open_storage(tmp_path: Path, postgres_schemas: PostgresSchemas) -> Iterator[Open]:
    """Opens a new storage of a backend by its name."""
    with ExitStack() as stack:
        numbers = count()
        yield lambda name: stack.enter_context(BACKENDS[name](tmp_path / f"{name}{next(numbers)}.db", postgres_schemas))
