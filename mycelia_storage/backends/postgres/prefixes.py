"""The entries under many prefixes, in few statements: one for each page, however many prefixes it spans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from ...contract import Entry
from ...patterns import prefix_end
from .rows import COLUMNS, Row, to_entries

_SELECT: Final = f"""SELECT bounds.number, found.* FROM
unnest(%s::text[], %s::text[]) WITH ORDINALITY AS bounds (low, high, number) CROSS JOIN LATERAL (
SELECT {COLUMNS} FROM {{s}}.storage_entries WHERE namespace = %s AND tenant = (SELECT {{t}})
AND key >= bounds.low AND key < bounds.high AND {{live}}{{among}} ORDER BY key LIMIT %s) AS found
ORDER BY bounds.number, found.key LIMIT %s"""
_AMONG: Final = " AND split_part(key, E'\\x01', {number}) = ANY (%s::text[])"

_FIRST_PAGE: Final = 128
_LARGEST_PAGE: Final = 2_048
_RANGES: Final = 2_000
#: Above every key.
_END: Final = "\U0010ffff" * 257


def scan_prefixes(
    rows: Callable[[str, tuple[Any, ...]], list[Row]],
    namespace: str,
    prefixes: Sequence[str],
    parts: Mapping[int, Sequence[str]],
) -> Iterator[Entry]:
    """The entries under each prefix in turn, in order of key, whose keys have one of the parts at each number."""
    select = _SELECT.replace("{among}", "".join(_AMONG.format(number=number + 1) for number in parts))
    ranges = [[prefix, prefix_end(prefix) or _END] for prefix in prefixes]
    at, size = 0, _FIRST_PAGE
    while at < len(ranges):
        part = ranges[at : at + _RANGES]
        lows, highs = [low for low, _ in part], [high for _, high in part]
        page = rows(select, (lows, highs, namespace, *parts.values(), size, size))
        yield from to_entries([row[1:] for row in page])
        if len(page) < size:
            at += len(part)
        else:
            at += page[-1][0] - 1
            # The least key above the last one: keys hold no NUL.
            ranges[at][0] = page[-1][2] + "\x01"
            size = min(size * 4, _LARGEST_PAGE)
