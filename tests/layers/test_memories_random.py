"""Random changes leave what remembering the rest anew would have made: contexts, vectors, and what recall finds."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from mycelia_storage import MemoryStorageBackend, StorageBackend
from mycelia_storage.layers.memories import Memories

from .meaning import model

SEED = 20_261_121
WORDS = [
    "garden",
    "spore",
    "root",
    "mushroom",
    "forest",
    "rain",
    "memory",
    "agent",
    "cat",
    "dog",
    "hound",
    "puppy",
    "house",
    "river",
    "stone",
    "paint",
]


def assert_as_if_new(storage: StorageBackend, memories: Memories, about: str) -> None:
    held = memories.list()
    with MemoryStorageBackend() as other:
        fresh = Memories(other, embedder=model())
        for memory in held:
            fresh.remember(
                memory.text,
                key=memory.key,
                metadata=memory.metadata,
                speaker=memory.speaker,
                conversation=memory.conversation,
                session=memory.session,
                created_at=memory.created_at,
            )
        for memory in held:
            contexts = [one.get(memory.key, namespace="memories").get("context") for one in (storage, other)]
            assert contexts[0] == contexts[1], about
        for part in ("text", "window"):
            namespace = f"memories/spaces/words-64/{part}"
            vectors = {entry.key: (entry.value, entry.metadata) for entry in storage.scan(namespace=namespace)}
            expected = {entry.key: (entry.value, entry.metadata) for entry in other.scan(namespace=namespace)}
            if part == "text":
                assert vectors == expected, about
            # A window goes with what stood before it, and comes back with the next text only; none is ever untrue.
            assert vectors.items() <= expected.items(), about
        for query in ("hound in the garden", "rain"):
            words = {"text": 1.0}
            found = [(hit.key, hit.score) for hit in memories.recall(query, 100, weights=words)]
            expected_hits = [
                (hit.key, pytest.approx(hit.score, rel=1e-5)) for hit in fresh.recall(query, 100, weights=words)
            ]
            assert sorted(found) == sorted(expected_hits, key=lambda pair: pair[0]), about


def test_random_changes(storage: StorageBackend) -> None:
    random = Random(SEED)
    memories = Memories(storage, embedder=model())

    def text() -> str:
        return " ".join(random.choice(WORDS) for _ in range(random.randrange(1, 6)))

    def new(n: int) -> dict[str, Any]:
        place = random.choice([("c", None), ("c", 1), ("d", "s"), (None, None)])
        found = {"text": text(), "key": f"k{n:03}", "created_at": random.randrange(40), "metadata": {"n": n % 5}}
        found |= {"speaker": random.choice(["Ann", "Bob", None])}
        return found | {"conversation": place[0], "session": place[1]}

    for step in range(60):
        action = random.choice(["one", "one", "many", "text", "metadata", "forget", "forget many"])
        keys = [memory.key for memory in memories.list()]
        if action == "one":
            given = new(step)
            memories.remember(given.pop("text"), **given)
        elif action == "many":
            memories.remember_many(new(1_000 + 10 * step + n) for n in range(random.randrange(1, 7)))
        elif keys:
            key = random.choice(keys)
            if action == "text":
                memories.update(key, text=text(), speaker=random.choice([None, "Cid"]))
            elif action == "metadata":
                memories.update(key, metadata={"n": random.randrange(5), "m": step})
            elif action == "forget":
                assert memories.forget(key) == 1
            elif step % 3 == 0:
                chosen = random.sample(keys, min(len(keys), random.randrange(1, 6)))
                assert memories.forget(chosen) == len(chosen)
        if step % 20 == 19:
            assert_as_if_new(storage, memories, f"seed {SEED}, step {step}, {action}")
    assert memories.count() > 10
    assert storage.check().ok
