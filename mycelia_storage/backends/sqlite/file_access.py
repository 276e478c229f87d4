"""How one storage gets at its file: a reader connection for each thread, one writer for all, one lock before it.

Readers never wait: in WAL mode they see the newest commit while the writer works. The writer's lock is first come,
first served within the process; between processes SQLite's write lock is polled about once a millisecond with jitter,
which shares it more evenly than SQLite's own growing pauses. Both waits together are bounded by ``busy_timeout``.
"""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import apsw

from ...clock import HybridClock
from ...errors import StorageBusy, StorageClosed, StorageError, StorageReadOnly, TransactionError
from ...fair_lock import FairLock
from . import journal
from .connections import CLOCK_TICK, create_file, last_written, open_connection, switch_journal
from .driver_errors import translate
from .reading import Rows
from .settings import SQLiteSettings
from .writing import EntryWriter

if TYPE_CHECKING:
    from .sessions import Session

T = TypeVar("T")

#: What a use of a connection raises that was closed meanwhile.
CLOSED_UNDER_US: Final = (apsw.ConnectionClosedError, apsw.CursorClosedError)

#: The WAL's size is looked at after so many commits of one page.
COMMITS_A_LOOK: Final = 64

_READS_BESIDE_A_WRITE: Final = 50


class FileAccess:
    """The connections of one storage.

    Raises ForeignDatabase, StorageCorrupt, SchemaTooNew, MigrationError, StorageReadOnly.
    """

    def __init__(self, path: str, settings: SQLiteSettings) -> None:
        self.path = path
        self.settings = settings
        self.closed = False
        #: What went wrong where nobody was told, in a sentence.
        self.last_error: str | None = None
        self._clock = HybridClock()
        #: The writer's connection, None while there is none.
        self.connection: apsw.Connection | None = None
        self.reset()
        written = last_written(path)
        if not settings.read_only:
            create_file(path)
        connection = self._open_first()
        if settings.read_only:
            connection.close()
        else:
            self._use_writer(connection)
            if written > time.time_ns() // 1000:
                # The system's clock was set back: it must give no versions below those of entries since deleted.
                self.write(lambda writer: writer.raise_floors(written + CLOCK_TICK))

    def _open_first(self) -> apsw.Connection:
        settings = self.settings
        connection = open_connection(self.path, settings, query_only=settings.read_only)
        try:
            # Whose file it is, and whether we know its schema, comes before the switch to WAL, which writes to it.
            self.schema_version = journal.prepare(connection, settings.migrate and not settings.read_only)
            if settings.read_only:
                self.journal_mode = str(connection.execute("PRAGMA journal_mode").get)
            else:
                self.journal_mode = switch_journal(connection, self.path, settings)
        except apsw.Error as error:
            connection.close()
            raise translate(error, self.path) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def reset(self) -> None:
        """Locks and connections anew: at the start, and in the child of a fork."""
        self.lock = FairLock()
        #: The thread whose transaction holds the lock, None for a transaction that belongs to no thread.
        self.owner: int | None = None
        #: The transaction that holds the lock.
        self.session: Session | None = None
        self._busy_until: float | None = None
        self._until_checkpoint = COMMITS_A_LOOK
        self.idle_snapshots: list[apsw.Connection] = []
        self.readers: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._readers_guard = threading.Lock()
        #: A thread's ``cursor``, and ``beside``: how many of its next reads try the writer's connection first.
        self.local = threading.local()

    def require_open(self) -> None:
        """Raise StorageClosed after ``close``."""
        if self.closed:
            raise StorageClosed("the storage is closed")

    # -- readers ---------------------------------------------------------------------------------------------------

    def reader(self) -> apsw.Cursor:
        """The cursor of this thread."""
        return getattr(self.local, "cursor", None) or self._open_reader()

    def _open_reader(self) -> apsw.Cursor:
        self.require_open()
        connection = open_connection(self.path, self.settings, query_only=True)
        with self._readers_guard:
            self.readers.add(connection)
        cursor = connection.cursor()
        self.local.cursor = cursor
        self.local.beside = 0
        return cursor

    def read(self, sql: str, parameters: tuple[Any, ...], draw: Callable[[apsw.Cursor], T]) -> T:
        """Run a statement on this thread's reader, once more if the connection was closed meanwhile (a fork).

        The next reads of a thread that has written go to the writer's connection if nobody else needs it: a commit
        empties the page cache of every other connection, the reader's included.
        """
        if getattr(self.local, "beside", 0) and self.lock.try_acquire():
            self.local.beside -= 1
            connection = self.connection
            try:
                if connection is not None:
                    return draw(self.execute(sql, parameters))
            except (apsw.Error, UnicodeDecodeError) as error:
                raise translate(error, connection=connection) from error
            finally:
                self.lock.release()
        for last_try in (False, True):
            cursor = self.reader()
            try:
                return draw(cursor.execute(sql, parameters))
            except CLOSED_UNDER_US as error:
                if last_try or self.closed:
                    raise StorageClosed("the storage is closed") from error
                self.local = threading.local()
            except (apsw.Error, UnicodeDecodeError) as error:
                raise translate(error, connection=cursor.connection) from error
        raise AssertionError

    @contextmanager
    def one_state(self) -> Iterator[Callable[[str, tuple[Any, ...]], Rows]]:
        """What runs statements that all see one committed state."""
        cursor = self.reader()
        try:
            cursor.execute("BEGIN")
        except CLOSED_UNDER_US as error:
            if self.closed:
                raise StorageClosed("the storage is closed") from error
            cursor = self._open_reader()
            cursor.execute("BEGIN")

        def rows(sql: str, parameters: tuple[Any, ...]) -> Rows:
            try:
                return cursor.execute(sql, parameters).fetchall()
            except (apsw.Error, UnicodeDecodeError) as error:
                raise translate(error, connection=cursor.connection) from error

        try:
            yield rows
        finally:
            with suppress(apsw.Error):
                cursor.execute("COMMIT")

    # -- the writer ------------------------------------------------------------------------------------------------

    def _use_writer(self, connection: apsw.Connection) -> None:
        connection.set_busy_handler(self._poll_lock)
        connection.wal_autocheckpoint(0)
        settings = self.settings
        self.writer = EntryWriter(connection, self._clock, settings.change_retention, settings.change_retention_age)
        self.connection = connection
        self.execute = connection.cursor().execute

    def _poll_lock(self, tries: int) -> bool:
        if tries == 0 and self._busy_until is None:
            self._busy_until = time.monotonic() + self.settings.busy_timeout / 1000
        if self._busy_until is None or time.monotonic() >= self._busy_until:
            return False
        time.sleep(random.uniform(0.0004, 0.0016))
        return True

    def _checkpoint_if_due(self) -> None:
        """Move the WAL into the main file once it has grown enough. The lock is held.

        SQLite would do this itself, but swallows the errors; a hook on every commit costs a tenth of a small write.
        """
        self._until_checkpoint = COMMITS_A_LOOK
        connection = self.connection
        if connection is None or self.journal_mode != "wal":
            return
        try:
            pages, _ = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
            if pages >= self.settings.checkpoint_pages:
                connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            pass  # another connection is at it
        except apsw.Error as error:
            self.last_error = f"checkpoint: {error}"

    def take(self) -> EntryWriter:
        """The writer, whose lock the caller then holds and frees."""
        self._busy_until = None
        if not self.lock.try_acquire():
            self._wait_for_lock()
        try:
            if self.connection is None:
                self._reopen_writer()
        except BaseException:
            self.lock.release()
            raise
        self.local.beside = _READS_BESIDE_A_WRITE
        return self.writer

    def begin(self) -> EntryWriter:
        """Take the lock and begin; every call is followed by :meth:`end` or :meth:`undo`."""
        writer = self.take()
        try:
            self.begin_immediate()
        except BaseException:
            self.lock.release()
            raise
        return writer

    def begin_immediate(self) -> None:
        """Begin. The lock is held."""
        try:
            self.execute("BEGIN IMMEDIATE")
            self.writer.begun()
        except apsw.Error as error:
            if self.closed:
                raise StorageClosed("the storage is closed") from error
            raise translate(error, connection=self.connection) from error

    def end(self, pages: int = COMMITS_A_LOOK) -> None:
        """Commit and free the lock."""
        try:
            self.execute("COMMIT")
            self.writer.committed()
        except apsw.Error as error:
            self.undo()
            raise translate(error, "commit", self.connection) from error
        self.written(pages)

    def written(self, pages: int) -> None:
        """Free the lock after a commit; ``pages`` is a guess of how much the WAL grew."""
        self._until_checkpoint -= pages
        if self._until_checkpoint < 0:
            self._checkpoint_if_due()
        self.lock.release()

    def undo(self) -> None:
        """Roll back if a transaction is still open, and free the lock."""
        connection = self.connection
        try:
            if connection is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
        except apsw.Error as error:
            self.last_error = f"rollback: {error}"
        finally:
            self.lock.release()

    def _wait_for_lock(self) -> None:
        if self.owner == threading.get_ident():
            raise TransactionError("this thread has a transaction open: write through it, or end it first")
        self._busy_until = until = time.monotonic() + self.settings.busy_timeout / 1000
        while True:
            session, now = self.session, time.monotonic()
            wait = until - now
            if session is not None:
                wait = min(wait, max(session.deadline - now, 0) + 0.005)
            if self.lock.acquire(wait):
                return
            if session is not None:
                session.expire()
            if time.monotonic() >= until:
                raise StorageBusy("another writer held the lock for longer than busy_timeout")

    def _reopen_writer(self) -> None:
        self.require_open()
        if self.settings.read_only:
            raise StorageReadOnly("the storage was opened with read_only")
        if not Path(self.path).exists():
            raise StorageError(f"the database file {self.path!r} is gone")
        self._use_writer(open_connection(self.path, self.settings, query_only=False))

    def write(self, work: Callable[[EntryWriter], T], pages: int = COMMITS_A_LOOK) -> T:
        """Run ``work`` in a transaction of its own; ``pages`` is a guess of how much the WAL grows."""
        writer = self.begin()
        try:
            result = work(writer)
        except BaseException:
            self.undo()
            raise
        self.end(pages)
        return result

    # -- care ------------------------------------------------------------------------------------------------------

    def optimize(self) -> None:
        """Refresh the planner's statistics and empty the WAL."""
        if not self.lock.try_acquire():
            self._wait_for_lock()
        try:
            if self.connection is None:
                self._reopen_writer()
            self.execute("PRAGMA optimize").fetchall()
            if self.journal_mode == "wal":
                assert self.connection is not None
                self.connection.wal_checkpoint(None, apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            pass  # a reader still needs the WAL
        except apsw.Error as error:
            raise translate(error) from error
        finally:
            self.lock.release()

    def close_connections(self) -> None:
        """Close what is not in use this moment; what is, closes when its thread lets go of it."""
        self.local = threading.local()
        with self._readers_guard:
            connections = [*self.readers, *self.idle_snapshots]
            self.readers.clear()
            self.idle_snapshots.clear()
        if self.connection is not None:
            connections.append(self.connection)
            self.connection = None
        for connection in connections:
            for _ in range(200):
                try:
                    connection.close(True)
                    break
                except apsw.ThreadingViolationError:
                    time.sleep(0.001)
                except apsw.Error as error:
                    self.last_error = f"close: {error}"
                    break
