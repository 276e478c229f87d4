"""Relations: typed, directed edges between experiences of one collective."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...names import join_key, key_prefix
from .entities import Experience, Relation
from .errors import InvalidField, NotFound
from .experiences import Experiences
from .ids import as_id, new_id
from .kinds import Direction, Entity, Event, RelationType
from .layout import second_part
from .limits import MAX_RELATION_METADATA, check_optional, check_paging, check_score
from .rows import drop_relation, edge_key, find_relation, put_relation, read_experiences, relations_of
from .turns import Turn


class Relations(Experiences):
    """The part of the store for relations."""

    def store_relation(
        self,
        source_id: str,
        target_id: str,
        relation_type: RelationType,
        *,
        strength: float = 1.0,
        metadata: str | None = None,
    ) -> str:
        """Relate two experiences; the relation's id.

        Raises InvalidField (to itself, across collectives, one of that type already there), NotFound.
        """
        self._check_writable()
        source, target = as_id(source_id, "source_id"), as_id(target_id, "target_id")
        self._check_relation(source, target, relation_type, strength, metadata)

        def work(turn: Turn) -> str:
            relation = Relation(
                new_id(), source, target, RelationType(relation_type), strength, metadata, turn.now, turn.stamp()
            )
            self._relate(turn, relation)
            return relation.id

        return self._write(work)

    def save_relation(self, relation: Relation) -> None:
        """Store a relation as it is. The same rules and errors; one with its id is replaced."""
        source, target = as_id(relation.source_id, "source_id"), as_id(relation.target_id, "target_id")
        self._check_relation(source, target, relation.relation_type, relation.strength, relation.metadata)

        def work(turn: Turn) -> None:
            id = as_id(relation.id)
            kept = Relation(
                id, source, target, RelationType(relation.relation_type), relation.strength, relation.metadata,
                relation.created_at, turn.stamp(),
            )  # fmt: skip
            old = find_relation(turn, id)
            if old is not None:
                if (old.source_id, old.target_id) != (source, target):
                    raise InvalidField("relation", "cannot be moved to other experiences")
                turn.remove(self.layout.edge_keys, edge_key(old))
            self._relate(turn, kept)

        self._write(work)

    def _check_relation(self, source: str, target: str, kind: Any, strength: Any, metadata: Any) -> None:
        if source == target:
            raise InvalidField("target_id", "is the source itself")
        check_score("strength", strength)
        if metadata is not None:
            check_optional("metadata", metadata, MAX_RELATION_METADATA)
        if kind not in tuple(RelationType):
            raise InvalidField("relation_type", f"is one of {', '.join(RelationType)}")

    def _relate(self, turn: Turn, relation: Relation) -> None:
        ends = []
        for end in (relation.source_id, relation.target_id):
            row = turn.get(self.layout.experiences, end)
            if row is None:
                raise NotFound("experience", end)
            ends.append(row)
        collective = ends[0]["collective"]
        if ends[1]["collective"] != collective:
            raise InvalidField("target_id", "belongs to another collective")
        if turn.has(self.layout.edge_keys, edge_key(relation)):
            raise InvalidField("relation_type", "relates these experiences already")
        put_relation(turn, relation, collective, ends[0]["at"])
        turn.log(Entity.RELATION, relation.id, collective, Event.CREATED)

    def get_relation(self, id: str) -> Relation | None:
        """The relation, or None."""
        id = as_id(id)
        row = self.storage.get(id, namespace=self.layout.relations)
        return None if row is None else Relation.from_json(id, row)

    def delete_relation(self, id: str) -> bool:
        """Delete a relation; whether it existed. Of two that race, one is told True."""
        id = as_id(id)

        def work(turn: Turn) -> bool:
            relation = find_relation(turn, id)
            if relation is None:
                return False
            drop_relation(turn, relation, self._collective_of(turn, relation))
            return True

        return self._write(work)

    def _collective_of(self, turn: Turn, relation: Relation) -> str:
        return str(turn.get(self.layout.experiences, relation.source_id)["collective"])

    def get_relation_ids_by_source(self, experience_id: str) -> list[str]:
        """Relations that start at an experience, in order of id."""
        return self._relation_ids(self.storage, self.layout.edges_out, as_id(experience_id))

    def get_relation_ids_by_target(self, experience_id: str) -> list[str]:
        """Relations that end at an experience, in order of id."""
        return self._relation_ids(self.storage, self.layout.edges_in, as_id(experience_id))

    def _relation_ids(self, reader: Any, namespace: str, experience: str) -> list[str]:
        return [second_part(key) for key in reader.list(key_prefix(experience) + "*", namespace=namespace)]

    def delete_relations_for_experience(self, experience_id: str) -> int:
        """Delete every relation that touches an experience, in one transaction; how many."""
        id = as_id(experience_id)

        def work(turn: Turn) -> int:
            relations = relations_of(turn, id)
            for relation in relations:
                drop_relation(turn, relation, self._collective_of(turn, relation))
            return len(relations)

        return self._write(work)

    def relation_exists(self, source_id: str, target_id: str, relation_type: RelationType) -> bool:
        """Whether there is such a relation."""
        key = join_key(as_id(source_id), str(RelationType(relation_type)), as_id(target_id))
        return self.storage.has(key, namespace=self.layout.edge_keys)

    def list_relations_in_collective(self, collective_id: str, limit: int, offset: int = 0) -> list[Relation]:
        """A page of relations by age of their source, then in order of id."""
        check_paging(limit, offset)
        keys = self.storage.list(namespace=self.layout.edges(as_id(collective_id)), limit=limit, offset=offset)
        return list(self._load(self.storage, [second_part(key) for key in keys]))

    list_relations = list_relations_in_collective

    def _load(self, reader: Any, ids: list[str]) -> Iterator[Relation]:
        for start in range(0, len(ids), 500):
            rows = reader.get_many(ids[start : start + 500], namespace=self.layout.relations)
            yield from (Relation.from_json(id, row) for id, row in rows.items())

    def get_related_experiences(
        self,
        id: str,
        direction: Direction = Direction.BOTH,
        relation_type: RelationType | None = None,
    ) -> list[tuple[Experience, Relation]]:
        """Each relation of an experience with the experience at its other end; outgoing ones first.

        Archived experiences are included; [] for an unknown one.
        """
        id = as_id(id)
        with self._snapshot() as tx:
            relations = self._touching(tx, id, direction)
            if relation_type is not None:
                relations = [relation for relation in relations if relation.relation_type == relation_type]
            others = [relation.target_id if relation.source_id == id else relation.source_id for relation in relations]
            held = {
                experience.id: experience for experience in read_experiences(tx, self.layout, dict.fromkeys(others))
            }
        return [(held[other], relation) for other, relation in zip(others, relations, strict=True) if other in held]

    get_related_experiences_filtered = get_related_experiences

    def _touching(self, reader: Any, id: str, direction: Direction) -> list[Relation]:
        found: list[Relation] = []
        if direction not in tuple(Direction):
            raise InvalidField("direction", f"is one of {', '.join(Direction)}")
        if direction != Direction.INCOMING:
            found += self._load(reader, self._relation_ids(reader, self.layout.edges_out, id))
        if direction != Direction.OUTGOING:
            found += self._load(reader, self._relation_ids(reader, self.layout.edges_in, id))
        return found
