"""The entries under many prefixes, in few statements: one for each page, however many prefixes it spans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import orjson

from ...contract import Entry
from ...patterns import prefix_end
from .reading import Row, Rows, now_ms, to_entries

# CROSS JOIN makes SQLite take the ranges in their order, and the unique index gives each range in order of key.
_SELECT: Final = """SELECT bounds.key, found.key, found.value, metadata, version, created_at, updated_at, expires_at
FROM json_each(?) AS bounds CROSS JOIN storage_entries AS found WHERE namespace = ? AND found.key >= bounds.value ->> 0
AND found.key < bounds.value ->> 1 AND (expires_at IS NULL OR expires_at > ?) LIMIT ?"""

_PAGE: Final = 2_000
_RANGES: Final = 2_000
#: Above every key.
_END: Final = "\U0010ffff" * 257


def scan_prefixes(
    rows: Callable[[str, tuple[Any, ...]], Rows], namespace: str, prefixes: Sequence[str]
) -> Iterator[Entry]:
    """The entries under each prefix in turn, in order of key."""
    ranges = [[prefix, prefix_end(prefix) or _END] for prefix in prefixes]
    at = 0
    while at < len(ranges):
        part = ranges[at : at + _RANGES]
        page: list[Row] = rows(_SELECT, (orjson.dumps(part).decode(), namespace, now_ms(), _PAGE))
        yield from to_entries(namespace, [row[1:] for row in page])
        if len(page) < _PAGE:
            at += len(part)
        else:
            at += page[-1][0]
            # The least key above the last one: keys hold no NUL.
            ranges[at][0] = page[-1][1] + "\x01"
