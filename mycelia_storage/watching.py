"""``watch`` in terms of ``changes``: the log is read again after each commit, or some fifty times a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from .answers import Change

if TYPE_CHECKING:
    from .contract import StorageBackend

#: How often changes of other processes are looked for, in seconds.
WATCH_INTERVAL: Final = 0.02


def watch_by_reading(
    storage: StorageBackend, namespace: str | None, cursor: int, timeout: float | None
) -> Iterator[Change]:
    """The changes after ``cursor`` as they come, until ``timeout`` seconds have passed without one."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        page = storage.changes(namespace=namespace, since=cursor)
        cursor = page.cursor
        yield from page.changes
        if page.changes:
            deadline = None if timeout is None else time.monotonic() + timeout
        elif deadline is not None and time.monotonic() >= deadline:
            return
        if not page.has_more:
            left = WATCH_INTERVAL if deadline is None else min(WATCH_INTERVAL, deadline - time.monotonic())
            storage._wait_for_commit(max(left, 0))
