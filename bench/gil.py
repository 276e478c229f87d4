"""``python -m bench.gil``: reads beside one thread of pure Python that never rests.

Each call into SQLite gives the GIL up and then waits to get it back, up to the interpreter's switch interval: a call
that does little pays it in full, one that does much hardly notices. Operations per second of wall time, alone and
beside the other thread, at the default interval (5 ms) and at 0.5 ms.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from .dataset import SEED, Dataset
from .report import machine, versions, write_json
from .rivals import Engine, load

INTERVALS: Final = (0.005, 0.0005)
"""Seconds; the first is Python's default."""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the table, write the JSON."""
    options = _parser().parse_args(arguments)
    data = Dataset(options.entries)
    before = sys.getswitchinterval()
    rows: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        for name in options.engines.split(","):
            kind = load(name)
            home = Path(folder) / name
            home.mkdir()
            engine = kind(home)
            engine.set_many(list(data.pairs()))
            rows[name] = {}
            try:
                rows[name]["alone"] = _rates(engine, data, options.seconds)
                for interval in INTERVALS:
                    sys.setswitchinterval(interval)
                    with _burner():
                        rows[name][f"beside a busy thread, {interval * 1000:g} ms"] = _rates(
                            engine, data, options.seconds
                        )
            finally:
                sys.setswitchinterval(before)
                engine.close()
    written = {
        "machine": machine(),
        "versions": versions(["apsw", "orjson"]),
        "entries": options.entries,
        "per_second": rows,
    }
    print(_table(rows))
    if options.out:
        write_json(options.out, written)
    return written


def _rates(engine: Engine, data: Dataset, seconds: float) -> dict[str, float]:
    """Calls per second; of the scan, entries per second."""
    rng = random.Random(SEED)
    many = rng.sample(data.keys, k=min(1000, data.size))

    return {
        "get": _per_second(lambda: engine.get(rng.choice(data.keys)), seconds),
        "get_many(1000)": _per_second(lambda: engine.get_many(many), seconds),
        "scan, entries": _scanned_per_second(engine, seconds),
    }


def _per_second(call: Callable[[], Any], seconds: float) -> float:
    """The median rate of three stretches, each at least one call long."""
    call()
    rates = []
    for _ in range(3):
        calls, started = 0, time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds / 3 or not calls:
            call()
            calls += 1
        passed = time.perf_counter() - started
        rates.append(calls / passed)
    return round(median(rates), 1)


def _scanned_per_second(engine: Engine, seconds: float) -> float:
    """Entries drawn per second, from one scan after the other until the time is up."""
    seen, started = 0, time.perf_counter()
    while True:
        for _entry in engine.scan():
            seen += 1
            if (passed := time.perf_counter() - started) >= seconds:
                return round(seen / passed, 1)


@contextmanager
def _burner() -> Iterator[None]:
    """A thread that computes in Python for as long as the block runs."""
    stop = threading.Event()

    def burn() -> None:
        number = 0
        while not stop.is_set():
            for _ in range(1000):
                number = number * 31 % 1_000_003

    thread = threading.Thread(target=burn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    operations = list(next(iter(next(iter(rows.values())).values())))
    lines = ["| per second | " + " | ".join(operations) + " |", "|---|" + "---:|" * len(operations)]
    for engine, conditions in rows.items():
        for condition, rates in conditions.items():
            cells = " | ".join(f"{rates[operation]:,.0f}" for operation in operations)
            lines.append(f"| {engine}, {condition} | {cells} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.gil", description=__doc__)
    parser.add_argument("--engines", default="floor,ours,memory", help="comma-separated")
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure")
    parser.add_argument("--folder", type=Path, help="where the databases go; default: the temporary folder")
    parser.add_argument("--out", type=Path, help="a JSON file; the published one is bench/results/gil.json")
    return parser


if __name__ == "__main__":
    main()
