"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelia_storage import MemoryStorageBackend, RocksDBStorageBackend, SQLiteStorageBackend
from mycelia_storage.contract import Entry, StorageBackend

from .forkserver import ForkServer


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """Starts child processes."""
    with ForkServer() as server:
        yield server


@pytest.fixture(params=["memory", "rocksdb", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageBackend]:
    """An empty storage of each backend."""
    if request.param == "memory":
        with MemoryStorageBackend() as memory:
            yield memory
    elif request.param == "rocksdb":
        with RocksDBStorageBackend({"dbPath": str(tmp_path / "storage")}) as rocksdb:
            yield rocksdb
    else:
        with SQLiteStorageBackend({"dbPath": str(tmp_path / "storage.db")}) as sqlite:
            yield sqlite


@pytest.fixture
def planted(storage: StorageBackend) -> StorageBackend:
    """Two tenants, each with a secret."""
    for tenant in ("mine", "theirs"):
        for number in range(3):
            storage.set(f"k{number}", {"secret": tenant, "n": number}, namespace=tenant, metadata={"of": tenant})
    return storage


def everything(storage: StorageBackend) -> list[Entry]:
    """All entries of all namespaces."""
    return [entry for name in storage.list_namespaces() for entry in storage.scan(namespace=name)]
