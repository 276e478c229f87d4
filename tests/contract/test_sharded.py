"""The contract, kept by the sharded backend.

One commit covers one shard, so the suite runs with three shards of which one takes every namespace; what the others
hold and say is still merged in. Names that are really spread over the shards have ``tests/backends/test_sharded.py``.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.backends.sharded import ShardedStorageBackend
from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.testing import OpenStorage, StorageContract


class TestShardedMemory(StorageContract):
    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        def open_new(**options: object) -> StorageBackend:
            return ShardedStorageBackend([MemoryStorageBackend(options) for _ in range(3)], ring=["s0"])

        return open_new


class TestShardedSQLite(StorageContract):
    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> OpenStorage:
        numbers = count()

        def open_new(**options: object) -> StorageBackend:
            paths = [{"dbPath": str(tmp_path / f"s{next(numbers)}.db")} for _ in range(3)]
            return ShardedStorageBackend([SQLiteStorageBackend(path, **options) for path in paths], ring=["s0"])

        return open_new
