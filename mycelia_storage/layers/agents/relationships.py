"""Relationships: directed edges between entities, one for each source, target and agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...contract import StorageBackend
from ...errors import InvalidInput
from ...names import join_key, key_prefix
from .binding import check_ids, check_page, now
from .cascades import Cascades
from .ids import as_uuid, new_uuid
from .records import Relationship

RelationshipInput = Relationship | Mapping[str, Any]


class Relationships(Cascades):
    """The methods on relationships. They see the agent's own."""

    def create_relationship(self, relationship: RelationshipInput) -> bool:
        """Store an edge; False, and nothing changed, if the agent has one from that source to that target.

        Raises UnknownRecord for an entity that is not there.
        """
        return self.create_relationships([relationship])[0] is not None

    def create_relationships(self, relationships: Iterable[RelationshipInput]) -> list[str | None]:
        """The same for several, all or none on an error; the id of each, None where there was one."""
        prepared = [self._new_relationship(each) for each in relationships]

        def create(tx: StorageBackend) -> list[str | None]:
            places = self._places
            ends = [id for each in prepared for id in (each.source_entity_id, each.target_entity_id)]
            keys = [_key(each) for each in prepared]
            found = self._require(tx, {places.entities: ends}, {places.relationships: keys})
            taken = set(found[places.relationships])
            done: list[str | None] = []
            for key, each in zip(keys, prepared, strict=True):
                done.append(None if key in taken else each.id)
                if key not in taken:
                    taken.add(key)
                    self._put(tx, places.relationships, [(key, each.to_json(), self._relationship_lookups(each))])
            return done

        return self._write(create)

    def get_relationship(self, source_entity_id: str, target_entity_id: str) -> Relationship | None:
        """The edge from one entity to the other, or None."""
        return self.get_relationships_by_pairs([(source_entity_id, target_entity_id)])[0]

    def get_relationships_by_pairs(
        self, pairs: Iterable[tuple[str, str] | Mapping[str, Any]]
    ) -> list[Relationship | None]:
        """For each (source, target) or {"sourceEntityId", "targetEntityId"} the edge, or None."""
        keys = []
        for pair in pairs:
            source, target = pair if isinstance(pair, tuple) else (pair["sourceEntityId"], pair["targetEntityId"])
            keys.append(join_key(as_uuid(source), as_uuid(target), self._agent_id))
        found = self._storage.get_many(dict.fromkeys(keys), namespace=self._places.relationships)
        return [Relationship.from_json(found[key]) if key in found else None for key in keys]

    def get_relationships_by_ids(self, ids: Iterable[str]) -> list[Relationship]:
        """The agent's edges of those ids, in that order."""
        return self._edges_by_ids(self._storage, check_ids(ids, "ids"))

    def get_relationships(
        self,
        entity_id: str | None = None,
        *,
        entity_ids: Iterable[str] | None = None,
        tags: Iterable[str] | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[Relationship]:
        """The edges from or to an entity, or any of several, with any of the tags if some are given."""
        limit, start = check_page(limit, offset)
        if entity_id is None and entity_ids is None:
            raise InvalidInput("get_relationships takes entity_id or entity_ids")
        if isinstance(tags, str):
            raise InvalidInput("tags is a list of strings")
        entities = [as_uuid(entity_id)] if entity_id is not None else check_ids(entity_ids, "entity_ids")
        keys: dict[str, None] = {}
        for entity in entities:
            outgoing = self._storage.list(key_prefix(entity) + "*", namespace=self._places.relationships)
            incoming = [join_key(source, entity, agent) for source, agent, _ in self._lookup("relationship-to", entity)]
            keys.update(dict.fromkeys([*outgoing, *incoming]))
        found = [
            each
            for each in self._get_each(Relationship, self._places.relationships, keys)
            if each.agent_id == self._agent_id and (tags is None or set(tags) & set(each.tags))
        ]
        return found[start:] if limit is None else found[start : start + limit]

    def update_relationship(self, relationship: RelationshipInput) -> bool:
        """Replace tags and metadata of the edge with that source and target; whether there is one."""
        return self.update_relationships([relationship])[0]

    def update_relationships(self, relationships: Iterable[RelationshipInput]) -> list[bool]:
        """The same for several, all or none."""
        prepared = [Relationship.of(each) for each in relationships]

        def update(tx: StorageBackend) -> list[bool]:
            done = []
            for each in prepared:
                key = join_key(each.source_entity_id, each.target_entity_id, self._owner(each.agent_id))
                value = tx.get(key, namespace=self._places.relationships)
                done.append(value is not None)
                if value is not None:
                    changed = Relationship.from_json(value).with_(tags=each.tags, metadata=each.metadata)
                    tx.set(key, changed.to_json(), namespace=self._places.relationships)
            return done

        return self._write(update)

    def delete_relationships(self, ids: Iterable[str]) -> int:
        """Delete the agent's edges of those ids, all or none; how many there were."""
        wanted = check_ids(ids, "ids")

        def delete(tx: StorageBackend) -> int:
            return self._drop_relationships(tx, [_key(each) for each in self._edges_by_ids(tx, wanted)])

        return self._write(delete)

    def _edges_by_ids(self, storage: StorageBackend, ids: list[str]) -> list[Relationship]:
        lookups = [join_key("relationship", id) for id in dict.fromkeys(ids)]
        keys = storage.get_many(lookups, namespace=self._places.lookups)
        found = self._get_each(Relationship, self._places.relationships, keys.values(), storage)
        return [each for each in found if each.agent_id == self._agent_id]

    def _new_relationship(self, given: RelationshipInput) -> Relationship:
        each = Relationship.of(given)
        return each.with_(
            id=each.id or new_uuid(),
            agent_id=self._owner(each.agent_id),
            created_at=now() if each.created_at is None else each.created_at,
        )


def _key(each: Relationship) -> str:
    return join_key(each.source_entity_id, each.target_entity_id, str(each.agent_id))
