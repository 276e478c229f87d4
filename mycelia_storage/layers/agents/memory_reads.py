"""Reading memories: by id, newest first along the narrowest lookup there is, and counting them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ...contract import Entry
from ...errors import InvalidInput
from ...filters import where
from ...names import join_key, key_prefix
from .binding import check_ids, check_page, cut, pages
from .embeddings import Embeddings, _record_key
from .ids import as_uuid
from .layout import short
from .memory_conditions import Condition, conditions_of, field_is
from .record_fields import check_time
from .records import Memory, check_table

#: Memories that a read along a lookup fetches at a time.
_LOADED_TOGETHER: Final = 50


class MemoryReads(Embeddings):
    """The reading methods on memories."""

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
            conditions=conditions_of(unique, metadata, text_contains),
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
        conditions = conditions_of(bool(room_id is not None if unique is None else unique), metadata, None)
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
        prefix = key_prefix(*parts)
        if not {"*", "?"} & set(prefix):
            # Keys alone are read from their index; a count looks at each entry, whether it has expired.
            return len(self._storage.list(prefix + "*", namespace=place))
        return self._storage.count(namespace=place, filter=where("$key").starts_with(prefix))

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
            tests.append(field_is("agent_id", self._agent_id))
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
        tests += [field_is(name, value) for name, value in left.items() if value is not None]
        place = self._places.memories if room is not None else self._places.lookups
        entries = self._storage.scan(
            namespace=place,
            prefix=key_prefix(*beginning),
            start=None if start is None else join_key(*beginning, check_time(start, "start")),
            end=None if end is None else join_key(*beginning, check_time(end, "end") + 1),
            reverse=reverse,
            limit=None if tests else wanted,
        )
        memories = self._load(entries) if room is None else (Memory.from_stored(entry.value) for entry in entries)
        return (memory for memory in memories if all(test(memory) for test in tests))

    def _load(self, lookups: Iterator[Entry]) -> Iterator[Memory]:
        for page in pages(lookups, _LOADED_TOGETHER):
            keys = [_record_key(entry.key, entry.value) for entry in page]
            yield from self._get_each(Memory, self._places.memories, keys)


def _newest_first(memories: Iterable[Memory]) -> list[Memory]:
    return sorted(memories, key=lambda memory: (memory.created_at or 0, memory.id or ""), reverse=True)
