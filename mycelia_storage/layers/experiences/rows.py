"""The rows of each entity: every entity is written and removed here, with all its secondary rows, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...contract import Entry, StorageBackend
from ...indexes import VectorIndex
from ...names import join_key, key_prefix
from .entities import Collective, Experience, Insight, Relation
from .kinds import Entity, Event
from .layout import Layout, second_part
from .limits import is_zero
from .turns import Turn

# -- collectives -----------------------------------------------------------------------------------------------------


def read_collective(storage: StorageBackend, layout: Layout, id: str) -> Collective | None:
    """A collective, or None."""
    row = storage.get(id, namespace=layout.collectives)
    return None if row is None else Collective.from_json(id, row)


def put_collective(turn: Turn, collective: Collective, *, new: bool) -> None:
    """Store a collective; a new one gets its vector indexes. The transaction is an exclusive one."""
    turn.put(turn.layout.collectives, collective.id, collective.to_json())
    if new:
        index = VectorIndex(collective.embedding_dimension)
        turn.tx.create_index(turn.layout.vectors(collective.id), index)
        turn.tx.create_index(turn.layout.archived(collective.id), index)
        turn.tx.create_index(turn.layout.insight_vectors(collective.id), index)


def drop_collective(turn: Turn, id: str) -> None:
    """Remove a collective and everything in it, without log rows."""
    layout = turn.layout
    for relation in relations_in(turn, id):
        _remove_edges(turn, relation)
    for entry in turn.rows(layout.ages(id)):
        turn.remove(layout.experiences, second_part(entry.key))
    for entry in turn.rows(layout.insights_of(id)):
        turn.remove(layout.insights, entry.key)
    turn.remove(layout.collectives, id)
    turn.remove(layout.decay, id)
    turn.flush()
    if turn.tx.list_namespaces(prefix=layout.of(id)):
        turn.tx.delete_namespace(layout.of(id), recursive=True)


# -- experiences -----------------------------------------------------------------------------------------------------


def facets(experience: Experience) -> dict[str, Any]:
    """What filters ask of an experience: it is the metadata of its vector, so that a search asks while it ranks."""
    return {
        "type": experience.experience_type.tag,
        "importance": experience.importance,
        "confidence": experience.confidence,
        "archived": experience.archived,
        "at": experience.timestamp,
        "domain": [*experience.domain],
        "tags": [tag_text(key, value) for key, value in experience.tags.items()],
    }


def tag_text(key: str, value: str) -> str:
    """A tag as one string; no two tags have the same."""
    return f"{len(key)}:{key}={value}"


def vector_place(layout: Layout, experience: Experience) -> str:
    """The namespace of an experience's vector."""
    c = experience.collective_id
    if is_zero(experience.vector):
        return layout.zeros(c)
    return layout.archived(c) if experience.archived else layout.vectors(c)


def age_key(experience: Experience) -> str:
    """The key by age."""
    return join_key(experience.timestamp, experience.id)


def put_experience(turn: Turn, experience: Experience, old: Experience | None = None) -> None:
    """Store an experience and its secondary rows; ``old`` is what it replaces, in the same collective."""
    layout, c, id = turn.layout, experience.collective_id, experience.id
    if old is not None:
        _clear_experience(turn, old, experience)
    turn.put(layout.experiences, id, experience.to_json())
    turn.put(vector_place(layout, experience), id, experience.vector, facets(experience))
    turn.put(layout.ages(c), age_key(experience), len(experience.content.encode()) + len(experience.vector))
    turn.put(layout.types(c), join_key(experience.experience_type.tag, id), None)


def change_experience(turn: Turn, old: Experience, new: Experience) -> None:
    """Store what may change of an experience."""
    turn.put(turn.layout.experiences, new.id, new.to_json())
    _clear_vector(turn, old, new)
    if facets(old) != facets(new):
        turn.put(vector_place(turn.layout, new), new.id, new.vector, facets(new))


def _clear_vector(turn: Turn, old: Experience, new: Experience) -> None:
    place = vector_place(turn.layout, old)
    if place != vector_place(turn.layout, new):
        turn.remove(place, old.id)


def _clear_experience(turn: Turn, old: Experience, new: Experience) -> None:
    """Remove the secondary rows that storing ``new`` would leave behind."""
    layout, c = turn.layout, old.collective_id
    if age_key(old) != age_key(new):
        turn.remove(layout.ages(c), age_key(old))
        for entry in turn.rows(layout.edges_out, key_prefix(old.id)):
            relation = second_part(entry.key)
            turn.remove(layout.edges(c), join_key(old.timestamp, old.id, relation))
            turn.put(layout.edges(c), join_key(new.timestamp, new.id, relation), None)
    if old.experience_type.tag != new.experience_type.tag:
        turn.remove(layout.types(c), join_key(old.experience_type.tag, old.id))
    _clear_vector(turn, old, new)


def drop_experience(turn: Turn, experience: Experience, died: str | None = None, *, alone: bool = False) -> None:
    """Remove an experience and the relations that touch it, all with log row and tombstone. ``alone``: it has none."""
    for relation in [] if alone else relations_of(turn, experience.id):
        drop_relation(turn, relation, experience.collective_id, echo=True)
    layout, c = turn.layout, experience.collective_id
    turn.remove(layout.experiences, experience.id)
    turn.remove(vector_place(layout, experience), experience.id)
    turn.remove(layout.ages(c), age_key(experience))
    turn.remove(layout.types(c), join_key(experience.experience_type.tag, experience.id))
    turn.bury(Entity.EXPERIENCE, experience.id, c, died)
    turn.log(Entity.EXPERIENCE, experience.id, c, Event.DELETED, was=facets(experience))


def read_experience(storage: StorageBackend, layout: Layout, id: str) -> Experience | None:
    """An experience with its vector, or None."""
    row = storage.get(id, namespace=layout.experiences)
    return None if row is None else _join(storage, layout, id, row)


def find_experience(turn: Turn, id: str) -> Experience | None:
    """The same within a turn."""
    row = turn.get(turn.layout.experiences, id)
    if row is None:
        return None
    c = row["collective"]
    place = turn.layout.archived(c) if row["archived"] else turn.layout.vectors(c)
    vector = turn.get(place, id) or turn.get(turn.layout.zeros(c), id) or b""
    return Experience.from_json(id, row, vector)


def read_experiences(storage: StorageBackend, layout: Layout, ids: Iterable[str]) -> list[Experience]:
    """Those that exist, in the order of ``ids``."""
    rows: dict[str, Any] = {}
    for page in _pages([*ids]):
        rows |= storage.get_many(page, namespace=layout.experiences)
    vectors = vectors_of(storage, layout, rows)
    return [Experience.from_json(id, row, vectors.get(id, b"")) for id, row in rows.items()]


def vectors_of(storage: StorageBackend, layout: Layout, rows: Mapping[str, Any]) -> dict[str, bytes]:
    """The vectors of experiences given as stored."""
    places: dict[tuple[str, bool], list[str]] = {}
    for id, row in rows.items():
        places.setdefault((row["collective"], row["archived"]), []).append(id)
    found: dict[str, bytes] = {}
    for (c, archived), ids in places.items():
        for page in _pages(ids):
            found |= storage.get_many(page, namespace=layout.archived(c) if archived else layout.vectors(c))
        left = [id for id in ids if id not in found]
        if left:
            found |= storage.get_many(left, namespace=layout.zeros(c))
    return found


def _join(storage: StorageBackend, layout: Layout, id: str, row: dict[str, Any]) -> Experience:
    return Experience.from_json(id, row, vectors_of(storage, layout, {id: row}).get(id, b""))


# -- relations -------------------------------------------------------------------------------------------------------


def edge_key(relation: Relation) -> str:
    """What only one relation may have."""
    return join_key(relation.source_id, str(relation.relation_type), relation.target_id)


def put_relation(turn: Turn, relation: Relation, collective: str, source_timestamp: int) -> None:
    """Store a relation and its secondary rows."""
    layout, id = turn.layout, relation.id
    turn.put(layout.relations, id, relation.to_json())
    turn.put(layout.edges_out, join_key(relation.source_id, id), relation.target_id)
    turn.put(layout.edges_in, join_key(relation.target_id, id), relation.source_id)
    turn.put(layout.edge_keys, edge_key(relation), id)
    turn.put(layout.edges(collective), join_key(source_timestamp, relation.source_id, id), None)


def drop_relation(
    turn: Turn, relation: Relation, collective: str, died: str | None = None, *, echo: bool = False
) -> None:
    """Remove a relation, with log row and tombstone."""
    _remove_edges(turn, relation)
    source = turn.get(turn.layout.experiences, relation.source_id)
    if source is not None:
        turn.remove(turn.layout.edges(collective), join_key(source["at"], relation.source_id, relation.id))
    turn.bury(Entity.RELATION, relation.id, collective, died)
    turn.log(Entity.RELATION, relation.id, collective, Event.DELETED, echo=echo)


def _remove_edges(turn: Turn, relation: Relation) -> None:
    layout, id = turn.layout, relation.id
    turn.remove(layout.relations, id)
    turn.remove(layout.edges_out, join_key(relation.source_id, id))
    turn.remove(layout.edges_in, join_key(relation.target_id, id))
    if turn.get(layout.edge_keys, edge_key(relation)) == id:
        turn.remove(layout.edge_keys, edge_key(relation))


def find_relation(turn: Turn, id: str) -> Relation | None:
    """A relation within a turn, or None."""
    row = turn.get(turn.layout.relations, id)
    return None if row is None else Relation.from_json(id, row)


def relations_of(turn: Turn, experience: str) -> list[Relation]:
    """Every relation that touches an experience, once."""
    prefix = key_prefix(experience)
    entries = [*turn.rows(turn.layout.edges_out, prefix), *turn.rows(turn.layout.edges_in, prefix)]
    found = (find_relation(turn, id) for id in dict.fromkeys(second_part(entry.key) for entry in entries))
    return [relation for relation in found if relation is not None]


def relations_in(turn: Turn, collective: str) -> list[Relation]:
    """Every relation of a collective."""
    found: list[Relation] = []
    for page in _pages([second_part(entry.key) for entry in turn.rows(turn.layout.edges(collective))]):
        held = turn.tx.get_many(page, namespace=turn.layout.relations)
        found += [Relation.from_json(id, row) for id, row in held.items()]
    return found


# -- insights --------------------------------------------------------------------------------------------------------


def put_insight(turn: Turn, insight: Insight, old: Insight | None = None) -> None:
    """Store an insight and its secondary rows."""
    layout, c, id = turn.layout, insight.collective_id, insight.id
    if old is not None:
        _remove_insight(turn, old)
    turn.put(layout.insights, id, insight.to_json())
    turn.put(layout.insights_of(c), id, None)
    turn.put(layout.insight_zeros(c) if is_zero(insight.vector) else layout.insight_vectors(c), id, insight.vector)


def drop_insight(turn: Turn, insight: Insight, died: str | None = None) -> None:
    """Remove an insight, with log row and tombstone."""
    _remove_insight(turn, insight)
    turn.bury(Entity.INSIGHT, insight.id, insight.collective_id, died)
    turn.log(Entity.INSIGHT, insight.id, insight.collective_id, Event.DELETED)


def _remove_insight(turn: Turn, insight: Insight) -> None:
    layout, c, id = turn.layout, insight.collective_id, insight.id
    turn.remove(layout.insights, id)
    turn.remove(layout.insights_of(c), id)
    turn.remove(layout.insight_zeros(c) if is_zero(insight.vector) else layout.insight_vectors(c), id)


def find_insight(turn: Turn, id: str) -> Insight | None:
    """An insight within a turn, or None."""
    row = turn.get(turn.layout.insights, id)
    if row is None:
        return None
    c = row["collective"]
    vector = turn.get(turn.layout.insight_vectors(c), id) or turn.get(turn.layout.insight_zeros(c), id) or b""
    return Insight.from_json(id, row, vector)


def read_insights(storage: StorageBackend, layout: Layout, ids: Iterable[str]) -> list[Insight]:
    """Those that exist, in the order of ``ids``."""
    found: list[Insight] = []
    for page in _pages([*ids]):
        rows = storage.get_many(page, namespace=layout.insights)
        vectors: dict[str, bytes] = {}
        for c in {row["collective"] for row in rows.values()}:
            for place in (layout.insight_vectors(c), layout.insight_zeros(c)):
                vectors |= storage.get_many([id for id in rows if id not in vectors], namespace=place)
        found += [Insight.from_json(id, row, vectors.get(id, b"")) for id, row in rows.items()]
    return found


def edit(experience: Experience, **changes: Any) -> Experience:
    """The experience with other fields."""
    return replace(experience, **changes)


def keys_of(entries: Iterable[Entry]) -> list[str]:
    """The ids that the keys of secondary rows lead to."""
    return [second_part(entry.key) for entry in entries]


def _pages(ids: list[str], size: int = 500) -> Iterable[list[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
