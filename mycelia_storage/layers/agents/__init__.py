"""elizaOS's database adapter on any storage: agents, entities, rooms, worlds, memories with embeddings, tasks, logs.

    store = AgentStore(open_storage("agent.db"), agent_id)
    store.ensure_connection(entity_id=ada, room_id=room)
    store.create_memory({"entityId": ada, "roomId": room, "content": {"text": "Hello"}, "embedding": v}, "messages")
    store.search_memories(v, "messages", room_id=room)

:class:`AgentStore` has the adapter's methods in snake_case. Its records are in :mod:`.records`, where it keeps them in
:mod:`.layout`. :class:`~.older.OlderAdapter` has the names of the 0.x line, :mod:`.imports` reads an elizaOS database.
"""

from .cache import ABSENT
from .embedding_space import EmbeddingSpace
from .errors import DuplicateRecord, EmbeddingSpaceChanged, ForeignAgent, TooLarge, UnknownRecord, WrongDimension
from .ids import as_uuid, create_unique_uuid, string_to_uuid, validate_uuid
from .records import (
    Agent,
    Component,
    Entity,
    Log,
    Memory,
    Participant,
    Relationship,
    Room,
    Task,
    World,
)
from .store import AgentStore

__all__ = [
    "ABSENT",
    "Agent",
    "AgentStore",
    "Component",
    "DuplicateRecord",
    "EmbeddingSpace",
    "EmbeddingSpaceChanged",
    "Entity",
    "ForeignAgent",
    "Log",
    "Memory",
    "Participant",
    "Relationship",
    "Room",
    "Task",
    "TooLarge",
    "UnknownRecord",
    "World",
    "WrongDimension",
    "as_uuid",
    "create_unique_uuid",
    "string_to_uuid",
    "validate_uuid",
]
