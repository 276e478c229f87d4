"""Reads the elements of one large JSON array, or the members of one large object, without holding all of it.

The buffer grows to the largest element and no further. The standard library parses each element; what is added here
is the frame around them, and telling an element that goes on from one that is wrong.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any, Final, NamedTuple

_CHUNK: Final = 64 * 1024
_SPACE: Final = re.compile(r"[ \t\r\n]*")
# The longest thing whose end may be cut off without the parser calling the text unterminated: ``\\ud83d\\ude00``.
_LONGEST_CUT: Final = 16


class Element(NamedTuple):
    """One element with the line it begins on; ``name`` in an object."""

    line: int
    value: Any
    size: int
    """In characters."""
    name: str | None


class JsonSyntaxError(ValueError):
    """The text breaks JSON's grammar; ``line`` says where."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def read_elements(content: IO[bytes], max_size: int) -> Iterator[Element]:
    """The elements one by one. ``max_size`` bounds each, in characters. Raises JsonSyntaxError where it stops."""
    text = _Text(content, max_size)
    opening = text.next_character()
    if opening not in ("[", "{"):
        raise JsonSyntaxError("the file is neither an array nor an object", text.line)
    closing = "]" if opening == "[" else "}"
    text.take()
    if text.next_character() == closing:
        text.take()
    else:
        while True:
            text.next_character()
            line, name, name_size = text.line, None, 0
            if opening == "{":
                name, name_size = text.value()
                if not isinstance(name, str):
                    raise JsonSyntaxError("a member's name must be a string", line)
                text.expect(":")
            value, size = text.value()
            yield Element(line, value, size + name_size, name)
            if text.expect("," + closing) == closing:
                break
    if text.next_character():
        raise JsonSyntaxError("more text behind the end (for JSON lines give the format jsonl)", text.line)


class _Text:
    """The unread text with a moving front."""

    def __init__(self, content: IO[bytes], max_size: int) -> None:
        self.line = 1
        self._content = content
        self._max_size = max_size
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer = ""
        self._at = 0
        self._ended = False
        self._parser = json.JSONDecoder(parse_constant=_refuse_constant)

    def next_character(self) -> str:
        """Pass over white space; the character after it, "" at the end."""
        while True:
            end = _SPACE.match(self._buffer, self._at).end()  # type: ignore[union-attr]
            self._pass(end)
            if end < len(self._buffer):
                return self._buffer[end]
            if not self._read(_CHUNK):
                return ""

    def take(self) -> None:
        """Pass over the character that next_character gave."""
        self._pass(self._at + 1)

    def expect(self, characters: str) -> str:
        """Take the next character, which must be one of these."""
        found = self.next_character()
        if not found or found not in characters:
            wanted = " or ".join(map(repr, characters))
            raise JsonSyntaxError(f"expected {wanted}, found {found!r}" if found else "the text ends early", self.line)
        self.take()
        return found

    def value(self) -> tuple[Any, int]:
        """Parse one value; it and its length."""
        if not self.next_character():
            raise JsonSyntaxError("the text ends early", self.line)
        while True:
            try:
                value, end = self._parser.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos >= len(self._buffer) - _LONGEST_CUT
                problem = error.msg
            except (RecursionError, ValueError) as error:
                cut, problem = False, "nested too deep" if isinstance(error, RecursionError) else str(error)
            else:
                # A number near the end of the buffer may go on behind it: "1" of "1e+" of "1e+5".
                if end + 2 < len(self._buffer) or self._ended:
                    size = end - self._at
                    self._pass(end)
                    return value, size
                cut, problem = True, ""
            held = len(self._buffer) - self._at
            if cut and held > self._max_size:
                raise JsonSyntaxError(f"an element longer than {self._max_size} characters", self.line)
            # Reading as much again as is held keeps the repeated parsing linear in all.
            if (not cut or not self._read(max(_CHUNK, held))) and problem:
                raise JsonSyntaxError(problem, self.line)

    def _pass(self, end: int) -> None:
        self.line += self._buffer.count("\n", self._at, end)
        self._at = end

    def _read(self, size: int) -> bool:
        """Read on, dropping what was passed; whether there was more."""
        if self._ended:
            return False
        self._buffer = self._buffer[self._at :]
        self._at = 0
        raw = self._content.read(size)
        self._ended = not raw
        try:
            self._buffer += self._decoder.decode(raw, final=self._ended)
        except UnicodeDecodeError as error:
            raise JsonSyntaxError(f"not UTF-8: {error.reason}", self.line) from None
        return not self._ended


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
