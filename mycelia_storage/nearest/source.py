"""What a backend gives to search the vectors of one index, in one view of the storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from ..contract import Entry
from ..filters import Filter

#: What a backend calls an entry: equal in every view, and given to no other entry of the namespace meanwhile.
Id = Hashable


class Position(NamedTuple):
    """Where the log of an index ends in a view."""

    seq: int
    total: int
    """How many vectors there are, expired ones included."""


class Changed(NamedTuple):
    """What changed after some seq."""

    ids: list[Any]
    """In the order of their changes; an entry can be in it again."""
    cleared: bool
    """Whether all that was before is gone, so that ``ids`` are all there is."""


class FieldRow(NamedTuple):
    """The fields of an entry that a filter on vectors can reach."""

    namespace: str
    key: str
    value: bytes
    metadata: dict[str, Any]
    created_at: int
    updated_at: int


class VectorSource(ABC):
    """One index of one namespace, as one view of the storage sees it."""

    #: Whether the view shows nothing but what has been committed.
    committed: bool

    @abstractmethod
    def position(self) -> Position:
        """Where the log ends."""

    @abstractmethod
    def changed(self, after: int) -> Changed | None:
        """What changed after ``after``, or None if the log no longer reaches back so far."""

    @abstractmethod
    def vectors(self, ids: Sequence[Any]) -> list[tuple[Any, bytes]]:
        """The vectors of those that exist and have not expired."""

    @abstractmethod
    def all_vectors(self, condition: Filter | None = None) -> Iterator[list[tuple[Any, bytes]]]:
        """The vectors of all that meet the condition and have not expired, in pages."""

    @abstractmethod
    def fields(self, ids: Sequence[Any] | None) -> Iterator[tuple[Any, FieldRow]]:
        """The fields of those that exist, or of all, expired ones included."""

    @abstractmethod
    def matching(self, condition: Filter) -> Iterable[Any]:
        """Those that meet a condition, in any order, expired ones perhaps included."""

    @abstractmethod
    def entries(self, ids: Sequence[Any]) -> dict[Any, Entry]:
        """The entries of those that exist and have not expired."""

    def committed_view(self) -> AbstractContextManager[VectorSource | None]:
        """The same index in a view of what has been committed."""
        return nullcontext(None)

    def load_codes(self, newer_than: int) -> tuple[int, bytes] | None:
        """The codes saved last and the seq that they cover, if that is above ``newer_than``."""
        return None
