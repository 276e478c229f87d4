"""Shards to move namespaces between, several clients on them, and movers that die."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.backends.sharded import ShardedStorageBackend
from mycelia_storage.contract import Entry, StorageBackend

#: Seconds: short, so that moves in tests are.
TIMES = {"lease": 0.01, "settle": 0.02}


class Killed(BaseException):
    """The mover died."""


class Shards:
    """Memory shards that several clients share, as processes share files."""

    def __init__(self, count: int) -> None:
        self.storages = [MemoryStorageBackend() for _ in range(count)]
        self._clients: list[ShardedStorageBackend] = []

    def client(self, **options: Any) -> ShardedStorageBackend:
        """A client. The first that comes begins with three shards; the others are in reserve."""
        if not self._clients:
            self._clients.append(ShardedStorageBackend(self.storages[:3], **{**TIMES, **options}))
        client = ShardedStorageBackend(self.storages, **{**TIMES, **options})
        self._clients.append(client)
        return client

    def kill_at(self, commit: int, *, after: bool) -> None:
        """Let the calling thread die at its ``commit``-th commit from now on, just before or just after it.

        From then on none of its writes does anything.
        """
        mover = threading.get_ident()
        done = 0

        def dying(publish: Callable[..., None]) -> Callable[..., None]:
            def publish_or_die(*arguments: Any) -> None:
                nonlocal done
                if threading.get_ident() != mover:
                    return publish(*arguments)
                done += 1
                if done < commit:
                    return publish(*arguments)
                if done == commit and after:
                    publish(*arguments)
                raise Killed

            return publish_or_die

        for storage in self.storages:
            storage._publish = dying(storage._publish)  # type: ignore[method-assign]

    def revive(self) -> None:
        """Undo kill_at."""
        for storage in self.storages:
            storage.__dict__.pop("_publish", None)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for storage in self.storages:
            storage.close()


@pytest.fixture
def shards() -> Iterator[Shards]:
    shards = Shards(5)
    yield shards
    shards.revive()
    shards.close()


def everything(storage: StorageBackend) -> list[Entry]:
    """All entries of all namespaces."""
    return [entry for name in storage.list_namespaces() for entry in storage.scan(namespace=name)]
