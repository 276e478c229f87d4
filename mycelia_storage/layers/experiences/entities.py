"""The records of a store, as frozen dataclasses, and their form as JSON data.

Times are integer UTC milliseconds. A vector is kept as its bytes, little-endian float32; ``embedding`` shows it as
numbers. ``born`` and ``edited`` are stamps (:mod:`.turns`): when the entity, its content included, came to be, and when
what may change was last changed; whoever has the later stamp wins between two stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from ...errors import StorageCorrupt
from .ids import NIL
from .kinds import Entity, Event, ExperienceType, Generic, InsightType, RelationType

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

#: Counters stop here.
MOST_APPLICATIONS: Final = 2**32 - 1

#: The type of an experience that names none.
UNSPECIFIED: Final = Generic()


def numbers_of(vector: bytes) -> NDArray[numpy.float32]:
    """The numbers of a stored vector, shape (dimension,), read-only."""
    import numpy

    return numpy.frombuffer(vector, dtype="<f4")


@dataclass(frozen=True)
class Collective:
    """A project or tenant: everything else belongs to exactly one."""

    id: str
    name: str
    embedding_dimension: int
    created_at: int
    updated_at: int
    owner_id: str | None = None
    born: str = ""
    floor: str = ""
    """Stamp of its last deletion, if it was deleted and came back: what was born before is gone."""

    def to_json(self) -> dict[str, Any]:
        """As stored, without the id."""
        return {
            "name": self.name, "owner": self.owner_id, "dimension": self.embedding_dimension, "at": self.created_at,
            "updated": self.updated_at, "born": self.born, "floor": self.floor,
        }  # fmt: skip

    @classmethod
    def from_json(cls, id: str, data: dict[str, Any]) -> Self:
        """What :meth:`to_json` made. Raises StorageCorrupt."""
        try:
            return cls(
                id, data["name"], data["dimension"], data["at"], data["updated"], data["owner"], data["born"],
                data["floor"],
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise StorageCorrupt(f"collective {id} cannot be read") from error


@dataclass(frozen=True)
class CollectiveStats:
    """A collective in figures. Archived experiences count."""

    experience_count: int
    storage_bytes: int
    """Bytes of the contents and vectors of its experiences."""
    oldest_experience: int | None
    newest_experience: int | None
    by_type: dict[str, int]


@dataclass(frozen=True)
class NewExperience:
    """What is to be recorded."""

    collective_id: str = NIL
    content: str = ""
    embedding: Any = None
    """Numbers, an array or bytes of float32; None asks the store's embedder."""
    experience_type: ExperienceType = UNSPECIFIED
    importance: float = 0.5
    confidence: float = 0.5
    domain: Sequence[str] = ()
    related_files: Sequence[str] = ()
    source_agent: str = "anonymous"
    source_task: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExperienceUpdate:
    """A patch: None leaves a field as it is, lists and tags are replaced whole."""

    importance: float | None = None
    confidence: float | None = None
    domain: Sequence[str] | None = None
    related_files: Sequence[str] | None = None
    archived: bool | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Experience:
    """A piece of knowledge: text and vector never change; the rest may, and counts how often it was of use."""

    id: str
    collective_id: str
    content: str
    vector: bytes = field(repr=False)
    experience_type: ExperienceType = UNSPECIFIED
    importance: float = 0.5
    confidence: float = 0.5
    applications: dict[str, int] = field(default_factory=dict)
    """How often it was reinforced, by the instance where that happened."""
    domain: tuple[str, ...] = ()
    related_files: tuple[str, ...] = ()
    source_agent: str = "anonymous"
    source_task: str | None = None
    timestamp: int = 0
    last_reinforced: int = 0
    archived: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    born: str = ""
    edited: str = ""

    @property
    def embedding(self) -> NDArray[numpy.float32]:
        """The vector as numbers."""
        return numbers_of(self.vector)

    @property
    def total_applications(self) -> int:
        """How often it was reinforced in all; it stops at 2**32 - 1."""
        return min(sum(self.applications.values()), MOST_APPLICATIONS)

    def to_json(self) -> dict[str, Any]:
        """As stored, without id and vector."""
        return {
            "collective": self.collective_id, "content": self.content, "type": self.experience_type.to_json(),
            "importance": self.importance, "confidence": self.confidence, "applications": self.applications,
            "domain": [*self.domain], "files": [*self.related_files], "agent": self.source_agent,
            "task": self.source_task, "at": self.timestamp, "reinforced": self.last_reinforced,
            "archived": self.archived, "tags": self.tags, "born": self.born, "edited": self.edited,
        }  # fmt: skip

    @classmethod
    def from_json(cls, id: str, data: dict[str, Any], vector: bytes) -> Self:
        """What :meth:`to_json` made. Raises StorageCorrupt."""
        try:
            return cls(
                id, data["collective"], data["content"], vector, ExperienceType.from_json(data["type"]),
                data["importance"], data["confidence"], data["applications"], tuple(data["domain"]),
                tuple(data["files"]), data["agent"], data["task"], data["at"], data["reinforced"], data["archived"],
                data["tags"], data["born"], data["edited"],
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise StorageCorrupt(f"experience {id} cannot be read") from error


@dataclass(frozen=True)
class Relation:
    """A directed edge between two experiences of one collective; it never changes."""

    id: str
    source_id: str
    target_id: str
    relation_type: RelationType
    strength: float = 1.0
    metadata: str | None = None
    created_at: int = 0
    born: str = ""

    def to_json(self) -> dict[str, Any]:
        """As stored, without the id."""
        return {
            "source": self.source_id, "target": self.target_id, "type": str(self.relation_type),
            "strength": self.strength, "metadata": self.metadata, "at": self.created_at, "born": self.born,
        }  # fmt: skip

    @classmethod
    def from_json(cls, id: str, data: dict[str, Any]) -> Self:
        """What :meth:`to_json` made. Raises StorageCorrupt."""
        try:
            return cls(
                id, data["source"], data["target"], RelationType(data["type"]), data["strength"], data["metadata"],
                data["at"], data["born"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise StorageCorrupt(f"relation {id} cannot be read") from error


@dataclass(frozen=True)
class Insight:
    """A statement derived from experiences; it never changes. A source deleted later leaves its id here."""

    id: str
    collective_id: str
    content: str
    vector: bytes = field(repr=False)
    source_experience_ids: tuple[str, ...] = ()
    insight_type: InsightType = InsightType.PATTERN
    confidence: float = 0.5
    domain: tuple[str, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    born: str = ""

    @property
    def embedding(self) -> NDArray[numpy.float32]:
        """The vector as numbers."""
        return numbers_of(self.vector)

    def to_json(self) -> dict[str, Any]:
        """As stored, without id and vector."""
        return {
            "collective": self.collective_id, "content": self.content, "sources": [*self.source_experience_ids],
            "type": str(self.insight_type), "confidence": self.confidence, "domain": [*self.domain],
            "at": self.created_at, "updated": self.updated_at, "born": self.born,
        }  # fmt: skip

    @classmethod
    def from_json(cls, id: str, data: dict[str, Any], vector: bytes) -> Self:
        """What :meth:`to_json` made. Raises StorageCorrupt."""
        try:
            return cls(
                id, data["collective"], data["content"], vector, tuple(data["sources"]), InsightType(data["type"]),
                data["confidence"], tuple(data["domain"]), data["at"], data["updated"], data["born"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise StorageCorrupt(f"insight {id} cannot be read") from error


@dataclass(frozen=True)
class Activity:
    """An agent at work in a collective."""

    agent_id: str
    collective_id: str
    current_task: str | None = None
    context_summary: str | None = None
    started_at: int = 0
    last_heartbeat: int = 0

    def to_json(self) -> dict[str, Any]:
        """As stored, without agent and collective."""
        return {
            "task": self.current_task, "summary": self.context_summary, "started": self.started_at,
            "heartbeat": self.last_heartbeat,
        }  # fmt: skip

    @classmethod
    def from_json(cls, agent: str, collective: str, data: dict[str, Any]) -> Self:
        """What :meth:`to_json` made. Raises StorageCorrupt."""
        try:
            return cls(agent, collective, data["task"], data["summary"], data["started"], data["heartbeat"])
        except (KeyError, TypeError) as error:
            raise StorageCorrupt(f"an activity in collective {collective} cannot be read") from error


@dataclass(frozen=True)
class LogRecord:
    """One mutation. It has no payload: read the entity."""

    sequence: int
    entity_id: str
    collective_id: str
    event_type: Event
    timestamp: int
    entity_type: Entity
    via: str | None = None
    """The peer that it came from, None for a change made here."""
    was: dict[str, Any] | None = None
    """Of a deleted experience: what filters ask."""

    def to_json(self) -> dict[str, Any]:
        """As stored, without the sequence number."""
        data = {
            "id": self.entity_id, "collective": self.collective_id, "event": str(self.event_type),
            "at": self.timestamp, "entity": str(self.entity_type),
        }  # fmt: skip
        return data | ({"via": self.via} if self.via else {}) | ({"was": self.was} if self.was else {})

    @classmethod
    def from_json(cls, sequence: int, data: dict[str, Any]) -> Self:
        """What :meth:`to_json` made. Raises StorageCorrupt."""
        try:
            return cls(
                sequence, data["id"], data["collective"], Event(data["event"]), data["at"], Entity(data["entity"]),
                data.get("via"), data.get("was"),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise StorageCorrupt(f"log row {sequence} cannot be read") from error


@dataclass(frozen=True)
class SyncCursor:
    """How far this store and a peer have exchanged their logs."""

    instance_id: str
    push_sequence: int = 0
    """Everything up to here in this store's log, the peer has."""
    pull_sequence: int = 0
    """Everything up to here in the peer's log, this store has."""


@dataclass(frozen=True)
class StoreMetadata:
    """What the store is, as read when it was opened."""

    schema_version: int
    embedding_dimension: int
    created_at: int
    last_opened_at: int
    instance_id: str
    provider: str | None
    """Where its vectors come from, if it was told."""
