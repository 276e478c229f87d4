"""The life of a store: transactions, several agents, closing, logging, readiness, tenants; on every backend."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidInput, SchemaTooNew, StorageClosed, StorageError
from mycelia_storage.layers.agents import AgentStore, UnknownRecord, as_uuid
from mycelia_storage.layers.agents.logging import logged_store
from mycelia_storage.layers.agents.store import health_check
from mycelia_storage.observing import logged

from .people import ADA, AGENT, BOB, DAY, HALL, NOBODY, OTHER_AGENT, ROOM, World


def test_a_transaction_is_all_or_nothing(world: World) -> None:
    store = world.store

    def write_and_fail(inside: AgentStore) -> None:
        inside.create_memory({"roomId": HALL, "content": {"text": "lost"}, "embedding": [1, 0, 0, 0]}, "messages")
        inside.create_entities([{"id": NOBODY, "names": ["lost"]}])
        assert [each.text for each in inside.get_memories("messages", room_id=HALL)] == ["lost"]
        assert len(inside.search_memories([1, 0, 0, 0], "messages")) == 1
        raise RuntimeError

    with pytest.raises(RuntimeError), store.transaction() as bound:
        write_and_fail(bound)
    assert world.texts() == []
    assert store.get_entity_by_id(NOBODY) is None
    with store.transaction() as outer:
        outer.create_memory({"roomId": HALL, "content": {"text": "kept"}}, "messages")
        with pytest.raises(UnknownRecord), outer.transaction() as inner:
            world.say_two(inner, HALL, NOBODY)
        assert world.texts() == [], "nobody else sees it yet"
    assert world.texts() == ["kept"]
    world.say("with a vector", embedding=[1, 0, 0, 0])
    assert [each.text for each in store.search_memories([1, 0, 0, 0], "messages")] == ["with a vector"]


def test_run_transaction_and_another_agents_scope(world: World, open_store: Callable[..., AgentStore]) -> None:
    store = world.store

    def move(inside: AgentStore, text: str) -> int:
        inside.delete_all_memories(HALL, "messages")
        inside.create_memory({"roomId": ROOM, "content": {"text": text}}, "messages")
        return inside.count_memories(ROOM, False, "messages")

    world.say("old")
    assert store.run_transaction(move, "new") == 1
    assert world.texts() == []

    def restore(inside: AgentStore) -> None:
        inside.ensure_agent_exists({"id": OTHER_AGENT, "name": "Other"})
        inside.create_memory({"entityId": OTHER_AGENT, "roomId": HALL, "content": {"text": "restored"}}, "messages")

    def fails(inside: AgentStore) -> None:
        inside.create_agent({"id": BOB, "name": "never"})
        raise RuntimeError

    store.with_agent_scope(OTHER_AGENT, restore)
    with pytest.raises(RuntimeError):
        store.with_agent_scope(BOB, fails)
    assert store.get_agent(BOB) is None
    assert store.agent_id == AGENT
    assert [each.text for each in open_store(OTHER_AGENT).get_memories("messages")] == ["restored"]


def test_a_store_on_a_transaction_is_part_of_it(storage: StorageBackend) -> None:
    with storage.transaction() as tx:
        store = AgentStore(tx, AGENT)
        store.initialize()
        store.ensure_connection(entity_id=ADA, room_id=HALL)
        store.create_memory({"roomId": HALL, "content": {}, "embedding": [1.0] * 384}, "messages")
        tx.rollback()
    assert storage.list_namespaces(prefix="agents") == []


def test_closing_waits_and_then_turns_away(store: AgentStore, storage: StorageBackend) -> None:
    inside, leave = threading.Event(), threading.Event()
    done: list[str] = []

    def work(bound: AgentStore) -> None:
        bound.set_cache("k", 1)
        inside.set()
        assert leave.wait(30)
        done.append("work")

    def close() -> None:
        store.close()
        done.append("close")

    worker = threading.Thread(target=store.run_transaction, args=(work,))
    worker.start()
    assert inside.wait(30)
    closer = threading.Thread(target=close)
    closer.start()
    while store.is_ready():
        pass
    with pytest.raises(StorageClosed, match="operation rejected"):
        store.get_cache("k")
    leave.set()
    worker.join(30)
    closer.join(30)
    assert done == ["work", "close"]
    store.close()
    assert not store.is_ready()
    assert storage.get_status().healthy, "the storage is somebody else's"
    assert AgentStore(storage, AGENT).get_cache("k") == 1
    for call in (store.initialize, store.get_agents, store.count_agents, lambda: store.get_memories("m")):
        with pytest.raises(StorageClosed):
            call()


def test_a_store_that_owns_its_storage_closes_it(storage: StorageBackend) -> None:
    with AgentStore(storage, AGENT, owns_storage=True) as store:
        assert health_check(store)
    assert not health_check(store)
    with pytest.raises(StorageClosed):
        storage.get("k")
    assert not AgentStore(storage, AGENT).is_ready(), "false, never an error"


def test_a_newer_layout_is_left_alone(storage: StorageBackend) -> None:
    AgentStore(storage, AGENT).initialize()
    AgentStore(storage, AGENT).init()
    storage.create_namespace("agents", metadata={"agents_layout": 99}, exist_ok=True)
    with pytest.raises(SchemaTooNew):
        AgentStore(storage, AGENT).initialize()


def test_bad_options_are_refused(storage: StorageBackend) -> None:
    for options in ({"embedding_dimension": 5}, {"tenant": ""}, {"namespace": ""}):
        with pytest.raises(InvalidInput):
            AgentStore(storage, AGENT, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        AgentStore(storage, "agent")
    assert AgentStore(storage, AGENT.upper()).agent_id == as_uuid(AGENT)


def test_tenants_reach_nothing_of_each_other(open_store: Callable[..., AgentStore]) -> None:
    acme, blue, plain = (open_store(tenant=tenant) for tenant in ("acme", "acme/blue", None))
    for store, name in ((acme, "acme"), (blue, "blue")):
        World(store).say(name, id=NOBODY, embedding=[1, 0, 0, 0])
        store.set_cache("k", name)
        store.create_task({"name": name, "tags": ["queue"]})
        store.log(body={"n": name}, entity_id=ADA, room_id=HALL, type="x")
    for store, name in ((acme, "acme"), (blue, "blue")):
        assert [each.text for each in store.get_memories("messages")] == [name]
        assert [each.text for each in store.search_memories([1, 0, 0, 0], "messages")] == [name]
        assert store.get_memory_by_id(NOBODY).text == name  # type: ignore[union-attr]
        assert store.get_cache("k") == name
        assert [task.name for task in store.get_tasks(tags=["queue"])] == [name]
        assert [log.body["n"] for log in store.get_logs()] == [name]
    assert plain.get_agents() == []
    assert plain.get_memory_by_id(NOBODY) is None
    assert plain.get_rooms_by_ids([HALL]) == []
    assert blue.delete_agent(AGENT)
    assert [each.text for each in acme.get_memories("messages")] == ["acme"]
    assert acme.count_agents() == 1


def test_calls_are_logged_without_values(world: World, caplog: pytest.LogCaptureFixture) -> None:
    store = logged_store(world.store)
    assert logged_store(store) is store
    with caplog.at_level(logging.DEBUG, "mycelia_storage.agents"):
        store.create_memory({"roomId": HALL, "content": {"text": "secret"}, "createdAt": DAY}, "messages")
        assert len(store.get_memories("messages", room_id=HALL)) == 1
        with pytest.raises(InvalidInput):
            store.get_memories("")
        assert store.agent_id == AGENT
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in lines] == ["create_memory", "get_memories", "get_memories"]
    assert lines[1].endswith("ok rows=1")
    assert lines[2].endswith("InvalidInput")
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG", "WARNING"]
    assert "secret" not in caplog.text


def test_a_store_on_an_observed_storage(storage: StorageBackend, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "mycelia_storage.operations"):
        store = AgentStore(logged(storage), AGENT, dimensions=(4,), embedding_dimension=4)
        World(store).say("secret", embedding=[1, 0, 0, 0])
        assert store.is_ready()
    assert "run_transaction" in caplog.text
    assert "secret" not in caplog.text


def test_many_threads_write_at_once(world: World) -> None:
    store = world.store
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(6):
                store.create_memory(
                    {
                        "entityId": ADA,
                        "roomId": HALL,
                        "content": {"text": f"{thread}-{number}"},
                        "embedding": [1, thread, number, 0],
                    },
                    "messages",
                )
                store.create_memory({"id": NOBODY, "roomId": HALL, "content": {"text": "same"}}, "facts")
                store.add_participant(BOB, ROOM)
                store.create_relationship({"sourceEntityId": ADA, "targetEntityId": BOB})
        except StorageError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert store.count_memories(HALL, False, "messages") == 24
    assert store.count_memories(HALL, False, "facts") == 1
    assert len(store.search_memories([1, 1, 1, 0], "messages", limit=100)) == 24
    assert len(store.get_relationships(ADA)) == 1
    assert store.get_participants_for_room(ROOM) == sorted([ADA, BOB])
