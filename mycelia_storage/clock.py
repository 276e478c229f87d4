"""The clock that versions come from: microseconds since 1970, and strictly rising whatever the system's clock does."""

from __future__ import annotations

import threading
import time


class HybridClock:
    """A hybrid clock: each tick is max(previous + 1, microseconds now).

    Safe in any thread. A backend that opens existing data tells it the highest version found there, by
    :meth:`observe`, so that a system clock set back cannot make a version fall.
    """

    __slots__ = ("_lock", "last")

    def __init__(self, last: int = 0) -> None:
        self.last = last
        """The highest version ticked or observed so far; to be read, not set."""
        self._lock = threading.Lock()

    def tick(self, now: int | None = None) -> int:
        """The next version, above every one ticked or observed before. ``now``: microseconds, if just read."""
        with self._lock:
            if now is None:
                now = time.time_ns() // 1000
            if now <= self.last:
                now = self.last + 1
            self.last = now
            return now

    def observe(self, version: int) -> None:
        """Make every later tick exceed ``version``."""
        if version > self.last:
            with self._lock:
                if version > self.last:
                    self.last = version
