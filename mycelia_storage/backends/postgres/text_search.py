"""Text search: BM25 as :mod:`mycelia_storage.text` defines, summed in the server over postings of the query's terms.

One statement counts who holds each term, takes the rarest, scores every entry that holds one, and reads the best. A
filter can be asked at either end of it:

``best first``      of the best ``candidates``: those that do not match fall out. Where too few are left, it runs again
                    for more: candidates are in the order of rank, so that the first that match are the best of all.
``matching first``  of all entries: those that match are looked up, and only they are scored. For filters that an
                    index serves, unless they let too many through, and for those that let hardly any through.

The planner is left no choice that could be a bad one before it has statistics: each lookup by key or number stands in a
subquery of its own, which stays where it is (OFFSET 0), and conditions on fields are asked of what the key found.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Any, Final, NamedTuple

from ...contract import SearchHit, SearchHits
from ...text import K1, MOST_TERMS, B
from .filter_sql import Compiled
from .place import fill
from .reading import Rows
from .rows import COLUMNS, to_entry

_MORE: Final = 10
#: Candidates of a filtered search to begin with, for each hit wanted.
_FILTERED: Final = 20
#: How many times as many a next attempt asks for.
_GROWTH: Final = 20
#: To look a candidate up and ask whether it matches takes so many times as long as to ask an entry in passing.
_LOOKUP: Final = 6

_TERMS: Final = f"""totals AS MATERIALIZED (
  SELECT sum(entries)::float8 AS entries, sum(length)::float8 AS length FROM {{s}}.storage_sums WHERE index_id = %id%
), counted AS MATERIALIZED (
  SELECT w.term, (
    SELECT count(*) FROM {{s}}.storage_postings AS p WHERE p.index_id = %id% AND p.term = w.term
  ) AS holding FROM (SELECT u.term COLLATE "C" AS term FROM unnest(%s::text[]) AS u (term)) AS w
), wanted AS MATERIALIZED (
  SELECT term, ln(1 + (totals.entries - holding + 0.5::float8) / (holding + 0.5::float8)) AS weight
  FROM totals, counted WHERE holding > 0%if_any% ORDER BY holding, term LIMIT {MOST_TERMS}
), scored AS MATERIALIZED (
  SELECT p.entry, sum(wanted.weight * p.number * {K1 + 1}::float8 / (p.number + {K1}::float8 * (
    {1 - B}::float8 + {B}::float8 * p.length / (totals.length / totals.entries))))::real AS score
  FROM totals, wanted CROSS JOIN LATERAL (
    SELECT entry, number, length FROM {{s}}.storage_postings WHERE index_id = %id% AND term = wanted.term OFFSET 0
  ) AS p%among% GROUP BY p.entry
), top AS MATERIALIZED (
  SELECT x.key AS found_key, ranked.score AS found_score
  FROM (SELECT entry, score FROM scored ORDER BY score DESC FETCH FIRST %candidates% ROWS WITH TIES) AS ranked
  CROSS JOIN LATERAL (
    SELECT key FROM {{s}}.storage_texts AS t WHERE t.index_id = %id% AND t.entry = ranked.entry OFFSET 0
  ) AS x ORDER BY ranked.score DESC, x.key LIMIT %candidates%
)"""
_READ: Final = f"""
SELECT (SELECT count(*) FROM %looked_at%), (SELECT entries::bigint FROM totals), hit.*
FROM (SELECT 1) AS one LEFT JOIN LATERAL (
  SELECT found_score, e.* FROM top CROSS JOIN LATERAL (
    SELECT {COLUMNS} FROM (
      SELECT * FROM {{s}}.storage_entries WHERE %place% AND key = found_key OFFSET 0
    ) AS found WHERE {{live}} AND %condition%
  ) AS e ORDER BY found_score DESC, found_key LIMIT %limit%
) AS hit ON true"""

_BEST_FIRST: Final = (
    f"WITH {_TERMS}{_READ}".replace("%if_any%", "").replace("%among%", "").replace("%looked_at%", "top")
)
# Under OR the IN stays a look into a hash table; as a join it could go through all of them for each posting.
_MATCHING_FIRST: Final = (
    f"""WITH matching AS MATERIALIZED (
  SELECT key FROM {{s}}.storage_entries WHERE {{live}} AND %where% LIMIT %most%::bigint + 1
), few AS MATERIALIZED (
  SELECT x.entry FROM matching CROSS JOIN LATERAL (
    SELECT entry FROM {{s}}.storage_texts AS t WHERE t.index_id = %id% AND t.key = matching.key OFFSET 0
  ) AS x WHERE (SELECT count(*) FROM matching) <= %most%
), {_TERMS}{_READ}""".replace("%if_any%", " AND (SELECT count(*) FROM few) > 0")
    .replace("%among%", " WHERE p.entry IS NULL OR p.entry IN (SELECT entry FROM few)")
    .replace("%looked_at%", "matching")
    .replace("%condition%", "true")
    .replace("%candidates%", "%limit%")
)
_MOST: Final = 2**62


class Asked(NamedTuple):
    """A search of an index, by its number, that holds about so many ``entries``: the terms, how many hits, which
    entries may be hits (``filtered``: not all), and whether an index finds those."""

    index_id: int
    entries: int
    query: list[str]
    limit: int
    where: Compiled
    filtered: bool
    served: bool


def search(rows: Callable[[str, tuple[Any, ...]], Rows], asked: Asked) -> SearchHits:
    """The best ``limit`` entries for the terms of ``query`` that match. Raises our errors."""
    limit, entries = asked.limit, asked.entries
    if not limit or not asked.query:
        return SearchHits(method="postings", candidates=0)
    if asked.served:
        # With so many matches it takes as long to look them all up as to look up candidates until enough match.
        # (A power of two, so that the statement stays the same while the index grows.)
        most = 1 << isqrt(2 * min(limit, entries) * entries).bit_length()
        hits = _search_matching(rows, asked, most)
        if hits is not None:
            return hits
    candidates = limit * _FILTERED + 100 if asked.filtered else limit + _MORE
    while True:
        candidates = min(candidates, _MOST)
        found = rows(_fill(_BEST_FIRST, asked, candidates=candidates), (asked.query, *asked.where.params))
        looked_at = found[0][0]
        hits = _to_hits(found)
        if len(hits) >= limit or looked_at < candidates:
            return hits
        candidates *= _GROWTH
        if asked.filtered and candidates * _LOOKUP > entries:
            hits = _search_matching(rows, asked, _MOST)
            assert hits is not None
            return hits


def _search_matching(rows: Callable[[str, tuple[Any, ...]], Rows], asked: Asked, most: int) -> SearchHits | None:
    """The same from those that match, unless they are more than ``most``: then None."""
    found = rows(_fill(_MATCHING_FIRST, asked, most=most), (*asked.where.params, asked.query))
    return _to_hits(found) if found[0][0] <= most else None


def _to_hits(rows: Rows) -> SearchHits:
    hits = [SearchHit(row[4], row[2], to_entry(row[3:])) for row in rows if row[2] is not None]
    return SearchHits(hits, method="postings", candidates=rows[0][0], entries=rows[0][1] or 0)


def _fill(template: str, asked: Asked, **numbers: int) -> str:
    where = asked.where
    return fill(
        template,
        id=asked.index_id,
        limit=min(asked.limit, _MOST),
        where=where.where_sql,
        place=where.place_sql,
        condition=where.where_sql if asked.filtered else "true",
        **numbers,
    )
