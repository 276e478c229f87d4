"""Embeddings: the active embedding space, vectors written and read, and what is still to be embedded.

Each agent, logical table and space has a namespace of vectors. Another space is another namespace: a change of model or
dimension leaves the old vectors where they are, readable through ``space=``, and none is ever compared with one of
another space. A memory whose text changes loses its vectors, since they would stand for the old text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...contract import StorageBackend
from ...errors import InvalidInput, InvalidValue
from ...indexes import VectorIndex
from ...names import join_key, split_key
from .binding import check_number, cut, pages
from .cascades import Cascades
from .embedding_space import EmbeddingSpace, unpack
from .errors import EmbeddingSpaceChanged
from .ids import as_uuid
from .layout import memory_key, vector_key
from .records import Memory, check_table


class Reconciled(NamedTuple):
    """What ``reconcile_embedding_space`` found."""

    changed: bool
    """Whether the fingerprint is new: of several concurrent callers one is told so."""
    stale_memory_ids: list[str]
    """Memories with a text and without a vector in the active space."""


class Embeddings(Cascades):
    """The methods on embedding spaces, and the vectors of memories."""

    @property
    def embedding_space(self) -> EmbeddingSpace:
        """The active space: its name and dimensions."""
        return self._session.space

    def ensure_embedding_dimension(self, dimensions: int) -> None:
        """Make the space of that many dimensions the active one. Nothing stored changes or goes.

        Raises InvalidInput (a ValueError) listing the supported numbers, EmbeddingSpaceChanged once a space is fixed.
        """
        check_number(dimensions, "dimensions")
        self._check_supported(dimensions)
        session = self._session
        if session.is_bound_to_space:
            if dimensions != session.space.dimensions:
                raise EmbeddingSpaceChanged(f"the store is bound to embedding space {session.space.name!r}")
            return
        session.space = EmbeddingSpace.plain(dimensions)

    def ensure_embedding_space(self, space_id: str, dimensions: int | None = None) -> list[str]:
        """Bind the store to a space such as ``model:pooling:normalisation:384``; the ids to embed for it again.

        Vectors of other spaces are kept, and invisible. Raises EmbeddingSpaceChanged when it is bound to another one.
        """
        space = EmbeddingSpace.named(space_id, dimensions)
        self._check_supported(space.dimensions)
        session = self._session
        if session.is_bound_to_space and space != session.space:
            raise EmbeddingSpaceChanged(f"the store is bound to embedding space {session.space.name!r}")
        session.space, session.is_bound_to_space = space, True
        return self.get_memories_to_embed()

    def _check_supported(self, dimensions: int) -> None:
        if dimensions not in self._session.dimensions:
            known = ", ".join(map(str, self._session.dimensions))
            raise InvalidInput(f"embeddings have {known} dimensions, not {dimensions}")

    def get_embedding_spaces(self) -> dict[str, int]:
        """The names of the spaces in which the agent has vectors, and how many."""
        counts: dict[str, int] = {}
        for place in self._places.vector_places(self._storage, self._agent_id):
            name = self._places.space_of(place)
            counts[name] = counts.get(name, 0) + self._storage.count(namespace=place)
        return counts

    def get_memories_to_embed(self, table_name: str | None = None, *, limit: int | None = None) -> list[str]:
        """The ids of the agent's memories with a text and without a vector in the active space, oldest first.

        It is found anew at each call: a re-embedding that was interrupted goes on from here.
        """
        if limit is not None:
            check_number(limit, "limit")
        return cut((str(memory.id) for memory in self._without_vector(table_name)), limit)

    def _without_vector(self, table_name: str | None) -> Iterator[Memory]:
        parts = (self._agent_id,) if table_name is None else (self._agent_id, check_table(table_name))
        for page in pages(self._lookup_entries("agent-memory", *parts)):
            keys = [_record_key(entry.key, entry.value) for entry in page]
            memories = [memory for memory in self._get_each(Memory, self._places.memories, keys) if _has_text(memory)]
            vectors = self._vectors_of(memories)
            yield from (memory for memory in memories if memory.id not in vectors)

    def reconcile_embedding_space(self, fingerprint: str) -> Reconciled:
        """Note what the active space's vectors are made with (model version, prompt ...). A new fingerprint drops them:
        they are found among ``stale_memory_ids`` until they are embedded again, at each start.
        """
        if not isinstance(fingerprint, str) or not fingerprint:
            raise InvalidInput("a fingerprint is a non-empty string")
        space, places = self.embedding_space, self._places
        key = join_key(self._agent_id, space.name)

        def note(tx: StorageBackend) -> bool:
            known = tx.get(key, namespace=places.backlogs)
            if known == fingerprint:
                return False
            tx.set(key, fingerprint, namespace=places.backlogs)
            if known is not None:
                for place in places.vector_places(tx, self._agent_id):
                    if places.space_of(place) == space.name:
                        tx.clear(namespace=place)
            return True

        return Reconciled(self._write(note), self.get_memories_to_embed())

    def clear_embeddings_outside_active_dimension(self) -> list[str]:
        """Delete the agent's vectors of all other spaces; the ids of the memories that had one."""

        def clear(tx: StorageBackend) -> list[str]:
            ids: dict[str, None] = {}
            for place in self._places.vector_places(tx, self._agent_id):
                if self._places.space_of(place) != self.embedding_space.name:
                    ids.update((_memory_of(key), None) for key in tx.list(namespace=place))
                    tx.clear(namespace=place)
            return list(ids)

        return self._write(clear)

    def update_memory_embedding(self, id: str, embedding: Any, *, expected: Mapping[str, Any] | None = None) -> bool:
        """Store the vector of a memory; whether it was stored.

        ``expected`` may have agentId, entityId, roomId and text: a memory that differs in one of them has changed since
        it was read, and is left alone. Raises WrongDimension, InvalidValue for a vector that is empty or all zero.
        """
        id = as_uuid(id)
        packed = self.embedding_space.pack(embedding)
        if packed is None:
            raise InvalidValue("an embedding is neither missing nor all zero")
        wanted = dict(expected or {})
        unknown = wanted.keys() - {"agentId", "entityId", "roomId", "text"}
        if unknown:
            raise InvalidInput(f"expected takes agentId, entityId, roomId and text, not {', '.join(sorted(unknown))}")
        found = self._find_memories(self._storage, [id])
        if found:
            self._ready_vectors([(str(found[0].agent_id), str(found[0].table))])

        def store(tx: StorageBackend) -> bool:
            for memory in self._find_memories(tx, [id]):
                now_there = {**memory.to_json(), "text": memory.text}
                if any(now_there.get(name) != value for name, value in wanted.items()):
                    return False
                tx.set_many(self._vector_items(memory, packed))
                return True
            return False

        return self._write(store)

    # -- for the other parts -------------------------------------------------------------------------------------------

    def _ready_vectors(self, owners: Iterable[tuple[str, str]], space: EmbeddingSpace | None = None) -> None:
        """See that there are namespaces with vector indexes for those agents and tables."""
        space = space or self.embedding_space
        for agent, table in set(owners):
            place = self._places.vectors(agent, table, space.name)
            if place not in self._session.known_vector_places:
                index = VectorIndex(space.dimensions, max_vectors=self._session.max_vectors)
                self._storage.create_index(place, index, name="embedding")
                if not self._in_transaction:
                    self._session.known_vector_places.add(place)

    @property
    def _in_transaction(self) -> bool:
        return hasattr(self._storage, "is_active")

    def _vector_items(self, memory: Memory, packed: bytes) -> list[dict[str, Any]]:
        """What to write for the vector of a memory: itself, and the lookup of its text."""
        metadata: dict[str, Any] = {"createdAt": memory.created_at, "unique": memory.unique is not False}
        for name, value in (("entityId", memory.entity_id), ("worldId", memory.world_id)):
            if value is not None:
                metadata[name] = value
        place = self._places.vectors(str(memory.agent_id), str(memory.table), self.embedding_space.name)
        key = vector_key(memory.room_id, str(memory.id))
        lookups = [
            {"namespace": self._places.lookups, "key": lookup, "value": value}
            for lookup, value in self._text_lookup(memory).items()
        ]
        return [{"namespace": place, "key": key, "value": packed, "metadata": metadata}, *lookups]

    def _drop_vectors(self, tx: StorageBackend, memory: Memory) -> None:
        """Delete the vectors of a memory in every space, and the lookup of its text."""
        key = vector_key(memory.room_id, str(memory.id))
        for place in self._places.vector_places(tx, str(memory.agent_id), str(memory.table)):
            tx.delete(key, namespace=place)
        tx.delete_many(self._text_lookup(memory), namespace=self._places.lookups)

    def _vectors_of(self, memories: Sequence[Memory], storage: StorageBackend | None = None) -> dict[str | None, bytes]:
        """The vectors of memories in the active space, by memory id."""
        by_place: dict[str, dict[str, str | None]] = {}
        for memory in memories:
            place = self._places.vectors(str(memory.agent_id), str(memory.table), self.embedding_space.name)
            by_place.setdefault(place, {})[vector_key(memory.room_id, str(memory.id))] = memory.id
        found: dict[str | None, bytes] = {}
        for place, keys in by_place.items():
            held = (storage or self._storage).get_many(keys, namespace=place)
            found.update((keys[key], vector) for key, vector in held.items())
        return found

    def _with_vectors(self, memories: list[Memory]) -> list[Memory]:
        """The memories with their embeddings of the active space."""
        vectors = self._vectors_of(memories)
        return [
            memory.filled(embedding=unpack(vectors[memory.id])) if memory.id in vectors else memory
            for memory in memories
        ]


def _has_text(memory: Memory) -> bool:
    return bool(memory.text and memory.text.strip())


def _record_key(lookup: str, room: str | None) -> str:
    """The key of the memory that a lookup of agent, entity or world stands for."""
    table, at, memory = split_key(lookup)[2:]
    return memory_key(room, str(table), int(at), str(memory))


def _memory_of(key: str) -> str:
    return str(split_key(key)[-1])
