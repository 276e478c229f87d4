"""How far a copy has come, kept in the destination so that an interrupted one goes on there.

::

    namespace  mycelia/copies
    DIGEST/NAMESPACE   {"created_at", "cursor", "after", "done", ...}, a Place
    DIGEST             {"cursor"}: the changes through it have arrived in every namespace begun before

DIGEST names the source and what of it was asked for. A place is written in the transaction of the entries that it
speaks of. All are removed when the copy has ended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ..contract import NamespaceInfo, StorageBackend
from ..errors import NamespaceNotEmpty, NamespaceNotFound

#: Where unfinished copies are kept. It is never copied itself.
COPIES_NAMESPACE: Final = "mycelia/copies"


@dataclass
class Place:
    """One namespace of a copy."""

    namespace: str
    created_at: int
    """Of the namespace in the source: another one is another namespace."""
    tracked: bool
    """Whether the source tracked its changes before the copy."""
    owned: bool
    """Whether the destination held nothing there when the copy began, so that all that it holds is the copy's."""
    cursor: int | None = None
    """Changes after it have not been followed yet. None: nothing is, the namespace is not tracked."""
    after: str | None = None
    """The key through which entries have arrived."""
    surplus: bool = False
    """Whether what only the destination holds is deleted on the way."""
    done: bool = False
    passed: int = 0
    """Entries up to ``after``, for the progress."""
    indexes: list[str] = field(default_factory=list)
    """Those that the copy made."""
    metadata: bool = False
    """Whether the copy set the namespace's metadata."""


class Places:
    """The places of one copy, in memory and in the destination."""

    def __init__(self, source: StorageBackend, destination: StorageBackend, names: Iterable[str] | None) -> None:
        self._destination = destination
        status = source.get_status()
        first = source.get_namespace("default")
        identity = {
            "backend": status.backend,
            "born": None if first is None else first.created_at,
            **{name: status.details.get(name) for name in ("path", "url", "address", "database")},
            "namespaces": None if names is None else sorted(names),
        }
        text = json.dumps(identity, sort_keys=True, default=str)
        self._digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.found: dict[str, Place] = {}
        self.open: dict[str, Place] = {}
        self._load()

    def _load(self) -> None:
        through = self._destination.get(self._digest, {}, namespace=COPIES_NAMESPACE).get("cursor", 0)
        for entry in self._destination.scan(namespace=COPIES_NAMESPACE, prefix=self._digest + "/"):
            try:
                place = Place(**entry.value)
            except TypeError:  # another version of this library wrote it
                continue
            if place.cursor is not None:
                place.cursor = max(place.cursor, through)
            self.found[place.namespace] = place

    def begin(self, info: NamespaceInfo, cursor: int | None, mirror: bool) -> Place:
        """The place of a namespace, new; nothing is written yet."""
        held = self._destination.list(namespace=info.name, limit=1)
        place = Place(info.name, info.created_at, info.track_changes, mirror or not held, cursor, surplus=mirror)
        self.open[info.name] = place
        return place

    def resume(self, place: Place) -> None:
        """Go on at a place that was found."""
        self.open[place.namespace] = place

    def save(self, place: Place, tx: StorageBackend) -> None:
        """Write a place within the transaction of what it speaks of.

        Where a transaction cannot reach both, no places are kept, and a copy made again compares everything.
        """
        if not self._destination.transactions_span_namespaces:
            return
        value: dict[str, Any] = asdict(place)
        tx.set(f"{self._digest}/{place.namespace}", value, namespace=COPIES_NAMESPACE)

    def save_cursor(self, tx: StorageBackend) -> None:
        """Note that every change up to the lowest cursor has arrived."""
        cursors = [place.cursor for place in self.open.values() if place.cursor is not None]
        if cursors and self._destination.transactions_span_namespaces:
            tx.set(self._digest, {"cursor": min(cursors)}, namespace=COPIES_NAMESPACE)

    def forget(self, namespace: str, tx: StorageBackend) -> None:
        """The namespace is no longer copied."""
        self.open.pop(namespace, None)
        self.found.pop(namespace, None)
        tx.delete(f"{self._digest}/{namespace}", namespace=COPIES_NAMESPACE)

    def forget_all(self) -> None:
        """The copy has ended: remove every trace of it."""
        keys = [self._digest, *self._destination.list(self._digest + "/*", namespace=COPIES_NAMESPACE)]
        try:
            with self._destination.transaction() as tx:
                tx.delete_many(keys, namespace=COPIES_NAMESPACE)
                tx.delete_namespace(COPIES_NAMESPACE)
        except NamespaceNotFound:
            pass
        except NamespaceNotEmpty:  # another copy is under way
            self._destination.delete_many(keys, namespace=COPIES_NAMESPACE)
