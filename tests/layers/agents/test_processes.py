"""Two processes write the same things at the same moment: a SQLite file, and a PostgreSQL server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mycelia_storage import open_storage
from mycelia_storage.layers.agents import AgentStore

from .people import ADA, AGENT, BOB, HALL, NOBODY, ROOM

ROOT = Path(__file__).resolve().parents[3]

WORK = f"""
import sys
from mycelia_storage import open_storage
from mycelia_storage.layers.agents import ABSENT, AgentStore, create_unique_uuid

with open_storage(sys.argv[1]) as storage:
    store = AgentStore(storage, "{AGENT}", embedding_dimension=4, dimensions=(4,))
    store.initialize()
    print("ready", flush=True)
    sys.stdin.readline()
    won = 0
    for number in range(6):
        store.ensure_connection(entity_id="{ADA}", room_id="{HALL}", name="Ada")
        store.create_entities([{{"id": "{BOB}", "names": [sys.argv[2]]}}])
        store.create_rooms([{{"id": "{ROOM}", "name": sys.argv[2], "source": "x", "type": "DM"}}])
        store.add_participant("{BOB}", "{ROOM}")
        same = create_unique_uuid("{AGENT}", number)
        content = {{"text": sys.argv[2]}}
        assert store.create_memory({{"id": same, "roomId": "{HALL}", "content": content}}, "facts") == same
        store.create_memory({{"roomId": "{HALL}", "content": content, "embedding": [1, number, 0, 0]}}, "messages")
        won += store.create_relationship({{"sourceEntityId": "{ADA}", "targetEntityId": "{BOB}"}})
        won += store.create_component({{"entityId": "{ADA}", "type": "wallet", "data": {{}}}})
        won += store.create_agent({{"id": "{NOBODY}", "name": sys.argv[2]}})
        won += store.compare_and_set_cache(f"race {{number}}", ABSENT, sys.argv[2])
        store.update_cache("count", lambda count: count + 1, 0)
    print(won, flush=True)
"""


def check(url: str) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, url, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for name in ("one", "two")
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    won = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sum(won) == 3 + 6, "of each pair one was told that it was first"
    with open_storage(url) as storage:
        store = AgentStore(storage, AGENT, embedding_dimension=4, dimensions=(4,))
        assert store.count_memories(HALL, False, "facts") == 6
        assert store.count_memories(HALL, False, "messages") == 12
        assert len(store.search_memories([1, 0, 0, 0], "messages", limit=100)) == 12
        assert store.get_participants_for_room(HALL) == sorted([ADA, AGENT])
        assert store.get_participants_for_room(ROOM) == [BOB]
        assert store.get_entities_by_ids([ADA])[0].names == ["Ada"]
        assert len(store.get_relationships(ADA)) == len(store.get_components(ADA)) == store.count_agents() == 1
        assert store.get_cache("count") == 12
        assert storage.check().ok


def test_on_a_sqlite_file(tmp_path: Path) -> None:
    check(str(tmp_path / "agents.db"))


def test_on_postgresql(request: pytest.FixtureRequest) -> None:
    check(request.getfixturevalue("postgres_place"))
