"""Shards to move namespaces between, several clients on them, and movers that die."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.backends.sharded import ShardedStorageBackend
from mycelia_storage.backends.sharded.routing import choose
from mycelia_storage.contract import Entry, StorageBackend
from mycelia_storage.indexes import FieldIndex

#: Seconds: short, so that moves in tests are.
TIMES = {"lease": 0.01, "settle": 0.02}


RING = ("s0", "s1", "s2")
TENANTS = [f"agent{number}" for number in range(12)]
MOVING = [name for name in TENANTS if choose((*RING, "s3"), name) == "s3"]
STAYING = [name for name in TENANTS if name not in MOVING]


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


def fill(storage: ShardedStorageBackend) -> None:
    for number, name in enumerate(TENANTS):
        storage.create_namespace(name, metadata={"number": number}, track_changes=number % 2 == 0)
        storage.create_index(name, FieldIndex("mail", unique=True))
        storage.set_many(((f"k{n:03}", {"mail": f"{n}@{name}"}) for n in range(30)), namespace=name)
        storage.set("timed", b"\0", namespace=f"{name}/below", metadata={"m": 1}, ttl=1000)
        storage.create_namespace(f"{name}/empty/deep")


def place_of(shards: Shards, namespace: str) -> list[int]:
    return [number for number, shard in enumerate(shards.storages) if shard.get_namespace(namespace) is not None]


def die(*_: Any) -> None:
    """Stands in for what the mover dies at."""
    raise Killed
