"""A first-come, first-served lock for the writer.

``threading.Lock`` lets the thread that just released it take it again before those that wait; under steady writing
some waiters then starve. Here a release hands the lock to the longest waiter. An uncontended round costs two
operations on plain locks.
"""

from __future__ import annotations

import threading
from collections import deque


class FairLock:
    """Held by nobody or by one; belongs to no thread, so any thread may release it."""

    __slots__ = ("_guard", "_held", "_waiting")

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    def try_acquire(self) -> bool:
        """Take the lock if it is free and nobody waits."""
        return not self._waiting and self._held.acquire(False)

    def acquire(self, timeout: float) -> bool:
        """Take the lock, waiting at most ``timeout`` seconds in the order of arrival; whether it was taken."""
        with self._guard:
            if not self._waiting and self._held.acquire(False):
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=max(timeout, 0)):
            return True
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        return True  # handed over between the time-out and the guard

    def release(self) -> None:
        """Hand the lock to the longest waiter, or free it."""
        if not self._waiting:
            self._held.release()
            # Somebody who came between these two lines found the lock held, and waits for nobody.
            if not self._waiting or not self._held.acquire(False):
                return
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held.release()
