"""Finding memories by likeness: of their embeddings, or of their text to one that was embedded before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from ...contract import SearchHits
from ...errors import IndexNotFound, InvalidInput
from ...filters import Filter, Or, where
from ...indexes import TextIndex
from ...names import join_key, key_prefix, split_key
from .binding import check_ids, check_number
from .embedding_space import EmbeddingSpace, unpack
from .ids import as_uuid
from .layout import memory_key, text_digest
from .memories import Memories
from .records import Memory, check_table


class CachedEmbedding(NamedTuple):
    """The embedding of a text like the one asked for, and how many characters set them apart."""

    embedding: tuple[float, ...]
    levenshtein_score: int


class FoundMessage(NamedTuple):
    """A memory that a search by words found, and how well it fits."""

    memory: Memory
    fts_rank: float


#: The text of a memory: ``content.text``, or a content that is a text itself.
TEXT_INDEX: Final = TextIndex({"content.text": 1.0, "content": 1.0})


class Recall(Memories):
    """The searching methods."""

    def search_memories(
        self,
        embedding: Any,
        table_name: str,
        *,
        match_threshold: float | None = None,
        count: int | None = None,
        limit: int | None = None,
        offset: int = 0,
        unique: bool = False,
        room_id: str | None = None,
        world_id: str | None = None,
        entity_id: str | None = None,
        space: str | None = None,
        include_embedding: bool = True,
    ) -> list[Memory]:
        """The agent's memories of a table nearest to ``embedding``, each with its ``similarity``, the cosine.

        Of equal similarity the newer comes first, then the higher id. ``match_threshold``: the least similarity, 0 and
        None for no bound. ``limit``, also called ``count``, is 10 unless given. Memories without a vector in the active
        space never appear; ``space`` names another one, such as ``"768"`` for the plain one of 768 dimensions. Filters
        apply before the cut. Raises WrongDimension; an all-zero vector, which has no direction, finds nothing.
        """
        table = check_table(table_name)
        least = _threshold(match_threshold)
        wanted = check_number(next((each for each in (limit, count) if each is not None), 10), "limit")
        check_number(offset, "offset")
        active = self._space(space)
        query = active.pack(embedding)
        condition = _scope(room_id, world_id, entity_id, unique)
        if query is None or not wanted:
            return []
        found = self._nearest(query, table, active, condition, offset + wanted)
        if least is not None:
            found = [(score, memory, vector) for score, memory, vector in found if score >= least]
        return [
            memory.filled(similarity=score, embedding=unpack(vector) if include_embedding else None)
            for score, memory, vector in found[offset : offset + wanted]
        ]

    def search_memories_by_embedding(self, embedding: Any, *, table_name: str, **options: Any) -> list[Memory]:
        """The older name of :meth:`search_memories`, with the same options."""
        return self.search_memories(embedding, table_name, **options)

    def _space(self, name: str | None) -> EmbeddingSpace:
        active = self.embedding_space
        return active if name is None or name == active.name else EmbeddingSpace.named(name)

    def _nearest(
        self, query: bytes, table: str, space: EmbeddingSpace, condition: Filter | None, wanted: int
    ) -> list[tuple[float, Memory, bytes]]:
        place = self._places.vectors(self._agent_id, table, space.name)
        size = wanted + 1
        while True:
            hits = self._search(query, place, condition, size)
            # Of equal scores the storage takes the lower key; here the newer memory counts, so take them all.
            if len(hits) < size or hits[-1].score < hits[wanted - 1].score:
                break
            size *= 2
        keys = {}
        for hit in hits:
            room, memory = split_key(hit.key)
            at = hit.metadata.get("createdAt")
            keys[memory_key(str(room), table, at if isinstance(at, int) else 0, str(memory))] = hit
        held = self._storage.get_many(keys, namespace=self._places.memories)
        found = [
            (min(1.0, max(-1.0, hit.score)), Memory.from_stored(held[key]), hit.value)
            for key, hit in keys.items()
            if key in held
        ]
        found.sort(key=lambda each: (each[0], each[1].created_at or 0, each[1].id or ""), reverse=True)
        return found

    def _search(self, query: bytes, place: str, condition: Filter | None, size: int) -> SearchHits:
        try:
            return self._storage.search_vectors(query, namespace=place, limit=size, filter=condition)
        except IndexNotFound:  # nothing was ever embedded there
            return SearchHits()

    def search_messages(
        self, query: str, *, room_ids: Iterable[str], table_name: str = "messages", limit: int = 20
    ) -> list[FoundMessage]:
        """The memories of a table in those rooms that fit the words of ``query`` best, by BM25 over ``content.text``.

        The agent's own. The first call makes the text index of the namespace, from all memories there are; from then on
        every write keeps it up.
        """
        table, rooms = check_table(table_name), list(dict.fromkeys(check_ids(room_ids, "room_ids")))
        check_number(limit, "limit")
        if not rooms:
            return []
        session, place = self._session, self._places.memories
        if not session.has_text_index:
            self._storage.create_index(place, TEXT_INDEX, name="text")
            session.has_text_index = not self._in_transaction
        beginnings: list[Filter] = [where("$key").starts_with(key_prefix(room, table)) for room in rooms]
        within = beginnings[0] if len(beginnings) == 1 else Or(tuple(beginnings))
        own = where("agentId") == self._agent_id
        hits = self._storage.search_text(query, namespace=place, limit=limit, filter=within & own, index="text")
        return [FoundMessage(Memory.from_stored(hit.value), hit.score) for hit in hits]

    def get_cached_embeddings(
        self,
        *,
        query_table_name: str,
        query_input: str,
        query_threshold: int = 0,
        query_field_name: str = "content",
        query_field_sub_name: str = "text",
        query_match_count: int = 10,
    ) -> list[CachedEmbedding]:
        """Embeddings, in the active space, of the agent's texts that differ from ``query_input`` in at most
        ``query_threshold`` characters (Levenshtein distance over code points), the nearest first.

        Texts of ``content.text`` are looked up by their length; other fields are read through. The threshold is 0
        unless given: an embedding of another text is another embedding.
        """
        table, most = check_table(query_table_name), check_number(query_threshold, "query_threshold")
        count = check_number(query_match_count, "query_match_count")
        if not isinstance(query_input, str):
            raise InvalidInput("query_input is a string")
        if query_field_name not in ("content", ""):
            raise InvalidInput("query_field_name is content: no other field is embedded")
        by_length = query_field_sub_name == "text"
        candidates = self._of_length(table, query_input, most) if by_length else self._find(table)
        scored: list[tuple[int, int, str, Memory]] = []
        for memory in candidates:
            text = memory.text if by_length else _part(memory, query_field_sub_name)
            distance = None if text is None else levenshtein(query_input, text, most)
            if distance is not None and memory.agent_id == self._agent_id:
                scored.append((distance, -(memory.created_at or 0), memory.id or "", memory))
        scored.sort(key=lambda each: each[:3])
        found: list[CachedEmbedding] = []
        for distance, _, _, memory in scored:
            if len(found) == count:
                break
            vector = unpack(self._vectors_of([memory]).get(memory.id))
            if vector is not None:
                found.append(CachedEmbedding(vector, distance))
        return found

    def _of_length(self, table: str, text: str, most: int) -> Iterator[Memory]:
        """The embedded memories whose text is as long, give or take ``most`` characters; for 0 those equal to it."""
        parts = ("text", self._agent_id, table)
        if most == 0:
            prefix: dict[str, Any] = {"prefix": key_prefix(*parts, len(text), text_digest(text))}
        else:
            low, high = max(0, len(text) - most), len(text) + most + 1
            prefix = {"prefix": key_prefix(*parts), "start": join_key(*parts, low), "end": join_key(*parts, high)}
        for entry in self._storage.scan(namespace=self._places.lookups, **prefix):
            room, at = entry.value
            key = memory_key(room, table, at, str(split_key(entry.key)[-1]))
            value = self._storage.get(key, namespace=self._places.memories)
            if value is not None:
                yield Memory.from_stored(value)


def _threshold(threshold: float | None) -> float | None:
    if threshold is None:
        return None
    if not isinstance(threshold, int | float) or isinstance(threshold, bool) or not -1 <= threshold <= 1:
        raise InvalidInput("match_threshold is a cosine, from -1 to 1")
    return threshold or None


def _scope(room: str | None, world: str | None, entity: str | None, unique: bool) -> Filter | None:
    """The filter on vectors. Their keys begin with the room, so that a search reads its room alone."""
    parts: list[Filter] = []
    if room is not None:
        parts.append(where("$key").starts_with(key_prefix(as_uuid(room))))
    if world is not None:
        parts.append(where("$metadata.worldId") == as_uuid(world))
    if entity is not None:
        parts.append(where("$metadata.entityId") == as_uuid(entity))
    if unique:
        parts.append(where("$metadata.unique") == True)  # noqa: E712
    if not parts:
        return None
    condition = parts[0]
    for part in parts[1:]:
        condition &= part
    return condition


def _part(memory: Memory, name: str) -> str | None:
    value = memory.content.get(name) if isinstance(memory.content, dict) else None
    return value if isinstance(value, str) else None


def levenshtein(one: str, other: str, most: int) -> int | None:
    """The Levenshtein distance of two texts over code points, or None if it is above ``most``.

    >>> levenshtein("kitten", "sitting", 3), levenshtein("kitten", "sitting", 2)
    (3, None)
    """
    if one == other:
        return 0
    if most <= 0 or abs(len(one) - len(other)) > most:
        return None
    # Only a band of cells around the diagonal can lie within the bound.
    before = {column: column for column in range(min(len(other), most) + 1)}
    for row, character in enumerate(one, start=1):
        first = max(0, row - most)
        line: dict[int, int] = {}
        for column in range(first, min(len(other), row + most) + 1):
            if column == 0:
                line[0] = row
                continue
            cost = before.get(column - 1, most + 1) + (character != other[column - 1])
            line[column] = min(cost, before.get(column, most + 1) + 1, line.get(column - 1, most + 1) + 1)
        if min(line.values()) > most:
            return None
        before = line
    distance = before[len(other)]
    return distance if distance <= most else None
