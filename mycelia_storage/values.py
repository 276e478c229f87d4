"""The value codec: JSON data or bytes, to and from what a backend stores.

==================  ===========================================
value               stored form
==================  ===========================================
JSON data           ``str``: compact JSON text, keys in their order
bytes               ``bytes``, unchanged
==================  ===========================================

JSON data is null, booleans, integers of 64 bits with sign, finite floats, strings without lone surrogates, lists, and
dicts with string keys, nested at most 200 deep (the outermost container counts as 1). Only exactly these types are
taken: a subclass, tuple, enum or date would not come back equal, and the JSON encoder below would change some of them
(and NaN to null) without a word. So every value is walked before it is encoded; the loop over a list
is left to C where its members are of one harmless type.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, Final

import orjson

from .errors import InvalidValue

MAX_DEPTH: Final = 200

Stored = str | bytes

_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**63 - 1
_HARMLESS: Final = frozenset({str, int, bool, type(None)})
_PLAIN_TYPES: Final = (
    orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)
_STRICT: Final = _PLAIN_TYPES | orjson.OPT_STRICT_INTEGER
_FLOAT_ONLY: Final = frozenset({float})
_LONG_LIST: Final = 16

_dumps = orjson.dumps
_loads = orjson.loads


def encode_value(value: Any) -> Stored:
    """The stored form of ``value``. Raises :exc:`~mycelia_storage.errors.InvalidValue`."""
    kind = value.__class__
    if kind is dict:  # the usual value, without a further call
        _check_dict(value, 1)
        try:
            return _dumps(value, option=_STRICT).decode()
        except TypeError:
            return _encode_exactly(value)
    if kind is bytes:
        return value  # type: ignore[no-any-return]
    if kind is bytearray or kind is memoryview:
        return bytes(value)
    return encode_json(value)


def encode_json(value: Any) -> str:
    """Compact JSON text of ``value``. Raises :exc:`~mycelia_storage.errors.InvalidValue`."""
    kind = value.__class__
    if kind is dict:
        _check_dict(value, 1)
    elif kind is list:
        _check_list(value, 1)
    elif kind is not str:
        _check_scalar(value)
    try:
        return _dumps(value, option=_STRICT).decode()
    except TypeError:
        return _encode_exactly(value)


def _encode_exactly(value: Any) -> str:
    """The same for what the strict encoder refuses: mostly integers over 53 bits, which are storable up to 64."""
    _check_integers(value)
    try:
        return _dumps(value, option=_PLAIN_TYPES).decode()
    except TypeError as error:
        raise InvalidValue(f"not storable as JSON: {error}") from None


def _check_integers(value: Any) -> None:
    kind = value.__class__
    if kind is int:
        if not _MIN_INT <= value <= _MAX_INT:
            raise InvalidValue("an integer must fit in 64 bits with sign")
    elif kind is list:
        for member in value:
            _check_integers(member)
    elif kind is dict:
        for member in value.values():
            _check_integers(member)


def encode_metadata(metadata: Any) -> str | None:
    """JSON text of a metadata dict; None for none or an empty one."""
    if not metadata:
        if metadata is None or metadata.__class__ is dict:
            return None
    elif metadata.__class__ is dict:
        return encode_json(metadata)
    raise InvalidValue(f"metadata is a dict, not {type(metadata).__name__}")


def decode_value(stored: Stored) -> Any:
    """The value of a stored form."""
    if stored.__class__ is bytes:
        return stored
    try:
        return _loads(stored)
    except orjson.JSONDecodeError:
        # A file of the original may hold what JSON.stringify allows and orjson refuses: escaped lone surrogates.
        return json.loads(stored)


def decode_metadata(stored: str | None) -> dict[str, Any]:
    """The metadata dict of its stored form."""
    if stored is None:
        return {}
    return decode_value(stored)  # type: ignore[no-any-return]


def copy_value(value: Any) -> Any:
    """A deep copy of storable data that shares nothing mutable with it."""
    return decode_value(encode_value(value))


# The walk looks for what the encoder would change without a word. It leaves to the encoder what that refuses by itself:
# keys that are no plain strings, subclasses, dates, unknown types, large integers.
# ``x - x == 0.0`` is false for NaN and infinity alone, and costs no call.


def _check_dict(value: dict[Any, Any], depth: int) -> None:
    for member in value.values():
        kind = member.__class__
        if kind in _HARMLESS:
            continue
        if kind is list and depth < MAX_DEPTH:
            _check_list(member, depth + 1)
        elif kind is not float or member - member != 0.0:
            _check_member(member, kind, depth)


def _check_list(value: list[Any], depth: int) -> None:
    if len(value) > _LONG_LIST:
        kinds = set(map(type, value))
        if kinds <= _HARMLESS or (kinds == _FLOAT_ONLY and isfinite(sum(value))):
            return
    for member in value:
        kind = member.__class__
        if kind not in _HARMLESS:
            _check_member(member, kind, depth)


def _check_member(member: Any, kind: type, depth: int) -> None:
    if kind is dict or kind is list:
        if depth >= MAX_DEPTH:
            raise InvalidValue(f"values nest at most {MAX_DEPTH} deep")
        if kind is dict:
            _check_dict(member, depth + 1)
        else:
            _check_list(member, depth + 1)
    else:
        _check_scalar(member)


def _check_scalar(value: Any) -> None:
    kind = value.__class__
    if kind is float:
        if not isfinite(value):
            raise InvalidValue("NaN and infinity are not JSON")
    elif kind not in _HARMLESS:
        raise InvalidValue(f"{kind.__name__} is not storable; JSON data and bytes are")
