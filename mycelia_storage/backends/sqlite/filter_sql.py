"""Filters and sorts as SQL over ``storage_entries``. Text only: nothing here runs it.

The one place that builds conditions. A statement built from here must read from ``storage_entries`` without an alias.
:mod:`.field_sql` has RANK and VALUE, the two expressions of a field.

Every condition is 0 or 1, never NULL: VALUE is NULL only under ranks for which RANK gives 0, and NULL AND 0 is 0. The
comparison of VALUE comes first, so that a row without an index mostly costs one look into its JSON.
What SQL cannot decide (lists and objects as operands, names with NUL) is bounded from both sides: ``sub`` holds only
where the filter holds, ``sup`` wherever it holds. ``NOT`` swaps the two, so the whole condition is a superset of the
answer, and ``exact`` says whether it is the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ...field_paths import FieldPath
from ...filters import And, Comparison, Filter, Not, Operator, Or, Sort, SortKey, merge_equalities
from ...patterns import prefix_end
from ...ranks import BOOLEAN, CONTAINER, MISSING, NULL, NUMBER, STRING, rank_of
from ...values import encode_json
from .field_sql import (
    COLUMNS,
    create_index_sql,
    document_sql,
    index_columns,
    is_visible,
    json_path_sql,
    quote,
    rank_sql,
    value_sql,
)

__all__ = ["Compiled", "compile_query", "create_index_sql", "index_columns"]

#: SQLite's limits are 1,000 levels, 1,000,000 bytes and 32,766 parameters; past these the caller filters alone.
_MAX_LEVELS: Final = 800
_MAX_BYTES: Final = 500_000
_MAX_PARAMS: Final = 20_000

#: More operands than this go in as one JSON array.
_MAX_LISTED: Final = 50

# Without statistics SQLite takes a namespace for ten rows and then never looks at a field's index. At one half it uses
# every index that serves, and still reads a namespace without one through UNIQUE (namespace, key), not the whole table.
_LIKELIHOOD: Final = 0.5

#: Operators and operands whose SQL is the same for every operand of the type, which is then its one parameter.
_PLAIN_OPERATORS: Final = frozenset({"eq", "gt", "gte", "lt", "lte"})
_PLAIN_OPERANDS: Final[dict[type, Any]] = {str: "", int: 0}
_MOST_PLAIN: Final = 8

#: Operators that hold for fields of one rank only; then VALUE alone is the order.
_ONE_RANK: Final = ("eq", "gt", "gte", "lt", "lte", "startsWith", "endsWith")
_SIGNS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Compiled(NamedTuple):
    """A query. ``exact``: no entry passes that does not match; ``sort_exact``: the order is the sort's."""

    where_sql: str
    params: tuple[Any, ...]
    order_sql: str
    exact: bool
    sort_exact: bool


class Sql(NamedTuple):
    """A piece of SQL with its parameters and the height of its expression tree."""

    text: str
    params: tuple[Any, ...] = ()
    levels: int = 8


class Bounds(NamedTuple):
    """``sub`` implies the filter, the filter implies ``sup``."""

    sub: Sql
    sup: Sql


TRUE: Final = Sql("1", levels=1)
FALSE: Final = Sql("0", levels=1)
UNKNOWN: Final = Bounds(FALSE, TRUE)


def compile_query(filter: Filter | None, sort: Sort, namespace: str) -> Compiled:
    """WHERE and ORDER BY of a query in one namespace.

    The usual filter, a few scalars compared, is compiled once for all operands of their types.
    """
    parts = filter.parts if isinstance(filter, And) else (filter,)
    outline: list[tuple[FieldPath, Operator, type]] = []
    operands = []
    for part in parts:
        if part.__class__ is not Comparison or len(outline) == _MOST_PLAIN:
            return _compile(filter, sort, namespace)
        operand, path, operator = part.operand, part.path, part.operator
        if operand.__class__ not in _PLAIN_OPERANDS or operator not in _PLAIN_OPERATORS or path.root in COLUMNS:
            return _compile(filter, sort, namespace)
        outline.append((path, operator, operand.__class__))
        operands.append(operand)
    compiled = _compile_outline(tuple(outline), sort, namespace)
    if len(compiled.params) != len(operands):  # a field that SQL cannot see
        return _compile(filter, sort, namespace)
    return compiled._replace(params=tuple(operands))


@lru_cache(maxsize=512)
def _compile_outline(outline: tuple[tuple[FieldPath, Operator, type], ...], sort: Sort, namespace: str) -> Compiled:
    parts = tuple(Comparison(path, operator, _PLAIN_OPERANDS[kind]) for path, operator, kind in outline)
    return _compile(parts[0] if len(parts) == 1 else And(parts), sort, namespace)


def _compile(filter: Filter | None, sort: Sort, namespace: str) -> Compiled:
    where = f"likelihood(namespace = {quote(namespace)}, {_LIKELIHOOD})"
    params: tuple[Any, ...] = ()
    exact = True
    if filter is not None:
        sub, sup = _bounds(filter)
        exact = sub == sup
        if sup.levels > _MAX_LEVELS or len(sup.text) > _MAX_BYTES or len(sup.params) > _MAX_PARAMS:
            exact = False
        elif sup != TRUE:
            where, params = f"{where} AND {sup.text}", sup.params
    if sort:
        where += _any_value(sort.keys[0], filter)
    return Compiled(where, params, _order(sort, filter), exact, all(map(is_visible, (key.path for key in sort.keys))))


# -- conditions --------------------------------------------------------------------------------------------------------


def _bounds(filter: Filter) -> Bounds:
    if isinstance(filter, Not):
        sub, sup = _bounds(filter.part)
        return Bounds(_not(sup), _not(sub))
    if isinstance(filter, (And, Or)):
        join = _all if isinstance(filter, And) else _any
        parts = [
            _bounds(part) for part in (filter.parts if isinstance(filter, And) else merge_equalities(filter.parts))
        ]
        return Bounds(join([part.sub for part in parts]), join([part.sup for part in parts]))
    assert isinstance(filter, Comparison)
    return _comparison(filter) if is_visible(filter.path) else UNKNOWN


def _not(part: Sql) -> Sql:
    if part in (TRUE, FALSE):
        return FALSE if part == TRUE else TRUE
    return Sql(f"(NOT {part.text})", part.params, part.levels + 1)


def _all(parts: Sequence[Sql]) -> Sql:
    return FALSE if FALSE in parts else _join(" AND ", [part for part in parts if part != TRUE], TRUE)


def _any(parts: Sequence[Sql]) -> Sql:
    return TRUE if TRUE in parts else _join(" OR ", [part for part in parts if part != FALSE], FALSE)


def _join(sign: str, parts: list[Sql], empty: Sql) -> Sql:
    """The parts in a balanced tree, so that a thousand of them are ten levels."""
    while len(parts) > 1:
        parts = [_pair(sign, *parts[at : at + 2]) for at in range(0, len(parts), 2)]
    return parts[0] if parts else empty


def _pair(sign: str, first: Sql, second: Sql | None = None) -> Sql:
    if second is None:
        return first
    levels = 1 + max(first.levels, second.levels)
    return Sql(f"({first.text}{sign}{second.text})", first.params + second.params, levels)


def _has_rank(path: FieldPath, sign: str, rank: int) -> Sql:
    known = COLUMNS.get(path.root)
    if known is None:
        return Sql(f"{rank_sql(path)} {sign} {rank}")
    return TRUE if (known < rank if sign == "<" else known == rank) else FALSE


def _is(path: FieldPath, rank: int, condition: str, *params: Any) -> Sql:
    """The field has that rank, and ``condition`` holds of its VALUE, written ``{}`` in it."""
    return _all([Sql(condition.replace("{}", value_sql(path)), params), _has_rank(path, "=", rank)])


def _comparison(filter: Comparison) -> Bounds:
    return _COMPILERS[filter.operator](filter.path, filter.operator, filter.operand)


def _exactly(condition: Sql) -> Bounds:
    return Bounds(condition, condition)


def _equal(path: FieldPath, operator: str, operand: Any) -> Bounds:
    return _one_of(path, operator, [operand])


def _one_of(path: FieldPath, _: str, operands: list[Any]) -> Bounds:
    ranked: dict[int, list[Any]] = {}
    for operand in operands:
        if not _is_vague(operand):
            ranked.setdefault(rank_of(operand), []).append(operand)
    if path.root not in COLUMNS and NUMBER in ranked and STRING in ranked:
        # VALUE tells these two apart by itself, and an index serves this where it would not serve an OR.
        either = Sql(f"{rank_sql(path)} IN ({NUMBER}, {STRING})")
        sub = [_all([_equal_any(path, ranked.pop(NUMBER) + ranked.pop(STRING)), either])]
    else:
        sub = []
    for rank, members in ranked.items():
        of_rank = _has_rank(path, "=", rank)
        sub.append(of_rank if rank == NULL else _all([_equal_any(path, members), of_rank]))
    vague = {rank_of(operand) for operand in operands if _is_vague(operand)}
    return Bounds(_any(sub), _any([*sub, *(_has_rank(path, "=", rank) for rank in sorted(vague))]))


def _equal_any(path: FieldPath, operands: list[Any]) -> Sql:
    value = value_sql(path)
    if len(operands) == 1:
        return Sql(f"{value} = ?", (operands[0],))
    if len(operands) <= _MAX_LISTED:
        return Sql(f"{value} IN ({','.join('?' * len(operands))})", tuple(operands))
    return Sql(f"{value} IN (SELECT member.value FROM json_each(?) AS member)", (encode_json(operands),))


def _present_but(make: Callable[[FieldPath, str, Any], Bounds]) -> Callable[[FieldPath, str, Any], Bounds]:
    def compile(path: FieldPath, operator: str, operand: Any) -> Bounds:
        sub, sup = make(path, operator, operand)
        present = _has_rank(path, "<", MISSING)
        return Bounds(_all([present, _not(sup)]), _all([present, _not(sub)]))

    return compile


def _ordered(path: FieldPath, operator: str, operand: Any) -> Bounds:
    rank = rank_of(operand)
    if rank not in (NUMBER, STRING):
        return _exactly(FALSE)
    if _is_vague(operand):
        return Bounds(FALSE, _has_rank(path, "=", rank))
    return _exactly(_is(path, rank, f"{{}} {_SIGNS[operator]} ?", operand))


def _contains(path: FieldPath, _: str, operand: Any) -> Bounds:
    rank = rank_of(operand)
    if path.root in COLUMNS:
        return _exactly(_is(path, STRING, "instr({}, ?) > 0", operand) if rank == STRING else FALSE)
    if _is_vague(operand):
        return Bounds(FALSE, _has_rank(path, "=", CONTAINER))
    types = {NULL: "'null'", BOOLEAN: f"'{json.dumps(operand)}'", NUMBER: "'integer','real'", STRING: "'text'"}[rank]
    wanted = "" if rank in (NULL, BOOLEAN) else " AND member.value = ?"
    # Only lists number their members. CASE keeps what is no JSON from json_each, which AND would not promise.
    member = Sql(
        f"CASE WHEN {rank_sql(path)} = {CONTAINER} THEN EXISTS (SELECT 1"
        f" FROM json_each({document_sql(path, 'storage_entries.')},{json_path_sql(path)}) AS member"
        f" WHERE typeof(member.key) = 'integer' AND member.type IN ({types}){wanted}) ELSE 0 END",
        (operand,) if wanted else (),
    )
    substring = _is(path, STRING, "instr({}, ?) > 0", operand) if rank == STRING else FALSE
    return _exactly(_any([substring, member]))


def _starts_with(path: FieldPath, _: str, operand: str) -> Bounds:
    end = prefix_end(operand)
    if end is None:
        return _exactly(_is(path, STRING, "{} >= ?", operand))
    return _exactly(_all([_is(path, STRING, "{} >= ?", operand), Sql(f"{value_sql(path)} < ?", (end,))]))


def _ends_with(path: FieldPath, _: str, operand: str) -> Bounds:
    if not operand:
        return _exactly(_has_rank(path, "=", STRING))
    # As bytes, because substr of a text counts up to the first NUL; IS, because substr of no bytes is NULL.
    end = operand.encode()
    return _exactly(_is(path, STRING, f"substr(CAST({{}} AS BLOB), {-len(end)}) IS ?", end))


def _exists(path: FieldPath, _: str, operand: bool) -> Bounds:
    present = _has_rank(path, "<", MISSING)
    return _exactly(present if operand else _not(present))


_COMPILERS: Final[dict[str, Callable[[FieldPath, str, Any], Bounds]]] = {
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


def _is_vague(operand: Any) -> bool:
    """Whether SQL cannot compare with it as JSON does: ints from 2**63 on, written by the original, become REAL."""
    return isinstance(operand, (list, dict)) or (isinstance(operand, float) and abs(operand) >= 2**63)


# -- order -------------------------------------------------------------------------------------------------------------


def _order(sort: Sort, filter: Filter | None) -> str:
    terms = []
    for path, descending in sort.keys:
        direction = " DESC" if descending else ""
        operator = _operator_on(path, filter)
        if path.root not in COLUMNS and operator not in _ONE_RANK:
            if descending and operator is None:
                terms.append(f"{rank_sql(path)} = {MISSING}")
            terms.append(rank_sql(path) + direction)
        terms.append(value_sql(path) + direction)
    return ", ".join([*terms, "key"])


def _any_value(key: SortKey, filter: Filter | None) -> str:
    """A condition that always holds, on the first field of the sort: it lets an index on that field give the order."""
    path, descending = key
    if path.root == "key" or _operator_on(path, filter) is not None:
        return ""
    if path.root in COLUMNS:
        return f" AND {path.root} >= {-(2**63)}"
    return "" if descending else f" AND {rank_sql(path)} <= {MISSING}"


def _operator_on(path: FieldPath, filter: Filter | None) -> str | None:
    """An operator that every match meets with a field that is there; one that fixes its rank, if there is one."""
    if isinstance(filter, And):
        found = [operator for part in filter.parts if (operator := _operator_on(path, part)) is not None]
        return next((operator for operator in found if operator in _ONE_RANK), found[0] if found else None)
    if (
        not isinstance(filter, Comparison)
        or filter.path != path
        or (filter.operator == "exists" and not filter.operand)
    ):
        return None
    return "exists" if filter.operator == "eq" and rank_of(filter.operand) == CONTAINER else filter.operator
