"""UUIDs, and the JSON of records: what elizaOS computes and writes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mycelia_storage.errors import InvalidInput, InvalidValue
from mycelia_storage.layers.agents import (
    Agent,
    Entity,
    Log,
    Memory,
    Relationship,
    Room,
    TooLarge,
    as_uuid,
    create_unique_uuid,
    string_to_uuid,
    validate_uuid,
)
from mycelia_storage.layers.agents.patching import apply_patch, check_patch
from mycelia_storage.layers.agents.plain_json import clean_json, merge_settings, names_of

from .people import ADA, AGENT, BOB, DAY, HALL


@pytest.mark.parametrize(
    ("text", "uuid"),
    [
        ("test", "a94a8fe5-ccb1-0ba6-9c4c-0873d391e987"),
        ("server-123", "f569c7d7-11c9-01e8-bdd4-c6235a8a9af7"),
        ("hello world", "f0355dd5-2823-054c-ae66-a0b12842c215"),
        ("", "da39a3ee-5e6b-0b0d-b255-bfef95601890"),
        (42, "92cfceb3-9d57-0914-ad8b-14d0e37643de"),
        ("héllo", "eb0f268e-d355-011d-9c5d-79a484f517ef"),
        ("06DF3CF3-6C0C-0449-9C80-87E36D1EA8F6", "06df3cf3-6c0c-0449-9c80-87e36d1ea8f6"),
    ],
)
def test_a_string_has_the_uuid_that_elizaos_gives_it(text: str | int, uuid: str) -> None:
    assert string_to_uuid(text) == uuid


def test_only_the_usual_shape_is_a_uuid() -> None:
    for good in ("00000000-0000-0000-0000-000000000000", "06df3cf3-6c0c-0449-9c80-87e36d1ea8f6"):
        assert as_uuid(good) == validate_uuid(good.upper()) == good
    for bad in ("", "x", f"{{{ADA}}}", f"urn:uuid:{ADA}", ADA.replace("-", ""), ADA + "\n", " " + ADA, None, 7):
        assert validate_uuid(bad) is None
        with pytest.raises(InvalidValue, match="UUID"):
            as_uuid(bad)
    with pytest.raises(TypeError):
        string_to_uuid(None)  # type: ignore[arg-type]


def test_an_external_id_has_a_uuid_of_its_own_for_each_agent() -> None:
    assert create_unique_uuid(AGENT, "discord-1") == string_to_uuid(f"discord-1:{AGENT}")
    assert create_unique_uuid(AGENT, "discord-1") != create_unique_uuid(BOB, "discord-1")
    assert create_unique_uuid(AGENT, AGENT) == AGENT


def test_records_have_camel_case_json() -> None:
    memory = Memory(
        entity_id=ADA, room_id=HALL.upper(), content={"text": "x", "odd key": [1]}, created_at=0, table="facts"
    )
    data = memory.to_json()
    assert data == {
        "entityId": ADA,
        "roomId": HALL,
        "content": {"text": "x", "odd key": [1]},
        "createdAt": 0,
        "metadata": {},
        "type": "facts",
    }
    assert Memory.from_json(data) == memory == Memory.of({**data, "worldId": None})
    room = Room.from_json({"id": HALL, "source": "discord", "type": "GROUP", "serverId": "guild-1"})
    assert room.to_json()["messageServerId"] == room.to_json()["serverId"] == "guild-1"
    edge = Relationship.from_json(
        {"sourceEntityId": ADA, "targetEntityId": BOB, "createdAt": "2023-11-14T22:13:20.123Z"}
    )
    assert edge.created_at == DAY + 123
    assert edge.to_json()["createdAt"] == "2023-11-14T22:13:20.123Z"
    log = Log(entity_id=ADA, room_id=HALL, type="action", body={}, created_at=DAY)
    assert Log.from_json(log.to_json()) == log


def test_an_agent_keeps_what_other_versions_add() -> None:
    agent = Agent.from_json({"id": AGENT, "name": "Bot", "lore": ["old"], "messageExamples": [[{"user": "a"}]]})
    assert agent.extra == {"lore": ["old"]}
    assert agent.to_json()["lore"] == ["old"]
    assert Agent.from_json(agent.to_json()) == agent


@pytest.mark.parametrize(
    ("fields", "about"),
    [
        ({"entityId": "x", "content": {}}, "entityId"),
        ({"content": {}, "createdAt": 1_700_000_000}, "seconds"),
        ({"content": {}, "createdAt": 1_700_000_000_000_000}, "createdAt"),
        ({"content": {}, "createdAt": "2023"}, "createdAt"),
        ({"content": {}, "createdAt": 1.5}, "createdAt"),
        ({"content": {}, "createdAt": -1}, "createdAt"),
        ({"content": {}, "createdAt": True}, "createdAt"),
        ({"content": 7}, "content"),
        ({}, "content"),
        ({"content": {}, "metadata": []}, "metadata"),
        ({"content": {}, "unique": 1}, "unique"),
        ({"content": {}, "embedding": "abc"}, "embedding"),
        ({"content": {}, "roomID": HALL}, "roomID"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], about: str) -> None:
    with pytest.raises(InvalidValue, match=about):
        Memory.from_json(fields)


def test_json_is_cleaned_as_the_table_says() -> None:
    circle: dict[str, object] = {"a": 1}
    circle["me"] = circle
    given = {
        "nul\0": "a\0b",
        "half": "x\ud800y",
        "path": r"C:\new\temp \d+",
        "circle": circle,
        "numbers": [float("nan"), float("inf"), 2**70, -0.5],
        "when": datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC),
        "tuple": (1, {2}),
    }
    assert clean_json(given, "content") == {
        "nul": "ab",
        "half": "x\ufffdy",
        "path": r"C:\new\temp \d+",
        "circle": {"a": 1, "me": None},
        "numbers": [None, None, str(2**70), -0.5],
        "when": "2023-11-14T22:13:20.123Z",
        "tuple": [1, [2]],
    }
    deep: list[object] = []
    for _ in range(160):
        deep = [deep]
    with pytest.raises(TooLarge):
        clean_json(deep, "content")
    for bad in (object(), {1: 2}, b"bytes"):
        with pytest.raises(InvalidValue):
            clean_json({"x": bad}, "content")


def test_names_become_strings() -> None:
    assert names_of(["a", None, 1, True]) == ["a", "null", "1", "true"]
    assert names_of({"k": "v"}) == ["k,v"]
    assert names_of(True) == ["true"]
    assert Entity(names="Ada").names == ["Ada"]  # type: ignore[arg-type]


def test_settings_merge() -> None:
    old = {"a": {"b": 1, "c": 2}, "list": [1], "x": 1}
    assert merge_settings(old, {"a": {"b": None}, "list": [2], "y": {"z": 1}}) == {
        "a": {"c": 2},
        "list": [2],
        "x": 1,
        "y": {"z": 1},
    }
    assert merge_settings(old, {"a": {"b": None, "c": None}}) == {"list": [1], "x": 1}
    assert merge_settings({"a": 1}, {"a": None}) == {}


def test_patches_do_all_or_nothing() -> None:
    data = {"wallet": {"balance": 10}, "tags": ["a"], "obsolete": 1}
    operations = check_patch(
        [
            {"op": "increment", "path": "wallet.balance", "value": 5},
            {"op": "set", "path": "wallet.currency", "value": "USD"},
            {"op": "push", "path": "tags", "value": "b"},
            {"op": "remove", "path": "obsolete"},
            {"op": "remove", "path": "not.there"},
        ]
    )
    assert apply_patch(data, operations) == {"wallet": {"balance": 15, "currency": "USD"}, "tags": ["a", "b"]}
    assert data["wallet"] == {"balance": 10}
    assert apply_patch({}, check_patch([{"op": "set", "path": "a.b.c", "value": 1}])) == {"a": {"b": {"c": 1}}}
    assert apply_patch({"l": [1, 2]}, check_patch([{"op": "set", "path": "l.1", "value": 9}])) == {"l": [1, 9]}
    for bad in (
        {"op": "push", "path": "wallet", "value": 1},
        {"op": "increment", "path": "tags", "value": 1},
        {"op": "set", "path": "obsolete.x", "value": 1},
    ):
        with pytest.raises(InvalidInput):
            apply_patch(data, check_patch([bad]))
    for path in ("", "a..b", "a b", "a'; DROP", "0.a", ".a", "a.", "a\n"):
        with pytest.raises(InvalidInput):
            check_patch([{"op": "set", "path": path, "value": 1}])
