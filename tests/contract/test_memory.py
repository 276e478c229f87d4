"""The contract, kept by the memory backend."""

from __future__ import annotations

import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.testing import OpenStorage, StorageContract


class TestMemory(StorageContract):
    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        return MemoryStorageBackend
