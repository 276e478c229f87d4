"""Text search: BM25 as :mod:`mycelia_storage.text` defines, summed in the server over postings of the query's terms.

One statement counts who holds each term, takes the rarest, scores every entry that holds one, and reads the best
``candidates``; those that have expired or do not match the filter fall out. Where too few are left, it runs again for
more candidates: they are in the order of rank, so that the first of them that match are the best of all that match.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...contract import SearchHit, SearchHits
from ...text import K1, MOST_TERMS, B
from .filter_sql import Compiled
from .reading import Rows
from .rows import COLUMNS, to_entry

_MORE: Final = 10
#: Candidates of a filtered search to begin with, for each hit wanted.
_FILTERED: Final = 20
#: How many times as many a next attempt asks for.
_GROWTH: Final = 20

# Each lookup by key or number stands in a subquery that the planner leaves where it is (OFFSET 0): before it has
# statistics it might read everything instead.
_SEARCH: Final = f"""WITH totals AS MATERIALIZED (
  SELECT sum(entries)::float8 AS entries, sum(length)::float8 AS length FROM {{s}}.storage_sums WHERE index_id = %id%
), counted AS MATERIALIZED (
  SELECT w.term, (
    SELECT count(*) FROM {{s}}.storage_postings AS p WHERE p.index_id = %id% AND p.term = w.term
  ) AS holding FROM (SELECT u.term COLLATE "C" AS term FROM unnest(%s::text[]) AS u (term)) AS w
), wanted AS MATERIALIZED (
  SELECT term, ln(1 + (totals.entries - holding + 0.5::float8) / (holding + 0.5::float8)) AS weight
  FROM totals, counted WHERE holding > 0 ORDER BY holding, term LIMIT {MOST_TERMS}
), scored AS MATERIALIZED (
  SELECT p.entry, sum(wanted.weight * p.number * {K1 + 1}::float8 / (p.number + {K1}::float8 * (
    {1 - B}::float8 + {B}::float8 * p.length / (totals.length / totals.entries))))::real AS score
  FROM totals, wanted JOIN {{s}}.storage_postings AS p ON p.index_id = %id% AND p.term = wanted.term
  GROUP BY p.entry
), top AS MATERIALIZED (
  SELECT x.key AS found_key, ranked.score AS found_score
  FROM (SELECT entry, score FROM scored ORDER BY score DESC FETCH FIRST %candidates% ROWS WITH TIES) AS ranked
  CROSS JOIN LATERAL (
    SELECT key FROM {{s}}.storage_texts AS t WHERE t.index_id = %id% AND t.entry = ranked.entry OFFSET 0
  ) AS x ORDER BY ranked.score DESC, x.key LIMIT %candidates%
)
SELECT (SELECT count(*) FROM top), (SELECT entries::bigint FROM totals), hit.*
FROM (SELECT 1) AS one LEFT JOIN LATERAL (
  SELECT found_score, e.* FROM top CROSS JOIN LATERAL (
    SELECT {COLUMNS} FROM {{s}}.storage_entries WHERE {{live}} AND %where% AND key = found_key OFFSET 0
  ) AS e ORDER BY found_score DESC, found_key LIMIT %limit%
) AS hit ON true"""


def search(
    rows: Callable[[str, tuple[Any, ...]], Rows],
    index_id: int,
    query: list[str],
    limit: int,
    where: Compiled,
    filtered: bool,
) -> SearchHits:
    """The best ``limit`` entries for the terms of ``query`` that match. Raises our errors."""
    if not limit or not query:
        return SearchHits(method="postings", candidates=0)
    candidates = limit * _FILTERED + 100 if filtered else limit + _MORE
    base = _SEARCH.replace("%id%", str(index_id)).replace("%limit%", str(min(limit, 2**62)))
    while True:
        candidates = min(candidates, 2**62)
        sql = base.replace("%candidates%", str(candidates)).replace("%where%", _braced(where.where_sql))
        found = rows(sql, (query, *where.params))
        looked_at, entries = found[0][:2]
        hits = [SearchHit(row[4], row[2], to_entry(row[3:])) for row in found if row[2] is not None]
        if len(hits) >= limit or looked_at < candidates:
            return SearchHits(hits, method="postings", candidates=looked_at, entries=entries or 0)
        candidates *= _GROWTH


def _braced(sql: str) -> str:
    """SQL that passes through :meth:`.place.Place.sql` as it is."""
    return sql.replace("{", "{{").replace("}", "}}")
