"""Components: JSON data attached to entities, one for each entity, type, world and source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...contract import StorageBackend
from ...errors import InvalidInput
from ...names import join_key, key_prefix
from .binding import check_ids, now
from .cascades import Cascades
from .errors import UnknownRecord
from .ids import as_uuid, new_uuid
from .layout import component_key, short
from .patching import apply_patch, check_patch
from .records import Component

ComponentInput = Component | Mapping[str, Any]


class Components(Cascades):
    """The methods on components."""

    def get_component(
        self, entity_id: str, type: str, world_id: str | None = None, source_entity_id: str | None = None
    ) -> Component | None:
        """The entity's first component of that type, of that world and source where they are given, or None."""
        for component in self._of_entity(entity_id, world_id, source_entity_id, type):
            return component
        return None

    def get_components(
        self, entity_id: str, world_id: str | None = None, source_entity_id: str | None = None
    ) -> list[Component]:
        """The entity's components, of that world and source where they are given."""
        return list(self._of_entity(entity_id, world_id, source_entity_id))

    def get_components_for_entities(self, entity_ids: Iterable[str], world_id: str | None = None) -> list[Component]:
        """The same for several entities."""
        return [each for id in check_ids(entity_ids, "entity_ids") for each in self._of_entity(id, world_id, None)]

    def get_components_by_ids(self, ids: Iterable[str]) -> list[Component]:
        """The components of those ids that exist, in that order."""
        return self._by_ids(self._storage, check_ids(ids, "ids"))

    def get_components_by_natural_keys(self, keys: Iterable[Mapping[str, Any]]) -> list[Component | None]:
        """For each {"entityId", "type", "worldId", "sourceEntityId"} exactly that component, or None."""
        wanted = [
            component_key(
                as_uuid(key.get("entityId")),
                str(key.get("type")),
                as_uuid(key["worldId"]) if key.get("worldId") else None,
                as_uuid(key["sourceEntityId"]) if key.get("sourceEntityId") else None,
            )
            for key in keys
        ]
        found = self._storage.get_many(dict.fromkeys(wanted), namespace=self._places.components)
        shown = {key: value for key, value in found.items() if self._sees(value.get("agentId"))}
        return [Component.from_json(shown[key]) if key in shown else None for key in wanted]

    def create_component(self, component: ComponentInput) -> bool:
        """Attach a component; False, and nothing changed, if the entity has one of that type, world and source."""
        return bool(self.create_components([component])[0])

    def create_components(self, components: Iterable[ComponentInput]) -> list[str | None]:
        """The same for several, all or none on an error; the id of each, None where there was one.

        Raises UnknownRecord for an entity, world, room or source that is not there.
        """
        prepared = [self._new_component(component) for component in components]

        def create(tx: StorageBackend) -> list[str | None]:
            self._require_parties(tx, prepared)
            places = self._places
            taken = set(tx.get_many([self._component_key(each) for each in prepared], namespace=places.components))
            ids = set(tx.get_many([join_key("component", str(each.id)) for each in prepared], namespace=places.lookups))
            done: list[str | None] = []
            for each in prepared:
                key, id_key = self._component_key(each), join_key("component", str(each.id))
                done.append(None if key in taken or id_key in ids else each.id)
                if done[-1] is not None:
                    taken.add(key)
                    ids.add(id_key)
                    self._put(tx, places.components, [(key, each.to_json(), self._component_lookups(each))])
            return done

        return self._write(create)

    def upsert_components(self, components: Iterable[ComponentInput]) -> None:
        """Attach each, or give data, agent and room to the one of its entity, type, world and source."""
        prepared = [self._new_component(component) for component in components]

        def upsert(tx: StorageBackend) -> None:
            self._require_parties(tx, prepared)
            for each in prepared:
                key = self._component_key(each)
                old = self._get(Component, self._places.components, key, tx)
                kept = each if old is None else old.with_(data=each.data, agent_id=each.agent_id, room_id=each.room_id)
                stale = {} if old is None else self._component_lookups(old)
                self._put(tx, self._places.components, [(key, kept.to_json(), self._component_lookups(kept))], stale)

        self._write(upsert)

    def update_component(self, component: ComponentInput) -> bool:
        """Replace the data of the component of that id, or of its entity, type, world and source; whether it exists."""
        return self.update_components([component])[0]

    def update_components(self, components: Iterable[ComponentInput]) -> list[bool]:
        """The same for several, all or none."""
        prepared = [Component.of(component) for component in components]

        def update(tx: StorageBackend) -> list[bool]:
            done = []
            for each in prepared:
                old = self._by_ids(tx, [each.id]) if each.id else []
                if not old and not each.id:
                    found = self._get(Component, self._places.components, self._component_key(each), tx)
                    old = [] if found is None else [found]
                done.append(bool(old))
                for component in old:
                    changed = component.with_(data=each.data)
                    tx.set(self._component_key(component), changed.to_json(), namespace=self._places.components)
            return done

        return self._write(update)

    def patch_components(self, patches: Iterable[Mapping[str, Any]]) -> None:
        """Apply {"componentId", "ops"}: set, push, remove, increment along paths (see :mod:`.patching`), all or none.

        Raises UnknownRecord, InvalidInput for a bad path or operation, or one that the data does not take.
        """
        read = []
        for patch in patches:
            if not isinstance(patch, Mapping) or "ops" not in patch:
                raise InvalidInput("a patch has componentId and ops")
            read.append((as_uuid(patch.get("componentId")), check_patch(patch["ops"])))

        def change(tx: StorageBackend) -> None:
            for id, operations in read:
                found = self._by_ids(tx, [id])
                if not found:
                    raise UnknownRecord(self._places.components, id)
                changed = found[0].with_(data=apply_patch(found[0].data, operations))
                tx.set(self._component_key(found[0]), changed.to_json(), namespace=self._places.components)

        self._write(change)

    def delete_component(self, id: str) -> bool:
        """Delete a component; whether it existed."""
        return self.delete_components([id]) > 0

    def delete_components(self, ids: Iterable[str]) -> int:
        """The same for several, all or none; how many existed."""
        wanted = check_ids(ids, "ids")

        def delete(tx: StorageBackend) -> int:
            return self._drop_components(tx, [self._component_key(each) for each in self._by_ids(tx, wanted)])

        return self._write(delete)

    # -- within --------------------------------------------------------------------------------------------------------

    def _of_entity(
        self, entity: str, world: str | None, source: str | None, type: str | None = None
    ) -> list[Component]:
        parts = [as_uuid(entity)] if type is None else [as_uuid(entity), short(type)]
        world = None if world is None else as_uuid(world)
        source = None if source is None else as_uuid(source)
        entries = self._storage.scan(namespace=self._places.components, prefix=key_prefix(*parts))
        found = [Component.from_json(entry.value) for entry in entries if self._sees(entry.value.get("agentId"))]
        return [
            each
            for each in found
            if type in (None, each.type) and world in (None, each.world_id) and source in (None, each.source_entity_id)
        ]

    def _by_ids(self, storage: StorageBackend, ids: Iterable[str]) -> list[Component]:
        keys = storage.get_many(
            [join_key("component", id) for id in dict.fromkeys(ids)], namespace=self._places.lookups
        )
        return self._get_each(Component, self._places.components, keys.values(), storage)

    def _new_component(self, given: ComponentInput) -> Component:
        component = Component.of(given)
        return component.with_(
            id=component.id or new_uuid(),
            agent_id=self._owner(component.agent_id),
            created_at=now() if component.created_at is None else component.created_at,
        )

    def _require_parties(self, tx: StorageBackend, components: list[Component]) -> None:
        places = self._places
        entities = [id for each in components for id in (each.entity_id, each.source_entity_id)]
        wanted: dict[str, Iterable[str | None]] = {
            places.entities: entities,
            places.rooms: [each.room_id for each in components],
            places.worlds: [each.world_id for each in components],
        }
        self._require(tx, wanted)
