"""The SQLite storage: the contract over a file (:mod:`.file_access`) and what is open on it (:mod:`.sessions`)."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import apsw

from ...contract import BatchResult, CheckReport, Entries, Entry, Status, Transaction, check_isolation, check_version
from ...errors import StorageError
from ...indexes import VectorIndex
from ...migrations import Migration, Migrator, check_component
from ...names import DEFAULT_NAMESPACE, Namespace, check_key, check_namespace
from ...nearest.index import NearestIndex
from ...nearest.settings import VectorSettings
from ...sql_views import SqlRows, SqlView, check_query
from . import care, forks, journal, sql_queries, vector_codes
from .connections import open_connection
from .driver_errors import translate
from .file_access import CLOSED_UNDER_US, COMMITS_A_LOOK, FileAccess
from .reading import GET, GET_ENTRY, HAS, Row, Rows, Values, decode_stored, now_ms, to_entry
from .sessions import Sessions
from .set_rows import entry_row
from .settings import IN_MEMORY, SQLiteSettings
from .simple_writes import SimpleWrites
from .text_search import TextReads
from .transactions import SQLiteTransaction
from .upkeep import SQLiteUpkeep
from .vector_search import SQLiteVectors, VectorReads
from .writing import EntryWriter

T = TypeVar("T")

_PAGES_A_STEP: Final = 4  # an entry, its change, the namespace


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
        self._private_folder: tempfile.TemporaryDirectory[str] | None = None
        if settings.db_path == IN_MEMORY:
            self._private_folder = tempfile.TemporaryDirectory(prefix="mycelia-")
            self.path = str(Path(self._private_folder.name) / "memory.db")
        else:
            self.path = settings.db_path
        self._nearest: dict[tuple[int, VectorIndex], NearestIndex] = {}
        try:
            self._file = FileAccess(self.path, settings)
        except BaseException:
            if self._private_folder is not None:
                self._private_folder.cleanup()
            raise
        self._sessions = Sessions(self._file)
        self._upkeep = SQLiteUpkeep(self)
        forks.watch(self)

    @property
    def schema_version(self) -> int:
        """The newest migration that the file has."""
        return self._file.schema_version

    @property
    def journal_mode(self) -> str:
        """SQLite's name for how the file is written: "wal" unless the settings or the file system forbid it."""
        return self._file.journal_mode

    @property
    def _last_error(self) -> str | None:
        return self._file.last_error

    @_last_error.setter
    def _last_error(self, problem: str | None) -> None:
        self._file.last_error = problem

    def _begin_in_child(self) -> None:
        """Go on in the child of a fork, which has no connection and no thread of the parent's."""
        self._file.reset()
        self._sessions.reset()
        self._nearest = {}
        self._upkeep.restart_in_child()

    # -- reading ---------------------------------------------------------------------------------------------------

    def _rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        return self._file.read(sql, parameters, apsw.Cursor.fetchall)

    def _column(self, sql: str, parameters: tuple[Any, ...]) -> Values:
        # ``get`` flattens: nothing, the one value, or a sequence of the values.
        values = self._file.read(sql, parameters, _flat)
        if values is None:
            return []
        return [values] if isinstance(values, str) else list(values)

    def _stream(self, sql: str, parameters: tuple[Any, ...]) -> Iterator[Row]:
        cursor = self._file.reader().connection.cursor()
        try:
            yield from cursor.execute(sql, parameters)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise translate(error) from error
        finally:
            cursor.close(True)

    def _one_state(self) -> AbstractContextManager[Callable[[str, tuple[Any, ...]], Rows]]:
        return self._file.one_state()

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
            local = self._file.local
            row = (
                self._file.read(GET, (name, key), _flat) if local.beside else local.cursor.execute(GET, (name, key)).get
            )
        except (AttributeError, *CLOSED_UNDER_US):
            row = self._file.read(GET, (name, key), _flat)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise translate(error) from error
        if row is None or (row[1] is not None and row[1] <= now_ms()):
            return default
        return decode_stored(row[0], name, key)

    def has(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> bool:
        parameters = (check_namespace(namespace), check_key(key), time.time_ns() // 1_000_000)
        try:
            local = self._file.local
            if local.beside:
                return self._file.read(HAS, parameters, _flat) is not None
            return local.cursor.execute(HAS, parameters).get is not None
        except (AttributeError, *CLOSED_UNDER_US):
            return self._file.read(HAS, parameters, _flat) is not None
        except apsw.Error as error:
            raise translate(error) from error

    def get_entry(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Entry | None:
        name, key = check_namespace(namespace), check_key(key)
        try:
            local = self._file.local
            if local.beside:
                row = self._file.read(GET_ENTRY, (name, key), _flat)
            else:
                row = local.cursor.execute(GET_ENTRY, (name, key)).get
        except (AttributeError, *CLOSED_UNDER_US):
            row = self._file.read(GET_ENTRY, (name, key), _flat)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise translate(error) from error
        if row is None or (row[5] is not None and row[5] <= now_ms()):
            return None
        return to_entry(name, (key, *row))

    # -- writing ---------------------------------------------------------------------------------------------------

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
        file = self._file
        writer = file.take()
        try:
            version = writer.set_alone(row) if overwrite and if_version is None else None
            alone = version is not None
            if version is None:
                file.begin_immediate()
                version = writer.put(row, overwrite, if_version)
        except BaseException:
            file.undo()
            raise
        if alone:
            file.written(1 + len(row[2]) // 4096)
        else:
            file.end(_PAGES_A_STEP + len(row[2]) // 4096)
        return version

    def delete(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE, if_version: int | None = None) -> bool:
        name, key = check_namespace(namespace), check_key(key)
        check_version(if_version)
        file = self._file
        writer = file.take()
        try:
            alone = existed = if_version is None and writer.delete_alone(name, key)
            if not alone:
                file.begin_immediate()
                existed = writer.remove(name, key, if_version)
        except BaseException:
            file.undo()
            raise
        if alone:
            file.written(1)
        else:
            file.end(_PAGES_A_STEP)
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
        return self._file.write(work, _PAGES_A_STEP if small else COMMITS_A_LOOK)

    # -- transactions ----------------------------------------------------------------------------------------------

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> Transaction:
        check_isolation(isolation)
        session = self._sessions.begin_snapshot() if read_only else self._sessions.begin(bound)
        self._upkeep.start()
        return SQLiteTransaction(self, session, read_only=read_only)

    def _transaction(self, id: str) -> Transaction:
        return self._sessions.find(id)

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
        self._file.require_open()
        return sql_queries.query(self.path, self.settings, sql, bound, views, limit, timeout)

    # -- care ------------------------------------------------------------------------------------------------------

    @property
    def sql_dialect(self) -> Literal["sqlite"]:
        return "sqlite"

    @contextmanager
    def component_migrator(self, component: str, migrations: Iterable[Migration]) -> Iterator[Migrator]:
        self._file.require_open()
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
        self._file.require_open()
        care.backup(self, path, overwrite, progress)

    def optimize(self) -> None:
        """Sweep, prune changes, save codes of vectors, refresh the planner's statistics and empty the WAL."""
        if self.settings.read_only:
            return
        self._upkeep.sweep()
        vector_codes.save_due(self, make=True)
        self._file.optimize()

    def close(self) -> None:
        file = self._file
        if file.closed:
            return
        self._upkeep.stop()
        self._save_codes()
        file.closed = True
        forks.forget(self)
        self._sessions.end_all()
        waited = file.lock.acquire(self.settings.busy_timeout / 1000)
        file.close_connections()
        if waited:
            file.lock.release()
        if self._private_folder is not None:
            self._private_folder.cleanup()

    def _save_codes(self) -> None:
        """Save the codes of vector indexes, if that is due; they are derived, so it may fail."""
        if self._nearest and not self.settings.read_only and self._file.session is None:
            try:
                vector_codes.save_due(self)
            except StorageError as error:
                self._last_error = f"codes of vectors: {error}"

    def __repr__(self) -> str:
        return f"SQLiteStorageBackend({os.fspath(self.path)!r})"

    def restore(self, entries: Iterable[Entry]) -> int:
        with self.transaction() as tx:
            return tx.restore(entries)


def _flat(cursor: apsw.Cursor) -> Any:
    return cursor.get
