"""What a copy writes into its destination: pages of entries, changed keys, and the removal of what is gone."""

from __future__ import annotations

from ..contract import Entry, StorageBackend
from .entries import Wanted, send_wanted, still_differing
from .places import Place
from .reports import Findings
from .surplus import remove_surplus


class Sending:
    """The writes of one copy; counts ``written`` and ``removed`` entries, and leaves to ``findings`` what differs."""

    def __init__(self, source: StorageBackend, destination: StorageBackend, findings: Findings) -> None:
        self._source, self._destination = source, destination
        self._findings = findings
        self.written = self.removed = 0

    def page(self, tx: StorageBackend, place: Place, page: list[Entry]) -> None:
        """A page of a namespace, which comes after the place's key; what lies between and is surplus is deleted."""
        last = page[-1].key
        expected = {entry.key for entry in page}
        held: dict[str, Entry] = {}
        extra: list[str] = []
        for entry in tx.scan(namespace=place.namespace, after=place.after):
            if entry.key > last:
                break
            if entry.key in expected:
                held[entry.key] = entry
            elif place.surplus:
                extra.append(entry.key)
        wanted = [Wanted(entry.namespace, entry.key, entry) for entry in page]
        sent = send_wanted(tx, wanted, lambda _, key: held.get(key))
        self.removed += sent.removed + (tx.delete_many(extra, namespace=place.namespace) if extra else 0)
        self.written += sent.written
        versions = {entry.key: entry.version for entry in page}
        for (namespace, key), problem in sent.problems.items():
            self._findings.key(namespace, key, problem, versions[key])
        place.after = last
        place.passed += len(page)

    def keys(self, batch: list[Wanted]) -> None:
        """Keys that changed, in one transaction; then a look at whether they stand as wanted."""
        with self._destination.transaction() as tx:
            sent = send_wanted(tx, batch)
        self.written += sent.written
        self.removed += sent.removed
        differing = still_differing(self._destination, batch)
        for namespace, key, entry, through in batch:
            problem = sent.problems.get((namespace, key)) or differing.get((namespace, key))
            self._findings.settled(namespace, key)
            if problem is not None:
                self._findings.key(namespace, key, problem, through if entry is None else entry.version)

    def remove_surplus(self, place: Place, after: str | None, through: int | None = None) -> None:
        """Delete what the source does not hold, from ``after`` on (:func:`~.surplus.remove_surplus`)."""
        sent = remove_surplus(self._source, self._destination, place.namespace, after, through)
        self.removed += sent.removed
        for (namespace, key), problem in sent.problems.items():
            self._findings.key(namespace, key, problem)
