"""Three stores change at random while connections break at random; in the end all hold the same.

Each seed is a story of its own: operations on any of the three, exchanges between any two that fail before or after the
peer has done its part, logs compacted as far as peers allow. Then everyone exchanges with everyone until nothing moves.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mycelia_storage import MemoryStorageBackend
from mycelia_storage.layers.experiences import ConnectionLost, ExperienceError, ExperienceStore, RelationType
from mycelia_storage.layers.experiences.sync import LocalPeer, SyncConfig, SyncManager, SyncService
from mycelia_storage.layers.experiences.sync.frames import Operation

from .conftest import OpenStorage
from .consistency import problems
from .making import DIMENSION, lesson, vector
from .test_sync import content

SEED = 20_261_121


class BreakingPeer(LocalPeer):
    """Loses requests and replies."""

    def __init__(self, service: SyncService, rng: random.Random) -> None:
        super().__init__(service)
        self.rng = rng

    def exchange(self, operation: Operation, frame: bytes) -> bytes:
        fate = self.rng.random()
        if fate < 0.06:
            raise ConnectionLost("the request is lost")
        reply = super().exchange(operation, frame)
        if fate < 0.12:
            raise ConnectionLost("the reply is lost")
        return reply


class Story:
    def __init__(self, stores: list[ExperienceStore], rng: random.Random) -> None:
        self.stores, self.rng = stores, rng
        self.done: Counter[str] = Counter()
        self.uses: Counter[str] = Counter()
        self.exports: list[list[bytes]] = []

    def step(self) -> None:
        rng = self.rng
        store = rng.choice(self.stores)
        teams = [collective.id for collective in store.list_collectives()]
        roll = rng.random()
        if not teams or roll < 0.03:
            store.create_collective("team")
            return
        team = rng.choice(teams)
        ids = store.list_experience_ids_in_collective(team)
        if roll < 0.25 or len(ids) < 2:
            store.record(lesson(team, f"{roll}", vector(rng.choice([0, 1, 2]), rng.choice([0, 1]))))
            return
        one, two = rng.sample(ids, 2)
        try:
            if roll < 0.4:
                store.update(one, importance=rng.random(), archived=rng.choice([True, False, None]))
            elif roll < 0.55:
                store.reinforce(one)
                self.uses[one] += 1
            elif roll < 0.62:
                store.delete(one)
            elif roll < 0.75:
                store.store_relation(one, two, rng.choice([RelationType.SUPPORTS, RelationType.IMPLIES]))
            elif roll < 0.8:
                for relation in store.list_relations(team, 1):
                    store.delete_relation(relation.id)
            elif roll < 0.86:
                store.store_insight(team, f"{roll}", [one], embedding=vector(roll))
            elif roll < 0.89:
                for insight in store.list_insights(team, 1):
                    store.delete_insight(insight.id)
            elif roll < 0.91:
                store.save_embedding(one, vector(roll))
            elif roll < 0.93:
                self.exports.append(list(store.export_collective(team)))
            elif roll < 0.95 and self.exports:
                store.import_collective(rng.choice(self.exports))
            elif roll < 0.96:
                store.delete_collective(team)
            elif roll < 0.98:
                store.compact_wal()
            else:
                store.compact_wal_events(store.get_wal_sequence() // 2)  # whoever is behind gets the state
        except ExperienceError as error:
            self.done[type(error).__name__] += 1

    def exchange(self) -> None:
        one, two = self.rng.sample(self.stores, 2)
        peer = BreakingPeer(SyncService(two), self.rng)
        try:
            SyncManager(one, peer, SyncConfig(batch_size=self.rng.choice([1, 3, 500]))).sync_once()
        except ConnectionLost:
            self.done["lost"] += 1
        else:
            self.done["exchanged"] += 1

    def settle(self) -> int:
        """Everyone with everyone until no log grows; how many rounds that took."""
        for rounds in range(1, 20):
            before = [store.get_wal_sequence() for store in self.stores]
            for one, two in ((0, 1), (1, 2), (0, 2)):
                SyncManager(self.stores[one], LocalPeer(SyncService(self.stores[two]))).sync_once()
            if [store.get_wal_sequence() for store in self.stores] == before:
                return rounds
        raise AssertionError("they never come to rest")


def tell(stores: list[ExperienceStore], seed: int, steps: int) -> Story:
    story = Story(stores, random.Random(seed))
    for _ in range(steps):
        story.step()
        if story.rng.random() < 0.3:
            story.exchange()
    story.settle()
    one, two, three = (content(store) for store in stores)
    assert one == two == three
    for store in stores:
        assert store.storage.check().ok
        assert problems(store) == []
        for collective in store.list_collectives():
            held = store.list_experiences(collective.id, 1_000)
            for experience in held:
                if story.uses[experience.id]:
                    assert experience.total_applications <= story.uses[experience.id]
            assert len(store.search_similar(collective.id, vector(1.0), 1_000)) == sum(not e.archived for e in held)
    return story


@pytest.mark.parametrize("seed", range(SEED, SEED + 8))
def test_three_stores_come_to_hold_the_same(seed: int) -> None:
    story = tell([ExperienceStore(MemoryStorageBackend(), DIMENSION) for _ in range(3)], seed, 150)
    assert story.done["lost"] > 3
    assert story.done["exchanged"] > 3


def test_on_every_backend(open_storage: OpenStorage) -> None:
    tell(
        [
            ExperienceStore(open_storage(), DIMENSION),
            *(ExperienceStore(MemoryStorageBackend(), DIMENSION) for _ in range(2)),
        ],
        SEED - 1,
        60,
    )


def test_no_use_is_lost_or_counted_twice() -> None:
    stores = [ExperienceStore(MemoryStorageBackend(), DIMENSION) for _ in range(3)]
    story = Story(stores, random.Random(SEED))
    team = stores[0].create_collective("team")
    id = stores[0].record(lesson(team))
    story.settle()
    for n in range(90):
        stores[n % 3].reinforce(id)
        if n % 4 == 0:
            story.exchange()
    story.settle()
    assert [store.get(id).total_applications for store in stores] == [90] * 3  # type: ignore[union-attr]
