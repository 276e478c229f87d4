"""Copies one storage into another, whatever backends they are, and compares every entry afterwards.

The source is read in snapshots of bounded age, in key order; into the destination go bounded transactions: each
namespace first, then its entries with version, times and expiry, then its indexes, each built once. The change log is
not copied, only followed (:mod:`~mycelia_storage.copying.follower`). A copy that was interrupted goes on where it ended
when it is run again (:mod:`~mycelia_storage.copying.places`); where nothing tells what changed in between, both
storages are read and only what differs is written.

What differs afterwards is returned, not raised: no storage is damaged when a writer elsewhere changed the destination
meanwhile or when it held newer versions already, and the caller can say which it is. Newer entries of the destination
are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ..contract import StorageBackend
from ..errors import InvalidInput
from ..names import Namespace
from .entries import ENTRY_ERRORS, RestoreResult, bounded_batches, difference, restore_entries
from .follower import Follower
from .reports import CopyReport, Mismatch


def copy_storage(
    source: StorageBackend,
    destination: StorageBackend,
    *,
    namespaces: Iterable[Namespace] | None = None,
    progress: Callable[[int, int], None] | None = None,
    verify: bool = True,
    catch_up: bool = False,
    follow: Callable[[], bool] | float | None = None,
    mirror: bool = False,
) -> CopyReport:
    """Copy all namespaces, or those named (each alone, without those below it), and compare.

    ``progress(done, total)`` counts entries, copied and then compared.

    A source that is written meanwhile: ``catch_up`` follows its change log until the destination is equal to the source
    at one moment near the end. For that it turns change tracking on in the namespaces where it is off, and leaves it on
    (``report.tracking`` names them); the destination gets the setting from before. ``follow`` goes on following until
    it returns True, or for so many seconds, and then catches up for the last time. Without either, the copy is of one
    moment if it takes less than about 20 seconds or if all its namespaces track changes already: ``report.one_moment``.

    The destination keeps what else it holds, and entries of the same keys that are newer there: they are reported.
    ``mirror`` deletes what the source does not have. Entries that only a namespace of the copy's own making holds,
    because they were deleted in the source meanwhile, are always deleted.

    Raises InvalidInput when both are one storage, NamespaceNotFound, StorageReadOnly (``catch_up`` on a read-only
    source that is to be tracked), and what reading and writing raise: run it again, and it goes on.
    """
    _refuse_one_storage(source, destination)
    with Follower(
        source,
        destination,
        namespaces=namespaces,
        progress=progress,
        verify=verify,
        catch_up=catch_up or follow is not None,
        mirror=mirror,
    ) as copy:
        copy.copy()
        if follow is not None:
            copy.follow(follow if callable(follow) else _after(follow))
        if verify:
            copy.verify()
        return copy.finish()


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _refuse_one_storage(source: StorageBackend, destination: StorageBackend) -> None:
    first, second = _file_of(source), _file_of(destination)
    if source is destination or (first is not None and second is not None and first.samefile(second)):
        raise InvalidInput("source and destination are one storage")


def _file_of(storage: StorageBackend) -> Path | None:
    path = storage.get_status().details.get("path")
    file = Path(path) if isinstance(path, str) else None
    return file if file is not None and file.exists() else None


__all__ = [
    "ENTRY_ERRORS",
    "CopyReport",
    "Follower",
    "Mismatch",
    "RestoreResult",
    "bounded_batches",
    "copy_storage",
    "difference",
    "restore_entries",
]
