"""Text search over the postings that :mod:`.text_postings` keeps: every statement of a search sees one state.

All entries that hold a term of the query are scored at once; then the best are looked up, and those that have expired
or do not match the filter make room for the next best.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import orjson

from ...contract import Entry, SearchHit, SearchHits, check_limit, check_text, pick_index
from ...filters import Filter, FilterInput, Sort, match, parse_filter
from ...indexes import TextIndex
from ...names import DEFAULT_NAMESPACE, Namespace, check_namespace
from ...text import K1, MOST_TERMS, B, idf, query_terms, rarest
from . import text_waiting
from .filter_sql import compile_query
from .reading import Rows, SQLiteReads, now_ms, to_entries
from .search_upkeep import INDEXES, number_of, read_declaration
from .text_blocks import FIELDS, WIDTHS
from .text_postings import STATISTICS, damaged_index
from .text_waiting import WaitingPostings

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    from .backend import SQLiteStorageBackend

    Ids = numpy.typing.NDArray[numpy.int64]
    Scores = numpy.typing.NDArray[numpy.float32]

Run = Callable[[str, tuple[Any, ...]], Rows]

_POSTINGS: Final = """SELECT p.term, p.first, p.kind, p.data FROM json_each(?2) AS wanted
CROSS JOIN storage_text_postings AS p ON p.index_number = ?1 AND p.term = wanted.value"""
_SIZES: Final = """SELECT p.term, p.kind, sum(length(p.data)) FROM json_each(?2) AS wanted
CROSS JOIN storage_text_postings AS p ON p.index_number = ?1 AND p.term = wanted.value GROUP BY p.term, p.kind"""

_COLUMNS: Final = "key, value, metadata, version, created_at, updated_at, expires_at"
# NOT INDEXED leaves the rows to be found by id, which no other condition can better.
_ENTRIES: Final = f"""SELECT id, {_COLUMNS} FROM storage_entries NOT INDEXED
WHERE id IN (SELECT value FROM json_each(?)) AND (expires_at IS NULL OR expires_at > ?) AND """
_KEYS: Final = _ENTRIES.replace(_COLUMNS, "key")
_MATCHING: Final = "SELECT id FROM storage_entries WHERE (expires_at IS NULL OR expires_at > ?) AND "

#: Entries looked up at a time, after the first.
_FIRST_CHUNK: Final = 200
_LARGEST_CHUNK: Final = 10_000

#: Scores are added up in an array from the lowest to the highest entry, up to so many places for each posting: a longer
#: one, nearly empty, would cost more than sorting.
_DENSE: Final = 3

#: With more candidates than this left, a filter that has an index is asked for all its entries.
_MANY: Final = 1_000


class TextReads(SQLiteReads):
    """Text search of a storage, a transaction or a snapshot."""

    @abstractmethod
    def _whole_storage(self) -> SQLiteStorageBackend:
        """The storage itself."""

    def search_text(
        self,
        text: str,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int = 10,
        filter: FilterInput | None = None,
        index: str | None = None,
    ) -> SearchHits:
        name, condition, query = check_namespace(namespace), parse_filter(filter), check_text(text)
        check_limit(limit)
        self._whole_storage()._upkeep.start()  # which puts into blocks what waits
        with self._one_state() as run:
            return _search(run, query, name, limit, condition, index)


def _search(
    run: Run, text: str, namespace: str, limit: int, condition: Filter | None, wanted: str | None
) -> SearchHits:
    """What ``search_text`` finds; ``wanted`` names the index."""
    rows = run(INDEXES, (namespace,))
    declared = {name: read_declaration(declaration) for name, declaration, _ in rows}
    name, index = pick_index(declared, TextIndex, namespace, wanted)
    number = next(number_of(sql_name) for label, _, sql_name in rows if label == name)
    statistics = run(STATISTICS, (number,))
    if not statistics:
        raise damaged_index(namespace, name)
    entries, length = statistics[0]
    query = query_terms(text, index.language)
    if not (query and limit and entries):
        return SearchHits((), method="postings", entries=entries, candidates=0)
    try:
        candidates = _Candidates(*_score(run, number, query, entries, length))
    except (ValueError, IndexError, ArithmeticError) as error:
        raise damaged_index(namespace, name) from error
    seen = len(candidates)
    lookup = _Lookup(run, namespace, condition, " ".join(sorted(sql_name for _, _, sql_name in rows)))
    found = lookup.best(*candidates.take(limit), limit)
    size, asked = max(_FIRST_CHUNK, limit), condition is None
    while len(found) < limit and len(candidates):
        found += lookup.best(*candidates.take(size), limit - len(found))
        size = min(4 * size, _LARGEST_CHUNK)
        if not asked and len(found) < limit and len(candidates) > _MANY:
            asked = True
            matching = lookup.all_matching()
            if matching is not None:
                candidates.keep(matching)
    hits = (SearchHit(entry.key, score, entry) for score, entry in found)
    return SearchHits(hits, method="postings", entries=entries, candidates=seen)


def _score(run: Run, number: int, query: list[str], entries: int, length: int) -> tuple[Ids, Scores]:
    """The entries that hold a term of the query, in order of id, with their scores."""
    import numpy

    waiting = WaitingPostings(text_waiting.decode(run(text_waiting.READ, (number,))), query)
    if len(query) > MOST_TERMS:
        holding: dict[str, int] = {}
        for term, kind, size in run(_SIZES, (number, orjson.dumps(query).decode())):
            holding[term] = holding.get(term, 0) + size // WIDTHS[kind]
        query = rarest(waiting.corrected(holding))
    holding = {}
    by_kind: dict[int, list[tuple[str, int, bytes, int]]] = {}
    for term, first, kind, data in run(_POSTINGS, (number, orjson.dumps(query).decode())):
        size = len(data) // WIDTHS[kind]
        holding[term] = holding.get(term, 0) + size
        by_kind.setdefault(kind, []).append((term, first, data, size))
    holding = waiting.corrected(holding)
    if not holding:
        return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)
    looked_up = frozenset(query)
    weights = {term: idf(entries, number) * (K1 + 1) for term, number in holding.items()}
    average = length / entries
    all_ids, all_parts = [], []

    def add(ids: Any, tf: Any, lengths: Any, factors: Any) -> None:
        part = lengths * (K1 * B / average)
        part += K1 * (1 - B)
        part += tf
        numpy.divide(tf, part, out=part)
        part *= factors
        all_ids.append(ids)
        all_parts.append(part)

    for kind, blocks in by_kind.items():
        records = numpy.frombuffer(b"".join([data for _, _, data, _ in blocks]), dtype=FIELDS[kind])
        sizes = [size for _, _, _, size in blocks]
        ids = records["id"] + numpy.repeat([first for _, first, _, _ in blocks], sizes)
        # A term without weight is held by entries that wait alone, none of which counts here.
        factors = numpy.repeat([weights.get(term, 0.0) for term, _, _, _ in blocks], sizes)
        if waiting.entries:
            current = numpy.isin(ids, waiting.entries, invert=True)
            ids, records, factors = ids[current], records[current], factors[current]
        add(ids, records["tf"].astype(numpy.float64), records["length"], factors)
    counted = [posting for posting in waiting.postings if posting[0] in looked_up]
    if counted:
        terms, held, tfs, lengths = zip(*counted, strict=True)
        tf = numpy.array(tfs, dtype=numpy.float32).astype(numpy.float64)  # as blocks keep it
        add(numpy.array(held), tf, numpy.array(lengths), numpy.array([weights[term] for term in terms]))
    ids = all_ids[0] if len(all_ids) == 1 else numpy.concatenate(all_ids)
    if not len(ids):
        return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)
    parts = all_parts[0] if len(all_parts) == 1 else numpy.concatenate(all_parts)
    low = int(ids.min())
    if int(ids.max()) - low < _DENSE * len(ids):
        sums = numpy.bincount(ids - low, parts)
        places = numpy.flatnonzero(sums)
        return places + low, sums[places].astype(numpy.float32)
    order = numpy.argsort(ids, kind="stable")
    ids, parts = ids[order], parts[order]
    starts = numpy.flatnonzero(numpy.concatenate(([True], ids[1:] != ids[:-1])))
    return ids[starts], numpy.add.reduceat(parts, starts).astype(numpy.float32)


class _Candidates:
    """Entries with their scores, to be taken best first."""

    def __init__(self, ids: Ids, scores: Scores) -> None:
        self._ids = ids
        self._scores = scores

    def __len__(self) -> int:
        return len(self._ids)

    def take(self, size: int) -> tuple[Ids, Scores]:
        """The best ``size`` of those left, and those that tie with the last of them; in no order."""
        import numpy

        ids, scores = self._ids, self._scores
        if size < len(ids):
            lowest = numpy.partition(scores, len(scores) - size)[len(scores) - size]
            best = scores >= lowest
            self._ids, self._scores = ids[~best], scores[~best]
            return ids[best], scores[best]
        self._ids, self._scores = ids[:0], scores[:0]
        return ids, scores

    def keep(self, wanted: Ids) -> None:
        """Leave all others out."""
        import numpy

        kept = numpy.isin(self._ids, wanted)
        self._ids, self._scores = self._ids[kept], self._scores[kept]


class _Lookup:
    """The entries of candidates, as far as they are live and match a filter."""

    def __init__(self, run: Run, namespace: str, condition: Filter | None, indexes: str) -> None:
        self._run = run
        self._namespace = namespace
        self._condition = condition
        self._indexes = indexes
        self._now = now_ms()
        self._exact = True
        self._where, self._parameters = "namespace = ?", (namespace,)
        if condition is not None:
            compiled = compile_query(condition, Sort(), namespace)
            self._exact, self._where, self._parameters = compiled.exact, compiled.where_sql, compiled.params

    def best(self, ids: Ids, scores: Scores, limit: int) -> list[tuple[float, Entry]]:
        """The ``limit`` best of the candidates, best first, ties in order of key."""
        by_id = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        wanted = list(by_id)
        if self._exact and len(wanted) > limit + _FIRST_CHUNK:
            keys = sorted([(-by_id[id], key, id) for id, key in self._select(_KEYS, wanted)])
            wanted = [id for _, _, id in keys[:limit]]
        rows = self._select(_ENTRIES, wanted)
        entries = to_entries(self._namespace, [row[1:] for row in rows])
        found = [
            (by_id[row[0]], entry)
            for row, entry in zip(rows, entries, strict=True)
            if self._exact or self._condition is None or match(self._condition, entry)
        ]
        found.sort(key=lambda pair: (-pair[0], pair[1].key))
        return found[:limit]

    def _select(self, sql: str, ids: list[int]) -> Rows:
        return self._run(sql + self._where, (str(ids), self._now, *self._parameters)) if ids else []

    def all_matching(self) -> Ids | None:
        """The ids of all entries that match the filter, if an index finds them; perhaps more than match."""
        import numpy

        sql, parameters = _MATCHING + self._where, (self._now, *self._parameters)
        # A cached explanation is not made anew when indexes come and go; the comment makes it another statement.
        plan = self._run(f"EXPLAIN QUERY PLAN /* {self._indexes} */ {sql}", parameters)
        if not any("mycelia_ix_" in row[3] for row in plan):
            return None
        return numpy.array([id for (id,) in self._run(sql, parameters)], numpy.int64)
