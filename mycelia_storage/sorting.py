"""Sort orders of query results.

Across types: null, booleans, numbers, strings, the rest; missing fields last in both directions; ties by key,
ascending. Strings order by their UTF-8 bytes, lists and objects by those of their compact JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import orjson

from . import ranks
from .errors import InvalidFilter
from .field_paths import MISSING, EntryLike, FieldPath, parse_path
from .ranks import rank_of

E = TypeVar("E", bound=EntryLike)

_RANKS: Final[dict[type, int]] = {kind: rank_of(kind()) for kind in (bool, int, float, str, list, dict)} | {
    type(None): rank_of(None)
}


class SortKey(NamedTuple):
    """One field to sort by."""

    path: FieldPath
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Sort:
    """Fields to sort by, the most significant first; false when there are none."""

    keys: tuple[SortKey, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keys)

    def sorted(self, entries: Iterable[E]) -> list[E]:
        """The entries in this order; without keys in key order."""
        found = sorted(entries, key=lambda entry: entry.key)
        for path, descending in reversed(self.keys):  # each pass is stable, also in reverse
            missing = (-1 if descending else ranks.MISSING, None)
            found.sort(key=lambda entry: _place(path.read(entry), missing), reverse=descending)
        return found


#: What methods take as a sort: ``"age"``, ``"-age"``, ``("age", "desc")``, ``{"field": "age", "order": "desc"}``, or a
#: list of those. None and an empty list mean key order.
SortInput = str | tuple[Any, ...] | Mapping[str, Any] | list[Any] | Sort


def parse_sort(sort: SortInput | None) -> Sort:
    """The sort of any spelling. Raises InvalidFilter."""
    if isinstance(sort, Sort):
        return sort
    if sort is None:
        return Sort()
    if isinstance(sort, list) or (isinstance(sort, tuple) and not any(isinstance(part, str) for part in sort)):
        return Sort(tuple(map(_parse_key, sort)))
    return Sort((_parse_key(sort),))


def _parse_key(given: Any) -> SortKey:
    if isinstance(given, SortKey):
        return given
    if isinstance(given, str):
        descending = given.startswith("-")
        return SortKey(parse_path(given[1:] if descending else given), descending)
    if isinstance(given, tuple) and len(given) == 2:
        return SortKey(parse_path(given[0]), _is_descending(given[1]))
    if isinstance(given, Mapping) and "field" in given and set(given) <= {"field", "order"}:
        return SortKey(parse_path(given["field"]), _is_descending(given.get("order", "asc")))
    raise InvalidFilter(
        f'a sort is a path, "-path", (path, "desc"), {{"field", "order"}} or a list of those: {given!r}'
    )


def _is_descending(order: object) -> bool:
    if isinstance(order, str) and order.lower() in ("asc", "desc"):
        return order.lower() == "desc"
    raise InvalidFilter(f'a sort order is "asc" or "desc", not {order!r}')


def _place(found: Any, missing: tuple[int, None]) -> tuple[int, Any]:
    if found is MISSING:
        return missing
    rank = _RANKS[found.__class__]
    # Code points order as UTF-8 bytes do. Nulls carry the same second part, so it is never compared unequal.
    return (rank, _json_bytes(found) if rank == ranks.CONTAINER else found)


def _json_bytes(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a file of the original may hold lone surrogates
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
