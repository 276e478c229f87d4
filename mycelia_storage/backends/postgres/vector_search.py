"""Vector search: candidates by pgvector, ranked by the vectors themselves as :mod:`mycelia_storage.similarity` defines.

``exact``  every vector is compared in float32, and a few more than wanted are read. Float32 sums err: where a vector
           that was not read could still belong to the best, or tie with the last of them, more are read.
``graph``  the graph gives candidates by halves (:mod:`.graphs`); loose vectors are all compared. A filter is asked of
           each candidate as the graph gives it, and the graph goes on until there are enough; where it gives up
           (``hnsw.max_scan_tuples``), the search is made again exactly, over the matching entries alone.

Vectors that are too large for either are candidates of every search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...contract import SearchHit, SearchHits
from ...indexes import VectorIndex
from ...similarity import best, scores, to_matrix
from .filter_sql import Compiled
from .graphs import operator
from .place import LIVE, fill, quote_name
from .reading import Rows
from .rows import COLUMNS, to_entry
from .vector_rows import LARGEST, to_text, to_unit

if TYPE_CHECKING:
    from ...similarity import Floats

_RowsOf = Callable[[str, tuple[Any, ...]], Rows]
_TunedRows = Callable[[dict[str, str], str, tuple[Any, ...]], Rows]

#: Read beyond what is wanted.
_MORE: Final = 20
_GROWTH: Final = 8
#: Candidates of a graph beyond one and a half times what is wanted.
_SPARE: Final = 10
#: Vectors of a graph that a search goes through. Past them the filter lets less than one in thirty through: the graph,
#: which goes on from the nearest as best it can, then found .9 of the best, and comparing all that match finds all.
_SCAN: Final = 1_000
_MOST_EF: Final = 1_000
_HALF_UNIT: Final = 2.0**-24

# Lookups by key stand in subqueries that the planner leaves where they are (OFFSET 0): before it has statistics it
# might read all entries instead. Conditions on fields are asked of what the key found.
_ENTRY: Final = """(
    SELECT * FROM {s}.storage_entries WHERE %place% AND key = @key@ OFFSET 0
  ) AS entry WHERE {live} AND %where%"""
_EXACT: Final = """
  SELECT v.key AS found_key, v.embedding OPERATOR(%home%.%operator%) %s::%home%.vector AS distance
  FROM {s}.storage_vectors AS v@filter@ WHERE v.index_id = %id%@keys@ AND v.state @states@ AND %live%
  ORDER BY 2 LIMIT %candidates%"""
_MATCHING: Final = "SELECT key AS matching FROM {s}.storage_entries WHERE {live} AND %where%"
_EXACT_MATCHING: Final = """
  SELECT v.key AS found_key, v.embedding OPERATOR(%home%.%operator%) %s::%home%.vector AS distance
  FROM matching CROSS JOIN LATERAL (
    SELECT v.key, v.embedding FROM {s}.storage_vectors AS v
    WHERE v.index_id = %id% AND v.key = matching.matching AND v.state <> 2 AND %live% OFFSET 0
  ) AS v ORDER BY 2 LIMIT %candidates%"""
_NEAR: Final = """
  SELECT v.key AS found_key, v.distance FROM (
    SELECT key, embedding::%home%.halfvec(%size%) OPERATOR(%home%.%operator%) %s::%home%.halfvec(%size%) AS distance
    FROM {s}.storage_vectors AS v WHERE index_id = %id% AND state = 1 AND %live% ORDER BY 2
  ) AS v@filter@ ORDER BY v.distance LIMIT %candidates%"""
_FILTER: Final = f"""
  CROSS JOIN LATERAL (SELECT 1 FROM {_ENTRY.replace("@key@", "v.key")} OFFSET 0) AS m"""
_LARGE: Final = """
  SELECT v.key, NULL::float8 FROM {s}.storage_vectors AS v WHERE v.index_id = %id% AND v.state = 2"""
_READ: Final = f"""
SELECT (SELECT count(*) FROM found), hit.* FROM (SELECT 1) AS one LEFT JOIN LATERAL (
  SELECT distance, e.* FROM (SELECT * FROM found@others@) AS c CROSS JOIN LATERAL (
    SELECT {COLUMNS} FROM {_ENTRY.replace("@key@", "found_key")}
  ) AS e
) AS hit ON true"""


class Target(NamedTuple):
    """An index to search: its number and declaration, pgvector's schema, how many vectors it holds, whether some are
    too large, and which entries are wanted."""

    index_id: int
    declared: VectorIndex
    home: str
    entries: int
    has_large: bool
    where: Compiled
    filtered: bool


class _Found(NamedTuple):
    """Candidates with their true scores; ``compared``: how many, without those that always are."""

    hits: list[SearchHit]
    compared: int
    furthest: float
    largest: float


def search_exactly(rows: _RowsOf, target: Target, query: Floats, limit: int) -> SearchHits:
    """The nearest ``limit`` that match. Raises our errors."""
    candidates = limit + _MORE if limit else 0
    sent, scale = _to_send(query, target.declared)
    if abs(sent).max() > LARGEST:
        candidates = 2**31  # sums over it may overflow
    where = target.where.params
    every = _EXACT.replace("@states@", "<> 2").replace("@filter@", "")
    if target.where.keys_sql is not None:
        # The index has the keys too, and times of expiry: no entry need be read for it.
        begin = f"WITH found AS MATERIALIZED ({every.replace('@keys@', ' AND %keys%')}\n)"
        parameters = (to_text(sent), *where, *where)
    elif target.filtered:
        begin = f"WITH matching AS MATERIALIZED ({_MATCHING}\n), found AS MATERIALIZED ({_EXACT_MATCHING}\n)"
        parameters = (*where, to_text(sent), *where)
    else:
        begin = f"WITH found AS MATERIALIZED ({every.replace('@keys@', '')}\n)"
        parameters = (to_text(sent), *where)
    template = begin + _READ.replace("@others@", _others(target))
    while candidates:
        found = _score(rows(_fill(template, target, candidates), parameters), target, query)
        hits = best_hits(found.hits, limit)
        sure = len(hits) == limit and hits[-1].score > _bound(found, target.declared, scale)
        if sure or found.compared < candidates:
            return SearchHits(hits, method="exact", vectors=target.entries, candidates=found.compared)
        candidates = min(candidates * _GROWTH, 2**31)
    return SearchHits(method="exact", vectors=target.entries, candidates=0)


def search_graph(rows: _TunedRows, target: Target, query: Floats, limit: int) -> SearchHits | None:
    """About the nearest ``limit`` that match, through the graph; None where it does not reach. Raises our errors."""
    sent, _ = _to_send(query, target.declared)
    if not limit or abs(sent).max() > LARGEST or limit > target.entries // 4:
        return None
    candidates = 2 * limit + _MORE if target.filtered else limit + limit // 2 + _SPARE
    ef = min(_MOST_EF, max((4 if target.filtered else 2) * target.declared.ef, candidates))
    settings = {
        "hnsw.ef_search": str(ef),
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.max_scan_tuples": str(max(_SCAN, 4 * candidates)),
        "hnsw.scan_mem_multiplier": "8",
        # The planner takes the graph for dearer than to read and sort everything.
        "enable_sort": "off",
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
    }
    loose = _EXACT.replace("@states@", "= 0").replace("@keys@", "")
    read = _READ.replace("@others@", f"{_others(target)} UNION ALL SELECT * FROM loose")
    template = f"WITH found AS MATERIALIZED ({_NEAR}\n), loose AS MATERIALIZED ({loose}\n){read}"
    sql = _fill(template.replace("@filter@", _FILTER if target.filtered else ""), target, candidates)
    where = target.where.params
    once = (to_text(sent), *(where if target.filtered else ()))
    found = _score(rows(settings, sql, (*once, *once, *where)), target, query)
    if found.compared < candidates:
        return None
    return SearchHits(
        best_hits(found.hits, limit), method="graph", vectors=target.entries, candidates=len(found.hits), ef=ef
    )


def best_hits(hits: list[SearchHit], limit: int) -> list[SearchHit]:
    """The ``limit`` best, ties in order of key."""
    held = {hit.key: hit for hit in hits}
    return [held[key] for key, _ in best(((hit.key, hit.score) for hit in hits), limit)]


def _to_send(query: Floats, index: VectorIndex) -> tuple[Floats, float]:
    """The query as the server compares it, and what its distances are to be multiplied by."""
    import numpy

    if index.metric == "l2":
        return query, 1.0
    length = float(numpy.linalg.norm(query.astype(numpy.float64)))
    if not length:
        return query, 1.0
    return to_unit(query.reshape(1, -1))[0], 1.0 if index.metric == "cosine" else length


def _others(target: Target) -> str:
    return f" UNION ALL{_LARGE}" if target.has_large else ""


def _fill(template: str, target: Target, candidates: int) -> str:
    return fill(
        template,
        where=target.where.where_sql,
        place=target.where.place_sql,
        keys=target.where.keys_sql,
        live=LIVE.replace("expires_at", "v.expires_at"),
        home=quote_name(target.home).replace("%", "%%"),
        operator=operator(target.declared)[0],
        size=target.declared.dimensions,
        id=target.index_id,
        candidates=candidates,
    )


def _score(rows: Rows, target: Target, query: Floats) -> _Found:
    import numpy

    read = [row for row in rows if row[2] is not None]
    entries = [to_entry(row[2:]) for row in read]
    matrix = to_matrix([entry.value for entry in entries], target.declared.dimensions)
    found = scores(matrix, query, target.declared.metric).tolist()
    hits = [SearchHit(entry.key, score, entry) for entry, score in zip(entries, found, strict=True)]
    distances = [row[1] for row in read if row[1] is not None]
    compared = [row[1] is not None for row in read]
    largest = float(numpy.abs(matrix[compared]).max(initial=0.0))
    return _Found(hits, rows[0][0], max(distances, default=math.inf), largest)


def _bound(found: _Found, index: VectorIndex, scale: float) -> float:
    """The score that no vector which was not read reaches: the server's float32 sums err by so much at most."""
    relative = (index.dimensions + 8) * 2 * _HALF_UNIT
    if index.metric == "l2":
        return -found.furthest * (1 - relative) + 1e-18
    reach = 1.0 if index.metric == "cosine" else scale * found.largest * math.sqrt(index.dimensions)
    return -found.furthest * scale + relative * reach
