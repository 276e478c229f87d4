"""``python -m bench.agents``: the agents layer, and what ten times as many memories of other rooms cost it.

For each size there is one room of 1,000 memories that is read and another one that is written to, among 100 rooms that
share the rest, all with embeddings of 384 dimensions; a further store holds a room of 10,000 among 100,000. The stores
are asked in turn, slice by slice; a growth is the median over the rounds of the ratio within a round. Times are
milliseconds by the wall clock, since on PostgreSQL the work is the server's. ``create_memory`` includes the search for
a similar memory that decides ``unique``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy

from mycelia_storage import open_storage
from mycelia_storage.contract import StorageBackend
from mycelia_storage.layers.agents import AgentStore, string_to_uuid

from .dataset import SEED
from .report import machine, versions, write_json

SIZES: Final = (10_000, 100_000)
ROOMS: Final = 100
OWN: Final = 1_000
LARGE: Final = 10_000
DIMENSIONS: Final = 384
AGENT: Final = string_to_uuid("agent")
SPEAKER: Final = string_to_uuid("speaker")
_FILL: Final = 1_000

Call = Callable[[], object]


class Hall:
    """A store of ``size`` memories, ``own`` of them in the room that is asked for."""

    def __init__(self, storage: StorageBackend, namespace: str, size: int, own: int) -> None:
        self.store = AgentStore(storage, AGENT, namespace=namespace)
        self.random = numpy.random.default_rng(SEED)
        self.centers = self.random.standard_normal((50, DIMENSIONS))
        self.rooms = [string_to_uuid(f"room {number}") for number in range(ROOMS)]
        self.room = self.rooms[0]
        self.own = own
        self._fill(size, own)

    def vector(self) -> Any:
        """One of a mixture of fifty clouds."""
        center = self.centers[self.random.integers(len(self.centers))]
        return (center + 0.6 * self.random.standard_normal(DIMENSIONS)).astype(numpy.float32)

    def memory(self, room: str, text: str) -> dict[str, Any]:
        """A memory of the speaker's."""
        return {"entityId": SPEAKER, "roomId": room, "content": {"text": text}, "embedding": self.vector()}

    def _fill(self, size: int, own: int) -> None:
        store, order = self.store, random.Random(SEED)
        store.create_entities([{"id": SPEAKER, "names": ["Speaker"]}])
        store.create_rooms([{"id": room, "source": "bench", "type": "GROUP"} for room in self.rooms])
        others = [self.rooms[2 + number % (ROOMS - 2)] for number in range(size - 2 * own)]
        places = [self.room] * own + [self.rooms[1]] * own + others
        order.shuffle(places)
        at = 1_700_000_000_000
        for start in range(0, size, _FILL):
            batch = [
                {**self.memory(room, f"memory {start + number}"), "createdAt": at + start + number, "unique": True}
                for number, room in enumerate(places[start : start + _FILL])
            ]
            store.create_memories([(memory, "messages") for memory in batch])

    def calls(self) -> dict[str, Call]:
        """What is measured, by name. Each answer is checked."""
        store = self.store

        def create() -> object:
            # Not the room that is read, which keeps its size.
            return store.create_memory(self.memory(self.rooms[1], "one more"), "messages")

        def newest() -> object:
            found = store.get_memories("messages", room_id=self.room, limit=50, include_embedding=False)
            assert len(found) == min(50, self.own)
            return found

        def search() -> object:
            found = store.search_memories(self.vector(), "messages", room_id=self.room, include_embedding=False)
            assert len(found) == min(10, self.own)
            return found

        def count() -> object:
            counted = store.count_memories(self.room, True, "messages")
            assert counted == self.own
            return counted

        return {"create_memory": create, "get_memories, newest 50": newest, "search_memories": search, "count": count}

    def delete_room(self, memories: int) -> float:
        """Seconds that the deletion of a room of so many memories took."""
        room = string_to_uuid(f"doomed {memories} {time.time_ns()}")
        self.store.create_rooms([{"id": room, "source": "bench", "type": "GROUP"}])
        batch = [({**self.memory(room, "doomed"), "unique": True}, "messages") for _ in range(memories)]
        self.store.create_memories(batch)
        begun = time.perf_counter()
        assert self.store.delete_room(room)
        return time.perf_counter() - begun


def measure(halls: Sequence[Hall], rounds: int, calls: int) -> dict[str, list[list[float]]]:
    """Milliseconds of each call in each hall, one number a round."""
    samples: dict[str, list[list[float]]] = {}
    work = [hall.calls() for hall in halls]
    for name in work[0]:
        samples[name] = [[] for _ in halls]
        for each in work:
            each[name]()
    for number in range(rounds):
        for name in work[0]:
            turns = list(range(len(halls)))
            for turn in turns[number % len(turns) :] + turns[: number % len(turns)]:
                begun = time.perf_counter()
                for _ in range(calls):
                    work[turn][name]()
                samples[name][turn].append((time.perf_counter() - begun) / calls * 1_000)
    return samples


@contextmanager
def opened(backend: str) -> Iterator[StorageBackend]:
    """An empty storage."""
    with tempfile.TemporaryDirectory(prefix="mycelia-bench-") as folder:
        if backend == "postgres":
            from mycelia_storage.backends.postgres.embedded import EmbeddedServer

            with EmbeddedServer(Path(folder) / "server") as server, open_storage(server.dsn) as storage:
                yield storage
        else:
            with open_storage(str(Path(folder) / "agents.db")) as storage:
                yield storage


def run(backend: str, rounds: int, calls: int, sizes: Sequence[int], large: int) -> dict[str, Any]:
    """Everything on one backend."""
    with opened(backend) as storage:
        begun = time.perf_counter()
        halls = [Hall(storage, f"agents{size}", size, min(OWN, sizes[0] // 10)) for size in sizes]
        filled = time.perf_counter() - begun
        storage.optimize()
        samples = measure(halls, rounds, calls)
        found: dict[str, Any] = {"filled_per_second": round(sum(sizes) / filled)}
        for name, turns in samples.items():
            found[name] = {
                "milliseconds": {str(size): round(median(turn), 3) for size, turn in zip(sizes, turns, strict=True)},
                "growth": round(median(last / first for first, last in zip(turns[0], turns[-1], strict=True)), 2),
            }
        doomed = min(OWN, sizes[0] // 10)
        seconds = [median(hall.delete_room(doomed) for _ in range(3)) for hall in halls]
        found["delete_room"] = {
            "memories": doomed,
            "milliseconds": {str(size): round(each * 1_000, 1) for size, each in zip(sizes, seconds, strict=True)},
            "growth": round(seconds[-1] / seconds[0], 2),
        }
        if large:
            hall = Hall(storage, "agents-large", 10 * large, large)
            storage.optimize()
            found[f"room of {large} among {10 * large}"] = {
                name: round(median(turns[0]), 3) for name, turns in measure([hall], rounds, calls).items()
            }
        return found


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.agents", description=__doc__)
    parser.add_argument("--backends", default="sqlite,postgres")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--large", type=int, default=LARGE, help="memories of the large room, 0 for none")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=10, help="calls of a slice")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    sizes = [int(size) for size in options.sizes.split(",")]
    result: dict[str, Any] = {"machine": machine(), "versions": versions(["apsw", "numpy"]), "sizes": sizes}
    for backend in options.backends.split(","):
        result[backend] = run(backend, options.rounds, options.calls, sizes, options.large)
        for name, figures in result[backend].items():
            sys.stdout.write(f"{backend:9} {name:30} {figures}\n")
            sys.stdout.flush()
    if options.out:
        write_json(options.out, result)
    return result


if __name__ == "__main__":
    main()
