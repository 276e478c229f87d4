"""Waking watchers: a connection that listens for as long as somebody watches.

A notification says that something was committed, nothing more; the change log says what. A listener counts on being
told only when it has heard one, which it has sent to itself at the start from another connection: a pooler in
transaction mode takes LISTEN and delivers nothing. Until then, and where there is no listener, watchers poll.
"""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

import psycopg

from ...errors import StorageError
from .pool import Link

#: Seconds between two looks of a watcher that is woken, and of one that is not.
WOKEN: Final = 2.0
POLLING: Final = 0.05

#: Seconds after which a listener that nobody needs ends, and before a failed one is started again.
_IDLE: Final = 30.0
_PAUSE: Final = 5.0


class Listener:
    """The listening thread of one storage. ``connect`` gives a link on which LISTEN was said; ``notify`` notifies."""

    def __init__(self, connect: Callable[[], Link], notify: Callable[[], None]) -> None:
        self._connect = weakref.WeakMethod(connect)
        self._notify = weakref.WeakMethod(notify)
        self._changed = threading.Condition()
        self._heard = 0
        self._needed = 0.0
        self._failed = -_PAUSE
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._wake: tuple[int, int] | None = None
        #: Whether watchers are told; as long as it is false they poll.
        self.listening = False

    @property
    def heard(self) -> int:
        """How many times something was committed, as far as was heard."""
        return self._heard

    def start(self) -> None:
        """Somebody watches: see that the thread runs."""
        self._needed = time.monotonic()
        if self._thread is not None or self._stopped or self._needed - self._failed < _PAUSE:
            return
        with self._changed:
            if self._thread is None and not self._stopped:
                self._wake = os.pipe()
                self._thread = threading.Thread(target=self._run, name="mycelia-listener", daemon=True)
                self._thread.start()

    def wait(self, heard: int, seconds: float) -> None:
        """Return when more than ``heard`` has been heard, or after ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: self._heard != heard or self._stopped, seconds)

    def stop(self) -> None:
        """End the thread and wake who waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            thread = self._thread
            if self._wake is not None:
                os.write(self._wake[1], b"x")
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        wake = self._wake
        assert wake is not None
        try:
            connect = self._connect()
            if connect is None:
                return
            link = connect()
            del connect
            try:
                self._hear()  # what was committed before LISTEN took hold
                notify = self._notify()
                if notify is not None:
                    notify()
                del notify
                self._listen(link, wake[0])
            finally:
                self.listening = False
                link.close()
        except (psycopg.Error, StorageError, OSError):
            self._failed = time.monotonic()
        finally:
            with self._changed:
                self._thread = self._wake = None
            os.close(wake[0])
            os.close(wake[1])
            self._hear()

    def _listen(self, link: Link, wake: int) -> None:
        connection = link.connection.pgconn
        while not self._stopped:
            ready, _, _ = select.select([connection.socket, wake], [], [], _IDLE)
            if not ready and time.monotonic() - self._needed > _IDLE:
                return
            connection.consume_input()
            heard = False
            while connection.notifies() is not None:
                heard = True
            if heard:
                self.listening = True
                self._hear()

    def _hear(self) -> None:
        with self._changed:
            self._heard += 1
            self._changed.notify_all()
