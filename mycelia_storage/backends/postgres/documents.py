"""What filters see: JSON as jsonb, with the two things that jsonb cannot hold written so that it can.

===============================================  ============================================================
jsonb cannot hold                                the document has instead
===============================================  ============================================================
NUL in a string or name                          U+0001 U+0003; and for U+0001 .. U+0005 U+0001 U+0004,
                                                 U+0001 U+0005, U+0002 U+0003, U+0002 U+0004, U+0002 U+0005
a float's exact value: only its shortest text    where an int could equal it (2**53 to 2**63), that int
===============================================  ============================================================

Every other character stands for itself. No pair begins as another one ends, so that written strings are equal,
ordered, and beginnings, parts and ends of one another exactly as the strings are. Below 2**53 and above 2**63 the
shortest texts of floats order among themselves and among ints as the values do. So a document answers every filter as
the value would, and no entry is left to guess.

Most JSON is its own document: :func:`document_text` then says None, and the canonical text is cast to jsonb as it is.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

import orjson

from ...values import encode_json

_WRITTEN: Final = {0: "\1\3", 1: "\1\4", 2: "\1\5", 3: "\2\3", 4: "\2\4", 5: "\2\5"}
_REWRITTEN: Final = re.compile("[\0-\5]")
#: How the text of a float from 1e16 on goes on after its digits: e1 or e+1, as the encoder's version has it.
_LARGE_FLOAT: Final = encode_json(1e16)[1:-1]


def document_text(stored: str) -> str | None:
    """The JSON text to cast to jsonb for a value or metadata stored as this JSON text; None: that text itself."""
    if "\\u000" in stored or _LARGE_FLOAT in stored:
        written = write_operand(orjson.loads(stored))
        return written if written != stored else None
    return None


def write_string(text: str) -> str:
    """A string or name as documents have it."""
    return text.translate(_WRITTEN) if _REWRITTEN.search(text) else text


def write_number(number: int | float) -> Decimal:
    """A number as documents compare it."""
    return Decimal(number) if _is_large(number) else Decimal(repr(number))


def write_operand(operand: Any) -> str:
    """The JSON text of any operand as documents have it."""
    return encode_json(_write(operand))


def _is_large(number: int | float) -> bool:
    return number.__class__ is float and abs(number) >= 2.0**53 and -(2.0**63) <= number < 2.0**63


def _write(value: Any) -> Any:
    kind = value.__class__
    if kind is str:
        return write_string(value)
    if kind is float:
        return int(value) if _is_large(value) else value
    if kind is list:
        return [_write(member) for member in value]
    if kind is dict:
        return {write_string(name): _write(member) for name, member in value.items()}
    return value
