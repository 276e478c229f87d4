"""Reads on streaming replicas, never older than what the same storage has written.

    storage writes --> primary, whose WAL position afterwards is the target
    storage reads  --> a replica that has replayed up to the target; else the primary

The primary is asked for its position at the first read after a write, not at each write: whatever was committed before
is at or below it. A connection to a replica remembers how far that had come; only when the target has moved on is the
replica asked, again and again until it has arrived or :attr:`PostgresSettings.replica_wait` is over. A replica that
fails or lags is left alone for a while. It stays with one replica as long as that serves, so that time does not go
backwards between two reads. What *others* wrote may be missing for as long as the replica lags.

Transactions, snapshots, writes and the change log are the primary's. Each replica is given by an address that always
leads to the same server.
"""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, Final, TypeVar

import psycopg

from ...errors import BackendUnavailable, StorageBusy
from .pool import Link, Pool
from .reading import COUNT, GET, GET_ACROSS, GET_ENTRY, GET_MANY, GET_METADATA, HAS, LIST, SCAN
from .searching import FIND_SEARCHED

T = TypeVar("T")

# A position in the WAL, in bytes: what is flushed, which holds every commit that was answered. Beyond it may lie
# what open transactions wrote, and that need not be flushed, let alone sent, for long. Only a commit that is not waited
# for may be answered before it is flushed.
_POSITION: Final = """SELECT (CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()
ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn)::bigint"""

# NULL where there is no replay: the server has been promoted.
_REPLAYED: Final = """SELECT CASE WHEN pg_is_in_recovery()
THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint END"""

#: Seconds that a replica which failed, or lagged for longer than the wait, is left alone.
_REST: Final = 2.0
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02

_SERVED: Final = (GET, GET_ACROSS, GET_ENTRY, GET_MANY, GET_METADATA, HAS, LIST, COUNT, SCAN, FIND_SEARCHED)


@lru_cache(maxsize=1024)
def may_be_read_elsewhere(statement: str) -> bool:
    """Whether a statement is one of the contract's reads of entries, and not one that a write begins with."""
    return statement.startswith(_SERVED)


class CountedPool(Pool):
    """The primary's pool: it numbers what comes back, since that may have written."""

    def __init__(self, connect: Callable[[], Link], least: int, most: int, wait: float) -> None:
        super().__init__(connect, least, most, wait)
        self._numbers = count(1)
        self.returns = 0

    def give(self, link: Link) -> None:
        super().give(link)
        self.returns = next(self._numbers)

    def discard(self, link: Link) -> None:
        super().discard(link)
        self.returns = next(self._numbers)


class Replica:
    """One replica's connections, and how far each of them is known to see."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._seen: weakref.WeakKeyDictionary[psycopg.Connection[Any], int] = weakref.WeakKeyDictionary()
        self._rests_until = 0.0

    @property
    def rests(self) -> bool:
        """Whether it failed or lagged a moment ago."""
        return time.monotonic() < self._rests_until

    def rest(self) -> None:
        """Leave it alone for a while."""
        self._rests_until = time.monotonic() + _REST

    def read(self, draw: Callable[[Link], T], target: int, wait: float) -> list[T]:
        """What ``draw`` gives on a connection that sees up to ``target``; nothing if there is none."""
        try:
            link = self.pool.take()
        except (BackendUnavailable, StorageBusy):
            self.rest()
            return []
        try:
            if self._arrives(link, target, wait):
                result = draw(link)
                self.pool.give(link)
                return [result]
            self.pool.give(link)
        except psycopg.Error:  # a conflict with the replay, or a lost connection: the primary decides
            if link.lost:
                self.pool.drain()
            self.pool.discard(link)
        except BaseException:
            self.pool.discard(link)
            raise
        self.rest()
        return []

    def _arrives(self, link: Link, target: int, wait: float) -> bool:
        if self._seen.get(link.connection, -1) >= target:
            return True
        give_up = time.monotonic() + wait
        pause = _FIRST_PAUSE
        while True:
            row = link.one(_REPLAYED, ())
            position = None if row is None else row[0]
            if position is None:
                return False
            if position >= target:
                self._seen[link.connection] = position
                return True
            if time.monotonic() + pause > give_up:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


class Replicas:
    """The replicas of one storage, and the position that its reads must have reached."""

    def __init__(self, primary: CountedPool, replicas: Sequence[Pool], wait: float) -> None:
        self._primary = primary
        self._replicas = [Replica(pool) for pool in replicas]
        random.shuffle(self._replicas)  # storages spread over the replicas
        self._wait = wait
        self._asked_after = -1
        self._target = 0

    def read(self, draw: Callable[[Link], T]) -> list[T]:
        """What ``draw`` gives on a replica; nothing if the primary has to be asked instead. Raises our errors."""
        for replica in self._replicas:
            if not replica.rests:
                found = replica.read(draw, self._find_target(), self._wait)
                if found:
                    return found
        return []

    def pools(self) -> list[Pool]:
        """The replicas' pools."""
        return [replica.pool for replica in self._replicas]

    def close(self) -> None:
        """Close all connections."""
        for pool in self.pools():
            pool.close()

    def status(self) -> list[dict[str, Any]]:
        """For each replica: connections open, and whether it is being left alone."""
        return [{"connections": replica.pool.size, "rests": replica.rests} for replica in self._replicas]

    def _find_target(self) -> int:
        returns = self._primary.returns
        if returns == self._asked_after:
            return self._target
        link = self._primary.take()
        try:
            row = link.one(_POSITION, ())
        except BaseException as error:
            self._primary.discard(link)
            if isinstance(error, psycopg.Error):
                raise BackendUnavailable("the primary does not say what the replicas must have seen") from error
            raise
        Pool.give(self._primary, link)  # uncounted: this was no write
        assert row is not None
        self._target = max(self._target, int(row[0]))
        self._asked_after = returns
        return self._target
