"""How things are printed: JSON lines for programs, tables for people, and nothing that drives a terminal.

Stored text may come from anyone, so control characters and those that reorder text never reach a terminal as they
are: JSON shows them as ``\\u001b``, everything else as ``\\x1b``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import click

from ..contract import Entry
from ..dumps import entry_to_json, json_line

# C0, DEL, C1, marks that change the direction of text, line separators, lone surrogates.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_CELL_WIDTH: Final = 120


def visible(text: str) -> str:
    """``text`` with every character that could drive a terminal spelt out.

    >>> print(visible("a" + chr(27) + "[2J"))
    a\\x1b[2J
    """
    return _UNSAFE.sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    point = ord(character)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"


def json_text(data: Any) -> str:
    """JSON text in one line that is safe to show; a JSON parser reads the same data from it."""
    return _safe_json(json_line(data).decode())


def _safe_json(line: str) -> str:
    # Outside strings JSON has only ASCII, so whatever is replaced stands in a string.
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def print_pretty_json(data: Any) -> None:
    """Print data over several lines in colours."""
    from rich.console import Console
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    # A line break within a string is always escaped, so these are the lines of the layout.
    lines = json.dumps(data, indent=2, ensure_ascii=False).split("\n")
    text = Text("\n".join(map(_safe_json, lines)))
    JSONHighlighter().highlight(text)
    Console().print(text, soft_wrap=True)


def print_json(data: Any) -> None:
    """Print data as one JSON line."""
    click.echo(json_text(data))


def wants_json(as_json: bool) -> bool:
    """Whether to print for a program: on request, and when the output is no terminal."""
    return as_json or not sys.stdout.isatty()


def print_entries(entries: Iterable[Entry], as_json: bool) -> int:
    """Print entries, one JSON line each or a table; how many."""
    count = 0
    if wants_json(as_json):
        for entry in entries:
            print_json(entry_to_json(entry))
            count += 1
        return count
    rows = []
    for entry in entries:
        value = f"<{len(entry.value)} bytes>" if isinstance(entry.value, bytes) else json_text(entry.value)
        expiry = "" if entry.expires_at is None else time_text(entry.expires_at)
        rows.append((entry.key, value, json_text(entry.metadata) if entry.metadata else "", expiry))
    columns = ["key", "value", "metadata", "expires"]
    print_table(columns, rows, drop_empty=True)
    return len(rows)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, drop_empty: bool = False) -> None:
    """Print rows as a table for people; ``drop_empty`` leaves out columns where every cell is empty."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = [at for at in range(len(columns)) if not drop_empty or at == 0 or any(row[at] != "" for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at in shown:
        table.add_column(Text(columns[at]), overflow="fold", max_width=_CELL_WIDTH)
    for row in rows:
        # Text, not str: square brackets in data are no markup.
        table.add_row(*(Text(visible(str(row[at]))) for at in shown))
    Console().print(table)


def time_text(milliseconds: int) -> str:
    """A time for people, in UTC.

    >>> time_text(1683554161000)
    '2023-05-08 13:56:01'
    """
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return str(milliseconds)


def note(text: str) -> None:
    """A line for people on stderr."""
    click.echo(visible(text), err=True)


def not_found(ctx: click.Context, text: str) -> NoReturn:
    """Say what was not found, and exit 1."""
    note(text)
    ctx.exit(1)
