"""search_text and search_vectors: looking the index up, and the statements of :mod:`.text_search` and
:mod:`.vector_search`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final, NamedTuple

import orjson

from ...contract import Namespace, SearchHits, check_limit, check_text, pick_index
from ...field_paths import parse_path
from ...filters import And, Comparison, FilterInput, parse_filter, parse_sort, split_key_prefix
from ...indexes import FieldIndex, TextIndex, VectorIndex, index_from_json
from ...names import DEFAULT_NAMESPACE, check_namespace
from ...similarity import VectorInput, to_vector
from ...text import query_terms
from . import text_search, vector_search
from .filter_sql import RANGES, Compiled, compile_query
from .place import fill
from .reading import PostgresReads, Rows
from .vector_search import Target

FIND_SEARCHED: Final = """SELECT i.name, i.declaration, i.index_id, i.sql_name <> '',
(SELECT coalesce(sum(entries), 0)::bigint FROM {s}.storage_sums AS u WHERE u.index_id = i.index_id),
(SELECT coalesce(sum(length), 0)::bigint FROM {s}.storage_sums AS u WHERE u.index_id = i.index_id),
(SELECT n.nspname FROM pg_extension AS x JOIN pg_namespace AS n ON n.oid = x.extnamespace WHERE x.extname = 'vector')
FROM {s}.storage_indexes AS i WHERE i.tenant = {t} AND i.namespace = %s ORDER BY i.name"""

_IN_RANGE: Final = """SELECT count(*) FROM (
  SELECT 1 FROM {s}.storage_entries WHERE {live} AND %where% LIMIT %s
) AS met"""
_KEY: Final = parse_path("$key")
#: A graph is of no use to a filter that lets less than one in so many through.
_REACH: Final = 30
#: Vectors up to which the lookups of an exact search cost less than what the server compiles a statement from.
_COMPILED: Final = 10_000


class Searched(NamedTuple):
    """What is known of an index: its number, whether PostgreSQL has one for it, its sums, and pgvector's schema."""

    index_id: int
    built: bool
    entries: int
    length: int
    home: str | None


class PostgresSearches(PostgresReads):
    """The searches of a storage, a transaction or a snapshot."""

    @abstractmethod
    def _tuned_rows(self, settings: dict[str, str], sql: str, parameters: tuple[Any, ...]) -> Rows:
        """All rows of a statement made for one search, run under settings of the server. Raises our errors."""

    def search_text(
        self,
        text: str,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int = 10,
        filter: FilterInput | None = None,
        index: str | None = None,
    ) -> SearchHits:
        name = check_namespace(namespace)
        declared, found = self._find_searched(name)
        label, chosen = pick_index(declared, TextIndex, name, index)
        compiled = self._compile(filter, name)
        query = query_terms(check_text(text), chosen.language)
        check_limit(limit)
        if not compiled.exact:
            return super().search_text(text, namespace=name, limit=limit, filter=filter, index=label)
        known = found[label]
        asked = text_search.Asked(
            known.index_id,
            known.entries,
            query,
            limit,
            compiled,
            filter is not None,
            self._is_served(filter, declared, found),
        )
        return text_search.search(self._search_rows, asked)

    def _is_served(self, filter: FilterInput | None, declared: dict[str, Any], found: dict[str, Searched]) -> bool:
        """Whether an index finds what a filter lets through; under row level security it is the keys' alone."""
        condition = parse_filter(filter)
        paths = {_KEY}
        if self._place.tenant is None:
            paths |= {
                parse_path(index.paths[0])
                for label, index in declared.items()
                if isinstance(index, FieldIndex) and found[label].built
            }
        parts = condition.parts if isinstance(condition, And) else (condition,)
        return any(isinstance(part, Comparison) and part.operator in RANGES and part.path in paths for part in parts)

    def _is_short_range(self, filter: FilterInput | None, namespace: str, entries: int) -> bool:
        """Whether a filter on the beginning of keys lets so few through that a graph would not reach them."""
        condition = parse_filter(filter)
        by_key = None if condition is None else split_key_prefix(condition)[0]
        if by_key is None:
            return False
        most = entries // _REACH
        compiled = self._compile(by_key, namespace)
        sql = fill(_IN_RANGE, where=compiled.where_sql)
        counted: int = self._search_rows(sql, (*compiled.params, most))[0][0]
        return counted < most

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
        name = check_namespace(namespace)
        declared, found = self._find_searched(name)
        label, chosen = pick_index(declared, VectorIndex, name, index)
        compiled = self._compile(filter, name)
        query = to_vector(vector, chosen)
        check_limit(limit)
        known = found[label]
        if not compiled.exact or known.home is None:
            return super().search_vectors(vector, namespace=name, limit=limit, filter=filter, exact=exact, index=label)
        target = Target(
            known.index_id, chosen, known.home, known.entries, known.length > 0, compiled, filter is not None
        )
        small = known.entries <= self._exact_up_to
        if not exact and known.built and not small and not self._is_short_range(filter, name, known.entries):
            hits = vector_search.search_graph(self._search_tuned, target, query, limit)
            if hits is not None:
                return hits
        # A lookup for each match adds up to where the server would compile the statement.
        rows = self._search_uncompiled if target.filtered and known.entries > _COMPILED else self._search_rows
        return vector_search.search_exactly(rows, target, query, limit)

    @property
    @abstractmethod
    def _exact_up_to(self) -> int:
        """The number of vectors up to which an index is searched exactly."""

    def _find_searched(self, name: str) -> tuple[dict[str, Any], dict[str, Searched]]:
        rows = self._rows(FIND_SEARCHED, (name,))
        declared = {label: index_from_json(orjson.loads(declaration)) for label, declaration, *_ in rows}
        return declared, {label: Searched(*rest) for label, _, *rest in rows}

    def _compile(self, filter: FilterInput | None, name: str) -> Compiled:
        return compile_query(parse_filter(filter), parse_sort(None), name, self._place.tenant or "")

    def _search_rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        return self._query_rows(self._place.once(sql), parameters)

    def _search_uncompiled(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        return self._uncompiled_rows(self._place.once(sql), parameters)

    def _search_tuned(self, settings: dict[str, str], sql: str, parameters: tuple[Any, ...]) -> Rows:
        return self._tuned_rows(settings, self._place.once(sql), parameters)
