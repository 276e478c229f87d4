"""What every part of the store stands on: a storage, the agent it speaks for, and the rules of scope."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from ...contract import PAGE, Entry, StorageBackend
from ...errors import InvalidInput
from ...names import key_prefix, split_key
from .embedding_space import EmbeddingSpace
from .errors import ForeignAgent, UnknownRecord
from .gate import Gate
from .ids import as_uuid
from .layout import Places
from .records import Record

P = ParamSpec("P")
R = TypeVar("R")
RecordT = TypeVar("RecordT", bound=Record)

#: How often a write is tried that meets concurrent ones: many may want one cache key.
ATTEMPTS: Final = 40

#: Dimensions that elizaOS's databases have columns for.
DIMENSIONS: Final = (384, 512, 768, 1024, 1536, 2048, 3072)


@dataclass
class Session:
    """What a store shares with the stores bound to its transactions."""

    gate: Gate
    places: Places
    space: EmbeddingSpace
    dimensions: tuple[int, ...]
    strict: bool
    log_retention: int | None
    log_retention_age: float | None
    max_vectors: int
    is_bound_to_space: bool = False
    """Whether ``ensure_embedding_space`` has fixed the space."""
    known_vector_places: set[str] = field(default_factory=set)
    logs_written: int = 0
    has_text_index: bool = False


class Bound:
    """The common base of the parts. ``self._storage`` is the storage, or the transaction the store is bound to."""

    def __init__(self, storage: StorageBackend, agent_id: str, session: Session) -> None:
        self._storage = storage
        self._agent_id = as_uuid(agent_id)
        self._session = session
        self._gate = session.gate
        self._places = session.places

    @property
    def agent_id(self) -> str:
        """The agent that the store speaks for."""
        return self._agent_id

    @property
    def strict(self) -> bool:
        """Whether the records of other agents are out of reach, by id too."""
        return self._session.strict

    # -- writing -------------------------------------------------------------------------------------------------------

    def _write(self, function: Callable[Concatenate[Any, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """``function(tx, ...)`` in one transaction, repeated when it met a concurrent one."""
        return self._storage.run_transaction(lambda tx: function(tx, *args, **kwargs), attempts=ATTEMPTS)

    # -- scope ---------------------------------------------------------------------------------------------------------

    def _sees(self, agent_id: str | None) -> bool:
        return not self.strict or agent_id is None or agent_id == self._agent_id

    def _owner(self, given: str | None) -> str:
        """The agent of a record that is written. Raises ForeignAgent in strict mode."""
        if given is None or given == self._agent_id:
            return self._agent_id
        if self.strict:
            raise ForeignAgent(f"strict mode: agent {self._agent_id} writes no records of agent {given}")
        return given

    def _require(
        self,
        storage: StorageBackend,
        wanted: Mapping[str, Iterable[str | None]],
        others: Mapping[str, Iterable[str]] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Raise UnknownRecord unless every id of rooms, entities, ... exists (in strict mode: as the agent's own).

        ``wanted`` is ids by place, ``others`` keys that may be missing. What was found of all, by place, in one read.
        """
        ids = {place: list(dict.fromkeys(id for id in given if id is not None)) for place, given in wanted.items()}
        found = storage.get_across({**{place: each for place, each in ids.items() if each}, **(others or {})})
        for place, each in ids.items():
            for id in each:
                if id not in found[place] or not self._sees(found[place][id].get("agentId")):
                    raise UnknownRecord(place, id)
        return found

    # -- reading -------------------------------------------------------------------------------------------------------

    def _get(self, kind: type[RecordT], place: str, key: str, storage: StorageBackend | None = None) -> RecordT | None:
        """The record, unless strict mode hides it."""
        value = (storage or self._storage).get(key, namespace=place)
        return None if value is None or not self._sees(value.get("agentId")) else kind.from_stored(value)

    def _get_each(
        self, kind: type[RecordT], place: str, keys: Iterable[str], storage: StorageBackend | None = None
    ) -> list[RecordT]:
        """The records of those keys that exist, in that order, each once."""
        found = (storage or self._storage).get_many(dict.fromkeys(keys), namespace=place)
        return [kind.from_stored(value) for value in found.values() if self._sees(value.get("agentId"))]

    def _lookup(self, *parts: str | int, storage: StorageBackend | None = None) -> Iterator[tuple[Any, ...]]:
        """The keys of a lookup that begin with ``parts``, as the parts that follow, and the value as the last one."""
        known = len(parts)
        for entry in self._lookup_entries(*parts, storage=storage):
            yield (*split_key(entry.key)[known:], entry.value)

    def _lookup_entries(
        self, *parts: str | int, storage: StorageBackend | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        where = storage or self._storage
        return where.scan(namespace=self._places.lookups, prefix=key_prefix(*parts), reverse=reverse)


def now() -> int:
    """The time in milliseconds."""
    return time.time_ns() // 1_000_000


def check_ids(ids: Any, about: str) -> list[str]:
    """A list of UUIDs in lower case. Raises InvalidInput for a single string in place of a list."""
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise InvalidInput(f"{about} is a list of UUIDs")
    return [as_uuid(id) for id in ids]


def check_number(value: Any, about: str, least: int = 0) -> int:
    """A whole number of at least ``least``. Raises InvalidInput."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidInput(f"{about} is a whole number of at least {least}")
    return value


def check_page(limit: int | None, offset: int | None) -> tuple[int | None, int]:
    """limit and offset of a call. Raises InvalidInput."""
    if limit is not None:
        check_number(limit, "limit")
    return limit, 0 if offset is None else check_number(offset, "offset")


def cut(found: Iterable[R], limit: int | None, offset: int = 0) -> list[R]:
    """The members from ``offset`` on, at most ``limit``."""
    return list(islice(found, offset, None if limit is None else offset + limit))


def pages(found: Iterable[R], size: int = PAGE) -> Iterator[list[R]]:
    """The members in lists of ``size``."""
    members = iter(found)
    while page := list(islice(members, size)):
        yield page
