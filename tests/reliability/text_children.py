"""Writers into text-indexed namespaces that are killed, that write side by side, and that run out of disk."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.config import find_backend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import StorageError
from mycelia_storage.indexes import TextIndex
from mycelia_storage.testing.texts import WORDS

from . import story
from .failing_vfs import FailingVFS
from .forkserver import ForkServer, Talk
from .kill_campaign import Campaign, Violation, write_story

INDEX = TextIndex({"text": 1.0, "$key": 2.0, "$metadata.noted": 0.5})
SPACES = ("plain", "tracked", "bulk")
QUERIES = ("garden spore", "left right k1 k2", "memory 東京 b00017 log", "the running cats", "state of the art")


def worded(rng: random.Random, number: int) -> Any:
    """Values for a story whose texts have words."""
    if rng.random() < 0.1:
        return rng.randbytes(20)
    return {"step": number, "text": " ".join(rng.choices(WORDS, k=rng.choice([0, 3, 30, 300])))}


def ranked_otherwise(storage: StorageBackend, namespace: str) -> str | None:
    """The first query that finds something else than the contract's own search, if there is one."""
    for query in QUERIES:
        found = storage.search_text(query, namespace=namespace, limit=20)
        wanted = StorageBackend.search_text(storage, query, namespace=namespace, limit=20)
        if [hit.entry for hit in found] != [hit.entry for hit in wanted]:
            return query
        if any(abs(hit.score - other.score) > 1e-5 * other.score for hit, other in zip(found, wanted, strict=True)):
            return query
    return None


def write_texts(talk: Talk, options: dict[str, Any], seed: int, writer: str, first: int, backend: str) -> None:
    """Write step after step of a story whose texts have words, until killed."""
    story._value = worded
    with closing(find_backend(backend)(**options)) as storage:
        for space in SPACES:
            storage.create_index(f"{writer}/{space}", INDEX)
    write_story(talk, options, seed, writer, first, backend)


class TextCampaign(Campaign):
    """Kills of writers into text-indexed namespaces; after each, the rankings are those of the definition."""

    function = "text_children:write_texts"

    def __init__(self, seed: int, folder: Path, server: ForkServer) -> None:
        story._value = worded
        super().__init__(seed, folder, server)

    def run(self, cycles: int) -> None:
        for cycle in range(cycles):
            self.kill_writers(cycle)

    def _judge(self, cycle: int, acknowledged: dict[str, int]) -> None:
        super()._judge(cycle, acknowledged)
        with closing(find_backend(self.backend)(**self.options)) as storage:
            for name in storage.list_namespaces():
                if storage.list_indexes(name):
                    query = ranked_otherwise(storage, name)
                    if query is not None:
                        raise Violation(f"seed {self.seed}, cycle {cycle}: {query!r} in {name} is ranked otherwise")
                    self.seen["namespaces searched"] += 1


class RocksDBTextCampaign(TextCampaign):
    """The same on RocksDB, which has one writer at a time."""

    backend = "rocksdb"
    settings: list[dict[str, Any]] = [{"synchronous": "NORMAL"}]  # noqa: RUF012
    two_writers = 0.0


def write_beside(talk: Talk, path: str, seed: int, steps: int) -> None:
    """Set, replace and delete texts of a namespace that others write to as well."""
    rng = random.Random(seed)
    with closing(SQLiteStorageBackend({"dbPath": path})) as storage:
        talk.say("open")
        talk.wait()
        for step in range(steps):
            key = f"k{rng.randrange(60)}"
            action = rng.random()
            if action < 0.2:
                storage.delete(key, namespace="t")
            elif action < 0.4:
                storage.set_many({f"k{rng.randrange(60)}": worded(rng, step) for _ in range(6)}, namespace="t")
            else:
                storage.set(key, worded(rng, step), namespace="t")
            storage.search_text("garden spore", namespace="t")
    talk.say("done")


def fill_up(talk: Talk, path: str, room: int) -> None:
    """Write texts until there is no room, look, make room, write."""
    disk = FailingVFS()
    rng = random.Random(room)
    with closing(SQLiteStorageBackend({"dbPath": path})) as storage:
        storage.create_index("t", INDEX)
        storage.set_many({f"k{n}": worded(rng, n) for n in range(300)}, namespace="t")
        disk.room = room
        failed = []
        for work in (
            lambda: storage.set_many({f"k{n * 2}": worded(rng, n) for n in range(300)}, namespace="t"),
            lambda: storage.set("k7", {"text": "garden " * 50}, namespace="t"),
            lambda: storage.clear(namespace="t"),
        ):
            try:
                work()
            except StorageError as error:
                failed.append(type(error).__name__)
        full = [ranked_otherwise(storage, "t"), storage.check().problems]
        disk.room = None
        storage.set_many({f"k{n * 2}": worded(rng, n) for n in range(200)}, namespace="t")
        talk.say({"failed": failed, "full": full, "later": [ranked_otherwise(storage, "t"), storage.check().problems]})
