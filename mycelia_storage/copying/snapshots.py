"""Reading a source in snapshots of bounded age, so that no copy, however long, meets a transaction's time limit.

A snapshot that lives for hours would also keep an SQLite file from moving its WAL, and PostgreSQL from vacuuming.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from ..contract import Entry, StorageBackend, Transaction
from ..errors import TransactionExpired
from .entries import BATCH_ENTRIES, bounded_batches

T = TypeVar("T")

#: A snapshot older than this, in seconds, is replaced before the next page.
SNAPSHOT_SECONDS: Final = 20.0

#: The same where changes are followed: at each renewal a round runs, so this also bounds what the log must keep.
FOLLOWING_SECONDS: Final = 5.0

_TRIES: Final = 5


class Snapshots:
    """The current snapshot of ``source``. ``moments`` counts how many there have been."""

    def __init__(self, source: StorageBackend, seconds: float) -> None:
        self._source = source
        self._seconds = seconds
        self._current: Transaction | None = None
        self._begun = 0.0
        self.moments = 0

    @property
    def is_old(self) -> bool:
        """Whether the next page will come from another snapshot than the last."""
        return self._current is None or time.monotonic() - self._begun > self._seconds

    def current(self) -> StorageBackend:
        """The snapshot to read from now."""
        return self.renew() if self.is_old else self._current  # type: ignore[return-value]

    def renew(self) -> StorageBackend:
        """A snapshot of this moment."""
        self.close()
        self._current = self._source.begin_transaction(read_only=True)
        self._begun = time.monotonic()
        self.moments += 1
        return self._current

    def read(self, what: Callable[[StorageBackend], T]) -> T:
        """``what(snapshot)``, again in a new snapshot if its time limit passed meanwhile."""
        for last_try in (False,) * (_TRIES - 1) + (True,):
            try:
                return what(self.current())
            except TransactionExpired:
                self.close()
                if last_try:
                    raise
        raise AssertionError

    def page(self, namespace: str, after: str | None) -> list[Entry]:
        """The next entries after a key, within the bounds of a transaction; none at the end."""

        def read(snapshot: StorageBackend) -> list[Entry]:
            entries = snapshot.scan(namespace=namespace, after=after, limit=BATCH_ENTRIES)
            return next(bounded_batches(entries), [])

        return self.read(read)

    def close(self) -> None:
        """End the current snapshot."""
        current, self._current = self._current, None
        if current is not None and current.is_active:
            current.rollback()
