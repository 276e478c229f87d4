"""Checking: a change from a peer is read with every rule that holds for what is recorded here."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final

from ....errors import StorageCorrupt
from ..core import Core
from ..entities import MOST_APPLICATIONS, Collective, Experience, Insight, NewExperience, Relation
from ..errors import InvalidPayload, ValidationError
from ..ids import as_id
from ..kinds import Entity
from ..limits import (
    MAX_INSIGHT,
    MAX_RELATION_METADATA,
    check_collective,
    check_content,
    check_new,
    check_new_rest,
    check_optional,
    check_score,
    pack_vector,
)

#: More instances than this have never counted uses of one experience.
MOST_BUCKETS: Final = 65_536
_STAMP: Final = re.compile(r"[0-3][0-9a-f]{15}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Change:
    """A change as it came; ``state`` None is a death."""

    entity: Entity
    id: str
    collective: str
    state: Collective | Experience | Relation | Insight | None
    stamp: str


def read_change(store: Core, change: Any) -> Change:
    """A change, checked. Raises InvalidPayload."""
    try:
        entity, id, collective = Entity(change["entity"]), as_id(change["id"]), as_id(change["collective"])
        data = change["data"]
        if data is None:
            return Change(entity, id, collective, None, _stamp(change["died"]))
        vector = b64decode(change["vector"], validate=True) if "vector" in change else b""
        state = _read_state(store, entity, id, data, vector)
        return Change(entity, id, collective, state, max(_stamp(state.born), getattr(state, "edited", "")))
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError, StorageCorrupt) as error:
        reason = str(error) if isinstance(error, ValidationError) else "it cannot be read"
        raise InvalidPayload(f"a change is refused: {reason}") from error


def _read_state(
    store: Core, entity: Entity, id: str, data: dict[str, Any], vector: bytes
) -> Collective | Experience | Relation | Insight:
    if entity == Entity.COLLECTIVE:
        collective = Collective.from_json(id, data)
        check_collective(collective.name, collective.owner_id)
        _times(collective.created_at, collective.updated_at)
        if collective.floor:
            _stamp(collective.floor)
        if collective.embedding_dimension != store.dimension:
            raise ValueError("dimension")
        return collective
    if entity == Entity.RELATION:
        relation = Relation.from_json(id, data)
        check_score("strength", relation.strength)
        if relation.metadata is not None:
            check_optional("metadata", relation.metadata, MAX_RELATION_METADATA)
        _times(relation.created_at)
        ends = as_id(relation.source_id), as_id(relation.target_id)
        if ends[0] == ends[1]:
            raise ValueError("ends")
        return relation
    pack_vector(vector, store.dimension)
    if entity == Entity.INSIGHT:
        insight = Insight.from_json(id, data, vector)
        check_content(insight.content, MAX_INSIGHT)
        check_score("confidence", insight.confidence)
        _times(insight.created_at, insight.updated_at)
        as_id(insight.collective_id)
        return insight
    experience = Experience.from_json(id, data, vector)
    new = NewExperience(
        as_id(experience.collective_id), experience.content, vector, experience.experience_type,
        experience.importance, experience.confidence, experience.domain, experience.related_files,
        experience.source_agent, experience.source_task, experience.tags,
    )  # fmt: skip
    check_new(new)
    check_new_rest(new)
    _times(experience.timestamp, experience.last_reinforced)
    _stamp(experience.edited)
    uses = experience.applications
    if len(uses) > MOST_BUCKETS or not isinstance(experience.archived, bool):
        raise ValueError("applications")
    for instance, count in uses.items():
        if as_id(instance) != instance or type(count) is not int or not 0 <= count <= MOST_APPLICATIONS:
            raise ValueError("applications")
    return experience


def _stamp(stamp: Any) -> str:
    if not isinstance(stamp, str) or not _STAMP.fullmatch(stamp):
        raise ValueError("stamp")
    return stamp


def _times(*times: Any) -> None:
    if not all(type(moment) is int and 0 <= moment < 2**62 for moment in times):
        raise ValueError("time")
