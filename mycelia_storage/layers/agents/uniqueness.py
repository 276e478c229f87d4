"""Whether a new memory says what another one said already: a search of its room for a very similar embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...errors import IndexNotFound
from ...filters import Filter, where
from ...names import key_prefix
from .records import Memory

if TYPE_CHECKING:
    from .embeddings import Embeddings

#: From this cosine on two memories count as the same.
SAME: Final = 0.95


class Probe:
    """Marks the memories of one batch, each looked for among those stored and those before it in the batch.

    It reads the committed state before the transaction that writes: of two writers that store similar memories at the
    same moment, both may be marked unique.
    """

    def __init__(self, store: Embeddings) -> None:
        self._store = store
        self._earlier: dict[tuple[str | None, ...], list[bytes]] = {}

    def mark(self, memory: Memory, packed: bytes | None) -> Memory:
        """The memory with its flag."""
        if packed is None:
            return memory if memory.unique is not None else memory.filled(unique=True)
        of = (memory.agent_id, memory.table, memory.room_id, memory.world_id, memory.entity_id)
        earlier = self._earlier.setdefault(of, [])
        unique = memory.unique
        if unique is None:
            unique = not (_is_near(packed, earlier) or self._is_stored(memory, packed))
        earlier.append(packed)
        return memory.filled(unique=unique)

    def _is_stored(self, memory: Memory, packed: bytes) -> bool:
        store = self._store
        place = store._places.vectors(str(memory.agent_id), str(memory.table), store.embedding_space.name)
        condition: Filter = where("$key").starts_with(key_prefix(memory.room_id or ""))
        for name, value in (("worldId", memory.world_id), ("entityId", memory.entity_id)):
            if value is not None:
                condition &= where(f"$metadata.{name}") == value
        try:
            return store._storage.has_near(packed, SAME, namespace=place, filter=condition)
        except IndexNotFound:  # the agent was deleted meanwhile
            return False


def _is_near(packed: bytes, others: list[bytes]) -> bool:
    if not others:
        return False
    import numpy

    matrix = numpy.frombuffer(b"".join(others), dtype="<f4").reshape(len(others), -1).astype(numpy.float64)
    vector = numpy.frombuffer(packed, dtype="<f4").astype(numpy.float64)
    cosines = matrix @ vector / (numpy.linalg.norm(matrix, axis=1) * numpy.linalg.norm(vector))
    return bool((cosines >= SAME).any())
