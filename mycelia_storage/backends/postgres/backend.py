"""The PostgreSQL storage: a pool of connections, one lock in the database for its writers.

A single write is one call of a function, committed by itself; it shares the storage's advisory lock with other writes,
so that it waits for an exclusive transaction (``transaction()`` as it is by default) and no other. Both locks end with
their transaction: nothing depends on the state of a session. Within the process, exclusive transactions queue up before
they ask for a connection, and other writers wait for them there, so that who waits does not take readers' connections.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import psycopg

from ...contract import Change, CheckReport, Status, Transaction
from ...dumps import write_dump
from ...errors import (
    BackendUnavailable,
    SqlRefused,
    SqlTimeout,
    StorageBusy,
    StorageClosed,
    StorageReadOnly,
    TransactionError,
    TransactionExpired,
)
from ...fair_lock import FairLock
from ...migrations import Migration, Migrator, check_component
from ...names import DEFAULT_NAMESPACE, Namespace, check_key, check_namespace
from ...sql_views import SqlRows, SqlView, check_query
from . import care, forks, journal, sql_queries, tenants
from .batches import Space
from .driver_errors import translate, unknown_outcome
from .kept_indexes import KeptIndexes
from .listening import POLLING, WOKEN, Listener
from .opening import Address
from .place import Place
from .pool import Link, Pool
from .reading import GET, Rows
from .replicas import CountedPool, Replicas, may_be_read_elsewhere
from .rows import Row, about, decode
from .sessions import Session
from .settings import PostgresSettings
from .sql_words import read_query
from .transactions import PostgresTransaction
from .upkeep import PostgresUpkeep
from .writing import SET, PostgresWrites

T = TypeVar("T")

_CHANNEL: Final = "SELECT 'mycelia_' || md5(%s || '/' || %s)"
_KEPT_TABLES: Final = """SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = (
SELECT relnamespace FROM pg_class WHERE oid = (SELECT tableoid FROM {s}.storage_sums LIMIT 1))
AND c.relname IN ('storage_texts', 'storage_postings', 'storage_vectors', 'storage_sums')"""
_NOTIFY: Final = "SELECT {s}.storage_wake({t})"

#: Seconds that a backup or a check may take.
_LONG: Final = 7 * 24 * 3600.0

_ENDED_IDS_KEPT: Final = 1_000
#: How often a single write is repeated that the server undid to end a deadlock or a conflict.
_REPEATS: Final = 20
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0

_LEVELS: Final = {
    "snapshot": "REPEATABLE READ",
    "repeatable read": "REPEATABLE READ",
    "read committed": "READ COMMITTED",
}


class PostgresStorageBackend(PostgresWrites):
    """Storage in one schema of a PostgreSQL database.

    ``config`` is a mapping of options or the URL; keyword options add to it
    (:class:`~mycelia_storage.backends.postgres.settings.PostgresSettings` lists them all).

    Raises InvalidConfig, BackendUnavailable, ForeignDatabase, SchemaTooNew, MigrationError, StorageReadOnly.
    """

    backend_name = "postgres"

    def __init__(self, config: Mapping[str, Any] | str | None = None, **options: Any) -> None:
        self.settings = settings = PostgresSettings.read(config, options)
        self._closed = False
        self._address = Address(settings)
        self.address = self._address.shown
        self._place = Place(settings.schema, settings.tenant, settings.busy_timeout)
        self._get, self._set = self._place.plain(GET), self._place.plain(SET)
        self._kept: dict[str, KeptIndexes] = {}
        self._spaces: dict[str, Space] = {}
        self._last_error: str | None = None
        self._transactions: dict[str, PostgresTransaction] = {}
        self._expired_ids: dict[str, None] = {}
        self._reset()
        try:
            self.schema_version = self._prepare()
        except BaseException:
            self._closed = True
            self._pool.close()
            self._address.close()
            raise
        forks.watch(self)

    def _prepare(self) -> int:
        settings = self.settings
        may_change = settings.migrate and not settings.read_only
        link = self._pool.take()
        try:
            version = journal.prepare(link, settings.schema, may_change, settings.partitions, self.address)
            if settings.tenant is not None:
                tenants.confine(link, self._place, may_change)
        except BaseException:
            self._pool.discard(link)
            raise
        self._pool.give(link)
        return version

    def _reset(self) -> None:
        """Locks and connections anew: at the start, and in the child of a fork."""
        settings = self.settings
        kind = CountedPool if settings.replicas else Pool
        sizes = (settings.pool_min_size, settings.pool_max_size, max(settings.busy_timeout / 1000, 0.001))
        self._pool = kind(self._open_link, *sizes)
        self._replicas: Replicas | None = None
        if isinstance(self._pool, CountedPool):
            pools = [Pool(self._linker(url), *sizes) for url in settings.replicas]
            self._replicas = Replicas(self._pool, pools, settings.replica_wait)
        self._turn = FairLock()
        #: Write transactions bound to a thread.
        self._owners: dict[int, Session] = {}
        self._alone: Session | None = None
        self._sessions: set[Session] = set()
        self._listener = Listener(self._open_listening, self._notify)
        self._upkeep = PostgresUpkeep(self)

    # -- connections -----------------------------------------------------------------------------------------------

    def _open_link(self) -> Link:
        if self._closed:
            raise StorageClosed("the storage is closed")
        return self._address.connect(self._place.enter)

    @property
    def sql_dialect(self) -> Literal["postgres"]:
        return "postgres"

    @contextmanager
    def component_migrator(self, component: str, migrations: Iterable[Migration]) -> Iterator[Migrator]:
        if self._closed:
            raise StorageClosed("the storage is closed")
        check_component(component)
        link = self._address.connect()
        try:
            yield Migrator(journal.PostgresJournal(link, self.settings.schema), migrations, component)
        finally:
            link.close()

    def _pools(self) -> list[Pool]:
        return [self._pool] if self._replicas is None else [self._pool, *self._replicas.pools()]

    def _linker(self, url: str) -> Callable[[], Link]:
        """What opens connections to a replica."""
        address = Address(replace(self.settings, url=url, replicas=()))
        return lambda: address.connect(self._place.enter)

    def _open_listening(self) -> Link:
        link = self._open_link()
        channel = link.connection.execute(_CHANNEL, (self._place.schema, self._place.tenant or "")).fetchall()[0][0]
        link.script(f'LISTEN "{channel}"')
        return link

    def _notify(self) -> None:
        self._with_link(lambda link: link.rows(self._place.sql(_NOTIFY), (), False))

    def _read(self, draw: Callable[[Link], T]) -> T:
        """Run a read on a connection of the pool, again when the connection was lost."""
        pause = _FIRST_PAUSE
        for left in range(self.settings.retries, -1, -1):
            try:
                return self._with_link(draw)
            except BackendUnavailable:
                if not left:
                    raise
            time.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, _LONGEST_PAUSE)
        raise AssertionError

    def _with_link(self, draw: Callable[[Link], T]) -> T:
        """Run ``draw`` on a connection of the pool, once. Raises our errors."""
        pool = self._pool
        link = pool.take()
        try:
            result = draw(link)
        except psycopg.Error as error:
            if link.lost:
                pool.discard(link)
                pool.drain()
                if self._closed:
                    raise StorageClosed("the storage is closed") from error
                raise BackendUnavailable(f"the connection to {self.address} was lost") from error
            pool.give(link)
            raise translate(error) from error
        except BaseException:
            pool.discard(link)
            raise
        pool.give(link)
        return result

    def _rows(self, statement: str, parameters: tuple[Any, ...]) -> Rows:
        sql = self._place.sql(statement)
        if self._replicas is not None and may_be_read_elsewhere(statement):
            return self._read_anywhere(lambda link: link.rows(sql, parameters))
        return self._read(lambda link: link.rows(sql, parameters))

    def _query_rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        if self._replicas is not None:
            return self._read_anywhere(lambda link: link.rows(sql, parameters, None))
        return self._read(lambda link: link.rows(sql, parameters, None))

    def _uncompiled_rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        return self._tuned_rows({"jit": "off"}, sql, parameters)

    def _tuned_rows(self, settings: dict[str, str], sql: str, parameters: tuple[Any, ...]) -> Rows:
        if self._replicas is not None:
            return self._read_anywhere(lambda link: link.tuned_rows(settings, sql, parameters))
        return self._read(lambda link: link.tuned_rows(settings, sql, parameters))

    @property
    def _exact_up_to(self) -> int:
        return self.settings.vector_exact_up_to

    def _read_anywhere(self, draw: Callable[[Link], T]) -> T:
        if self._closed:
            raise StorageClosed("the storage is closed")
        found = self._replicas.read(draw) if self._replicas is not None else []
        return found[0] if found else self._read(draw)

    def _stream(self, sql: str, parameters: tuple[Any, ...]) -> Iterator[Row]:
        link = self._pool.take()
        try:
            yield from link.stream(sql, parameters)
        except psycopg.Error as error:
            raise translate(error) from error
        finally:
            self._pool.give(link)

    def get(self, key: str, default: Any = None, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Any:
        if self._replicas is not None:
            return super().get(key, default, namespace=namespace)
        name, key = check_namespace(namespace), check_key(key)
        pool = self._pool
        link = None
        try:
            link = pool.take()
            row = link.point(self._get, name, key)
        except BaseException as error:
            if link is not None:
                pool.discard(link) if link.lost or not isinstance(error, LookupError) else pool.give(link)
            if isinstance(error, LookupError | psycopg.Error | BackendUnavailable):
                return super().get(key, default, namespace=name)
            raise
        pool.give(link)
        if row is None:
            return default
        return decode(row[0], row[1], name, key)

    # -- writes ----------------------------------------------------------------------------------------------------

    def _put(self, parameters: tuple[Any, ...]) -> int:
        try:
            return self._commit(lambda link: link.put(self._set, parameters), parameters)
        except LookupError:
            return super()._put(parameters)

    def _call(self, statement: str, parameters: tuple[Any, ...], named: bool = False) -> Any:
        sql = self._place.sql(statement)
        row = self._commit(lambda link: link.one(sql, parameters), parameters if named else ())
        assert row is not None
        return row[0]

    def _commit(self, write: Callable[[Link], T], named: tuple[Any, ...]) -> T:
        """Run a statement that writes, again where the server undid it to end a conflict. ``named`` begins with
        namespace and key, for errors, unless it is empty."""
        self._check_writable()
        pool = self._pool
        for left in range(_REPEATS, -1, -1):
            link = pool.take()
            try:
                result = write(link)
            except psycopg.Error as error:
                shown = about(*named[:2]) if named else ""
                if link.lost:
                    pool.discard(link)
                    pool.drain()
                    raise unknown_outcome(shown) from error
                pool.give(link)
                if left and error.sqlstate in ("40001", "40P01"):
                    time.sleep(random.uniform(0, 0.002 * (_REPEATS - left + 1)))
                    continue
                raise translate(error, shown) from error
            except LookupError:
                pool.give(link)
                raise
            except BaseException:
                pool.discard(link)
                raise
            pool.give(link)
            if not self._upkeep.started:
                self._upkeep.start()
            return result
        raise AssertionError

    def _check_writable(self) -> None:
        """Raise where this thread may not write; wait for an exclusive transaction of this process."""
        if not self._owners and self._alone is None and not self._closed and not self.settings.read_only:
            return
        self._check_thread()
        if self._alone is not None:
            self._wait_for_turn()
            self._turn.release()

    def _check_thread(self) -> None:
        if self._closed:
            raise StorageClosed("the storage is closed")
        if self.settings.read_only:
            raise StorageReadOnly("the storage was opened with read_only")
        own = self._owners.get(threading.get_ident())
        if own is not None:
            own.expire()
            if own.state == "open":
                raise TransactionError("this thread has a transaction open: write through it, or end it first")

    def _wait_for_turn(self) -> float:
        """Take this process's turn; what is left of busy_timeout in seconds."""
        until = time.monotonic() + self.settings.busy_timeout / 1000
        while True:
            session, now = self._alone, time.monotonic()
            wait = until - now
            if session is not None:
                wait = min(wait, max(session.deadline - now, 0) + 0.005)
            if self._turn.acquire(wait):
                return max(until - time.monotonic(), 0)
            if session is not None:
                session.expire()
            if time.monotonic() >= until:
                raise StorageBusy("another writer held the lock for longer than busy_timeout")

    def _steps(self, work: Callable[[PostgresTransaction], T], guarded: bool = True) -> T:
        with self._begin(False, "serializable", True) as tx:
            tx.private = True
            return work(tx)

    # -- transactions ----------------------------------------------------------------------------------------------

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> PostgresTransaction:
        if self._closed:
            raise StorageClosed("the storage is closed")
        if read_only:
            return self._begin_session("read only", writes=False)
        self._check_thread()
        if isolation in _LEVELS:
            transaction = self._begin_session(_LEVELS[isolation], writes=True)
        else:
            left = self._wait_for_turn()
            try:
                transaction = self._begin_session("alone", writes=True, wait=left)
            except BaseException:
                self._turn.release()
                raise
            self._alone = transaction._session
        if bound:
            self._owners[threading.get_ident()] = transaction._session
        return transaction

    def _begin_to_repeat(self) -> Transaction:
        self._check_writable()
        transaction = self._begin_session("SERIALIZABLE", writes=True)
        self._owners[threading.get_ident()] = transaction._session
        return transaction

    def _begin_session(
        self, mode: str, *, writes: bool, wait: float | None = None, limit: float | None = None
    ) -> PostgresTransaction:
        timeout = limit or self.settings.transaction_timeout
        script = self._place.begin(mode, wait, timeout)
        link = self._take_to_begin(script)
        session = Session(link, writes=writes, timeout=timeout, release=self._release_session)
        self._sessions.add(session)
        self._upkeep.start()
        return PostgresTransaction(self, session, read_only=not writes)

    def _take_to_begin(self, script: str) -> Link:
        for left in (1, 0):
            link = self._pool.take()
            try:
                link.script(script)
                return link
            except psycopg.Error as error:
                lost = link.lost
                self._pool.discard(link)
                if lost:
                    self._pool.drain()
                    if left:
                        continue  # nothing has happened yet
                raise translate(error, "beginning a transaction") from error
            except BaseException:
                self._pool.discard(link)
                raise
        raise AssertionError

    def _release_session(self, session: Session) -> None:
        self._sessions.discard(session)
        for id, transaction in list(self._transactions.items()):
            if transaction._session is session:
                self._transactions.pop(id, None)
                if session.state == "expired":
                    self._expired_ids[id] = None
        while len(self._expired_ids) > _ENDED_IDS_KEPT:
            self._expired_ids.pop(next(iter(self._expired_ids)))
        self._pool.give(session.link)
        for thread, owned in list(self._owners.items()):
            if owned is session:
                self._owners.pop(thread, None)
        if self._alone is session:
            self._alone = None
            self._turn.release()

    def _transaction(self, id: str) -> Transaction:
        if self._closed:
            raise StorageClosed("the storage is closed")
        transaction = self._transactions.get(id)
        if transaction is not None:
            return transaction
        if id in self._expired_ids:
            raise TransactionExpired("the transaction passed its time limit and was rolled back")
        raise TransactionError(f"no open transaction {id!r}")

    # -- watching --------------------------------------------------------------------------------------------------

    def _watch(self, namespace: str | None, cursor: int, timeout: float | None) -> Iterator[Change]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            heard = self._listener.heard
            page = self.changes(namespace=namespace, since=cursor)
            cursor = page.cursor
            yield from page.changes
            if page.changes:
                deadline = None if timeout is None else time.monotonic() + timeout
            elif deadline is not None and time.monotonic() >= deadline:
                return
            if not page.has_more:
                self._listener.start()
                longest = WOKEN if self._listener.listening else POLLING
                left = longest if deadline is None else min(longest, deadline - time.monotonic())
                self._listener.wait(heard, max(left, 0))

    # -- care ------------------------------------------------------------------------------------------------------

    def get_status(self) -> Status:
        return care.status(self, self._rows)

    def check(self) -> CheckReport:
        with self._long_snapshot() as snapshot:
            return snapshot.check()

    def _long_snapshot(self) -> PostgresTransaction:
        if self._closed:
            raise StorageClosed("the storage is closed")
        return self._begin_session("read only", writes=False, limit=_LONG)

    def backup(
        self, path: str | Path, *, overwrite: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Write a dump (:mod:`mycelia_storage.dumps`), which ``mycelia-storage load`` reads; mode 0600."""
        with self._long_snapshot() as snapshot:
            write_dump(snapshot, path, overwrite=overwrite, progress=progress)

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
        asked = read_query(sql)
        if asked.parameters != len(bound):
            raise SqlRefused(f"the query has {asked.parameters} parameters, and {len(bound)} were given")

        def ask(link: Link) -> SqlRows | SqlRefused | SqlTimeout:
            # Returned, not raised: what the query did wrong is no reason to close the connection.
            try:
                return sql_queries.query(link, self._place, asked, bound, views, limit, timeout)
            except (SqlRefused, SqlTimeout) as error:
                return error

        answer = self._read(ask)
        if isinstance(answer, SqlRows):
            return answer
        raise answer

    def optimize(self) -> None:
        """Sweep what has expired, prune changes, drop what is left of dropped indexes, refresh statistics."""
        if self._closed:
            raise StorageClosed("the storage is closed")
        if self.settings.read_only:
            return
        self._upkeep.sweep()
        for (table,) in [("storage_entries",), *self._rows(_KEPT_TABLES, ())]:
            self._analyse(table)

    def _analyse(self, table: str) -> None:
        self._read(lambda link: link.rows(self._place.sql(f"ANALYZE {{s}}.{table}"), (), False))

    def close(self) -> None:
        if self._closed:
            return
        self._upkeep.stop()
        self._closed = True
        forks.forget(self)
        self._listener.stop()
        for session in list(self._sessions):
            session.stop("finished")
        self._pool.close()
        if self._replicas is not None:
            self._replicas.close()
        self._address.close()

    def __repr__(self) -> str:
        return f"PostgresStorageBackend({self.address!r}, schema={self.settings.schema!r})"
