"""The operators of filters: their names, their operands, and the test that each makes of a field that is there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final, Literal, cast, get_args

from .errors import InvalidFilter
from .values import copy_value, encode_json

Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "contains", "startsWith", "endsWith", "in", "nin", "exists"]

#: Operators as they may be spelled.
OPERATOR_NAMES: Final[dict[str, Operator]] = {
    **{name: name for name in get_args(Operator)},
    "starts_with": "startsWith",
    "ends_with": "endsWith",
    "not_in": "nin",
}


def identity(value: Any) -> Hashable:
    """A key that two JSON values share exactly when they are equal as JSON."""
    kind = value.__class__
    if kind is bool:
        return ("bool", value)
    if kind is list:
        return ("list", tuple(map(identity, value)))
    if kind is dict:
        return ("dict", frozenset((name, identity(member)) for name, member in value.items()))
    return cast(Hashable, value)  # None, numbers and strings: Python compares them as JSON does


def check_operand(operator: Operator, operand: Any) -> Any:
    """The operand in its normal form. Raises InvalidFilter, or InvalidValue for what is no JSON data."""
    if operator not in TESTS:
        raise InvalidFilter(f"unknown operator {operator!r}")
    if operator == "exists":
        if operand.__class__ is not bool:
            raise InvalidFilter(f"exists takes true or false, not {type(operand).__name__}")
        return operand
    if operator in ("in", "nin"):
        if isinstance(operand, (str, bytes, bytearray, Mapping)) or not isinstance(operand, Iterable):
            raise InvalidFilter(f"{operator} takes a list, not {type(operand).__name__}")
        return [_check_value(member) for member in operand]
    if operator in ("startsWith", "endsWith") and operand.__class__ is not str:
        raise InvalidFilter(f"{operator} takes a string, not {type(operand).__name__}")
    return _check_value(operand)


def _check_value(operand: Any) -> Any:
    """The operand, shared with nobody who might change it. Raises InvalidValue."""
    encode_json(operand)
    return copy_value(operand) if operand.__class__ in (list, dict) else operand


def _equal(operand: Any) -> Callable[[Any], bool]:
    wanted = identity(operand)
    return lambda found: identity(found) == wanted


def _one_of(operands: list[Any]) -> Callable[[Any], bool]:
    wanted = frozenset(map(identity, operands))
    return lambda found: identity(found) in wanted


def _negated(make: Callable[[Any], Callable[[Any], bool]]) -> Callable[[Any], Callable[[Any], bool]]:
    def negated(operand: Any) -> Callable[[Any], bool]:
        test = make(operand)
        return lambda found: not test(found)

    return negated


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[Any], Callable[[Any], bool]]:
    def ordered(operand: Any) -> Callable[[Any], bool]:
        kinds = (str,) if operand.__class__ is str else (int, float) if operand.__class__ in (int, float) else ()
        return lambda found: found.__class__ in kinds and holds(found, operand)

    return ordered


def _contains(operand: Any) -> Callable[[Any], bool]:
    wanted = identity(operand)

    def contains(found: Any) -> bool:
        if found.__class__ is list:
            return any(identity(member) == wanted for member in found)
        return found.__class__ is str and operand.__class__ is str and operand in found

    return contains


#: From a checked operand to the test of a field that is there.
TESTS: Final[dict[str, Callable[[Any], Callable[[Any], bool]]]] = {
    "eq": _equal,
    "ne": _negated(_equal),
    "gt": _ordered(lambda found, operand: found > operand),
    "gte": _ordered(lambda found, operand: found >= operand),
    "lt": _ordered(lambda found, operand: found < operand),
    "lte": _ordered(lambda found, operand: found <= operand),
    "contains": _contains,
    "startsWith": lambda operand: lambda found: found.__class__ is str and found.startswith(operand),
    "endsWith": lambda operand: lambda found: found.__class__ is str and found.endswith(operand),
    "in": _one_of,
    "nin": _negated(_one_of),
    "exists": lambda operand: lambda _: operand,
}
