"""A :class:`Session` is one BEGIN on one connection. The transaction that began it and every savepoint in it share it:
its mutex lets threads take turns, and its deadline ends them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psycopg

from ...errors import StorageError, TransactionError, TransactionExpired
from .driver_errors import translate, unknown_outcome
from .pool import Link

#: Why a session that is over cannot be used.
_ENDED: Final[dict[str, tuple[type[StorageError], str]]] = {
    "expired": (TransactionExpired, "the transaction passed its time limit and was rolled back"),
    "lost": (TransactionError, "the transaction was rolled back after an error"),
    "cut": (TransactionError, "the connection of the transaction was lost; it was rolled back"),
    "inherited": (TransactionError, "the transaction belongs to the process that forked this one"),
    "finished": (TransactionError, "the transaction has ended"),
}


class Session:
    """One BEGIN on one connection. ``release`` gets the session when it is over and gives the link back."""

    def __init__(self, link: Link, *, writes: bool, timeout: float, release: Callable[[Session], None]) -> None:
        self.link = link
        self.writes = writes
        self.deadline = time.monotonic() + timeout
        self.mutex = threading.RLock()
        self.state = "open"  # then one of _ENDED
        self.depth = 0
        #: Whether a savepoint of a method's own stands, which undoes a failed statement.
        self.guarded = False
        self._release = release

    def check(self) -> None:
        """Raise unless the session is still open. The mutex is held."""
        if self.state == "open" and time.monotonic() > self.deadline:
            self.end("expired")
        if self.state != "open":
            kind, text = _ENDED[self.state]
            raise kind(text)

    def end(self, state: str) -> None:
        """Roll back what is uncommitted and give the connection back. The mutex is held."""
        self.state = state
        try:
            if not self.link.lost and self.link.in_transaction:
                with suppress(psycopg.Error):
                    self.link.settle()
                self.link.script("ROLLBACK")
        except psycopg.Error:
            self.link.close()  # the server rolls back by itself
        finally:
            self._release(self)

    def commit(self) -> None:
        """Commit, and give the connection back whatever comes of it. The mutex is held."""
        try:
            if self.link.failed:
                raise TransactionError("the transaction has failed and was rolled back")
            self.link.script("COMMIT")
            self.state = "finished"
        except psycopg.Error as error:
            self.state = "lost"
            if self.link.lost:
                raise unknown_outcome() from error
            raise translate(error, "commit") from error
        finally:
            self.end("finished" if self.state == "finished" else "lost")

    def interrupt(self) -> None:
        """Stop the statement that another thread is waiting for."""
        try:
            self.link.connection.cancel_safe(timeout=5)
        except psycopg.Error:
            pass

    def expire(self) -> None:
        """End it if its time is over, a running statement included."""
        if self.state == "open" and time.monotonic() > self.deadline:
            self.stop("expired")

    def stop(self, state: str) -> None:
        """End it from another thread."""
        if not self.mutex.acquire(timeout=0.05):
            self.interrupt()
            self.mutex.acquire()
        try:
            if self.state == "open":
                self.end(state)
        finally:
            self.mutex.release()

    def failed(self, error: Exception, where: str = "") -> StorageError:
        """Our error for one of psycopg's, after ending the session if the error took the transaction with it."""
        if self.state == "open":
            if time.monotonic() > self.deadline:
                self.end("expired")
                return TransactionExpired(_ENDED["expired"][1])
            if self.link.lost:
                self.end("cut")
                return TransactionError(f"{_ENDED['cut'][1]}{f' ({where})' if where else ''}")
            if self.link.failed and not self.depth and not self.guarded:
                self.end("lost")
        return translate(error, where)
