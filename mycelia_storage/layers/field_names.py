"""Filters of a layer: its own field names, turned into the paths of the entries that a search looks at."""

from __future__ import annotations

from collections.abc import Callable

from ..field_paths import FieldPath
from ..filters import And, Comparison, Filter, FilterInput, Not, Or, parse_filter

Rename = Callable[[FieldPath], FieldPath]


def rename_fields(filter: FilterInput | None, rename: Rename) -> Filter | None:
    """The filter with every path replaced by what ``rename`` makes of it. Raises InvalidFilter, InvalidValue."""
    condition = parse_filter(filter)
    return None if condition is None else _renamed(condition, rename)


def _renamed(filter: Filter, rename: Rename) -> Filter:
    if isinstance(filter, Comparison):
        return Comparison(rename(filter.path), filter.operator, filter.operand)
    if isinstance(filter, Not):
        return Not(_renamed(filter.part, rename))
    if isinstance(filter, And):
        return And(tuple(_renamed(part, rename) for part in filter.parts))
    if isinstance(filter, Or):
        return Or(tuple(_renamed(part, rename) for part in filter.parts))
    return filter


def metadata_field(path: FieldPath) -> FieldPath:
    """A bare name means a field of the metadata; ``$key``, times and ``$metadata`` stay what they are."""
    return FieldPath("metadata", path.segments) if path.root == "value" and path.segments else path
