"""The entries under many prefixes, in few statements: one for each page, however many prefixes it spans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from ...contract import Entry
from ...patterns import prefix_end
from .rows import COLUMNS, Row, to_entries

_SELECT: Final = f"""SELECT bounds.number, found.* FROM
unnest(%s::text[], %s::text[]) WITH ORDINALITY AS bounds (low, high, number) CROSS JOIN LATERAL (
SELECT {COLUMNS} FROM {{s}}.storage_entries WHERE namespace = %s AND tenant = {{t}}
AND key >= bounds.low AND key < bounds.high AND {{live}} ORDER BY key LIMIT %s) AS found
ORDER BY bounds.number, found.key LIMIT %s"""

_PAGE: Final = 2_000
_RANGES: Final = 2_000
#: Above every key.
_END: Final = "\U0010ffff" * 257


def scan_prefixes(
    rows: Callable[[str, tuple[Any, ...]], list[Row]], namespace: str, prefixes: Sequence[str]
) -> Iterator[Entry]:
    """The entries under each prefix in turn, in order of key."""
    ranges = [[prefix, prefix_end(prefix) or _END] for prefix in prefixes]
    at = 0
    while at < len(ranges):
        part = ranges[at : at + _RANGES]
        lows, highs = [low for low, _ in part], [high for _, high in part]
        page = rows(_SELECT, (lows, highs, namespace, _PAGE, _PAGE))
        yield from to_entries([row[1:] for row in page])
        if len(page) < _PAGE:
            at += len(part)
        else:
            at += page[-1][0] - 1
            # The least key above the last one: keys hold no NUL.
            ranges[at][0] = page[-1][2] + "\x01"
