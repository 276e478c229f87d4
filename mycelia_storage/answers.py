"""What the methods of the contract give back: records as plain tuples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from .errors import StorageError

Operation = Literal["set", "delete", "expire", "clear"]


class Entry(NamedTuple):
    """A key with everything that is stored under it."""

    namespace: str
    key: str
    value: Any
    metadata: dict[str, Any]
    version: int
    """Rises strictly per key, also across delete and re-create: microseconds of a hybrid clock."""
    created_at: int
    updated_at: int
    expires_at: int | None


class Change(NamedTuple):
    """One write in a namespace that tracks changes. ``key`` is None for ``clear``."""

    seq: int
    """Rises in commit order through the whole storage."""
    namespace: str
    key: str | None
    operation: Operation
    version: int
    """The version that a set gave the entry; for the others a clock value above the version that went."""
    at: int


class ChangePage(NamedTuple):
    """Changes in order of ``seq``; ``cursor`` is where the next call goes on."""

    changes: list[Change]
    cursor: int
    has_more: bool


class BatchResult(NamedTuple):
    """What ``set_many`` did: items written (a key given twice counts twice) and the error of each other item."""

    written: int
    errors: dict[tuple[str, str], StorageError]


class NamespaceInfo(NamedTuple):
    """A namespace; ``entries`` counts its own, not those of namespaces below it."""

    name: str
    metadata: dict[str, Any]
    created_at: int
    entries: int
    track_changes: bool


class Status(NamedTuple):
    """The storage at a glance. Sizes are bytes, 0 where the backend keeps no file."""

    healthy: bool
    backend: str
    entries: int
    namespaces: int
    size_bytes: int
    wal_bytes: int
    schema_version: int
    last_error: str | None
    details: dict[str, Any]


class CheckReport(NamedTuple):
    """The result of a check: every problem in a sentence."""

    ok: bool
    problems: list[str]


class SearchHit(NamedTuple):
    """An entry that a search found."""

    key: str
    score: float
    """How well it fits, more being better: see :mod:`mycelia_storage.text` and :mod:`mycelia_storage.similarity`."""
    entry: Entry

    @property
    def value(self) -> Any:
        """The entry's value."""
        return self.entry.value

    @property
    def metadata(self) -> dict[str, Any]:
        """The entry's metadata."""
        return self.entry.metadata


class SearchHits(list[SearchHit]):
    """What a search found, best first, ties in order of key; a list.

    ``plan`` says how it was done: ``method``, and what else the backend can tell, such as how many entries were
    looked at.
    """

    plan: dict[str, Any]

    def __init__(self, hits: Iterable[SearchHit] = (), **plan: Any) -> None:
        super().__init__(hits)
        self.plan = plan


# The contract has a method ``list``: inside its class these are the only way to say so.
Keys = list[str]
EntryList = list[Entry]
