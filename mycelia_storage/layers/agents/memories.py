"""Memories: created with their embedding in one commit, read newest first, updated, counted, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from ...contract import Entry, StorageBackend
from ...errors import InvalidInput, InvalidValue
from ...filters import identity, where
from ...names import join_key, key_prefix
from .binding import check_ids, check_page, cut, now, pages
from .embeddings import Embeddings, _record_key
from .ids import as_uuid, new_uuid
from .layout import memory_key, short
from .plain_json import check_object
from .records import Memory, check_id, check_memory_metadata, check_table, check_time
from .uniqueness import Probe

MemoryInput = Memory | Mapping[str, Any]
Condition = Callable[[Memory], bool]

#: Memories that a read along a lookup fetches at a time.
_LOADED_TOGETHER: Final = 50


class Memories(Embeddings):
    """The methods on memories, but for searching them."""

    # -- creating ------------------------------------------------------------------------------------------------------

    def create_memory(self, memory: MemoryInput, table_name: str, unique: bool | None = None) -> str:
        """Store a memory with its embedding in one commit; its id. One whose id is taken changes nothing.

        Whether it is unique says the memory itself, else ``unique``, else, if it has an embedding, whether the same
        room, world and entity hold none with a similarity of 0.95; it only marks the memory, which is stored anyhow.
        Raises UnknownRecord for a room or entity that is not there, WrongDimension, InvalidValue.
        """
        return self.create_memories([(memory, table_name, unique)])[0]

    def create_memories(self, memories: Iterable[Any]) -> list[str]:
        """The same for several, all or none: (memory, table name) or (memory, table name, unique), or mappings with
        ``memory``, ``tableName`` and optionally ``unique``; the ids in that order.
        """
        prepared = [self._prepare(*_read_item(item)) for item in memories]
        self._ready_vectors((str(memory.agent_id), str(memory.table)) for memory, packed in prepared if packed)
        probe = Probe(self)
        marked = [(probe.mark(memory, packed), packed) for memory, packed in prepared]
        self._write(self._store_new, marked)
        return [str(memory.id) for memory, _ in prepared]

    def upsert_memories(self, memories: Iterable[Any]) -> None:
        """Store each memory, or replace content, metadata, flag and embedding (those given) of the one with its id."""
        prepared = [self._prepare(*_read_item(item)) for item in memories]
        self._ready_vectors((str(memory.agent_id), str(memory.table)) for memory, packed in prepared if packed)

        def upsert(tx: StorageBackend) -> None:
            known = {memory.id: memory for memory in self._find_memories(tx, [str(new.id) for new, _ in prepared])}
            self._store_new(tx, [(new, packed) for new, packed in prepared if new.id not in known])
            for new, packed in prepared:
                old = known.get(new.id)
                if old is not None:
                    unique = old.unique if new.unique is None else new.unique
                    self._replace(tx, old, old.with_(content=new.content, metadata=new.metadata, unique=unique), packed)

        self._write(upsert)

    def _prepare(self, given: MemoryInput, table_name: str, unique: bool | None) -> tuple[Memory, bytes | None]:
        """The memory as it will be stored, without its embedding, and that as bytes."""
        memory = Memory.of(given)
        packed = self.embedding_space.pack(memory.embedding)
        check_memory_metadata(memory.metadata)
        if unique is not None and not isinstance(unique, bool):
            raise InvalidInput("unique is true, false or not given")
        return (
            memory.with_(
                id=memory.id or new_uuid(),
                agent_id=self._owner(memory.agent_id),
                created_at=now() if memory.created_at is None else memory.created_at,
                unique=unique if memory.unique is None else memory.unique,
                table=check_table(table_name),
                embedding=None,
                similarity=None,
            ),
            packed,
        )

    def _store_new(self, tx: StorageBackend, memories: list[tuple[Memory, bytes | None]]) -> None:
        places = self._places
        self._require(tx, places.rooms, (memory.room_id for memory, _ in memories), "room")
        self._require(tx, places.entities, (memory.entity_id for memory, _ in memories), "entity")
        taken = set(tx.get_many([join_key("memory", str(each.id)) for each, _ in memories], namespace=places.lookups))
        items: list[dict[str, Any]] = []
        for memory, packed in memories:
            lookup = join_key("memory", str(memory.id))
            if lookup in taken:
                continue
            taken.add(lookup)
            items += self._items(memory.with_(unique=memory.unique is not False))
            if packed is not None:
                items += self._vector_items(memory, packed)
        if items:
            tx.set_many(items)

    def _items(self, memory: Memory) -> list[dict[str, Any]]:
        key = memory_key(memory.room_id, str(memory.table), int(memory.created_at or 0), str(memory.id))
        lookups = self._memory_lookups(memory).items()
        return [
            {"namespace": self._places.memories, "key": key, "value": memory.to_json()},
            *({"namespace": self._places.lookups, "key": lookup, "value": value} for lookup, value in lookups),
        ]

    # -- reading -------------------------------------------------------------------------------------------------------

    def get_memory_by_id(self, id: str) -> Memory | None:
        """The memory with its embedding in the active space, or None."""
        found = self._with_vectors(self._find_memories(self._storage, [as_uuid(id)]))
        return found[0] if found else None

    def get_memories_by_ids(self, ids: Iterable[str], table_name: str | None = None) -> list[Memory]:
        """The memories of those ids that exist, in that table if one is named, newest first; with embeddings."""
        table = None if table_name is None else check_table(table_name)
        found = self._find_memories(self._storage, check_ids(ids, "ids"))
        return self._with_vectors(_newest_first(memory for memory in found if table in (None, memory.table)))

    def get_memories(
        self,
        table_name: str,
        *,
        room_id: str | None = None,
        world_id: str | None = None,
        entity_id: str | None = None,
        agent_id: str | None = None,
        unique: bool = False,
        start: int | None = None,
        end: int | None = None,
        count: int | None = None,
        limit: int | None = None,
        offset: int = 0,
        metadata: Mapping[str, Any] | None = None,
        text_contains: str | None = None,
        order_direction: str = "desc",
        include_embedding: bool = True,
    ) -> list[Memory]:
        """The memories of a table that meet every argument given, newest first (``order_direction="asc"``: oldest).

        Of equal times the higher id is newer. ``start`` and ``end`` are milliseconds, inclusive. ``count`` is the older
        name of ``limit``; 0 gives nothing, None everything. ``unique=True`` leaves out what is marked as not unique.
        ``metadata``: top-level names that must be there and equal as JSON. ``text_contains``: a part of
        ``content.text``, whatever its case; a blank one filters nothing. Of a room, an entity or a world the memories
        of all agents are found unless ``agent_id`` or strict mode says otherwise; without these, the agent's own.
        """
        if order_direction not in ("asc", "desc"):
            raise InvalidInput("order_direction is asc or desc")
        limit, offset = check_page(count if limit is None else limit, offset)
        agent = None if agent_id is None else as_uuid(agent_id)
        found = self._find(
            check_table(table_name),
            room=None if room_id is None else as_uuid(room_id),
            entity=None if entity_id is None else as_uuid(entity_id),
            world=None if world_id is None else as_uuid(world_id),
            agent=agent,
            start=start,
            end=end,
            reverse=order_direction == "desc",
            conditions=_conditions(unique, metadata, text_contains),
            wanted=None if limit is None else offset + limit,
        )
        memories = cut(found, limit, offset)
        return self._with_vectors(memories) if include_embedding else memories

    def get_memories_by_room_ids(
        self, *, table_name: str, room_ids: Iterable[str], limit: int | None = None
    ) -> list[Memory]:
        """The agent's memories of those rooms, newest first, without embeddings."""
        table, rooms = check_table(table_name), dict.fromkeys(check_ids(room_ids, "room_ids"))
        limit, _ = check_page(limit, None)
        found = [
            memory
            for room in rooms
            for memory in cut(self._find(table, room=room, agent=self._agent_id, reverse=True, wanted=limit), limit)
        ]
        return _newest_first(found)[:limit]

    def get_memories_by_world_id(
        self, *, world_id: str, count: int | None = None, table_name: str = "messages"
    ) -> list[Memory]:
        """The agent's memories of the rooms that belong to a world now, newest first, without embeddings."""
        rooms = [str(room) for room, _ in self._lookup("world-room", as_uuid(world_id))]
        return self.get_memories_by_room_ids(table_name=table_name, room_ids=rooms, limit=count)

    def get_memories_by_server_id(
        self, *, server_id: str, count: int | None = None, table_name: str = "messages"
    ) -> list[Memory]:
        """The same of the rooms on a message server."""
        rooms = [str(room) for room, _ in self._lookup("server-room", short(server_id))]
        return self.get_memories_by_room_ids(table_name=table_name, room_ids=rooms, limit=count)

    def count_memories(
        self,
        room_id: str | Iterable[str] | None = None,
        unique: bool | None = None,
        table_name: str | None = None,
        *,
        room_ids: Iterable[str] | None = None,
        entity_id: str | None = None,
        agent_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """How many memories there are.

        As in elizaOS there are two forms: with a room, ``count_memories(room, unique=True, table_name)``; by keywords,
        ``count_memories(room_ids=..., unique=False, table_name="messages", ...)``.
        """
        conditions = _conditions(bool(room_id is not None if unique is None else unique), metadata, None)
        if room_id is not None:
            if table_name is None:
                raise InvalidInput("tableName is required: count_memories(room_id, unique, table_name)")
            rooms: list[str] | None = [as_uuid(room_id)] if isinstance(room_id, str) else check_ids(room_id, "room_id")
        else:
            rooms = None if room_ids is None else check_ids(room_ids, "room_ids")
        table = check_table("messages" if table_name is None else table_name)
        entity = None if entity_id is None else as_uuid(entity_id)
        agent = None if agent_id is None else as_uuid(agent_id)
        plain = entity is None and agent is None and not metadata and not self.strict
        if rooms is None:
            return sum(1 for _ in self._find(table, entity=entity, agent=agent, conditions=conditions))
        total = 0
        for room in dict.fromkeys(rooms):
            if plain:
                total += self._count_keys(self._places.memories, room, table)
                total -= self._count_keys(self._places.lookups, "repeat", room, table) if conditions else 0
            else:
                found = self._find(table, room=room, entity=entity, agent=agent, conditions=conditions)
                total += sum(1 for _ in found)
        return total

    def _count_keys(self, place: str, *parts: str) -> int:
        return self._storage.count(namespace=place, filter=where("$key").starts_with(key_prefix(*parts)))

    def _find(
        self,
        table: str,
        *,
        room: str | None = None,
        entity: str | None = None,
        world: str | None = None,
        agent: str | None = None,
        start: int | None = None,
        end: int | None = None,
        reverse: bool = False,
        conditions: Iterable[Condition] = (),
        wanted: int | None = None,
    ) -> Iterator[Memory]:
        """The memories along the narrowest lookup there is. ``wanted``: how many the caller will draw at most."""
        tests = list(conditions)
        if self.strict:
            tests.append(_field_is("agent_id", self._agent_id))
        left: dict[str, str | None] = {"entity_id": entity, "world_id": world, "agent_id": agent}
        if room is not None:
            beginning: tuple[str, ...] = (room, table)
        elif entity is not None:
            beginning = ("entity-memory", entity, table)
            del left["entity_id"]
        elif world is not None:
            beginning = ("world-memory", world, table)
            del left["world_id"]
        else:
            beginning = ("agent-memory", agent or self._agent_id, table)
            del left["agent_id"]
        tests += [_field_is(name, value) for name, value in left.items() if value is not None]
        place = self._places.memories if room is not None else self._places.lookups
        entries = self._storage.scan(
            namespace=place,
            prefix=key_prefix(*beginning),
            start=None if start is None else join_key(*beginning, check_time(start, "start")),
            end=None if end is None else join_key(*beginning, check_time(end, "end") + 1),
            reverse=reverse,
            limit=None if tests else wanted,
        )
        memories = self._load(entries) if room is None else (Memory.from_json(entry.value) for entry in entries)
        return (memory for memory in memories if all(test(memory) for test in tests))

    def _load(self, lookups: Iterator[Entry]) -> Iterator[Memory]:
        for page in pages(lookups, _LOADED_TOGETHER):
            keys = [_record_key(entry.key, entry.value) for entry in page]
            yield from self._get_each(Memory, self._places.memories, keys)

    # -- updating ------------------------------------------------------------------------------------------------------

    def update_memory(self, memory: Mapping[str, Any]) -> bool:
        """Replace content, metadata or embedding, those given, of the memory with that ``id``; whether it exists.

        Each replaces the whole: nothing is merged. A changed text takes the embedding with it unless a new one is
        given. Room, entity, table and time never change: other fields raise InvalidInput.
        """
        return self.update_memories([memory])[0]

    def update_memories(self, memories: Iterable[Mapping[str, Any]]) -> list[bool]:
        """The same for several, all or none; whether each exists."""
        patches = [self._read_patch(patch) for patch in memories]
        found = self._find_memories(self._storage, [id for id, _, packed in patches if packed])
        self._ready_vectors((str(memory.agent_id), str(memory.table)) for memory in found)

        def update(tx: StorageBackend) -> list[bool]:
            done = []
            for id, changes, packed in patches:
                known = self._find_memories(tx, [id])
                done.append(bool(known))
                for old in known:
                    self._replace(tx, old, old.with_(**changes), packed)
            return done

        return self._write(update)

    def _read_patch(self, patch: Any) -> tuple[str, dict[str, Any], bytes | None]:
        if isinstance(patch, Memory):
            raise InvalidInput("update_memory takes a mapping with id and what changes: a Memory holds every field")
        if not isinstance(patch, Mapping) or patch.get("id") is None:
            raise InvalidInput("update_memory takes a mapping with the id and what changes")
        unknown = patch.keys() - {"id", "content", "metadata", "embedding", "unique"}
        if unknown:
            raise InvalidInput(f"update_memory changes content, metadata, embedding and unique, not {sorted(unknown)}")
        changes = {name: patch[name] for name in ("content", "metadata", "unique") if patch.get(name) is not None}
        if "metadata" in changes:
            changes["metadata"] = check_object(changes["metadata"], "metadata")
            check_memory_metadata(changes["metadata"])
        embedding = patch.get("embedding")
        return check_id(patch["id"], "id"), changes, self.embedding_space.pack(embedding)

    def _replace(self, tx: StorageBackend, old: Memory, new: Memory, packed: bytes | None) -> None:
        gone = self._memory_lookups(old).keys() - self._memory_lookups(new).keys()
        if gone:
            tx.delete_many(sorted(gone), namespace=self._places.lookups)
        items = self._items(new)
        if new.text != old.text:
            self._drop_vectors(tx, old)
        elif packed is None and new.unique != old.unique:
            held = self._vectors_of([old], tx)
            items += self._vector_items(new, held[old.id]) if held else []
        if packed is not None:
            items += self._vector_items(new, packed)
        tx.set_many(items)

    # -- deleting ------------------------------------------------------------------------------------------------------

    def delete_memory(self, id: str) -> bool:
        """Delete a memory, its fragments and their vectors; whether it existed."""
        return self.delete_memories([id]) > 0

    def delete_memories(self, ids: Iterable[str]) -> int:
        """The same for several, all or none; how many memories went, fragments included."""
        wanted = check_ids(ids, "ids")
        return self._write(lambda tx: self._drop_memories(tx, self._find_memories(tx, wanted), fragments=True))

    def delete_many_memories(self, ids: Iterable[str]) -> int:
        """The older name of :meth:`delete_memories`."""
        return self.delete_memories(ids)

    def delete_all_memories(self, room_ids: str | Iterable[str], table_name: str) -> int:
        """Delete a table's memories of a room, or of several, with their fragments; how many went.

        Whoever's they are; in strict mode the agent's own.
        """
        rooms = [as_uuid(room_ids)] if isinstance(room_ids, str) else check_ids(room_ids, "room_ids")
        table = check_table(table_name)

        def delete(tx: StorageBackend) -> int:
            gone = 0
            for room in dict.fromkeys(rooms):
                entries = list(tx.scan(namespace=self._places.memories, prefix=key_prefix(room, table)))
                for page in pages(entries):
                    memories = [Memory.from_json(entry.value) for entry in page if self._sees(entry.value["agentId"])]
                    gone += self._drop_memories(tx, memories, fragments=True)
            return gone

        return self._write(delete)


def _read_item(item: Any) -> tuple[MemoryInput, str, bool | None]:
    if isinstance(item, Mapping):
        unknown = item.keys() - {"memory", "tableName", "table_name", "unique"}
        if unknown or "memory" not in item:
            raise InvalidInput("an item has memory and tableName, and may have unique")
        return item["memory"], check_table(item.get("tableName", item.get("table_name"))), item.get("unique")
    if isinstance(item, tuple) and len(item) in (2, 3):
        return item[0], item[1], item[2] if len(item) == 3 else None
    raise InvalidInput("an item is (memory, table name), (memory, table name, unique) or a mapping of these")


def _newest_first(memories: Iterable[Memory]) -> list[Memory]:
    return sorted(memories, key=lambda memory: (memory.created_at or 0, memory.id or ""), reverse=True)


def _field_is(name: str, value: str) -> Condition:
    return lambda memory: getattr(memory, name) == value


def _conditions(unique: bool, metadata: Mapping[str, Any] | None, text: str | None) -> list[Condition]:
    found: list[Condition] = []
    if not isinstance(unique, bool):
        raise InvalidInput("unique is true or false")
    if unique:
        found.append(lambda memory: memory.unique is not False)
    if metadata:
        found.append(metadata_condition(metadata))
    if text is not None:
        if not isinstance(text, str):
            raise InvalidValue("text_contains is a string")
        part = text.casefold()
        if part.strip():
            found.append(lambda memory: part in (memory.text or "").casefold())
    return found


def metadata_condition(metadata: Mapping[str, Any]) -> Condition:
    """Whether a memory's metadata has all these top-level names with these values, equal as JSON."""
    wanted = {name: identity(value) for name, value in check_object(metadata, "metadata").items()}

    def holds(memory: Memory) -> bool:
        held = memory.metadata
        return all(name in held and identity(held[name]) == value for name, value in wanted.items())

    return holds
