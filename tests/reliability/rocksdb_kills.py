"""The kill campaign on RocksDB: one writer at a time, and checkpoints killed instead of migrations and backups.

A SIGKILL spares the system's page cache, so NORMAL, which does not sync its log, must lose nothing either.

    python -m tests.reliability.rocksdb_kills --cycles 5000 --seed 7
"""

from __future__ import annotations

import shutil
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from mycelia_storage.backends.rocksdb import RocksDBStorageBackend

from .forkserver import Talk
from .kill_campaign import CYCLES_PER_FILE, Campaign, Violation, _spin, main


def write_checkpoints(talk: Talk, path: str, targets: str) -> None:
    """Make checkpoint after checkpoint while another thread writes pairs, until killed."""
    storage = RocksDBStorageBackend(path)

    def write() -> None:
        number = 0
        while True:
            number += 1
            storage.set_many([("left", number), ("right", number)], namespace="pair")

    threading.Thread(target=write, daemon=True).start()
    talk.say("at work")
    number = 0
    while True:
        storage.checkpoint(f"{targets}/{number}")
        talk.say(number)
        number += 1


class RocksDBCampaign(Campaign):
    """Kills of a writer; beside every eighth a kill while checkpoints are made."""

    backend = "rocksdb"
    settings: list[dict[str, Any]] = [{"synchronous": "NORMAL"}, {"synchronous": "FULL"}]  # noqa: RUF012
    two_writers = 0.0

    def run(self, cycles: int) -> None:
        for cycle in range(cycles):
            if cycle % CYCLES_PER_FILE == 0:
                self._begin_file(cycle // CYCLES_PER_FILE)
            self.kill_writers(cycle)
            if cycle % 8 == 7:
                self.kill_checkpoints(cycle)

    def kill_checkpoints(self, cycle: int) -> None:
        """Each checkpoint that was finished is a whole storage, and so is the source."""
        path, targets = self.folder / "source", self.folder / "checkpoints"
        targets.mkdir()
        where = f"seed {self.seed}, checkpoints in cycle {cycle}"
        with self.server.start("rocksdb_kills:write_checkpoints", path=str(path), targets=str(targets)) as child:
            child.line()
            child.line()
            _spin(self.rng.uniform(0, 0.03))
            child.kill()
            child.lines()
        self._judge_pair(path, f"{where}, source")
        whole = [target for target in targets.iterdir() if not target.name.startswith(".")]
        if not whole:
            raise Violation(f"{where}: the finished checkpoint is gone")
        for target in whole:
            self._judge_pair(target, f"{where}, checkpoint {target.name}")
        self.seen["checkpoints found whole"] += len(whole)
        self.seen["checkpoints killed"] += 1
        shutil.rmtree(targets)

    def _judge_pair(self, path: Path, where: str) -> None:
        with closing(RocksDBStorageBackend(path)) as storage:
            pair = storage.get_many(["left", "right"], namespace="pair")
            if pair.get("left") != pair.get("right"):
                raise Violation(f"{where}: torn pair {pair}")
            report = storage.check()
            if not report.ok:
                raise Violation(f"{where}: check() says {report.problems}")


if __name__ == "__main__":
    main(RocksDBCampaign)
