"""Vector indexes of states: what :mod:`mycelia_storage.nearest` needs to search them, read from a state.

Ids are keys. The log that an index is caught up by is the namespace's (:class:`~.state.Space`); what one process knows
of an index is kept by the storage, for each namespace and declaration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ..contract import Entry
from ..filters import Filter, Sort
from ..indexes import VectorIndex
from ..nearest.source import Changed, FieldRow, Position, VectorSource
from ..values import decode_metadata
from .state import Row, Space, State, now_ms

if TYPE_CHECKING:
    from .storage import StateStorage

_PAGE: Final = 1_000


class StateVectors(VectorSource):
    """The vectors of one namespace in one state. ``name`` is the index whose saved codes are loaded."""

    def __init__(self, storage: StateStorage, state: State, space: Space, name: str, committed: bool) -> None:
        self._storage = storage
        self._state = state
        self.space = space
        self.name = name
        self.committed = committed

    def position(self) -> Position:
        return Position(self.space.vectors_through, self.space.stored)

    def changed(self, after: int) -> Changed | None:
        return vectors_changed(self.space, after)

    def vectors(self, ids: Sequence[Any]) -> list[tuple[Any, bytes]]:
        return self.space.live_values(ids, now_ms())  # type: ignore[return-value]

    def all_vectors(self, condition: Filter | None = None) -> Iterator[list[tuple[Any, bytes]]]:
        page: list[tuple[Any, bytes]] = []
        for pair in self._all(condition):
            page.append(pair)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    def _all(self, condition: Filter | None) -> Iterator[tuple[str, Any]]:
        if condition is not None:
            for entry in self._state.select(self.space.name, condition, Sort()):
                yield entry.key, entry.value
            return
        now = now_ms()
        for key, row in self.space.rows():
            if row.is_live(now):
                yield key, row.value

    def fields(self, ids: Sequence[Any] | None) -> Iterator[tuple[Any, FieldRow]]:
        name = self.space.name
        for key, row in self.space.rows() if ids is None else self._rows(ids):
            yield key, FieldRow(name, key, b"", decode_metadata(row.metadata), row.created_at, row.updated_at)

    def matching(self, condition: Filter) -> Iterable[Any]:
        return (entry.key for entry in self._state.select(self.space.name, condition, Sort()))

    def entries(self, ids: Sequence[Any]) -> dict[Any, Entry]:
        now = now_ms()
        return {key: row.entry(self.space.name, key) for key, row in self._rows(ids) if row.is_live(now)}

    def _rows(self, keys: Sequence[str]) -> Iterator[tuple[str, Row]]:
        for key in keys:
            row = self.space.row(key)
            if row is not None:
                yield key, row

    @contextmanager
    def committed_view(self) -> Iterator[VectorSource | None]:
        declared = self.space.vector_indexes[self.name]
        yield committed_vectors(self._storage, self.space.name, declared)

    def load_codes(self, newer_than: int) -> tuple[int, bytes] | None:
        saved = self.space.saved_codes(self.name)
        return None if saved is None or saved[0] <= newer_than else saved


def committed_vectors(storage: StateStorage, namespace: str, declared: VectorIndex) -> StateVectors | None:
    """An index as it is committed, or None if there is none of that declaration."""
    state = storage._state()
    space = state.space(namespace)
    if space is None:
        return None
    name = next((name for name, index in space.vector_indexes.items() if index == declared), None)
    return None if name is None else StateVectors(storage, state, space, name, True)


def vectors_changed(space: Space, after: int) -> Changed | None:
    """The keys whose vectors changed after a seq, or None if the log does not reach back so far."""
    if after < space.vectors_from - 1:
        return None
    return Changed([key for _, key in space.vector_changes(after)], False)


def vector_log_problems(space: Space) -> Iterator[str]:
    """Whatever is wrong with the log of vectors, each in a sentence without the namespace."""
    if bool(space.vector_indexes) != bool(space.vectors_through):
        yield "there is a log of vectors without an index, or an index without it"
    expected = list(range(space.vectors_from, space.vectors_through + 1)) if space.vectors_through else []
    if [seq for seq, _ in space.vector_changes(0)] != expected:
        yield "the log of vectors does not hold what it should"
