"""Patches of a component's data: ``{"op": set | push | remove | increment, "path": ..., "value": ...}``.

A path is names of letters, digits and ``_`` joined by dots; later segments may be positions in a list.

=========  ==================================================================================
set        puts the value there; objects on the way are made
push       appends to the list there; makes one where nothing is
increment  adds to the number there, 1 unless a value is given; nothing there counts as 0
remove     takes away what is there, if anything is
=========  ==================================================================================

An operation that the data does not take raises InvalidInput; all of a call's operations happen, or none.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final, NamedTuple

from ...errors import InvalidInput
from .plain_json import clean_json

_PATH: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+))*")
_OPERATIONS: Final = ("set", "push", "remove", "increment")
_MISSING: Final = object()


class Operation(NamedTuple):
    """One operation, read."""

    op: str
    path: tuple[str | int, ...]
    value: Any


def check_patch(operations: Any) -> list[Operation]:
    """The operations, read. Raises InvalidInput."""
    if isinstance(operations, str | Mapping) or not isinstance(operations, Iterable):
        raise InvalidInput("ops is a list of operations")
    return [_read(operation) for operation in operations]


def _read(given: Any) -> Operation:
    if not isinstance(given, Mapping) or given.get("op") not in _OPERATIONS or given.keys() - {"op", "path", "value"}:
        raise InvalidInput(f"an operation has op ({', '.join(_OPERATIONS)}), path and value")
    path = given.get("path")
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise InvalidInput("the path of an operation is names joined by dots, later ones also positions in a list")
    op = str(given["op"])
    value = given.get("value", 1 if op == "increment" else None)
    if op == "increment" and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise InvalidInput(f"increment of {path} takes a number")
    if op in ("set", "push") and "value" not in given:
        raise InvalidInput(f"{op} of {path} takes a value")
    segments = tuple(int(part) if part.isdecimal() else part for part in path.split("."))
    return Operation(op, segments, clean_json(value, "value"))


def apply_patch(data: dict[str, Any], operations: Iterable[Operation]) -> dict[str, Any]:
    """The data after the operations; the argument stays as it is. Raises InvalidInput.

    >>> before = {"wallet": {"balance": 10}, "tags": ["a"]}
    >>> apply_patch(before, check_patch([{"op": "increment", "path": "wallet.balance", "value": 5}]))
    {'wallet': {'balance': 15}, 'tags': ['a']}
    """
    changed = copy.deepcopy(data)
    for operation in operations:
        _apply(changed, operation)
    return changed


def _apply(data: dict[str, Any], operation: Operation) -> None:
    op, path, value = operation
    shown = ".".join(map(str, path))
    holder: Any = data
    for segment, following in pairwise(path):
        inner = _read_at(holder, segment)
        if inner is _MISSING:
            if op == "remove":
                return
            if isinstance(following, int):
                raise InvalidInput(f"{op} of {shown}: there is no list to count in")
            inner = {}
            _write_at(holder, segment, inner, shown)
        holder = inner
    last = path[-1]
    held = _read_at(holder, last)
    if op == "remove":
        if held is not _MISSING:
            del holder[last]
    elif op == "set":
        _write_at(holder, last, value, shown)
    elif op == "push":
        if held is not _MISSING and not isinstance(held, list):
            raise InvalidInput(f"push of {shown}: what is there is no list")
        _write_at(holder, last, [*(held if isinstance(held, list) else []), value], shown)
    else:
        if held is not _MISSING and (not isinstance(held, int | float) or isinstance(held, bool)):
            raise InvalidInput(f"increment of {shown}: what is there is no number")
        _write_at(holder, last, (0 if held is _MISSING else held) + value, shown)


def _read_at(holder: Any, segment: str | int) -> Any:
    if isinstance(holder, dict) and isinstance(segment, str):
        return holder.get(segment, _MISSING)
    if isinstance(holder, list) and isinstance(segment, int) and segment < len(holder):
        return holder[segment]
    return _MISSING


def _write_at(holder: Any, segment: str | int, value: Any, shown: str) -> None:
    if isinstance(holder, dict) and isinstance(segment, str):
        holder[segment] = value
    elif isinstance(holder, list) and isinstance(segment, int) and segment <= len(holder):
        holder[segment : segment + 1] = [value]
    else:
        raise InvalidInput(f"{shown} leads through what is neither an object nor a list that long")
