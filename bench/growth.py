"""``python -m bench.growth``: what a hundred times as many entries cost, ours against the floor.

For each size both engines are filled and asked in turn: gets of any key, gets of 1,000 hot keys, lists by prefix. An
engine's growth is its time at the largest size over its time at the smallest. Our growth over the floor's is taken from
the per-round ratios of the two, which ran within a moment of each other.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from .dataset import SEED, TURNS, Dataset
from .report import machine, versions, write_json
from .rivals import Engine, load

SIZES: Final = (10_000, 100_000, 1_000_000)
GETS: Final = 1_000
HOT: Final = 1_000
LISTS: Final = 100
_FILL: Final = 50_000

Samples = dict[str, dict[str, list[int]]]
Slice = Callable[[Engine, random.Random, Dataset], int]


def uniform_get(engine: Engine, rng: random.Random, data: Dataset) -> int:
    return _gets(engine, [data.key(rng.randrange(data.size)) for _ in range(GETS)])


def hot_get(engine: Engine, rng: random.Random, data: Dataset) -> int:
    # The hot entries lie apart, as an agent's current records do among all others; they are hot from having been read.
    apart = max(1, data.size // HOT)
    keys = [data.key(rng.randrange(min(HOT, data.size)) * apart) for _ in range(GETS)]
    _gets(engine, keys)
    return _gets(engine, keys)


def prefix_list(engine: Engine, rng: random.Random, data: Dataset) -> int:
    prefixes = [data.prefix(rng.randrange(data.size)) for _ in range(LISTS)]
    started = time.thread_time_ns()
    for prefix in prefixes:
        engine.list_prefix(prefix)
    return (time.thread_time_ns() - started) // LISTS


SLICES: Final[dict[str, Slice]] = {"uniform get": uniform_get, "hot-set get": hot_get, "prefix list": prefix_list}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the table, write the JSON."""
    options = _parser().parse_args(arguments)
    engines = [load("floor"), load("ours")]
    measured: dict[int, Samples] = {}
    for size in options.sizes:
        print(f"{size:,} entries", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
            measured[size] = measure(engines, Dataset(size), Path(folder), options.rounds)
    rows = {name: summarise({size: samples[name] for size, samples in measured.items()}) for name in SLICES}
    written = {
        "machine": machine(),
        "versions": versions(["apsw", "orjson"]),
        "rounds": options.rounds,
        "results": rows,
    }
    print(_table(rows))
    if options.out:
        write_json(options.out, written)
    return written


def measure(engines: Sequence[type[Engine]], data: Dataset, folder: Path, rounds: int) -> Samples:
    """Nanoseconds by slice, engine and round, after one uncounted round."""
    opened = []
    for kind in engines:
        (folder / kind.name).mkdir()
        opened.append(kind(folder / kind.name))
    # Conversations come in any order: the entries of one lie together, neighbouring ones do not.
    conversations = list(range(0, data.size, TURNS))
    random.Random(SEED).shuffle(conversations)
    step = _FILL // TURNS
    for start in range(0, len(conversations), step):
        pairs = [
            (data.key(number), data.value(number))
            for first in conversations[start : start + step]
            for number in range(first, min(first + TURNS, data.size))
        ]
        for engine in opened:
            engine.set_many(pairs)
    samples: Samples = {name: {engine.name: [] for engine in opened} for name in SLICES}
    for round_number in range(rounds + 1):
        for name, slice in SLICES.items():
            shift = round_number % len(opened)
            for engine in [*opened[shift:], *opened[:shift]]:
                figure = slice(engine, random.Random(f"{SEED}/{name}/{round_number}"), data)
                if round_number:
                    samples[name][engine.name].append(figure)
    for engine in opened:
        engine.close()
    return samples


def summarise(by_size: dict[int, dict[str, list[int]]]) -> dict[str, Any]:
    """Of one slice: each engine's microseconds by size and growth, and our ratio and growth against the floor."""
    small, large = min(by_size), max(by_size)
    times = {
        engine: {size: median(figures[engine]) / 1000 for size, figures in by_size.items()} for engine in by_size[small]
    }
    ratios = {
        size: median(ours / floor for ours, floor in zip(figures["ours"], figures["floor"], strict=True))
        for size, figures in by_size.items()
    }
    return {
        "cpu_us": {engine: {size: round(figure, 2) for size, figure in row.items()} for engine, row in times.items()},
        "growth": {engine: round(row[large] / row[small], 3) for engine, row in times.items()},
        "ratio": {size: round(value, 3) for size, value in ratios.items()},
        "growth_ratio": round(ratios[large] / ratios[small], 3),
    }


def _gets(engine: Engine, keys: Sequence[str]) -> int:
    get = engine.get
    started = time.thread_time_ns()
    for key in keys:
        get(key)
    return (time.thread_time_ns() - started) // len(keys)


def _table(rows: dict[str, dict[str, Any]]) -> str:
    sizes = list(next(iter(rows.values()))["ratio"])
    lines = ["| | " + " | ".join(f"{size:,}" for size in sizes) + " | growth |", "|---|" + "---:|" * (len(sizes) + 1)]
    for name, row in rows.items():
        for engine, times in row["cpu_us"].items():
            cells = " | ".join(f"{times[size]:.2f}" for size in sizes)
            lines.append(f"| {name}, {engine} | {cells} | {row['growth'][engine]:.2f}x |")
        cells = " | ".join(f"{row['ratio'][size]:.2f}x" for size in sizes)
        lines.append(f"| {name}, ours over the floor | {cells} | {row['growth_ratio']:.2f}x |")
    return "\n".join(lines)


def _sizes(text: str) -> list[int]:
    return sorted(int(part) for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--sizes", type=_sizes, default=list(SIZES), help="comma-separated numbers of entries")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where the databases go; default: the temporary folder")
    parser.add_argument("--out", type=Path, help="a JSON file; the published one is bench/results/growth.json")
    return parser


if __name__ == "__main__":
    main()
