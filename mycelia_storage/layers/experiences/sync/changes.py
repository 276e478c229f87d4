"""What is sent: for each entity that a page of the log names, its state now, or its tombstone.

A change is a JSON object::

    {"seq", "entity", "id", "collective", "data": {...} or null, "vector": base64, "died": stamp}

``data`` is the entity as stored; null is a death.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ....contract import StorageBackend
from ..change_log import ChangeLog
from ..entities import LogRecord
from ..kinds import Entity
from ..rows import vectors_of

#: How many bytes of changes go into a page, unless it is a single one.
PAGE_BYTES: Final = 4 * 2**20

_STATE_ORDER: Final = (Entity.COLLECTIVE, Entity.EXPERIENCE, Entity.RELATION, Entity.INSIGHT)


@dataclass(frozen=True)
class Scope:
    """Which entities are exchanged."""

    collectives: Collection[str] | None = None
    relations: bool = True
    insights: bool = True

    def holds(self, entity: Entity, collective: str) -> bool:
        """Whether an entity is one of them."""
        if entity == Entity.RELATION and not self.relations:
            return False
        if entity == Entity.INSIGHT and not self.insights:
            return False
        return self.collectives is None or collective in self.collectives


@dataclass(frozen=True)
class Page:
    """Changes, where the next page begins, and whether there is one."""

    changes: list[dict[str, Any]]
    next: int
    has_more: bool


def read_page(store: ChangeLog, peer: str, since: int, limit: int, scope: Scope, size: int = PAGE_BYTES) -> Page:
    """What the log after ``since`` has for a peer: ``limit`` rows of it. Raises CursorTooOld."""
    with store._snapshot() as tx:
        records = store._poll(tx, since, limit)
        newest = store._ends(tx)[0]
        wanted: dict[str, LogRecord] = {}
        for record in records:
            if record.via != peer and scope.holds(record.entity_type, record.collective_id):
                wanted.setdefault(record.entity_id, record)
        states = _states(store, tx, wanted.values())
    changes: list[dict[str, Any]] = []
    last, room = since, size
    for record in records:
        state = states.get(record.entity_id)
        if state is not None and wanted[record.entity_id] is record:
            room -= _size(state)
            if room < 0 and changes:
                break
            changes.append({"seq": record.sequence} | state)
        last = record.sequence
    return Page(changes, last, last < newest)


def read_state(
    store: ChangeLog, place: str, limit: int, scope: Scope, size: int = PAGE_BYTES
) -> tuple[list[dict[str, Any]], str | None, int]:
    """Everything there is, whatever the log still has: a page of it, the next place, and the number of the newest row.

    ``place``: "" at first, then what the page before gave; None is the end. Dependencies come first, tombstones last.
    """
    part, _, after = place.partition(":")
    number = int(part) if part.isdecimal() else 0
    with store._snapshot() as tx:
        newest = store._ends(tx)[0]
        names = [_place(store, entity) for entity in _STATE_ORDER] + [store.layout.tombstones]
        if number >= len(names):
            return [], None, newest
        rows = list(tx.scan(namespace=names[number], after=after or None, limit=limit))
        if number < len(_STATE_ORDER):
            kind = _STATE_ORDER[number]
            found = _load(store, tx, kind, {row.key: row.value for row in rows})
        else:
            found = {row.key: _death(row.key, row.value) for row in rows}
    changes: list[dict[str, Any]] = []
    last, room = after, size
    for row in rows:
        state = found.get(row.key)
        if state is not None and scope.holds(Entity(state["entity"]), state["collective"]):
            room -= _size(state)
            if room < 0 and changes:
                return changes, f"{number}:{last}", newest
            changes.append({"seq": 0} | state)
        last = row.key
    return changes, f"{number}:{last}" if len(rows) == limit else f"{number + 1}:", newest


def _states(store: ChangeLog, tx: StorageBackend, records: Iterable[LogRecord]) -> dict[str, dict[str, Any]]:
    """The state of each entity by id; those that are gone with their collective are left out."""
    by_kind: dict[Entity, list[str]] = {}
    for record in records:
        by_kind.setdefault(record.entity_type, []).append(record.entity_id)
    found: dict[str, dict[str, Any]] = {}
    for kind, ids in by_kind.items():
        found |= _load(store, tx, kind, tx.get_many(ids, namespace=_place(store, kind)))
        dead = tx.get_many([id for id in ids if id not in found], namespace=store.layout.tombstones)
        found |= {id: _death(id, row) for id, row in dead.items()}
    return found


def _place(store: ChangeLog, kind: Entity) -> str:
    layout = store.layout
    return {
        Entity.COLLECTIVE: layout.collectives,
        Entity.EXPERIENCE: layout.experiences,
        Entity.RELATION: layout.relations,
        Entity.INSIGHT: layout.insights,
    }[kind]


def _load(store: ChangeLog, tx: StorageBackend, kind: Entity, rows: dict[str, Any]) -> dict[str, dict[str, Any]]:
    layout = store.layout
    vectors: dict[str, bytes] = {}
    if kind == Entity.EXPERIENCE:
        vectors = vectors_of(tx, layout, rows)
        homes = {id: row["collective"] for id, row in rows.items()}
    elif kind == Entity.INSIGHT:
        homes = {id: row["collective"] for id, row in rows.items()}
        for c in set(homes.values()):
            ids = [id for id in rows if homes[id] == c]
            for place in (layout.insight_vectors(c), layout.insight_zeros(c)):
                vectors |= tx.get_many(ids, namespace=place)
    elif kind == Entity.RELATION:
        sources = tx.get_many({row["source"] for row in rows.values()}, namespace=layout.experiences)
        homes = {id: sources[row["source"]]["collective"] for id, row in rows.items() if row["source"] in sources}
    else:
        homes = {id: id for id in rows}
    return {
        id: {"entity": str(kind), "id": id, "collective": homes[id], "data": row}
        | ({"vector": b64encode(vectors.get(id, b"")).decode()} if id in vectors else {})
        for id, row in rows.items()
        if id in homes
    }


def _death(id: str, row: dict[str, Any]) -> dict[str, Any]:
    return {"entity": row["entity"], "id": id, "collective": row["collective"], "data": None, "died": row["died"]}


def _size(state: dict[str, Any]) -> int:
    return len(orjson.dumps(state)) + 32
