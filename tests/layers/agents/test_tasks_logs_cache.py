"""Tasks, logs and the cache, on every backend."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidInput, InvalidValue
from mycelia_storage.layers.agents import ABSENT, AgentStore, DuplicateRecord, UnknownRecord
from mycelia_storage.testing.fixtures import eventually

from .people import ADA, BOB, DAY, HALL, NOBODY, OTHER_AGENT, ROOM, WORLD, World


def test_tasks_are_found_by_all_their_tags(store: AgentStore, open_store: Callable[..., AgentStore]) -> None:
    first = store.create_task({"name": "feed", "tags": ["queue", "repeat"], "entityId": ADA, "createdAt": DAY})
    second = store.create_task(
        {"name": "feed", "tags": ["queue"], "roomId": HALL, "worldId": WORLD, "createdAt": DAY + 1}
    )
    store.create_task({"name": "other", "createdAt": DAY - 1})
    open_store(OTHER_AGENT).create_task({"name": "feed", "tags": ["queue"]})

    def ids(**options: Any) -> list[str]:
        return [str(task.id) for task in store.get_tasks(**options)]

    assert ids(tags=["queue"]) == [first, second]
    assert ids(tags=["queue", "repeat"]) == [first]
    assert ids(tags=["queue", "nothing"]) == []
    assert len(ids()) == len(ids(tags=[])) == 3
    assert ids(room_id=HALL) == ids(world_id=WORLD) == [second]
    assert ids(entity_id=ADA) == [first]
    assert ids(tags=["queue"], limit=1, offset=1) == [second]
    assert ids(agent_ids=[]) == []
    assert len(ids(agent_ids=[OTHER_AGENT])) == 1
    assert [task.id for task in store.get_tasks_by_name("feed")] == [first, second]
    assert store.get_tasks_by_name("fee") == []
    with pytest.raises(InvalidInput):
        ids(limit=-1)
    with pytest.raises(DuplicateRecord):
        store.create_task({"id": first, "name": "again"})
    other = open_store(OTHER_AGENT)
    assert other.get_task(first) is None
    assert not other.update_task(first, {"name": "stolen"})
    assert not other.delete_task(first)
    assert store.delete_task(first)
    assert not store.delete_task(first)
    assert ids(tags=["repeat"]) == []


def test_a_task_changes_field_by_field(store: AgentStore) -> None:
    id = store.create_task({"name": "n", "tags": ["a"], "metadata": {"x": 1, "updateInterval": 5}, "updatedAt": DAY})
    assert store.update_task(id, {"tags": ["b"], "metadata": {"y": 2}})
    task = store.get_task(id)
    assert task is not None
    assert (task.name, task.tags, task.metadata, task.description) == ("n", ["b"], {"y": 2}, "")
    assert task.updated_at is not None
    assert task.updated_at > DAY
    assert store.get_tasks(tags=["a"]) == []
    assert store.update_task(id, {"dueAt": DAY})
    assert store.update_task(id, {"metadata": {"z": 3}})
    task = store.get_task(id)
    assert task is not None
    assert (task.due_at, task.metadata) == (DAY, {"z": 3, "scheduledAt": "2023-11-14T22:13:20.000Z"})
    assert store.update_task(id, {"dueAt": None, "metadata": {"w": 4}})
    task = store.get_task(id)
    assert task is not None
    assert (task.due_at, task.metadata) == (None, {"w": 4})
    assert store.update_tasks([{"id": id, "task": {"roomId": HALL}}, {"id": NOBODY, "task": {}}]) == [True, False]
    for bad in ({"dueAt": 2**63}, {"dueAt": float("nan")}, {"dueAt": 1_700_000_000}, {"agentId": BOB}, {"tags": "a"}):
        with pytest.raises(InvalidInput):
            store.update_task(id, bad)
    with pytest.raises(InvalidValue, match="ISO-8601"):
        store.create_task({"name": "n", "metadata": {"scheduledAt": "tomorrow"}})
    written = store.create_task({"name": "n", "metadata": {"scheduledAt": "2023-11-14T22:13:20.5Z"}})
    assert store.get_task(written).due_at == DAY + 500  # type: ignore[union-attr]


def test_one_of_many_takes_a_pending_task_on(store: AgentStore) -> None:
    id = store.create_task({"name": "n", "status": "PENDING"})
    with ThreadPoolExecutor(8) as pool:
        took = list(
            pool.map(
                lambda n: store.update_pending_task(id, {"status": "IN_PROGRESS", "description": str(n)}), range(8)
            )
        )
    assert took.count(True) == 1
    task = store.get_task(id)
    assert task is not None
    assert task.description == str(took.index(True))


def test_logs_come_newest_first(world: World) -> None:
    store = world.store
    for number in range(15):
        entity, room = (ADA, BOB)[number % 2], (HALL, ROOM)[number % 3 == 0]
        kind = f"useModel:{number}" if number > 9 else "action"
        store.create_logs(
            [{"body": {"n": number}, "entityId": entity, "roomId": room, "type": kind, "createdAt": DAY + number}]
        )

    def numbers(**options: Any) -> list[int]:
        return [log.body["n"] for log in store.get_logs(**options)]

    assert numbers() == list(range(14, 4, -1)), "ten unless told otherwise"
    assert numbers(limit=3) == numbers(count=3) == [14, 13, 12]
    assert numbers(limit=2, offset=3) == [11, 10]
    assert numbers(entity_id=ADA, limit=3) == [14, 12, 10]
    assert numbers(room_id=ROOM, limit=100) == [12, 9, 6, 3, 0]
    assert numbers(room_id=ROOM, entity_id=ADA) == [12, 6, 0]
    assert numbers(type="action", limit=2) == [9, 8]
    assert numbers(limit=0) == numbers(entity_id=NOBODY) == []
    body = {"path": r"C:\new \d+", "nul": "a\0b", "deep": [{"x": float("nan")}]}
    id = store.log(body=body, entity_id=ADA, room_id=HALL, type="x")
    assert store.get_logs_by_ids([id])[0].body == {"path": r"C:\new \d+", "nul": "ab", "deep": [{"x": None}]}
    assert store.update_logs([{"id": id, "updates": {"type": "y"}}, {"id": NOBODY, "updates": {}}]) == [True, False]
    assert store.get_logs(type="y")[0].id == id
    with pytest.raises(InvalidInput):
        store.update_logs([{"id": id, "updates": {"roomId": ROOM}}])
    assert store.delete_log(id)
    assert not store.delete_log(id)
    for wrong in ({"entity_id": NOBODY}, {"room_id": NOBODY}):
        with pytest.raises(UnknownRecord):
            store.log(**{"body": {}, "entity_id": ADA, "room_id": HALL, "type": "x", **wrong})  # type: ignore[arg-type]


def test_logs_are_pruned(world: World, open_store: Callable[..., AgentStore], storage: StorageBackend) -> None:
    store = world.store
    rows = [{"body": {"n": n}, "entityId": ADA, "roomId": HALL, "type": "x", "createdAt": DAY + n} for n in range(30)]
    store.create_logs(rows)
    assert store.prune_logs(keep=20) == 10
    assert store.prune_logs(keep=20) == 0
    assert store.prune_logs(before=DAY + 15) == 5
    assert [log.body["n"] for log in store.get_logs(entity_id=ADA, limit=100)] == list(range(29, 14, -1))
    bounded = open_store(log_retention=5)
    bounded.create_logs([rows[0]])
    assert len(bounded.get_logs(limit=100)) == 5, "the first write of a store looks at once"
    brief = open_store(log_retention_age=0.05)
    brief.log(body={}, entity_id=ADA, room_id=ROOM, type="brief")
    eventually(lambda: store.get_logs(room_id=ROOM) == [])
    store.prune_logs(keep=0)
    eventually(lambda: storage.list(namespace="agents/logs") == [])


def test_runs_are_told_from_logs(world: World) -> None:
    store = world.store
    events = [
        ("run_event", {"runId": "a", "status": "started", "messageId": "m"}),
        ("action", {"runId": "a"}),
        ("useModel:small", {"runId": "a"}),
        ("run_event", {"runId": "b", "status": "started"}),
        ("run_event", {"runId": "a", "status": "completed"}),
        ("action", {"runId": "stray"}),
        ("action", {}),
    ]
    store.create_logs(
        [
            {"body": body, "entityId": ADA, "roomId": HALL, "type": kind, "createdAt": DAY + number}
            for number, (kind, body) in enumerate(events)
        ]
    )
    found = store.get_agent_run_summaries(room_id=HALL)
    assert [(run["runId"], run["status"], run["startedAt"], run["endedAt"]) for run in found.runs] == [
        ("b", "started", DAY + 3, None),
        ("a", "completed", DAY, DAY + 4),
    ]
    assert found.runs[1]["counts"] == {"actions": 1, "evaluators": 0, "modelCalls": 1, "embeddings": 0, "errors": 0}
    assert (found.total, found.has_more) == (2, False)
    assert [run["runId"] for run in store.get_agent_run_summaries(status="completed", limit=1).runs] == ["a"]


def test_the_cache_is_the_agents_own(store: AgentStore, open_store: Callable[..., AgentStore]) -> None:
    other = open_store(OTHER_AGENT)
    values = {
        "null": None,
        "list": [1, {"a": None}],
        "text": "x",
        "no": False,
        "key\0 with nul": 1,
        "k" * 3_000: "long",
    }
    assert store.set_caches(values)
    for key, value in values.items():
        assert store.get_cache(key, "absent") == value
        assert other.get_cache(key, "absent") == "absent"
    assert store.get_caches(["null", "gone", "k" * 3_000]) == {"null": None, "k" * 3_000: "long"}
    assert other.set_cache("text", "theirs")
    assert store.get_cache("text") == "x"
    assert store.delete_cache("text")
    assert store.delete_cache("text"), "as in elizaOS also where there was nothing"
    assert store.get_cache("text", "absent") == "absent"
    assert store.delete_caches(values)
    assert store.get_caches(values) == {}
    assert other.get_cache("text") == "theirs"
    for bad in ("", None, 7):
        with pytest.raises(InvalidInput):
            store.set_cache(bad, 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        store.set_cache("k", 1, ttl=0)


def test_what_is_cached_expires(store: AgentStore) -> None:
    store.set_cache("soon", 1, ttl=0.05)
    store.set_cache("later", 1, expires_at=int(time.time() * 1000) + 60_000)
    store.set_cache("past", 1, expires_at=DAY)
    assert store.get_cache("past") is None
    eventually(lambda: store.get_cache("soon") is None)
    assert not store.compare_and_set_cache("soon", 1, 2)
    assert store.compare_and_set_cache("soon", ABSENT, 3, ttl=60)
    assert store.get_caches(["soon", "later"]) == {"soon": 3, "later": 1}
    store.set_cache("kept", 1, ttl=0.05)
    store.set_cache("kept", 2)
    time.sleep(0.06)
    assert store.get_cache("kept") == 2, "an overwrite without expiry takes the old one away"
    with pytest.raises(InvalidInput):
        store.set_cache("x", 1, expires_at=1_700_000_000)
    with pytest.raises(InvalidInput):
        store.set_cache("x", 1, ttl=1, expires_at=DAY)


def test_compare_and_set(store: AgentStore) -> None:
    swap = store.compare_and_set_cache
    assert not swap("k", None, 1), "nothing is not null"
    assert swap("k", ABSENT, None)
    assert not swap("k", ABSENT, 1)
    assert swap("k", None, {"a": [1, 2.0], "b": 1})
    assert swap("k", {"b": 1.0, "a": [1, 2]}, "next")
    assert not swap("k", {"a": [2, 1]}, "wrong")
    assert store.get_cache("k") == "next"
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: swap("race", ABSENT, n), range(16))).count(True) == 1
        assert list(pool.map(lambda n: swap("k", "next", n), range(16))).count(True) == 1
        list(pool.map(lambda _: store.update_cache("count", lambda n: n + 1, 0), range(40)))
    assert store.get_cache("count") == 40
