"""Reads JSON lines, JSON and CSV files as a stream of records, each with its line number, in bounded memory.

=======  ==================================================================================================
format   records
=======  ==================================================================================================
jsonl    one JSON text a line; blank lines are passed over
json     the elements of an array, or the members of an object (``Record.name`` is the member's name)
csv      the rows below a header row, as objects of strings
=======  ==================================================================================================

A bad record is a Record with ``error`` and the reading goes on, except inside a JSON array or object: after a syntax
error there is no telling where the next element begins, so that record is the last. Text is UTF-8, a byte order mark
is passed over. Names ending in ``.gz`` are decompressed on the way.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Literal, NamedTuple, Self, cast, get_args

import orjson

from .errors import InvalidInput
from .json_stream import JsonSyntaxError, read_elements

Format = Literal["jsonl", "json", "csv"]

#: The longest record that is read, in bytes (CSV: the longest cell).
MAX_RECORD_BYTES: Final = 64 * 2**20

_SUFFIXES: Final[dict[str, Format]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv"}
_BOM: Final = b"\xef\xbb\xbf"
# orjson turns integers beyond 64 bits into floats; lines with such long digits go to the exact parser.
_LONG_DIGITS: Final = re.compile(rb"[0-9]{19}")


class Record(NamedTuple):
    """One record of a file, or what is wrong with it."""

    line: int
    """Where it begins, from 1."""
    number: int
    """Its place among the records, from 1; bad ones count."""
    value: Any
    error: str | None
    size: int
    """About how many bytes it took in the file."""
    name: str | None = None
    """The member's name in a JSON object."""
    next_byte: int = 0
    """jsonl: where the next line begins in the decompressed file."""


class Place(NamedTuple):
    """Where a reader goes on: behind record ``number``, which ended before ``line`` and ``byte``."""

    line: int = 1
    number: int = 0
    byte: int = 0


START: Final = Place()


class RecordFile:
    """A file of records, open for reading. ``path`` None reads ``stream``, which is not closed."""

    def __init__(self, path: Path | None, format: str | None = None, stream: IO[bytes] | None = None) -> None:
        """Raises InvalidInput when the format is not given and the name does not tell it, and OSError."""
        self.path = path
        name = path.name.lower() if path is not None else ""
        compressed = name.endswith(".gz")
        self.format = _format_of(format, Path(name.removesuffix(".gz")).suffix)
        self._raw: IO[bytes] = path.open("rb") if path is not None else cast("IO[bytes]", stream)
        self._content: IO[bytes] = cast("IO[bytes]", gzip.GzipFile(fileobj=self._raw)) if compressed else self._raw

    @property
    def size(self) -> int | None:
        """The file's length in bytes as stored, None for a stream."""
        return None if self.path is None else self.path.stat().st_size

    def bytes_read(self) -> int:
        """How many of those bytes have been read."""
        return 0 if self.path is None else self._raw.tell()

    def records(self, place: Place = START) -> Iterator[Record]:
        """The records after ``place``. Where a compressed file is damaged, a bad record is the last."""
        line, number = place.line, place.number
        try:
            for record in self._every_record(place):
                line, number = record.line + 1, record.number
                if number > place.number:
                    yield record
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield Record(line, number + 1, None, f"the compressed file is damaged: {error}; nothing more was read", 0)

    def _every_record(self, place: Place) -> Iterator[Record]:
        if self.format == "jsonl":
            if place.byte:
                self._content.seek(place.byte)
            return _read_lines(self._content, place)
        return _read_csv(self._content) if self.format == "csv" else _read_json(self._content)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is not None:
            self._content.close()
            self._raw.close()


def parse_json(text: bytes) -> Any:
    """The value of a JSON text. Raises ValueError, for NaN and infinities too; integers keep all their digits."""
    if _LONG_DIGITS.search(text) is None:
        return orjson.loads(text)
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _format_of(given: str | None, suffix: str) -> Format:
    found = given or _SUFFIXES.get(suffix)
    if found is None:
        raise InvalidInput(f"the name does not tell the format: give one of {', '.join(get_args(Format))}")
    if found not in get_args(Format):
        raise InvalidInput(f"no format {found!r}: give one of {', '.join(get_args(Format))}")
    return cast("Format", found)


def _read_lines(content: IO[bytes], place: Place) -> Iterator[Record]:
    line, number, position = place.line, place.number, place.byte
    while True:
        text = content.readline(MAX_RECORD_BYTES)
        if not text:
            return
        size, too_long = len(text), False
        while not text.endswith(b"\n") and (rest := content.readline(MAX_RECORD_BYTES)):
            too_long, size, text = True, size + len(rest), rest
        position += size
        stripped = (text.removeprefix(_BOM) if line == 1 else text).strip(b" \t\r\n")
        if stripped or too_long:
            number += 1
            value, error = None, None
            if too_long:
                error = f"longer than {MAX_RECORD_BYTES} bytes"
            else:
                try:
                    value = parse_json(stripped)
                except ValueError as problem:
                    error = f"not JSON: {problem}"
            yield Record(line, number, value, error, size, next_byte=position)
        line += 1


def _read_json(content: IO[bytes]) -> Iterator[Record]:
    number = 0
    try:
        for number, element in enumerate(read_elements(content, MAX_RECORD_BYTES), 1):
            yield Record(element.line, number, element.value, None, element.size, element.name)
    except JsonSyntaxError as problem:
        yield Record(problem.line, number + 1, None, f"not JSON: {problem}; nothing after it was read", 0)


def _read_csv(content: IO[bytes]) -> Iterator[Record]:
    # A byte that is no UTF-8 becomes a lone surrogate, which no value may hold: the row is refused, the rest is read.
    text = io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="")
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))
    rows = csv.reader(text, strict=True)
    try:
        header: list[str] | None = None
        number = 0
        while True:
            line, row, error = rows.line_num + 1, [], None
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as problem:
                error = f"not CSV: {problem}"
            if not row and error is None:
                continue
            if header is None:
                header = row
                error = error or _header_problem(row)
                if error:
                    yield Record(line, 1, None, error, 0)
                    return
                continue
            number += 1
            if error is None and len(row) != len(header):
                error = f"{len(row)} cells under a header of {len(header)}"
            value = None if error else dict(zip(header, row, strict=True))
            yield Record(line, number, value, error, sum(map(len, row)) + len(row))
    finally:
        text.detach()


def _header_problem(header: list[str]) -> str | None:
    if len(set(header)) < len(header):
        return "two columns of the header have one name"
    return None
