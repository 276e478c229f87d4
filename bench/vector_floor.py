"""Whole searches of ours against bare faiss on the same codes, query by query in one process.

The bare search (:class:`~bench.vector_rivals.bare_faiss.FaissScan`) turns the query, scans, and ranks 100 candidates
whose float32 it holds in memory: no entries, no metadata, no view of the storage. Both take each query one right after
the other, in turning order, and a ratio is the median of the queries' ratios, by the calling thread's CPU time and by
the clock.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy

from .vector_data import FILTERS, K, number_of


def compare(folder: Path, vectors: Path, asked: Path, seconds: float) -> dict[str, Any]:
    """Microseconds and ratios by filter, on the database of ``ours`` in ``folder``, which holds all ``vectors``."""
    from .vector_rivals.bare_faiss import FaissScan
    from .vector_rivals.ours import Ours

    queries = numpy.load(asked)
    bare = FaissScan(folder / "nothing")
    bare.build(numpy.load(vectors, mmap_mode="r"))
    bare.prepare()
    ours = Ours(folder)
    found: dict[str, Any] = {}
    try:
        for chosen in FILTERS:
            name = chosen.name if chosen else "all"
            selector = None if chosen is None else bare.selector(chosen)
            for query in queries[:10]:
                ours.search(query, K, chosen)
                bare.nearest(query, K, selector)
            times: dict[str, list[tuple[int, int]]] = {"ours": [], "bare": []}
            rescored, agreed = [], 0
            ends = time.monotonic() + seconds
            gc.collect()
            for number, query in enumerate(queries):
                answers: dict[str, list[int]] = {}
                for who in ("ours", "bare") if number % 2 else ("bare", "ours"):
                    cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
                    if who == "ours":
                        hits: Any = ours.search(query, K, chosen)
                    else:
                        hits = bare.nearest(query, K, selector)
                    times[who].append((time.thread_time_ns() - cpu, time.perf_counter_ns() - wall))
                    answers[who] = [number_of(key) for key, _ in hits] if who == "ours" else hits
                agreed += len(set(answers["ours"]) & set(answers["bare"]))
                rescored.append(ours.plan().get("rescored", 0))
                if time.monotonic() > ends and number >= 20:
                    break
            found[name] = _figures(times) | {
                "queries": len(rescored),
                "rescored": round(sum(rescored) / len(rescored), 1),
                "same": round(agreed / len(rescored) / K, 4),
                "method": ours.plan().get("method"),
            }
    finally:
        ours.close()
        bare.close()
    return found


def _figures(times: dict[str, list[tuple[int, int]]]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for at, kind in enumerate(("cpu", "wall")):
        for who, taken in times.items():
            mine = sorted(pair[at] / 1e3 for pair in taken)
            figures[f"{who}_{kind}_p50_us"] = round(median(mine), 1)
            figures[f"{who}_{kind}_p99_us"] = round(mine[int(0.99 * (len(mine) - 1))], 1)
        pairs = zip(times["ours"], times["bare"], strict=True)
        figures[f"ratio_{kind}"] = round(median(ours[at] / max(bare[at], 1) for ours, bare in pairs), 3)
    return figures


def main() -> None:
    """``python -m bench.vector_floor FOLDER VECTORS QUERIES SECONDS``, run by :mod:`bench.vectors`."""
    folder, vectors, asked, seconds = sys.argv[1:]
    print(json.dumps(compare(Path(folder), Path(vectors), Path(asked), float(seconds))))


if __name__ == "__main__":
    main()
