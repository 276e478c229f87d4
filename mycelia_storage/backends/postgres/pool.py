"""Connections: a :class:`Link` is one, a :class:`Pool` the storage's.

The pool is a stack, so that few connections stay warm, and taking one costs a tenth of a microsecond: psycopg's own
pool costs as much as a read. A connection that has been idle for a while is looked at before it is used again.
Nothing is kept in a session between two uses but prepared statements: a pooler in transaction mode may stand between.
"""

from __future__ import annotations

import select
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any, Final

import psycopg
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus, TransactionStatus

from ...errors import StorageBusy, StorageClosed

Row = tuple[Any, ...]

#: Seconds of idleness after which a connection may have been cut by the server or something between.
_STALE: Final = 1.0
_IDLE_LIMIT: Final = 60.0

_IDLE: Final = int(TransactionStatus.IDLE)
_DONE: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.EMPTY_QUERY)
_ROWS: Final = int(ExecStatus.TUPLES_OK)

_POINT: Final = b"mycelia_get"
_DEALLOCATED: Final = "26000"
_PUT: Final = b"mycelia_set"
_PUT_FORMATS: Final = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]


class Link:
    """One connection, used by one thread at a time.

    ``enter``: SQL that must come before each statement, in its transaction (a tenant's setting); None for none.
    """

    __slots__ = (
        "_cursor",
        "_execute",
        "_pointing",
        "_putting",
        "connection",
        "enter",
        "idle_since",
        "pending",
        "pgconn",
        "prepare",
    )

    def __init__(self, connection: psycopg.Connection[Row], prepare: bool, enter: str | None) -> None:
        self.connection = connection
        self.pgconn = connection.pgconn
        self.prepare = prepare
        self.enter = enter
        self.idle_since = monotonic()
        self._cursor = connection.cursor(binary=True)
        self._execute = self._cursor.execute
        self._pointing = self._putting = False
        self.pending = False

    def rows(self, sql: str, parameters: Sequence[Any] = (), prepare: bool | None = True) -> list[Row]:
        """All rows of a statement, in a transaction of its own unless one is open."""
        if self.pending:
            self.settle()
        if prepare:
            prepare = self.prepare
        if self.enter is None or self.pgconn.transaction_status != _IDLE:
            self._execute(sql, parameters, prepare=prepare)
        else:
            # Between two syncs of a pipeline lies one transaction: one round trip for both.
            with self.connection.pipeline():
                self.connection.execute(self.enter, prepare=self.prepare)
                self._execute(sql, parameters, prepare=prepare)
        return self._cursor.fetchall() if self._cursor.description is not None else []

    @property
    def affected(self) -> int:
        """How many rows the last statement changed."""
        return self._cursor.rowcount

    def tuned_rows(self, settings: dict[str, str], sql: str, parameters: Sequence[Any]) -> list[Row]:
        """All rows of a read, with settings of the server for it alone."""
        calls = ", ".join(f"set_config('{name}', '{text}', true)" for name, text in settings.items())
        if self.in_transaction:
            # What else the transaction runs has the settings that it had.
            before = ", ".join(f"current_setting('{name}', true)" for name in settings)
            held = self.rows(f"SELECT {before}", (), None)[0]
            self.rows(f"SELECT {calls}", (), None)
            found = self.rows(sql, parameters, None)
            again = [(name, text) for name, text in zip(settings, held, strict=True) if text]
            calls = ", ".join(f"set_config('{name}', '{text}', true)" for name, text in again)
            self.rows(f"SELECT {calls}", (), None)
            return found
        with self.connection.pipeline():
            if self.enter is not None:
                self.connection.execute(self.enter, prepare=self.prepare)
            self.connection.execute(f"SELECT {calls}")
            self._execute(sql, parameters)
        return self._cursor.fetchall()

    def one(self, sql: str, parameters: Sequence[Any]) -> Row | None:
        """The first row of a statement, or None."""
        if self.enter is not None:
            found = self.rows(sql, parameters)
            return found[0] if found else None
        self._execute(sql, parameters, prepare=self.prepare)
        return self._cursor.fetchone()

    def point(self, sql: bytes, namespace: str, key: str) -> tuple[bytes, bool] | None:
        """The value and is_json of one entry, by libpq's own call: half the time of a cursor's. ``sql`` has ``$1, $2``.

        It cannot be interrupted, so it is for a read that waits for nobody. Raises LookupError where it does not go
        so: a cursor then says why.
        """
        pgconn = self.pgconn
        if self.enter is not None:
            raise LookupError
        if not self.prepare:
            result = pgconn.exec_params(sql, (namespace.encode(), key.encode()), None, None, 1)
        else:
            if not self._pointing:
                if pgconn.prepare(_POINT, sql).status != ExecStatus.COMMAND_OK:
                    raise LookupError
                self._pointing = True
            result = pgconn.exec_prepared(_POINT, (namespace.encode(), key.encode()), None, 1)
        if result.status != _ROWS:
            self._pointing = False  # somebody may have deallocated it
            raise LookupError
        if not result.ntuples:
            return None
        return result.get_value(0, 0) or b"", result.get_value(0, 1) == b"\1"

    def put(self, sql: bytes, parameters: Row) -> int:
        """What storage_set answers to its ten parameters, by libpq's own calls. Raises psycopg's errors; LookupError
        where it does not go so.
        """
        pgconn = self.pgconn
        if self.enter is not None or not self.prepare:
            raise LookupError
        if not self._putting:
            if pgconn.prepare(_PUT, sql).status != ExecStatus.COMMAND_OK:
                raise LookupError
            self._putting = True
        name, key, value, is_json, document, metadata, extra, lives, overwrite, if_version = parameters
        values = (
            name.encode(),
            key.encode(),
            value,
            b"t" if is_json else b"f",
            None if document is None else document.encode(),
            None if metadata is None else metadata.encode(),
            None if extra is None else extra.encode(),
            None if lives is None else b"%d" % lives,
            b"t" if overwrite else b"f",
            None if if_version is None else b"%d" % if_version,
        )
        pgconn.send_query_prepared(_PUT, values, _PUT_FORMATS, 1)
        result = self.connection.wait(execute(pgconn))[-1]
        if result.status != _ROWS:
            error = error_from_result(result, "utf-8")
            if error.sqlstate == _DEALLOCATED:
                self._putting = False
                raise LookupError
            raise error
        return int.from_bytes(result.get_value(0, 0) or b"", "big", signed=True)

    def script(self, sql: str) -> None:
        """Several statements in one round trip; no parameters."""
        if self.pending:
            self.settle()
        # Not by a cursor, which answers every ROLLBACK with DEALLOCATE ALL.
        self.pgconn.send_query(sql.encode())
        for result in self.connection.wait(execute(self.pgconn)):
            if result.status not in _DONE:
                raise error_from_result(result, "utf-8")

    def start(self, sql: str) -> None:
        """Send a statement without parameters, inside a transaction, and go on while the server works. What it answers
        is dropped; its error comes from :meth:`settle`, which whatever is run next begins with.
        """
        if self.pending:
            self.settle()
        self.pgconn.send_query(sql.encode())
        self.pending = True
        while self.pgconn.flush():
            select.select([], [self.pgconn.socket], [])

    def settle(self) -> None:
        """Wait for what :meth:`start` sent. Raises its error."""
        if self.pending:
            self.pending = False
            for result in self.connection.wait(execute(self.pgconn)):
                if result.status not in _DONE:
                    raise error_from_result(result, "utf-8")

    def stream(self, sql: str, parameters: Sequence[Any]) -> Iterator[Row]:
        """The rows one by one as the server sends them; draw them to the end or close the iterator."""
        if self.enter is None or self.in_transaction:
            yield from self._stream(sql, parameters)
            return
        self.script(f"BEGIN; {self.enter}")
        try:
            yield from self._stream(sql, parameters)
        finally:
            if not self.lost:
                self.script("ROLLBACK")

    def _stream(self, sql: str, parameters: Sequence[Any]) -> Iterator[Row]:
        with self.connection.cursor(binary=True) as cursor:
            yield from cursor.stream(sql, parameters)

    @property
    def in_transaction(self) -> bool:
        """Whether BEGIN was sent and no end."""
        return self.pgconn.transaction_status != _IDLE

    @property
    def failed(self) -> bool:
        """Whether the open transaction can only be rolled back."""
        return self.pgconn.transaction_status == TransactionStatus.INERROR

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self.connection.closed

    def looks_alive(self) -> bool:
        """False when the server has said something unasked while the connection was idle: mostly good-bye."""
        try:
            return not select.select([self.connection.fileno()], [], [], 0)[0]
        except (OSError, ValueError, psycopg.Error):
            return False

    def close(self) -> None:
        """Close the connection; never raises."""
        try:
            self.connection.close()
        except (psycopg.Error, OSError):
            pass


class Pool:
    """At most ``most`` links, made by ``connect`` when they are first needed."""

    def __init__(self, connect: Callable[[], Link], least: int, most: int, wait: float) -> None:
        self._connect = connect
        self._least = least
        self._most = most
        self._wait = wait
        self._idle: deque[Link] = deque()
        self._open = 0
        self._waiting = 0
        self._changed = threading.Condition()
        self._closed = False

    def take(self) -> Link:
        """A link for this thread alone, given back by :meth:`give`. Raises StorageBusy, StorageClosed and what
        connecting raises.
        """
        try:
            link = self._idle.pop()
        except IndexError:
            return self._take_slowly()
        if monotonic() - link.idle_since < _STALE or link.looks_alive():
            return link
        self.discard(link)
        return self.take()

    def give(self, link: Link) -> None:
        """Take a link back. One that is lost or inside a transaction is closed."""
        if self._closed or link.pgconn.transaction_status != _IDLE:
            self.discard(link)
            return
        link.idle_since = monotonic()
        self._idle.append(link)
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def discard(self, link: Link) -> None:
        """Close a link that was taken."""
        link.close()
        with self._changed:
            self._open -= 1
            self._changed.notify()

    def drain(self) -> None:
        """Close the idle links: after one was lost, the others may be too."""
        while True:
            try:
                self.discard(self._idle.pop())
            except IndexError:
                return

    def close_idle(self) -> None:
        """Close links that have not been used for long, but for the least number."""
        now = monotonic()
        while len(self._idle) > self._least and now - self._idle[0].idle_since > _IDLE_LIMIT:
            try:
                self.discard(self._idle.popleft())
            except IndexError:
                return

    def close(self) -> None:
        """Close idle links now and the others as they come back; who waits for one gets StorageClosed."""
        self._closed = True
        self.drain()
        with self._changed:
            self._changed.notify_all()

    @property
    def size(self) -> int:
        """Links open."""
        return self._open

    def links(self) -> list[Link]:
        """The idle links, for a fork to keep untouched."""
        return list(self._idle)

    def _take_slowly(self) -> Link:
        give_up = monotonic() + self._wait
        with self._changed:
            self._waiting += 1
            try:
                while True:
                    if self._closed:
                        raise StorageClosed("the storage is closed")
                    try:
                        return self._idle.pop()
                    except IndexError:
                        pass
                    if self._open < self._most:
                        self._open += 1
                        break
                    left = give_up - monotonic()
                    if left <= 0:
                        raise StorageBusy(
                            f"all {self._most} connections were in use for longer than busy_timeout; see pool_max_size"
                        )
                    self._changed.wait(left)
            finally:
                self._waiting -= 1
        try:
            return self._connect()
        except BaseException:
            with self._changed:
                self._open -= 1
                self._changed.notify()
            raise
