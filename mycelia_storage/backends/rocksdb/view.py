"""Changed rows above committed ones: what a transaction sees, and in the end writes.

A view is forked in no time (the changes are a sorted map whose blocks are shared), so a savepoint is a reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from ...states.ordered import SortedMap
from .engine import Reader
from .layout import after

#: Up to so many rows are deleted one by one, more of them as a range, which readers then have to look at.
_FEW: Final = 256


class View:
    """Committed rows with changes above them. ``wiped`` are prefixes of which nothing committed is seen any more."""

    __slots__ = ("base", "changes", "wiped")

    def __init__(self, base: Reader) -> None:
        self.base = base
        self.changes: SortedMap[bytes, bytes | None] = SortedMap()
        self.wiped: frozenset[bytes] = frozenset()

    def fork(self) -> View:
        """A copy. Writing to either changes nothing in the other."""
        copy = View.__new__(View)
        copy.base, copy.changes, copy.wiped = self.base, self.changes.fork(), self.wiped
        return copy

    def get(self, key: bytes) -> bytes | None:
        """The row of a key, or None."""
        if len(self.changes):
            row = self.changes.get(key)
            if row is not None:
                return row
            if self.changes.holds(key):
                return None
        return None if self.wiped and self._is_wiped(key) else self.base.get(key)

    def put(self, key: bytes, row: bytes) -> None:
        """Add or replace a row."""
        self.changes.put(key, row)

    def delete(self, key: bytes) -> None:
        """Remove a row, if it is there."""
        self.changes.put(key, None)

    def items(self, low: bytes, high: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Keys and rows from ``low`` (inclusive) to ``high`` (exclusive), both of rows with one prefix.

        The view must not change meanwhile.
        """
        base = iter(()) if self.wiped and self._is_wiped(low) else self.base.items(low, high, reverse)
        return _merged(base, self.changes.items(low, high, reverse=reverse), reverse) if len(self.changes) else base

    def wipe(self, prefix: bytes) -> None:
        """Remove all rows whose key begins so."""
        end = after(prefix)
        for key in [key for key, _ in self.changes.items(prefix, end)]:
            self.changes.pop(key)
        if prefix in self.wiped:
            return
        few = [key for key, _ in islice(self.base.items(prefix, end), _FEW + 1)]
        if len(few) > _FEW:
            self.wiped |= {prefix}
        else:
            for key in few:
                self.changes.put(key, None)

    def _is_wiped(self, key: bytes) -> bool:
        return any(key.startswith(prefix) for prefix in self.wiped)


def _merged(
    base: Iterator[tuple[bytes, bytes]], changes: Iterator[tuple[bytes, bytes | None]], reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    """Both in order; of a key in both the change is what counts, and None there is a deleted row."""
    committed = next(base, None)
    for key, row in changes:
        while committed is not None and (committed[0] > key if reverse else committed[0] < key):
            yield committed
            committed = next(base, None)
        if committed is not None and committed[0] == key:
            committed = next(base, None)
        if row is not None:
            yield key, row
    while committed is not None:
        yield committed
        committed = next(base, None)
