"""Following composite keys by recursive SQL: several hops in one statement, mostly from the index of keys alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import orjson

from ...following import HOPS_TOGETHER, Ways, follow
from ...names import KeyPart
from ...sorting import Sort
from .filter_sql import compile_query
from .reading import Rows, now_ms, squeeze

_Run = Callable[[str, tuple[Any, ...]], Rows]

_HOPS: Final = """WITH RECURSIVE {bounds}followed(point, hop) AS (SELECT value, 0 FROM json_each(?)
UNION {steps} LIMIT ?) SELECT point, hop FROM followed"""

# A hop alone needs no recursion, which takes two more temporary tables.
_HOP: Final = """WITH {bounds}followed(point, hop) AS (SELECT value, 0 FROM json_each(?))
SELECT DISTINCT * FROM ({steps})"""

# CROSS JOIN makes SQLite take points and bounds in turn, each pair with one range of UNIQUE (namespace, key).
_STEP: Final = """SELECT {part}, hop + 1 FROM followed CROSS JOIN {ranges}storage_entries
WHERE {where} AND key >= point || {low} AND key < point || {high} AND point <> ''{more}"""

_BOUNDS: Final = "bounds(low, high) AS MATERIALIZED (SELECT value ->> 0, value ->> 1 FROM json_each(?)), "

# As long as nothing has expired unswept, no row need be asked.
_ANY_EXPIRED: Final = squeeze("""SELECT 1 FROM storage_entries INDEXED BY storage_entries_expiry
WHERE expires_at <= ? AND namespace IN (SELECT value FROM json_each(?)) LIMIT 1""")
_LIVE: Final = "(expires_at IS NULL OR expires_at > ?)"


def follow_by_sql(run: _Run, ways: Ways) -> dict[KeyPart, int] | None:
    """``follow`` of the contract; None where SQL cannot decide the filter, or there is nothing to ask."""
    now = now_ms()
    live = run(_ANY_EXPIRED, (now, _json(ways.namespaces)))
    wheres: list[str] = []
    conditions: list[tuple[Any, ...]] = []
    for namespace in ways.namespaces:
        if ways.condition is None:
            where, parameters = "namespace = ?", (namespace,)
        else:
            compiled = compile_query(ways.condition, Sort(), namespace)
            if not compiled.exact:
                return None
            where, parameters = compiled.where_sql, compiled.params
        wheres.append(f"{where} AND {_LIVE}" if live else where)
        conditions.append((*parameters, now) if live else parameters)
    if not wheres:
        return None
    bounds = () if ways.second is None else (_json(ways.ranges),)

    def advance(points: list[str], hops: int, most: int | None) -> Rows:
        sql = _statement(tuple(wheres), ways.part, bool(bounds), hops > 1)
        given = (*bounds, _json(points))
        if hops == 1:
            return run(sql, (*given, *(value for one in conditions for value in one)))
        steps = (value for one in conditions for value in (*one, hops))
        return run(sql, (*given, *steps, -1 if most is None else most))

    return follow(ways, advance, HOPS_TOGETHER)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


@lru_cache(maxsize=256)
def _statement(wheres: tuple[str, ...], part: int, bounded: bool, recursive: bool) -> str:
    # Without bounds a point's keys have its part 1 next, with them its part 2; what stands before has a known length.
    rest = f"substr(key || char(1), length(point) + {'length(low) + 1' if bounded else '2'})"
    terms = (
        _STEP.format(
            part=part_sql(rest, part - (2 if bounded else 1)),
            ranges="bounds CROSS JOIN " if bounded else "",
            where=where,
            low="low" if bounded else "char(1)",
            high="high" if bounded else "char(2)",
            more=" AND hop < ?" if recursive else "",
        )
        for where in wheres
    )
    return squeeze(
        (_HOPS if recursive else _HOP).format(
            bounds=_BOUNDS if bounded else "", steps=(" UNION " if recursive else " UNION ALL ").join(terms)
        )
    )


def part_sql(rest: str, number: int) -> str:
    """The part of that number, "" if there is none, of ``rest``, whose parts each end with U+0001."""
    for _ in range(number):
        rest = f"substr({rest}, instr({rest}, char(1)) + 1)"
    return f"substr({rest}, 1, instr({rest}, char(1)) - 1)"
