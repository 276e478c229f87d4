"""Functions of SQLite that take the time of one text by another, made again for queries of strangers.

SQLite looks at the clock between two steps of its machine, and a call of a function is one step: ``instr`` of one
megabyte in thirty takes hours. Python's search takes the sum of both, which is a tenth of a second at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import apsw

Value = None | int | float | str | bytes

#: Characters that ``trim`` takes away at most: each is compared with each.
MOST_TRIMMED: Final = 100


def replace_functions(connection: apsw.Connection, longest: int) -> None:
    """Put them in the place of SQLite's own on a connection. ``longest``: bytes that a text may have."""

    def replace(value: Value, old: Value, new: Value) -> Value:
        if value is None or old is None:
            return None
        text, part = _text(value), _text(old)
        if not part or new is None:
            return None if part else text
        other = _text(new)
        if len(text) + text.count(part) * (len(other) - len(part)) > longest:
            raise apsw.TooBigError("string or blob too big")
        return text.replace(part, other)

    made: list[tuple[str, Callable[..., Value], int]] = [("instr", _instr, 2), ("replace", replace, 3)]
    made += [("trim", _trim(str.strip), 2), ("ltrim", _trim(str.lstrip), 2), ("rtrim", _trim(str.rstrip), 2)]
    for name, function, arguments in made:
        connection.create_scalar_function(name, function, arguments, deterministic=True)


def _instr(value: Value, part: Value) -> int | None:
    if value is None or part is None:
        return None
    if isinstance(value, bytes) and isinstance(part, bytes):
        return value.find(part) + 1
    return _text(value).find(_text(part)) + 1


def _trim(strip: Callable[[str, str], str]) -> Callable[[Value, Value], str | None]:
    def trim(value: Value, characters: Value) -> str | None:
        if value is None or characters is None:
            return None
        text, away = _text(value), _text(characters)
        if len(away) > MOST_TRIMMED:
            raise apsw.TooBigError("too many characters to trim")
        return strip(text, away) if away else text

    return trim


def _text(value: Value) -> str:
    """A value as SQLite writes it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float):
        # Which digits it writes differs between its versions.
        [(text,)] = apsw.Connection("").execute("SELECT CAST(? AS TEXT)", (value,))
        return str(text)
    return str(value)
