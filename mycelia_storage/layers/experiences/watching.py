"""Watching: a subscription reads the change log from a sequence number on and is woken by commits of any process.

Nothing is queued between writer and reader, so a slow reader holds up nobody and loses nothing: it reads the log at its
own pace. If the log was compacted under it, it gets a :class:`Gap` that says which numbers it missed, and goes on
behind.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .change_log import ChangeLog
from .entities import Experience, LogRecord
from .errors import CursorTooOld
from .ids import as_id
from .kinds import Entity, Event, ExperienceType
from .rows import facets, read_experiences

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True)
class WatchFilter:
    """Which experiences to hear of; all conditions must hold."""

    domains: Sequence[str] | None = None
    experience_types: Sequence[type[ExperienceType] | ExperienceType] | None = None
    min_importance: float | None = None

    def holds(self, facet: dict[str, Any]) -> bool:
        """Whether an experience with these facets is one of them."""
        types = self.experience_types
        return (
            (self.domains is None or any(domain in facet["domain"] for domain in self.domains))
            and (types is None or facet["type"] in {kind.tag for kind in types})
            and (self.min_importance is None or facet["importance"] >= self.min_importance)
        )


class WatchEvent(NamedTuple):
    """What happened to an experience."""

    sequence: int
    event_type: Event
    experience_id: str
    collective_id: str
    timestamp: int
    experience: Experience | None
    """As it is now, which may be later than the event; None once it is deleted."""


class Gap(NamedTuple):
    """The log was compacted: events after ``since`` up to and including ``until`` were missed."""

    since: int
    until: int


class Subscription:
    """Events of one collective in order, as an iterator that waits for the next. ``sequence`` is where it stands."""

    def __init__(self, store: ChangeLog, collective: str, filter: WatchFilter | None, sequence: int) -> None:
        self._store = store
        self._collective = collective
        self._filter = filter
        self.sequence = sequence
        """Every event up to this number was handed out or did not match."""
        self._ready: deque[WatchEvent | Gap] = deque()
        self._read_to = sequence
        self._closed = threading.Event()

    def next(self, timeout: float | None = None) -> WatchEvent | Gap | None:
        """The next event; None when ``timeout`` seconds pass without one, or after :meth:`close`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._closed.is_set():
            left = 1.0 if deadline is None else max(0.0, min(1.0, deadline - time.monotonic()))
            wakes = self._store.storage.watch(namespace=self._store.layout.sequence, timeout=left)
            while not self._ready and self._fetch():
                pass
            if self._ready:
                event = self._ready.popleft()
                self.sequence = event.until if isinstance(event, Gap) else event.sequence
                return event
            self.sequence = self._read_to
            if deadline is not None and time.monotonic() >= deadline:
                return None
            next(wakes, None)
        return None

    def poll(self) -> list[WatchEvent | Gap]:
        """What has happened since, without waiting."""
        found = []
        while (event := self.next(0)) is not None:
            found.append(event)
        return found

    def close(self) -> None:
        """End it: a waiting reader returns within a second."""
        self._closed.set()

    def _fetch(self) -> bool:
        """Read a page of the log; whether there was one."""
        store = self._store
        with store._snapshot() as tx:
            try:
                records = store._poll(tx, self._read_to, 500)
            except CursorTooOld as gap:
                self._ready.append(Gap(self._read_to, gap.compacted))
                self._read_to = gap.compacted
                return True
            if not records:
                return False
            self._read_to = records[-1].sequence
            mine = [r for r in records if r.collective_id == self._collective and r.entity_type == Entity.EXPERIENCE]
            held = {e.id: e for e in read_experiences(tx, store.layout, dict.fromkeys(r.entity_id for r in mine))}
        self._ready.extend(event for event in (self._event(r, held.get(r.entity_id)) for r in mine) if event)
        return True

    def _event(self, record: LogRecord, experience: Experience | None) -> WatchEvent | None:
        if record.event_type == Event.DELETED:
            experience = None
        facet = record.was if experience is None else facets(experience)
        if self._filter is not None and facet is not None and not self._filter.holds(facet):
            return None
        return WatchEvent(
            record.sequence, record.event_type, record.entity_id, record.collective_id, record.timestamp, experience
        )

    def __iter__(self) -> Iterator[WatchEvent | Gap]:
        while (event := self.next()) is not None:
            yield event

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Watching(ChangeLog):
    """The part of the store for watching."""

    def watch_experiences(
        self, collective_id: str, filter: WatchFilter | None = None, *, since: int | None = None
    ) -> Subscription:
        """Events of the experiences of a collective, by any process, from now on or from after a sequence number.

        An event of an experience that is deleted by now has no experience, and passes every filter but that of its
        deletion, for which the log keeps what filters ask.
        """
        start = self.get_wal_sequence() if since is None else since
        return Subscription(self, as_id(collective_id, "collective_id"), filter, start)

    watch_experiences_filtered = watch_experiences
