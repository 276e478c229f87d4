"""Writers into vector-indexed namespaces that are killed, and that write side by side."""

from __future__ import annotations

import random
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.config import find_backend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.indexes import VectorIndex

from . import story
from .forkserver import ForkServer, Talk
from .kill_campaign import Campaign, Violation, write_story

INDEX = VectorIndex(8, "l2")
SPACES = ("plain", "tracked", "bulk")


def some_vector(rng: random.Random, number: int) -> Any:
    """Values for a story whose entries are vectors: ever farther from the origin, so that the codes drift."""
    return struct.pack("<8f", *(rng.gauss(number / 100, 1) for _ in range(8)))


def tell_in_vectors() -> None:
    """Let stories store vectors."""
    story._value = some_vector
    story._of_number = lambda number: struct.pack("<8f", number, *[1.0] * 7)
    story._number_in = lambda value: int(struct.unpack("<8f", value)[0])


def found_otherwise(storage: StorageBackend, namespace: str, seed: int) -> str | None:
    """Says which search finds something else than the contract's own, if one does."""
    rng = random.Random(seed)
    for _ in range(4):
        query = some_vector(rng, rng.randrange(300))
        wanted = StorageBackend.search_vectors(storage, query, namespace=namespace, limit=10)
        exact = storage.search_vectors(query, namespace=namespace, limit=10, exact=True)
        if list(exact) != list(wanted):
            return f"the exact search of {namespace}"
        near = storage.search_vectors(query, namespace=namespace, limit=10)
        if len(near) != len(wanted):
            return f"the number of hits in {namespace}"
        every = {
            hit.key: hit for hit in StorageBackend.search_vectors(storage, query, namespace=namespace, limit=10_000)
        }
        if any(every.get(hit.key) != hit for hit in near):
            return f"a hit in {namespace} that is stale"
    return None


def write_vectors(talk: Talk, options: dict[str, Any], seed: int, writer: str, first: int, backend: str) -> None:
    """Write step after step of a story whose values are vectors, with codes saved now and then, until killed."""
    tell_in_vectors()
    with closing(find_backend(backend)(**options)) as storage:
        for space in SPACES:
            storage.create_index(f"{writer}/{space}", INDEX)
            storage.search_vectors(some_vector(random.Random(seed), 0), namespace=f"{writer}/{space}")
        storage.optimize()
    write_story(talk, options, seed, writer, first, backend)


class VectorCampaign(Campaign):
    """Kills of writers into vector-indexed namespaces; after each, searches find what the entries say."""

    function = "vector_children:write_vectors"

    def __init__(self, seed: int, folder: Path, server: ForkServer) -> None:
        tell_in_vectors()
        super().__init__(seed, folder, server)
        self.options["vectors_compared"] = 0

    def run(self, cycles: int) -> None:
        for cycle in range(cycles):
            self.kill_writers(cycle)

    def _judge(self, cycle: int, acknowledged: dict[str, int]) -> None:
        super()._judge(cycle, acknowledged)
        with closing(find_backend(self.backend)(**self.options)) as storage:
            for name in storage.list_namespaces():
                if storage.list_indexes(name):
                    wrong = found_otherwise(storage, name, self.seed + cycle)
                    if wrong is not None:
                        raise Violation(f"seed {self.seed}, cycle {cycle}: {wrong}")
                    self.seen["namespaces searched"] += 1
            storage.optimize()


def write_beside(talk: Talk, path: str, seed: int, steps: int) -> None:
    """Set, replace and delete vectors of a namespace that others write to as well, and look for each at once."""
    rng = random.Random(seed)
    stale = 0
    with closing(SQLiteStorageBackend({"dbPath": path, "vectors_compared": 0})) as storage:
        talk.say("open")
        talk.wait()
        for step in range(steps):
            key = f"{seed}-{rng.randrange(60)}"
            vector = some_vector(rng, step)
            action = rng.random()
            if action < 0.2:
                storage.delete(key, namespace="v")
                stale += any(hit.key == key for hit in storage.search_vectors(vector, namespace="v", limit=200))
                continue
            if action < 0.4:
                others = {f"{seed}-{rng.randrange(60)}": some_vector(rng, step) for _ in range(6)}
                storage.set_many({**others, key: vector}, namespace="v")
            else:
                storage.set(key, vector, namespace="v")
            best = storage.search_vectors(vector, namespace="v", limit=1)
            stale += not best or best[0].key != key or best[0].value != vector
            if step % 20 == 0:
                storage.optimize()
    talk.say({"stale": stale})
