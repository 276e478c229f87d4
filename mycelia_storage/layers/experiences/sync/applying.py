"""Applying: a change from a peer is checked whole, then merged with what is here (the table in :mod:`.`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from ..core import Core
from ..entities import Collective, Experience, Insight, Relation
from ..errors import InvalidPayload, MissingDependency, SyncError
from ..kinds import Entity, Event
from ..layout import second_part
from ..rows import (
    change_experience,
    drop_collective,
    drop_experience,
    drop_insight,
    drop_relation,
    edge_key,
    find_experience,
    find_insight,
    find_relation,
    put_collective,
    put_experience,
    put_insight,
    put_relation,
)
from ..turns import Turn, stamp_clock
from .checking import Change, read_change

#: A stamp so much ahead of this machine's clock, in microseconds, is counted as skewed.
SKEW: Final = 300 * 1_000_000


@dataclass(frozen=True)
class Applied:
    """What became of a page of changes."""

    applied: int
    """Changes that changed something here."""
    skipped: int
    """Changes that were known, or older than what is here."""
    skewed: int
    """Stamps from a clock more than 300 seconds ahead of this one."""
    done: int
    """How many of the changes, from the first, were dealt with."""
    error: SyncError | None
    """Why it went no further."""


def apply_changes(store: Core, turn: Turn, changes: list[Any], *, lenient: bool = False) -> Applied:
    """Merge changes in order until one cannot be. ``lenient``: relations whose ends are missing are passed over."""
    applied = skipped = skewed = 0
    for number, change in enumerate(changes):
        mark = turn.mark()
        try:
            read = read_change(store, change)
            changed = _merge(turn, read)
        except MissingDependency as error:
            turn.back_to(mark)
            if not lenient:
                return Applied(applied, skipped, skewed, number, error)
            changed = False
        except SyncError as error:
            turn.back_to(mark)
            return Applied(applied, skipped, skewed, number, error)
        else:
            skewed += stamp_clock(read.stamp) > turn.now * 1_000 + SKEW
        applied += changed
        skipped += not changed
    return Applied(applied, skipped, skewed, len(changes), None)


# -- merging ---------------------------------------------------------------------------------------------------------


def _merge(turn: Turn, change: Change) -> bool:
    """Merge one change; whether anything changed. Raises MissingDependency before anything is put."""
    turn.observe(change.stamp)
    state = change.state
    if state is None:
        return _merge_death(turn, change)
    if isinstance(state, Collective):
        return _merge_collective(turn, state)
    if isinstance(state, Experience):
        return _merge_experience(turn, state)
    if isinstance(state, Insight):
        return _merge_insight(turn, state)
    return _merge_relation(turn, state, change.collective)


def _merge_death(turn: Turn, change: Change) -> bool:
    id, died = change.id, change.stamp
    if died <= turn.died(id):
        return False
    local: Any
    if change.entity == Entity.EXPERIENCE:
        local = find_experience(turn, id)
    elif change.entity == Entity.RELATION:
        local = find_relation(turn, id)
    elif change.entity == Entity.INSIGHT:
        local = find_insight(turn, id)
    else:
        row = turn.get(turn.layout.collectives, id)
        local = None if row is None else Collective.from_json(id, row)
    if local is not None and local.born >= died:
        return False
    if isinstance(local, Experience):
        drop_experience(turn, local, died)
    elif isinstance(local, Relation):
        home = turn.get(turn.layout.experiences, local.source_id)["collective"]
        drop_relation(turn, local, home, died)
    elif isinstance(local, Insight):
        drop_insight(turn, local, died)
    else:
        if isinstance(local, Collective):
            drop_collective(turn, id)
        turn.bury(change.entity, id, change.collective, died)
        turn.log(change.entity, id, change.collective, Event.DELETED)
    return True


def _kill(turn: Turn, entity: Entity, id: str, collective: str) -> bool:
    """Tell everyone, the peer too, that an entity which came too late is dead."""
    turn.bury(entity, id, collective)
    turn.log(entity, id, collective, Event.DELETED, echo=True)
    return True


def _home(turn: Turn, entity: Entity, id: str, collective: str, born: str) -> str:
    """Whether there is a place for an entity: "here", "dead" (it is to be killed) or "old" (known to be dead)."""
    if born <= turn.died(id):
        return "old"
    row = turn.get(turn.layout.collectives, collective)
    if row is None:
        if turn.died(collective):
            return "dead"
        raise MissingDependency(f"{entity} {id} belongs to collective {collective}, which is not here")
    return "dead" if born <= row["floor"] else "here"


def _merge_collective(turn: Turn, incoming: Collective) -> bool:
    died = turn.died(incoming.id)
    if incoming.born <= died:
        return False
    row = turn.get(turn.layout.collectives, incoming.id)
    if row is None:
        kept = replace(incoming, floor=max(incoming.floor, died))
        put_collective(turn, kept, new=True)
        turn.log(Entity.COLLECTIVE, kept.id, kept.id, Event.CREATED, echo=kept != incoming)
        return True
    local = Collective.from_json(incoming.id, row)
    merged = replace(max(local, incoming, key=lambda each: each.born), floor=max(local.floor, incoming.floor))
    if merged == local:
        return False
    put_collective(turn, merged, new=False)
    turn.log(Entity.COLLECTIVE, merged.id, merged.id, Event.UPDATED, echo=merged != incoming)
    if merged.floor > local.floor:
        _sweep(turn, merged)
    return True


def _sweep(turn: Turn, collective: Collective) -> None:
    """Remove what was born before the collective's floor."""
    for row in turn.rows(turn.layout.ages(collective.id)):
        experience = find_experience(turn, second_part(row.key))
        if experience is not None and experience.born <= collective.floor:
            drop_experience(turn, experience)
    for row in turn.rows(turn.layout.insights_of(collective.id)):
        insight = find_insight(turn, row.key)
        if insight is not None and insight.born <= collective.floor:
            drop_insight(turn, insight)


def _merge_experience(turn: Turn, incoming: Experience) -> bool:
    id, home = incoming.id, _home(turn, Entity.EXPERIENCE, incoming.id, incoming.collective_id, incoming.born)
    if home != "here":
        return home == "dead" and _kill(turn, Entity.EXPERIENCE, id, incoming.collective_id)
    local = find_experience(turn, id)
    if local is None:
        put_experience(turn, incoming)
        turn.log(Entity.EXPERIENCE, id, incoming.collective_id, Event.CREATED)
        return True
    if local.collective_id != incoming.collective_id:
        raise InvalidPayload(f"experience {id} cannot move to another collective")
    whole = incoming if incoming.born > local.born else local
    last = incoming if incoming.edited > local.edited else local
    counts = dict(local.applications)
    for instance, count in incoming.applications.items():
        counts[instance] = max(counts.get(instance, 0), count)
    merged = replace(
        whole, importance=last.importance, confidence=last.confidence, domain=last.domain,
        related_files=last.related_files, archived=last.archived, tags=last.tags, edited=last.edited,
        applications=counts, last_reinforced=max(local.last_reinforced, incoming.last_reinforced),
    )  # fmt: skip
    if merged == local:
        return False
    if whole is incoming:
        put_experience(turn, merged, local)
    else:
        change_experience(turn, local, merged)
    event = Event.ARCHIVED if merged.archived and not local.archived else Event.UPDATED
    turn.log(Entity.EXPERIENCE, id, merged.collective_id, event, echo=merged != incoming)
    return True


def _merge_insight(turn: Turn, incoming: Insight) -> bool:
    id, home = incoming.id, _home(turn, Entity.INSIGHT, incoming.id, incoming.collective_id, incoming.born)
    if home != "here":
        return home == "dead" and _kill(turn, Entity.INSIGHT, id, incoming.collective_id)
    local = find_insight(turn, id)
    if local is not None and local.born >= incoming.born:
        return False
    put_insight(turn, incoming, local)
    turn.log(Entity.INSIGHT, id, incoming.collective_id, Event.CREATED if local is None else Event.UPDATED)
    return True


def _merge_relation(turn: Turn, incoming: Relation, collective: str) -> bool:
    id, layout = incoming.id, turn.layout
    home = _home(turn, Entity.RELATION, id, collective, incoming.born)
    if home == "old":
        return False
    local = find_relation(turn, id)
    if local is not None and local.born >= incoming.born:
        return False
    ends = [(end, turn.get(layout.experiences, end)) for end in (incoming.source_id, incoming.target_id)]
    lost = [end for end, row in ends if row is None]
    if home == "dead" or any(turn.died(end) for end in lost):
        return _kill(turn, Entity.RELATION, id, collective)
    if lost:
        raise MissingDependency(f"relation {id} needs experience {lost[0]}, which is not here")
    if {row["collective"] for _, row in ends} != {collective}:
        raise InvalidPayload(f"relation {id} crosses collectives")
    rival = turn.get(layout.edge_keys, edge_key(incoming))
    if rival is not None and rival != id:
        if rival < id:
            if local is not None:
                drop_relation(turn, local, collective, echo=True)
                return True
            return _kill(turn, Entity.RELATION, id, collective)
        other = find_relation(turn, rival)
        if other is not None:
            drop_relation(turn, other, collective, echo=True)
    if local is not None:
        turn.remove(layout.edge_keys, edge_key(local))
    put_relation(turn, incoming, collective, ends[0][1]["at"])
    turn.log(Entity.RELATION, id, collective, Event.CREATED if local is None else Event.UPDATED)
    return True
