"""What the memories layer takes and gives: plain frozen records."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from ...contract import Entry, check_ttl
from ...errors import InvalidInput, InvalidKey, InvalidValue, StorageCorrupt
from ...names import check_key
from ...text import words

#: Longest key of a memory in UTF-8 bytes: the keys of its history are longer.
LONGEST_KEY: Final = 900

#: Milliseconds that a created_at may lie from 1970, either way: what JavaScript's dates hold.
MOST_MS: Final = 8_640_000_000_000_000

#: How a memory in a conversation without sessions is stored: indexes find it faster than null.
NO_SESSION: Final = ""

#: A conversation and the session in it, as stored.
Session = tuple[str, str | int]

Status = Literal["stored", "merged", "duplicate"]
Verdict = Literal["returned", "missing", "expired", "filtered", "below the cut", "no match"]


@dataclass(frozen=True)
class Memory:
    """Something remembered. Times are UTC milliseconds."""

    key: str
    text: str
    speaker: str | None
    subject: str | None
    """Who or what it is about, for :meth:`~.memories.Memories.forget`."""
    conversation: str | None
    session: str | int | None
    source: str | None
    created_at: int
    metadata: dict[str, Any]
    version: int
    expires_at: int | None
    order: int = field(repr=False)


@dataclass(frozen=True)
class Receipt:
    """What became of a text that was to be remembered."""

    key: str
    """The memory that holds it now: a new one, or the one it was merged with or is a duplicate of."""
    status: Status


@dataclass(frozen=True)
class LegScore:
    """What one leg of a search (text, vector, window) gave a memory."""

    rank: int | None
    """From 1; None if it was not among those that the leg found."""
    score: float | None
    """As the leg gives it: BM25 or cosine; None if it has none."""
    share: float
    """What it added to the fused score."""
    weight: float


@dataclass(frozen=True)
class Recollection:
    """A memory that a recall found."""

    memory: Memory
    score: float
    """From 0 to 1 in a weighted fusion, more being better; comparable within one recall only."""
    legs: dict[str, LegScore] = field(default_factory=dict)
    """With ``explain=True``: what each leg gave."""

    @property
    def key(self) -> str:
        """The memory's key."""
        return self.memory.key

    @property
    def text(self) -> str:
        """The memory's text."""
        return self.memory.text


class Recollections(list[Recollection]):
    """What a recall found, best first, ties in order of key. ``plan`` says how each leg was done."""

    def __init__(self, found: Iterable[Recollection], plan: dict[str, Any]) -> None:
        super().__init__(found)
        self.plan = plan


@dataclass(frozen=True)
class Reason:
    """Why a recall returned a memory or did not."""

    key: str
    verdict: Verdict
    explanation: str
    rank: int | None = None
    """Its place in the fused ranking, from 1, if it has one."""
    score: float | None = None
    failed: tuple[str, ...] = ()
    """The conditions of the filter that it does not meet."""
    legs: dict[str, LegScore] = field(default_factory=dict)


@dataclass(frozen=True)
class NewMemory:
    """A checked text to remember. ``vector`` and ``window`` are bytes of float32."""

    key: str
    text: str
    speaker: str | None = None
    subject: str | None = None
    conversation: str | None = None
    session: str | int | None = None
    source: str | None = None
    created_at: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    ttl: float | None = None
    vector: Any = None
    window: Any = None
    history: tuple[dict[str, Any], ...] = ()

    @property
    def place(self) -> Session | None:
        """The session that it belongs to."""
        if self.conversation is None:
            return None
        return self.conversation, NO_SESSION if self.session is None else self.session

    @property
    def spoken(self) -> str:
        """The text as it is embedded."""
        return spoken(self.text, self.speaker)


#: The names that :func:`read_new` takes.
FIELDS: Final = frozenset(
    {"key", "text", "speaker", "subject", "conversation", "session", "source", "created_at", "metadata", "ttl"}
    | {"vector", "window_vector", "history", "expires_at", "version"}
)


def read_new(given: Mapping[str, Any], now: int) -> NewMemory | None:
    """A checked memory from its fields by name; None for one that has expired. Raises InvalidInput."""
    unknown = sorted(str(name) for name in given if name not in FIELDS)
    if unknown:
        raise InvalidInput(f"a memory has no field {unknown[0]!r}; put your own into its metadata")
    text = given.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InvalidValue("the text of a memory is a string that is not blank")
    key = given.get("key")
    ttl = check_ttl(given.get("ttl"))
    expires_at = given.get("expires_at")
    if expires_at is not None:
        if not isinstance(expires_at, int) or isinstance(expires_at, bool):
            raise InvalidInput("expires_at is UTC milliseconds")
        if expires_at <= now:
            return None
        ttl = (expires_at - now) / 1000
    metadata = given.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise InvalidValue(f"metadata is a dict, not {type(metadata).__name__}")
    created_at = given.get("created_at")
    created_ms = now if created_at is None else milliseconds(created_at, "created_at")
    conversation = _name(given, "conversation")
    session = given.get("session")
    if session is not None:
        named = isinstance(session, str | int) and not isinstance(session, bool) and session != NO_SESSION
        if conversation is None or not named:
            raise InvalidInput("a session is a string that is not empty, or a whole number, within a conversation")
    if given.get("window_vector") is not None and given.get("vector") is None:
        raise InvalidInput("a window_vector comes with a vector")
    return NewMemory(
        new_key(created_ms) if key is None else check_memory_key(key),
        str(text),
        _name(given, "speaker"),
        _name(given, "subject"),
        conversation,
        session,
        _name(given, "source"),
        created_ms,
        {} if metadata is None else metadata,
        ttl,
        given.get("vector"),
        given.get("window_vector"),
        _history(given.get("history")),
    )


def new_key(created_ms: int) -> str:
    """A key that no other memory has; keys sort by time."""
    return f"{max(created_ms, 0):013x}-{secrets.token_hex(8)}"


def check_memory_key(key: Any) -> str:
    """The key of a memory. Raises InvalidKey."""
    checked = check_key(key)
    if len(checked.encode()) > LONGEST_KEY:
        raise InvalidKey(f"key {checked[:40]!r} is too long: the key of a memory has at most {LONGEST_KEY} UTF-8 bytes")
    return checked


def milliseconds(time: Any, name: str) -> int:
    """UTC milliseconds of a number of them, or of a datetime with a time zone. Raises InvalidInput."""
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise InvalidInput(f"{name} is a datetime without a time zone")
        return (time.astimezone(UTC) - _EPOCH) // _MILLISECOND
    if not isinstance(time, int) or isinstance(time, bool) or abs(time) > MOST_MS:
        raise InvalidInput(f"{name} is UTC milliseconds, or a datetime with a time zone")
    return time


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def spoken(text: str, speaker: str | None) -> str:
    """A text with who said it, as it is embedded."""
    return f"{speaker}: {text}" if speaker else text


def digest(text: str) -> str:
    """The same for texts of the same words, whatever their case, accents and punctuation."""
    folded = " ".join(words(text)) or text
    return hashlib.sha256(folded.encode(errors="surrogatepass")).hexdigest()[:32]


def value_of(new: NewMemory, order: int) -> dict[str, Any]:
    """The stored form of a memory, its context still empty."""
    value: dict[str, Any] = {"text": new.text, "created_at": new.created_at, "order": order, "digest": digest(new.text)}
    for name in ("speaker", "subject", "conversation", "source"):
        found = getattr(new, name)
        if found is not None:
            value[name] = found
    if new.place is not None:
        value["session"] = new.place[1]
    return value


def memory_of(entry: Entry) -> Memory:
    """The memory that an entry holds. Raises StorageCorrupt for an entry that is none."""
    value = entry.value
    try:
        text, created_at, order = value["text"], value["created_at"], value["order"]
        good = isinstance(text, str) and isinstance(created_at, int) and isinstance(order, int)
    except (TypeError, KeyError):
        good = False
    if not good:
        raise StorageCorrupt(f"key {entry.key!r} in namespace {entry.namespace!r} is no memory")
    return Memory(
        entry.key,
        text,
        value.get("speaker"),
        value.get("subject"),
        value.get("conversation"),
        None if value.get("session") == NO_SESSION else value.get("session"),
        value.get("source"),
        created_at,
        entry.metadata,
        entry.version,
        entry.expires_at,
        order,
    )


def _history(given: Any) -> tuple[dict[str, Any], ...]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple) or not all(
        isinstance(one, dict) and isinstance(one.get("version"), int) and isinstance(one.get("text"), str)
        for one in given
    ):
        raise InvalidInput("the history of a memory is a list of its earlier versions, as history() gives them")
    return tuple(given)


def _name(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{name} is a string that is not empty")
    return str(value)
