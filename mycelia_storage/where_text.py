"""Filters as text, for command lines: ``FIELD OPERATOR OPERAND``.

=====================================  ===================================
``speaker = "Melanie"``                also ``==``, ``eq``
``age != null``                        also ``<>``, ``ne``
``session >= 5``                       and ``> < <=``, ``gt gte lt lte``
``name contains "x"``
``name startsWith Mel``                also ``starts_with``
``name endsWith "ie"``                 also ``ends_with``
``tag in ["a", "b"]``                  and ``nin``, ``not_in``, ``not in``
``x exists``                           also ``x exists true|false``
=====================================  ===================================

The operand is JSON; a single word that is no JSON is a string. Word operators may be in any case. A field name with
spaces or one of ``= ! < >`` is quoted: ``["my field"] = 1`` (:mod:`mycelia_storage.field_paths`).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from .errors import InvalidFilter
from .field_paths import parse_path
from .filters import Comparison, Filter
from .operators import OPERATOR_NAMES, Operator

_FIELD: Final = re.compile(r'(?:\["(?:[^"\\]|\\.)*"\]|[^\s=!<>])+')
_SIGN: Final = re.compile(r"==|=|!=|<>|>=|<=|>|<")
_WORD: Final = re.compile(r"not\s+in\b|\w+", re.IGNORECASE)
_SIGNS: Final[dict[str, Operator]] = {
    "=": "eq",
    "==": "eq",
    "!=": "ne",
    "<>": "ne",
    ">": "gt",
    ">=": "gte",
    "<": "lt",
    "<=": "lte",
}
_WORDS: Final[dict[str, Operator]] = {name.lower(): operator for name, operator in OPERATOR_NAMES.items()}


def parse_where(text: str) -> Filter:
    """The filter that ``text`` spells. Raises InvalidFilter, or InvalidValue for an operand out of range.

    >>> parse_where("session >= 5")
    Comparison(path=FieldPath(root='value', segments=('session',)), operator='gte', operand=5)
    """
    rest = text.strip()
    field = _FIELD.match(rest)
    if field is None:
        raise InvalidFilter("a filter begins with a field: FIELD OPERATOR VALUE")
    path = parse_path(field[0])
    rest = rest[field.end() :].lstrip()
    found = _SIGN.match(rest) or _WORD.match(rest)
    name = "_".join(found[0].lower().split()) if found else ""
    operator = _SIGNS.get(name) or _WORDS.get(name)
    if found is None or operator is None:
        known = " ".join([*_SIGNS, *OPERATOR_NAMES])
        raise InvalidFilter(f"after field {field[0][:80]!r} comes an operator, one of {known}")
    rest = rest[found.end() :].strip()
    if operator == "exists" and not rest:
        return Comparison(path, operator, True)
    return Comparison(path, operator, _parse_operand(rest, f"{field[0][:80]} {found[0]}"))


def _parse_operand(operand: str, before: str) -> Any:
    if not operand:
        raise InvalidFilter(f"after {before!r} comes a value")
    try:
        return json.loads(operand, parse_constant=_refuse)
    except (ValueError, RecursionError):
        pass
    if operand[0] in "\"'[{=!<>" or len(operand.split()) > 1:
        raise InvalidFilter(f"after {before!r} comes JSON or a single word: put double quotes around a text")
    return operand


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
