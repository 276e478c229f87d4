"""The contract, kept by the RocksDB backend in a folder."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from mycelia_storage.backends.rocksdb import RocksDBStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.testing import OpenStorage, StorageContract, VectorContract


class TestRocksDB(StorageContract):
    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> OpenStorage:
        numbers = count()

        def open_new(**options: object) -> StorageBackend:
            return RocksDBStorageBackend({"dbPath": str(tmp_path / f"s{next(numbers)}")}, **options)

        return open_new


class TestRocksDBByCodes(VectorContract):
    """The same searches where even the smallest set is searched by codes."""

    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> OpenStorage:
        numbers = count()

        def open_new(**options: object) -> StorageBackend:
            return RocksDBStorageBackend(tmp_path / f"s{next(numbers)}", vectors_compared=0, **options)

        return open_new
