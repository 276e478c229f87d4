"""The ranks of JSON types: the order of values of different types in sorts and indexes."""

from __future__ import annotations

from typing import Any

NULL, BOOLEAN, NUMBER, STRING, CONTAINER, MISSING = range(6)


def rank_of(value: Any) -> int:
    """The rank of a value that is there; lists and objects share one."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, (int, float)):
        return NUMBER
    return STRING if isinstance(value, str) else CONTAINER
