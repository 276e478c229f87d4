"""The contract, kept by the SQLite backend on a file."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.testing import OpenStorage, StorageContract, VectorContract


class TestSQLite(StorageContract):
    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> OpenStorage:
        numbers = count()

        def open_new(**options: object) -> StorageBackend:
            return SQLiteStorageBackend({"dbPath": str(tmp_path / f"s{next(numbers)}.db")}, **options)

        return open_new


class TestSQLiteByCodes(VectorContract):
    """The same searches where even the smallest set is searched by codes."""

    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> OpenStorage:
        numbers = count()

        def open_new(**options: object) -> StorageBackend:
            return SQLiteStorageBackend(
                {"dbPath": str(tmp_path / f"s{next(numbers)}.db"), "vectors_compared": 0}, **options
            )

        return open_new
