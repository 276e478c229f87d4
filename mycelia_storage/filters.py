"""The filter language. :func:`match` is its meaning, which every backend must agree with.

Three spellings of one filter::

    where("age") >= 18                                        (where("a") == 1) & ~(where("b") == 2)
    {"field": "age", "operator": "gte", "value": 18}          [{...}, {...}] means all of them
    Comparison(parse_path("age"), "gte", 18)                  And, Or, Not

=======================  ==================================  ======================================================
operator                 ``where(field)``                    holds when the field
=======================  ==================================  ======================================================
eq ne                    ``== !=``                           is (is not) equal, compared as JSON
gt gte lt lte            ``> >= < <=``                       is on that side; two numbers or two strings
contains                 ``.contains(x)``                    is a list with that member, or a string with that part
startsWith endsWith      ``.starts_with(x) .ends_with(x)``   is a string that starts (ends) so, case-sensitive
in nin                   ``.is_in(xs) .not_in(xs)``          is (is not) one of these, compared as JSON
exists                   ``.exists() .exists(False)``        is there (is not there)
=======================  ==================================  ======================================================

A missing field meets nothing but ``exists: false``, so ``ne`` and ``nin`` want a field that is there. ``~`` is the
plain boolean not. Equality as JSON: ints and floats by value and exactly, ``true`` is not 1, ``"5"`` is not 5, null
equals only null, lists and objects deeply, whatever the order of the object's names. Strings order by their UTF-8
bytes.
Fields are paths: :mod:`mycelia_storage.field_paths`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NoReturn, get_args

from .errors import InvalidFilter
from .field_paths import MISSING, EntryLike, FieldPath, PathInput, parse_path
from .operators import OPERATOR_NAMES, TESTS, Operator, check_operand, identity
from .sorting import Sort, SortInput, SortKey, parse_sort

__all__ = [
    "And",
    "Comparison",
    "Field",
    "Filter",
    "FilterInput",
    "Not",
    "Operator",
    "Or",
    "Sort",
    "SortInput",
    "SortKey",
    "identity",
    "key_prefix_of",
    "match",
    "merge_equalities",
    "parse_filter",
    "parse_sort",
    "split_key_prefix",
    "where",
]

#: How deep filters may nest. A chain of ``&`` or of ``|`` is one level.
MAX_DEPTH: Final = 200


@dataclass(frozen=True)
class Filter:
    """A condition on entries: a :class:`Comparison`, or :class:`And`, :class:`Or`, :class:`Not` of filters."""

    def __and__(self, other: Filter) -> Filter:
        return And((*_parts(self, And), *_parts(other, And))) if isinstance(other, Filter) else NotImplemented

    def __or__(self, other: Filter) -> Filter:
        return Or((*_parts(self, Or), *_parts(other, Or))) if isinstance(other, Filter) else NotImplemented

    def __invert__(self) -> Filter:
        return Not(self)

    def __bool__(self) -> NoReturn:
        raise InvalidFilter("a filter has no truth value: join filters with &, | and ~, each in parentheses")

    def _holds(self, entry: EntryLike) -> bool:
        raise NotImplementedError


@dataclass(frozen=True)
class And(Filter):
    """All of the parts; without parts it always holds."""

    parts: tuple[Filter, ...]
    depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _set_depth(self, self.parts)

    def _holds(self, entry: EntryLike) -> bool:
        return all(part._holds(entry) for part in self.parts)


@dataclass(frozen=True)
class Or(Filter):
    """Any of the parts; without parts it never holds."""

    parts: tuple[Filter, ...]
    depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _set_depth(self, self.parts)

    def _holds(self, entry: EntryLike) -> bool:
        return any(part._holds(entry) for part in self.parts)


@dataclass(frozen=True)
class Not(Filter):
    """The opposite of ``part``."""

    part: Filter
    depth: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _set_depth(self, (self.part,))

    def __invert__(self) -> Filter:
        return self.part

    def _holds(self, entry: EntryLike) -> bool:
        return not self.part._holds(entry)


@dataclass(frozen=True)
class Comparison(Filter):
    """One operator on one field. ``operand`` is a list for in and nin, a bool for exists.

    Raises InvalidFilter for an operand that the operator cannot take, InvalidValue for one that is no JSON data.
    """

    path: FieldPath
    operator: Operator
    operand: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "operand", check_operand(self.operator, self.operand))

    @cached_property
    def _test(self) -> Callable[[Any], bool]:
        return TESTS[self.operator](self.operand)

    def _holds(self, entry: EntryLike) -> bool:
        found = self.path.read(entry)
        if found is MISSING:
            return self.operator == "exists" and not self.operand
        return self._test(found)


#: What methods take as a filter. A list means all of its members; None and an empty list filter nothing.
FilterInput = Filter | Mapping[str, Any] | list[Any]


class Field:
    """A field to compare: ``where("age") >= 18``."""

    __slots__ = ("path",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, path: FieldPath) -> None:
        self.path = path

    def __eq__(self, operand: object) -> Filter:  # type: ignore[override]
        return Comparison(self.path, "eq", operand)

    def __ne__(self, operand: object) -> Filter:  # type: ignore[override]
        return Comparison(self.path, "ne", operand)

    def __gt__(self, operand: Any) -> Filter:
        return Comparison(self.path, "gt", operand)

    def __ge__(self, operand: Any) -> Filter:
        return Comparison(self.path, "gte", operand)

    def __lt__(self, operand: Any) -> Filter:
        return Comparison(self.path, "lt", operand)

    def __le__(self, operand: Any) -> Filter:
        return Comparison(self.path, "lte", operand)

    def contains(self, operand: Any) -> Filter:
        """A list with this member, or a string with this part."""
        return Comparison(self.path, "contains", operand)

    def starts_with(self, operand: str) -> Filter:
        """A string that starts with this one."""
        return Comparison(self.path, "startsWith", operand)

    def ends_with(self, operand: str) -> Filter:
        """A string that ends with this one."""
        return Comparison(self.path, "endsWith", operand)

    def is_in(self, operands: Iterable[Any]) -> Filter:
        """Equal to one of these."""
        return Comparison(self.path, "in", operands)

    def not_in(self, operands: Iterable[Any]) -> Filter:
        """There, and equal to none of these."""
        return Comparison(self.path, "nin", operands)

    def exists(self, wanted: bool = True) -> Filter:
        """Whether the field is there; null counts as there."""
        return Comparison(self.path, "exists", wanted)

    def __bool__(self) -> NoReturn:
        raise InvalidFilter("a field has no truth value: compare it, and join filters with & and |; no a < field < b")

    def __contains__(self, _: object) -> NoReturn:
        raise InvalidFilter("write where(...).contains(x) or where(...).is_in([...])")

    def __repr__(self) -> str:
        return f"where({str(self.path)!r})"


def where(path: PathInput) -> Field:
    """The field at ``path``, to be compared. A tuple is taken literally. Raises InvalidFilter.

    >>> where("user.age") >= 18
    Comparison(path=FieldPath(root='value', segments=('user', 'age')), operator='gte', operand=18)
    """
    return Field(parse_path(path))


_KEY: Final = parse_path("$key")


def match(filter: Filter, entry: EntryLike) -> bool:
    """Whether ``entry`` meets ``filter``: the definition of every operator."""
    return filter._holds(entry)


def parse_filter(filter: FilterInput | None) -> Filter | None:
    """The filter of any spelling; None for None and for lists without content. Raises InvalidFilter, InvalidValue."""
    return None if filter is None else _parse(filter, 1)


def key_prefix_of(filter: Filter | None) -> str:
    """A prefix that the key of every match has, "" for none: what to scan instead of everything.

    >>> key_prefix_of((where("$key").starts_with("room-7/")) & (where("unread") == True))
    'room-7/'
    """
    if isinstance(filter, And):
        return max((key_prefix_of(part) for part in filter.parts), key=len, default="")
    if isinstance(filter, Comparison) and filter.operator == "startsWith" and filter.path == _KEY:
        prefix: str = filter.operand
        return prefix
    return ""


def split_key_prefix(filter: Filter) -> tuple[Filter | None, Filter | None]:
    """The condition on the beginning of keys that a filter demands, and what else it demands; None for neither.

    >>> split_key_prefix(where("$key").starts_with("a") & (where("b") == 1))[1]
    Comparison(path=FieldPath(root='value', segments=('b',)), operator='eq', operand=1)
    """
    if not isinstance(filter, And):
        return (filter, None) if key_prefix_of(filter) else (None, filter)
    by_key = max(filter.parts, key=lambda part: len(key_prefix_of(part)), default=None)
    if by_key is None or not isinstance(by_key, Comparison) or not key_prefix_of(by_key):
        return None, filter
    rest = tuple(part for part in filter.parts if part is not by_key)
    return by_key, None if not rest else rest[0] if len(rest) == 1 else And(rest)


def merge_equalities(parts: Iterable[Filter]) -> list[Filter]:
    """The parts of an OR, with all that compare one field for equality made one ``in``: one look into an index."""
    operands: dict[FieldPath, list[Any]] = {}
    rest: list[Filter] = []
    for part in parts:
        if isinstance(part, Comparison) and part.operator in ("eq", "in"):
            operands.setdefault(part.path, []).extend([part.operand] if part.operator == "eq" else part.operand)
        else:
            rest.append(part)
    return [*rest, *(Comparison(path, "in", members) for path, members in operands.items())]


def _parse(given: object, depth: int) -> Filter | None:
    if isinstance(given, Filter):
        return given
    if isinstance(given, Mapping):
        return _parse_mapping(given)
    if isinstance(given, (list, tuple)):
        if depth > MAX_DEPTH:
            raise InvalidFilter(f"filters nest at most {MAX_DEPTH} deep")
        parts = [part for member in given if (part := _parse(member, depth + 1)) is not None]
        return None if not parts else parts[0] if len(parts) == 1 else And(tuple(parts))
    if isinstance(given, Field):
        raise InvalidFilter(f"{given!r} is a field, not a filter: compare it with something")
    raise InvalidFilter(f"a filter is where(...) compared, a mapping, or a list of those, not {type(given).__name__}")


def _parse_mapping(given: Mapping[Any, Any]) -> Filter:
    unknown = [name for name in given if name not in ("field", "operator", "value")]
    if unknown or "field" not in given or "operator" not in given:
        raise InvalidFilter(f"a filter has field, operator and value, not {list(given)!r}")
    name = given["operator"]
    operator = OPERATOR_NAMES.get(name) if isinstance(name, str) else None
    if operator is None:
        raise InvalidFilter(f"unknown operator {name!r}; known are {', '.join(get_args(Operator))}")
    if "value" not in given and operator != "exists":
        raise InvalidFilter(f"operator {operator} needs a value")
    return Comparison(parse_path(given["field"]), operator, given.get("value", True))


def _parts(filter: Filter, kind: type[And] | type[Or]) -> tuple[Filter, ...]:
    return filter.parts if isinstance(filter, kind) else (filter,)


def _set_depth(filter: Filter, parts: tuple[Filter, ...]) -> None:
    if not all(isinstance(part, Filter) for part in parts):
        raise InvalidFilter(f"the parts of {type(filter).__name__} are filters")
    depth = 1 + max((getattr(part, "depth", 1) for part in parts), default=0)
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"filters nest at most {MAX_DEPTH} deep")
    object.__setattr__(filter, "depth", depth)
