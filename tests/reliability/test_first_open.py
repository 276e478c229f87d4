"""Many processes open a new file, or one of the original, at once: each gets a storage, the schema is made once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend

from .forkserver import ForkServer
from .plan_file import make_plan_file

STARTERS = 8
ROUNDS = 5


def _nothing(_: Path) -> int:
    return 0


def _plan(path: Path) -> int:
    return len(make_plan_file(path, 300))


@pytest.mark.parametrize("make", [_nothing, _plan], ids=["a new file", "a file of the original"])
def test_processes_that_open_a_file_at_once(tmp_path: Path, server: ForkServer, make: Callable[[Path], int]) -> None:
    for round_ in range(ROUNDS):
        path = tmp_path / f"storage-{round_}.db"
        old = make(path)
        starters = [server.start("starting:open_and_add", path=str(path), number=number) for number in range(STARTERS)]
        for starter in starters:
            assert starter.line() == "ready"
        for starter in starters:
            starter.tell("go")
        versions = [starter.line() for starter in starters]
        for starter in starters:
            assert starter.lines() == []
            assert starter.end() == 0
        with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
            assert storage.count(namespace="starters") == STARTERS
            assert storage.count(namespace="old") == old
            assert versions == [storage.get_status().schema_version] * STARTERS
            assert storage.check().ok
        with closing(apsw.Connection(str(path))) as connection:
            applied = connection.execute("SELECT version FROM schema_version WHERE component = 'core'").fetchall()
        assert sorted(applied) == [(version,) for version in range(1, versions[0] + 1)]
