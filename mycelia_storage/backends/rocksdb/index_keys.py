r"""Field values as bytes whose order is the contract's: that of sorts (:mod:`mycelia_storage.sorting`).

==================  ===================================================================================
value               encoding
==================  ===================================================================================
null                01
false, true         02 00, 02 01
number              03, the nearest double (8 bytes, made to sort), then what it lacks of the number (2)
string              04, its UTF-8 text with NUL written 00 FF, then 00
list, object        05, its compact JSON text likewise
missing             06
==================  ===================================================================================

Numbers equal by value have one encoding, whether integer or float, exactly. Text is cut after 256 bytes, so equal
encodings of long texts prove nothing: whoever reads index rows compares the entries they lead to.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Any, Final

import orjson

from ...contract import Entry
from ...field_paths import MISSING, EntryLike, FieldPath, parse_path
from ...indexes import FieldIndex

MAX_TEXT: Final = 256

NULL: Final = b"\x01"
BOOL: Final = b"\x02"
NUMBER: Final = b"\x03"
STRING: Final = b"\x04"
JSON: Final = b"\x05"
NOTHING: Final = b"\x06"

_DOUBLE: Final = Struct(">d")
_BITS: Final = Struct(">QH")
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1
_MIDDLE: Final = 1 << 15
_NUMBER_SIZE: Final = 1 + _BITS.size


@lru_cache(maxsize=1024)
def paths_of(index: FieldIndex) -> tuple[FieldPath, ...]:
    """The parsed paths of an index."""
    return tuple(map(parse_path, index.paths))


def encode_field(found: Any) -> bytes:
    """One field value, or MISSING."""
    kind = found.__class__
    if kind is str:
        return STRING + cut_text(found) + b"\0"
    if kind is int or kind is float:
        return NUMBER + _encode_number(found)
    if kind is bool:
        return BOOL + (b"\x01" if found else b"\x00")
    if found is None:
        return NULL
    if found is MISSING:
        return NOTHING
    return JSON + _escaped(orjson.dumps(found)) + b"\0"


def cut_text(text: str) -> bytes:
    """The text within an encoding, without its end: also where the texts begin that start with it."""
    return _escaped(text.encode("utf-8", "surrogatepass"))


def encode_fields(index: FieldIndex, entry: EntryLike) -> bytes:
    """All values of an index."""
    return b"".join([encode_field(path.read(entry)) for path in paths_of(index)])


def takes_part(index: FieldIndex, entry: Entry) -> bool:
    """Whether a unique index compares this entry."""
    return all(path.read(entry).__class__ in (bool, int, float, str) for path in paths_of(index))


def field_end(data: bytes, start: int) -> int:
    """Where the encoding of one value that begins at ``start`` ends."""
    kind = data[start : start + 1]
    if kind == NUMBER:
        return start + _NUMBER_SIZE
    if kind == BOOL:
        return start + 2
    if kind in (STRING, JSON):
        end = data.index(0, start)
        while data[end + 1 : end + 2] == b"\xff":
            end = data.index(0, end + 2)
        return end + 1
    return start + 1


def _escaped(text: bytes) -> bytes:
    return text[:MAX_TEXT].replace(b"\0", b"\0\xff")


def _encode_number(number: int | float) -> bytes:
    nearest = float(number) + 0.0  # -0.0 becomes 0.0
    lacks = number - int(nearest) if number.__class__ is int else 0
    (bits,) = _UNSIGNED.unpack(_DOUBLE.pack(nearest))
    return _BITS.pack(bits ^ (_ALL if bits & _SIGN else _SIGN), lacks + _MIDDLE)


_UNSIGNED: Final = Struct(">Q")
