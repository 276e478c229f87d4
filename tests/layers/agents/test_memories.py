"""Memories, on every backend: order, filters, counts, updates, deletion and its cascades."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidInput, InvalidValue
from mycelia_storage.layers.agents import AgentStore, Memory, TooLarge, UnknownRecord, string_to_uuid

from .people import ADA, AGENT, BOB, DAY, HALL, NOBODY, OTHER_AGENT, ROOM, WORLD, World


def uuid(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012d}"


def test_a_memory_comes_back_as_it_was_given(world: World) -> None:
    given = {
        "id": NOBODY.upper(),
        "entityId": ADA,
        "roomId": HALL,
        "worldId": WORLD,
        "content": {"text": "nul\0 and half \ud800", "path": r"C:\x", "attachments": [{"url": "u"}], "n": 1.5},
        "metadata": {"type": "message", "deep": {"a": [1, {"b": None}]}},
        "createdAt": DAY,
    }
    before = {**given, "content": dict(given["content"])}  # type: ignore[call-overload]
    assert world.store.create_memory(given, "messages") == NOBODY
    assert given == before, "the caller's object stays as it was"
    found = world.store.get_memory_by_id(NOBODY)
    assert found is not None
    assert found.to_json() == {
        "id": NOBODY,
        "entityId": ADA,
        "agentId": AGENT,
        "roomId": HALL,
        "worldId": WORLD,
        "content": {"text": "nul and half \ufffd", "path": r"C:\x", "attachments": [{"url": "u"}], "n": 1.5},
        "metadata": given["metadata"],
        "createdAt": DAY,
        "unique": True,
        "type": "messages",
    }
    assert Memory.from_json(found.to_json()) == found


def test_creating_with_a_taken_id_changes_nothing(world: World) -> None:
    for text in ("first", "second"):
        assert world.say(text, id=NOBODY) == NOBODY
    assert world.say("third", table="facts", id=NOBODY, roomId=ROOM) == NOBODY
    assert world.texts() == ["first"]
    store = world.store
    memory = {"entityId": ADA, "roomId": HALL, "content": {}}
    ids = store.create_memories(
        [({**memory, "id": ADA}, "facts"), {"memory": {**memory, "id": ADA}, "tableName": "facts"}]
    )
    assert ids == [ADA, ADA]
    assert store.count_memories(HALL, False, "facts") == 1


def test_a_memory_needs_its_room_and_entity(world: World) -> None:
    for wrong in ({"roomId": NOBODY}, {"entityId": NOBODY}):
        with pytest.raises(UnknownRecord):
            world.say("x", **wrong)
    with pytest.raises(UnknownRecord):
        world.store.create_memories(
            [
                ({"entityId": ADA, "roomId": HALL, "content": {}}, "messages"),
                ({"entityId": ADA, "roomId": NOBODY, "content": {}}, "messages"),
            ]
        )
    assert world.texts() == [], "all or none"
    homeless = world.store.create_memory({"content": {"text": "homeless"}}, "facts")
    assert [each.id for each in world.store.get_memories("facts")] == [homeless]
    assert world.store.delete_memory(homeless)


@pytest.mark.parametrize(
    ("memory", "table"),
    [
        ({"content": {}, "metadata": {"type": "fragment", "documentId": NOBODY}}, "fragments"),
        ({"content": {}, "metadata": {"type": "document"}}, "documents"),
        ({"content": {}, "createdAt": DAY // 1000}, "messages"),
        ({"content": {}, "roomId": "hall"}, "messages"),
        ({"content": {}}, ""),
        ({"content": {}}, None),
        ({"content": {}}, "x" * 300),
        ({"content": {}, "embedding": [1.0, float("nan"), 0, 0]}, "messages"),
        ({"content": {}, "embedding": [1.0, 0.0]}, "messages"),
    ],
)
def test_a_bad_memory_is_refused(store: AgentStore, memory: dict[str, Any], table: Any) -> None:
    with pytest.raises(InvalidInput):
        store.create_memory(memory, table)
    assert store.get_connection().list_namespaces(prefix="agents") == []


def test_a_content_of_a_megabyte(world: World) -> None:
    text = 'é\n"\\' * 250_000
    id = world.say(text)
    found = world.store.get_memory_by_id(id)
    assert found is not None
    assert found.text == text
    with pytest.raises(TooLarge):
        world.say("x" * (33 * 2**20))
    assert world.store.count_memories(HALL, False, "messages") == 1


def test_newest_first_and_every_filter(world: World) -> None:
    store = world.store
    rows = []
    random = Random(20_261_121)
    for number in range(60):
        row = {
            "id": uuid(number),
            "entityId": random.choice([ADA, BOB]),
            "roomId": random.choice([HALL, ROOM]),
            "worldId": random.choice([WORLD, NOBODY]),
            "content": {"text": f"Note {number} 50%_\\"},
            "createdAt": random.choice([0, DAY, DAY + random.randrange(20)]),
            "unique": random.random() < 0.7,
            "metadata": {"tags": ["a"] if number % 2 else ["a", "b"], "n": number % 3},
        }
        rows.append((row, random.choice(["messages", "facts"])))
    store.create_memories(rows)

    def expected(table: str, **wanted: Any) -> list[str]:
        found = [
            row
            for row, in_table in rows
            if in_table == table
            and all(row[field] == value for field, value in wanted.items() if field in row)
            and wanted.get("start", 0) <= row["createdAt"] <= wanted.get("end", 2**53)  # type: ignore[operator]
        ]
        found.sort(key=lambda row: (row["createdAt"], row["id"]), reverse=True)  # type: ignore[arg-type, return-value]
        return [str(row["id"]) for row in found]

    def got(table: str, **options: Any) -> list[str]:
        return [str(memory.id) for memory in store.get_memories(table, **options)]

    for _ in range(40):
        table = random.choice(["messages", "facts"])
        filters = {
            "roomId": random.choice([None, HALL, ROOM]),
            "entityId": random.choice([None, None, ADA]),
            "worldId": random.choice([None, None, WORLD]),
            "unique": random.choice([None, True]),
            "start": random.choice([None, 0, DAY + 1]),
            "end": random.choice([None, 0, DAY, DAY + 10]),
        }
        wanted = {name: value for name, value in filters.items() if value is not None}
        names = {"roomId": "room_id", "entityId": "entity_id", "worldId": "world_id"}
        options = {names.get(name, name): value for name, value in wanted.items()}
        ids = expected(table, **wanted)
        assert got(table, **options) == ids, options
        assert got(table, **options, order_direction="asc") == ids[::-1]
        assert got(table, **options, limit=5, offset=3) == ids[3:8]
        assert got(table, **options, offset=4) == ids[4:]
        if "roomId" in wanted and not {"worldId", "start", "end"} & wanted.keys():
            counted = store.count_memories(
                room_ids=[wanted["roomId"]], table_name=table, unique=bool(wanted.get("unique")),
                entity_id=wanted.get("entityId"),
            )  # fmt: skip
            assert counted == len(ids)
    assert got("facts", limit=0) == got("facts", count=0) == []
    assert got("facts", offset=1_000) == []
    in_hall = expected("facts", roomId=HALL)
    three = [id for id in in_hall if int(id[-12:]) % 3 == 0]
    assert got("facts", room_id=HALL, metadata={"n": 0.0}) == three
    assert store.count_memories(room_ids=[HALL], table_name="facts", metadata={"n": 0}) == len(three)
    assert got("facts", room_id=HALL, metadata={"tags": ["a"], "n": 1}) == [
        id for id in in_hall if int(id[-12:]) % 2 and int(id[-12:]) % 3 == 1
    ]
    assert got("facts", room_id=HALL, metadata={"missing": None}) == []
    assert got("facts", room_id=HALL, metadata={}) == in_hall
    assert got("facts", room_id=HALL, text_contains="NOTE") == got("facts", room_id=HALL, text_contains=" ") == in_hall
    assert got("facts", room_id=HALL, text_contains="0%_\\") == in_hall
    assert got("facts", room_id=HALL, text_contains="%note") == []
    for bad in ({"limit": -1}, {"offset": -1}, {"start": 1_700_000_000}, {"order_direction": "up"}, {"unique": 1}):
        with pytest.raises(InvalidInput):
            got("facts", room_id=HALL, **bad)


def test_counting_has_two_forms_with_two_defaults(world: World) -> None:
    world.say("a")
    world.say("b", unique=False)
    world.say("c", roomId=ROOM)
    count = world.store.count_memories
    assert count(HALL, table_name="messages") == 1
    assert count(HALL, False, "messages") == 2
    assert count(room_ids=[HALL, ROOM]) == 3
    assert count(room_ids=[HALL, HALL], unique=True) == 1
    assert count() == 3
    assert count(room_ids=[]) == 0
    assert count(agent_id=OTHER_AGENT, room_ids=[HALL]) == 0
    with pytest.raises(InvalidInput, match="tableName"):
        count(HALL)


def test_memories_of_rooms_worlds_and_servers(world: World, open_store: Callable[..., AgentStore]) -> None:
    store = world.store
    for number, room in enumerate([HALL, ROOM, HALL, ROOM]):
        world.say(str(number), roomId=room, createdAt=DAY + number)
    other = open_store(OTHER_AGENT)
    other.create_memory({"roomId": HALL, "content": {"text": "guest"}, "createdAt": DAY + 9}, "messages")
    assert [each.text for each in store.get_memories_by_room_ids(table_name="messages", room_ids=[HALL, ROOM])] == [
        "3", "2", "1", "0",
    ]  # fmt: skip
    found = store.get_memories_by_room_ids(table_name="messages", room_ids=[HALL, ROOM], limit=3)
    assert [each.text for each in found] == ["3", "2", "1"]
    assert store.get_memories_by_room_ids(table_name="messages", room_ids=[]) == []
    assert [each.text for each in store.get_memories_by_world_id(world_id=WORLD, count=2)] == ["3", "2"]
    assert [each.text for each in store.get_memories_by_server_id(server_id="guild-1", count=1)] == ["3"]
    store.update_room({"id": ROOM, "name": "moved"})
    assert [each.text for each in store.get_memories_by_world_id(world_id=WORLD)] == ["2", "0"]
    assert world.texts() == ["guest", "2", "0"], "a room holds what all agents keep in it"
    assert world.texts(agent_id=AGENT) == ["2", "0"]
    assert [each.text for each in other.get_memories("messages")] == ["guest"]


def test_memories_by_ids(world: World) -> None:
    ids = [world.say(str(number), createdAt=DAY + number) for number in range(3)]
    fact = world.say("fact", table="facts", createdAt=DAY + 5)
    found = world.store.get_memories_by_ids([ids[0], fact, NOBODY, ids[2], ids[0]])
    assert [each.text for each in found] == ["fact", "2", "0"]
    assert [each.table for each in found] == ["facts", "messages", "messages"]
    assert [each.text for each in world.store.get_memories_by_ids([ids[0], fact], "facts")] == ["fact"]
    assert world.store.get_memories_by_ids([]) == []
    assert world.store.get_memory_by_id(NOBODY) is None
    with pytest.raises(InvalidValue):
        world.store.get_memory_by_id("1")


def test_updates_replace_what_is_given(world: World) -> None:
    store = world.store
    id = world.say("old", metadata={"a": 1, "keep": {"b": 2}}, worldId=WORLD, createdAt=DAY)
    assert store.update_memory({"id": id, "metadata": {"deep": {"x": [1]}}})
    found = store.get_memory_by_id(id)
    assert found is not None
    assert (found.text, found.metadata, found.created_at) == ("old", {"deep": {"x": [1]}}, DAY)
    assert store.update_memory({"id": id, "content": {}})
    found = store.get_memory_by_id(id)
    assert found is not None
    assert (found.content, found.metadata) == ({}, {"deep": {"x": [1]}})
    assert not store.update_memory({"id": NOBODY, "content": {"text": "x"}})
    assert store.update_memories([{"id": id, "content": {"text": "new"}}, {"id": NOBODY, "content": {}}]) == [
        True,
        False,
    ]
    for bad in ({"content": {}}, {"id": id, "roomId": ROOM}, {"id": id, "createdAt": 1}, {"id": id, "metadata": 7}):
        with pytest.raises(InvalidInput):
            store.update_memory(bad)
    store.upsert_memories(
        [
            ({"id": id, "content": {"text": "upserted"}, "roomId": ROOM, "createdAt": 0}, "messages"),
            ({"id": NOBODY, "content": {"text": "made"}, "roomId": HALL, "entityId": ADA}, "messages"),
        ]
    )
    assert set(world.texts()) == {"upserted", "made"}
    assert store.get_memories("messages", world_id=WORLD)[0].created_at == DAY


def test_deleting_a_document_takes_its_fragments(world: World, open_store: Callable[..., AgentStore]) -> None:
    store = world.store
    document = world.say("book", table="documents", metadata={"type": "document", "timestamp": DAY})
    for position in range(3):
        metadata = {"type": "fragment", "documentId": document, "position": position}
        world.say(f"part {position}", table="fragments", metadata=metadata)
    foreign = {"content": {"text": "copy"}, "metadata": {"documentId": document}, "roomId": HALL}
    open_store(OTHER_AGENT).create_memory(foreign, "fragments")
    other = world.say("other", table="fragments", metadata={"documentId": ADA})
    assert store.delete_memory(document)
    assert sorted(world.texts(table="fragments")) == ["copy", "other"]
    assert not store.delete_memory(document)
    assert store.delete_many_memories([other, other, NOBODY]) == 1
    assert world.texts(table="fragments") == ["copy"]


def test_deleting_all_of_a_room(world: World) -> None:
    store = world.store
    for number in range(5):
        world.say(str(number))
        world.say(str(number), roomId=ROOM)
        world.say(str(number), table="facts")
    assert store.delete_all_memories(HALL, "messages") == 5
    assert store.count_memories(room_ids=[HALL, ROOM]) == 5
    assert store.delete_all_memories([HALL, ROOM], "messages") == 5
    assert store.count_memories(HALL, False, "facts") == 5
    store.log(body={}, entity_id=ADA, room_id=HALL, type="x")
    task = store.create_task({"name": "survives", "roomId": HALL})
    assert store.delete_room(HALL)
    assert store.get_memories("facts") == []
    assert store.get_logs(entity_id=ADA) == []
    assert store.get_task(task) is not None


def test_deleting_an_entity_takes_what_it_said(world: World) -> None:
    store = world.store
    for entity in (ADA, BOB):
        world.say("hello", entityId=entity)
        world.say("hello", entityId=entity, table="facts", roomId=ROOM)
        store.log(body={}, entity_id=entity, room_id=HALL, type="x")
    assert store.delete_entity(ADA)
    assert [each.entity_id for each in store.get_memories("messages")] == [BOB]
    assert [each.entity_id for each in store.get_memories("facts")] == [BOB]
    assert [each.entity_id for each in store.get_logs(room_id=HALL)] == [BOB]
    assert not store.delete_entity(ADA)
    with pytest.raises(UnknownRecord):
        world.say("from beyond", entityId=ADA)


def test_nothing_is_left_of_what_was_deleted(world: World, storage: StorageBackend) -> None:
    before = {name: storage.list(namespace=name) for name in storage.list_namespaces(prefix="agents")}
    store = world.store
    ids = [
        world.say("x", worldId=WORLD, unique=bool(number % 2), metadata={"documentId": NOBODY}) for number in range(4)
    ]
    for id in ids:
        store.update_memory({"id": id, "content": {"text": "changed"}, "metadata": {"documentId": ADA}})
    store.create_task({"id": NOBODY, "name": "n", "tags": ["a", "b"]})
    store.update_task(NOBODY, {"tags": ["c"], "name": "m"})
    store.delete_task(NOBODY)
    store.delete_logs([store.log(body={}, entity_id=ADA, room_id=HALL, type="x")])
    store.delete_memories(ids)
    after = {name: storage.list(namespace=name) for name in storage.list_namespaces(prefix="agents")}
    assert {name: keys for name, keys in after.items() if keys} == {name: keys for name, keys in before.items() if keys}


def test_memories_are_pruned_room_by_room(world: World, open_store: Callable[..., AgentStore]) -> None:
    store = world.store
    for number in range(6):
        for room in (HALL, ROOM):
            world.say(str(number), roomId=room, createdAt=DAY + number, embedding=[1, number, 0, 0])
    open_store(OTHER_AGENT).create_memory({"roomId": HALL, "content": {"text": "guest"}, "createdAt": 0}, "messages")
    assert store.prune_memories("messages", room_ids=[HALL], keep=4) == 2
    assert world.texts() == ["5", "4", "3", "2", "guest"]
    assert store.prune_memories("messages", before=DAY + 3) == 4
    assert store.prune_memories("messages", keep=1, before=DAY) == 4
    assert [each.text for each in store.search_memories([1, 1, 0, 0], "messages")] == ["5", "5"]
    assert store.prune_memories("facts", keep=0) == 0
    for bad in ({}, {"keep": -1}, {"before": 1_700_000_000}):
        with pytest.raises(InvalidInput):
            store.prune_memories("messages", **bad)


def test_messages_are_found_by_their_words(world: World, open_store: Callable[..., AgentStore]) -> None:
    store = world.store
    world.say("The mushrooms grow at night", createdAt=DAY)
    world.say("Mushrooms, mushrooms!", createdAt=DAY + 1)
    world.say("mushrooms elsewhere", roomId=ROOM)
    world.say("mushrooms as a fact", table="facts")
    world.say("", content="growing: a text alone")
    open_store(OTHER_AGENT).create_memory({"roomId": HALL, "content": {"text": "mushrooms of a guest"}}, "messages")

    def found(query: str, *rooms: str, **options: Any) -> list[str | None]:
        return [each.memory.text for each in store.search_messages(query, room_ids=rooms, **options)]

    assert found("mushroom", HALL) == ["Mushrooms, mushrooms!", "The mushrooms grow at night"]
    assert sorted(map(str, found("grow", HALL))) == ["The mushrooms grow at night", "growing: a text alone"]
    assert len(found("mushroom", HALL, ROOM)) == 3
    assert len(found("mushroom", HALL, ROOM, limit=1)) == 1
    assert found("mushroom", HALL, table_name="facts") == ["mushrooms as a fact"]
    assert found("mushroom") == found('* OR "', HALL) == found("nothing", HALL) == []
    world.say("late mushrooms", createdAt=DAY + 2)
    assert "late mushrooms" in found("mushroom", HALL)
    store.delete_room(HALL)
    assert found("mushroom", HALL) == []


def test_a_long_table_name_and_odd_ones(world: World) -> None:
    for table in ("x" * 200, "a/b", "a*b", "%", "a~b", "ünï"):
        world.say(table, table=table, embedding=[1, 0, 0, 0])
        assert world.texts(table=table) == [table]
        assert world.store.search_memories([1, 0, 0, 0], table, room_id=HALL)[0].text == table
        assert world.store.delete_all_memories(HALL, table) == 1
        assert world.store.search_memories([1, 0, 0, 0], table) == []
    assert string_to_uuid("a*b") != string_to_uuid("a b")
