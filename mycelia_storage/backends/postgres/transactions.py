"""Transactions: the whole contract on one connection between BEGIN and COMMIT, savepoints inside, and snapshots.

What they share is a session (:mod:`.sessions`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import uuid4

import psycopg

from ...contract import CheckReport, Entry, Status, Transaction, check_isolation
from ...errors import StorageReadOnly, TransactionError, UniqueViolation
from ...indexes import FieldIndex
from . import batches, care, graphs, physical
from .kept_indexes import KeptIndexes, KeptVector
from .pool import Link
from .reading import Rows
from .rows import Row, about
from .sessions import Session
from .writing import PostgresWrites

if TYPE_CHECKING:
    from .backend import PostgresStorageBackend

T = TypeVar("T")

_NOW: Final = "SELECT {now}"
#: Seconds that building an index may take.
_LONG: Final = 24 * 3600.0
_CLAIM: Final = "SELECT {s}.storage_claim({t}, %s, %s, %s::bigint[], %s::bytea[])"


class PostgresTransaction(PostgresWrites, Transaction):
    """A transaction, a savepoint in one, or a snapshot."""

    backend_name = "postgres"

    def __init__(self, storage: PostgresStorageBackend, session: Session, *, read_only: bool, depth: int = 0) -> None:
        self.id = f"tx_{uuid4().hex}"
        self._storage = storage
        self._place = storage._place
        self._kept = storage._kept
        self._session = session
        self._read_only = read_only
        self._depth = depth
        self._finished = False
        #: Whether only the method that began it writes in it.
        self.private = False
        session.depth = depth
        storage._transactions[self.id] = self

    # -- life ------------------------------------------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        return not self._finished and self._session.state == "open" and self._session.depth >= self._depth

    @property
    def finished(self) -> bool:
        return self._finished

    def _check(self) -> None:
        if self._finished:
            raise TransactionError("the transaction has ended")
        self._session.check()
        if self._session.depth < self._depth:
            raise TransactionError("the transaction around this savepoint has ended it")

    def commit(self, id: str | None = None) -> None:
        if id is not None:
            return self._transaction(id).commit()
        session = self._session
        with session.mutex:
            self._check()
            self._finish()
            if self._depth:
                self._script(f"RELEASE savepoint_{self._depth}")
                session.depth = self._depth - 1
            else:
                session.commit()
        return None

    def rollback(self, id: str | None = None) -> None:
        if id is not None:
            return self._transaction(id).rollback()
        session = self._session
        with session.mutex:
            self._check()
            self._finish()
            if self._depth:
                self._script(f"ROLLBACK TO savepoint_{self._depth}; RELEASE savepoint_{self._depth}")
                session.depth = self._depth - 1
            else:
                session.end("finished")
        return None

    def _finish(self) -> None:
        self._finished = True
        self._storage._transactions.pop(self.id, None)

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> Transaction:
        check_isolation(isolation)
        session = self._session
        with session.mutex:
            self._check()
            depth = session.depth + 1
            self._script(f"SAVEPOINT savepoint_{depth}")
            return PostgresTransaction(self._storage, session, read_only=read_only or self._read_only, depth=depth)

    def _transaction(self, id: str) -> Transaction:
        return self._storage._transaction(id)

    def _script(self, sql: str) -> None:
        try:
            self._session.link.script(sql)
        except psycopg.Error as error:
            raise self._session.failed(error) from error

    # -- reads -----------------------------------------------------------------------------------------------------

    def _rows(self, statement: str, parameters: tuple[Any, ...]) -> Rows:
        return self._run(self._place.sql(statement), parameters, True)

    def _query_rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        return self._run(sql, parameters, None)

    def _run(self, sql: str, parameters: Sequence[Any], prepare: bool | None) -> Rows:
        session = self._session
        with session.mutex:
            self._check()
            try:
                return session.link.rows(sql, parameters, prepare)
            except psycopg.Error as error:
                raise session.failed(error) from error

    def _stream(self, sql: str, parameters: tuple[Any, ...]) -> Iterator[Row]:
        session = self._session
        with session.mutex:
            self._check()
            try:
                # One by one would need a cursor in the server, as the transaction must not be cancelled.
                yield from session.link.rows(sql, parameters, None)
            except psycopg.Error as error:
                raise session.failed(error) from error

    def _uncompiled_rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        return self._run(sql, parameters, True)

    def _tuned_rows(self, settings: dict[str, str], sql: str, parameters: tuple[Any, ...]) -> Rows:
        session = self._session
        with session.mutex:
            self._check()
            try:
                return session.link.tuned_rows(settings, sql, parameters)
            except psycopg.Error as error:
                raise session.failed(error) from error

    @property
    def _exact_up_to(self) -> int:
        return self._storage.settings.vector_exact_up_to

    # -- writes ----------------------------------------------------------------------------------------------------

    def _call(self, statement: str, parameters: tuple[Any, ...], named: bool = False) -> Any:
        session = self._session
        with session.mutex:
            self._check_writable()
            try:
                return session.link.rows(self._place.sql(statement), parameters)[0][0]
            except psycopg.Error as error:
                raise session.failed(error, about(*parameters[:2]) if named else "") from error

    def _check_writable(self) -> None:
        self._check()
        if self._read_only or not self._session.writes:
            raise StorageReadOnly("a read-only transaction cannot write")

    def _steps(self, work: Callable[[PostgresTransaction], T], guarded: bool = True) -> T:
        session = self._session
        with session.mutex:
            self._check_writable()
            outer = session.guarded
            session.guarded = False
            try:
                if guarded:
                    self.guard()
                result = work(self)
            except BaseException:
                was, session.guarded = session.guarded, outer
                with suppress(psycopg.Error):
                    session.link.settle()
                if was and session.state == "open":
                    self._script("ROLLBACK TO step; RELEASE step")
                raise
            was, session.guarded = session.guarded, outer
            if was:
                self._script("RELEASE step")
            return result

    def guard(self) -> None:
        """Make what follows in this step one that is undone whole by itself. Without that, as for a single write, an
        error of the server ends the transaction."""
        session = self._session
        if not self.private and not session.guarded:
            self._script("SAVEPOINT step")
            session.guarded = True

    # -- for work in steps -----------------------------------------------------------------------------------------

    def run(self, statement: str, parameters: Sequence[Any], prepare: bool | None = False) -> Rows:
        """The rows of a statement that is not worth preparing, or, with None, once it has run a few times."""
        return self._run(self._place.sql(statement), parameters, prepare)

    def script(self, sql: str) -> None:
        """Several statements in one round trip."""
        with self._session.mutex:
            self._check()
            self._script(sql)

    def copy(self, statement: str, types: Sequence[str], rows: Sequence[Row]) -> None:
        """Send rows by COPY in binary."""
        session = self._session
        with session.mutex:
            self._check()
            try:
                session.link.settle()
                with session.link.connection.cursor().copy(statement) as copy:
                    copy.set_types(types)
                    write = copy.write_row
                    for row in rows:
                        write(row)
            except psycopg.Error as error:
                raise session.failed(error) from error

    def copy_data(self, statement: str, data: bytes) -> None:
        """Send what COPY takes as it is."""
        session = self._session
        with session.mutex:
            self._check()
            try:
                session.link.settle()
                with session.link.connection.cursor().copy(statement) as copy:
                    copy.write(data)
            except psycopg.Error as error:
                raise session.failed(error) from error

    def start(self, statement: str, number: int) -> None:
        """Send a statement whose one parameter is a number, without waiting for it; :meth:`settle` does."""
        session = self._session
        with session.mutex:
            self._check()
            try:
                session.link.start(self._place.sql(statement) % number)
            except psycopg.Error as error:
                raise session.failed(error) from error

    def settle(self) -> None:
        """Wait for what was started. Raises its error."""
        session = self._session
        with session.mutex:
            self._check()
            try:
                session.link.settle()
            except psycopg.Error as error:
                raise session.failed(error) from error

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What belongs to something written without a :meth:`guard`: an error ends the transaction."""
        try:
            yield
        except BaseException:
            session = self._session
            if session.state == "open" and not session.link.failed:
                session.end("lost")
            raise

    def change(self, statement: str, parameters: Sequence[Any]) -> int:
        """How many rows a writing statement changed; prepared once it has run a few times."""
        with self._session.mutex:
            self._run(self._place.sql(statement), parameters, None)
            return self._session.link.affected

    def now(self) -> int:
        """The server's clock in UTC milliseconds."""
        return int(self._rows(_NOW, ())[0][0])

    def take_time(self) -> None:
        """Let work that may take long have its time, in a transaction that nobody else knows of."""
        if self.private:
            self._session.deadline = time.monotonic() + _LONG

    @property
    def spaces(self) -> dict[str, batches.Space]:
        """What is remembered of namespaces that log no changes. It may be out of date."""
        return self._storage._spaces

    def learn(self, spaces: Mapping[str, batches.Space]) -> None:
        """Remember what was found of namespaces."""
        if len(self.spaces) > batches.MOST_SPACES:
            self.spaces.clear()
        self.spaces.update((name, space) for name, space in spaces.items() if not space.tracked)

    def remembered(self, namespace: str, generation: int) -> KeptIndexes | None:
        """What the indexes of a namespace want kept, if it is known for that generation."""
        known = self._kept.get(namespace)
        return known if known is not None and known.generation == generation else None

    def kept(self, namespace: str, generation: int) -> KeptIndexes:
        """What the indexes of a namespace, which are of that generation, want kept."""
        return self.remembered(namespace, generation) or self._find_kept(namespace)

    def claim(self, namespace: str, key: str, entry: Entry) -> None:
        """Give the entry's values of unique indexes to it. Raises UniqueViolation."""
        if not self.run(_CLAIM, (namespace, key, *self._kept[namespace].prints(entry)))[0][0]:
            raise UniqueViolation(f"a unique index already holds these values ({about(namespace, key)})")

    @property
    def index_prefix(self) -> str:
        """What the names of PostgreSQL's indexes of this schema and tenant begin with."""
        return physical.prefix(self._place)

    def wants_graph(self, vector: KeptVector, entries: int) -> bool:
        """Whether a vector index of so many entries is to have a graph."""
        return graphs.wanted(vector.declared, entries, self._storage.settings.vector_exact_up_to)

    def build_graph(self, sql_name: str, home: str, vector: KeptVector, entries: int) -> bool:
        """Build the graph of a vector index; False where the role may not, which costs speed alone."""
        return self._build(lambda link: graphs.build(link, self._place, sql_name, home, vector, entries), sql_name)

    def build_index(self, sql_name: str, namespace: str, index: FieldIndex) -> bool:
        """Build PostgreSQL's index; False where the role may not, which costs speed alone."""
        return self._build(lambda link: physical.build(link, self._place, sql_name, namespace, index), sql_name)

    def _build(self, make: Callable[[Link], None], about: str) -> bool:
        session = self._session
        with session.mutex:
            self._check_writable()
            self._script("SAVEPOINT building")
            try:
                make(session.link)
            except psycopg.errors.InsufficientPrivilege:
                self._script("ROLLBACK TO building; RELEASE building")
                return False
            except psycopg.Error as error:
                raise session.failed(error, f"building {about}") from error
            self._script("RELEASE building")
            return True

    # -- care ------------------------------------------------------------------------------------------------------

    def get_status(self) -> Status:
        return care.status(self._storage, self._rows)

    def check(self) -> CheckReport:
        return care.check(self._storage, self)
