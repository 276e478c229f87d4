"""Compares a namespace of the source with the destination's, entry by entry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ..contract import Entry, StorageBackend
from .entries import difference
from .places import Place
from .reports import Findings
from .snapshots import Snapshots


class Comparing:
    """The comparison of one copy; what differs goes into ``findings``.

    ``on_page`` is called after each page, with snapshots of the source free to be renewed. ``mirror``: what only the
    destination holds differs too.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        destination: StorageBackend,
        findings: Findings,
        on_page: Callable[[], None],
        *,
        mirror: bool,
    ) -> None:
        self._snapshots, self._destination = snapshots, destination
        self._findings = findings
        self._on_page = on_page
        self._mirror = mirror
        #: Entries compared in each namespace.
        self.compared: dict[str, int] = {}

    def compare(self, place: Place) -> None:
        """Compare the whole of a namespace. Both sides come in the order of their keys."""
        name = place.namespace
        self.compared[name] = 0
        others: Iterator[Entry] = self._destination.scan(namespace=name)
        other = next(others, None)
        after = None
        while page := self._snapshots.page(name, after):
            for entry in page:
                # What only the destination holds is passed over.
                while other is not None and other.key < entry.key:
                    self._surplus(other)
                    other = next(others, None)
                found = None
                if other is not None and other.key == entry.key:
                    found, other = other, next(others, None)
                problem = difference(entry, found, time.time_ns() // 1_000_000)
                if problem is not None:
                    self._findings.key(name, entry.key, problem, entry.version)
            after = page[-1].key
            self.compared[name] = self.compared.get(name, 0) + len(page)
            self._on_page()
        while other is not None:
            self._surplus(other)
            other = next(others, None)

    def _surplus(self, entry: Entry) -> None:
        if self._mirror or (entry.namespace, entry.key) in self._findings.reasons:
            self._findings.key(entry.namespace, entry.key, "only in the destination")
