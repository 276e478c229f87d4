"""Entities: the people, bots and things that an agent knows of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...contract import StorageBackend
from ...errors import InvalidInput
from ...filters import identity
from ...names import key_prefix, split_key
from .binding import check_ids, check_number, check_page, now
from .cascades import Cascades
from .ids import as_uuid, new_uuid
from .layout import short
from .plain_json import clean_json, clean_text
from .records import Component, Entity

EntityInput = Entity | Mapping[str, Any]


class Entities(Cascades):
    """The methods on entities."""

    def get_entity_by_id(self, id: str) -> Entity | None:
        """The entity with its components, or None."""
        found = self.get_entities_by_ids([id])
        return found[0] if found else None

    def get_entities_by_ids(self, ids: Iterable[str]) -> list[Entity]:
        """The entities of those ids that exist, in that order, with their components."""
        return self._with_components(self._get_each(Entity, self._places.entities, check_ids(ids, "ids")))

    def get_entities_for_room(self, room_id: str, include_components: bool = False) -> list[Entity]:
        """The agent's entities that take part in a room."""
        entities: list[Entity] = self.get_entities_for_rooms([room_id], include_components)[0]["entities"]
        return entities

    def get_entities_for_rooms(self, room_ids: Iterable[str], include_components: bool = False) -> list[dict[str, Any]]:
        """For each room {"roomId", "entities"}, in that order."""
        found = []
        for room in check_ids(room_ids, "room_ids"):
            seats = self._storage.list(key_prefix(room) + "*", namespace=self._places.participants)
            ids = [str(split_key(key)[1]) for key in seats]
            entities = [each for each in self._get_each(Entity, self._places.entities, ids) if self._is_own(each)]
            found.append(
                {"roomId": room, "entities": self._with_components(entities) if include_components else entities}
            )
        return found

    def create_entities(self, entities: Iterable[EntityInput]) -> list[str]:
        """Store new entities; all ids in that order. One whose id is taken stays as it is."""
        prepared = [self._new_entity(entity) for entity in entities]

        def create(tx: StorageBackend) -> None:
            taken = set(tx.get_many([str(each.id) for each in prepared], namespace=self._places.entities))
            fresh = {str(each.id): each for each in reversed(prepared) if each.id not in taken}
            self._put_entities(tx, fresh.values())

        self._write(create)
        return [str(entity.id) for entity in prepared]

    def create_entity(self, entity: EntityInput) -> str:
        """The same for one."""
        return self.create_entities([entity])[0]

    def ensure_entity_exists(self, entity: EntityInput) -> str:
        """The same, under the name of elizaOS's runtime."""
        return self.create_entity(entity)

    def upsert_entities(self, entities: Iterable[EntityInput]) -> list[str]:
        """Store each entity, or give names and metadata to the one with its id."""
        prepared = [self._new_entity(entity) for entity in entities]

        def upsert(tx: StorageBackend) -> None:
            known = self._known_entities(tx, prepared)
            self._put_entities(tx, (each for each in prepared if each.id not in known))
            self._change_entities(tx, known, [each for each in prepared if each.id in known])

        self._write(upsert)
        return [str(entity.id) for entity in prepared]

    def update_entity(self, entity: EntityInput) -> bool:
        """Replace names and metadata of the entity with that id; whether it exists. None is made."""
        return self.update_entities([entity])[0]

    def update_entities(self, entities: Iterable[EntityInput]) -> list[bool]:
        """The same for several, all or none; whether each exists."""
        prepared = [Entity.of(entity) for entity in entities]
        if any(entity.id is None for entity in prepared):
            raise InvalidInput("updating an entity takes its id")

        def update(tx: StorageBackend) -> list[bool]:
            known = self._known_entities(tx, prepared)
            self._change_entities(tx, known, [each for each in prepared if each.id in known])
            return [each.id in known for each in prepared]

        return self._write(update)

    def delete_entity(self, id: str) -> bool:
        """Delete an entity with its components, seats, memories, logs and relationships; whether it existed."""
        return self.delete_entities([id]) > 0

    def delete_entities(self, ids: Iterable[str]) -> int:
        """The same for several, all or none; how many existed."""
        wanted = check_ids(ids, "ids")

        def delete(tx: StorageBackend) -> int:
            seen = self._get_each(Entity, self._places.entities, wanted, tx)
            return sum(self._drop_entity(tx, str(entity.id)) for entity in seen)

        return self._write(delete)

    def get_entities_by_names(self, names: Iterable[str], agent_id: str | None = None) -> list[Entity]:
        """The agent's entities that have one of these names, exactly so."""
        if isinstance(names, str):
            raise InvalidInput("names is a list of strings")
        wanted = [clean_text(name) for name in names]
        agent = self._agent_id if agent_id is None else as_uuid(agent_id)
        ids = [str(id) for name in wanted for id, _ in self._lookup("name", agent, short(name))]
        found = self._get_each(Entity, self._places.entities, ids)
        return self._with_components([each for each in found if set(each.names) & set(wanted)])

    def search_entities_by_name(self, query: str, agent_id: str | None = None, limit: int = 10) -> list[Entity]:
        """The agent's entities with a name that has ``query`` in it, whatever its case; a blank one finds all."""
        if not isinstance(query, str):
            raise InvalidInput("query is a string")
        check_number(limit, "limit")
        agent = self._agent_id if agent_id is None else as_uuid(agent_id)
        part = clean_text(query).strip().casefold()
        ids: dict[str, None] = {}
        if not part:
            owned = self._storage.list(
                key_prefix("owned", agent, "entity") + "*", namespace=self._places.lookups, limit=limit
            )
            ids.update((str(split_key(key)[-1]), None) for key in owned)
        else:
            for name, id, _ in self._lookup("name", agent):
                if len(ids) == limit:
                    break
                if part in name.casefold() or (name.startswith("sha256:") and self._has_name(id, part)):
                    ids[id] = None
        return self._with_components(self._get_each(Entity, self._places.entities, ids))

    def query_entities(
        self,
        *,
        component_type: str | None = None,
        component_data_filter: Mapping[str, Any] | None = None,
        agent_id: str | None = None,
        entity_ids: Iterable[str] | None = None,
        world_id: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        include_all_components: bool = False,
    ) -> list[Entity]:
        """The entities that meet every argument, in order of their ids, or of ``entity_ids``.

        ``component_type``, ``component_data_filter`` (data that the component's contains, lists and objects in part)
        and ``world_id`` are met by one and the same component; the entities come with those that meet them, or with
        all. A call without any filter or limit raises InvalidInput.
        """
        limit, start = check_page(limit, offset)
        by_component = component_type is not None or component_data_filter is not None or world_id is not None
        if not by_component and agent_id is None and entity_ids is None and limit is None:
            raise InvalidInput("query_entities takes a filter or a limit")
        agent = self._agent_id if agent_id is None else as_uuid(agent_id)
        if entity_ids is not None:
            ids = list(dict.fromkeys(check_ids(entity_ids, "entity_ids")))
        else:
            ids = [str(id) for id, _ in self._lookup("owned", agent, "entity")]
        world = None if world_id is None else as_uuid(world_id)
        wanted = None if component_data_filter is None else clean_json(dict(component_data_filter), "filter")
        found = []
        for entity in self._with_components(self._get_each(Entity, self._places.entities, ids)):
            if agent_id is not None and entity.agent_id != agent:
                continue
            matching = tuple(
                each
                for each in entity.components or ()
                if component_type in (None, each.type)
                and world in (None, each.world_id)
                and (wanted is None or contains_json(each.data, wanted))
            )
            if by_component and not matching:
                continue
            found.append(entity if include_all_components or not by_component else entity.with_(components=matching))
        return found[start:] if limit is None else found[start : start + limit]

    # -- within --------------------------------------------------------------------------------------------------------

    def _is_own(self, entity: Entity) -> bool:
        return entity.agent_id == self._agent_id

    def _has_name(self, id: str, part: str) -> bool:
        entity = self._get(Entity, self._places.entities, id)
        return entity is not None and any(part in name.casefold() for name in entity.names)

    def _new_entity(self, given: EntityInput) -> Entity:
        entity = Entity.of(given)
        return entity.with_(
            id=entity.id or new_uuid(),
            agent_id=self._owner(entity.agent_id),
            created_at=now() if entity.created_at is None else entity.created_at,
            components=None,
        )

    def _known_entities(self, tx: StorageBackend, entities: list[Entity]) -> dict[str | None, Entity]:
        ids = [str(entity.id) for entity in entities]
        return {entity.id: entity for entity in self._get_each(Entity, self._places.entities, ids, tx)}

    def _put_entities(self, tx: StorageBackend, entities: Iterable[Entity]) -> None:
        rows = [(str(each.id), each.to_json(), self._entity_lookups(each)) for each in entities]
        self._put(tx, self._places.entities, rows)

    def _change_entities(self, tx: StorageBackend, known: dict[str | None, Entity], entities: list[Entity]) -> None:
        for entity in entities:
            before = known[entity.id]
            after = before.with_(names=entity.names, metadata=entity.metadata, updated_at=now())
            row = (str(after.id), after.to_json(), self._entity_lookups(after))
            self._put(tx, self._places.entities, [row], stale=self._entity_lookups(before))
            known[entity.id] = after

    def _with_components(self, entities: list[Entity]) -> list[Entity]:
        return [
            entity.filled(
                components=tuple(
                    Component.from_json(entry.value)
                    for entry in self._storage.scan(
                        namespace=self._places.components, prefix=key_prefix(str(entity.id))
                    )
                )
            )
            for entity in entities
        ]


def contains_json(held: Any, wanted: Any) -> bool:
    """Whether ``held`` has everything that ``wanted`` has: objects by name, lists by member, the rest by equality.

    >>> contains_json({"a": [1, {"b": 2}], "c": 3}, {"a": [{"b": 2}]})
    True
    """
    if isinstance(wanted, dict):
        return isinstance(held, dict) and all(
            name in held and contains_json(held[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(held, list) and all(any(contains_json(each, value) for each in held) for value in wanted)
    return bool(identity(held) == identity(wanted))
