"""Transactions: the whole contract on one connection between BEGIN and COMMIT, savepoints inside, and snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import apsw

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
from ...errors import StorageReadOnly, TransactionError
from ...names import DEFAULT_NAMESPACE, Namespace, check_key, check_namespace
from . import care
from .driver_errors import translate
from .reading import Row, Rows
from .sessions import Session
from .set_rows import entry_row
from .simple_writes import SimpleWrites
from .text_search import TextReads
from .vector_search import VectorReads
from .writing import EntryWriter

if TYPE_CHECKING:
    from .backend import SQLiteStorageBackend

T = TypeVar("T")


class SQLiteTransaction(TextReads, VectorReads, SimpleWrites, Transaction):
    """A transaction, a savepoint in one, or a snapshot."""

    backend_name = "sqlite"

    def __init__(self, storage: SQLiteStorageBackend, session: Session, *, read_only: bool, depth: int = 0) -> None:
        self.id = f"tx_{uuid4().hex}"
        self._storage = storage
        self._session = session
        self._read_only = read_only
        self._depth = depth
        self._finished = False
        session.depth = depth
        storage._sessions.transactions[self.id] = self

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
            try:
                if self._depth:
                    session.connection.execute(f"RELEASE savepoint_{self._depth}")
                    session.depth = self._depth - 1
                elif session.writer is None:
                    session.end("finished")
                else:
                    session.connection.execute("COMMIT")
                    session.writer.committed()
                    session.end("finished")
            except apsw.Error as error:
                if session.state == "open":
                    session.end("lost")
                raise translate(error, "commit", session.connection) from error
        return None

    def rollback(self, id: str | None = None) -> None:
        if id is not None:
            return self._transaction(id).rollback()
        session = self._session
        with session.mutex:
            self._check()
            self._finish()
            if not self._depth:
                session.end("finished")
                return None
            try:
                session.connection.execute(f"ROLLBACK TO savepoint_{self._depth}")
                session.connection.execute(f"RELEASE savepoint_{self._depth}")
                session.depth = self._depth - 1
            except apsw.Error as error:
                raise session.failed(error) from error
        return None

    def _finish(self) -> None:
        self._finished = True
        self._storage._sessions.transactions.pop(self.id, None)

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> Transaction:
        check_isolation(isolation)
        session = self._session
        with session.mutex:
            self._check()
            depth = session.depth + 1
            try:
                session.connection.execute(f"SAVEPOINT savepoint_{depth}")
            except apsw.Error as error:
                raise session.failed(error) from error
            return SQLiteTransaction(self._storage, session, read_only=read_only or self._read_only, depth=depth)

    def _transaction(self, id: str) -> Transaction:
        return self._storage._transaction(id)

    # -- reads -----------------------------------------------------------------------------------------------------

    def _rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        session = self._session
        with session.mutex:
            self._check()
            try:
                return session.connection.execute(sql, parameters).fetchall()
            except (apsw.Error, UnicodeDecodeError) as error:
                raise session.failed(error) from error

    @contextmanager
    def _one_state(self) -> Iterator[Callable[[str, tuple[Any, ...]], Rows]]:
        with self._session.mutex:
            yield self._rows

    def _whole_storage(self) -> SQLiteStorageBackend:
        return self._storage

    def _shows_committed(self) -> bool:
        return self._session.writer is None

    def _stream(self, sql: str, parameters: tuple[Any, ...]) -> Iterator[Row]:
        session = self._session
        with session.mutex:
            self._check()
            cursor = session.connection.cursor()
            try:
                yield from cursor.execute(sql, parameters)
            except (apsw.Error, UnicodeDecodeError) as error:
                raise session.failed(error) from error
            finally:
                cursor.close(True)

    # -- writes ----------------------------------------------------------------------------------------------------

    def _write(self, work: Callable[[EntryWriter], T], *, steps: bool = False) -> T:
        """Run ``work``; with ``steps``, inside a savepoint of its own, so that it happens whole or not at all."""
        session = self._session
        with session.mutex:
            self._check()
            writer = session.writer
            if writer is None or self._read_only:
                raise StorageReadOnly("a read-only transaction cannot write")
            if not steps:
                try:
                    return work(writer)
                except BaseException:
                    self._note_loss()
                    raise
            writer.rows("SAVEPOINT step")
            try:
                result = work(writer)
            except BaseException:
                self._note_loss()
                if session.state == "open":
                    writer.rows("ROLLBACK TO step")
                    writer.rows("RELEASE step")
                raise
            writer.rows("RELEASE step")
            return result

    def _note_loss(self) -> None:
        if self._session.state == "open" and not self._session.connection.in_transaction:
            self._session.end("lost")

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
        check_version(if_version)
        return self._write(lambda writer: writer.put(row, overwrite, if_version))

    def delete(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE, if_version: int | None = None) -> bool:
        name, key = check_namespace(namespace), check_key(key)
        check_version(if_version)
        return self._write(lambda writer: writer.remove(name, key, if_version))

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
        name = check_namespace(namespace)
        return self._write(lambda writer: writer.put_many(entries, name, metadata, ttl, overwrite, atomic))

    def delete_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> int:
        name = check_namespace(namespace)
        return self._write(lambda writer: writer.remove_many(name, map(check_key, keys)), steps=True)

    def restore(self, entries: Iterable[Entry]) -> int:
        return self._write(lambda writer: writer.restore(entries), steps=True)

    def _change(self, work: Callable[[EntryWriter], T], *, small: bool = False) -> T:
        return self._write(work, steps=not small)

    # -- care ------------------------------------------------------------------------------------------------------

    def get_status(self) -> Status:
        return care.status(self._storage, self._rows)

    def check(self) -> CheckReport:
        with self._one_state() as rows:
            return care.check(self._storage, rows)
