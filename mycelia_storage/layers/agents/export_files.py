"""The tables of an elizaOS database as it was exported: which rows each has, whatever wrote them.

================================  ==================================================================================
given                             read as
================================  ==================================================================================
a folder                          ``<table>.json``, ``.jsonl`` or ``.csv`` (also ``.gz``), one file for each table
a ``.json`` file                  an object with an array of rows for each table
a ``.sql`` file                   what ``pg_dump`` writes: COPY blocks and INSERT statements; all else is passed over
================================  ==================================================================================

PGlite dumps as ``.sql``. Rows of a SQLite file come from
:func:`mycelia_storage.backends.sqlite.foreign_tables.read_tables`. Values stay as the file has them: what a column
means is for :mod:`.imports` to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ...errors import InvalidInput
from ...records import RecordFile, parse_json

Rows = Iterable[Mapping[str, Any]]

_SUFFIXES: Final = (".json", ".jsonl", ".ndjson", ".csv")
_NAME: Final = r'(?:"[^"]+"|\w+)'
_COPY: Final = re.compile(rf"COPY (?:{_NAME}\.)?({_NAME}) \((.*)\) FROM stdin;", re.IGNORECASE)
_INSERT: Final = re.compile(rf"INSERT INTO (?:{_NAME}\.)?({_NAME}) (?:\((.*?)\) )?VALUES ", re.IGNORECASE)
_LITERAL: Final = re.compile(
    r"""\s*(?:(?P<null>NULL)\b|(?P<bool>true|false)\b|(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
    |(?P<escaped>E'(?:[^'\\]|\\.|'')*')|(?P<text>'(?:[^']|'')*'))(?:::[\w ."\[\]]+)?\s*(?P<end>[,)])""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_COPY_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)


def read_export(source: str | Path) -> dict[str, Rows]:
    """The tables of a folder or file, by the module's table. Raises InvalidInput for anything else, OSError."""
    path = Path(source)
    if path.is_dir():
        files = {_table_of(file): file for file in sorted(path.iterdir()) if _table_of(file)}
        if not files:
            raise InvalidInput("the folder has no file named like a table: memories.json, memories.csv ...")
        return {table: _FileRows(file) for table, file in files.items()}
    if path.name.endswith(".sql"):
        return _read_dump(path)
    if path.name.endswith(".json"):
        found = parse_json(path.read_bytes())
        if isinstance(found, dict) and all(isinstance(rows, list) for rows in found.values()):
            return found
        raise InvalidInput("a JSON export is an object with an array of rows for each table")
    raise InvalidInput("an export is a folder of tables, a .json file or a .sql file that pg_dump wrote")


def _table_of(file: Path) -> str:
    name = file.name.lower().removesuffix(".gz")
    return name.rpartition(".")[0].rpartition(".")[2] if name.endswith(_SUFFIXES) else ""


class _FileRows:
    """The rows of a file, read anew each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        with RecordFile(self._path) as file:
            for record in file.records():
                if record.error is not None or not isinstance(record.value, dict):
                    yield {_UNREADABLE: f"{self._path.name}, line {record.line}: {record.error or 'no object'}"}
                else:
                    yield record.value


#: The one column of a row that could not be read: what is wrong with it.
_UNREADABLE: Final = "\0unreadable"


def unreadable(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row that could not be read, or None."""
    found: str | None = row.get(_UNREADABLE)
    return found


# -- pg_dump -----------------------------------------------------------------------------------------------------------


def _read_dump(path: Path) -> dict[str, Rows]:
    tables: dict[str, list[Mapping[str, Any]]] = {}
    columns: list[str] | None = None
    rows: list[Mapping[str, Any]] = []
    with path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if columns is not None:
                if line.rstrip("\r\n") == "\\.":
                    columns = None
                    continue
                cells = line.rstrip("\r\n").split("\t")
                rows.append(dict(zip(columns, map(_copied, cells), strict=False)))
                continue
            begun = _COPY.match(line)
            if begun:
                columns = [name.strip().strip('"') for name in begun[2].split(",")]
                rows = tables.setdefault(begun[1].strip('"'), [])
            elif _INSERT.match(line):
                _insert(line, lines, tables)
    return dict(tables)


def _copied(cell: str) -> str | None:
    return None if cell == "\\N" else _ESCAPE.sub(_copy_escape, cell) if "\\" in cell else cell


def _copy_escape(found: re.Match[str]) -> str:
    body = found[1]
    if body[0] == "x" and len(body) > 1:
        return chr(int(body[1:], 16))
    if body.isdigit() and set(body) <= set("01234567"):
        return chr(int(body, 8))
    return _COPY_ESCAPES.get(body, body)


def _insert(line: str, lines: Iterator[str], tables: dict[str, list[Mapping[str, Any]]]) -> None:
    """One INSERT, which may run on for several lines."""
    begun = _INSERT.match(line)
    assert begun is not None
    table, names = begun[1].strip('"'), begun[2]
    rows = tables.setdefault(table, [])
    columns = None if names is None else [name.strip().strip('"') for name in names.split(",")]
    text = line[begun.end() :]
    at = 0
    while True:
        opened = text.find("(", at)
        if opened < 0:
            return
        cells: list[Any] = []
        at = opened + 1
        while True:
            found = _LITERAL.match(text, at)
            if found is None:
                more = next(lines, None)
                if more is None or len(text) > 64 * 2**20:
                    rows.append({_UNREADABLE: f"an INSERT into {table} that cannot be read"})
                    return
                text += more
                continue
            cells.append(_literal(found))
            at = found.end()
            if found["end"] == ")":
                break
        if columns is None or len(columns) != len(cells):
            rows.append({_UNREADABLE: f"an INSERT into {table} without its columns: dump with --column-inserts"})
        else:
            rows.append(dict(zip(columns, cells, strict=True)))
        while at < len(text) and text[at] in " \r\n":
            at += 1
        if at >= len(text) or text[at] != ",":
            return


def _literal(found: re.Match[str]) -> Any:
    if found["null"]:
        return None
    if found["bool"]:
        return found["bool"].lower() == "true"
    if found["number"]:
        number = found["number"]
        return int(number) if number.lstrip("-").isdecimal() else float(number)
    if found["escaped"]:
        return _ESCAPE.sub(_copy_escape, found["escaped"][2:-1].replace("''", "'"))
    return found["text"][1:-1].replace("''", "'")
