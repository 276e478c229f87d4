"""The change logs of the shards as one.

Each shard numbers its changes for itself; a change's ``seq`` here is the cursor through it (:mod:`~.cursors`). The logs
are merged by time, each in its own order. When a namespace moves, its log does not move along: a reader that had seen
all of it goes on at the new shard, one that had not gets CursorExpired. What a move itself writes is left out.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from ...contract import Change, ChangePage, StorageBackend
from ...errors import CursorExpired
from .cursors import decode, encode
from .ledger import LEFT, MOVE, RESERVED
from .router import Router, View
from .routing import top_of

_PAGE: Final = 1_000


class _Step(NamedTuple):
    """A change of one shard, in the order of the merge; ``change`` is None when users do not see it."""

    at: int
    number: int
    seq: int
    change: Change | None


def page_of(
    reader: StorageBackend,
    view: View,
    name: str,
    arrival: Mapping[str, Any] | None,
    namespace: str,
    since: int | None,
    limit: int | None,
) -> ChangePage:
    """A page of one namespace from the shard that holds it; ``arrival`` tells how it came there."""
    number = view.numbers[name]
    seen = {} if since is None else decode(since)
    after = None if since is None else seen.get(number, 0)
    if arrival is not None:
        # Its log began here after ``start``; where it was before, ``end`` was the last of it.
        old, end, start = view.numbers[arrival["from"]], arrival["ends"].get(namespace, 0), arrival["start"]
        if after is None:
            seen[old] = end
        elif (after < start or after == 0) and seen.get(old, 0) < end:
            raise CursorExpired(f"namespace {namespace!r} has moved to another shard since; read its entries again")
        after = max(start, after or 0)
    try:
        page = reader.changes(namespace=namespace, since=after, limit=limit)
    except CursorExpired:
        if since is not None:
            raise
        page = reader.changes(namespace=namespace, limit=limit)
    changes = [change._replace(seq=encode(seen | {number: change.seq})) for change in page.changes]
    return ChangePage(changes, encode(seen | {number: page.cursor}), page.has_more)


def page_of_all(
    readers: Mapping[str, StorageBackend], view: View, router: Router, since: int | None, limit: int | None
) -> ChangePage:
    """A page of all namespaces."""
    limit = _PAGE if limit is None else limit
    given = None if since is None else decode(since)
    seen: dict[int, int] = {}
    ends: dict[int, tuple[int, int]] = {}
    logs = []
    more = False
    for name, reader in readers.items():
        number = view.numbers[name]
        start = reader.changes(limit=0).cursor if given is None else given.get(number, 0)
        seen[number] = start
        page = reader.changes(since=start, limit=limit)
        more = more or page.has_more
        ends[number] = (len(page.changes), start if page.has_more else page.cursor)
        logs.append(list(_steps(page.changes, number, _Sight(reader, view, router, name))))
    changes: list[Change] = []
    for step in heapq.merge(*logs, key=lambda step: step[:3]):
        if len(changes) == limit:
            more = True
            break
        seen[step.number] = step.seq
        left, end = ends[step.number]
        ends[step.number] = (left - 1, end)
        if step.change is not None:
            changes.append(step.change._replace(seq=encode(seen)))
    cursor = changes[-1].seq if changes and len(changes) == limit else 0
    if not cursor:
        for number, (left, end) in ends.items():
            if not left:
                seen[number] = max(seen[number], end)
        cursor = encode(seen)
    return ChangePage(changes, cursor, more)


def _steps(changes: list[Change], number: int, sight: _Sight) -> Iterator[_Step]:
    at = 0
    for change in changes:
        at = max(at, change.at)  # a clock set back must not take a log out of its order
        yield _Step(at, number, change.seq, change if sight.shows(change) else None)


class _Sight:
    """Which changes of a shard users see."""

    def __init__(self, reader: StorageBackend, view: View, router: Router, name: str) -> None:
        self._reader, self._view, self._router, self._name = reader, view, router, name
        self._moves: dict[str, dict[str, Any] | None] = {}

    def shows(self, change: Change) -> bool:
        top = top_of(change.namespace)
        view, name = self._view, self._name
        if top == RESERVED:
            return False
        record = self._move(top) if view.table.is_moving else None
        if record is not None and record["epoch"] == view.table.epoch:
            if change.namespace in record["tracked"]:
                return False  # tracked for the sake of the move only
            if record["state"] == LEFT:
                return bool(change.seq <= record["end"])  # later ones are the deletion of the old copy
        if view.holder(top)[0] != name:
            return False
        arrival = self._router.arrival(view, top, name)
        return arrival is None or change.seq > arrival["start"]

    def _move(self, top: str) -> dict[str, Any] | None:
        if top not in self._moves:
            self._moves[top] = self._reader.get(MOVE + top, namespace=RESERVED)
        return self._moves[top]


def last_seen(view: View, readers: Mapping[str, StorageBackend]) -> int:
    """The cursor that means "from now on"."""
    return encode({view.numbers[name]: reader._last_seq() for name, reader in readers.items()})
