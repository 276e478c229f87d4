"""The move of one top-level namespace from one shard to another, while it is read and written.

The steps are numbered as in the package. Each is a transaction that checks the mover's token, and a move that was
interrupted after any of them is begun again from the start, where what was copied is compared and not sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, cast
from uuid import uuid4

from ...contract import StorageBackend, Transaction
from ...copying import CopyReport, Follower
from ...errors import CursorExpired, StorageBusy, StorageError
from ...names import DEFAULT_NAMESPACE
from . import ledger
from .ends import COPIES, Donor, Recipient
from .ledger import ARRIVED, COPYING, FENCED, INCOMING, LEFT, MOVE, RESERVED
from .router import clock
from .routing import Table

#: Seconds after which a writer may lift a fence whose mover has not come back.
FENCE_SECONDS: Final = 5.0

#: Changes that may be left when the fence comes up, and the seconds for which to wait for so few.
_GAP: Final = 200
_CHASE_SECONDS: Final = 30.0

_FENCES: Final = 5
_BATCH: Final = 1_000

#: Entries that are deleted in one transaction: it takes some tens of milliseconds.
_AT_ONCE: Final = 10_000


class MoveReport(NamedTuple):
    """One namespace that was moved. Times in seconds; writers waited for ``fenced`` of them at most."""

    top: str
    source: str
    target: str
    entries: int
    seconds: float
    fenced: float


class Move:
    """One move within the epoch of ``table``; ``source`` and ``target`` are names and shards."""

    def __init__(
        self, top: str, table: Table, source: tuple[str, StorageBackend], target: tuple[str, StorageBackend]
    ) -> None:
        self.top = top
        self._epoch = table.epoch
        self._address = f"{table.cluster}/{table.epoch}/{source[0]}/{top}"
        self._source_name, self._source = source
        self._target_name, self._target = target
        self._token = uuid4().hex

    def run(self, settled: Callable[[], None], count: Callable[[int], None]) -> MoveReport | None:
        """Move it; None if it had left already and only the old copy was still to be deleted.

        ``settled`` waits until every client knows that it is in transit. Raises StorageBusy when another mover has
        taken over, StorageError when the copy does not compare equal.
        """
        began = clock()
        if self._take_over() == LEFT:
            self._clean_up()
            return None
        passed = 0

        def progress(done: int, _total: int) -> None:
            nonlocal passed
            count(done - passed)
            passed = done

        entries, fenced = self._copy_and_switch(settled, progress)
        self._clean_up()
        return MoveReport(self.top, self._source_name, self._target_name, entries, clock() - began, fenced)

    # -- steps 3 to 7 --------------------------------------------------------------------------------------------------

    def _copy_and_switch(self, settled: Callable[[], None], progress: Callable[[int, int], None]) -> tuple[int, float]:
        for attempt in range(1, _FENCES + 1):
            self._open_target()
            donor = Donor(self._source, self.top, self._address, self._at_source, self._track)
            recipient = Recipient(self._target, self._at_target)
            with Follower(
                cast(StorageBackend, donor), cast(StorageBackend, recipient), progress=progress, mirror=True
            ) as copy:
                copy.copy()
                settled()
                copy.verify()
                give_up = clock() + _CHASE_SECONDS
                copy.catch_up(gap=_GAP, stop=lambda give_up=give_up: clock() >= give_up)  # type: ignore[misc]
                ends = self._log_ends({})
                began = clock()
                self._fence(attempt)
                try:
                    report = copy.finish()
                    _require_equal(self.top, report)
                    self._arrive(self._log_ends(ends))
                    left = self._leave()
                except BaseException:
                    self._unfence()
                    raise
                if left:
                    return report.entries, clock() - began
        raise StorageBusy(f"namespace {self.top!r} could not be moved: its fence was lifted {_FENCES} times")

    def _take_over(self) -> str:
        """Become the mover of this namespace; the state that it is in."""
        with self._source.transaction() as tx:
            record = tx.get(MOVE + self.top, namespace=RESERVED)
            if record is None or record["epoch"] != self._epoch:
                record = {"epoch": self._epoch, "to": self._target_name, "tracked": [], "until": 0, "end": 0}
                record["state"] = COPYING
            if record["state"] == FENCED:
                record["state"] = COPYING
            ledger.write(tx, MOVE + self.top, record | {"token": self._token})
            return str(record["state"])

    def _open_target(self) -> None:
        """Let this mover write the copy, and no other; what an earlier epoch left there goes first."""
        with self._target.transaction() as tx:
            record = tx.get(INCOMING + self.top, namespace=RESERVED)
            if record is None or record["epoch"] != self._epoch:
                _delete_family(tx, self.top)
            ledger.write(tx, INCOMING + self.top, {"epoch": self._epoch, "token": self._token})

    def _track(self, tx: StorageBackend, name: str) -> None:
        """Turn change tracking on for the time of the move, and note it: users asked for none."""
        record = self._own(tx)
        assert record is not None
        ledger.write(tx, MOVE + self.top, record | {"tracked": sorted({*record["tracked"], name})})
        tx.create_namespace(name, exist_ok=True, track_changes=True)

    def _fence(self, attempt: int) -> None:
        with self._at_source() as (tx, record):
            until = time.time_ns() // 1_000_000 + int(FENCE_SECONDS * 1000 * attempt)
            ledger.write(tx, MOVE + self.top, record | {"state": FENCED, "until": until})

    def _unfence(self) -> None:
        with self._source.transaction() as tx:
            record = tx.get(MOVE + self.top, namespace=RESERVED)
            if record is not None and record["token"] == self._token and record["state"] == FENCED:
                ledger.write(tx, MOVE + self.top, record | {"state": COPYING})

    def _arrive(self, ends: Mapping[str, int]) -> None:
        """Take no more of the copy, track what users want tracked, and note where the change log goes on."""
        with self._at_target() as tx:
            for name in ends:
                tx.create_namespace(name, exist_ok=True, track_changes=True)
            ledger.write(
                tx,
                ARRIVED + self.top,
                {
                    "epoch": self._epoch,
                    "from": self._source_name,
                    "ends": dict(ends),
                    "start": tx._last_seq(),
                },
            )
            ledger.write(tx, INCOMING + self.top, {"epoch": self._epoch, "token": None})

    def _leave(self) -> bool:
        """The commit from which on the new shard has the namespace; False if a writer has lifted the fence."""
        with self._source.transaction() as tx:
            record = self._own(tx)
            if record is None or record["state"] != FENCED:
                return False
            ledger.write(tx, MOVE + self.top, record | {"state": LEFT, "end": tx._last_seq()})
        return True

    def _log_ends(self, known: Mapping[str, int]) -> dict[str, int]:
        """The last seq of each namespace that users track, searched from ``known`` on."""
        record = self._source.get(MOVE + self.top, namespace=RESERVED)
        ends = {}
        # Who last looked where it was before it came to the source has missed something, if only nothing.
        arrival = self._source.get(ARRIVED + self.top, namespace=RESERVED)
        least = 0 if arrival is None else max(1, arrival["start"])
        for name in ledger.family(self._source, self.top):
            if name in record["tracked"]:
                continue
            info = self._source.get_namespace(name)
            if info is not None and info.track_changes:
                ends[name] = max(least, self._log_end(name, known.get(name)))
        return ends

    def _log_end(self, name: str, since: int | None) -> int:
        while True:
            try:
                page = self._source.changes(namespace=name, since=since)
            except CursorExpired:
                since = None
                continue
            since = page.cursor
            if not page.has_more:
                return since

    # -- step 8 --------------------------------------------------------------------------------------------------------

    def _clean_up(self) -> None:
        """Delete the old copy. A large one goes in small batches, so that nobody waits long for the lock.

        The batches are changes of a tracked namespace whose log then goes too, so that a reader of the changes of all
        namespaces, which cannot tell what it missed, gets CursorExpired. Deleted at once, it has missed nothing.
        """
        names = ledger.family(self._source, self.top)
        large = sum(self._source.count(namespace=name) for name in names) > _AT_ONCE
        for name in reversed(names) if large else ():
            while keys := self._source.list(namespace=name, limit=_BATCH):
                with self._at_source(LEFT) as (tx, _):
                    tx.delete_many(keys, namespace=name)
        with self._at_source(LEFT) as (tx, record):
            _delete_family(tx, self.top)
            ledger.write(tx, MOVE + self.top, record | {"cleaned": True})
        if COPIES in self._target.list_namespaces():
            self._target.delete_namespace(COPIES, recursive=True)

    # -- tokens --------------------------------------------------------------------------------------------------------

    @contextmanager
    def _at_source(self, state: str | None = None) -> Iterator[tuple[Transaction, dict[str, Any]]]:
        """A transaction there that is this mover's to make; with the record."""
        with self._source.transaction() as tx:
            record = self._own(tx)
            if record is None or (state is not None and record["state"] != state):
                raise StorageBusy(f"another rebalance has taken over the move of namespace {self.top!r}")
            yield tx, record

    def _own(self, tx: StorageBackend) -> dict[str, Any] | None:
        record: dict[str, Any] | None = tx.get(MOVE + self.top, namespace=RESERVED)
        if record is None or record["epoch"] != self._epoch or record["token"] not in (self._token, None):
            return None
        return record | {"token": self._token}

    @contextmanager
    def _at_target(self) -> Iterator[Transaction]:
        with self._target.transaction() as tx:
            record = tx.get(INCOMING + self.top, namespace=RESERVED)
            if record != {"epoch": self._epoch, "token": self._token}:
                raise StorageBusy(f"another rebalance has taken over the move of namespace {self.top!r}")
            yield tx


def _require_equal(top: str, report: CopyReport) -> None:
    if not report.ok:
        named = "; ".join(map(str, report.mismatches[:5]))
        raise StorageError(
            f"the copy of namespace {top!r} differs in {report.mismatch_count} places, so it stays where it is: {named}"
        )


def _delete_family(tx: StorageBackend, top: str) -> None:
    """Delete a top-level namespace with all below it from a shard; ``default`` stays, empty."""
    for name in reversed(ledger.family(tx, top)):
        if name == DEFAULT_NAMESPACE:
            tx.clear(namespace=name)
            for index in tx.list_indexes(name):
                tx.drop_index(name, index)
            tx.create_namespace(name, metadata={}, exist_ok=True)
        else:
            tx.delete_namespace(name, recursive=True)
