"""Two agents in two processes share what they learn: ``python examples/shared_lessons.py [lessons.db]``.

Ada records what she learns while she works. Bob, a process of his own, hears of each lesson the moment it is committed,
and finds the one that fits when he meets a problem of his own; using it makes it stronger. Any storage will do that
several processes can open, such as PostgreSQL.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import tempfile
from pathlib import Path

from mycelia_storage import SQLiteStorageBackend
from mycelia_storage.layers.experiences import (
    ErrorPattern,
    ExperienceStore,
    NewExperience,
    RecallWeights,
    SearchOptions,
    WatchEvent,
)

DIMENSION = 64
LESSONS = [
    ("Quote file names: the build breaks on a path with a space.", "build breaks", "quote the path"),
    ("The parser reads dates as local time; pass the zone.", "dates shift by hours", "name the time zone"),
    ("Retry the upload once: the first answer of the day is often 503.", "upload fails with 503", "retry once"),
]


def embed(text: str) -> list[float]:
    """A toy embedder: words that two texts share bring their vectors together. Use a model in earnest."""
    vector = [0.0] * DIMENSION
    for word in text.lower().replace(".", " ").replace(":", " ").replace(";", " ").split():
        vector[hashlib.sha256(word.encode()).digest()[0] % DIMENSION] += 1.0
    return vector


def ada(path: str) -> None:
    """Learns, and records what she learns."""
    with SQLiteStorageBackend({"dbPath": path}) as storage:
        store = ExperienceStore(storage, DIMENSION, embedder=embed)
        team = store.get_or_create_collective("garden project").id
        store.register_activity("ada", team, current_task="nightly build")
        for text, signature, fix in LESSONS:
            kind = ErrorPattern(signature, fix, "write a test")
            store.record(NewExperience(team, text, experience_type=kind, importance=0.8, source_agent="ada"))


def main(path: str) -> None:
    """Bob watches, then asks."""
    with SQLiteStorageBackend({"dbPath": path}) as storage:
        store = ExperienceStore(storage, DIMENSION, embedder=embed)
        team = store.get_or_create_collective("garden project").id
        with store.watch_experiences(team) as events:
            other = multiprocessing.get_context("spawn").Process(target=ada, args=(path,))
            other.start()
            for _ in LESSONS:
                event = events.next(timeout=60)
                assert isinstance(event, WatchEvent)
                assert event.experience is not None
                print(f"bob hears from {event.experience.source_agent}: {event.experience.content}")
            other.join()

        problem = "my build breaks on a path with a space in it"
        options = SearchOptions(k=1, weights=RecallWeights(similarity=0.7, energy=0.3))
        best = store.search(team, embed(problem), options)[0]
        assert isinstance(best.experience.experience_type, ErrorPattern)
        print(f"bob asks: {problem}")
        print(f"bob tries: {best.experience.experience_type.fix}")
        before = store.energy(best.experience.id)
        store.reinforce(best.experience.id)
        print(f"it helped: energy {before:.2f} -> {store.energy(best.experience.id):.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(str(Path(folder) / "lessons.db"))
