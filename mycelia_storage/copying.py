"""Copies one storage into another, whatever backends they are, and compares every entry afterwards.

The source is read in one snapshot from the first entry to the last comparison. Into the destination go bounded
transactions: namespaces first, then their entries with version, times and expiry, then their indexes, each built once.
The change log is not copied. Entries that the destination already holds just so are not written again, so a copy that
was interrupted goes on when it is run again.

What differs afterwards is returned, not raised: no storage is damaged when a writer elsewhere changed the destination
meanwhile or when it held newer versions already, and the caller can say which it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from .contract import Entry, NamespaceInfo, StorageBackend
from .errors import (
    BatchError,
    InvalidInput,
    KeyExists,
    NamespaceNotFound,
    StorageError,
    TransactionError,
    UniqueViolation,
    VersionConflict,
)
from .names import Namespace, check_namespace
from .values import encode_json, encode_value

#: Bounds of one transaction in the destination.
BATCH_ENTRIES: Final = 1000
BATCH_BYTES: Final = 16 * 2**20

#: Differences that a report names; it counts all.
NAMED_MISMATCHES: Final = 20

# Errors that belong to one entry. Any other (a full disk, a lost lock) stops the copy.
ENTRY_ERRORS: Final = (InvalidInput, UniqueViolation, KeyExists, VersionConflict, BatchError)


class Mismatch(NamedTuple):
    """One thing that is not in the destination as it is in the source. ``key`` is None for a namespace or index."""

    namespace: str
    key: str | None
    problem: str

    def __str__(self) -> str:
        place = f"namespace {self.namespace!r}" if self.key is None else f"key {self.key!r} in {self.namespace!r}"
        return f"{place}: {self.problem}"


class CopyReport(NamedTuple):
    """What a copy did. ``entries`` were in the source, ``verified`` of them compared equal afterwards."""

    namespaces: int
    entries: int
    verified: int
    mismatch_count: int
    mismatches: list[Mismatch]
    """The first of them."""

    @property
    def ok(self) -> bool:
        """Whether nothing differed."""
        return self.mismatch_count == 0


class RestoreResult(NamedTuple):
    """What restore_entries did with a batch."""

    stored: int
    unchanged: int
    refused: list[tuple[Entry, StorageError]]


def copy_storage(
    source: StorageBackend,
    destination: StorageBackend,
    *,
    namespaces: Iterable[Namespace] | None = None,
    progress: Callable[[int, int], None] | None = None,
    verify: bool = True,
) -> CopyReport:
    """Copy all namespaces, or those named (each alone, without those below it), and compare.

    ``progress(done, total)`` counts entries, copied and then compared. The source's ``transaction_timeout`` must be
    long enough for the whole; the destination keeps what else it holds. Raises InvalidInput when both are one
    storage, NamespaceNotFound, and what reading and writing raise.
    """
    _refuse_one_storage(source, destination)
    with source.transaction(read_only=True) as snapshot:
        infos = _infos(snapshot, namespaces)
        total = sum(info.entries for info in infos) * (2 if verify else 1)
        tally = _Tally(total, verify, progress)
        for info in infos:
            _copy_namespace(snapshot, destination, info, tally)
        if verify:
            for info in infos:
                _verify_namespace(snapshot, destination, info, tally)
    return CopyReport(len(infos), tally.entries, tally.verified, tally.mismatch_count, tally.mismatches)


def restore_entries(storage: StorageBackend, entries: Sequence[Entry]) -> RestoreResult:
    """Store entries as they are in one transaction, but for those there already just so, and those refused.

    Only errors of single entries are collected; any other is raised and nothing is stored.
    """
    with storage.transaction() as tx:
        missing = [entry for entry in entries if not _holds(tx, entry)]
        refused: list[tuple[Entry, StorageError]] = []
        try:
            with tx.transaction() as inner:
                stored = inner.restore(missing) if missing else 0
        except ENTRY_ERRORS:
            stored = 0
            for entry in missing:
                try:
                    with tx.transaction() as inner:
                        stored += inner.restore([entry])
                except ENTRY_ERRORS as error:
                    refused.append((entry, error))
    return RestoreResult(stored, len(entries) - len(missing), refused)


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


class _Tally:
    def __init__(self, total: int, verify: bool, progress: Callable[[int, int], None] | None) -> None:
        self.entries = 0
        self.verified = 0
        self.mismatch_count = 0
        self.mismatches: list[Mismatch] = []
        self.reasons: dict[tuple[str, str], str] = {}
        self._verify = verify
        self._total = total
        self._progress = progress

    def step(self) -> None:
        if self._progress is not None:
            done = self.entries + self.verified
            self._progress(done, max(done, self._total))

    def refuse(self, entry: Entry, reason: str) -> None:
        # A verification meets the entry again and counts it then; the reason says more than "missing".
        if not self._verify:
            self.mismatch(entry.namespace, entry.key, reason)
        elif len(self.reasons) < NAMED_MISMATCHES:
            self.reasons[entry.namespace, entry.key] = reason

    def mismatch(self, namespace: str, key: str | None, problem: str) -> None:
        self.mismatch_count += 1
        if len(self.mismatches) < NAMED_MISMATCHES:
            self.mismatches.append(Mismatch(namespace, key, problem))


def _refuse_one_storage(source: StorageBackend, destination: StorageBackend) -> None:
    first, second = _file_of(source), _file_of(destination)
    if source is destination or (first is not None and second is not None and first.samefile(second)):
        raise InvalidInput("source and destination are one storage")


def _file_of(storage: StorageBackend) -> Path | None:
    path = storage.get_status().details.get("path")
    file = Path(path) if isinstance(path, str) else None
    return file if file is not None and file.exists() else None


def _infos(snapshot: StorageBackend, namespaces: Iterable[Namespace] | None) -> list[NamespaceInfo]:
    wanted = snapshot.list_namespaces() if namespaces is None else namespaces
    names = dict.fromkeys(map(check_namespace, wanted))
    infos = []
    for name in names:
        info = snapshot.get_namespace(name)
        if info is None:
            raise NamespaceNotFound(f"no namespace {name!r} in the source")
        infos.append(info)
    return infos


def _copy_namespace(snapshot: StorageBackend, destination: StorageBackend, info: NamespaceInfo, tally: _Tally) -> None:
    destination.create_namespace(
        info.name, metadata=info.metadata or None, exist_ok=True, track_changes=info.track_changes
    )
    for batch in bounded_batches(snapshot.scan(namespace=info.name)):
        result = restore_entries(destination, batch)
        tally.entries += len(batch)
        for entry, error in result.refused:
            tally.refuse(entry, f"refused: {error}")
        tally.step()
    for name, index in snapshot.list_indexes(info.name).items():
        try:
            destination.create_index(info.name, index, name=name)
        except (UniqueViolation, InvalidInput) as error:
            tally.mismatch(info.name, None, f"index {name!r}: {error}")


def _verify_namespace(
    snapshot: StorageBackend, destination: StorageBackend, info: NamespaceInfo, tally: _Tally
) -> None:
    copied = destination.get_namespace(info.name)
    if copied is None:
        tally.mismatch(info.name, None, "missing")
        return
    if info.metadata and copied.metadata != info.metadata:
        tally.mismatch(info.name, None, "another metadata")
    if info.track_changes and not copied.track_changes:
        tally.mismatch(info.name, None, "does not track changes")
    others = destination.scan(namespace=info.name)
    other = next(others, None)
    for count, entry in enumerate(snapshot.scan(namespace=info.name), 1):
        # Both come in the order of their keys; what only the destination holds is passed over.
        while other is not None and other.key < entry.key:
            other = next(others, None)
        found = other if other is not None and other.key == entry.key else None
        problem = difference(entry, found, time.time_ns() // 1_000_000)
        if problem is None:
            tally.verified += 1
        else:
            tally.mismatch(entry.namespace, entry.key, tally.reasons.get((entry.namespace, entry.key), problem))
        if count % BATCH_ENTRIES == 0:
            tally.step()
    tally.step()


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
