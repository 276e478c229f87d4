"""Text indexes under kills, beside other processes and on a full disk.

``KILL_CYCLES`` and ``KILL_SEED`` in the environment change length and seed of the campaigns.
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
from .text_children import INDEX, RocksDBTextCampaign, TextCampaign, ranked_otherwise

CYCLES = int(os.environ.get("KILL_CYCLES", "15"))
SEED = int(os.environ.get("KILL_SEED", 20_261_121))


@pytest.fixture(autouse=True)
def _story_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The campaigns give the story other values; other tests get its own again."""
    with monkeypatch.context() as patch:
        patch.setattr(story, "_value", story._value)
        yield


@pytest.mark.parametrize("kind", [TextCampaign, RocksDBTextCampaign], ids=["sqlite", "rocksdb"])
def test_after_a_kill_the_index_says_what_the_entries_say(tmp_path: Path, kind: type[TextCampaign]) -> None:
    print(f"seed {SEED}")  # shown when it fails; every message has it too
    seen = run_campaign(CYCLES, SEED, tmp_path, kind)
    assert seen["kills"] == CYCLES
    assert seen["namespaces searched"] >= CYCLES


def test_two_processes_write_one_namespace(tmp_path: Path, server: ForkServer) -> None:
    path = str(tmp_path / "shared.db")
    with closing(SQLiteStorageBackend({"dbPath": path})) as storage:
        storage.create_index("t", INDEX)
        children = [server.start("text_children:write_beside", path=path, seed=SEED + n, steps=60) for n in range(2)]
        for child in children:
            assert child.line() == "open"
        for child in children:
            child.tell("go")
        rounds = 0
        while not all(child.ready() for child in children):
            assert ranked_in_a_snapshot(storage) is None
            rounds += 1
        assert rounds
        assert [child.lines() for child in children] == [["done"], ["done"]]
        assert [child.end() for child in children] == [0, 0]
        assert ranked_otherwise(storage, "t") is None
        assert storage.check().problems == []


def ranked_in_a_snapshot(storage: SQLiteStorageBackend) -> str | None:
    """What :func:`ranked_otherwise` says of one moment."""
    with storage.transaction(read_only=True) as snapshot:
        return ranked_otherwise(snapshot, "t")


@pytest.mark.parametrize("room", [0, 30_000, 150_000])
def test_a_full_disk_leaves_the_index_right(tmp_path: Path, server: ForkServer, room: int) -> None:
    (found,) = server.run("text_children:fill_up", path=str(tmp_path / "s.db"), room=room)
    assert "StorageFull" in found["failed"]
    assert found["full"] == [None, []]
    assert found["later"] == [None, []]
