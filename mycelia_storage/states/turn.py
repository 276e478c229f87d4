"""Whose turn it is to write: one at a time, first come first served, and nobody past the time limit."""

from __future__ import annotations

import threading
import time
from collections import deque
from math import inf

from ..errors import StorageBusy


class Claim:
    """One writer's claim on the turn. ``deadline`` is in seconds of ``time.monotonic()``."""

    __slots__ = ("deadline",)

    def __init__(self) -> None:
        self.deadline = inf

    def start(self, seconds: float) -> None:
        """Set the time limit: that many seconds from now."""
        self.deadline = time.monotonic() + seconds

    @property
    def is_due(self) -> bool:
        """Whether the time limit has passed."""
        return time.monotonic() >= self.deadline


class WriterTurn:
    """Hands the turn from claim to claim.

    A holder past its deadline loses the turn to the next in line. It learns so from :meth:`holds` when it wants to
    publish, which is done while holding ``changed``; so nothing of it is ever seen.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._holder: Claim | None = None
        self._line: deque[Claim] = deque()

    def take(self, claim: Claim, timeout: float) -> None:
        """Wait for the turn, at most ``timeout`` seconds. Raises StorageBusy."""
        give_up = time.monotonic() + timeout
        self._line.append(claim)  # before the lock, so that nobody who takes it again and again overtakes the line
        with self.changed:
            try:
                while not self._is_next(claim):
                    now = time.monotonic()
                    if now >= give_up:
                        raise StorageBusy(f"another writer held the write lock for over {timeout:g} s")
                    until = give_up if self._holder is None else min(give_up, self._holder.deadline)
                    self.changed.wait(max(until - now, 0.0001))
                self._holder = claim
            finally:
                self._line.remove(claim)
                self.changed.notify_all()

    @property
    def is_free(self) -> bool:
        """Whether nobody has the turn or waits for it; asked while holding ``lock``."""
        return self._holder is None and not self._line

    def holds(self, claim: Claim) -> bool:
        """Whether it is still that claim's turn; asked while holding ``changed``."""
        return self._holder is claim

    def give_up(self, claim: Claim) -> None:
        """End the turn, if it still is that claim's, and wake whoever waits."""
        with self.changed:
            if self._holder is claim:
                self._holder = None
            self.changed.notify_all()

    def _is_next(self, claim: Claim) -> bool:
        return self._line[0] is claim and (self._holder is None or self._holder.is_due)
