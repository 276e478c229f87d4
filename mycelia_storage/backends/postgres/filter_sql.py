"""Filters and sorts as SQL over ``storage_entries``. Text only: nothing here runs it.

The one place that builds conditions. A statement built from here must read from ``storage_entries`` without an alias,
and must be run with its parameters, even when there are none: ``%`` is written ``%%``.
:mod:`.field_sql` has RANK, NUMBER, START and WHOLE, the expressions of a field.

Every condition is true or false, never NULL: it asks RANK first, so AND has its false before anything NULL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from ...field_paths import FieldPath
from ...filters import And, Comparison, Filter, Not, Or, Sort, merge_equalities
from ...patterns import prefix_end
from ...ranks import BOOLEAN, CONTAINER, MISSING, NULL, NUMBER, STRING, rank_of
from .documents import write_number, write_operand, write_string
from .field_sql import (
    COLUMNS,
    START_LENGTH,
    create_index_sql,
    field_sql,
    hidden,
    index_columns,
    number_sql,
    quote,
    rank_sql,
    start_sql,
    text_sql,
    whole_sql,
)

__all__ = ["RANGES", "Compiled", "compile_query", "create_index_sql", "index_columns"]

#: PostgreSQL takes 65,535 parameters, and its planner takes its time over long conditions; past these the caller
#: filters alone.
_MAX_PARAMS: Final = 5_000
_MAX_CHARACTERS: Final = 500_000

#: Stands for a parameter until the end: no SQL text can hold NUL.
_PARAM: Final = "\0"

_MIN_BIGINT: Final = -(2**63)
_MAX_BIGINT: Final = 2**63 - 1

#: Operators that hold for fields of one rank only, the operand's.
_ONE_RANK: Final = ("eq", "gt", "gte", "lt", "lte", "startsWith", "endsWith")
#: Operators that ask for a range of values.
RANGES: Final = ("eq", "in", "gt", "gte", "lt", "lte", "startsWith")
_SIGNS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Compiled(NamedTuple):
    """A query. ``exact``: no entry passes that does not match; ``sort_exact``: the order is the sort's; ``place_sql``:
    namespace and tenant alone, for looking entries up by key; ``keys_sql``: the filter, with the same parameters, where
    it asks for nothing but keys in ranges."""

    where_sql: str
    params: tuple[Any, ...]
    order_sql: str
    exact: bool
    sort_exact: bool
    place_sql: str
    keys_sql: str | None


class Sql(NamedTuple):
    """A condition with its parameters."""

    text: str
    params: tuple[Any, ...] = ()


TRUE: Final = Sql("true")
FALSE: Final = Sql("false")


def compile_query(
    filter: Filter | None, sort: Sort, namespace: str, tenant: str = "", *, by_key: bool = False
) -> Compiled:
    """WHERE and ORDER BY of a query in one namespace of one tenant.

    ``by_key``: the statement itself says which keys it wants, whatever the filter says.
    """
    keys_alone = _asks_keys_alone(filter)
    by_key = by_key or _names_keys(filter) or (not sort.keys and keys_alone)
    place = f"namespace = {quote(namespace)} AND tenant = {hidden(tenant)}"
    where = place if by_key else f"namespace = {quote(namespace)} AND tenant = {quote(tenant)}"
    params: tuple[Any, ...] = ()
    keys = None
    exact = True
    if filter is not None:
        condition = _condition(filter)
        if len(condition.text) > _MAX_CHARACTERS or len(condition.params) > _MAX_PARAMS:
            exact = False
        elif condition != TRUE:
            where, params = f"{where} AND {condition.text}", condition.params
            keys = _finish(condition.text) if keys_alone else None
    order = _order(sort, filter)
    return Compiled(_finish(where), params, _finish(order), exact, True, _finish(place), keys)


def _names_keys(filter: Filter | None) -> bool:
    """Whether a filter says which keys it wants."""
    if isinstance(filter, And):
        return any(map(_names_keys, filter.parts))
    if isinstance(filter, Or):
        return all(map(_names_keys, filter.parts))
    return isinstance(filter, Comparison) and filter.path.root == "key" and filter.operator in ("eq", "in")


def _asks_keys_alone(filter: Filter | None) -> bool:
    """Whether a filter asks for keys in ranges and for nothing else."""
    if filter is None:
        return True
    if isinstance(filter, And):
        return all(map(_asks_keys_alone, filter.parts))
    return isinstance(filter, Comparison) and filter.path.root == "key" and filter.operator in RANGES


def _finish(text: str) -> str:
    return text.replace("%", "%%").replace(_PARAM, "%s")


# -- conditions --------------------------------------------------------------------------------------------------------


def _condition(filter: Filter) -> Sql:
    if isinstance(filter, Not):
        return _not(_condition(filter.part))
    if isinstance(filter, And):
        return _all([_condition(part) for part in filter.parts])
    if isinstance(filter, Or):
        return _any([_condition(part) for part in merge_equalities(filter.parts)])
    assert isinstance(filter, Comparison)
    return _COMPILERS[filter.operator](filter.path, filter.operator, filter.operand)


def _not(part: Sql) -> Sql:
    if part in (TRUE, FALSE):
        return FALSE if part == TRUE else TRUE
    return Sql(f"(NOT {part.text})", part.params)


def _all(parts: Sequence[Sql]) -> Sql:
    return FALSE if FALSE in parts else _join(" AND ", [part for part in parts if part != TRUE], TRUE)


def _any(parts: Sequence[Sql]) -> Sql:
    return TRUE if TRUE in parts else _join(" OR ", [part for part in parts if part != FALSE], FALSE)


def _join(sign: str, parts: list[Sql], empty: Sql) -> Sql:
    """The parts side by side: PostgreSQL keeps a chain of one sign as one flat list."""
    if len(parts) < 2:
        return parts[0] if parts else empty
    text = sign.join([part.text for part in parts])
    return Sql(f"({text})", tuple(param for part in parts for param in part.params))


def _has_rank(path: FieldPath, sign: str, rank: int) -> Sql:
    known = COLUMNS.get(path.root)
    if known is None:
        return Sql(f"{rank_sql(path)} {sign} {rank}")
    return TRUE if (known < rank if sign == "<" else known == rank) else FALSE


def _is(path: FieldPath, rank: int, condition: str, *params: Any) -> Sql:
    return _all([_has_rank(path, "=", rank), Sql(condition, params)])


def _equal(path: FieldPath, operator: str, operand: Any) -> Sql:
    return _one_of(path, operator, [operand])


def _one_of(path: FieldPath, _: str, operands: list[Any]) -> Sql:
    ranked: dict[int, list[Any]] = {}
    for operand in operands:
        ranked.setdefault(rank_of(operand), []).append(operand)
    if path.root in COLUMNS:
        return _column_in(path, ranked.get(COLUMNS[path.root], []))
    return _any([_in_rank(path, rank, members) for rank, members in ranked.items()])


def _column_in(path: FieldPath, operands: list[Any]) -> Sql:
    if path.root == "key":
        return _in(path.root, "text", [operand for operand in operands if "\0" not in operand])
    whole = [int(operand) for operand in operands if operand == math.floor(operand)]
    return _in(path.root, "bigint", [operand for operand in whole if _MIN_BIGINT <= operand <= _MAX_BIGINT])


def _in_rank(path: FieldPath, rank: int, operands: list[Any]) -> Sql:
    """NUMBER and START are compared even where they can be but 0 and '': an index then goes on to its next field."""
    number, start = Sql(f"{number_sql(path)} = 0"), Sql(f"{start_sql(path)} = ''")
    if rank == CONTAINER:
        return _is(path, rank, f"({field_sql(path)}) = ANY ({_PARAM}::jsonb[])", [*map(write_operand, operands)])
    if rank in (BOOLEAN, NUMBER):
        numbers = [write_number(int(operand) if rank == BOOLEAN else operand) for operand in operands]
        number = _in(number_sql(path), "numeric", numbers)
    elif rank == STRING:
        texts = [write_string(operand) for operand in operands]
        start = _in(start_sql(path), "text", [text[:START_LENGTH] for text in texts])
        if any(len(text) >= START_LENGTH for text in texts):
            start = _all([start, _in(text_sql(path), "text", texts)])
    return _all([_has_rank(path, "=", rank), number, start])


def _in(expression: str, type: str, operands: list[Any]) -> Sql:
    if not operands:
        return FALSE
    if len(operands) == 1:
        return Sql(f"{expression} = {_PARAM}::{type}", (operands[0],))
    return Sql(f"{expression} = ANY ({_PARAM}::{type}[])", (operands,))


def _present_but(make: Callable[[FieldPath, str, Any], Sql]) -> Callable[[FieldPath, str, Any], Sql]:
    return lambda path, operator, operand: _all([_has_rank(path, "<", MISSING), _not(make(path, operator, operand))])


def _ordered(path: FieldPath, operator: str, operand: Any) -> Sql:
    rank = rank_of(operand)
    if rank not in (NUMBER, STRING) or COLUMNS.get(path.root, rank) != rank:
        return FALSE
    if path.root == "key":
        return _ordered_key(operator, operand)
    if path.root in COLUMNS:
        return _ordered_time(path.root, operator, operand)
    sign = _SIGNS[operator]
    if rank == NUMBER:
        return _is(path, rank, f"{number_sql(path)} {sign} {_PARAM}::numeric", write_number(operand))
    return _all([_has_rank(path, "=", rank), Sql(f"{number_sql(path)} = 0"), _ordered_text(path, sign, operand)])


def _ordered_text(path: FieldPath, sign: str, operand: str) -> Sql:
    text = write_string(operand)
    if len(text) < START_LENGTH:
        return Sql(f"{start_sql(path)} {sign} {_PARAM}::text", (text,))
    loose = sign if sign.endswith("=") else f"{sign}="
    start = Sql(f"{start_sql(path)} {loose} {_PARAM}::text", (text[:START_LENGTH],))
    return _all([start, Sql(f"{text_sql(path)} {sign} {_PARAM}::text", (text,))])


def _ordered_key(operator: str, operand: str) -> Sql:
    """No key holds NUL, so those below ``a NUL b`` are those up to ``a``."""
    text, nul, _ = operand.partition("\0")
    sign = _SIGNS[operator] if not nul else ">" if operator.startswith("g") else "<="
    return Sql(f"key {sign} {_PARAM}::text", (text,))


def _ordered_time(column: str, operator: str, operand: int | float) -> Sql:
    """As bigint, so that an index serves: above 1.5 is above 1, from 1.5 on is from 2 on."""
    bound = math.floor(operand) if operator in ("gt", "lte") else math.ceil(operand)
    if not _MIN_BIGINT <= bound <= _MAX_BIGINT:
        return TRUE if (bound < 0) is operator.startswith("g") else FALSE
    return Sql(f"{column} {_SIGNS[operator]} {_PARAM}::bigint", (bound,))


def _contains(path: FieldPath, _: str, operand: Any) -> Sql:
    rank = rank_of(operand)
    part = FALSE
    if rank == STRING:
        part = _string_that(path, lambda text: Sql(f"strpos({text_sql(path)}, {_PARAM}::text) > 0", (text,)), operand)
    if path.root in COLUMNS:
        return part
    field = field_sql(path)
    # A list is no object that happens to contain the operand; AND has false from RANK before it meets a NULL.
    condition = f"jsonb_typeof({field}) = 'array'"
    if rank == CONTAINER:  # @> would take a part of a member for the member
        condition += (
            f" AND EXISTS (SELECT 1 FROM jsonb_array_elements(CASE jsonb_typeof({field}) WHEN 'array' THEN {field} END)"
            f" AS member (found) WHERE member.found = {_PARAM}::jsonb)"
        )
        return _is(path, CONTAINER, condition, write_operand(operand))
    return _any([part, _is(path, CONTAINER, f"{condition} AND ({field}) @> {_PARAM}::jsonb", write_operand([operand]))])


def _starts_with(path: FieldPath, _: str, operand: str) -> Sql:
    return _string_that(path, lambda text: _begins(path, text), operand)


def _begins(path: FieldPath, text: str) -> Sql:
    if path.root == "key" or len(text) < START_LENGTH:
        start = path.root if path.root == "key" else start_sql(path)
        end = prefix_end(text)
        above = Sql(f"{start} >= {_PARAM}::text", (text,))
        return above if end is None else _all([above, Sql(f"{start} < {_PARAM}::text", (end,))])
    start_equal = Sql(f"{start_sql(path)} = {_PARAM}::text", (text[:START_LENGTH],))
    return _all([start_equal, Sql(f"starts_with({text_sql(path)}, {_PARAM}::text)", (text,))])


def _ends_with(path: FieldPath, _: str, operand: str) -> Sql:
    return _string_that(
        path, lambda text: Sql(f"right({text_sql(path)}, {len(text)}) = {_PARAM}::text", (text,)), operand
    )


def _string_that(path: FieldPath, condition: Callable[[str], Sql], operand: str) -> Sql:
    """A string of which the condition holds. NUMBER is compared to lead an index on to START."""
    if path.root == "key":
        return FALSE if "\0" in operand else condition(operand)
    if path.root in COLUMNS:
        return FALSE
    found = condition(write_string(operand))
    return _all([_has_rank(path, "=", STRING), Sql(f"{number_sql(path)} = 0"), found])


def _exists(path: FieldPath, _: str, operand: bool) -> Sql:
    present = _has_rank(path, "<", MISSING)
    return present if operand else _not(present)


_COMPILERS: Final[dict[str, Callable[[FieldPath, str, Any], Sql]]] = {
    "eq": _equal,
    "ne": _present_but(_equal),
    "gt": _ordered,
    "gte": _ordered,
    "lt": _ordered,
    "lte": _ordered,
    "contains": _contains,
    "startsWith": _starts_with,
    "endsWith": _ends_with,
    "in": _one_of,
    "nin": _present_but(_one_of),
    "exists": _exists,
}


# -- order -------------------------------------------------------------------------------------------------------------


def _order(sort: Sort, filter: Filter | None) -> str:
    """An index gives the order up to START; PostgreSQL sorts only the ties by WHOLE and key."""
    terms = []
    for path, descending in sort.keys:
        direction = " DESC" if descending else ""
        if path.root in COLUMNS:
            terms.append(path.root + direction)
            continue
        known = _known_of(path, filter)
        rank = rank_of(known.operand) if known is not None and known.operator in _ONE_RANK else None
        if rank in (NULL, BOOLEAN, NUMBER):
            terms += [number_sql(path) + direction, start_sql(path) + direction]
            continue
        if rank is None:
            if descending and known is None:
                terms.append(f"({rank_sql(path)} = {MISSING})")
            terms += [rank_sql(path) + direction, number_sql(path) + direction]
        terms += [start_sql(path) + direction, whole_sql(path) + direction]
    return ", ".join([*terms, "key"])


def _known_of(path: FieldPath, filter: Filter | None) -> Comparison | None:
    """A comparison that every match meets with a field that is there; one that fixes its rank, if there is one."""
    if isinstance(filter, And):
        found = [known for part in filter.parts if (known := _known_of(path, part)) is not None]
        return next((known for known in found if known.operator in _ONE_RANK), found[0] if found else None)
    if (
        not isinstance(filter, Comparison)
        or filter.path != path
        or (filter.operator == "exists" and not filter.operand)
    ):
        return None
    return filter
