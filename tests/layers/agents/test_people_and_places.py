"""Agents, entities, components, worlds, rooms, participants, relationships, on every backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mycelia_storage.errors import InvalidInput, InvalidValue
from mycelia_storage.layers.agents import AgentStore, DuplicateRecord, ForeignAgent, UnknownRecord, string_to_uuid

from .people import ADA, AGENT, BOB, HALL, NOBODY, OTHER_AGENT, ROOM, WORLD, World


def test_agents(store: AgentStore, open_store: Callable[..., AgentStore]) -> None:
    assert store.get_agent(AGENT) is None
    assert store.create_agent({"id": AGENT, "name": "Bot", "settings": {"a": {"b": 1}, "keep": 1}, "createdAt": 0})
    assert not store.create_agent({"id": AGENT, "name": "Again"})
    assert store.create_agent({"id": OTHER_AGENT, "name": "Bot"}), "names may repeat"
    assert store.count_agents() == 2
    assert store.update_agent(AGENT, {"settings": {"a": {"b": None}, "new": 2}, "system": "Be kind"})
    agent = store.get_agent(AGENT)
    assert agent is not None
    assert (agent.name, agent.system, agent.settings, agent.created_at) == ("Bot", "Be kind", {"keep": 1, "new": 2}, 0)
    assert agent.updated_at
    assert agent.updated_at > 0
    assert not store.update_agent(NOBODY, {"name": "x"})
    store.upsert_agents([{"id": AGENT, "name": "New"}, {"id": NOBODY, "name": "Third"}])
    assert [each.name for each in store.get_agents_by_ids([NOBODY, AGENT])] == ["Third", "New"]
    assert store.create_agents([{"id": BOB, "name": "b"}, {"id": AGENT, "name": "taken"}]) == [BOB]
    assert store.cleanup_agents(updated_before=1) == 0
    assert store.delete_agents([BOB, NOBODY])
    assert not store.delete_agent(BOB)
    made = open_store(BOB).ensure_agent_exists({"id": BOB})
    assert made.name == "Unknown Agent"
    assert store.get_entities_by_ids([BOB])[0].names == ["Unknown Agent"]


def test_creating_entities_is_idempotent(world: World) -> None:
    store = world.store
    cleo = string_to_uuid("cleo")
    assert store.create_entities([{"id": ADA, "names": ["Not Ada"]}, {"id": cleo, "names": ["Cleo"]}]) == [ADA, cleo]
    assert [each.names for each in store.get_entities_by_ids([cleo, NOBODY, ADA])] == [["Cleo"], ["Ada"]]
    assert store.update_entity({"id": ADA, "names": ["Ada", "Countess"], "metadata": {"a": {"b": [1]}}})
    assert not store.update_entity({"id": NOBODY, "names": ["x"]})
    assert store.get_entity_by_id(NOBODY) is None
    store.upsert_entities([{"id": ADA, "names": ["Ada L"]}, {"id": NOBODY, "names": ["Nobody"]}])
    assert [each.names for each in store.get_entities_by_ids([ADA, NOBODY])] == [["Ada L"], ["Nobody"]]


def test_entities_are_found_by_name(world: World) -> None:
    store = world.store
    odd = string_to_uuid("odd")
    long = "x" * 5_000
    store.create_entities([{"id": odd, "names": ["100%", "a_b", long, ""]}])
    assert [each.id for each in store.get_entities_by_names(["Robert", "nope"])] == [BOB]
    assert store.get_entities_by_names(["robert"]) == []
    assert store.get_entities_by_names([]) == []
    assert [each.id for each in store.get_entities_by_names([long])] == [odd]
    assert [each.id for each in store.search_entities_by_name("OB")] == [BOB]
    assert [each.id for each in store.search_entities_by_name("%")] == [odd]
    assert [each.id for each in store.search_entities_by_name("_")] == [odd]
    assert [each.id for each in store.search_entities_by_name("xxx")] == [odd]
    assert store.search_entities_by_name("b*") == []
    assert len(store.search_entities_by_name("  ")) == 4
    assert len(store.search_entities_by_name("", limit=2)) == 2
    store.update_entity({"id": BOB, "names": ["Bobby"]})
    assert store.get_entities_by_names(["Robert"]) == []


def test_the_names_of_a_foreign_agent_are_not_found(store: AgentStore, open_store: Callable[..., AgentStore]) -> None:
    World(store)
    other = open_store(OTHER_AGENT)
    assert other.search_entities_by_name("Ada") == []
    assert other.get_entities_by_names(["Ada"]) == []
    assert [each.id for each in other.get_entities_by_names(["Ada"], AGENT)] == [ADA]
    assert [each.id for each in other.get_entities_by_ids([ADA])] == [ADA], "by id everything is in sight"


def test_components_have_a_natural_key(world: World) -> None:
    store = world.store
    base = {"entityId": ADA, "type": "wallet", "roomId": HALL, "data": {"gold": 1}}
    assert store.create_component(base)
    assert not store.create_component({**base, "data": {"gold": 2}})
    assert store.create_component({**base, "worldId": WORLD})
    assert store.create_component({**base, "sourceEntityId": BOB})
    with pytest.raises(UnknownRecord):
        store.create_component({**base, "entityId": NOBODY})
    assert len(store.get_components(ADA)) == 3
    found = store.get_component(ADA, "wallet")
    assert found is not None
    assert found.data == {"gold": 1}
    assert store.get_component(ADA, "purse") is None
    assert store.get_component(ADA, "wallet", world_id=NOBODY) is None
    assert [each.source_entity_id for each in store.get_components(ADA, source_entity_id=BOB)] == [BOB]
    keys = [{"entityId": ADA, "type": "wallet"}, {"entityId": ADA, "type": "none"}, {"entityId": BOB, "type": "wallet"}]
    aligned = store.get_components_by_natural_keys(keys)
    assert aligned == [found, None, None]
    store.upsert_components([{**base, "data": {"gold": 5}}, {**base, "data": {"gold": 6}}, {**base, "type": "hat"}])
    again = store.get_component(ADA, "wallet")
    assert again is not None
    assert (again.id, again.data) == (found.id, {"gold": 6})
    assert len(store.get_components(ADA)) == 4
    assert found.id
    store.patch_components([{"componentId": found.id, "ops": [{"op": "increment", "path": "gold", "value": 4}]}])
    with pytest.raises(InvalidInput):
        store.patch_components(
            [
                {"componentId": found.id, "ops": [{"op": "set", "path": "gold", "value": 0}]},
                {"componentId": found.id, "ops": [{"op": "push", "path": "gold", "value": 0}]},
            ]
        )
    assert [each.data for each in store.get_components_by_ids([found.id])] == [{"gold": 10}]
    assert store.update_component({"id": found.id, "entityId": ADA, "type": "wallet", "data": {"new": 1}})
    assert not store.update_component({"entityId": BOB, "type": "wallet", "data": {}})
    assert [each.data for each in store.get_components_for_entities([BOB, ADA], WORLD)] == [{"gold": 1}]
    assert store.delete_component(found.id)
    assert not store.delete_component(found.id)
    assert store.delete_entity(BOB)
    assert [(each.type, each.world_id) for each in store.get_components(ADA)] == [("hat", None), ("wallet", WORLD)]
    assert store.delete_world(WORLD)
    assert [each.type for each in store.get_components(ADA)] == ["hat"]
    assert store.delete_room(HALL)
    assert store.get_components(ADA) == []


def test_entities_are_queried_by_components(world: World) -> None:
    store = world.store
    ids = [string_to_uuid(f"e{number}") for number in range(6)]
    store.create_entities([{"id": id, "names": [str(number)]} for number, id in enumerate(ids)])
    for number, id in enumerate(ids):
        data = {"level": number % 2, "tags": ["a", "b"] if number < 3 else ["b"], "deep": {"x": 1, "y": 2}}
        store.create_component(
            {"entityId": id, "type": "player", "data": data, **({"worldId": WORLD} if number else {})}
        )
        store.create_component({"entityId": id, "type": "other"})
    wanted = {"level": 0, "tags": ["a"], "deep": {"x": 1}}
    found = store.query_entities(component_type="player", component_data_filter=wanted)
    assert {each.id for each in found} == {ids[0], ids[2]}
    assert all([component.type for component in each.components or ()] == ["player"] for each in found)
    both = store.query_entities(component_type="player", component_data_filter=wanted, world_id=WORLD)
    assert [each.id for each in both] == [ids[2]]
    assert store.query_entities(entity_ids=[ids[1]], component_data_filter=wanted) == []
    ordered = store.query_entities(entity_ids=[ids[4], ids[1]], include_all_components=True)
    assert [each.id for each in ordered] == [ids[4], ids[1]]
    assert [len(each.components or ()) for each in ordered] == [2, 2]
    seen = [each.id for start in range(0, 10, 2) for each in store.query_entities(limit=2, offset=start)]
    assert len(seen) == len(set(seen)) == 9
    for bad in ({}, {"limit": -1}, {"limit": 1.5}, {"limit": float("nan")}, {"limit": 1, "offset": -1}):
        with pytest.raises(InvalidInput):
            store.query_entities(**bad)  # type: ignore[arg-type]


def test_worlds(world: World) -> None:
    store = world.store
    with pytest.raises(DuplicateRecord):
        store.create_world({"id": WORLD, "name": "Again"})
    assert store.ensure_world_exists({"id": WORLD, "name": "Again"}) == WORLD
    found = store.get_world(WORLD)
    assert found is not None
    assert (found.name, found.message_server_id) == ("World", "guild-1")
    assert store.get_world(NOBODY) is None
    assert store.update_world({"id": WORLD, "name": "Renamed", "metadata": {"roles": {ADA: "OWNER"}}})
    assert not store.update_world({"id": NOBODY, "name": "x"})
    assert [each.name for each in store.get_all_worlds()] == ["Renamed"]
    swap = store.compare_and_swap_world_metadata
    assert swap(WORLD, {"roles": {ADA: "ADMIN"}}, {}) == "conflict"
    assert swap(WORLD, {"roles": {ADA: "OWNER"}}, {"n": 2}) == "updated"
    assert swap(WORLD, {"n": 2.0}, {"n": 3}) == "updated"
    assert swap(NOBODY, {}, {}) == "not_found"
    store.upsert_worlds([{"id": NOBODY, "name": "New"}])
    assert [each.id for each in store.get_worlds_by_ids([NOBODY, WORLD])] == [NOBODY, WORLD]
    assert store.delete_worlds([NOBODY, NOBODY]) == 1
    assert not store.remove_world(NOBODY)
    assert store.get_room(HALL) is not None, "rooms outlive their world"


def test_rooms(world: World, open_store: Callable[..., AgentStore]) -> None:
    store = world.store
    assert store.create_rooms([{"id": HALL, "source": "x", "type": "DM"}, {"id": NOBODY}]) == [NOBODY]
    assert [each.name for each in store.get_rooms_by_ids([ROOM, HALL])] == ["room", "hall"]
    assert open_store(OTHER_AGENT).get_rooms_by_ids([HALL]) == []
    assert {each.id for each in store.get_rooms_by_world(WORLD)} == {HALL, ROOM}
    assert len(store.get_rooms_by_worlds([WORLD, NOBODY], limit=1, offset=1)) == 1
    assert store.update_room({"id": ROOM, "name": "cellar", "type": "DM"})
    assert {each.id for each in store.get_rooms_by_world(WORLD)} == {HALL}, "an update replaces the room whole"
    assert not store.update_room({"id": BOB, "name": "x"})
    store.upsert_rooms([{"id": ROOM, "name": "attic", "worldId": WORLD}, {"id": BOB, "name": "new"}])
    assert [each.name for each in store.get_rooms_by_ids([ROOM, BOB])] == ["attic", "new"]
    assert store.delete_rooms_by_world_id(WORLD) == 2
    assert not store.delete_room(HALL)
    assert store.get_rooms_for_participant(ADA) == []


def test_a_seat_is_taken_once(world: World) -> None:
    store = world.store
    assert store.add_participant(ADA, HALL)
    assert store.get_participants_for_room(HALL) == sorted([ADA, BOB])
    ids = store.create_room_participants([BOB, ADA], HALL)
    assert ids == store.create_room_participants([BOB, ADA], HALL)
    assert len(set(ids)) == 2
    with pytest.raises(UnknownRecord):
        store.add_participants_room([BOB, NOBODY], ROOM)
    assert store.get_participants_for_rooms([ROOM, HALL, NOBODY]) == [
        {"roomId": ROOM, "entityIds": [ADA]},
        {"roomId": HALL, "entityIds": sorted([ADA, BOB])},
        {"roomId": NOBODY, "entityIds": []},
    ]
    assert store.is_room_participant(HALL, BOB)
    assert store.are_room_participants([{"roomId": ROOM, "entityId": BOB}, (ADA, ROOM)]) == [False, True]
    assert store.get_rooms_for_participant(ADA) == sorted([HALL, ROOM])
    assert store.get_rooms_for_participants([ADA, BOB]) == sorted([HALL, ROOM])
    assert {each.room_id for each in store.get_participants_for_entity(ADA)} == {HALL, ROOM}
    assert store.get_participant_user_state(HALL, ADA) is None
    assert store.set_participant_user_state(HALL, ADA, "FOLLOWED")
    assert not store.set_participant_user_state(ROOM, BOB, "MUTED")
    with pytest.raises(InvalidValue):
        store.set_participant_user_state(HALL, ADA, "LOVED")
    assert store.get_participant_user_states([(ADA, HALL), (BOB, HALL), (NOBODY, HALL)]) == ["FOLLOWED", None, None]
    assert store.update_participants([{"entityId": ADA, "roomId": HALL, "roomState": "MUTED"}]) == [True]
    store.add_participant(ADA, HALL)
    assert store.get_participant_user_state(HALL, ADA) == "MUTED", "a second seat changes nothing"
    assert store.remove_participant(BOB, HALL)
    assert not store.remove_participant(BOB, HALL)
    assert not store.delete_participants([(BOB, HALL), (ADA, HALL)])
    assert store.get_participants_for_room(HALL) == []
    entities = store.get_entities_for_rooms([ROOM, HALL], True)
    assert [[each.id for each in room["entities"]] for room in entities] == [[ADA], []]


def test_relationships(world: World) -> None:
    store = world.store
    edge = {"sourceEntityId": ADA, "targetEntityId": BOB, "tags": ["friend", "work"], "metadata": {"since": 1}}
    assert store.create_relationship(edge)
    assert not store.create_relationship({**edge, "tags": []})
    assert store.create_relationship({"sourceEntityId": BOB, "targetEntityId": ADA})
    with pytest.raises(UnknownRecord):
        store.create_relationship({**edge, "targetEntityId": NOBODY})
    found = store.get_relationship(ADA, BOB)
    assert found is not None
    assert (found.tags, found.metadata) == (["friend", "work"], {"since": 1})
    assert len(store.get_relationships(ADA)) == 2
    assert [each.id for each in store.get_relationships(BOB, tags=["work", "other"])] == [found.id]
    assert store.get_relationships(BOB, tags=["other"]) == []
    assert len(store.get_relationships(entity_ids=[ADA, BOB], limit=1)) == 1
    assert store.get_relationships_by_pairs([(ADA, BOB), (ADA, ADA)]) == [found, None]
    assert store.update_relationship({**edge, "tags": ["foe"], "metadata": {}})
    assert not store.update_relationship({"sourceEntityId": ADA, "targetEntityId": ADA})
    assert found.id
    assert store.get_relationships_by_ids([found.id])[0].tags == ["foe"]
    assert store.delete_relationships([found.id]) == 1
    assert store.delete_entity(ADA)
    assert store.get_relationships(BOB) == []


def test_ensure_connection_makes_what_is_missing(store: AgentStore) -> None:
    for _ in range(2):
        store.ensure_connection(
            entity_id=ADA, room_id=HALL, user_name="ada", name="Ada", source="cli", type="DM", world_id=WORLD
        )
    store.ensure_connection(entity_id=ADA, room_id=HALL, name="Countess")
    assert store.get_entities_by_ids([ADA])[0].names == ["Ada", "ada", "Countess"]
    assert store.get_participants_for_room(HALL) == sorted([ADA, AGENT])
    assert [each.id for each in store.get_rooms_by_world(WORLD)] == [HALL]
    assert len(store.get_all_worlds()) == 1


def test_strict_mode_knows_no_other_agent(world: World, open_store: Callable[..., AgentStore]) -> None:
    other = open_store(OTHER_AGENT, strict=True)
    world.say("secret", id=NOBODY)
    assert other.get_agent(AGENT) is None
    assert other.get_agents() == []
    assert other.get_entities_by_ids([ADA]) == []
    assert other.get_world(WORLD) is None
    assert other.get_rooms_by_world(WORLD) == []
    assert other.get_memory_by_id(NOBODY) is None
    assert other.get_memories("messages", room_id=HALL) == []
    assert other.count_memories(HALL, False, "messages") == 0
    assert not other.update_memory({"id": NOBODY, "content": {}})
    assert not other.delete_memory(NOBODY)
    assert not other.delete_room(HALL)
    assert not other.delete_entity(ADA)
    assert not other.delete_world(WORLD)
    assert other.delete_all_memories(HALL, "messages") == 0
    with pytest.raises(UnknownRecord):
        other.create_memory({"entityId": ADA, "roomId": HALL, "content": {}}, "messages")
    with pytest.raises(ForeignAgent):
        other.delete_agent(AGENT)
    with pytest.raises(ForeignAgent):
        other.create_entities([{"id": NOBODY, "agentId": AGENT}])
    assert world.texts() == ["secret"]


def test_an_agent_takes_all_that_is_its_own_along(world: World, open_store: Callable[..., AgentStore]) -> None:
    store, other = world.store, open_store(OTHER_AGENT)
    other.ensure_agent_exists({"id": OTHER_AGENT, "name": "Other"})
    other.create_room({"id": NOBODY, "source": "x", "type": "DM"})
    world.say("mine", embedding=[1, 0, 0, 0])
    other.create_memory({"entityId": ADA, "roomId": HALL, "content": {"text": "a guest's"}}, "messages")
    other.create_memory({"entityId": OTHER_AGENT, "roomId": NOBODY, "content": {"text": "stays"}}, "messages")
    store.create_task({"name": "t", "tags": ["queue"]})
    store.set_cache("k", 1)
    store.create_component({"entityId": ADA, "type": "t"})
    store.create_relationship({"sourceEntityId": ADA, "targetEntityId": BOB})
    store.log(body={}, entity_id=ADA, room_id=HALL, type="x")
    assert store.delete_agent(AGENT)
    left = {
        name: keys
        for name in store.get_connection().list_namespaces(prefix="agents")
        if (keys := store.get_connection().list(namespace=name))
    }
    assert {key for keys in left.values() for key in keys if AGENT in key or ADA in key or HALL in key} == set()
    assert [each.text for each in other.get_memories("messages")] == ["stays"]
    assert set(left) == {f"agents/{kind}" for kind in ("agents", "entities", "lookups", "memories", "rooms")}
    assert store.create_agent({"id": AGENT, "name": "Back"})
