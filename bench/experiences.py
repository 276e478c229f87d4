"""``python -m bench.experiences``: what recording, finding and reinforcing experiences costs, on SQLite in a file.

Vectors have 384 dimensions and come from a mixture of 200 Gaussians, as texts on 200 subjects would. The floor is what
one recorded experience costs through bare statements: in one transaction two reads (does the collective exist, what is
the next number), the same rows with the same bytes in a table of the same form, and the row that wakes watchers; JSON
is encoded on the way. It checks nothing, gives no versions and keeps no index over vectors. Ours and the floor take
turns, so that load meets both; the CPU time of the thread is given beside the wall clock.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import apsw
import numpy
import orjson

from mycelia_storage import SQLiteStorageBackend
from mycelia_storage.layers.experiences import (
    ContextRequest,
    ExperienceStore,
    NewExperience,
    RecallWeights,
    RelationType,
    SearchFilter,
    SearchOptions,
)

from .report import machine, versions, write_json

SEED: Final = 20_261_121
DIMENSION: Final = 384
SUBJECTS: Final = 200
K: Final = 20
PROCESSES: Final = 8
THREADS: Final = 4

_TABLE: Final = """
CREATE TABLE rows (id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, key TEXT NOT NULL, value, metadata TEXT,
created_at INTEGER, updated_at INTEGER, expires_at INTEGER, version INTEGER, UNIQUE (namespace, key));
CREATE INDEX expiry ON rows (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE changes (seq INTEGER PRIMARY KEY, namespace TEXT, key TEXT, operation TEXT, version INTEGER, at INTEGER)
"""
_READ: Final = "SELECT value, expires_at FROM rows WHERE namespace = ? AND key = ?"
_CHANGE: Final = "INSERT INTO changes (namespace, key, operation, version, at) VALUES (?, ?, 'set', ?, ?)"
_INSERT: Final = """
INSERT INTO rows (namespace, key, value, metadata, created_at, updated_at, version) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)
ON CONFLICT (namespace, key) DO UPDATE
SET value = excluded.value, metadata = excluded.metadata, updated_at = excluded.updated_at, version = excluded.version
"""


def vectors(count: int, seed: int = SEED) -> numpy.ndarray[Any, numpy.dtype[numpy.float32]]:
    """Shape (count, 384)."""
    centres = numpy.random.default_rng(SEED).normal(size=(SUBJECTS, DIMENSION))
    rng = numpy.random.default_rng(seed)
    chosen = centres[rng.integers(SUBJECTS, size=count)] + 0.8 * rng.normal(size=(count, DIMENSION))
    return chosen.astype("<f4")


def lessons(team: str, count: int, seed: int = SEED) -> Iterator[NewExperience]:
    """Something to record; texts of about 200 bytes."""
    for number, vector in enumerate(vectors(count, seed)):
        yield NewExperience(
            team,
            f"Lesson {number}: " + "what worked, what did not, and what to try first next time. " * 3,
            vector,
            importance=(number % 100) / 100,
            domain=["even" if number % 2 == 0 else "odd", f"subject-{number % SUBJECTS}"],
        )


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the table, write the JSON."""
    options = _parser().parse_args(arguments)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name:
        folder = Path(name)
        results["record"] = recording(folder, options.rounds, options.slice)
        for size in options.sizes:
            print(f"{size:,} experiences", file=sys.stderr, flush=True)
            results[f"{size}"] = asking(folder / f"{size}.db", size, options.asks)
        results["reinforce"] = reinforcing(folder / "reinforce.db", options.uses)
    written = {
        "machine": machine(), "versions": versions(["apsw", "numpy", "orjson", "faiss-cpu"]), "dimension": DIMENSION,
        "load_average": round(os.getloadavg()[1], 1), "results": results,
    }  # fmt: skip
    print(orjson.dumps(results, option=orjson.OPT_INDENT_2).decode())
    if options.out:
        write_json(options.out, written)
    return written


def recording(folder: Path, rounds: int, slice: int) -> dict[str, Any]:
    """Singles, a transaction each, against the floor; and batches of 500."""
    floor = apsw.Connection(str(folder / "floor.db"))
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        floor.execute(f"PRAGMA {pragma}")
    floor.execute(_TABLE)
    samples: dict[str, list[tuple[float, float]]] = {"ours": [], "floor": []}
    with SQLiteStorageBackend({"dbPath": str(folder / "record.db")}) as storage:
        store = ExperienceStore(storage, DIMENSION)
        team = store.create_collective("team")
        rows = Rows(store, team)
        for turn in range(rounds + 1):
            news = list(lessons(team, slice, SEED + turn))
            bare = [rows.of(number + turn * slice, new) for number, new in enumerate(news)]
            ours = _timed(lambda news=news: [store.record(new) for new in news])  # type: ignore[misc]
            theirs = _timed(lambda bare=bare: _write(floor, bare))  # type: ignore[misc]
            if turn:
                samples["ours"].append(ours)
                samples["floor"].append(theirs)
        news = list(lessons(team, 2_000, SEED - 1))
        batch = _timed(lambda: [store.record_many(news[at : at + 500]) for at in range(0, 2_000, 500)])
    floor.close()
    figures = {
        name: {
            "wall_us": round(median(wall for wall, _ in taken) / slice * 1e6),
            "cpu_us": round(median(cpu for _, cpu in taken) / slice * 1e6),
            "a_second": round(slice / median(wall for wall, _ in taken)),
        }
        for name, taken in samples.items()
    }
    pairs = list(zip(samples["ours"], samples["floor"], strict=True))
    return figures | {
        "wall_over_floor": round(median(ours[0] / floor[0] for ours, floor in pairs), 2),
        "cpu_over_floor": round(median(ours[1] / floor[1] for ours, floor in pairs), 2),
        "batches_of_500_a_second": round(2_000 / batch[0]),
    }


class Rows:
    """The rows that one recorded experience is made of, taken from the store itself."""

    def __init__(self, store: ExperienceStore, team: str) -> None:
        id = store.record(next(lessons(team, 1)))
        self.shape = [
            (name, entry.key, entry.value, entry.metadata)
            for name in store.storage.list_namespaces(prefix=store.layout.root)
            for entry in store.storage.scan(namespace=name)
            if id in entry.key or name in (store.layout.log, store.layout.sequence)
        ]
        # Creating the collective left a log row too.
        logs = [row for row in self.shape if row[0] == store.layout.log]
        self.shape.remove(logs[0])
        self.id = id

    def of(self, number: int, new: NewExperience) -> list[tuple[Any, ...]]:
        """The same for another experience."""
        id = f"{number:08x}{self.id[8:]}"
        made = []
        for namespace, key, value, metadata in self.shape:
            value = numpy.asarray(new.embedding) if isinstance(value, bytes) else value
            key = key.replace(self.id, id) if self.id in key else key if key == "log" else f"{key}{number}"
            made.append((namespace, key, value, metadata))
        return made


def _write(floor: apsw.Connection, experiences: list[list[tuple[Any, ...]]]) -> None:
    for rows in experiences:
        floor.execute("BEGIN IMMEDIATE")
        now = time.time_ns() // 1_000_000
        floor.execute(_READ, ("experiences/collectives", "team")).fetchall()
        floor.execute(_READ, ("experiences/sequence", "log")).fetchall()
        for namespace, key, value, metadata in rows:
            stored = value.tobytes() if isinstance(value, numpy.ndarray) else orjson.dumps(value).decode()
            about = orjson.dumps(metadata).decode() if metadata else None
            floor.execute(_INSERT, (namespace, key, stored, about, now, now * 1_000))
        floor.execute(_CHANGE, ("experiences/sequence", "log", now * 1_000, now))
        floor.execute("COMMIT")


def asking(path: Path, size: int, asks: int) -> dict[str, Any]:
    """Fill a store, open it again, ask."""
    with SQLiteStorageBackend({"dbPath": str(path)}) as storage:
        store = ExperienceStore(storage, DIMENSION)
        team = store.create_collective("team")
        started = time.perf_counter()
        news = list(lessons(team, size))
        for at in range(0, size, 500):
            store.record_many(news[at : at + 500])
        filled = time.perf_counter() - started
        ids = store.list_experience_ids_paginated(team, 50)
        for one, two in pairwise(ids):
            store.store_relation(one, two, RelationType.SUPPORTS)
        store.store_insight(team, "What the lessons have in common.", ids[:5], embedding=news[0].embedding)
        queries = vectors(asks, SEED + 7)
        built, _ = _timed(lambda: store.search_similar(team, queries[0], K))
        storage.optimize()
    started = time.perf_counter()
    storage = SQLiteStorageBackend({"dbPath": str(path)})
    store = ExperienceStore(storage, DIMENSION)
    opened = time.perf_counter() - started
    started = time.perf_counter()
    store.search_similar(team, queries[0], K)
    first = time.perf_counter() - started
    weighted = SearchOptions(k=K, weights=RecallWeights(0.7, 0.3))
    odd = SearchFilter(domains=["odd"], min_importance=0.5)
    rare = SearchFilter(domains=["subject-7"])
    calls: dict[str, Callable[[Any], Any]] = {
        "search": lambda query: store.search_similar(team, query, K),
        "search_quarter": lambda query: store.search_similar_filtered(team, query, K, odd),
        "search_one_in_200": lambda query: store.search_similar_filtered(team, query, K, rare),
        "search_weighted": lambda query: store.search(team, query, weighted),
        "context": lambda query: store.get_context_candidates(ContextRequest(team, query)),
        "get": lambda _: store.get(ids[7]),
        "recent": lambda _: store.get_recent_experiences(team, 10),
    }
    figures: dict[str, Any] = {
        "fill_a_second": round(size / filled),
        "first_search_ever_s": round(built, 4),
        "reopen_s": round(opened, 4),
        "first_search_after_reopening_s": round(first, 4),
    }
    for name, call in calls.items():
        taken = sorted(_timed(lambda call=call, query=query: call(query)) for query in queries)  # type: ignore[misc]
        figures[name] = {
            "p50_ms": round(taken[len(taken) // 2][0] * 1e3, 3),
            "p99_ms": round(taken[int(len(taken) * 0.99)][0] * 1e3, 3),
            "cpu_ms": round(median(cpu for _, cpu in taken) * 1e3, 3),
        }
    figures["file_bytes"] = path.stat().st_size
    storage.close()
    return figures


def reinforcing(path: Path, uses: int) -> dict[str, Any]:
    """Eight processes with four threads each count uses of one experience."""
    with SQLiteStorageBackend({"dbPath": str(path), "busyTimeout": 60_000}) as storage:
        store = ExperienceStore(storage, DIMENSION)
        id = store.record(next(lessons(store.create_collective("team"), 1)))
        context = multiprocessing.get_context("spawn")
        start = context.Barrier(PROCESSES + 1)
        children = [context.Process(target=_reinforce, args=(str(path), id, uses, start)) for _ in range(PROCESSES)]
        for child in children:
            child.start()
        start.wait()
        started = time.perf_counter()
        for child in children:
            child.join()
        taken = time.perf_counter() - started
        found = store.get(id)
        wanted = PROCESSES * THREADS * uses
        counted = 0 if found is None else found.total_applications
    return {"wanted": wanted, "counted": counted, "lost": wanted - counted, "a_second": round(wanted / taken)}


def _reinforce(path: str, id: str, uses: int, start: Any) -> None:
    with SQLiteStorageBackend({"dbPath": path, "busyTimeout": 60_000}) as storage:
        store = ExperienceStore(storage, DIMENSION)
        start.wait()
        threads = [threading.Thread(target=lambda: [store.reinforce(id) for _ in range(uses)]) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of this thread's CPU time."""
    wall, cpu = time.perf_counter(), time.thread_time()
    work()
    return time.perf_counter() - wall, time.thread_time() - cpu


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.experiences", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slice", type=int, default=100, help="experiences a round")
    parser.add_argument("--asks", type=int, default=100)
    parser.add_argument("--uses", type=int, default=50, help="of each thread")
    parser.add_argument("--folder", help="where the databases are made")
    parser.add_argument("--out", type=Path)
    return parser


if __name__ == "__main__":
    main()
