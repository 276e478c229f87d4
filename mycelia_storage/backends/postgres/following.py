"""Following composite keys by recursive SQL: several hops in one statement, which is one round trip."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ...following import HOPS_TOGETHER, Ways, follow
from ...names import KeyPart
from ...sorting import Sort
from .filter_sql import compile_query
from .rows import Row

if TYPE_CHECKING:
    from .reading import PostgresReads

# PostgreSQL gives the rows of a recursion hop after hop, as it finds them, and goes no further than they are asked for.
# OFFSET 0 keeps it from joining points with all keys at once: each point has one range of the index.
_HOPS: Final = """WITH RECURSIVE followed(point, hop) AS (SELECT unnest(%s::text[]) COLLATE "C", 0 UNION
SELECT split_part(found.key, E'\\x01', {number}), followed.hop + 1 FROM followed{ranges}
CROSS JOIN LATERAL ({steps} OFFSET 0) AS found
WHERE followed.hop < %s AND followed.point <> '') SELECT point, hop FROM followed LIMIT %s"""

# A hop alone needs no recursion, which takes longer to plan.
_HOP: Final = """SELECT DISTINCT split_part(found.key, E'\\x01', {number}), 1
FROM unnest(%s::text[]) AS followed(point){ranges} CROSS JOIN LATERAL ({steps} OFFSET 0) AS found"""

_STEP: Final = """SELECT key FROM {{s}}.storage_entries WHERE {where} AND {{live}}
AND key >= followed.point || {low} AND key < followed.point || {high}"""

_RANGES: Final = " CROSS JOIN unnest(%s::text[], %s::text[]) AS bounds(low, high)"
_UNCONDITIONAL: Final = "namespace = %s AND tenant = {{t}}"
#: Where a compiled condition comes in, when the other names are filled in.
_CONDITION: Final = "%condition%"


def follow_by_sql(reads: PostgresReads, ways: Ways) -> dict[KeyPart, int] | None:
    """``follow`` of the contract; None where SQL cannot decide the filter, or there is nothing to ask."""
    place = reads._place
    bounds = () if ways.second is None else tuple(map(list, zip(*ways.ranges, strict=True)))
    conditions: list[str] = []
    steps: list[Any] = []
    for namespace in ways.namespaces:
        if ways.condition is None:
            steps.append(namespace)
        else:
            compiled = compile_query(ways.condition, Sort(), namespace, place.tenant or "")
            if not compiled.exact:
                return None
            conditions.append(compiled.where_sql)
            steps += compiled.params
    if not ways.namespaces or ways.second == []:
        return None

    def advance(points: list[str], hops: int, most: int | None) -> list[Row]:
        template = _template(ways.part, len(ways.namespaces), bool(bounds), bool(conditions), hops > 1)
        around = place.sql(template).split(_CONDITION)
        sql = "".join(text for pair in zip(around, [*conditions, ""], strict=False) for text in pair)
        return reads._uncompiled_rows(sql, (points, *bounds, *steps, *((hops, most) if hops > 1 else ())))

    return follow(ways, advance, HOPS_TOGETHER)


@lru_cache(maxsize=64)
def _template(part: int, namespaces: int, bounded: bool, conditional: bool, recursive: bool) -> str:
    step = _STEP.format(
        where=_CONDITION if conditional else _UNCONDITIONAL.format(),
        low="bounds.low" if bounded else "E'\\x01'",
        high="bounds.high" if bounded else "E'\\x02'",
    )
    steps = " UNION ALL ".join([step] * namespaces)
    return (_HOPS if recursive else _HOP).format(number=part + 1, ranges=_RANGES if bounded else "", steps=steps)
