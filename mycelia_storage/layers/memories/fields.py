"""The names in filters on memories, and where the entries of a memory and of its vectors hold them.

``speaker``, ``subject``, ``conversation``, ``session``, ``source``, ``created_at`` and ``text`` are the memory's own;
every other bare name is a field of its metadata, as is ``$metadata.speaker``.
"""

from __future__ import annotations

from typing import Any, Final

from ...contract import Entry
from ...errors import InvalidFilter
from ...field_paths import FieldPath
from ...filters import And, Comparison, Filter, FilterInput, where
from ..field_names import metadata_field, rename_fields
from .records import milliseconds

#: What an entry of a vector repeats in its metadata.
REPEATED: Final = ("speaker", "subject", "conversation", "session", "source", "created_at")

_OWN: Final = frozenset({*REPEATED, "text"})


class _NotRepeated(Exception):
    pass


def memory_filter(
    filter: FilterInput | None,
    since: Any = None,
    until: Any = None,
    conversation: str | None = None,
    session: str | int | None = None,
    subject: str | None = None,
) -> Filter | None:
    """All conditions of a search as one filter on the entries of memories; None for none. ``since`` is inclusive."""
    parts: list[Filter] = []
    for name, value in (("conversation", conversation), ("session", session), ("subject", subject)):
        if value is not None:
            parts.append(where(name) == value)
    if since is not None:
        parts.append(where("created_at") >= milliseconds(since, "since"))
    if until is not None:
        parts.append(where("created_at") < milliseconds(until, "until"))
    given = rename_fields(filter, _of_memory)
    if given is not None:
        parts.extend(given.parts if isinstance(given, And) else [given])
    return None if not parts else parts[0] if len(parts) == 1 else And(tuple(parts))


def vector_filter(filter: Filter | None) -> tuple[bool, Filter | None]:
    """The same filter on the entries of vectors; (False, None) if it asks for what they do not repeat."""
    try:
        return True, rename_fields(filter, _of_vector)
    except _NotRepeated:
        return False, None


def conditions(filter: Filter | None) -> list[Filter]:
    """The parts of a filter that must hold each."""
    return [] if filter is None else list(filter.parts) if isinstance(filter, And) else [filter]


def describe(filter: Filter) -> str:
    """A condition in words."""
    return f"{filter.path} {filter.operator} {filter.operand!r}" if isinstance(filter, Comparison) else repr(filter)


def repeated(entry: Entry) -> dict[str, Any]:
    """The metadata of a vector of this memory."""
    kept = {name: entry.value[name] for name in REPEATED if name in entry.value}
    return {**kept, "metadata": entry.metadata}


def _of_memory(path: FieldPath) -> FieldPath:
    if path.root == "value":
        if not path.segments:
            raise InvalidFilter(
                "a filter on memories names fields: text, speaker, conversation or those of the metadata"
            )
        return path if path.segments[0] in _OWN else metadata_field(path)
    return path


def _of_vector(path: FieldPath) -> FieldPath:
    if path.root == "key":
        return path
    if path.root == "metadata":
        return FieldPath("metadata", ("metadata", *path.segments))
    if path.root == "value" and path.segments[0] in REPEATED:
        return FieldPath("metadata", path.segments)
    raise _NotRepeated
