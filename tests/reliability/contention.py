"""Many processes, many threads, one file: read-modify-write of shared counters.

Half of the threads use ``transaction()``, half compare-and-set with retry. Each thread counts its own increments, so
a lost update shows in the sums. No StorageBusy may reach a thread at the default ``busy_timeout``.

    python -m tests.reliability.contention --processes 8 --threads 4 --rounds 250
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.errors import VersionConflict

from .forkserver import ForkServer, Talk

COUNTERS = 4
NAMESPACE = "counters"


@dataclass(frozen=True)
class Outcome:
    """What a run found. Waits are milliseconds per finished read-modify-write, its conflicts included."""

    writes: int
    lost: int
    errors: list[str]
    conflicts: int
    median: float
    p99: float
    worst: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.writes} writes in {self.seconds:.1f} s ({self.writes / self.seconds:.0f}/s), lost {self.lost}, "
            f"errors {len(self.errors)}, version conflicts retried {self.conflicts}; "
            f"wait: median {self.median:.2f} ms, p99 {self.p99:.1f} ms, worst {self.worst:.0f} ms"
        )


def increment(talk: Talk, options: dict[str, Any], threads: int, rounds: int, number: int, result: str) -> None:
    """One process: open the file, wait for the start, count up, write the figures to ``result``."""
    storage = SQLiteStorageBackend(options)
    waits: list[float] = []
    errors: list[str] = []
    added = [0] * COUNTERS
    conflicts = 0
    guard = threading.Lock()

    def work(thread: int) -> None:
        nonlocal conflicts
        with_transaction = thread % 2 == 0
        for round_ in range(rounds):
            counter = (number + thread + round_) % COUNTERS
            began = time.perf_counter()
            try:
                retries = _by_transaction(storage, counter) if with_transaction else _by_version(storage, counter)
            except Exception as error:
                with guard:
                    errors.append(f"{type(error).__name__}: {error}"[:300])
                continue
            with guard:
                waits.append((time.perf_counter() - began) * 1000)
                added[counter] += 1
                conflicts += retries

    talk.say("ready")
    talk.wait()
    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    storage.close()
    figures = {"waits": waits, "errors": errors, "added": added, "conflicts": conflicts}
    Path(result).write_text(json.dumps(figures))


def _by_transaction(storage: SQLiteStorageBackend, counter: int) -> int:
    key = f"c{counter}"
    with storage.transaction() as tx:
        tx.set(key, tx.get(key, 0, namespace=NAMESPACE) + 1, namespace=NAMESPACE)
    return 0


def _by_version(storage: SQLiteStorageBackend, counter: int) -> int:
    key, retries = f"c{counter}", 0
    while True:
        entry = storage.get_entry(key, namespace=NAMESPACE)
        value, version = (entry.value, entry.version) if entry else (0, 0)
        try:
            storage.set(key, value + 1, namespace=NAMESPACE, if_version=version)
            return retries
        except VersionConflict:
            retries += 1


def run_contention(
    folder: Path, *, processes: int, threads: int, rounds: int, options: dict[str, Any] | None = None
) -> Outcome:
    """Run it on a fresh file in ``folder``."""
    settings = {"dbPath": str(folder / "contention.db"), **(options or {})}
    SQLiteStorageBackend(settings).close()
    results = [folder / f"process-{number}.json" for number in range(processes)]
    with ForkServer() as server:
        children = [
            server.start(
                "contention:increment",
                options=settings,
                threads=threads,
                rounds=rounds,
                number=number,
                result=str(result),
            )
            for number, result in enumerate(results)
        ]
        try:
            for child in children:
                child.line()
            began = time.perf_counter()
            for child in children:
                child.tell("go")
            for child in children:
                child.line(timeout=600)
            seconds = time.perf_counter() - began
        finally:
            for child in children:
                child.kill()
                child.end()
    found = [json.loads(result.read_text()) for result in results]
    with closing(SQLiteStorageBackend(settings)) as storage:
        held = [storage.get(f"c{counter}", 0, namespace=NAMESPACE) for counter in range(COUNTERS)]
    added = [sum(each["added"][counter] for each in found) for counter in range(COUNTERS)]
    waits = sorted(wait for each in found for wait in each["waits"])
    return Outcome(
        writes=len(waits),
        lost=sum(abs(wanted - have) for wanted, have in zip(added, held, strict=True)),
        errors=[error for each in found for error in each["errors"]],
        conflicts=sum(each["conflicts"] for each in found),
        median=waits[len(waits) // 2],
        p99=waits[int(len(waits) * 0.99)],
        worst=waits[-1],
        seconds=seconds,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Read-modify-write of shared counters by many processes.")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=250, help="increments of each thread")
    parser.add_argument("--synchronous", default="NORMAL")
    parser.add_argument("--folder", type=Path, default=None, help="default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        outcome = run_contention(
            Path(folder),
            processes=arguments.processes,
            threads=arguments.threads,
            rounds=arguments.rounds,
            options={"synchronous": arguments.synchronous},
        )
    print(outcome)
    for error in sorted(set(outcome.errors))[:10]:
        print(f"  {outcome.errors.count(error)} x {error}")


if __name__ == "__main__":
    main()
