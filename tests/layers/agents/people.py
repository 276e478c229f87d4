"""The agent, people and rooms that the tests tell of."""

from __future__ import annotations

from typing import Any

from mycelia_storage.layers.agents import AgentStore, string_to_uuid

AGENT = string_to_uuid("agent")
OTHER_AGENT = string_to_uuid("other agent")
ADA = string_to_uuid("ada")
BOB = string_to_uuid("bob")
WORLD = string_to_uuid("world")
HALL = string_to_uuid("hall")
ROOM = string_to_uuid("room")
NOBODY = string_to_uuid("nobody")

#: A time in milliseconds that means what it says.
DAY = 1_700_000_000_000


class World:
    """Ada and Bob in two rooms."""

    def __init__(self, store: AgentStore) -> None:
        self.store = store
        store.ensure_agent_exists({"id": store.agent_id, "name": "Bot"})
        store.create_world({"id": WORLD, "name": "World", "serverId": "guild-1"})
        store.create_entities([{"id": ADA, "names": ["Ada"]}, {"id": BOB, "names": ["Bob", "Robert"]}])
        rooms = [{"id": id, "name": name, "worldId": WORLD} for id, name in ((HALL, "hall"), (ROOM, "room"))]
        store.create_rooms([{**room, "source": "test", "type": "GROUP", "serverId": "guild-1"} for room in rooms])
        store.add_participants_room([ADA, BOB], HALL)
        store.add_participant(ADA, ROOM)

    def say(self, text: str, table: str = "messages", **fields: Any) -> str:
        """A memory of Ada's in the hall, unless ``fields`` say otherwise; its id."""
        memory = {"entityId": ADA, "roomId": HALL, "content": {"text": text}, **fields}
        return self.store.create_memory(memory, table)

    def say_two(self, store: AgentStore, *rooms: str) -> None:
        """A memory in each room, one call after the other."""
        for room in rooms:
            store.create_memory({"roomId": room, "content": {"text": "one of two"}}, "messages")

    def texts(self, **options: Any) -> list[str]:
        """What ``get_memories`` finds in the hall, unless ``options`` say otherwise."""
        options = {"room_id": HALL, **options}
        return [str(memory.text) for memory in self.store.get_memories(options.pop("table", "messages"), **options)]
