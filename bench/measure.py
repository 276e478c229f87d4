"""Interleaved measurement: in every round each engine runs a slice of each workload in turn, in rotating order.

Load on the machine then meets all engines alike, and a ratio is taken between two slices that ran within a moment of
each other. The calling thread's CPU time is the measure; the wall clock, which also counts waiting for the disk and
for other processes, is recorded beside it.
"""

from __future__ import annotations

import gc
import random
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from .dataset import SEED, Dataset
from .rivals import Engine, Unsupported
from .workloads import Workload

HEAVY_EVERY: Final = 4
"""A heavy workload runs in one round of so many."""


class WrongAnswer(AssertionError):
    """An engine's result was not the expected one."""


@dataclass
class Samples:
    """Microseconds per operation, one number a round."""

    cpu: dict[int, float] = field(default_factory=dict)
    wall: dict[int, float] = field(default_factory=dict)


class Contestant:
    """An engine with its databases, each filled when a workload first asks for it."""

    def __init__(self, kind: type[Engine], folder: Path, data: Dataset) -> None:
        self.kind = kind
        self.folder = folder
        self.data = data
        self.stores: dict[str, Engine] = {}
        self.lacks: set[str] = set()
        self._opened = 0

    def store(self, name: str) -> Engine:
        """The database of that name; "empty" is a new one at each call. Raises Unsupported."""
        if name == "empty":
            return self._open(name)
        if name not in self.stores:
            engine = self._open(name)
            self.stores[name] = engine
            engine.set_many(list(self.data.pairs()))
            if name == "indexed":
                engine.create_index("group")
            elif name == "tracked":
                engine.track_changes()
        return self.stores[name]

    def discard(self, engine: Engine) -> None:
        """Close an "empty" store and delete its files."""
        engine.close()
        shutil.rmtree(engine.folder, ignore_errors=True)

    def close(self) -> None:
        for engine in self.stores.values():
            engine.close()
        self.stores.clear()

    def _open(self, name: str) -> Engine:
        self._opened += 1
        folder = self.folder / f"{self.kind.name}-{name}-{self._opened}"
        folder.mkdir(parents=True)
        return self.kind(folder)


Results = dict[str, dict[str, Samples]]


def run_rounds(
    contestants: Sequence[Contestant],
    workloads: Sequence[Workload],
    data: Dataset,
    rounds: int,
    progress: Callable[[str], None],
) -> Results:
    """Samples by workload and engine. A warm-up round, which fills the databases, is not counted.

    A heavy workload runs in the rounds 0, HEAVY_EVERY, ...; raises WrongAnswer.
    """
    results: Results = {workload.name: {c.kind.name: Samples() for c in contestants} for workload in workloads}
    for serial in range(-1, rounds):
        gc.collect()
        gc.freeze()
        for workload in workloads:
            if workload.heavy and serial % HEAVY_EVERY and serial >= 0:
                continue
            rng = random.Random(f"{SEED}/{workload.name}/{serial}")
            arguments = workload.arguments(data, rng, serial + 1)
            shift = (serial + 1) % len(contestants)
            for contestant in [*contestants[shift:], *contestants[:shift]]:
                if workload.name in contestant.lacks:
                    continue
                try:
                    timed = _slice(contestant, workload, arguments)
                except Unsupported:
                    contestant.lacks.add(workload.name)
                    continue
                if serial >= 0:
                    samples = results[workload.name][contestant.kind.name]
                    samples.cpu[serial], samples.wall[serial] = timed
        progress("filled" if serial < 0 else f"round {serial + 1} of {rounds}")
    gc.unfreeze()
    return results


def _slice(contestant: Contestant, workload: Workload, arguments: Any) -> tuple[float, float]:
    engine = contestant.store(workload.store)
    try:
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        result = workload.run(engine, arguments)
        cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
        if not workload.check(engine, arguments, result):
            raise WrongAnswer(f"{contestant.kind.name} answered {workload.name} wrongly")
        workload.clean(engine, arguments)
    finally:
        if workload.store == "empty":
            contestant.discard(engine)
    units = workload.units(arguments) * 1000
    return cpu / units, wall / units


def middle(numbers: Iterable[float]) -> float | None:
    """The median; None of nothing."""
    listed = list(numbers)
    return median(listed) if listed else None


def ratio(samples: Samples, floor: Samples) -> float | None:
    """The median of the per-round ratios to the floor, by CPU time."""
    return middle(cpu / floor.cpu[serial] for serial, cpu in samples.cpu.items() if floor.cpu.get(serial))
