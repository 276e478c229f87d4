"""The SQLite storage: a reader connection for each thread, one writer connection for all, one lock before it.

Readers never wait: in WAL mode they see the newest commit while the writer works. The writer's lock is first come,
first served within the process; between processes SQLite's write lock is polled about once a millisecond with jitter,
which shares it more evenly than SQLite's own growing pauses. Both waits together are bounded by ``busy_timeout``.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import apsw

from ...clock import HybridClock
from ...contract import (
    BatchResult,
    CheckReport,
    Entries,
    Entry,
    Status,
    Transaction,
    check_isolation,
    check_version,
)
from ...errors import (
    StorageBusy,
    StorageClosed,
    StorageError,
    StorageReadOnly,
    TransactionError,
    TransactionExpired,
)
from ...fair_lock import FairLock
from ...indexes import VectorIndex
from ...migrations import Migration, Migrator, check_component
from ...names import DEFAULT_NAMESPACE, Namespace, check_key, check_namespace
from ...nearest.index import NearestIndex
from ...nearest.settings import VectorSettings
from ...sql_views import SqlRows, SqlView, check_query
from . import care, forks, journal, sql_queries, vector_codes
from .connections import CLOCK_TICK, create_file, last_written, open_connection, switch_journal
from .driver_errors import translate
from .reading import GET, GET_ENTRY, HAS, Row, Rows, Values, decode_stored, now_ms, to_entry
from .settings import IN_MEMORY, SQLiteSettings
from .simple_writes import SimpleWrites
from .text_search import TextReads
from .transactions import Session, SQLiteTransaction
from .upkeep import SQLiteUpkeep
from .vector_search import SQLiteVectors, VectorReads
from .writing import EntryWriter, entry_row

T = TypeVar("T")

_CLOSED_UNDER_US = (apsw.ConnectionClosedError, apsw.CursorClosedError)
_ENDED_IDS_KEPT = 1_000
_COMMITS_A_LOOK = 64
_PAGES_A_STEP = 4  # an entry, its change, the namespace
_READS_BESIDE_A_WRITE = 50


class SQLiteStorageBackend(TextReads, VectorReads, SimpleWrites):
    """Storage in one SQLite file.

    >>> with SQLiteStorageBackend({"dbPath": ":memory:"}) as storage:
    ...     version = storage.set("k", {"answer": 42})
    ...     storage.get("k")
    {'answer': 42}

    ``config`` is a mapping of options or the path; keyword options add to it
    (:class:`~mycelia_storage.backends.sqlite.settings.SQLiteSettings` lists them all).

    Raises InvalidConfig, ForeignDatabase, StorageCorrupt, SchemaTooNew, MigrationError, StorageReadOnly.
    """

    backend_name = "sqlite"

    def __init__(self, config: Mapping[str, Any] | str | Path | None = None, **options: Any) -> None:
        self.settings = settings = SQLiteSettings.read(config, options)
        self._closed = False
        self._private_folder: tempfile.TemporaryDirectory[str] | None = None
        if settings.db_path == IN_MEMORY:
            self._private_folder = tempfile.TemporaryDirectory(prefix="mycelia-")
            self.path = str(Path(self._private_folder.name) / "memory.db")
        else:
            self.path = settings.db_path
        self._clock = HybridClock()
        self._last_error: str | None = None
        self._transactions: dict[str, SQLiteTransaction] = {}
        self._expired_ids: dict[str, None] = {}
        self._writer_connection: apsw.Connection | None = None
        self._upkeep = SQLiteUpkeep(self)
        self._reset()
        written = last_written(self.path)
        if not settings.read_only:
            create_file(self.path)
        try:
            connection = self._open_first()
        except BaseException:
            self._closed = True
            if self._private_folder is not None:
                self._private_folder.cleanup()
            raise
        if settings.read_only:
            connection.close()
        else:
            self._use_writer(connection)
            if written > time.time_ns() // 1000:
                # The system's clock was set back: it must give no versions below those of entries since deleted.
                self._write(lambda writer: writer.raise_floors(written + CLOCK_TICK))
        forks.watch(self)

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

    def _reset(self) -> None:
        """Locks and connections anew: at the start, and in the child of a fork."""
        self._lock = FairLock()
        self._owner: int | None = None
        self._busy_until: float | None = None
        self._until_checkpoint = _COMMITS_A_LOOK
        self._rows_changed = 0
        self._session: Session | None = None
        self._snapshots: set[Session] = set()
        self._idle_snapshots: list[apsw.Connection] = []
        self._readers: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._readers_guard = threading.Lock()
        self._local = threading.local()
        self._nearest: dict[tuple[int, VectorIndex], NearestIndex] = {}

    # -- readers ---------------------------------------------------------------------------------------------------

    def _open_reader(self) -> apsw.Cursor:
        if self._closed:
            raise StorageClosed("the storage is closed")
        connection = open_connection(self.path, self.settings, query_only=True)
        with self._readers_guard:
            self._readers.add(connection)
        cursor = connection.cursor()
        self._local.cursor = cursor
        self._local.beside = 0
        return cursor

    def _read(self, sql: str, parameters: tuple[Any, ...], draw: Callable[[apsw.Cursor], T]) -> T:
        """Run a statement on this thread's reader, once more if the connection was closed meanwhile (a fork).

        The next reads of a thread that has written go to the writer's connection if nobody else needs it: a commit
        empties the page cache of every other connection, the reader's included.
        """
        if getattr(self._local, "beside", 0) and self._lock.try_acquire():
            self._local.beside -= 1
            connection = self._writer_connection
            try:
                if connection is not None:
                    return draw(self._writer_execute(sql, parameters))
            except (apsw.Error, UnicodeDecodeError) as error:
                raise translate(error, connection=connection) from error
            finally:
                self._lock.release()
        for last_try in (False, True):
            cursor = getattr(self._local, "cursor", None) or self._open_reader()
            try:
                return draw(cursor.execute(sql, parameters))
            except _CLOSED_UNDER_US as error:
                if last_try or self._closed:
                    raise StorageClosed("the storage is closed") from error
                self._local = threading.local()
            except (apsw.Error, UnicodeDecodeError) as error:
                raise translate(error, connection=cursor.connection) from error
        raise AssertionError

    def _rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        return self._read(sql, parameters, apsw.Cursor.fetchall)

    def _column(self, sql: str, parameters: tuple[Any, ...]) -> Values:
        # ``get`` flattens: nothing, the one value, or a sequence of the values.
        values = self._read(sql, parameters, _flat)
        if values is None:
            return []
        return [values] if isinstance(values, str) else list(values)

    def _stream(self, sql: str, parameters: tuple[Any, ...]) -> Iterator[Row]:
        cursor = (getattr(self._local, "cursor", None) or self._open_reader()).connection.cursor()
        try:
            yield from cursor.execute(sql, parameters)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise translate(error) from error
        finally:
            cursor.close(True)

    @contextmanager
    def _one_state(self) -> Iterator[Callable[[str, tuple[Any, ...]], Rows]]:
        cursor = getattr(self._local, "cursor", None) or self._open_reader()
        try:
            cursor.execute("BEGIN")
        except _CLOSED_UNDER_US as error:
            if self._closed:
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

    @contextmanager
    def _committed_vectors(self, namespace: str, number: int) -> Iterator[SQLiteVectors]:
        with self._one_state() as rows:
            yield SQLiteVectors(rows, namespace, number, True, self._committed_vectors)

    def _whole_storage(self) -> SQLiteStorageBackend:
        return self

    def _shows_committed(self) -> bool:
        return True

    def _nearest_index(self, number: int, declared: VectorIndex) -> NearestIndex:
        """What this process knows of a vector index; nothing yet, if it was not asked for before."""
        found = self._nearest.get((number, declared))
        if found is None:
            self._upkeep.start()
            settings = VectorSettings(
                self.settings.vectors_compared,
                linked_from=self.settings.vectors_linked,
                rescored=self.settings.vectors_rescored,
            )
            found = self._nearest.setdefault((number, declared), NearestIndex(declared, settings))
        return found

    def get(self, key: str, default: Any = None, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Any:
        name, key = check_namespace(namespace), check_key(key)
        try:
            local = self._local
            row = self._read(GET, (name, key), _flat) if local.beside else local.cursor.execute(GET, (name, key)).get
        except (AttributeError, *_CLOSED_UNDER_US):
            row = self._read(GET, (name, key), _flat)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise translate(error) from error
        if row is None or (row[1] is not None and row[1] <= now_ms()):
            return default
        return decode_stored(row[0], name, key)

    def has(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> bool:
        parameters = (check_namespace(namespace), check_key(key), time.time_ns() // 1_000_000)
        try:
            local = self._local
            if local.beside:
                return self._read(HAS, parameters, _flat) is not None
            return local.cursor.execute(HAS, parameters).get is not None
        except (AttributeError, *_CLOSED_UNDER_US):
            return self._read(HAS, parameters, _flat) is not None
        except apsw.Error as error:
            raise translate(error) from error

    def get_entry(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Entry | None:
        name, key = check_namespace(namespace), check_key(key)
        try:
            local = self._local
            if local.beside:
                row = self._read(GET_ENTRY, (name, key), _flat)
            else:
                row = local.cursor.execute(GET_ENTRY, (name, key)).get
        except (AttributeError, *_CLOSED_UNDER_US):
            row = self._read(GET_ENTRY, (name, key), _flat)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise translate(error) from error
        if row is None or (row[5] is not None and row[5] <= now_ms()):
            return None
        return to_entry(name, (key, *row))

    # -- the writer ------------------------------------------------------------------------------------------------

    def _use_writer(self, connection: apsw.Connection) -> None:
        connection.set_busy_handler(self._poll_lock)
        connection.wal_autocheckpoint(0)
        settings = self.settings
        self._writer = EntryWriter(connection, self._clock, settings.change_retention, settings.change_retention_age)
        self._writer_connection = connection
        self._writer_execute = connection.cursor().execute

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
        self._until_checkpoint = _COMMITS_A_LOOK
        connection = self._writer_connection
        if connection is None or self.journal_mode != "wal":
            return
        try:
            pages, _ = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
            if pages >= self.settings.checkpoint_pages:
                connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            pass  # another connection is at it
        except apsw.Error as error:
            self._last_error = f"checkpoint: {error}"

    def _take_lock(self) -> EntryWriter:
        """The writer, whose lock the caller then holds and frees."""
        self._busy_until = None
        if not self._lock.try_acquire():
            self._wait_for_lock()
        try:
            if self._writer_connection is None:
                self._reopen_writer()
        except BaseException:
            self._lock.release()
            raise
        self._local.beside = _READS_BESIDE_A_WRITE
        return self._writer

    def _begin_write(self) -> EntryWriter:
        """Take the lock and begin; every call is followed by :meth:`_end_write` or :meth:`_undo_write`."""
        writer = self._take_lock()
        try:
            self._begin_immediate()
        except BaseException:
            self._lock.release()
            raise
        return writer

    def _begin_immediate(self) -> None:
        try:
            self._writer_execute("BEGIN IMMEDIATE")
            self._writer.begun()
        except apsw.Error as error:
            if self._closed:
                raise StorageClosed("the storage is closed") from error
            raise translate(error, connection=self._writer_connection) from error

    def _end_write(self, pages: int = _COMMITS_A_LOOK) -> None:
        """Commit and free the lock."""
        try:
            self._writer_execute("COMMIT")
            self._writer.committed()
        except apsw.Error as error:
            self._undo_write()
            raise translate(error, "commit", self._writer_connection) from error
        self._written(pages)

    def _written(self, pages: int) -> None:
        """Free the lock after a commit; ``pages`` is a guess of how much the WAL grew."""
        self._until_checkpoint -= pages
        if self._until_checkpoint < 0:
            self._checkpoint_if_due()
        self._lock.release()

    def _undo_write(self) -> None:
        """Roll back if a transaction is still open, and free the lock."""
        connection = self._writer_connection
        try:
            if connection is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
        except apsw.Error as error:
            self._last_error = f"rollback: {error}"
        finally:
            self._lock.release()

    def _wait_for_lock(self) -> None:
        if self._owner == threading.get_ident():
            raise TransactionError("this thread has a transaction open: write through it, or end it first")
        self._busy_until = until = time.monotonic() + self.settings.busy_timeout / 1000
        while True:
            session, now = self._session, time.monotonic()
            wait = until - now
            if session is not None:
                wait = min(wait, max(session.deadline - now, 0) + 0.005)
            if self._lock.acquire(wait):
                return
            if session is not None:
                session.expire()
            if time.monotonic() >= until:
                raise StorageBusy("another writer held the lock for longer than busy_timeout")

    def _reopen_writer(self) -> None:
        if self._closed:
            raise StorageClosed("the storage is closed")
        if self.settings.read_only:
            raise StorageReadOnly("the storage was opened with read_only")
        if not Path(self.path).exists():
            raise StorageError(f"the database file {self.path!r} is gone")
        self._use_writer(open_connection(self.path, self.settings, query_only=False))

    def _write(self, work: Callable[[EntryWriter], T], pages: int = _COMMITS_A_LOOK) -> T:
        """Run ``work`` in a transaction of its own; ``pages`` is a guess of how much the WAL grows."""
        writer = self._begin_write()
        try:
            result = work(writer)
        except BaseException:
            self._undo_write()
            raise
        self._end_write(pages)
        return result

    def set(
        self,
        key: str,
        value: Any,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        metadata: dict[str, Any] | None = None,
        overwrite: bool = True,
        ttl: float | None = None,
        if_version: int | None = None,
    ) -> int:
        row = entry_row(key, value, namespace, metadata, ttl)
        if if_version is not None:
            check_version(if_version)
        if ttl is not None:
            self._upkeep.start()
        writer = self._take_lock()
        try:
            version = writer.set_alone(row) if overwrite and if_version is None else None
            alone = version is not None
            if version is None:
                self._begin_immediate()
                version = writer.put(row, overwrite, if_version)
        except BaseException:
            self._undo_write()
            raise
        if alone:
            self._written(1 + len(row[2]) // 4096)
        else:
            self._end_write(_PAGES_A_STEP + len(row[2]) // 4096)
        return version

    def delete(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE, if_version: int | None = None) -> bool:
        name, key = check_namespace(namespace), check_key(key)
        check_version(if_version)
        writer = self._take_lock()
        try:
            alone = existed = if_version is None and writer.delete_alone(name, key)
            if not alone:
                self._begin_immediate()
                existed = writer.remove(name, key, if_version)
        except BaseException:
            self._undo_write()
            raise
        if alone:
            self._written(1)
        else:
            self._end_write(_PAGES_A_STEP)
        return existed

    def set_many(
        self,
        entries: Entries,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        metadata: dict[str, Any] | None = None,
        overwrite: bool = True,
        ttl: float | None = None,
        atomic: bool = True,
    ) -> BatchResult:
        with self.transaction() as tx:
            return tx.set_many(
                entries, namespace=namespace, metadata=metadata, overwrite=overwrite, ttl=ttl, atomic=atomic
            )

    def delete_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> int:
        with self.transaction() as tx:
            return tx.delete_many(keys, namespace=namespace)

    def _change(self, work: Callable[[EntryWriter], T], *, small: bool = False) -> T:
        return self._write(work, _PAGES_A_STEP if small else _COMMITS_A_LOOK)

    # -- transactions ----------------------------------------------------------------------------------------------

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> Transaction:
        check_isolation(isolation)
        if read_only:
            return self._begin_snapshot()
        writer = self._begin_write()
        connection = self._writer_connection
        assert connection is not None
        self._rows_changed = connection.total_changes()
        self._session = session = Session(connection, writer, self.settings.transaction_timeout, self._release_session)
        self._owner = threading.get_ident() if bound else None
        self._upkeep.start()
        return SQLiteTransaction(self, session, read_only=False)

    def _release_session(self) -> None:
        session = self._session
        self._session = self._owner = None
        self._forget(session)
        connection = self._writer_connection
        rows = _COMMITS_A_LOOK if connection is None else connection.total_changes() - self._rows_changed
        self._written(rows + 8)  # a row may be many pages long

    def _begin_snapshot(self) -> Transaction:
        if self._closed:
            raise StorageClosed("the storage is closed")
        try:
            connection = self._idle_snapshots.pop()
        except IndexError:
            connection = open_connection(self.path, self.settings, query_only=True)
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT value FROM storage_state").fetchall()  # the read that fixes the state
        except apsw.Error as error:
            connection.close(True)
            raise translate(error) from error

        def release() -> None:
            self._snapshots.discard(session)
            self._forget(session)
            if self._closed:
                connection.close(True)
            else:
                self._idle_snapshots.append(connection)

        session = Session(connection, None, self.settings.transaction_timeout, release)
        self._snapshots.add(session)
        self._upkeep.start()
        return SQLiteTransaction(self, session, read_only=True)

    def _forget(self, session: Session | None) -> None:
        for id, transaction in list(self._transactions.items()):
            if transaction._session is session:
                self._transactions.pop(id, None)
                if session is not None and session.state == "expired":
                    self._expired_ids[id] = None
        while len(self._expired_ids) > _ENDED_IDS_KEPT:
            self._expired_ids.pop(next(iter(self._expired_ids)))

    def _transaction(self, id: str) -> Transaction:
        if self._closed:
            raise StorageClosed("the storage is closed")
        transaction = self._transactions.get(id)
        if transaction is not None:
            return transaction
        if id in self._expired_ids:
            raise TransactionExpired("the transaction passed its time limit and was rolled back")
        raise TransactionError(f"no open transaction {id!r}")

    # -- SQL -------------------------------------------------------------------------------------------------------

    def query_sql(
        self,
        sql: str,
        parameters: Sequence[Any] = (),
        *,
        views: Mapping[str, SqlView],
        limit: int = 1_000,
        timeout: float = 5.0,
    ) -> SqlRows:
        bound = check_query(sql, parameters, views, limit, timeout)
        if self._closed:
            raise StorageClosed("the storage is closed")
        return sql_queries.query(self.path, self.settings, sql, bound, views, limit, timeout)

    # -- care ------------------------------------------------------------------------------------------------------

    @property
    def sql_dialect(self) -> Literal["sqlite"]:
        return "sqlite"

    @contextmanager
    def component_migrator(self, component: str, migrations: Iterable[Migration]) -> Iterator[Migrator]:
        if self._closed:
            raise StorageClosed("the storage is closed")
        check_component(component)
        connection = open_connection(self.path, self.settings, query_only=self.settings.read_only)
        try:
            yield Migrator(journal.SQLiteJournal(connection), migrations, component)
        finally:
            connection.close()

    def ping(self) -> None:
        self.has("ping")
        problem = care.moved(self)
        if problem is not None:
            raise StorageError(problem)

    def get_status(self) -> Status:
        return care.status(self, self._rows)

    def check(self) -> CheckReport:
        with self._one_state() as rows:
            return care.check(self, rows)

    def backup(
        self, path: str | Path, *, overwrite: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        if self._closed:
            raise StorageClosed("the storage is closed")
        care.backup(self, path, overwrite, progress)

    def optimize(self) -> None:
        """Sweep, prune changes, save codes of vectors, refresh the planner's statistics and empty the WAL."""
        if self.settings.read_only:
            return
        self._upkeep.sweep()
        vector_codes.save_due(self, make=True)
        if not self._lock.try_acquire():
            self._wait_for_lock()
        try:
            if self._writer_connection is None:
                self._reopen_writer()
            self._writer_execute("PRAGMA optimize").fetchall()
            if self.journal_mode == "wal":
                assert self._writer_connection is not None
                self._writer_connection.wal_checkpoint(None, apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            pass  # a reader still needs the WAL
        except apsw.Error as error:
            raise translate(error) from error
        finally:
            self._lock.release()

    def close(self) -> None:
        if self._closed:
            return
        self._upkeep.stop()
        self._save_codes()
        self._closed = True
        forks.forget(self)
        for session in [self._session, *self._snapshots]:
            if session is not None:
                session.connection.interrupt()
                with session.mutex:
                    if session.state == "open":
                        session.end("finished")
        waited = self._lock.acquire(self.settings.busy_timeout / 1000)
        self._close_connections()
        if waited:
            self._lock.release()
        if self._private_folder is not None:
            self._private_folder.cleanup()

    def _save_codes(self) -> None:
        """Save the codes of vector indexes, if that is due; they are derived, so it may fail."""
        if self._nearest and not self.settings.read_only and self._session is None:
            try:
                vector_codes.save_due(self)
            except StorageError as error:
                self._last_error = f"codes of vectors: {error}"

    def _close_connections(self) -> None:
        """Close what is not in use this moment; what is, closes when its thread lets go of it."""
        self._local = threading.local()
        with self._readers_guard:
            connections = [*self._readers, *self._idle_snapshots]
            self._readers.clear()
            self._idle_snapshots.clear()
        if self._writer_connection is not None:
            connections.append(self._writer_connection)
            self._writer_connection = None
        for connection in connections:
            for _ in range(200):
                try:
                    connection.close(True)
                    break
                except apsw.ThreadingViolationError:
                    time.sleep(0.001)
                except apsw.Error as error:
                    self._last_error = f"close: {error}"
                    break

    def __repr__(self) -> str:
        return f"SQLiteStorageBackend({os.fspath(self.path)!r})"

    def restore(self, entries: Iterable[Entry]) -> int:
        with self.transaction() as tx:
            return tx.restore(entries)


def _flat(cursor: apsw.Cursor) -> Any:
    return cursor.get
