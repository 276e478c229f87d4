"""Memories: created with their embedding in one commit, read newest first, updated, counted, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ...contract import StorageBackend
from ...errors import InvalidInput
from ...names import join_key, key_prefix
from .binding import check_ids, check_number, now, pages
from .ids import as_uuid, new_uuid
from .layout import memory_key
from .memory_reads import MemoryReads
from .plain_json import check_object
from .record_fields import check_id, check_time
from .records import Memory, check_memory_metadata, check_table
from .uniqueness import Probe

MemoryInput = Memory | Mapping[str, Any]
Condition = Callable[[Memory], bool]

#: Memories that a read along a lookup fetches at a time.
_LOADED_TOGETHER: Final = 50


class Memories(MemoryReads):
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
            memory.filled(  # nothing here that has not been checked
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
        wanted = {
            places.rooms: [memory.room_id for memory, _ in memories],
            places.entities: [memory.entity_id for memory, _ in memories],
        }
        lookups = [join_key("memory", str(memory.id)) for memory, _ in memories]
        taken = set(self._require(tx, wanted, {places.lookups: lookups})[places.lookups])
        items: list[dict[str, Any]] = []
        for memory, packed in memories:
            lookup = join_key("memory", str(memory.id))
            if lookup in taken:
                continue
            taken.add(lookup)
            items += self._items(memory.filled(unique=memory.unique is not False))
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
                    memories = [Memory.from_stored(entry.value) for entry in page if self._sees(entry.value["agentId"])]
                    gone += self._drop_memories(tx, memories, fragments=True)
            return gone

        return self._write(delete)

    def prune_memories(
        self,
        table_name: str,
        *,
        room_ids: Iterable[str] | None = None,
        keep: int | None = None,
        before: int | None = None,
    ) -> int:
        """Delete the agent's oldest memories of a table: in each room those beyond the newest ``keep``, and those of
        before a time in milliseconds; with fragments and vectors. How many went.

        ``room_ids``: of those rooms alone, else of all the agent's rooms. A room is one transaction.
        """
        table = check_table(table_name)
        if keep is None and before is None:
            raise InvalidInput("prune_memories takes keep, before or both")
        kept = None if keep is None else check_number(keep, "keep")
        oldest = None if before is None else check_time(before, "before")
        if room_ids is None:
            rooms = [str(room) for room, _ in self._lookup("owned", self._agent_id, "room")]
        else:
            rooms = check_ids(room_ids, "room_ids")

        def prune(tx: StorageBackend, room: str) -> int:
            entries = tx.scan(namespace=self._places.memories, prefix=key_prefix(room, table), reverse=True)
            own = (entry.value for entry in entries if entry.value["agentId"] == self._agent_id)
            surplus = [
                Memory.from_stored(value)
                for number, value in enumerate(own)
                if (kept is not None and number >= kept) or (oldest is not None and value["createdAt"] < oldest)
            ]
            return sum(self._drop_memories(tx, page, fragments=True) for page in pages(surplus))

        return sum(self._write(prune, room) for room in dict.fromkeys(rooms))


def _read_item(item: Any) -> tuple[MemoryInput, str, bool | None]:
    if isinstance(item, Mapping):
        unknown = item.keys() - {"memory", "tableName", "table_name", "unique"}
        if unknown or "memory" not in item:
            raise InvalidInput("an item has memory and tableName, and may have unique")
        return item["memory"], check_table(item.get("tableName", item.get("table_name"))), item.get("unique")
    if isinstance(item, tuple) and len(item) in (2, 3):
        return item[0], item[1], item[2] if len(item) == 3 else None
    raise InvalidInput("an item is (memory, table name), (memory, table name, unique) or a mapping of these")
