"""The lanes of one storage on one event loop, and the ends of transactions, which take place whoever cancels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .lanes import Lane

if TYPE_CHECKING:
    from .contract import StorageBackend, Transaction


class StorageLanes:
    """The lanes of one event loop."""

    def __init__(self, storage: StorageBackend, get: Callable[..., Any], loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.reads = Lane(loop, "mycelia-reads", most=4, merge=(get, storage.get_many))
        self.writes = Lane(loop, "mycelia-writes", hand_back=1)
        self.transaction = Lane(loop, "mycelia-transaction")
        self.work = Lane(loop, "mycelia-work", most=4)
        self.watchers = Lane(loop, "mycelia-watchers", most=64)
        #: Write transactions that are open as far as this side knows.
        self.open: dict[str, Transaction] = {}

    def stop(self) -> None:
        """End their threads."""
        for lane in (self.reads, self.writes, self.transaction, self.work, self.watchers):
            lane.stop()


async def certainly(lanes: StorageLanes, function: Callable[..., None], *args: Any) -> None:
    """Call ``function`` in the lane of the transaction, also when this await is cancelled."""
    await asyncio.shield(lanes.transaction.submit(function, args, certain=True))


def abandon(lanes: StorageLanes, begun: asyncio.Future[Transaction]) -> None:
    """Roll back what has begun for a caller that was cancelled meanwhile."""
    if not begun.cancelled() and begun.exception() is None:
        lanes.transaction.submit(roll_back, (begun.result(),), certain=True)


def commit(transaction: Transaction, id: str | None) -> None:
    """Commit it, or its savepoint of that id."""
    transaction.commit(id)


def roll_back_strictly(transaction: Transaction, id: str | None) -> None:
    """Undo it, or its savepoint of that id; what has ended raises."""
    transaction.rollback(id)


def roll_back(transaction: Transaction) -> None:
    """Undo it unless it has ended."""
    if transaction.is_active:
        transaction.rollback()
