"""Entries on their way: cut into bounded batches, stored as they are, compared.

An entry of the destination that is newer than the source's, or differs from it under the same version, is somebody
else's: it is neither overwritten nor deleted, and reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ..contract import Entry, StorageBackend
from ..errors import (
    BatchError,
    InvalidInput,
    KeyExists,
    StorageError,
    TransactionError,
    UniqueViolation,
    VersionConflict,
)
from ..values import encode_json, encode_value

#: Bounds of one transaction in the destination.
BATCH_ENTRIES: Final = 1000
BATCH_BYTES: Final = 16 * 2**20

# Errors that belong to one entry. Any other (a full disk, a lost lock) stops the copy.
ENTRY_ERRORS: Final = (InvalidInput, UniqueViolation, KeyExists, VersionConflict, BatchError)


class RestoreResult(NamedTuple):
    """What restore_entries did with a batch."""

    stored: int
    unchanged: int
    refused: list[tuple[Entry, StorageError]]


class Wanted(NamedTuple):
    """How a key shall stand in the destination. ``entry`` is None for "deleted", up to version ``through``."""

    namespace: str
    key: str
    entry: Entry | None
    through: int | None = None


class Sent(NamedTuple):
    """What send_wanted did: ``problems`` maps (namespace, key) to what stands against it, in words."""

    written: int
    removed: int
    problems: dict[tuple[str, str], str]


def restore_entries(storage: StorageBackend, entries: Sequence[Entry]) -> RestoreResult:
    """Store entries as they are in one transaction, but for those there already just so, and those refused.

    Only errors of single entries are collected; any other is raised and nothing is stored.
    """
    with storage.transaction() as tx:
        missing = [entry for entry in entries if not _holds(tx, entry)]
        stored, refused = _restore(tx, missing)
    return RestoreResult(stored, len(entries) - len(missing), refused)


def send_wanted(
    tx: StorageBackend, wanted: Iterable[Wanted], find: Callable[[str, str], Entry | None] | None = None
) -> Sent:
    """Make keys stand as wanted, inside the transaction ``tx``. ``find`` tells what it holds; None: it is asked."""
    missing: list[Entry] = []
    old: dict[tuple[str, str], Entry] = {}
    problems: dict[tuple[str, str], str] = {}
    removed = 0
    for namespace, key, entry, through in wanted:
        found = tx.get_entry(key, namespace=namespace) if find is None else find(namespace, key)
        if entry is None:
            if found is None:
                continue
            if through is not None and found.version > through:
                problems[namespace, key] = "deleted in the source, newer in the destination: kept"
            else:
                removed += tx.delete(key, namespace=namespace)
        elif found is None or found.version < entry.version:
            missing.append(entry)
            if found is not None:
                old[namespace, key] = found
        elif difference(entry, found, 0) is not None:
            newer = "newer in the destination" if found.version > entry.version else "another one of the same version"
            problems[namespace, key] = f"{newer}: kept"
    written, refused = _restore(tx, missing)
    colliding = [entry for entry, error in refused if isinstance(error, UniqueViolation)]
    if any((entry.namespace, entry.key) in old for entry in colliding):
        # Entries may have exchanged the values of a unique index: room for all of them, then each.
        with tx.transaction() as inner:
            for entry in colliding:
                inner.delete(entry.key, namespace=entry.namespace)
            again, left = _restore(inner, colliding)
            _restore(inner, [old[e.namespace, e.key] for e, _ in left if (e.namespace, e.key) in old])
        written += again
        refused = [pair for pair in refused if not isinstance(pair[1], UniqueViolation)] + left
    for entry, error in refused:
        problems[entry.namespace, entry.key] = f"refused: {error}"
    # An entry that expires on the way is not stored, so what it was to replace would stay.
    now = time.time_ns() // 1_000_000
    for entry in missing:
        name = entry.namespace, entry.key
        if entry.expires_at is not None and entry.expires_at <= now and name in old and name not in problems:
            removed += tx.delete(entry.key, namespace=entry.namespace)
    return Sent(written, removed, problems)


def _restore(tx: StorageBackend, entries: Sequence[Entry]) -> tuple[int, list[tuple[Entry, StorageError]]]:
    """Restore all at once or, when one is in the way, each by itself; how many, and those refused."""
    refused: list[tuple[Entry, StorageError]] = []
    if not entries:
        return 0, refused
    try:
        with tx.transaction() as inner:
            return inner.restore(entries), refused
    except ENTRY_ERRORS:
        stored = 0
        for entry in entries:
            try:
                with tx.transaction() as inner:
                    stored += inner.restore([entry])
            except ENTRY_ERRORS as error:
                refused.append((entry, error))
        return stored, refused


def difference(expected: Entry, found: Entry | None, now: int) -> str | None:
    """What differs, in words; None when nothing does. An entry that expired by ``now`` (ms) may be gone."""
    if found is None:
        gone = expected.expires_at is not None and expected.expires_at <= now
        return None if gone else "missing"
    different = [
        name
        for name in ("version", "created_at", "updated_at", "expires_at")
        if getattr(expected, name) != getattr(found, name)
    ]
    # Compared as stored: Python's own == calls 1, 1.0 and True equal.
    try:
        if encode_value(expected.value) != encode_value(found.value):
            different.append("value")
        if encode_json(expected.metadata) != encode_json(found.metadata):
            different.append("metadata")
    except InvalidInput as error:
        different.append(f"value or metadata ({error})")
    return f"another {', '.join(different)}" if different else None


def still_differing(destination: StorageBackend, wanted: Iterable[Wanted]) -> Mapping[tuple[str, str], str]:
    """What does not stand as wanted, read back from the destination."""
    differing = {}
    for namespace, key, entry, _ in wanted:
        found = destination.get_entry(key, namespace=namespace)
        if entry is not None:
            problem = difference(entry, found, time.time_ns() // 1_000_000)
        else:
            problem = None if found is None else "only in the destination"
        if problem is not None:
            differing[namespace, key] = problem
    return differing


def bounded_batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Runs of entries within the bounds of a transaction (or one entry that alone is larger)."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += _size(entry)
        if len(batch) >= BATCH_ENTRIES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def bounded_wanted(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    """The same of wanted keys."""
    batch: list[Wanted] = []
    size = 0
    for item in wanted:
        batch.append(item)
        value = None if item.entry is None else item.entry.value
        size += len(value) if isinstance(value, str | bytes) else 1_000
        if len(batch) >= BATCH_ENTRIES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(entry: Entry) -> int:
    try:
        return len(encode_value(entry.value))
    except InvalidInput:
        return BATCH_BYTES


def _holds(storage: StorageBackend, entry: Entry) -> bool:
    try:
        found = storage.get_entry(entry.key, namespace=entry.namespace)
    except TransactionError:
        raise
    except InvalidInput:
        return False  # a bad key or namespace: restore says what is wrong with it
    return found is not None and difference(entry, found, 0) is None
