"""Field paths: which part of an entry a filter, a sort or an index looks at.

=====================  =====================================================================
written                means
=====================  =====================================================================
``user.name``          member ``name`` of member ``user`` of the value
``a["b.c"]``           a literal name, as a JSON string
``tags[0] tags[-1]``   a member of a list, counted from its start or its end
``$value[0]``          the value itself; ``$value.a`` is ``a``
``$key``               the key
``$metadata.lang``     the metadata; ``$metadata`` alone is all of it
``$created_at``        times, in UTC milliseconds; also ``$updated_at``
``("b.c", 0)``         a tuple is literal throughout: names and list positions of the value
=====================  =====================================================================

A bare name is everything up to the next ``.`` or ``[``; nothing is trimmed. A name selects only from an object and a
position only from a list. What is not there is :data:`MISSING`, which is not null.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, Protocol, cast

from .errors import InvalidFilter

Root = Literal["value", "key", "metadata", "created_at", "updated_at"]

#: A path as callers write it.
PathInput = str | tuple[str | int, ...]

#: A list position beyond this, from either end, is refused.
MAX_POSITION: Final = 2**31 - 1

MAX_SEGMENTS: Final = 200

_ROOTS: Final = ("value", "key", "metadata", "created_at", "updated_at")
_ROOTS_WITH_MEMBERS: Final = ("value", "metadata")
_NAME: Final = re.compile(r"[^.\[]+")
_POSITION: Final = re.compile(r"\[(-?[0-9]{1,10})\]")


class Missing(Enum):
    """The type of :data:`MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class EntryLike(Protocol):
    """The parts of an entry that a path can reach."""

    @property
    def namespace(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def value(self) -> Any: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    @property
    def created_at(self) -> int: ...
    @property
    def updated_at(self) -> int: ...


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A parsed path. A ``str`` segment is a member of an object, an ``int`` a position in a list."""

    root: Root
    segments: tuple[str | int, ...] = ()

    def read(self, entry: EntryLike) -> Any:
        """What the entry holds there, or :data:`MISSING`. A bytes value has no fields."""
        found = getattr(entry, self.root)
        if self.root == "value" and found.__class__ is bytes:
            return MISSING
        for segment in self.segments:
            if segment.__class__ is str:
                if found.__class__ is not dict or segment not in found:
                    return MISSING
                found = found[segment]
            else:
                position = cast(int, segment)
                if found.__class__ is not list or not -len(found) <= position < len(found):
                    return MISSING
                found = found[position]
        return found

    def __str__(self) -> str:
        """The path as text that :func:`parse_path` reads back."""
        text = "" if self.root == "value" and self.segments else f"${self.root}"
        for segment in self.segments:
            if isinstance(segment, int):
                text = f"{text or '$value'}[{segment}]"
            elif _NAME.fullmatch(segment) and (text or not segment.startswith("$")):
                text = f"{text}.{segment}" if text else segment
            else:
                text = f"{text}[{json.dumps(segment, ensure_ascii=False)}]"
        return text


def parse_path(path: PathInput | FieldPath) -> FieldPath:
    """Read a path. Raises InvalidFilter for an empty segment, an unknown ``$name`` or bad syntax."""
    if isinstance(path, FieldPath):
        return path
    if isinstance(path, str):
        return _parse_text(path)
    if isinstance(path, (tuple, list)):
        return FieldPath("value", _check_segments(path, path))
    raise InvalidFilter(f"a field path is a string or a tuple of segments, not {type(path).__name__}")


def _parse_text(text: str) -> FieldPath:
    root: Root = "value"
    segments: list[str | int] = []
    at = 0
    if text.startswith("$"):
        found = _NAME.match(text)
        name = found[0][1:] if found else ""
        if name not in _ROOTS:
            known = ", ".join(f"${known}" for known in _ROOTS)
            raise InvalidFilter(f'field path {text!r}: ${name} is unknown; known are {known}; ["${name}"] is a field')
        root = cast(Root, name)
        at = len(name) + 1
    first = at == 0
    while first or at < len(text):
        if text.startswith("[", at):
            segment, at = _parse_bracket(text, at)
        else:
            if not first:
                if text[at] != ".":
                    raise InvalidFilter(f"field path {text!r}: expected . or [ at position {at}")
                at += 1
            found = _NAME.match(text, at)
            if found is None:
                raise InvalidFilter(f"field path {text!r} has an empty segment")
            segment, at = found[0], found.end()
        segments.append(segment)
        first = False
    if segments and root not in _ROOTS_WITH_MEMBERS:
        raise InvalidFilter(f"field path {text!r}: ${root} has no members")
    return FieldPath(root, _check_segments(segments, text) if segments else ())


def _parse_bracket(text: str, at: int) -> tuple[str | int, int]:
    found = _POSITION.match(text, at)
    if found is not None:
        return int(found[1]), found.end()
    if text.startswith('["', at):
        try:
            name, end = json.JSONDecoder().raw_decode(text, at + 1)
        except ValueError:
            pass
        else:
            if text.startswith("]", end):
                return cast(str, name), end + 1
    raise InvalidFilter(f'field path {text!r}: brackets hold a list position or a name in double quotes: [0], ["a.b"]')


def _check_segments(segments: tuple[Any, ...] | list[Any], path: object) -> tuple[str | int, ...]:
    if not segments:
        raise InvalidFilter("a field path has at least one segment")
    if len(segments) > MAX_SEGMENTS:
        raise InvalidFilter(f"a field path has at most {MAX_SEGMENTS} segments")
    for segment in segments:
        if isinstance(segment, str):
            if not segment:
                raise InvalidFilter(f"field path {path!r} has an empty segment")
            try:
                segment.encode()
            except UnicodeEncodeError:
                raise InvalidFilter(f"field path {path!r} holds a lone surrogate") from None
        elif not isinstance(segment, int) or isinstance(segment, bool):
            raise InvalidFilter(f"field path {path!r}: segments are names or list positions")
        elif abs(segment) > MAX_POSITION:
            raise InvalidFilter(f"field path {path!r}: list position out of range")
    return tuple(str(segment) if isinstance(segment, str) else int(segment) for segment in segments)
