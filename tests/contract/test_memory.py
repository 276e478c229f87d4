"""The contract, kept by the memory backend."""

from __future__ import annotations

from functools import partial

import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.testing import OpenStorage, StorageContract, VectorContract


class TestMemory(StorageContract):
    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        return MemoryStorageBackend


class TestMemoryByCodes(VectorContract):
    """The same searches where even the smallest set is searched by codes."""

    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        return partial(MemoryStorageBackend, vectors_compared=0)
