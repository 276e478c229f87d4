"""What the memory backend holds at one moment.

::

    State ── spaces: name -> Space ── rows:     key -> Row
          │                        ├─ expiring: (expires_at, key) -> None, for rows that expire
          │                        ├─ log:      seq -> Change
          │                        ├─ indexes:  name -> declaration
          │                        └─ unique:   index name -> (field values as text -> key)
          └─ dropped: name of a deleted namespace -> last seq of the log that went with it

A State that was published or handed to a snapshot is never changed again: a :class:`~.draft.Draft` makes the next
one from forks of it. So readers need no lock, and a savepoint is a reference.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from ...contract import Change, ChangePage, Entry, NamespaceInfo
from ...errors import CursorExpired
from ...field_paths import MISSING, parse_path
from ...filters import identity
from ...indexes import FieldIndex, Index
from ...names import DEFAULT_NAMESPACE
from ...values import Stored, decode_metadata, decode_value
from .ordered import SortedMap


def now_ms() -> int:
    """UTC milliseconds."""
    return time.time_ns() // 1_000_000


class Row(NamedTuple):
    """An entry as stored: encoded, so that no caller holds a part of it."""

    value: Stored
    metadata: str | None
    version: int
    created_at: int
    updated_at: int
    expires_at: int | None

    def is_live(self, now: int) -> bool:
        """Whether the entry has not expired at ``now`` (UTC ms)."""
        return self.expires_at is None or self.expires_at > now

    def entry(self, namespace: str, key: str) -> Entry:
        """The entry, decoded anew."""
        value, metadata = decode_value(self.value), decode_metadata(self.metadata)
        return Entry(namespace, key, value, metadata, *self[2:])


class Space:
    """One namespace."""

    __slots__ = (
        "created_at",
        "expiring",
        "indexes",
        "log",
        "metadata",
        "name",
        "pruned_through",
        "rows",
        "tracked",
        "unique",
    )

    def __init__(
        self, name: str, metadata: str | None = None, *, tracked: bool = False, pruned_through: int = 0
    ) -> None:
        self.name = name
        self.metadata = metadata
        self.created_at = now_ms()
        self.tracked = tracked
        self.rows: SortedMap[str, Row] = SortedMap()
        self.expiring: SortedMap[tuple[int, str], None] = SortedMap()
        self.log: SortedMap[int, Change] = SortedMap()
        self.indexes: dict[str, Index] = {}
        self.unique: dict[str, SortedMap[str, str]] = {}
        self.pruned_through = pruned_through

    def fork(self) -> Space:
        """A copy whose changes the original never sees."""
        copy = Space.__new__(Space)
        copy.name, copy.metadata, copy.created_at = self.name, self.metadata, self.created_at
        copy.tracked, copy.pruned_through = self.tracked, self.pruned_through
        copy.rows, copy.expiring, copy.log = self.rows.fork(), self.expiring.fork(), self.log.fork()
        copy.indexes = self.indexes.copy()
        copy.unique = {name: held.fork() for name, held in self.unique.items()}
        return copy

    def count(self, now: int) -> int:
        """How many entries are live."""
        return len(self.rows) - sum(1 for _ in self.expired(now))

    def expired(self, now: int) -> Iterator[str]:
        """The keys that are stored but have expired."""
        for (_, key), _ in self.expiring.items(high=(now + 1, "")):
            yield key

    def info(self) -> NamespaceInfo:
        """What the contract tells of a namespace."""
        metadata = decode_metadata(self.metadata)
        return NamespaceInfo(self.name, metadata, self.created_at, self.count(now_ms()), self.tracked)


class State:
    """Everything stored, at one moment."""

    __slots__ = ("dropped", "last_seq", "spaces")

    def __init__(self) -> None:
        self.spaces: SortedMap[str, Space] = SortedMap()
        self.spaces.put(DEFAULT_NAMESPACE, Space(DEFAULT_NAMESPACE))
        self.dropped: SortedMap[str, int] = SortedMap()
        self.last_seq = 0

    def fork(self) -> State:
        """A copy whose changes the original never sees; the spaces in it are still shared."""
        copy = State.__new__(State)
        copy.spaces, copy.dropped, copy.last_seq = self.spaces.fork(), self.dropped.fork(), self.last_seq
        return copy

    def live_row(self, namespace: str, key: str) -> Row | None:
        """The row of an entry that exists and has not expired."""
        space = self.spaces.get(namespace)
        row = None if space is None else space.rows.get(key)
        return row if row is not None and (row.expires_at is None or row.is_live(now_ms())) else None

    def live_rows(
        self, namespace: str, low: str | None = None, high: str | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[str, Row]]:
        """Keys and rows from ``low`` (inclusive) to ``high`` (exclusive) that have not expired."""
        space = self.spaces.get(namespace)
        if space is not None:
            now = now_ms()
            for key, row in space.rows.items(low, high, reverse=reverse):
                if row.is_live(now):
                    yield key, row

    def family(self, name: str) -> list[str]:
        """The names of that namespace and those below it, as far as they exist."""
        own = [name] if self.spaces.get(name) is not None else []
        # "0" is the character after "/".
        return own + [below for below, _ in self.spaces.items(name + "/", name + "0")]

    def change_page(self, namespace: str | None, since: int | None, limit: int) -> ChangePage:
        """A page of the change log. Raises CursorExpired."""
        if namespace is None:
            spaces = list(self.spaces.values())
            lost = max(*(space.pruned_through for space in spaces), *self.dropped.values(), 0)
        else:
            space = self.spaces.get(namespace)
            spaces = [] if space is None else [space]
            lost = 0 if space is None else space.pruned_through
        if since is not None and since < lost:
            raise CursorExpired(f"changes up to {lost} are no longer kept; the cursor stands at {since}")
        after = lost if since is None else since
        logs = [space.log.items(after + 1) for space in spaces if len(space.log)]
        found = [change for _, change in islice(merge(*logs), limit + 1)]
        page = found[:limit]
        return ChangePage(page, page[-1].seq if page else after, len(found) > limit)


def unique_text(index: FieldIndex, entry: Entry) -> str | None:
    """The field values of ``entry`` that a unique index compares, as text; None when the entry takes no part.

    Two texts are equal exactly when all the values are equal as JSON.
    """
    parts = []
    for path in index.paths:
        found: Any = parse_path(path).read(entry)
        if found is MISSING or found.__class__ not in (bool, int, float, str):
            return None
        if found.__class__ is float and found.is_integer():
            found = int(found)
        parts.append(identity(found))
    return repr(parts)
