"""What a memory must meet beside lying in the range that is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import InvalidInput, InvalidValue
from ...filters import identity
from .plain_json import check_object
from .records import Memory

Condition = Callable[[Memory], bool]


def field_is(name: str, value: str) -> Condition:
    """Whether a field of the memory is that."""
    return lambda memory: getattr(memory, name) == value


def conditions_of(unique: bool, metadata: Mapping[str, Any] | None, text: str | None) -> list[Condition]:
    found: list[Condition] = []
    if not isinstance(unique, bool):
        raise InvalidInput("unique is true or false")
    if unique:
        found.append(lambda memory: memory.unique is not False)
    if metadata:
        found.append(metadata_condition(metadata))
    if text is not None:
        if not isinstance(text, str):
            raise InvalidValue("text_contains is a string")
        part = text.casefold()
        if part.strip():
            found.append(lambda memory: part in (memory.text or "").casefold())
    return found


def metadata_condition(metadata: Mapping[str, Any]) -> Condition:
    """Whether a memory's metadata has all these top-level names with these values, equal as JSON."""
    wanted = {name: identity(value) for name, value in check_object(metadata, "metadata").items()}

    def holds(memory: Memory) -> bool:
        held = memory.metadata
        return all(name in held and identity(held[name]) == value for name, value in wanted.items())

    return holds
