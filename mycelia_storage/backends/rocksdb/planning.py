"""Which index rows a query reads: ranges that hold every match, and more. What they lead to is compared again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple

from ...contract import Entry
from ...field_paths import FieldPath
from ...filters import And, Comparison, Filter, Or, Sort, match
from ...states.state import now_ms
from . import layout
from .index_keys import JSON, NOTHING, NULL, NUMBER, STRING, cut_text, encode_field, field_end, paths_of
from .space import IndexRows, RocksDBSpace

Range = tuple[bytes, bytes]

#: Ranges that one query may read; beyond that a scan is cheaper.
_MOST_RANGES: Final = 1_000

_SCALARS: Final = (bool, int, float, str, type(None))


class Plan(NamedTuple):
    """Ranges of index rows. ``rows`` is the index they are all of, or None for those of several."""

    ranges: list[Range]
    rows: IndexRows | None
    fixed: int
    """How many leading paths of the index are held to one value."""
    score: int
    """The paths that narrow the ranges, equality counting double."""


def select(space: RocksDBSpace, condition: Filter | None, order: Sort) -> Iterator[Entry] | None:
    """The matching entries in order, read through indexes; None where no index helps."""
    plan = None if condition is None else _plan(space, condition)
    if order:
        ordered = _ordered(space, plan, order)
        if ordered is not None:
            return _in_index_order(space, ordered, condition, order)
    if plan is None:
        return None
    keys = {key for low, high in plan.ranges for _, key in space.view.items(low, high)}
    found = _matching(space, sorted(keys), condition)
    return iter(order.sorted(found)) if order else found


def _matching(space: RocksDBSpace, keys: Iterable[bytes], condition: Filter | None) -> Iterator[Entry]:
    now = now_ms()
    for key in keys:
        data = space.view.get(space.entries + key)
        entry = None if data is None else layout.unpack_entry(space.name, key.decode(), data, now)
        if entry is not None and (condition is None or match(condition, entry)):
            yield entry


# -- filters to ranges -----------------------------------------------------------------------------------------------


def _plan(space: RocksDBSpace, condition: Filter) -> Plan | None:
    if isinstance(condition, Or):
        parts = [_plan(space, part) for part in condition.parts]
        plans = [plan for plan in parts if plan is not None]
        if len(plans) < len(parts):
            return None
        return _bounded(Plan([each for plan in plans for each in plan.ranges], None, 0, 1))
    if isinstance(condition, Comparison):
        return _best(space, [condition])
    if isinstance(condition, And):
        comparisons = [part for part in condition.parts if isinstance(part, Comparison)]
        others = [_plan(space, part) for part in condition.parts if isinstance(part, And | Or)]
        plans = [plan for plan in (_best(space, comparisons), *others) if plan is not None]
        return max(plans, key=lambda plan: plan.score, default=None)
    return None


def _best(space: RocksDBSpace, comparisons: list[Comparison]) -> Plan | None:
    by_path: dict[FieldPath, list[Comparison]] = {}
    for comparison in comparisons:
        by_path.setdefault(comparison.path, []).append(comparison)
    plans = (_along(rows, by_path) for rows in space.index_rows().values())
    usable = [plan for plan in plans if plan.score and len(plan.ranges) <= _MOST_RANGES]
    return max(usable, key=lambda plan: plan.score, default=None)


def _along(rows: IndexRows, by_path: dict[FieldPath, list[Comparison]]) -> Plan:
    """What the comparisons leave of an index, from its first path on as far as they hold paths to single values."""
    prefixes, fixed, score = [rows.prefix], 0, 0
    for path in paths_of(rows.declaration):
        comparisons = by_path.get(path, [])
        values = _values(comparisons)
        if values is not None:
            encoded = sorted({encode_field(value) for value in values})
            prefixes = [prefix + value for prefix in prefixes for value in encoded]
            score += 2
            if len(prefixes) > _MOST_RANGES:
                break
            fixed += len(encoded) == 1 and fixed == score // 2 - 1
            continue
        within = _within(comparisons)
        if within is not None:
            low, high = within
            found = [(prefix + low, prefix + high) for prefix in prefixes] if low < high else []
            return Plan(found, rows, fixed, score + 1)
        break
    return Plan([(prefix, prefix + b"\xff") for prefix in prefixes], rows, fixed, score)


def _values(comparisons: list[Comparison]) -> list[Any] | None:
    """The values that a field must have one of, as far as an index tells them apart."""
    best: list[Any] | None = None
    for comparison in comparisons:
        values = {"eq": [comparison.operand], "in": comparison.operand}.get(comparison.operator)
        usable = values is not None and all(value.__class__ in _SCALARS for value in values)
        if values is not None and usable and (best is None or len(values) < len(best)):
            best = values
    return best


def _within(comparisons: list[Comparison]) -> Range | None:
    """Between which encodings a field must lie."""
    ranges = [found for comparison in comparisons if (found := _range_of(comparison)) is not None]
    return (max(low for low, _ in ranges), min(high for _, high in ranges)) if ranges else None


def _range_of(comparison: Comparison) -> Range | None:
    operator, operand = comparison.operator, comparison.operand
    if operator == "exists":
        return (NULL, NOTHING) if operand else (NOTHING, b"\xff")
    if operator == "startsWith":
        start = STRING + cut_text(operand)
        return start, start + b"\xff"
    if operator not in ("gt", "gte", "lt", "lte"):
        return None
    if operand.__class__ is str:
        low, high = STRING, JSON
    elif operand.__class__ is int or operand.__class__ is float:
        low, high = NUMBER, STRING
    else:
        return NULL, NULL  # such a comparison never holds
    bound = encode_field(operand)
    return (bound, high) if operator in ("gt", "gte") else (low, bound + b"\xff")


def _bounded(plan: Plan) -> Plan | None:
    return plan if len(plan.ranges) <= _MOST_RANGES else None


# -- sorts by index ----------------------------------------------------------------------------------------------------


class _Ordered(NamedTuple):
    """Ranges of one index that are in the order of a sort's first field, and where in a key its value begins."""

    ranges: list[Range]
    prefix: bytes
    fields_before: int


def _ordered(space: RocksDBSpace, plan: Plan | None, order: Sort) -> _Ordered | None:
    wanted = order.keys[0].path
    if plan is None:
        for rows in space.index_rows().values():
            if paths_of(rows.declaration)[0] == wanted:
                return _Ordered([(rows.prefix, rows.prefix + b"\xff")], rows.prefix, 0)
        return None
    if plan.rows is None or len(plan.ranges) > 1:
        return None
    paths = paths_of(plan.rows.declaration)
    for place in range(min(plan.fixed + 1, len(paths))):
        if paths[place] == wanted:
            return _Ordered(plan.ranges, plan.rows.prefix, place)
    return None


def _in_index_order(space: RocksDBSpace, ordered: _Ordered, condition: Filter | None, order: Sort) -> Iterator[Entry]:
    """The entries run by run of the sort's first field; a run is put in order by all of the sort's fields."""
    start = len(ordered.prefix)

    def value_of(row: tuple[bytes, bytes]) -> bytes:
        begin = start
        for _ in range(ordered.fields_before):
            begin = field_end(row[0], begin)
        return row[0][begin : field_end(row[0], begin)]

    descending = order.keys[0].descending
    for low, high in ordered.ranges:
        parts = [space.view.items(low, high, descending)]
        missing: list[bytes] = []
        for rows in parts:
            for value, run in groupby(rows, value_of):
                keys = [key for _, key in run]
                if descending and value == NOTHING:  # missing comes last both ways
                    missing = keys
                else:
                    yield from order.sorted(_matching(space, keys, condition))
        yield from order.sorted(_matching(space, missing, condition))
