"""Vector indexes under kills and beside other processes.

``KILL_CYCLES`` and ``KILL_SEED`` in the environment change length and seed of the campaign.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend

from . import story
from .forkserver import ForkServer
from .kill_campaign import run_campaign
from .vector_children import INDEX, VectorCampaign, found_otherwise

CYCLES = int(os.environ.get("KILL_CYCLES", "20"))
SEED = int(os.environ.get("KILL_SEED", 20_261_121))


@pytest.fixture(autouse=True)
def _story_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The campaign gives the story other values; other tests get its own again."""
    with monkeypatch.context() as patch:
        for name in ("_value", "_of_number", "_number_in"):
            patch.setattr(story, name, getattr(story, name))
        yield


def test_after_a_kill_searches_find_what_the_entries_say(tmp_path: Path) -> None:
    print(f"seed {SEED}")  # shown when it fails; every message has it too
    seen = run_campaign(CYCLES, SEED, tmp_path, VectorCampaign)
    assert seen["kills"] == CYCLES
    assert seen["namespaces searched"] >= CYCLES


def test_two_processes_write_one_namespace_and_none_reads_what_is_past(tmp_path: Path, server: ForkServer) -> None:
    path = str(tmp_path / "shared.db")
    with closing(SQLiteStorageBackend({"dbPath": path, "vectors_compared": 0})) as storage:
        storage.create_index("v", INDEX)
        children = [server.start("vector_children:write_beside", path=path, seed=SEED + n, steps=60) for n in range(2)]
        for child in children:
            assert child.line() == "open"
        for child in children:
            child.tell("go")
        rounds = 0
        while not all(child.ready() for child in children):
            with storage.transaction(read_only=True) as snapshot:
                assert found_otherwise(snapshot, "v", SEED + rounds) is None
            rounds += 1
        assert rounds
        assert [child.lines() for child in children] == [[{"stale": 0}], [{"stale": 0}]]
        assert [child.end() for child in children] == [0, 0]
        assert found_otherwise(storage, "v", SEED) is None
        assert storage.check().problems == []
