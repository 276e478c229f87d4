"""SIGKILL a writing process at random points, reopen, and hold the file against the model.

After each kill: every acknowledged step is there, at most the one step in flight beyond them, none in part; versions
never fell; the change log agrees with the entries; ``check()`` finds nothing. One cycle in four has two writers, and
the survivor must go on after the other's death. Cycles that migrate a file of the original, or back up beside a
writer, are mixed in. The page cache of the system survives a SIGKILL, so durability against a power cut is
``power_loss``'s to judge, not this one's.

    python -m tests.reliability.kill_campaign --cycles 5000 --seed 7
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.config import find_backend
from mycelia_storage.contract import StorageBackend

from .forkserver import Child, ForkServer, Talk
from .plan_file import make_plan_file
from .story import Model, prepare, read_changes, step

#: Cycles on one database file before a fresh one is begun.
CYCLES_PER_FILE = 25

PLAN_ENTRIES = 2_000

SETTINGS: list[dict[str, Any]] = [
    {"synchronous": "NORMAL"},
    {"synchronous": "FULL"},
    {"synchronous": "NORMAL", "walMode": False},
]


# -- in the child ------------------------------------------------------------------------------------------------------


def write_story(
    talk: Talk, options: dict[str, Any], seed: int, writer: str, first: int, backend: str = "sqlite"
) -> None:
    """Write step after step, and say so after each, until killed."""
    storage = find_backend(backend)(**options)
    prepare(storage, writer)
    number = first
    while True:
        versions = step(seed, writer, number).write(storage)
        talk.say([number, [[namespace, key, version] for (namespace, key), version in versions.items()]])
        number += 1


def migrate(talk: Talk, path: str) -> None:
    """Open a file of the original, which migrates it."""
    talk.say("opening")
    SQLiteStorageBackend({"dbPath": path}).close()
    talk.say("migrated")


def back_up(talk: Talk, path: str, target: str) -> None:
    """Back up while another thread writes pairs."""
    storage = SQLiteStorageBackend({"dbPath": path})

    def write() -> None:
        number = 0
        while True:
            number += 1
            storage.set_many([("left", number), ("right", number)], namespace="pair")

    threading.Thread(target=write, daemon=True).start()
    talk.say("backing up")
    while True:
        storage.backup(target, overwrite=True)
        talk.say("backed up")


def back_up_and_die(talk: Talk, path: str, target: str) -> None:
    """Die by SIGKILL in the middle of a backup."""

    def progress(_done: int, _total: int) -> None:
        talk.say("half way")
        os.kill(os.getpid(), signal.SIGKILL)

    SQLiteStorageBackend({"dbPath": path}).backup(target, progress=progress)


# -- in the parent -----------------------------------------------------------------------------------------------------


class Violation(AssertionError):
    """A promise was broken; the message says which, and the seed to see it again."""


class Campaign:
    """A run of cycles; ``seen`` counts what they met."""

    backend = "sqlite"
    function = "kill_campaign:write_story"
    settings = SETTINGS
    two_writers = 0.25
    """In how many of the cycles."""

    def __init__(self, seed: int, folder: Path, server: ForkServer) -> None:
        self.seed, self.folder, self.server = seed, folder, server
        self.rng = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self._begin_file(0)

    def run(self, cycles: int) -> None:
        """So many kills of writers; beside every fifth a kill of a migration, beside every eighth of a backup."""
        for cycle in range(cycles):
            if cycle % CYCLES_PER_FILE == 0:
                self._begin_file(cycle // CYCLES_PER_FILE)
            self.kill_writers(cycle)
            if cycle % 5 == 4:
                self.kill_migration(cycle)
            if cycle % 8 == 7:
                self.kill_backup(cycle)

    def _begin_file(self, number: int) -> None:
        for old in self.folder.glob("story.db*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        self.options = {"dbPath": str(self.folder / "story.db"), **self.settings[number % len(self.settings)]}
        self.models = {writer: Model(writer) for writer in ("a", "b")}
        self.done = dict.fromkeys(self.models, 0)
        self.versions: dict[tuple[str, str], int] = {}

    def kill_writers(self, cycle: int) -> None:
        """One cycle: one writer or two, killed; then judge the file."""
        writers = ["a", "b"] if self.rng.random() < self.two_writers else ["a"]
        children = {writer: self._start(writer) for writer in writers}
        acknowledged = dict(self.done)
        try:
            if self.rng.random() < 0.15:
                _spin(self.rng.uniform(0, 0.015))  # perhaps before it has opened the file
            else:
                self._listen(children["a"], acknowledged, "a", self.rng.randint(1, 40))
                _spin(self.rng.uniform(0, 0.003))
            children["a"].kill()
            if "b" in children:
                self._drain(children["a"], acknowledged, "a")
                self._listen(children["b"], acknowledged, "b", 8)
                children["b"].kill()
                self.seen["survivors"] += 1
            for writer, child in children.items():
                self._drain(child, acknowledged, writer)
        finally:
            for child in children.values():
                child.kill()
                child.end()
        self.seen["kills"] += 1
        self._judge(cycle, acknowledged)

    def _start(self, writer: str) -> Child:
        return self.server.start(
            self.function,
            options=self.options,
            seed=self.seed,
            writer=writer,
            first=self.done[writer],
            backend=self.backend,
        )

    def _listen(self, child: Child, acknowledged: dict[str, int], writer: str, count: int) -> None:
        for _ in range(count):
            self._take(child.line(), acknowledged, writer)

    def _drain(self, child: Child, acknowledged: dict[str, int], writer: str) -> None:
        for line in child.lines():
            self._take(line, acknowledged, writer)

    def _take(self, line: Any, acknowledged: dict[str, int], writer: str) -> None:
        if line is None:
            raise Violation(f"the writer died by itself (seed {self.seed})")
        number, versions = line
        acknowledged[writer] = number + 1
        for namespace, key, version in versions:
            if version <= self.versions.get((namespace, key), 0):
                raise Violation(f"{namespace}/{key} got version {version} after a later one (seed {self.seed})")
            self.versions[namespace, key] = version

    def _judge(self, cycle: int, acknowledged: dict[str, int]) -> None:
        where = f"seed {self.seed}, cycle {cycle}, {self.options}"
        with closing(find_backend(self.backend)(**self.options)) as storage:
            for writer, model in self.models.items():
                for number in range(self.done[writer], acknowledged[writer]):
                    self._advance(model, writer, number)
                self.done[writer] = acknowledged[writer]
                found = Model.read(storage, writer)
                differences = model.differences(found)
                if differences:
                    in_flight = model.copy()
                    self._advance(in_flight, writer, acknowledged[writer])
                    if in_flight.differences(found):
                        raise Violation(f"{where}: {'; '.join(differences)}")
                    self.models[writer] = in_flight
                    self.done[writer] += 1
                    self.seen["in flight, yet committed"] += 1
                self._judge_versions(storage, f"{writer}/tracked", where)
            report = storage.check()
            if not report.ok:
                raise Violation(f"{where}: check() says {report.problems}")

    def _advance(self, model: Model, writer: str, number: int) -> None:
        taken = step(self.seed, writer, number)
        taken.expect(model)
        self.seen[f"step {taken.name}"] += 1

    def _judge_versions(self, storage: StorageBackend, namespace: str, where: str) -> None:
        last = {change.key: change for change in read_changes(storage, namespace)}
        for entry in storage.scan(namespace=namespace):
            change = last[entry.key]
            if (change.operation, change.version) != ("set", entry.version):
                raise Violation(f"{where}: {namespace}/{entry.key} has version {entry.version}, logged is {change}")
            if entry.version < self.versions.get((namespace, entry.key), 0):
                raise Violation(f"{where}: the version of {namespace}/{entry.key} fell")

    def kill_migration(self, cycle: int) -> None:
        """Kill the first opening of a file of the original; it must open later with every entry."""
        template = self.folder / "plan.db"
        if not template.exists():
            self.plan = make_plan_file(template, PLAN_ENTRIES)
        path = self.folder / "adopted.db"
        for old in self.folder.glob("adopted.db*"):
            old.unlink()
        shutil.copyfile(template, path)
        with self.server.start("kill_campaign:migrate", path=str(path)) as child:
            child.line()
            _spin(self.rng.uniform(0, 0.05))
            child.kill()
            self.seen["migrations finished" if child.lines() else "migrations killed"] += 1
        where = f"seed {self.seed}, migration in cycle {cycle}"
        with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
            held = {
                entry.key: (entry.value, entry.metadata, entry.created_at, entry.updated_at)
                for entry in storage.scan(namespace="old")
            }
            if held != self.plan:
                raise Violation(f"{where}: entries differ from the original file's")
            report = storage.check()
            if not report.ok:
                raise Violation(f"{where}: check() says {report.problems}")

    def kill_backup(self, cycle: int) -> None:
        """Kill a process that backs up: the target is absent, or a whole and consistent database."""
        path, target = self.folder / "source.db", self.folder / "copy" / "backup.db"
        target.parent.mkdir(exist_ok=True)
        if not path.exists():
            with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
                storage.set_many({f"fill{n:05}": "z" * 300 for n in range(2000)}, namespace="fill")
                storage.set_many([("left", 0), ("right", 0)], namespace="pair")
        with self.server.start("kill_campaign:back_up", path=str(path), target=str(target)) as child:
            child.line()
            for _ in range(self.rng.choice([0, 0, 1])):
                child.line()
            _spin(self.rng.uniform(0, 0.03))
            child.kill()
            child.lines()
        where = f"seed {self.seed}, backup in cycle {cycle}"
        self._judge_backup(path, f"{where}, source")
        if target.exists():
            self.seen["backups found whole"] += 1
            self._judge_backup(target, f"{where}, target")
        self.seen["backups killed"] += 1
        self.seen["files left beside a killed backup"] += sum(1 for each in target.parent.iterdir() if each != target)
        shutil.rmtree(target.parent)

    def _judge_backup(self, path: Path, where: str) -> None:
        with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
            pair = storage.get_many(["left", "right"], namespace="pair")
            if len(pair) != 2 or pair["left"] != pair["right"]:
                raise Violation(f"{where}: torn pair {pair}")
            if storage.count(namespace="fill") != 2000:
                raise Violation(f"{where}: entries are missing")
            report = storage.check()
            if not report.ok:
                raise Violation(f"{where}: check() says {report.problems}")


def _spin(seconds: float) -> None:
    """Wait without handing the processor back, for waits shorter than the scheduler can sleep."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def run_campaign(cycles: int, seed: int, folder: Path, kind: type[Campaign] = Campaign) -> Counter[str]:
    """Run it; what was met. Raises Violation."""
    with ForkServer() as server:
        campaign = kind(seed, folder, server)
        campaign.run(cycles)
    return campaign.seen


def _report(seen: Counter[str]) -> Iterator[str]:
    for name, count in sorted(seen.items()):
        yield f"{count:8} {name}"


def main(kind: type[Campaign] = Campaign) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kill writers at random points and check what they leave.")
    parser.add_argument("--cycles", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=None, help="default: from the clock")
    parser.add_argument("--folder", type=Path, default=None, help="where to keep the files; default: a temporary one")
    arguments = parser.parse_args()
    seed = time.time_ns() % 2**32 if arguments.seed is None else arguments.seed
    print(f"seed {seed}, {arguments.cycles} cycles", flush=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            seen = run_campaign(arguments.cycles, seed, folder, kind)
        except Violation as violation:
            sys.exit(f"VIOLATION: {violation}")
    print("\n".join(_report(seen)))
    print(f"nothing lost, nothing torn, in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
