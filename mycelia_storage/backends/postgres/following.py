"""Following composite keys by recursive SQL: several hops in one statement, which is one round trip."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from ...following import HOPS_TOGETHER, Ways, follow, in_order
from ...names import KeyPart
from ...sorting import Sort
from .filter_sql import compile_query
from .rows import Row

if TYPE_CHECKING:
    from .reading import PostgresReads

_Answer = Literal["hops", "hop", "keys"]

# PostgreSQL gives the rows of a recursion hop after hop, as it finds them, and goes no further than they are asked for.
# OFFSET 0 keeps it from joining points with all keys at once: each point has one range of the index. A hop alone needs
# no recursion, which takes longer to plan.
_STATEMENTS: Final[dict[_Answer, str]] = {
    "hops": """WITH RECURSIVE followed(point, hop) AS (SELECT unnest(%s::text[]) COLLATE "C", 0 UNION
SELECT {part}, followed.hop + 1 FROM followed{ranges} CROSS JOIN LATERAL ({steps} OFFSET 0) AS found
WHERE followed.hop < %s AND followed.point <> '') SELECT point, hop FROM followed LIMIT %s""",
    "hop": """SELECT DISTINCT {part}, 1
FROM unnest(%s::text[]) AS followed(point){ranges} CROSS JOIN LATERAL ({steps} OFFSET 0) AS found""",
    "keys": """SELECT {part} AS part, min(found.first)
FROM unnest(%s::text[]) AS followed(point){ranges} CROSS JOIN LATERAL ({steps} OFFSET 0) AS found
WHERE {part} <> '' GROUP BY 1 ORDER BY 1 LIMIT %s""",
}

_STEP: Final = """SELECT key{first} FROM {{s}}.storage_entries
WHERE {where} AND {{live}} AND key >= followed.point || {low} AND key < followed.point || {high}"""

_PART: Final = "split_part(found.key, E'\\x01', {number})"
_RANGES: Final = " CROSS JOIN unnest(%s::text[], %s::text[]) AS bounds(low, high)"
# A tenant that the planner does not see keeps it from a field index, which it may prefer before there are statistics.
_UNCONDITIONAL: Final = "namespace = %s AND tenant = (SELECT {{t}})"
#: Where a compiled condition comes in, when the other names are filled in.
_CONDITION: Final = "%condition%"

#: A term of the statement for each.
_MOST_NAMESPACES: Final = 100
#: Before a key it says which of the namespaces it is in; its code is this and the namespace's number.
_FIRST_SIGN: Final = 64


class _Question:
    """A walk's conditions as SQL, for any number of points."""

    def __init__(self, reads: PostgresReads, ways: Ways) -> None:
        self._reads = reads
        self._ways = ways
        self._conditions: list[str] = []
        self._steps: list[Any] = []
        self.exact = 0 < len(ways.namespaces) <= _MOST_NAMESPACES and ways.second != []
        for namespace in ways.namespaces if self.exact else ():
            if ways.condition is None:
                self._steps.append(namespace)
            else:
                compiled = compile_query(ways.condition, Sort(), namespace, reads._place.tenant or "", by_key=True)
                self.exact = self.exact and compiled.exact
                self._conditions.append(compiled.where_sql)
                self._steps += compiled.params

    def rows(self, answer: _Answer, points: list[str], hops: int, most: int | None) -> list[Row]:
        """The rows for these points."""
        ways = self._ways
        bounds = () if ways.second is None else tuple(map(list, zip(*ways.ranges, strict=True)))
        template = _template(answer, ways.part, len(ways.namespaces), bool(bounds), bool(self._conditions))
        around = self._reads._place.sql(template).split(_CONDITION)
        sql = "".join(text for pair in zip(around, [*self._conditions, ""], strict=False) for text in pair)
        last: dict[_Answer, tuple[Any, ...]] = {"hops": (hops, most), "hop": (), "keys": (most,)}
        return self._reads._uncompiled_rows(sql, (points, *bounds, *self._steps, *last[answer]))


def follow_by_sql(reads: PostgresReads, ways: Ways) -> dict[KeyPart, int] | None:
    """``follow`` of the contract; None where SQL cannot decide the filter, or would be too long."""
    question = _Question(reads, ways)
    if not question.exact:
        return None

    def advance(points: list[str], hops: int, most: int | None) -> list[Row]:
        return question.rows("hops" if hops > 1 else "hop", points, hops, most)

    return follow(ways, advance, HOPS_TOGETHER)


def follow_keys_by_sql(reads: PostgresReads, ways: Ways) -> dict[KeyPart, tuple[str, str]] | None:
    """``follow_keys``, likewise."""
    question = _Question(reads, ways)
    if not question.exact:
        return None
    rows = question.rows("keys", ways.starts, 1, ways.limit)
    return in_order({point: (ways.namespaces[ord(first[0]) - _FIRST_SIGN], first[1:]) for point, first in rows}, None)


@lru_cache(maxsize=64)
def _template(answer: _Answer, part: int, namespaces: int, bounded: bool, conditional: bool) -> str:
    steps = [
        _STEP.format(
            first=f", chr({_FIRST_SIGN + number}) || key AS first" if answer == "keys" else "",
            where=_CONDITION if conditional else _UNCONDITIONAL.format(),
            low="bounds.low" if bounded else "E'\\x01'",
            high="bounds.high" if bounded else "E'\\x02'",
        )
        for number in range(namespaces)
    ]
    return _STATEMENTS[answer].format(
        part=_PART.format(number=part + 1), ranges=_RANGES if bounded else "", steps=" UNION ALL ".join(steps)
    )
