"""What the cells of an export mean: a value is JSON in one file, PostgreSQL's text in another, bytes in a third."""

from __future__ import annotations

import json
from typing import Any

from ...errors import InvalidValue
from .plain_json import time_of
from .record_fields import check_time


def json_of(cell: Any) -> Any:
    """The value of a JSON column: text is read as JSON; what is no JSON stays the text."""
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def strings_of(cell: Any) -> Any:
    """The value of a column of strings: a list, JSON, or PostgreSQL's ``{a,"b c"}``.

    >>> strings_of('{Ada,"Lady \\\\"L\\\\"",NULL}'), strings_of('["a"]')
    (['Ada', 'Lady "L"'], ['a'])
    """
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return json_of(text)
    found: list[str] = []
    at, end = 1, len(text) - 1
    while at < end:
        if text[at] == '"':
            part = []
            at += 1
            while at < end and text[at] != '"':
                at += text[at] == "\\"
                part.append(text[at])
                at += 1
            found.append("".join(part))
            at += 1
        else:
            stop = text.find(",", at, end)
            stop = end if stop < 0 else stop
            if text[at:stop] != "NULL":
                found.append(text[at:stop])
            at = stop
        at += 1
    return found


def moment_of(cell: Any) -> int:
    """The milliseconds of a time: a number of them, its digits, or ISO-8601 as PostgreSQL and JavaScript write it."""
    if isinstance(cell, str):
        digits = cell.strip()
        if not digits.removeprefix("-").isdecimal():
            return time_of(cell)
        cell = int(digits)
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return check_time(cell, "a time")


def truth_of(cell: Any) -> bool:
    """The truth of a boolean column: true, 1, "t" ..."""
    if isinstance(cell, str):
        cell = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}.get(cell.lower(), cell)
    if cell in (True, False, 0, 1):
        return bool(cell)
    raise InvalidValue("a flag is true or false")


def bytes_or_numbers(cell: Any) -> list[float]:
    """The numbers of a vector: a list, ``[0.1,0.2]`` as text, or little-endian float32 bytes."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError:
            raise InvalidValue("a vector that cannot be read") from None
    if isinstance(cell, bytes | bytearray | memoryview):
        import numpy

        if len(cell) % 4:
            raise InvalidValue("a vector whose bytes are no float32 numbers")
        return [float(number) for number in numpy.frombuffer(bytes(cell), dtype="<f4")]
    if not isinstance(cell, list | tuple) or not all(isinstance(number, int | float) for number in cell):
        raise InvalidValue("a vector that cannot be read")
    return [float(number) for number in cell]
