"""Where the layer keeps what: namespaces and keys. ``R`` is the store's namespace, ``agents`` unless told otherwise.

Records, as JSON. A key in parentheses is composite (:func:`mycelia_storage.names.join_key`), "" standing for none::

    R/agents          agent id
    R/entities        entity id
    R/worlds          world id
    R/rooms           room id
    R/tasks           task id
    R/components      (entity, type, world, source entity)           the natural key: no duplicates
    R/participants    (room, entity, agent)
    R/relationships   (source, target, agent)
    R/memories        (room, table, created at, memory id)           newest of a room: a short range, read backwards;
                                                                     a text index once search_messages was called
    R/logs            (room, created at, log id)
    R/cache           (agent, cache key); the value is the cached one, with the storage's own expiry
    R/vectors/<agent>/<table>/<embedding space>
                      (room, memory id)                              float32 bytes, under a vector index
    R/backlogs        (agent, embedding space)                       the fingerprint an embedding space was made with

R/lookups says where else to look. Each line is the key, then its value::

    ("memory", memory)                               [room, table, created at]
    ("agent-memory", agent, table, created at, memory)        room
    ("entity-memory", entity, table, created at, memory)      room
    ("world-memory", world, table, created at, memory)        room
    ("document", document, memory)                   [room, table, created at]      fragments of a document
    ("text", agent, table, length, digest, memory)   [room, created at]             embedded texts by length
    ("repeat", room, table, memory)                  1                              memories that are not unique
    ("owned", agent, kind, id)                       1                              entities, worlds, rooms, tasks
    ("name", agent, entity name, entity)             1
    ("component", component)                         its key
    ("component-of", "source" | "room" | "world" | "agent", id, component)     its key
    ("participant", entity, room, agent)             1
    ("participant-of", agent, room, entity)          1
    ("relationship", relationship)                   its key
    ("relationship-to", target, source, agent)       1
    ("relationship-of", agent, relationship)         its key
    ("world-room", world, room)                      1
    ("server-room", message server, room)            1
    ("task-name", agent, name, task)                 1
    ("task-tag", agent, tag, task)                   1
    ("log", log)                                     [room, created at]
    ("log-entity", entity, created at, log)          room
    ("log-time", created at, log)                    room

So what one room, entity, document or agent has lies together, and no operation on a room reads another room's. Names
and tags longer than 200 bytes stand in keys as their SHA-256.

``R`` itself has the version of this layout in its metadata.
"""

from __future__ import annotations

import hashlib
from typing import Final

from ...contract import StorageBackend
from ...errors import SchemaTooNew
from ...names import check_namespace, is_below, join_key

#: Raised when keys or namespaces change their form.
LAYOUT_VERSION: Final = 1

_LONGEST: Final = 200


class Places:
    """The namespaces of one store."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.agents = f"{root}/agents"
        self.entities = f"{root}/entities"
        self.worlds = f"{root}/worlds"
        self.rooms = f"{root}/rooms"
        self.tasks = f"{root}/tasks"
        self.components = f"{root}/components"
        self.participants = f"{root}/participants"
        self.relationships = f"{root}/relationships"
        self.memories = f"{root}/memories"
        self.logs = f"{root}/logs"
        self.cache = f"{root}/cache"
        self.backlogs = f"{root}/backlogs"
        self.lookups = f"{root}/lookups"

    def vectors(self, agent_id: str, table: str | None = None, space: str | None = None) -> str:
        """The namespace of an agent's vectors: all of them, those of a table, those of one embedding space."""
        segments = [segment for segment in (table, space) if segment is not None]
        return f"{self.root}/vectors/{agent_id}" + "".join(f"/{check_namespace((segment,))}" for segment in segments)

    def vector_places(self, storage: StorageBackend, agent_id: str, table: str | None = None) -> list[str]:
        """The namespaces below it that exist."""
        return storage.list_namespaces(prefix=self.vectors(agent_id, table))

    def space_of(self, place: str) -> str:
        """The embedding space of such a namespace."""
        return place.rpartition("/")[2].replace("~1", "/").replace("~0", "~")

    def table_of(self, place: str) -> str:
        """The logical table of such a namespace."""
        return place.rsplit("/", 2)[-2].replace("~1", "/").replace("~0", "~")

    def agent_of(self, place: str) -> str:
        """The agent of such a namespace."""
        return place.rsplit("/", 3)[-3]

    def holds(self, namespace: str) -> bool:
        """Whether a namespace belongs to the store."""
        return is_below(namespace, self.root)

    def settle(self, storage: StorageBackend) -> None:
        """Write the version of the layout down, or see that it is known here. Raises SchemaTooNew."""
        info = storage.get_namespace(self.root)
        found = None if info is None else info.metadata.get("agents_layout")
        if isinstance(found, int) and found > LAYOUT_VERSION:
            raise SchemaTooNew(
                f"namespace {self.root!r} holds agents in layout {found}; this library knows {LAYOUT_VERSION}"
            )
        if found != LAYOUT_VERSION:
            kept = {} if info is None else info.metadata
            storage.create_namespace(self.root, metadata={**kept, "agents_layout": LAYOUT_VERSION}, exist_ok=True)


def short(text: str) -> str:
    """A free text as part of a key: itself, or the digest of a long one."""
    encoded = text.encode()
    if len(encoded) <= _LONGEST and "\0" not in text:
        return text
    return "sha256:" + hashlib.sha256(encoded).hexdigest()


def text_digest(text: str) -> str:
    """What stands for a text in the lookup of embedded texts."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def component_key(entity: str, type: str, world: str | None, source: str | None) -> str:
    """The key of a component."""
    return join_key(entity, short(type), world or "", source or "")


def memory_key(room: str | None, table: str, created_at: int, memory: str) -> str:
    """The key of a memory."""
    return join_key(room or "", table, created_at, memory)


def vector_key(room: str | None, memory: str) -> str:
    """The key of a memory's vector."""
    return join_key(room or "", memory)
