"""What is open on a storage: transactions, the savepoints in them, and snapshots.

A :class:`Session` is one BEGIN on one connection. The transaction that began it and every savepoint in it share it:
its mutex lets threads take turns, and its deadline ends them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import apsw

from ...errors import StorageError, TransactionError, TransactionExpired
from .connections import open_connection
from .driver_errors import translate
from .file_access import COMMITS_A_LOOK, FileAccess
from .writing import EntryWriter

if TYPE_CHECKING:
    from .transactions import SQLiteTransaction

_ENDED_IDS_KEPT: Final = 1_000


class Session:
    """One BEGIN on one connection; ``writer`` is None for a snapshot. ``release`` gives the connection back."""

    def __init__(
        self, connection: apsw.Connection, writer: EntryWriter | None, timeout: float, release: Callable[[], None]
    ) -> None:
        self.connection = connection
        self.writer = writer
        self.deadline = time.monotonic() + timeout
        self.mutex = threading.RLock()
        self.state = "open"  # then "finished", "expired", "lost" or "inherited"
        self.depth = 0
        self._release = release

    def check(self) -> None:
        """Raise unless the session is still open. The mutex is held."""
        if self.state == "open" and time.monotonic() > self.deadline:
            self.end("expired")
        if self.state == "expired":
            raise TransactionExpired("the transaction passed its time limit and was rolled back")
        if self.state == "lost":
            raise TransactionError("the database rolled the transaction back after an error")
        if self.state == "inherited":
            raise TransactionError("the transaction belongs to the process that forked this one")
        if self.state != "open":
            raise TransactionError("the transaction has ended")

    def end(self, state: str) -> None:
        """Roll back what is uncommitted and give the connection back. The mutex is held."""
        self.state = state
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except apsw.Error as error:
            raise translate(error, "rollback") from error
        finally:
            self._release()

    def expire(self) -> None:
        """End it if its time is over, a running statement included."""
        if self.state == "open" and time.monotonic() > self.deadline:
            self.connection.interrupt()
            with self.mutex:
                if self.state == "open":
                    self.end("expired")

    def failed(self, error: Exception) -> StorageError:
        """Our error for one of SQLite's, after noting whether it took the transaction with it."""
        if self.state == "open" and not self.connection.in_transaction:
            self.end("lost")
        return translate(error, connection=self.connection)


class Sessions:
    """The open sessions of a storage, and its transactions by their ids."""

    def __init__(self, file: FileAccess) -> None:
        self._file = file
        self.transactions: dict[str, SQLiteTransaction] = {}
        self._expired_ids: dict[str, None] = {}
        self.reset()

    def reset(self) -> None:
        """None is open: at the start, and in the child of a fork."""
        self.transactions.clear()
        self.snapshots: set[Session] = set()
        self._rows_changed = 0

    def open(self) -> list[Session]:
        """The one that writes, if there is one, and the snapshots."""
        session = self._file.session
        return [*self.snapshots] if session is None else [session, *self.snapshots]

    def find(self, id: str) -> SQLiteTransaction:
        """The open transaction of that id. Raises TransactionError, TransactionExpired, StorageClosed."""
        self._file.require_open()
        transaction = self.transactions.get(id)
        if transaction is not None:
            return transaction
        if id in self._expired_ids:
            raise TransactionExpired("the transaction passed its time limit and was rolled back")
        raise TransactionError(f"no open transaction {id!r}")

    def begin(self, bound: bool) -> Session:
        """One that writes, when the lock is free; ``bound`` ties it to this thread."""
        file = self._file
        writer = file.begin()
        connection = file.connection
        assert connection is not None
        self._rows_changed = connection.total_changes()
        file.session = session = Session(connection, writer, file.settings.transaction_timeout, self._release)
        file.owner = threading.get_ident() if bound else None
        return session

    def _release(self) -> None:
        file = self._file
        session = file.session
        file.session = file.owner = None
        self._forget(session)
        connection = file.connection
        rows = COMMITS_A_LOOK if connection is None else connection.total_changes() - self._rows_changed
        file.written(rows + 8)  # a row may be many pages long

    def begin_snapshot(self) -> Session:
        """One that only reads, of the state of this moment."""
        file = self._file
        file.require_open()
        try:
            connection = file.idle_snapshots.pop()
        except IndexError:
            connection = open_connection(file.path, file.settings, query_only=True)
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT value FROM storage_state").fetchall()  # the read that fixes the state
        except apsw.Error as error:
            connection.close(True)
            raise translate(error) from error

        def release() -> None:
            self.snapshots.discard(session)
            self._forget(session)
            if file.closed:
                connection.close(True)
            else:
                file.idle_snapshots.append(connection)

        session = Session(connection, None, file.settings.transaction_timeout, release)
        self.snapshots.add(session)
        return session

    def _forget(self, session: Session | None) -> None:
        for id, transaction in list(self.transactions.items()):
            if transaction._session is session:
                self.transactions.pop(id, None)
                if session is not None and session.state == "expired":
                    self._expired_ids[id] = None
        while len(self._expired_ids) > _ENDED_IDS_KEPT:
            self._expired_ids.pop(next(iter(self._expired_ids)))

    def end_all(self) -> None:
        """Roll back what is open, interrupting what runs."""
        for session in self.open():
            session.connection.interrupt()
            with session.mutex:
                if session.state == "open":
                    session.end("finished")
