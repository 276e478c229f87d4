"""Keeps text and vector indexes up with the entries of their namespaces, in the transaction of each write.

A write to a namespace that has such an index (bit SEARCHED of its flags) asks :meth:`SearchUpkeep.before` with the keys
that it is about to write or remove, and :meth:`SearchUpkeep.after` once it has. Other namespaces never come here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple

import orjson

from ...errors import StorageError
from ...indexes import Index, TextIndex, VectorIndex, index_from_json

#: Bits of ``storage_namespaces.track_changes``.
TRACKED: Final = 1
SEARCHED: Final = 2

INDEXES: Final = "SELECT name, declaration, sql_name FROM storage_indexes WHERE namespace = ?"
_NAMESPACES: Final = "SELECT DISTINCT namespace FROM storage_indexes ORDER BY namespace"
_IDS: Final = """SELECT e.id, e.key, NULL, NULL FROM json_each(?2) AS wanted
CROSS JOIN storage_entries AS e ON e.namespace = ?1 AND e.key = wanted.value"""
_ROWS: Final = """SELECT e.id, e.key, e.value, e.metadata FROM json_each(?2) AS wanted
CROSS JOIN storage_entries AS e ON e.namespace = ?1 AND e.key = wanted.value"""

_ID: Final = "SELECT id, key, NULL, NULL FROM storage_entries WHERE namespace = ? AND key = ?"
_ROW: Final = "SELECT id, key, value, metadata FROM storage_entries WHERE namespace = ? AND key = ?"

#: The namespaces with a text index of which something waits (:mod:`.text_waiting`).
WAITING: Final = """SELECT namespace FROM storage_indexes AS i CROSS JOIN storage_text_indexes AS t
ON t.index_number = CAST(substr(i.sql_name, 12) AS INTEGER) WHERE EXISTS
(SELECT 1 FROM storage_text_postings AS p WHERE p.index_number = t.index_number AND p.term = '')"""

Run = Callable[..., list[tuple[Any, ...]]]


class StoredRow(NamedTuple):
    """An entry's row; value and metadata as stored, None where no index of the namespace needs them."""

    id: int
    key: str
    value: Any
    metadata: str | None


class Keeper(ABC):
    """What one index keeps in the database. ``run`` runs a statement in the open transaction."""

    #: Whether it needs the values and metadata of the rows.
    needs_values: ClassVar[bool] = False

    def __init__(self, run: Run, namespace: str, name: str, number: int) -> None:
        self.run = run
        self.namespace = namespace
        self.name = name
        self.number = number

    def check(self, entries: Sequence[tuple[str, Any]]) -> None:
        """Raise InvalidValue if the index cannot take one of these values, as stored, given with their keys."""

    def has_room(self, more: int) -> bool:
        """Whether it can take that many entries more."""
        return True

    def full(self) -> StorageError:
        """The error for an entry too many."""
        raise NotImplementedError

    @abstractmethod
    def build(self) -> None:
        """Take up the entries that the namespace has. Raises InvalidValue, IndexFull."""

    @abstractmethod
    def changed(self, old: Sequence[StoredRow], new: Sequence[StoredRow]) -> None:
        """The rows of some keys as they were and as they are; a row in one of them only was made or removed."""

    @abstractmethod
    def emptied(self) -> None:
        """The namespace has no entries any more."""

    @abstractmethod
    def drop(self) -> None:
        """Remove what is kept."""

    def settle(self) -> None:
        """Do what writes have put off."""
        return

    def problems(self) -> list[str]:
        """How what is kept differs from what the entries say, in sentences. ``run`` has to show one state."""
        return []


class Touched(NamedTuple):
    """Keys of a namespace that a write touches, with their rows before it."""

    namespace: str
    keys: list[str]
    keepers: list[Keeper]
    needs_values: bool
    rows: list[StoredRow]

    def full(self) -> StorageError | None:
        """The error for the keys that are new among them, if an index has no room for so many."""
        more = len(self.keys) - len(self.rows)
        return next((keeper.full() for keeper in self.keepers if more and not keeper.has_room(more)), None)


class SearchUpkeep:
    """The text and vector indexes of one writer."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def keepers(self, namespace: str) -> list[Keeper]:
        """A keeper for each text and vector index of the namespace."""
        found = []
        for name, declaration, sql_name in self._run(INDEXES, (namespace,)):
            index = read_declaration(declaration)
            if is_searched(index):
                found.append(self.keeper(namespace, name, index, sql_name))
        return found

    def keeper(self, namespace: str, name: str, index: Index, sql_name: str) -> Keeper:
        """The keeper of one index."""
        from .vector_log import VectorKeeper

        number = number_of(sql_name)
        if isinstance(index, VectorIndex):
            return VectorKeeper(self._run, namespace, name, number, index)
        from .text_postings import TextKeeper

        assert isinstance(index, TextIndex)
        return TextKeeper(self._run, namespace, name, number, index)

    def before(self, namespace: str, keys: Iterable[str]) -> Touched:
        """To be called before the rows of ``keys`` change."""
        wanted, keepers = list(keys), self.keepers(namespace)
        needs_values = any(keeper.needs_values for keeper in keepers)
        touched = Touched(namespace, wanted, keepers, needs_values, [])
        touched.rows.extend(self._rows(touched))
        return touched

    def after(self, touched: Touched, now: list[StoredRow] | None = None) -> None:
        """To be called when they have; ``now`` are the rows as they are, read here unless they are given."""
        if now is None:
            now = self._rows(touched)
        for keeper in touched.keepers:
            keeper.changed(touched.rows, now)

    def _rows(self, touched: Touched) -> list[StoredRow]:
        if len(touched.keys) == 1:
            found = self._run(_ROW if touched.needs_values else _ID, (touched.namespace, touched.keys[0]))
            return [StoredRow(*row) for row in found]
        keys = orjson.dumps(touched.keys).decode()
        found = self._run(_ROWS if touched.needs_values else _IDS, (touched.namespace, keys))
        return [StoredRow(*row) for row in found]

    def problems(self) -> list[str]:
        """What is wrong with any of the indexes."""
        names = [name for (name,) in self._run(_NAMESPACES, ())]
        return [problem for name in names for keeper in self.keepers(name) for problem in keeper.problems()]

    def settle(self, namespace: str) -> None:
        """Put what waits in the namespace where searches find it soonest."""
        for keeper in self.keepers(namespace):
            keeper.settle()

    def emptied(self, namespace: str) -> None:
        """All entries of the namespace are gone."""
        for keeper in self.keepers(namespace):
            keeper.emptied()


@lru_cache(maxsize=256)
def read_declaration(declaration: str) -> Index:
    """An index from its stored declaration."""
    return index_from_json(orjson.loads(declaration))


def is_searched(index: Index) -> bool:
    """Whether it is kept here, not by SQLite itself."""
    return isinstance(index, TextIndex | VectorIndex)


def number_of(sql_name: str) -> int:
    """The number of an index from its name in storage_indexes."""
    return int(sql_name.removeprefix("mycelia_ix_"))
