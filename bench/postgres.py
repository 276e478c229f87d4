"""The PostgreSQL backend against bare psycopg, interleaved slice by slice on one server.

    python -m bench.postgres --out bench/results/postgres.json

Starts a server of its own (the extra ``postgres-embedded``) unless ``--url`` names one. Times are wall-clock, since the
work is the server's; a ratio is the median over the rounds of the ratio within a round. It measures on two servers, one
with PostgreSQL's own durability and one that does not wait for the disk: there what the client adds weighs most.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from .dataset import SEED, Dataset
from .report import machine, versions, write_json
from .rivals.postgres_floor import PostgresFloor, PostgresPlain
from .rivals.postgres_ours import PostgresOurs

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
SLICE = 25
BATCH = 10_000
FOUND = 20

Samples = dict[str, list[float]]


def measure(engines: dict[str, Any], rounds: int, work: Callable[[Any, random.Random], int]) -> Samples:
    """Microseconds per operation of each engine in each round; each engine gets the same arguments."""
    samples: Samples = {name: [] for name in engines}
    names = list(engines)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            rng = random.Random(SEED + number)
            begun = time.perf_counter()
            units = work(engines[name], rng)
            samples[name].append((time.perf_counter() - begun) / units * 1e6)
    return samples


def ratio(samples: Samples, name: str, to: str) -> float:
    """The median of the ratios within a round."""
    return median(ours / theirs for ours, theirs in zip(samples[name], samples[to], strict=True))


def run(url: str, rounds: int, entries: int = 100_000, batch: int = BATCH) -> dict[str, Any]:
    """Every workload; what it found."""
    schema = f"bench_{time.time_ns():x}"
    data = Dataset(entries)
    wanted = min(1_000, entries)
    pairs = list(data.pairs())
    values = [value for _, value in pairs]
    ours = PostgresOurs(url, schema)
    engines: dict[str, Any] = {"ours": ours}
    for kind in (PostgresFloor, PostgresPlain):
        engines[kind.name] = kind(url, schema, ours.lock)
    keys = [key for key, _ in pairs]
    found: dict[str, Any] = {}
    try:
        ours.set_many(pairs)
        ours.storage.optimize()

        def get(engine: Any, rng: random.Random) -> int:
            call = engine.get
            for key in rng.choices(keys, k=SLICE):
                call(key)
            return SLICE

        def set_(engine: Any, rng: random.Random) -> int:
            call = engine.set
            for key in rng.choices(keys, k=SLICE):
                call(key, values[7])
            return SLICE

        def get_many(engine: Any, rng: random.Random) -> int:
            assert len(engine.get_many(rng.sample(keys, wanted))) == wanted
            return wanted

        def set_many(engine: Any, rng: random.Random) -> int:
            engine.set_many(rng.sample(pairs, batch))
            return batch

        def between(engine: Any, rng: random.Random) -> int:
            for _ in range(SLICE):
                low = rng.randrange(entries - FOUND)
                assert len(engine.between(low, low + FOUND)) == FOUND
            return SLICE

        for name, work, turns in (
            ("get", get, rounds * 4),
            ("set", set_, rounds * 4),
            (f"get_many of {wanted:,}", get_many, rounds),
            (f"set_many of {batch:,}", set_many, max(5, rounds // 3)),
        ):
            measure(engines, 2, work)
            samples = measure(engines, turns, work)
            found[name] = {
                "microseconds": {engine: round(median(times), 2) for engine, times in samples.items()},
                "ours_to_floor": round(ratio(samples, "ours", "floor"), 3),
                "ours_to_plain": round(ratio(samples, "ours", "plain"), 3),
            }
        # Last, because from here on each write keeps both indexes.
        ours.set_many(pairs)  # the sets have changed ids
        indexed = {name: engines[name] for name in ("ours", "plain")}
        for engine in indexed.values():
            engine.index()
        measure(indexed, 2, between)
        samples = measure(indexed, rounds * 4, between)
        found[f"indexed range of {FOUND} in {entries:,}"] = {
            "microseconds": {engine: round(median(times), 2) for engine, times in samples.items()},
            "ours_to_plain": round(ratio(samples, "ours", "plain"), 3),
        }
        alone = found["set"]["microseconds"]["ours"] / found[f"set_many of {batch:,}"]["microseconds"]["ours"]
        found["a set against an entry of set_many"] = {"times": round(alone, 1)}
    finally:
        for engine in engines.values():
            engine.close()
        with psycopg.connect(url, autocommit=True) as connection:
            version = connection.info.server_version
            connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    return {"server_version": version, "workloads": found}


@contextmanager
def server(url: str | None, settings: dict[str, str]) -> Iterator[str]:
    """The server to measure on."""
    if url is not None:
        yield url
        return
    from mycelia_storage.backends.postgres.embedded import EmbeddedServer

    folder = Path(tempfile.mkdtemp(prefix="mycelia-bench-"))
    try:
        with EmbeddedServer(folder / "server", settings=settings) as running:
            yield running.dsn
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a server to use; its database must be one to play with")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    servers: dict[str, dict[str, str]] = {"durable": {}, "does not wait for the disk": FAST}
    if options.url is not None:
        servers = {"given": {}}
    report: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(["psycopg", "psycopg-binary", "orjson"]),
        "rounds": options.rounds,
        "servers": {},
    }
    for kind, settings in servers.items():
        with server(options.url, settings) as url:
            report["servers"][kind] = found = run(url, options.rounds)
        print(kind)
        for name, figures in found["workloads"].items():
            print(f"  {name:36}", json.dumps(figures))
    if options.out is not None:
        write_json(options.out, report)


if __name__ == "__main__":
    sys.exit(main())
