"""JSON data as elizaOS writes it, made storable: what its databases strip, replace or refuse.

======================  ====================================================
given                   stored
======================  ====================================================
NUL in a string         left out
lone surrogate          U+FFFD
backslash               as it is
a cycle                 null where it would begin again
NaN, infinity           null
an int beyond 64 bits   its decimal digits, as a string
datetime, date          ISO-8601 in UTC with milliseconds
tuple, set              a list (sets in order of their JSON)
other objects           InvalidValue
beyond the limits       TooLarge
======================  ====================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

import orjson

from ...errors import InvalidValue
from .errors import TooLarge

#: Deepest nesting of a content, metadata or body; the contract's own limit is 200 for a whole record.
DEEPEST: Final = 150
#: Most bytes of its JSON.
MOST_BYTES: Final = 32 * 2**20

_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """The text without NUL, lone surrogates replaced."""
    if text.isascii():
        return text.replace("\0", "") if "\0" in text else text
    return _SURROGATES.sub("\ufffd", text.replace("\0", ""))


def clean_json(value: Any, about: str) -> Any:
    """The value as storable JSON data, by the module's table; the argument is not changed. Raises InvalidValue."""
    cleaned = _clean(value, about, DEEPEST, ())
    if isinstance(cleaned, str | list | dict) and cleaned and len(orjson.dumps(cleaned)) > MOST_BYTES:
        raise TooLarge(f"{about} is larger than {MOST_BYTES:,} bytes of JSON")
    return cleaned


def _clean(value: Any, about: str, depth: int, above: tuple[int, ...]) -> Any:
    kind = value.__class__
    if kind is str:
        return clean_text(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**63 else str(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date):
        return iso_time(value)
    if id(value) in above:
        return None
    if depth == 0:
        raise TooLarge(f"{about} nests deeper than {DEEPEST} levels")
    inside = (*above, id(value))
    if isinstance(value, Mapping):
        found = {}
        for name, member in value.items():
            if not isinstance(name, str):
                raise InvalidValue(f"{about} has a name that is no string")
            found[clean_text(name)] = _clean(member, about, depth - 1, inside)
        return found
    if isinstance(value, set | frozenset):
        members = [_clean(member, about, depth - 1, inside) for member in value]
        return sorted(members, key=orjson.dumps)
    if isinstance(value, list | tuple):
        return [_clean(member, about, depth - 1, inside) for member in value]
    raise InvalidValue(f"{about} holds a {type(value).__name__}, which is no JSON data")


def iso_time(when: datetime | date) -> str:
    """``when`` as JavaScript writes a Date: UTC with milliseconds."""
    if isinstance(when, datetime):
        at = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    else:
        at = datetime(when.year, when.month, when.day, tzinfo=UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_of(text: str) -> int:
    """Milliseconds of an ISO-8601 time; one without a zone is in UTC. Raises InvalidValue."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidValue("a time is written as ISO-8601") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    whole = at.replace(microsecond=0)
    return int(whole.timestamp()) * 1000 + at.microsecond // 1000


def shown_time(milliseconds: int) -> str:
    """The ISO-8601 time of milliseconds since 1970."""
    seconds, rest = divmod(milliseconds, 1000)
    return iso_time(datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000))


def names_of(given: Any) -> list[str]:
    """The names of an entity as a list of strings, from whatever was given for them.

    >>> names_of("Ada"), names_of(42), names_of({"a", }), names_of({"k": "v"}), names_of(None)
    (['Ada'], ['42'], ['a'], ['k,v'], [])
    """
    if given is None:
        return []
    if isinstance(given, str):
        return [clean_text(given)]
    if isinstance(given, Mapping):
        return [f"{_shown(name)},{_shown(value)}" for name, value in given.items()]
    if isinstance(given, set | frozenset):
        return sorted(_shown(name) for name in given)
    if isinstance(given, Iterable):
        return [_shown(name) for name in given]
    return [_shown(given)]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return clean_text(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def camel_case(name: str) -> str:
    """``room_id`` as ``roomId``."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def merge_settings(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """``old`` with ``patch`` merged in: objects merge, null deletes, the rest replaces.

    An inner object that deletions leave empty goes as well.

    >>> merge_settings({"a": {"b": 1}, "c": [1]}, {"a": {"b": None}, "c": [2], "d": {"e": 1}})
    {'c': [2], 'd': {'e': 1}}
    """
    merged = dict(old)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            before = merged.get(name)
            inner = merge_settings(before if isinstance(before, dict) else {}, value)
            if inner or (not value and not before):
                merged[name] = inner
            else:
                merged.pop(name, None)
        else:
            merged[name] = value
    return merged


def check_object(value: Any, about: str) -> dict[str, Any]:
    """A JSON object, cleaned. Raises InvalidValue for anything else."""
    if not isinstance(value, Mapping):
        raise InvalidValue(f"{about} is a JSON object, not {type(value).__name__}")
    cleaned: dict[str, Any] = clean_json(value, about)
    return cleaned
