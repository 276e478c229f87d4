"""What child processes do to a store of experiences, until they are done or killed."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mycelia_storage import RocksDBStorageBackend, SQLiteStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.layers.experiences import ExperienceStore, NewExperience, RelationType
from mycelia_storage.layers.experiences.sync import LocalPeer, SyncConfig, SyncManager, SyncService

from .forkserver import Talk

DIMENSION = 8


@contextmanager
def opened(place: dict[str, Any]) -> Iterator[StorageBackend]:
    """The storage at a place: ``{"sqlite": path}``, ``{"rocksdb": path}`` or ``{"postgres": url, "schema": name}``."""
    if "sqlite" in place:
        storage: StorageBackend = SQLiteStorageBackend({"dbPath": place["sqlite"]})
    elif "rocksdb" in place:
        storage = RocksDBStorageBackend({"dbPath": place["rocksdb"]})
    else:
        from mycelia_storage.backends.postgres import PostgresStorageBackend

        storage = PostgresStorageBackend(place["postgres"], schema=place["schema"])
    with storage:
        yield storage


def reinforce(talk: Talk, place: dict[str, Any], id: str, threads: int, times: int) -> None:
    """Count uses of one experience from several threads."""
    with opened(place) as storage:
        store = ExperienceStore(storage, DIMENSION)
        talk.say("ready")
        talk.wait()

        def work() -> None:
            for _ in range(times):
                store.reinforce(id)

        running = [threading.Thread(target=work) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        talk.say("done")


def record(talk: Talk, place: dict[str, Any], team: str, count: int) -> None:
    """Record experiences when told, and say their ids."""
    with opened(place) as storage:
        store = ExperienceStore(storage, DIMENSION)
        talk.say("ready")
        talk.wait()
        for number in range(count):
            talk.say(store.record(NewExperience(team, f"{number}", [1.0] * DIMENSION)))


def write_until_killed(talk: Talk, place: dict[str, Any], seed: int) -> None:
    """Change a store at random; say what is committed, once it is."""
    rng = random.Random(seed)
    with opened(place) as storage:
        store = ExperienceStore(storage, DIMENSION)
        team = store.get_or_create_collective("team").id
        ids = store.list_experience_ids_in_collective(team)
        while True:
            roll = rng.random()
            if roll < 0.5 or len(ids) < 3:
                vector = [rng.choice([0.0, 1.0, 2.0]) for _ in range(DIMENSION)]
                made = store.record_many(NewExperience(team, f"{roll}", vector) for _ in range(rng.choice([1, 5])))
                ids += made
                talk.say({"made": made})
            elif roll < 0.7:
                one = rng.choice(ids)
                talk.say({"used": one, "times": store.reinforce(one)})
            elif roll < 0.85:
                one, two = rng.sample(ids, 2)
                if not store.relation_exists(one, two, RelationType.SUPPORTS):
                    store.store_relation(one, two, RelationType.SUPPORTS)
            else:
                one = ids.pop(rng.randrange(len(ids)))
                store.delete(one)
                talk.say({"gone": one})


def sync_until_killed(talk: Talk, mine: dict[str, Any], hub: dict[str, Any], seed: int) -> None:
    """Change a store and synchronise it with a hub in small pages, again and again."""
    rng = random.Random(seed)
    with opened(mine) as storage, opened(hub) as there:
        store, peer = ExperienceStore(storage, DIMENSION), ExperienceStore(there, DIMENSION)
        team = peer.list_collectives()[0].id
        sync = SyncManager(store, LocalPeer(SyncService(peer)), SyncConfig(batch_size=3))
        sync.sync_once()
        talk.say("synchronised")
        while True:
            made = store.record_many(
                NewExperience(team, f"{seed}", [rng.random() for _ in range(DIMENSION)]) for _ in range(4)
            )
            for id in made:
                store.reinforce(id)
            store.delete(made[0])
            sync.sync_once()
            talk.say("again")
