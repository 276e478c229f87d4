"""Follower: copies namespaces page by page and follows the source's change log until both are equal.

::

    copy()      for each namespace: note the log's cursor, then every entry in key order, then its indexes
    catch_up()  rounds: in one snapshot of the source, read which keys changed since the cursor, and make just these
                stand in the destination as they stand in that snapshot
    verify()    compare everything in key order; what differs is left to the next round
    finish()    the last round, the report, and the records of the copy removed

The log only says where to look; what is copied is always the entry as it stands. So it does no harm to look twice,
and a round that ends with nothing left open makes the destination equal to the source at the moment of its snapshot.
Rounds also run while entries are copied and compared, so that the log need not keep the whole time's changes.

A namespace whose log was pruned past the cursor, or that was deleted and created anew, is copied again from its start,
which writes only what differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice
from types import TracebackType
from typing import Final, Self

from ..contract import NamespaceInfo, StorageBackend
from ..errors import CursorExpired, NamespaceNotEmpty, NamespaceNotFound, StorageBusy, TransactionExpired
from ..indexes import Index
from ..names import Namespace, check_namespace
from .change_news import News, read_news
from .comparing import Comparing
from .entries import Wanted, bounded_wanted
from .places import COPIES_NAMESPACE, Place, Places
from .reports import CopyReport, Findings
from .schema import copy_indexes, describe
from .sending import Sending
from .snapshots import FOLLOWING_SECONDS, SNAPSHOT_SECONDS, Snapshots

#: Changes that a round follows at most, so that its snapshot stays short.
ROUND_CHANGES: Final = 10_000

#: Differing keys of earlier rounds that a round tries again.
_RETRIED: Final = 1_000

#: While following, namespaces, indexes and namespace metadata are looked at this often, in seconds.
_SURVEY_INTERVAL: Final = 2.0

_IDLE: Final = 0.05


class Follower:
    """One copy from ``source`` to ``destination``; used by one thread at a time.

    ``namespaces``: those alone, without those below them; None is all, with those created meanwhile. ``catch_up``
    follows the changes made meanwhile, and turns change tracking on where it is off: the source must be writable then,
    and the contract knows no way to turn it off again. ``mirror`` deletes what only the destination holds.

    Raises NamespaceNotFound, and what reading and writing raise; made again after that, it goes on where it ended.
    """

    def __init__(
        self,
        source: StorageBackend,
        destination: StorageBackend,
        *,
        namespaces: Iterable[Namespace] | None = None,
        progress: Callable[[int, int], None] | None = None,
        verify: bool = True,
        catch_up: bool = True,
        mirror: bool = False,
    ) -> None:
        self._source, self._destination = source, destination
        self._names = None if namespaces is None else list(dict.fromkeys(map(check_namespace, namespaces)))
        self._progress, self._compares = progress, verify
        self._tracks, self._mirror = catch_up, mirror
        self._snapshots = Snapshots(source, FOLLOWING_SECONDS if catch_up else SNAPSHOT_SECONDS)
        self._places = Places(source, destination, self._names)
        self._findings = Findings()
        self._total = self._passed = 0
        self._sending = Sending(source, destination, self._findings)
        self._comparing = Comparing(self._snapshots, destination, self._findings, self._page_compared, mirror=mirror)
        self._uncompared: dict[str, Place] = {}
        self._described: dict[str, NamespaceInfo] = {}
        self._unfinished: list[Place] = []
        self._finishing = False
        self._verified = False
        self._settled = False
        self._surveyed = 0.0
        self._tracking: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the snapshot. An unfinished copy can be made again and then goes on."""
        self._snapshots.close()

    # -- copying ---------------------------------------------------------------------------------------------------

    def copy(self) -> None:
        """Copy every entry once, page by page, and the indexes."""
        infos = self._snapshots.read(self._infos)
        self._total = sum(info.entries for info in infos) * (2 if self._compares else 1)
        begun = [self._begin(info) for info in infos]
        for place in list(self._places.found.values()):  # deleted since the copy was interrupted
            self._delete(place)
        self._passed = sum(place.passed for place in begun)
        self._unfinished += [place for place in begun if not place.done]
        self._finish_places()
        self._step()

    def _infos(self, snapshot: StorageBackend) -> list[NamespaceInfo]:
        names = snapshot.list_namespaces() if self._names is None else self._names
        infos = []
        for name in names:
            info = snapshot.get_namespace(name)
            if info is None:
                raise NamespaceNotFound(f"no namespace {name!r} in the source")
            if name != COPIES_NAMESPACE or self._names is not None:
                infos.append(info)
        return infos

    def _begin(self, info: NamespaceInfo) -> Place:
        """Start with a namespace, or go on with it if its changes since then are all known."""
        cursor = None
        tracked = info.track_changes
        if self._tracks and not tracked:
            with self._source.transaction() as tx:
                now = tx.get_namespace(info.name)
                if now is not None:  # else it was deleted meanwhile; a survey will see that
                    tx.create_namespace(info.name, exist_ok=True, track_changes=True)
                    self._tracking.append(info.name)
            self._snapshots.close()  # an older one would miss what was written before the log began
        if self._tracks or tracked:
            cursor = self._snapshots.read(lambda snapshot: snapshot._last_seq())
        found = self._places.found.pop(info.name, None)
        if found is not None and found.created_at == info.created_at:
            if tracked and found.cursor is not None and cursor is not None and self._knows(found, cursor):
                self._places.resume(found)
                return found
            tracked, info = found.tracked, info._replace(track_changes=found.tracked)
        place = self._places.begin(info, cursor, self._mirror)
        if found is not None:
            place.owned = place.surplus = place.owned or found.owned
            place.indexes, place.metadata = found.indexes, found.metadata
        self._uncompared[info.name] = place
        self._findings.place(info.name, "namespace", None)
        self._described.pop(info.name, None)
        with self._destination.transaction() as tx:
            self._findings.place(info.name, "metadata", describe(info, tx, place))
            self._places.save(place, tx)
        return place

    def _knows(self, place: Place, last: int) -> bool:
        """Whether the log still has every change after the place's cursor."""
        if place.cursor is None or place.cursor > last:
            return False
        try:
            self._source.changes(namespace=place.namespace, since=place.cursor, limit=0)
        except CursorExpired:
            return False
        return True

    def _finish_places(self) -> None:
        """Copy what has been begun. A round on the way may begin more; it leaves them to the loop here."""
        if self._finishing:
            return
        self._finishing = True
        try:
            while self._unfinished:
                self._copy_place(self._unfinished[0])
                del self._unfinished[0]
        finally:
            self._finishing = False

    def _is_open(self, place: Place) -> bool:
        """Whether the place still counts: it was neither begun anew nor deleted."""
        return self._places.open.get(place.namespace) is place

    def _copy_place(self, place: Place) -> None:
        """Every entry after the place's key, and the indexes. Surplus of the copy itself is deleted on the way."""
        while self._is_open(place) and (page := self._snapshots.page(place.namespace, place.after)):
            with self._destination.transaction() as tx:
                self._sending.page(tx, place, page)
                self._places.save(place, tx)
            self._passed += len(page)
            self._step()
            self._follow_along()
        if not self._is_open(place):
            return
        if place.surplus:
            self._sending.remove_surplus(place, place.after)
        place.done = True
        with self._destination.transaction() as tx:
            self._places.save(place, tx)
        self._copy_indexes(self._snapshots.read(lambda snapshot: snapshot.list_indexes(place.namespace)), place)

    def _copy_indexes(self, wanted: dict[str, Index], place: Place) -> None:
        before = list(place.indexes)
        problems = copy_indexes(wanted, self._destination, place)
        if place.indexes != before:
            self._places.save(place, self._destination)
        for name, problem in problems.items():
            self._findings.place(place.namespace, f"index {name}", problem)

    # -- following -------------------------------------------------------------------------------------------------

    @property
    def _follows(self) -> bool:
        """Whether there is a log to follow, and anything that could have happened since the first snapshot."""
        return self._tracks or (
            self._snapshots.moments > 1 and any(p.cursor is not None for p in self._places.open.values())
        )

    def _follow_along(self) -> None:
        """A round now and then, while pages are read from one snapshot after the other."""
        if self._snapshots.is_old and (self._tracks or self._follows):
            self._round()

    def catch_up(self, *, gap: int = 0, stop: Callable[[], bool] | None = None) -> int:
        """Rounds until one that left nothing open followed at most ``gap`` changes; how many it followed.

        The destination then stands as the source did at that round's beginning. ``gap=0`` waits for a moment without
        writes; ``stop`` is asked between rounds and ends the catching up after the next complete one.
        """
        while True:
            stopping = stop is not None and stop()
            followed, settled = self._round(survey=True)
            if settled and (stopping or followed <= gap):
                return followed

    def follow(self, stop: Callable[[], bool]) -> None:
        """Follow the source until ``stop()`` says so; it is asked between rounds, many times a second when it is quiet.

        A storage that is busy is waited for.
        """
        while not stop():
            try:
                followed, settled = self._round(survey=time.monotonic() - self._surveyed > _SURVEY_INTERVAL)
            except StorageBusy:  # a round that was broken off is made again
                continue
            if settled and not followed:
                self._source._wait_for_commit(_IDLE)

    def _round(self, *, survey: bool = False) -> tuple[int, bool]:
        """Follow the changes up to now, or ROUND_CHANGES of them; how many, and whether nothing was left open."""
        most = ROUND_CHANGES
        while True:
            try:
                news, new = self._read_round(survey, most)
                break
            except TransactionExpired:
                if most < 10:
                    raise
                most //= 10
        begun = [self._begin(info) for info in new]
        for name, through in news.cleared.items():
            if name in self._places.open:
                self._clear(self._places.open[name], through)
        for name, cursor in news.cursors.items():
            if name in self._places.open and name not in news.lost:
                self._places.open[name].cursor = cursor
        begun += [place for name in news.lost if (place := self._begin_again(name))]
        self._unfinished += begun
        self._finish_places()
        if news.keys or news.cleared or begun:
            self._places.save_cursor(self._destination)
        complete = not (news.more or news.cleared or begun or news.lost or self._unfinished)
        self._settled = complete and survey
        return len(news.keys) + len(news.cleared) + len(begun), complete

    def _read_round(self, survey: bool, most: int) -> tuple[News, list[NamespaceInfo]]:
        """What a round does with one snapshot: the changed keys, and with ``survey`` a look at the namespaces."""
        snapshot = self._snapshots.renew()
        cursors = {name: p.cursor for name, p in self._places.open.items() if p.cursor is not None}
        news = read_news(snapshot, cursors, together=self._names is None, most=most)
        through: dict[tuple[str, str], int | None] = {}
        if survey:  # what differed before is tried again
            for name in islice(self._findings.keys, _RETRIED):
                through[name] = None if self._mirror else self._findings.versions[name]
        through.update(news.keys)
        wanted = (
            Wanted(name, key, snapshot.get_entry(key, namespace=name), version)
            for (name, key), version in through.items()
        )
        for batch in bounded_wanted(wanted):
            self._sending.keys(batch)
        return news, self._survey(snapshot, news.lost) if survey else []

    def _clear(self, place: Place, through: int) -> None:
        if place.owned:
            self._sending.remove_surplus(place, None, through)
            return
        problem = "cleared in the source; the destination held entries of its own, so what it holds was kept"
        self._findings.place(place.namespace, "clear", problem)

    def _begin_again(self, name: str) -> Place | None:
        """Copy a namespace from its start: its log was lost, or it is another one of the same name."""
        old = self._places.open.get(name)
        info = self._source.get_namespace(name)
        if old is None or info is None:
            return None  # the next survey deletes it
        self._places.found[name] = old
        old.cursor = None
        return self._begin(info)

    def _survey(self, snapshot: StorageBackend, lost: set[str]) -> list[NamespaceInfo]:
        """Look at the namespaces themselves: those gone or made anew, metadata and indexes. The result is new ones."""
        self._surveyed = time.monotonic()
        names = set(snapshot.list_namespaces())
        new: list[NamespaceInfo] = []
        # Those below a namespace come after it, and go before it.
        for name in sorted((name for name in self._places.open if name not in names), reverse=True):
            self._delete(self._places.open[name])
        for name in sorted(names if self._names is None else names.intersection(self._names)):
            if name == COPIES_NAMESPACE and self._names is None:
                continue
            info = snapshot.get_namespace(name)
            place = self._places.open.get(name)
            if info is None:
                continue
            if place is None:
                if self._tracks:
                    new.append(info)
            elif place.created_at != info.created_at or (self._tracks and not info.track_changes):
                lost.add(name)
            else:
                self._describe(info._replace(track_changes=place.tracked), place)
                self._copy_indexes(snapshot.list_indexes(name), place)
        return new

    def _describe(self, info: NamespaceInfo, place: Place) -> None:
        # What was given before is not looked at again: asking for a namespace counts its entries.
        if self._described.get(info.name) == (info := info._replace(entries=0)):
            return
        if info.metadata and not place.metadata:  # known before it is there, lest it stay for ever
            place.metadata = True
            self._places.save(place, self._destination)
        self._findings.place(info.name, "metadata", describe(info, self._destination, place))
        self._described[info.name] = info

    def _delete(self, place: Place) -> None:
        """The namespace was deleted in the source."""
        name = place.namespace
        self._findings.forget(name)
        if not place.owned:
            problem = "deleted in the source; the destination held entries of its own, so what it holds was kept"
            self._findings.place(name, "namespace", problem)
        with self._destination.transaction() as tx:
            if place.owned:
                self._sending.removed += tx.clear(namespace=name)
                try:
                    tx.delete_namespace(name)
                except NamespaceNotFound:
                    pass
                except NamespaceNotEmpty:
                    problem = "deleted in the source; the destination keeps it for what is below it"
                    self._findings.place(name, "namespace", problem)
            self._places.forget(name, tx)
        self._comparing.compared.pop(name, None)

    # -- comparing -------------------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Compare every entry. What differs may have changed meanwhile: the rounds after this one settle it."""
        self._verified = True
        self._findings.compare_anew()
        for place in list(self._places.open.values()):
            self._verify_place(place)

    def _verify_place(self, place: Place) -> None:
        self._uncompared.pop(place.namespace, None)
        if not self._is_open(place):
            return
        self._comparing.compare(place)
        self._step()

    def _page_compared(self) -> None:
        self._step()
        self._follow_along()

    def finish(self) -> CopyReport:
        """The last rounds, until one leaves nothing open; then the report. The records of the copy are removed.

        Writes to the source after this began may or may not have arrived.
        """
        if self._follows:
            self.catch_up(stop=lambda: True)
            while self._verified and self._uncompared:
                for place in list(self._uncompared.values()):
                    self._verify_place(place)
                self.catch_up(stop=lambda: True)
        self._snapshots.close()
        self._places.forget_all()
        return self.report()

    def report(self) -> CopyReport:
        """What was done so far."""
        entries = sum(self._comparing.compared.values()) if self._verified else self._passed
        places = self._places.open.values()
        followed = self._settled and all(place.cursor is not None for place in places)
        return CopyReport(
            namespaces=len(places),
            entries=entries,
            verified=max(entries - self._findings.differing, 0) if self._verified else 0,
            mismatch_count=len(self._findings),
            mismatches=self._findings.first(),
            written=self._sending.written,
            removed=self._sending.removed,
            one_moment=followed or self._snapshots.moments == 1,
            tracking=self._tracking,
        )

    def _step(self) -> None:
        if self._progress is not None:
            done = self._passed + sum(self._comparing.compared.values())
            self._progress(done, max(done, self._total))
