"""The change log: one row for each mutation, numbered without a gap in the order of commits, for every reader to poll.

Rows leave the log by compaction alone. A reader whose cursor lies before what is left is told so (CursorTooOld); it
never misses rows silently.
"""

from __future__ import annotations

from ...contract import StorageBackend
from .context import Context
from .entities import LogRecord, SyncCursor
from .errors import CursorTooOld, InvalidField
from .ids import as_id
from .kinds import Entity
from .layout import LOG_KEY, log_key
from .limits import check_paging
from .turns import Turn, now_ms

_PAGE = 1_000


class ChangeLog(Context):
    """The part of the store for its change log, and for how far peers have read it."""

    def get_wal_sequence(self) -> int:
        """The newest sequence number, 0 before the first mutation."""
        return self._ends()[0]

    get_current_sequence = get_wal_sequence

    def _ends(self, reader: StorageBackend | None = None) -> tuple[int, int]:
        """The newest sequence number, and the last that was compacted."""
        row = (reader or self.storage).get(LOG_KEY, namespace=self.layout.sequence)
        return (0, 0) if row is None else (row["seq"], row["gone"])

    def poll_sync_events(self, since: int | None, limit: int = _PAGE) -> list[tuple[int, LogRecord]]:
        """Rows after ``since`` with their numbers, at most ``limit``. None starts at the oldest kept.

        Raises CursorTooOld, InvalidField.
        """
        with self._snapshot() as tx:
            return [(record.sequence, record) for record in self._poll(tx, since, limit)]

    def _poll(self, reader: StorageBackend, since: int | None, limit: int) -> list[LogRecord]:
        check_paging(limit)
        if since is not None:
            check_paging(0, since)
        newest, gone = self._ends(reader)
        if since is not None and since < gone:
            raise CursorTooOld(since, gone)
        start = gone if since is None else since
        if limit == 0 or start >= newest:
            return []
        rows = reader.scan(namespace=self.layout.log, after=log_key(start) if start else None, limit=limit)
        return [LogRecord.from_json(_number(row.key), row.value) for row in rows]

    def poll_watch_events(self, since: int | None, limit: int = _PAGE) -> tuple[list[LogRecord], int]:
        """Rows after ``since`` and the number to go on from. Raises CursorTooOld."""
        found = self.poll_sync_events(since, limit)
        return [record for _, record in found], found[-1][0] if found else (since or 0)

    def poll_changes(self, since: int | None, limit: int = _PAGE) -> tuple[list[LogRecord], int]:
        """The rows about experiences among the next ``limit`` ones, and the number to go on from. Raises CursorTooOld.

        There may be none although there is more to read: go on until the number stays.
        """
        found, last = self.poll_watch_events(since, limit)
        return [record for record in found if record.entity_type == Entity.EXPERIENCE], last

    poll_changes_batch = poll_changes

    # -- compaction ------------------------------------------------------------------------------------------------

    def compact_wal_events(self, up_to: int) -> int:
        """Delete the rows up to a number; how many there were. Numbers go on as before."""
        check_paging(0, up_to)

        def work(turn: Turn) -> int:
            last = min(up_to, turn.sequence)
            removed = max(0, last - turn.compacted)
            turn.flush()
            for start in range(turn.compacted + 1, last + 1, 500):
                keys = [log_key(number) for number in range(start, min(start + 500, last + 1))]
                turn.tx.delete_many(keys, namespace=self.layout.log)
            turn.compact_to(last)
            return removed

        return self._write(work)

    def compact_wal(self) -> int:
        """Delete the rows that every known peer has been sent; how many. Nothing without peers.

        A peer that will not come back is forgotten by :meth:`forget_peer`, or it holds the log for ever.
        """
        sent = min((cursor.push_sequence for cursor in self.list_sync_cursors()), default=0)
        return self.compact_wal_events(sent) if sent else 0

    def trim_log(self, *, keep: int | None = None, max_age: float | None = None) -> int:
        """Delete all but the newest ``keep`` rows, and those older than ``max_age`` seconds; how many.

        Never what a known peer has not been sent.
        """
        newest, gone = self._ends()
        last = gone
        if keep is not None:
            check_paging(keep)
            last = max(last, newest - keep)
        if max_age is not None:
            if not isinstance(max_age, int | float) or not max_age >= 0:
                raise InvalidField("max_age", "is a number of seconds")
            oldest = now_ms() - int(max_age * 1000)
            for row in self.storage.scan(namespace=self.layout.log):
                if row.value["at"] >= oldest:
                    break
                last = max(last, _number(row.key))
        for cursor in self.list_sync_cursors():
            last = min(last, cursor.push_sequence)
        return self.compact_wal_events(last) if last > gone else 0

    # -- peers -----------------------------------------------------------------------------------------------------

    def instance_id(self) -> str:
        """What tells this store from its copies and peers."""
        return self._instance

    def renew_instance_id(self) -> str:
        """Give the store another instance id, after its file was copied: else both count uses under one name.

        It forgets all peers. To be called before anything else is written, with no other process at the store.
        """

        def work(turn: Turn) -> str:
            from .ids import new_id
            from .layout import STORE_KEY

            about = turn.get(self.layout.about, STORE_KEY)
            about["instance"] = new_id()
            turn.put(self.layout.about, STORE_KEY, about)
            for row in turn.rows(self.layout.cursors):
                turn.remove(self.layout.cursors, row.key)
            return str(about["instance"])

        self._instance = self._write(work)
        return self._instance

    def save_sync_cursor(self, cursor: SyncCursor) -> None:
        """Store how far a peer and this store have come."""
        self._write(lambda turn: self._put_cursor(turn, cursor))

    def _put_cursor(self, turn: Turn, cursor: SyncCursor) -> None:
        row = {"push": cursor.push_sequence, "pull": cursor.pull_sequence}
        turn.put(self.layout.cursors, as_id(cursor.instance_id), row)

    def load_sync_cursor(self, instance_id: str) -> SyncCursor | None:
        """How far a peer and this store have come, or None."""
        id = as_id(instance_id)
        row = self.storage.get(id, namespace=self.layout.cursors)
        return None if row is None else SyncCursor(id, row["push"], row["pull"])

    def list_sync_cursors(self) -> list[SyncCursor]:
        """The same for all known peers."""
        rows = self.storage.scan(namespace=self.layout.cursors)
        return [SyncCursor(row.key, row.value["push"], row.value["pull"]) for row in rows]

    def forget_peer(self, instance_id: str) -> bool:
        """Forget a peer; whether it was known. If it comes back, it starts anew."""
        self._check_writable()
        return self.storage.delete(as_id(instance_id), namespace=self.layout.cursors)


def _number(key: str) -> int:
    from ...names import split_key

    return int(split_key(key)[0])
