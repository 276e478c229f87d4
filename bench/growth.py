"""``python -m bench.growth``: what a hundred times as many entries cost, ours against the floor.

For each size both engines are filled and asked in turn: gets of any key, gets of one hot hundredth, lists by prefix.
An engine's growth is its time at a size over its time at the smallest one; the figure is our growth over the floor's.
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
LISTS: Final = 100
_FILL: Final = 50_000

Slice = Callable[[Engine, random.Random, Dataset], int]


def uniform_get(engine: Engine, rng: random.Random, data: Dataset) -> int:
    return _gets(engine, [data.key(rng.randrange(data.size)) for _ in range(GETS)])


def hot_get(engine: Engine, rng: random.Random, data: Dataset) -> int:
    # The hot entries lie apart, as an agent's current records do among all others.
    hot = max(1, data.size // 100)
    return _gets(engine, [data.key(rng.randrange(hot) * (data.size // hot)) for _ in range(GETS)])


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
    times: dict[str, dict[str, dict[int, float]]] = {name: {e.name: {} for e in engines} for name in SLICES}
    for size in options.sizes:
        print(f"{size:,} entries", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
            measured = measure(engines, Dataset(size), Path(folder), options.rounds)
        for name, by_engine in measured.items():
            for engine, figure in by_engine.items():
                times[name][engine][size] = figure
    written = {
        "machine": machine(),
        "versions": versions(["apsw", "orjson"]),
        "rounds": options.rounds,
        "cpu_us": times,
        "growth": {name: growth(by_engine) for name, by_engine in times.items()},
    }
    print(_table(times))
    if options.out:
        write_json(options.out, written)
    return written


def measure(engines: Sequence[type[Engine]], data: Dataset, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Median microseconds by slice and engine, after one uncounted round."""
    opened = []
    for kind in engines:
        (folder / kind.name).mkdir()
        opened.append(kind(folder / kind.name))
    # Written with gaps between the conversations' times: each batch takes every n-th conversation, so that the rows of
    # one prefix lie together but neighbouring prefixes do not.
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
    samples: dict[str, dict[str, list[int]]] = {name: {e.name: [] for e in opened} for name in SLICES}
    for round_number in range(rounds + 1):
        for name, slice in SLICES.items():
            shift = round_number % len(opened)
            for engine in [*opened[shift:], *opened[:shift]]:
                figure = slice(engine, random.Random(f"{SEED}/{name}/{round_number}"), data)
                if round_number:
                    samples[name][engine.name].append(figure)
    for engine in opened:
        engine.close()
    return {
        name: {engine: median(figures) / 1000 for engine, figures in by_engine.items()}
        for name, by_engine in samples.items()
    }


def growth(times: dict[str, dict[int, float]]) -> dict[str, Any]:
    """Each engine's growth from the smallest to the largest size, and ours over the floor's."""
    grown = {engine: figures[max(figures)] / figures[min(figures)] for engine, figures in times.items()}
    grown["ratio"] = grown["ours"] / grown["floor"]
    return {name: round(value, 3) for name, value in grown.items()}


def _gets(engine: Engine, keys: Sequence[str]) -> int:
    get = engine.get
    started = time.thread_time_ns()
    for key in keys:
        get(key)
    return (time.thread_time_ns() - started) // len(keys)


def _table(times: dict[str, dict[str, dict[int, float]]]) -> str:
    sizes = sorted(next(iter(next(iter(times.values())).values())))
    lines = ["| | " + " | ".join(f"{size:,}" for size in sizes) + " | growth |", "|---|" + "---:|" * (len(sizes) + 1)]
    for name, by_engine in times.items():
        grown = growth(by_engine)
        for engine, figures in by_engine.items():
            cells = " | ".join(f"{figures[size]:.2f}" for size in sizes)
            lines.append(f"| {name}, {engine} | {cells} | {grown[engine]:.2f}x |")
        lines.append(f"| {name}, ours over the floor |" + " |" * len(sizes) + f" {grown['ratio']:.2f}x |")
    return "\n".join(lines)


def _sizes(text: str) -> list[int]:
    return sorted(int(part) for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--sizes", type=_sizes, default=list(SIZES), help="comma-separated numbers of entries")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the databases go; default: the temporary folder")
    parser.add_argument("--out", type=Path, help="a JSON file; the published one is bench/results/growth.json")
    return parser


if __name__ == "__main__":
    main()
