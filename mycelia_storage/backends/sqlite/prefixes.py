"""The entries under many prefixes, in few statements: one for each page, however many prefixes it spans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from ...contract import Entry
from ...patterns import prefix_end
from .following import part_sql
from .reading import Row, Rows, now_ms, to_entries

# CROSS JOIN makes SQLite take the ranges in their order, and the unique index gives each range in order of key.
_SELECT: Final = """SELECT bounds.key, found.key, found.value, metadata, version, created_at, updated_at, expires_at
FROM json_each(?) AS bounds CROSS JOIN storage_entries AS found WHERE namespace = ? AND found.key >= bounds.value ->> 0
AND found.key < bounds.value ->> 1 AND (expires_at IS NULL OR expires_at > ?)"""
_AMONG: Final = " AND {part} IN (SELECT value FROM json_each(?))"

_FIRST_PAGE: Final = 128
_LARGEST_PAGE: Final = 2_048
_RANGES: Final = 2_000
#: Above every key.
_END: Final = "\U0010ffff" * 257


def scan_prefixes(
    rows: Callable[[str, tuple[Any, ...]], Rows],
    namespace: str,
    prefixes: Sequence[str],
    parts: Mapping[int, Sequence[str]],
) -> Iterator[Entry]:
    """The entries under each prefix in turn, in order of key, whose keys have one of the parts at each number."""
    among = "".join(_AMONG.format(part=part_sql("found.key || char(1)", number)) for number in parts)
    select = f"{_SELECT}{among} LIMIT ?"
    wanted = [orjson.dumps(some).decode() for some in parts.values()]
    ranges = [[prefix, prefix_end(prefix) or _END] for prefix in prefixes]
    at, size = 0, _FIRST_PAGE
    while at < len(ranges):
        part = ranges[at : at + _RANGES]
        page: list[Row] = rows(select, (orjson.dumps(part).decode(), namespace, now_ms(), *wanted, size))
        yield from to_entries(namespace, [row[1:] for row in page])
        if len(page) < size:
            at += len(part)
        else:
            at += page[-1][0]
            # The least key above the last one: keys hold no NUL.
            ranges[at][0] = page[-1][1] + "\x01"
            size = min(size * 4, _LARGEST_PAGE)
