"""``python -m bench.vectors``: vector stores against each other, each in a process of its own.

Every store gets the same vectors, queries and metadata. It is built and reopened by a fresh process; then all stores
answer the same queries in turn, a few at a time in rotating order, so that load on the machine meets all alike. Recall
is counted for every answer. ``--sizes 1000000`` is the long run, which leaves the slow ones out unless they are named.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy

from .report import machine, versions, write_json
from .vector_child import Child, ChildFailed
from .vector_data import FILTERS, K, Truth, queries, source_name, write_vectors
from .vector_report import table
from .vector_rivals import RIVALS, missing

OURS: Final = "ours"
FILTER_NAMES: Final = [chosen.name if chosen else "all" for chosen in FILTERS]

#: Vectors from which only these run, if none are named: the others take hours to build or seconds to search.
LARGE: Final = 500_000
LARGE_RIVALS: Final = ("ours", "lancedb", "sqlite-vec", "faiss-flat", "faiss-scan")

#: These run with more only if they are named.
LIMITS: Final = {
    "qdrant": (20_000, "its local mode is meant for up to 20,000 vectors"),
    "langgraph-memory": (20_000, "it takes seconds for a search"),
    "ours-memory": (20_000, "it compares every vector, in Python"),
}

_SLICE: Final = 10
_LEAST_QUERIES: Final = 20
_ADDED: Final = 50
_AFTER: Final = 40


class Measured:
    """One store: its figures so far, and the process that answers for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.child: Child | None = None
        self.figures: dict[str, Any] = {}
        self.walls: dict[str, dict[int, float]] = {filter: {} for filter in FILTER_NAMES}
        self.cpus: dict[str, list[float]] = {filter: [] for filter in FILTER_NAMES}
        self.right: dict[str, int] = dict.fromkeys(FILTER_NAMES, 0)
        self.short: dict[str, int] = dict.fromkeys(FILTER_NAMES, 0)
        self.process_cpu: dict[str, float] = dict.fromkeys(FILTER_NAMES, 0.0)
        self.failed: str | None = None

    def fail(self, why: str) -> None:
        self.failed = why
        self.close()
        say(f"{self.name} left out: {why}")

    def close(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None


class Run:
    """One size: the data and the stores."""

    def __init__(self, folder: Path, count: int, names: Sequence[str], asked: int, seconds: float) -> None:
        self.folder = folder
        self.count = count
        self.seconds = seconds
        self.added = min(_ADDED, count)
        self.after = min(_AFTER, count)
        self.vectors, self.queries = folder / "vectors.npy", folder / "queries.npy"
        write_vectors(self.vectors, count + self.added + self.after)
        numpy.save(self.queries, queries(asked))
        self.asked = len(numpy.load(self.queries, mmap_mode="r"))
        rows = numpy.load(self.vectors, mmap_mode="r")[: count + self.added]
        self.truth = Truth(rows, numpy.load(self.queries))
        self.stores = [Measured(name) for name in names]

    def child(self, name: str) -> Child:
        place = self.folder / name
        place.mkdir(exist_ok=True)
        return Child(name, place, self.vectors, self.queries, self.folder / f"{name}.log")

    def measure(self) -> dict[str, Any]:
        """Everything, as data."""
        try:
            for store in self.alive():
                self.guarded(store, self.build)
            for filter in FILTER_NAMES:
                self.search(filter)
                say(f"{self.count:,}: {filter} searched")
            for store in self.alive():
                self.guarded(store, self.memory)
                self.guarded(store, self.after_writes)
                store.close()
        finally:
            for store in self.stores:
                store.close()
        found = {store.name: self.summary(store) for store in self.stores}
        return {"stores": found, "floor": self.floor()}

    def alive(self) -> list[Measured]:
        return [store for store in self.stores if store.failed is None]

    def guarded(self, store: Measured, step: Callable[..., None], *arguments: Any) -> None:
        try:
            step(store, *arguments)
        except ChildFailed as error:
            store.fail(str(error))

    def build(self, store: Measured) -> None:
        store.child = self.child(store.name)
        about = store.child.tell(do="describe")
        built = store.child.tell(do="build", count=self.count, added=self.added)
        store.figures |= {
            "how": about["how"],
            "packages": about["packages"],
            "persistent": about["persistent"],
            "shared": about["shared"],
            "build_s": round(built["build_s"], 3),
            "build_us_each": round(built["build_s"] / self.count * 1e6, 2),
            "add_p50_us": round(median(built["added_us"]), 1),
            "add_p99_us": round(percentile(built["added_us"], 0.99), 1),
        }
        if about["persistent"]:
            store.close()
            store.child = self.child(store.name)
            store.child.tell(do="describe")
            opened = store.child.tell(do="open")
            store.figures["first_result_ms"] = round(opened["first_ms"], 2)
            store.figures["open_ms"] = round(opened["open_ms"], 2)
            store.figures["first_result_cpu_ms"] = round(opened["cpu_ms"], 2)
            files = (self.folder / store.name).rglob("*")
            store.figures["disk_mb"] = round(sum(file.stat().st_size for file in files if file.is_file()) / 1e6, 1)
        say(f"{self.count:,}: {store.name} built in {built['build_s']:.2f} s")

    def search(self, filter: str) -> None:
        """Slices of the queries by each store in turn, until its time for this filter is used up."""
        spent = dict.fromkeys((store.name for store in self.stores), 0.0)
        for store in self.alive():  # what a first search of this kind makes is not counted, but shown
            self.guarded(store, self.warm, filter)
        for turn, part in enumerate(slices(self.asked)):
            stores = self.alive()
            shift = turn % len(stores) if stores else 0
            for store in [*stores[shift:], *stores[:shift]]:
                if spent[store.name] > self.seconds and len(store.walls[filter]) >= _LEAST_QUERIES:
                    continue
                begun = time.perf_counter()
                self.guarded(store, self.answer, filter, part)
                spent[store.name] += time.perf_counter() - begun

    def warm(self, store: Measured, filter: str) -> None:
        assert store.child is not None
        first = store.child.tell(do="search", filter=filter, queries=[0])
        store.figures.setdefault("first_of_kind_ms", {})[filter] = round(first["wall_us"][0] / 1e3, 2)

    def answer(self, store: Measured, filter: str, part: list[int]) -> None:
        assert store.child is not None
        answer = store.child.tell(do="search", filter=filter, queries=part)
        store.walls[filter] |= dict(zip(part, answer["wall_us"], strict=True))
        store.cpus[filter] += answer["cpu_us"]
        store.process_cpu[filter] += answer["process_cpu_us"]
        wanted = self.truth.wanted(filter)
        for query, found in zip(part, answer["found"], strict=True):
            store.right[filter] += self.truth.right(filter, query, found)
            store.short[filter] += len(found) < wanted
        store.figures.setdefault("plans", {})[filter] = answer["plan"]

    def memory(self, store: Measured) -> None:
        assert store.child is not None
        memory = store.child.tell(do="memory")
        # The process that built has the file of the given vectors mapped as well.
        store.figures["memory_mb"] = round(memory["rss" if store.figures["persistent"] else "anonymous"], 1)
        store.figures["anonymous_mb"] = round(memory["anonymous"], 1)

    def after_writes(self, store: Measured) -> None:
        """Searches each of which is right after a commit by another process."""
        if not store.figures["shared"]:
            return
        assert store.child is not None
        writer = self.child(store.name)
        try:
            found = []
            for number in range(self.count + self.added, self.count + self.added + self.after):
                writer.tell(do="add", number=number)
                found.append(store.child.tell(do="find", number=number))
        finally:
            writer.close()
        store.figures["after_write"] = {
            "p50_ms": round(median(one["wall_us"] for one in found) / 1e3, 3),
            "p99_ms": round(percentile([one["wall_us"] for one in found], 0.99) / 1e3, 3),
            "cpu_p50_ms": round(median(one["cpu_us"] for one in found) / 1e3, 3),
            "stale": sum(one["stale"] for one in found),
            "writes": len(found),
        }

    def summary(self, store: Measured) -> dict[str, Any]:
        if store.failed is not None:
            return {"left_out": store.failed}
        ours = next((other for other in self.stores if other.name == OURS and other.failed is None), None)
        searched: dict[str, dict[str, Any]] = {}
        for filter in FILTER_NAMES:
            walls = store.walls[filter]
            searched[filter] = {
                "p50_ms": round(median(walls.values()) / 1e3, 4),
                "p99_ms": round(percentile(list(walls.values()), 0.99) / 1e3, 4),
                "cpu_p50_ms": round(median(store.cpus[filter]) / 1e3, 4),
                "process_cpu_ms": round(store.process_cpu[filter] / len(walls) / 1e3, 4),
                "recall": round(store.right[filter] / len(walls) / max(1, self.truth.wanted(filter)), 4),
                "short": store.short[filter],
                "queries": len(walls),
            }
            if ours is not None:
                theirs = [walls[query] / ours.walls[filter][query] for query in walls if query in ours.walls[filter]]
                searched[filter]["times_ours"] = round(median(theirs), 3) if theirs else None
        return {**store.figures, "search": searched}

    def floor(self) -> dict[str, Any] | None:
        """Ours against bare faiss, in a process of its own."""
        if missing("faiss-scan") or not any(store.name == OURS for store in self.alive()):
            return None
        given = (self.folder / OURS, self.vectors, self.queries, 3 * self.seconds)
        command = [sys.executable, "-m", "bench.vector_floor", *map(str, given)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[1])
        if done.returncode:
            say(f"the floor failed: {done.stderr.strip().splitlines()[-1]}")
            return None
        return dict(json.loads(done.stdout))


def slices(count: int) -> Iterator[list[int]]:
    """The numbers of the queries, a few at a time."""
    for start in range(0, count, _SLICE):
        yield list(range(start, min(start + _SLICE, count)))


def percentile(numbers: Sequence[float], share: float) -> float:
    """The number that so large a share are below."""
    return float(numpy.quantile(numpy.array(numbers), share))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run what the command line asks for; the data written."""
    options = _parser().parse_args(arguments)
    written: dict[str, Any] = {
        "machine": machine() | {"load": os.getloadavg()},
        "data": source_name(),
        "dimensions": 384,
        "k": K,
        "sizes": {},
    }
    packages = {"numpy"}
    for size in options.sizes:
        names = [name for name in options.rivals or _default(size) if _is_installed(name)]
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
            found = Run(Path(folder), size, names, options.queries, options.seconds).measure()
        written["sizes"][str(size)] = found
        for store in found["stores"].values():
            packages.update(store.pop("packages", ()))
        written["versions"] = versions(packages)
        print(f"\n{size:,} vectors\n\n{table(found)}")
        if options.out:
            write_json(options.out, written)
    return written


def _default(size: int) -> Iterator[str]:
    for name in RIVALS:
        most, why = LIMITS.get(name, (LARGE, "it takes too long to build"))
        if size > most and name not in LARGE_RIVALS:
            say(f"{name} left out at {size:,}: {why}")
        else:
            yield name


def _is_installed(name: str) -> bool:
    lacks = missing(name)
    if lacks:
        say(f"{name} left out: {lacks} is not installed")
    return not lacks


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.vectors", description=__doc__)
    names = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--rivals", type=names, help=f"comma-separated, of {', '.join(RIVALS)}; default: all")
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=300, help="at most; a slow store answers fewer")
    parser.add_argument("--seconds", type=float, default=6, help="for one store's searches with one filter")
    parser.add_argument("--folder", type=Path, help="where the files go; default: the temporary folder")
    parser.add_argument("--out", type=Path, help="a JSON file; the published ones are in bench/results")
    return parser


if __name__ == "__main__":
    main()
