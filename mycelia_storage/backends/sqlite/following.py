"""Following composite keys by recursive SQL: several hops in one statement, mostly from the index of keys alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

from ...following import HOPS_TOGETHER, Ways, follow, in_order
from ...names import KeyPart
from ...sorting import Sort
from .filter_sql import compile_query
from .reading import Rows, now_ms, squeeze

_Run = Callable[[str, tuple[Any, ...]], Rows]
_Answer = Literal["hops", "hop", "keys"]

# A hop alone needs no recursion, which takes two more temporary tables.
_STATEMENTS: Final[dict[_Answer, str]] = {
    "hops": """WITH RECURSIVE {bounds}followed(point, hop) AS (SELECT value, 0 FROM json_each(?) UNION {steps} LIMIT ?)
    SELECT point, hop FROM followed""",
    "hop": """WITH {bounds}followed(point) AS (SELECT value FROM json_each(?)) SELECT DISTINCT * FROM ({steps})""",
    "keys": """WITH {bounds}followed(point) AS (SELECT value FROM json_each(?))
    SELECT part, min(first) FROM ({steps}) WHERE part <> '' GROUP BY part ORDER BY part LIMIT ?""",
}
_COLUMNS: Final[dict[_Answer, str]] = {"hops": "hop + 1", "hop": "1", "keys": "char({number}) || key AS first"}

# CROSS JOIN makes SQLite take points and bounds in turn, each pair with one range of UNIQUE (namespace, key).
_STEP: Final = """SELECT {part} AS part, {column} FROM followed CROSS JOIN {ranges}storage_entries
WHERE {where} AND key >= point || {low} AND key < point || {high} AND point <> ''{more}"""

_BOUNDS: Final = "bounds(low, high) AS MATERIALIZED (SELECT value ->> 0, value ->> 1 FROM json_each(?)), "

# As long as nothing has expired unswept, no row need be asked.
_ANY_EXPIRED: Final = squeeze("""SELECT 1 FROM storage_entries INDEXED BY storage_entries_expiry
WHERE expires_at <= ? AND namespace IN (SELECT value FROM json_each(?)) LIMIT 1""")
_LIVE: Final = "(expires_at IS NULL OR expires_at > ?)"

#: A term of the statement for each; SQLite takes 500 terms.
_MOST_NAMESPACES: Final = 100
#: Before a key it says which of the namespaces it is in; its code is this and the namespace's number.
_FIRST_SIGN: Final = 64


class _Question:
    """A walk's conditions as SQL, for any number of points."""

    def __init__(self, run: _Run, ways: Ways) -> None:
        self._run = run
        self._part = ways.part
        self._bounds = () if ways.second is None else (_json(ways.ranges),)
        now = now_ms()
        live = run(_ANY_EXPIRED, (now, _json(ways.namespaces)))
        wheres: list[str] = []
        self._conditions: list[tuple[Any, ...]] = []
        self.exact = 0 < len(ways.namespaces) <= _MOST_NAMESPACES
        for namespace in ways.namespaces if self.exact else ():
            where, parameters = "namespace = ?", (namespace,)
            if ways.condition is not None:
                where, parameters, _, exact, _ = compile_query(ways.condition, Sort(), namespace)
                self.exact = self.exact and exact
            wheres.append(f"{where} AND {_LIVE}" if live else where)
            self._conditions.append((*parameters, now) if live else parameters)
        self._wheres = tuple(wheres)

    def rows(self, answer: _Answer, points: list[str], hops: int, most: int | None) -> Rows:
        """The rows for these points."""
        sql = _statement(answer, self._wheres, self._part, bool(self._bounds))
        own = (hops,) if answer == "hops" else ()
        steps = [value for condition in self._conditions for value in (*condition, *own)]
        last = () if answer == "hop" else (-1 if most is None else most,)
        return self._run(sql, (*self._bounds, _json(points), *steps, *last))


def follow_by_sql(run: _Run, ways: Ways) -> dict[KeyPart, int] | None:
    """``follow`` of the contract; None where SQL cannot decide the filter, or would be too long."""
    question = _Question(run, ways)
    if not question.exact:
        return None

    def advance(points: list[str], hops: int, most: int | None) -> Rows:
        return question.rows("hops" if hops > 1 else "hop", points, hops, most)

    return follow(ways, advance, HOPS_TOGETHER)


def follow_keys_by_sql(run: _Run, ways: Ways) -> dict[KeyPart, tuple[str, str]] | None:
    """``follow_keys``, likewise."""
    question = _Question(run, ways)
    if not question.exact:
        return None
    rows = question.rows("keys", ways.starts, 1, ways.limit)
    return in_order({point: (ways.namespaces[ord(first[0]) - _FIRST_SIGN], first[1:]) for point, first in rows}, None)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


@lru_cache(maxsize=256)
def _statement(answer: _Answer, wheres: tuple[str, ...], part: int, bounded: bool) -> str:
    # Without bounds a point's keys have its part 1 next, with them its part 2; what stands before has a known length.
    rest = f"substr(key || char(1), length(point) + {'length(low) + 1' if bounded else '2'})"
    steps = [
        _STEP.format(
            part=part_sql(rest, part - (2 if bounded else 1)),
            column=_COLUMNS[answer].format(number=_FIRST_SIGN + number),
            ranges="bounds CROSS JOIN " if bounded else "",
            where=where,
            low="low" if bounded else "char(1)",
            high="high" if bounded else "char(2)",
            more=" AND hop < ?" if answer == "hops" else "",
        )
        for number, where in enumerate(wheres)
    ]
    joined = (" UNION " if answer == "hops" else " UNION ALL ").join(steps)
    return squeeze(_STATEMENTS[answer].format(bounds=_BOUNDS if bounded else "", steps=joined))


def part_sql(rest: str, number: int) -> str:
    """The part of that number, "" if there is none, of ``rest``, whose parts each end with U+0001."""
    for _ in range(number):
        rest = f"substr({rest}, instr({rest}, char(1)) + 1)"
    return f"substr({rest}, 1, instr({rest}, char(1)) - 1)"
