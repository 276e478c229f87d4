"""The record kinds: frozen dataclasses that check themselves, and their JSON with elizaOS's camelCase names.

``to_json`` leaves out what is None. ``from_json`` takes that form, or the Python names; a name that the kind does not
have raises InvalidValue (an :class:`Agent` keeps it in ``extra``). Times are integer UTC milliseconds: a number that
looks like seconds or microseconds is refused. The twelfth kind, an embedding, is the vector of a memory.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, ClassVar, Final, Self, cast

from ...errors import InvalidInput, InvalidValue
from .plain_json import camel_case, clean_text, names_of, shown_time
from .record_fields import (
    FLAG,
    ID,
    LIST,
    OBJECT,
    OPTIONAL_ID,
    OPTIONAL_TEXT,
    OPTIONAL_TIME,
    STRINGS,
    TEXT,
    Check,
    check_content,
    check_flag,
    check_float,
    check_iso_time,
    check_text_or_list,
    check_vector,
    optional,
)


@lru_cache(maxsize=64)
def _checks(kind: Any) -> tuple[tuple[str, str, Check, bool], ...]:
    return tuple(
        (
            each.name,
            f"{kind.__name__}.{camel_case(each.name)}",
            each.metadata["check"],
            each.metadata.get("optional", False),
        )
        for each in fields(kind)
        if "check" in each.metadata
    )


@lru_cache(maxsize=64)
def _names(kind: Any) -> dict[str, str]:
    """Each name that ``from_json`` takes, with the field it stands for."""
    found = {
        **{each.name: each.name for each in fields(kind)},
        **{camel_case(each.name): each.name for each in fields(kind)},
    }
    return {**found, **kind.ALIASES}


@lru_cache(maxsize=64)
def _required(kind: Any) -> frozenset[str]:
    return frozenset(each.name for each in fields(kind) if each.default is MISSING is each.default_factory)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What all kinds share."""

    #: Further names that ``from_json`` takes.
    ALIASES: ClassVar[dict[str, str]] = {}
    #: Fields whose JSON name is not the usual one.
    JSON_NAMES: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        held = self.__dict__
        for name, about, check, may_lack in _checks(cast(Hashable, type(self))):
            value = held[name]
            if value is not None or not may_lack:
                held[name] = check(value, about)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON data with camelCase names; None is left out."""
        data = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                name = self.JSON_NAMES.get(each.name) or camel_case(each.name)
                data[name] = list(value) if isinstance(value, tuple) else value
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The record of such data. Raises InvalidValue for a missing, unknown or wrong field, naming it."""
        if not isinstance(data, Mapping):
            raise InvalidValue(f"{cls.__name__} is made of a JSON object, not {type(data).__name__}")
        names, required = _names(cast(Hashable, cls)), _required(cast(Hashable, cls))
        given: dict[str, Any] = {}
        for name, value in data.items():
            if name not in names:
                raise InvalidValue(f"{cls.__name__} has no field {name!r}")
            if value is not None or names[name] not in given:
                given[names[name]] = value
        # null means "not given" for every field that has a default.
        given = {name: value for name, value in given.items() if value is not None or name in required}
        missing = required - given.keys()
        if missing:
            raise InvalidValue(f"{cls.__name__} lacks {', '.join(sorted(map(camel_case, missing)))}")
        return cls(**given)

    @classmethod
    def from_stored(cls, data: Any) -> Self:
        """The record of what :meth:`to_json` gave and the storage kept, which was checked before."""
        return cls.from_json(data)

    @classmethod
    def of(cls, given: Any) -> Self:
        """``given`` if it is such a record, else :meth:`from_json` of it."""
        return given if isinstance(given, cls) else cls.from_json(given)

    def filled(self, **fields: Any) -> Self:
        """A copy with fields that were just read, unchecked."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **fields)
        return copy

    def with_(self, **changes: Any) -> Self:
        """A copy with other values for some fields."""
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Agent(Record):
    """A configured character. ``extra`` keeps what other versions of elizaOS add to it."""

    id: str | None = field(default=None, metadata=OPTIONAL_ID)
    name: str = field(default="", metadata=TEXT)
    enabled: bool = field(default=True, metadata=FLAG)
    username: str = field(default="", metadata=TEXT)
    system: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    bio: str | list[Any] = field(default_factory=list, metadata={"check": check_text_or_list})
    message_examples: list[Any] = field(default_factory=list, metadata=LIST)
    post_examples: list[Any] = field(default_factory=list, metadata=LIST)
    topics: list[Any] = field(default_factory=list, metadata=LIST)
    adjectives: list[Any] = field(default_factory=list, metadata=LIST)
    knowledge: list[Any] = field(default_factory=list, metadata=LIST)
    plugins: list[Any] = field(default_factory=list, metadata=LIST)
    settings: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)
    style: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)
    server_id: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    created_at: int | None = field(default=None, metadata=OPTIONAL_TIME)
    updated_at: int | None = field(default=None, metadata=OPTIONAL_TIME)
    extra: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)

    def to_json(self) -> dict[str, Any]:
        data = super().to_json()
        return {**data.pop("extra"), **data}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        if not isinstance(data, Mapping):
            return super().from_json(data)
        names = _names(cast(Hashable, cls))
        known = {name: value for name, value in data.items() if name in names}
        extra = {**known.pop("extra", {}), **{name: value for name, value in data.items() if name not in names}}
        return super().from_json({**known, "extra": extra})


@dataclass(frozen=True, kw_only=True)
class Entity(Record):
    """A person, bot or object. ``components`` is filled on reading alone."""

    id: str | None = field(default=None, metadata=OPTIONAL_ID)
    agent_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    names: list[str] = field(default_factory=list, metadata={"check": lambda value, _: names_of(value)})
    metadata: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)
    created_at: int | None = field(default=None, metadata=OPTIONAL_TIME)
    updated_at: int | None = field(default=None, metadata=OPTIONAL_TIME)
    components: tuple[Component, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        data = super().to_json()
        if self.components is not None:
            data["components"] = [component.to_json() for component in self.components]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        found = super().from_json(data)
        if found.components is None:
            return found
        return found.with_(components=tuple(Component.of(each) for each in found.components))


@dataclass(frozen=True, kw_only=True)
class Component(Record):
    """JSON data attached to an entity; one for each entity, type, world and source."""

    id: str | None = field(default=None, metadata=OPTIONAL_ID)
    entity_id: str = field(metadata=ID)
    type: str = field(metadata=TEXT)
    agent_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    room_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    world_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    source_entity_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    data: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)
    created_at: int | None = field(default=None, metadata=OPTIONAL_TIME)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        # elizaOS returns a missing world or source as "".
        blank = [name for name in ("worldId", "sourceEntityId", "roomId") if data.get(name) == ""]
        return super().from_json({name: value for name, value in data.items() if name not in blank})


@dataclass(frozen=True, kw_only=True)
class World(Record):
    """A server, guild or workspace. ``message_server_id`` is also called ``serverId``: JSON has both."""

    ALIASES: ClassVar = {"serverId": "message_server_id", "server_id": "message_server_id"}

    id: str | None = field(default=None, metadata=OPTIONAL_ID)
    agent_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    name: str = field(default="", metadata=TEXT)
    metadata: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)
    message_server_id: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    created_at: int | None = field(default=None, metadata=OPTIONAL_TIME)

    def to_json(self) -> dict[str, Any]:
        return _with_server(super().to_json())


@dataclass(frozen=True, kw_only=True)
class Room(Record):
    """A channel, direct message or thread. Its world may come later."""

    ALIASES: ClassVar = {"serverId": "message_server_id", "server_id": "message_server_id"}

    id: str | None = field(default=None, metadata=OPTIONAL_ID)
    agent_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    source: str = field(default="", metadata=TEXT)
    type: str = field(default="GROUP", metadata=TEXT)
    name: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    world_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    channel_id: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    message_server_id: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    metadata: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)
    created_at: int | None = field(default=None, metadata=OPTIONAL_TIME)

    def to_json(self) -> dict[str, Any]:
        return _with_server(super().to_json())


def _with_server(data: dict[str, Any]) -> dict[str, Any]:
    if "messageServerId" in data:
        data["serverId"] = data["messageServerId"]
    return data


PARTICIPANT_STATES: Final = ("FOLLOWED", "MUTED")


def check_state(value: Any, about: str = "roomState") -> str | None:
    """FOLLOWED, MUTED or None. Raises InvalidValue."""
    if value is not None and value not in PARTICIPANT_STATES:
        raise InvalidValue(f"{about} is FOLLOWED, MUTED or nothing")
    state: str | None = value
    return state


@dataclass(frozen=True, kw_only=True)
class Participant(Record):
    """An entity in a room, as one agent sees it."""

    id: str | None = field(default=None, metadata=OPTIONAL_ID)
    entity_id: str = field(metadata=ID)
    room_id: str = field(metadata=ID)
    agent_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    room_state: str | None = field(default=None, metadata={"check": check_state})
    created_at: int | None = field(default=None, metadata=OPTIONAL_TIME)


@dataclass(frozen=True, kw_only=True)
class Relationship(Record):
    """An edge from one entity to another. Its JSON has ``createdAt`` as an ISO-8601 string."""

    id: str | None = field(default=None, metadata=OPTIONAL_ID)
    source_entity_id: str = field(metadata=ID)
    target_entity_id: str = field(metadata=ID)
    agent_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    tags: list[str] = field(default_factory=list, metadata=STRINGS)
    metadata: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)
    created_at: int | None = field(default=None, metadata=optional(check_iso_time))

    def to_json(self) -> dict[str, Any]:
        return _with_iso_time(super().to_json())


def _with_iso_time(data: dict[str, Any]) -> dict[str, Any]:
    if "createdAt" in data:
        data["createdAt"] = shown_time(data["createdAt"])
    return data


@dataclass(frozen=True, kw_only=True)
class Memory(Record):
    """A row of a logical table. ``table`` (JSON: ``type``) is set on reading; ``similarity`` by a search."""

    JSON_NAMES: ClassVar = {"table": "type"}
    ALIASES: ClassVar = {"type": "table", "tableName": "table"}

    id: str | None = field(default=None, metadata=OPTIONAL_ID)
    entity_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    agent_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    room_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    world_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    content: dict[str, Any] | str = field(metadata={"check": check_content})
    embedding: tuple[float, ...] | None = field(default=None, metadata=optional(check_vector))
    created_at: int | None = field(default=None, metadata=OPTIONAL_TIME)
    unique: bool | None = field(default=None, metadata=optional(check_flag))
    similarity: float | None = field(default=None, metadata=optional(check_float))
    metadata: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)
    table: str | None = field(default=None, metadata=OPTIONAL_TEXT)

    @classmethod
    def from_stored(cls, data: Any) -> Self:
        # To check each again would be most of what it costs to read fifty.
        if not isinstance(data, dict) or not _stored_names().keys() >= data.keys() or None in data.values():
            return cls.from_json(data)
        names = _stored_names()
        given = {names[name]: value for name, value in data.items()}
        if "content" not in given:
            return cls.from_json(data)
        memory = object.__new__(cls)
        memory.__dict__.update(_BLANK, metadata={})
        memory.__dict__.update(given)
        return memory

    @property
    def text(self) -> str | None:
        """``content.text``, if it is a string."""
        text = self.content if isinstance(self.content, str) else self.content.get("text")
        return text if isinstance(text, str) else None


#: What a memory has unless it is given.
_BLANK: Final = {each.name: each.default for each in fields(Memory) if each.default is not MISSING}


@lru_cache(maxsize=1)
def _stored_names() -> dict[str, str]:
    """The names of a stored memory, with the fields they stand for."""
    return {Memory.JSON_NAMES.get(each.name) or camel_case(each.name): each.name for each in fields(Memory)}


@dataclass(frozen=True, kw_only=True)
class Task(Record):
    """Something to do, found by its tags. ``metadata`` holds what a scheduler wants to know."""

    id: str | None = field(default=None, metadata=OPTIONAL_ID)
    name: str = field(metadata=TEXT)
    description: str = field(default="", metadata=TEXT)
    tags: list[str] = field(default_factory=list, metadata=STRINGS)
    room_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    world_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    entity_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    agent_id: str | None = field(default=None, metadata=OPTIONAL_ID)
    metadata: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)
    status: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    due_at: int | None = field(default=None, metadata=OPTIONAL_TIME)
    created_at: int | None = field(default=None, metadata=OPTIONAL_TIME)
    updated_at: int | None = field(default=None, metadata=OPTIONAL_TIME)


@dataclass(frozen=True, kw_only=True)
class Log(Record):
    """What happened in a room. Its JSON has ``createdAt`` as an ISO-8601 string."""

    id: str | None = field(default=None, metadata=OPTIONAL_ID)
    entity_id: str = field(metadata=ID)
    room_id: str = field(metadata=ID)
    type: str = field(metadata=TEXT)
    body: dict[str, Any] = field(default_factory=dict, metadata=OBJECT)
    created_at: int | None = field(default=None, metadata=optional(check_iso_time))

    def to_json(self) -> dict[str, Any]:
        return _with_iso_time(super().to_json())


def check_memory_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise InvalidValue for a fragment without its document and position, a document without its timestamp."""
    kind = metadata.get("type")
    if kind == "fragment" and not {"documentId", "position"} <= metadata.keys():
        raise InvalidValue("the metadata of a fragment has documentId and position")
    if kind == "document" and "timestamp" not in metadata:
        raise InvalidValue("the metadata of a document has a timestamp")


def check_table(name: Any) -> str:
    """The name of a logical table. Raises InvalidInput."""
    if not isinstance(name, str) or not name:
        raise InvalidInput("tableName is required: the name of a logical table, such as messages")
    if len(name.encode(errors="replace")) > 200 or clean_text(name) != name:
        raise InvalidInput("tableName has at most 200 bytes, without NUL and lone surrogates")
    return name
