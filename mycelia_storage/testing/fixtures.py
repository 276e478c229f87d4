"""What the subjects of the contract suite share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..contract import StorageBackend

#: Opens a new, empty storage; options as keywords.
OpenStorage = Callable[..., StorageBackend]

#: Names that mean something to SQL, LIKE, GLOB, JSON paths, file systems or Unicode, in order of their UTF-8 bytes.
HOSTILE_NAMES = sorted(
    [
        "'; DROP TABLE storage_entries; --",
        'a"b',
        "a%b",
        "a_b",
        "axb",
        "a\\b",
        "a[x]b",
        "a*b",
        "a?b",
        "A",
        "a",
        "a ",
        " a",
        "a\n",
        "$.a",
        "../a",
        "a/b",
        "a~1b",
        "a\x01b",
        "é",
        "e\u0301",
        "\ufffd",
        "\uffff",
        "\U0001f600",
        "None",
        "0",
    ],
    key=str.encode,
)

#: Not keys, and not namespaces either.
BAD_NAMES: list[Any] = ["", "a\0b", "\ud800", "x" * 1025, "é" * 513, None, 7, b"a", ["a"]]


class ContractCase:
    """The fixtures; ``open_storage`` is the backend's to give."""

    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        """A function that opens a new, empty storage."""
        raise NotImplementedError("override the fixture open_storage")

    @pytest.fixture
    def storage(self, open_storage: OpenStorage) -> Iterator[StorageBackend]:
        """A new storage with default options."""
        with open_storage() as storage:
            yield storage


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until the condition holds. Fails after ``seconds``: a bound against hanging, not a measure."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.002)


def now_ms() -> int:
    """UTC milliseconds."""
    return time.time_ns() // 1_000_000
