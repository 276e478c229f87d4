"""What the tests of copying share: the backends that they go through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from mycelia_storage import MemoryStorageBackend, SQLiteStorageBackend, StorageBackend

#: Each opens a new, empty storage, given a path that is free. Another backend joins with one line.
BACKENDS: dict[str, Callable[[Path], StorageBackend]] = {
    "memory": lambda _: MemoryStorageBackend(),
    "sqlite": lambda path: SQLiteStorageBackend(str(path)),
}

PAIRS = [(source, destination) for source in BACKENDS for destination in BACKENDS]

Open = Callable[[str], StorageBackend]


@pytest.fixture
def open_storage(tmp_path: Path) -> Iterator[Open]:
    """Opens a new storage of a backend by its name."""
    with ExitStack() as stack:
        numbers = count()
        yield lambda name: stack.enter_context(BACKENDS[name](tmp_path / f"{name}{next(numbers)}.db"))
