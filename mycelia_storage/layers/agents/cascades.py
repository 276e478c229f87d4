"""What goes when something is deleted: each cascade runs in the transaction of its caller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...contract import StorageBackend
from ...names import join_key, key_prefix, split_key
from .binding import Bound, pages
from .layout import component_key, memory_key, short, text_digest, vector_key
from .records import Component, Entity, Log, Memory, Participant, Relationship, Room, Task, World


class Cascades(Bound):
    """Deletions, and the lookups that belong to each record."""

    # -- lookups of each kind ------------------------------------------------------------------------------------------

    def _memory_lookups(self, memory: Memory) -> dict[str, Any]:
        """The lookups of a memory, but for that of an embedded text."""
        id, agent, table, at = str(memory.id), str(memory.agent_id), str(memory.table), int(memory.created_at or 0)
        room = memory.room_id
        found: dict[str, Any] = {
            join_key("memory", id): [room, table, at],
            join_key("agent-memory", agent, table, at, id): room,
        }
        if memory.entity_id is not None:
            found[join_key("entity-memory", memory.entity_id, table, at, id)] = room
        if memory.world_id is not None:
            found[join_key("world-memory", memory.world_id, table, at, id)] = room
        document = memory.metadata.get("documentId")
        if isinstance(document, str) and document:
            found[join_key("document", short(document), id)] = [room, table, at]
        if memory.unique is False:
            found[join_key("repeat", room or "", table, id)] = 1
        return found

    def _text_lookup(self, memory: Memory) -> dict[str, Any]:
        text = memory.text
        if not text:
            return {}
        key = join_key("text", str(memory.agent_id), str(memory.table), len(text), text_digest(text), str(memory.id))
        return {key: [memory.room_id, memory.created_at]}

    def _entity_lookups(self, entity: Entity) -> dict[str, Any]:
        id, agent = str(entity.id), str(entity.agent_id)
        names = {join_key("name", agent, short(name), id): 1 for name in entity.names}
        return {join_key("owned", agent, "entity", id): 1, **names}

    def _room_lookups(self, room: Room) -> dict[str, Any]:
        id = str(room.id)
        found = {join_key("owned", str(room.agent_id), "room", id): 1}
        if room.world_id is not None:
            found[join_key("world-room", room.world_id, id)] = 1
        if room.message_server_id is not None:
            found[join_key("server-room", short(room.message_server_id), id)] = 1
        return found

    def _world_lookups(self, world: World) -> dict[str, Any]:
        return {join_key("owned", str(world.agent_id), "world", str(world.id)): 1}

    def _task_lookups(self, task: Task) -> dict[str, Any]:
        id, agent = str(task.id), str(task.agent_id)
        return {
            join_key("owned", agent, "task", id): 1,
            join_key("task-name", agent, short(task.name), id): 1,
            **{join_key("task-tag", agent, short(tag), id): 1 for tag in task.tags},
        }

    def _component_lookups(self, component: Component) -> dict[str, Any]:
        id, key = str(component.id), self._component_key(component)
        found = {join_key("component", id): key}
        for kind, other in (
            ("source", component.source_entity_id),
            ("room", component.room_id),
            ("world", component.world_id),
            ("agent", component.agent_id),
        ):
            if other is not None:
                found[join_key("component-of", kind, other, id)] = key
        return found

    def _component_key(self, component: Component) -> str:
        return component_key(component.entity_id, component.type, component.world_id, component.source_entity_id)

    def _participant_lookups(self, participant: Participant) -> dict[str, Any]:
        entity, room, agent = participant.entity_id, participant.room_id, str(participant.agent_id)
        return {join_key("participant", entity, room, agent): 1, join_key("participant-of", agent, room, entity): 1}

    def _relationship_lookups(self, relationship: Relationship) -> dict[str, Any]:
        source, target, agent = relationship.source_entity_id, relationship.target_entity_id, str(relationship.agent_id)
        key = join_key(source, target, agent)
        return {
            join_key("relationship", str(relationship.id)): key,
            join_key("relationship-to", target, source, agent): 1,
            join_key("relationship-of", agent, str(relationship.id)): key,
        }

    def _log_lookups(self, log: Log) -> dict[str, Any]:
        id, at = str(log.id), int(log.created_at or 0)
        return {
            join_key("log", id): [log.room_id, at],
            join_key("log-entity", log.entity_id, at, id): log.room_id,
            join_key("log-time", at, id): log.room_id,
        }

    # -- writing with lookups ------------------------------------------------------------------------------------------

    def _put(
        self,
        tx: StorageBackend,
        place: str,
        records: Iterable[tuple[str, dict[str, Any], dict[str, Any]]],
        stale: Iterable[str] = (),
    ) -> None:
        """Write records, each given as its key, its JSON and its lookups; ``stale`` lookups go."""
        items: list[dict[str, Any]] = []
        kept: set[str] = set()
        for key, value, lookups in records:
            items.append({"namespace": place, "key": key, "value": value})
            kept.update(lookups)
            items += [
                {"namespace": self._places.lookups, "key": lookup, "value": held} for lookup, held in lookups.items()
            ]
        gone = [lookup for lookup in stale if lookup not in kept]
        if gone:
            tx.delete_many(gone, namespace=self._places.lookups)
        if items:
            tx.set_many(items)

    # -- memories ------------------------------------------------------------------------------------------------------

    def _find_memories(self, tx: StorageBackend, ids: Iterable[str]) -> list[Memory]:
        """The memories of those ids that exist and are in sight, in that order."""
        keys = [join_key("memory", id) for id in dict.fromkeys(ids)]
        places = tx.get_many(keys, namespace=self._places.lookups)
        found = [memory_key(room, table, at, key[len(_MEMORY) :]) for key, (room, table, at) in places.items()]
        return self._get_each(Memory, self._places.memories, found, tx)

    def _drop_memories(self, tx: StorageBackend, memories: list[Memory], fragments: bool = False) -> int:
        """Delete memories with their vectors and lookups, and with ``fragments`` those of the agent's that are parts of
        one; how many memories went.
        """
        if not memories:
            return 0
        if fragments:
            memories = self._with_fragments(tx, memories)
        places = self._places
        lookups: list[str] = []
        vectors: dict[tuple[str, str], list[str]] = {}
        for memory in memories:
            lookups += self._memory_lookups(memory)
            lookups += self._text_lookup(memory)
            of = (str(memory.agent_id), str(memory.table))
            vectors.setdefault(of, []).append(vector_key(memory.room_id, str(memory.id)))
        keys = [_key_of(memory) for memory in memories]
        for (agent, table), held in vectors.items():
            for place in places.vector_places(tx, agent, table):
                tx.delete_many(held, namespace=place)
        tx.delete_many(lookups, namespace=places.lookups)
        return tx.delete_many(keys, namespace=places.memories)

    def _with_fragments(self, tx: StorageBackend, memories: list[Memory]) -> list[Memory]:
        known = {memory.id: memory for memory in memories}
        for memory in memories:
            parts = [
                memory_key(room, table, at, str(id))
                for id, (room, table, at) in self._lookup("document", str(memory.id), storage=tx)
            ]
            for fragment in self._get_each(Memory, self._places.memories, parts, tx) if parts else ():
                if fragment.agent_id == self._agent_id:
                    known.setdefault(fragment.id, fragment)
        return list(known.values())

    def _drop_memories_of_room(self, tx: StorageBackend, room: str, table: str | None = None) -> int:
        prefix = key_prefix(room) if table is None else key_prefix(room, table)
        gone = 0
        for page in pages(list(tx.scan(namespace=self._places.memories, prefix=prefix))):
            gone += self._drop_memories(tx, [Memory.from_stored(entry.value) for entry in page])
        return gone

    # -- the other kinds -----------------------------------------------------------------------------------------------

    def _drop_components(self, tx: StorageBackend, keys: Iterable[str]) -> int:
        found = self._all(tx, Component, self._places.components, keys)
        tx.delete_many([key for each in found for key in self._component_lookups(each)], namespace=self._places.lookups)
        return tx.delete_many([self._component_key(each) for each in found], namespace=self._places.components)

    def _drop_components_of(self, tx: StorageBackend, kind: str, id: str) -> None:
        self._drop_components(tx, [str(found[-1]) for found in self._lookup("component-of", kind, id, storage=tx)])

    def _drop_participants(self, tx: StorageBackend, keys: Iterable[str]) -> int:
        found = list(keys)
        lookups = []
        for key in found:
            room, entity, agent = split_key(key)
            lookups += [join_key("participant", entity, room, agent), join_key("participant-of", agent, room, entity)]
        tx.delete_many(lookups, namespace=self._places.lookups)
        return tx.delete_many(found, namespace=self._places.participants)

    def _drop_relationships(self, tx: StorageBackend, keys: Iterable[str]) -> int:
        found = self._all(tx, Relationship, self._places.relationships, keys)
        lookups = [key for each in found for key in self._relationship_lookups(each)]
        tx.delete_many(lookups, namespace=self._places.lookups)
        gone = [join_key(each.source_entity_id, each.target_entity_id, str(each.agent_id)) for each in found]
        return tx.delete_many(gone, namespace=self._places.relationships)

    def _drop_logs(self, tx: StorageBackend, keys: Iterable[str]) -> int:
        found = self._all(tx, Log, self._places.logs, keys)
        tx.delete_many([key for each in found for key in self._log_lookups(each)], namespace=self._places.lookups)
        gone = [join_key(each.room_id, int(each.created_at or 0), str(each.id)) for each in found]
        return tx.delete_many(gone, namespace=self._places.logs)

    def _all(self, tx: StorageBackend, kind: Any, place: str, keys: Iterable[str]) -> list[Any]:
        """The records of those keys, whoever owns them: a cascade stops at nobody."""
        return [kind.from_json(value) for value in tx.get_many(dict.fromkeys(keys), namespace=place).values()]

    def _drop_room(self, tx: StorageBackend, id: str) -> bool:
        places = self._places
        value = tx.get(id, namespace=places.rooms)
        if value is None:
            return False
        self._drop_memories_of_room(tx, id)
        self._drop_participants(
            tx, [entry.key for entry in tx.scan(namespace=places.participants, prefix=key_prefix(id))]
        )
        self._drop_components_of(tx, "room", id)
        self._drop_logs(tx, [entry.key for entry in tx.scan(namespace=places.logs, prefix=key_prefix(id))])
        tx.delete_many(self._room_lookups(Room.from_json(value)), namespace=places.lookups)
        return tx.delete(id, namespace=places.rooms)

    def _drop_world(self, tx: StorageBackend, id: str) -> bool:
        value = tx.get(id, namespace=self._places.worlds)
        if value is None:
            return False
        self._drop_components_of(tx, "world", id)
        tx.delete_many(self._world_lookups(World.from_json(value)), namespace=self._places.lookups)
        return tx.delete(id, namespace=self._places.worlds)

    def _drop_entity(self, tx: StorageBackend, id: str) -> bool:
        places = self._places
        value = tx.get(id, namespace=places.entities)
        if value is None:
            return False
        self._drop_components(tx, tx.list(key_prefix(id) + "*", namespace=places.components))
        self._drop_components_of(tx, "source", id)
        rooms = [(room, agent) for room, agent, _ in self._lookup("participant", id, storage=tx)]
        self._drop_participants(tx, [join_key(room, id, agent) for room, agent in rooms])
        outgoing = tx.list(key_prefix(id) + "*", namespace=places.relationships)
        incoming = [join_key(source, id, agent) for source, agent, _ in self._lookup("relationship-to", id, storage=tx)]
        self._drop_relationships(tx, [*outgoing, *incoming])
        logs = [join_key(room, at, log) for at, log, room in self._lookup("log-entity", id, storage=tx)]
        for page in pages(logs):
            self._drop_logs(tx, page)
        keys = [
            memory_key(room, str(table), int(at), str(memory))
            for table, at, memory, room in self._lookup("entity-memory", id, storage=tx)
        ]
        for page in pages(keys):
            self._drop_memories(tx, self._all(tx, Memory, places.memories, page))
        tx.delete_many(self._entity_lookups(Entity.from_json(value)), namespace=places.lookups)
        return tx.delete(id, namespace=places.entities)

    def _drop_task(self, tx: StorageBackend, id: str) -> bool:
        value = tx.get(id, namespace=self._places.tasks)
        if value is None:
            return False
        tx.delete_many(self._task_lookups(Task.from_json(value)), namespace=self._places.lookups)
        return tx.delete(id, namespace=self._places.tasks)

    def _drop_agent(self, tx: StorageBackend, id: str) -> bool:
        """The agent with all that it owns, others' records in its rooms and about its entities included."""
        places = self._places
        owned = list(self._lookup("owned", id, storage=tx))
        drops = {
            "room": self._drop_room,
            "entity": self._drop_entity,
            "world": self._drop_world,
            "task": self._drop_task,
        }
        for kind, record, _ in owned:
            drops[kind](tx, record)
        keys = [
            memory_key(room, str(table), int(at), str(memory))
            for table, at, memory, room in self._lookup("agent-memory", id, storage=tx)
        ]
        for page in pages(keys):
            self._drop_memories(tx, self._all(tx, Memory, places.memories, page))
        self._drop_components_of(tx, "agent", id)
        seats = [join_key(room, entity, id) for room, entity, _ in self._lookup("participant-of", id, storage=tx)]
        self._drop_participants(tx, seats)
        self._drop_relationships(tx, [found[-1] for found in self._lookup("relationship-of", id, storage=tx)])
        for place in (places.cache, places.backlogs):
            tx.delete_many(tx.list(key_prefix(id) + "*", namespace=place), namespace=place)
        spaces = places.vector_places(tx, id)
        for place in spaces:
            tx.delete_namespace(place, recursive=True)
        self._session.known_vector_places.difference_update(spaces)
        return tx.delete(id, namespace=places.agents) or bool(owned or keys)


_MEMORY = key_prefix("memory") + "s"


def _key_of(memory: Memory) -> str:
    return memory_key(memory.room_id, str(memory.table), int(memory.created_at or 0), str(memory.id))
