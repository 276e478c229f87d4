"""Searching the vectors of a namespace: what :mod:`mycelia_storage.nearest` needs, read from the database."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import orjson

from ...contract import Entry, SearchHits, check_limit, pick_index
from ...filters import Filter, FilterInput, match, parse_filter, parse_sort
from ...indexes import VectorIndex
from ...names import DEFAULT_NAMESPACE, Namespace, check_namespace
from ...nearest.likeness import is_any_near
from ...nearest.search import search
from ...nearest.source import Changed, FieldRow, Position, VectorSource
from ...similarity import VectorInput, to_vector
from ...values import decode_metadata
from .filter_sql import compile_query
from .reading import Rows, SQLiteReads, now_ms, squeeze, to_entries
from .search_upkeep import INDEXES, number_of, read_declaration
from .vector_log import LAST

if TYPE_CHECKING:
    from ...nearest.index import NearestIndex
    from ...similarity import Floats
    from .backend import SQLiteStorageBackend

_CHANGED: Final = "SELECT seq, entry_id FROM storage_vector_log WHERE index_number = ? AND seq > ? ORDER BY seq"
_LIVE: Final = "(e.expires_at IS NULL OR e.expires_at > ?3)"
_WANTED: Final = f"""FROM json_each(?1) AS wanted CROSS JOIN storage_entries AS e ON e.id = wanted.value
WHERE e.namespace = ?2 AND {_LIVE}"""
_VECTORS: Final = squeeze(f"SELECT e.id, e.value {_WANTED}")
_ENTRIES: Final = squeeze(
    f"SELECT e.id, e.key, e.value, e.metadata, e.version, e.created_at, e.updated_at, e.expires_at {_WANTED}"
)
_FIELDS: Final = squeeze(f"SELECT e.id, e.key, e.metadata, e.created_at, e.updated_at {_WANTED}")
_ALL_FIELDS: Final = """SELECT id, key, metadata, created_at, updated_at FROM storage_entries
WHERE namespace = ?1 AND key > ?2 ORDER BY key LIMIT ?3"""
_PAGE: Final = 1_000
_CODES: Final = """SELECT seq FROM storage_vector_codes WHERE index_number = ? AND part = 0 AND seq > ?
ORDER BY seq DESC LIMIT 1"""
_PARTS: Final = "SELECT data FROM storage_vector_codes WHERE index_number = ? AND seq = ? ORDER BY part"

Run = Callable[[str, tuple[Any, ...]], Rows]


class SQLiteVectors(VectorSource):
    """One index, read through ``rows``, which all see one state."""

    def __init__(
        self,
        rows: Run,
        namespace: str,
        number: int,
        committed: bool,
        committed_view: Callable[[str, int], AbstractContextManager[VectorSource]] | None = None,
    ) -> None:
        self._rows = rows
        self._namespace = namespace
        self._number = number
        self._committed_view = committed_view
        self.committed = committed

    def position(self) -> Position:
        found = self._rows(LAST, (self._number,))
        return Position(*found[0]) if found else Position(0, 0)

    def changed(self, after: int) -> Changed | None:
        rows = self._rows(_CHANGED, (self._number, after))
        cleared = False
        for at in range(len(rows) - 1, -1, -1):
            if rows[at][1] is None:
                rows, cleared = rows[at + 1 :], True
                break
        else:
            if rows and rows[0][0] != after + 1:
                return None
        return Changed([id for _, id in rows], cleared)

    def _wanted(self, sql: str, ids: Sequence[Any]) -> Rows:
        # In order, as neighbours share pages.
        return self._rows(sql, (orjson.dumps(sorted(ids)).decode(), self._namespace, now_ms()))

    def vectors(self, ids: Sequence[Any]) -> list[tuple[Any, bytes]]:
        return self._wanted(_VECTORS, ids)

    def all_vectors(self, condition: Filter | None = None) -> Iterator[list[tuple[Any, bytes]]]:
        compiled = compile_query(condition, parse_sort(None), self._namespace)
        if not compiled.exact:
            assert condition is not None
            ids = list(self.matching(condition))
            for start in range(0, len(ids), _PAGE):
                yield self.vectors(ids[start : start + _PAGE])
            return
        sql = f"""SELECT id, value, key FROM storage_entries WHERE {compiled.where_sql}
        AND (expires_at IS NULL OR expires_at > ?) AND key > ? ORDER BY key LIMIT {_PAGE}"""
        after = ""
        while rows := self._rows(sql, (*compiled.params, now_ms(), after)):
            yield [(id, value) for id, value, _ in rows]
            if len(rows) < _PAGE:
                return
            after = rows[-1][2]

    def fields(self, ids: Sequence[Any] | None) -> Iterator[tuple[Any, FieldRow]]:
        if ids is not None:
            yield from self._field_rows(self._wanted(_FIELDS, ids))
            return
        after = ""
        while rows := self._rows(_ALL_FIELDS, (self._namespace, after, _PAGE)):
            yield from self._field_rows(rows)
            after = rows[-1][1]

    def _field_rows(self, rows: Rows) -> Iterator[tuple[Any, FieldRow]]:
        for id, key, metadata, created_at, updated_at in rows:
            yield id, FieldRow(self._namespace, key, b"", decode_metadata(metadata), created_at, updated_at)

    def matching(self, condition: Filter) -> Iterable[Any]:
        compiled = compile_query(condition, parse_sort(None), self._namespace)
        if compiled.exact:
            sql = f"SELECT json_group_array(id) FROM storage_entries WHERE {compiled.where_sql}"
            found: list[int] = orjson.loads(self._rows(sql, compiled.params)[0][0])
            return found
        return [id for id, row in self.fields(None) if match(condition, row)]

    def entries(self, ids: Sequence[Any]) -> dict[Any, Entry]:
        rows = self._wanted(_ENTRIES, ids)
        entries = to_entries(self._namespace, [row[1:] for row in rows])
        return {row[0]: entry for row, entry in zip(rows, entries, strict=True)}

    def committed_view(self) -> AbstractContextManager[VectorSource | None]:
        if self._committed_view is None:
            return super().committed_view()
        return self._committed_view(self._namespace, self._number)

    def load_codes(self, newer_than: int) -> tuple[int, bytes] | None:
        for (seq,) in self._rows(_CODES, (self._number, newer_than)):
            return seq, b"".join(data for (data,) in self._rows(_PARTS, (self._number, seq)))
        return None


class VectorReads(SQLiteReads):
    """``search_vectors`` of a storage, a transaction or a snapshot."""

    @abstractmethod
    def _whole_storage(self) -> SQLiteStorageBackend:
        """The storage itself."""

    @abstractmethod
    def _shows_committed(self) -> bool:
        """Whether nothing is seen here but what has been committed."""

    def search_vectors(
        self,
        vector: VectorInput,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int = 10,
        filter: FilterInput | None = None,
        exact: bool | None = None,
        index: str | None = None,
    ) -> SearchHits:
        condition = parse_filter(filter)
        check_limit(limit)
        with self._opened(vector, check_namespace(namespace), index) as (source, nearest, query):
            return search(source, nearest, query, limit, condition, exact)

    def has_near(
        self,
        vector: VectorInput,
        least: float,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        filter: FilterInput | None = None,
        index: str | None = None,
    ) -> bool:
        condition = parse_filter(filter)
        with self._opened(vector, check_namespace(namespace), index) as (source, nearest, query):
            told = is_any_near(source, nearest, query, least, condition)
            if told is None:
                hits = search(source, nearest, query, 1, condition, None)
                told = bool(hits) and hits[0].score >= least
            return told

    @contextmanager
    def _opened(
        self, vector: VectorInput, namespace: str, index: str | None
    ) -> Iterator[tuple[SQLiteVectors, NearestIndex, Floats]]:
        """A vector index in the state of this view, what the process knows of it, and the query."""
        with self._one_state() as rows:
            found = {label: (declared, sql_name) for label, declared, sql_name in rows(INDEXES, (namespace,))}
            declarations = {label: read_declaration(declared) for label, (declared, _) in found.items()}
            label, declared = pick_index(declarations, VectorIndex, namespace, index)
            query = to_vector(vector, declared)
            number = number_of(found[label][1])
            storage = self._whole_storage()
            source = SQLiteVectors(rows, namespace, number, self._shows_committed(), storage._committed_vectors)
            yield source, storage._nearest_index(number, declared), query
