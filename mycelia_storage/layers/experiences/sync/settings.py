"""What a manager is told, and what it tells."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from ..errors import InvalidField
from .frames import LEAST_FRAME, MAX_FRAME


class SyncDirection(StrEnum):
    """What a manager does."""

    PUSH_ONLY = "push_only"
    PULL_ONLY = "pull_only"
    BIDIRECTIONAL = "bidirectional"


class SyncStatus(StrEnum):
    """What a manager is about; ``SyncManager.last_error`` says more."""

    IDLE = "idle"
    SYNCING = "syncing"
    ERROR = "error"
    STOPPED = "stopped"


@dataclass(frozen=True)
class SyncConfig:
    """What is exchanged, and how. Times in seconds."""

    direction: SyncDirection = SyncDirection.BIDIRECTIONAL
    collectives: Collection[str] | None = None
    """None is all. Widening it later needs ``resync``: what was passed over is not sent again by itself."""
    relations: bool = True
    insights: bool = True
    batch_size: int = 500
    """Log rows a page."""
    max_frame: int = MAX_FRAME
    """Bytes of the largest message taken or sent, at least 1 MiB. The peer's own limit is kept too."""
    interval: float = 1.0
    retry_first: float = 0.5
    retry_most: float = 30.0

    def check(self) -> None:
        """Raise InvalidField."""
        if not isinstance(self.batch_size, int) or not 1 <= self.batch_size <= 5_000:
            raise InvalidField("batch_size", "is a whole number from 1 to 5,000")
        if not isinstance(self.max_frame, int) or self.max_frame < LEAST_FRAME:
            raise InvalidField("max_frame", f"is at least {LEAST_FRAME:,} bytes")
        for name in ("interval", "retry_first", "retry_most"):
            if not getattr(self, name) > 0:
                raise InvalidField(name, "is a number of seconds over 0")


@dataclass(frozen=True)
class SyncReport:
    """What a round did."""

    pushed: int = 0
    """Changes sent."""
    pulled: int = 0
    """Changes received."""
    applied: int = 0
    """Of those received, changes that changed something here."""
    skewed: int = 0
    """Stamps from clocks more than 300 seconds ahead, in either direction."""


@dataclass(frozen=True)
class SyncProgress:
    """How far an initial sync has come."""

    batch: int
    total: int
    has_more: bool
