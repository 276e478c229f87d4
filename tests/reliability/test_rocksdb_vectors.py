"""Vector indexes on RocksDB under kills. ``KILL_CYCLES`` and ``KILL_SEED`` change length and seed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import story
from .kill_campaign import run_campaign
from .rocksdb_vector_kills import RocksDBVectorCampaign

CYCLES = int(os.environ.get("KILL_CYCLES", "12"))
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
    seen = run_campaign(CYCLES, SEED, tmp_path, RocksDBVectorCampaign)
    print(dict(seen))
    assert seen["kills"] == CYCLES
    assert seen["namespaces searched"] >= CYCLES
    # The campaign would prove nothing if no codes were there, or none were being saved when the kill came.
    assert seen["codes found whole"] >= CYCLES // 2
