"""200 kills of a writing process (the long form: ``python -m tests.reliability.kill_campaign``).

``KILL_CYCLES`` and ``KILL_SEED`` in the environment change length and seed.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.errors import InvalidInput

from .forkserver import ForkServer
from .kill_campaign import run_campaign

CYCLES = int(os.environ.get("KILL_CYCLES", "200"))
SEED = int(os.environ.get("KILL_SEED", 20_261_121))


def test_a_killed_writer_loses_nothing_acknowledged_and_tears_nothing(tmp_path: Path) -> None:
    print(f"seed {SEED}")  # shown when it fails; every message has it too
    seen = run_campaign(CYCLES, SEED, tmp_path)
    assert seen["kills"] == CYCLES
    # The campaign would prove nothing if the kills came at harmless moments or the steps were few.
    assert seen["step pair"] + seen["step counter"] >= CYCLES
    if CYCLES >= 100:
        assert seen["migrations killed"] > 0
        assert seen["backups killed"] > 0
        assert seen["survivors"] > 0


def test_what_a_killed_backup_leaves_does_not_stop_the_next(tmp_path: Path, server: ForkServer) -> None:
    """In a container process ids repeat, so a leftover named after one must not be taken for a backup at work."""
    path, target = tmp_path / "source.db", tmp_path / "backup.db"
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        storage.set_many({f"k{n}": "x" * 1000 for n in range(2000)})
    with server.start("kill_campaign:back_up_and_die", path=str(path), target=str(target)) as child:
        assert child.line() == "half way"
        child.lines()
        left = [file for file in tmp_path.iterdir() if file not in (path, target)]
        dead = str(child.pid)
    assert not target.exists()
    for file in left:  # as if this process had the dead one's id
        file.rename(file.with_name(file.name.replace(dead, str(os.getpid()))))
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        storage.backup(target)
        with pytest.raises(InvalidInput):
            storage.backup(target)
    with closing(SQLiteStorageBackend({"dbPath": str(target)})) as copy:
        assert copy.count() == 2000
