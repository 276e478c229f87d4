"""Entries to be set, as callers give them, made into parameters of the statements that write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from ...contract import Entries, batch_pairs, check_ttl, read_batch_item
from ...errors import InvalidInput, StorageError
from ...names import SAFE_KEY_CHARS, Namespace, check_key, check_namespace
from ...values import encode_metadata, encode_value
from .reading import now_ms

_CHUNK_ITEMS: Final = 25_000
#: Characters and bytes of values that a chunk may hold.
CHUNK_CHARS: Final = 8_000_000

#: Namespace, key, value, metadata, now, expires_at, and the version where that is said.
Row = tuple[Any, ...]


def entry_row(key: Any, value: Any, namespace: Namespace, metadata: Any, ttl: float | None) -> Row:
    """The first six parameters of sql.SET_ROW for an entry to be set. Raises InvalidInput."""
    name, key, stored = check_namespace(namespace), check_key(key), encode_value(value)
    now = time.time_ns() // 1_000_000
    if metadata is None and ttl is None:
        return name, key, stored, None, now, None
    extra = encode_metadata(metadata)
    return name, key, stored, extra, now, None if check_ttl(ttl) is None else now + int(ttl * 1000)  # type: ignore[operator]


def set_chunks(
    entries: Entries,
    namespace: str,
    metadata: dict[str, Any] | None,
    ttl: float | None,
    version: int,
    errors: dict[tuple[str, str], StorageError],
) -> Iterator[tuple[list[Row], bool, bool]]:
    """The rows of a batch in chunks of bounded size: each with whether its rows differ in key and value alone, and
    whether they are the whole batch. What is no entry goes to ``errors``.
    """
    chunk: list[Row] = []
    alike = first = True
    room = CHUNK_CHARS
    now = now_ms()
    extra = encode_metadata(metadata)
    expires_at = None if check_ttl(ttl) is None else now + int(ttl * 1000)  # type: ignore[operator]
    for position, item in enumerate(batch_pairs(entries)):
        name = namespace
        try:
            if item.__class__ is tuple and len(item) == 2:
                key, value = item
                if key.__class__ is not str or not 0 < len(key) <= SAFE_KEY_CHARS or not key.isascii() or "\0" in key:
                    key = check_key(key)
                stored = encode_value(value)
                row = (namespace, key, stored, extra, now, expires_at, version)
            else:
                read = read_batch_item(item, position, namespace, metadata, ttl, errors)
                if read is None:
                    continue
                name, key = read.namespace, read.key
                row = (*entry_row(key, read.value, name, read.metadata, read.ttl), version)
                stored, alike = row[2], False
        except InvalidInput as error:
            errors[name, key if isinstance(key, str) else f"item {position}"] = error
            continue
        chunk.append(row)
        room -= len(stored)
        if room < 0 or len(chunk) == _CHUNK_ITEMS:
            yield chunk, alike, False
            chunk, room, alike, first = [], CHUNK_CHARS, True, False
    if chunk:
        yield chunk, alike, first
