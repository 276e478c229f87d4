"""Worlds: servers, guilds, workspaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ...contract import StorageBackend
from ...errors import InvalidInput
from ...filters import identity
from .binding import check_ids, now
from .cascades import Cascades
from .errors import DuplicateRecord
from .ids import as_uuid, new_uuid
from .plain_json import check_object
from .records import World

WorldInput = World | Mapping[str, Any]
SwapStatus = Literal["updated", "conflict", "not_found"]


class Worlds(Cascades):
    """The methods on worlds."""

    def get_world(self, id: str) -> World | None:
        """The world, or None."""
        return self._get(World, self._places.worlds, as_uuid(id))

    def get_worlds_by_ids(self, ids: Iterable[str]) -> list[World]:
        """The worlds of those ids that exist, in that order."""
        return self._get_each(World, self._places.worlds, check_ids(ids, "ids"))

    def get_all_worlds(self) -> list[World]:
        """The agent's worlds, in order of their ids."""
        ids = [str(id) for id, _ in self._lookup("owned", self._agent_id, "world")]
        return self._get_each(World, self._places.worlds, ids)

    def create_world(self, world: WorldInput) -> str:
        """Store a new world; its id. Raises DuplicateRecord if that is taken."""
        return self.create_worlds([world])[0]

    def create_worlds(self, worlds: Iterable[WorldInput]) -> list[str]:
        """The same for several, all or none."""
        prepared = [self._new_world(world) for world in worlds]

        def create(tx: StorageBackend) -> None:
            taken = set(tx.get_many([str(each.id) for each in prepared], namespace=self._places.worlds))
            for each in prepared:
                if each.id in taken:
                    raise DuplicateRecord(self._places.worlds, str(each.id))
                taken.add(str(each.id))
            self._put_worlds(tx, prepared)

        self._write(create)
        return [str(world.id) for world in prepared]

    def ensure_world_exists(self, world: WorldInput) -> str:
        """Store a world unless there is one of that id, which stays as it is; the id."""
        prepared = self._new_world(world)

        def ensure(tx: StorageBackend) -> None:
            if not tx.has(str(prepared.id), namespace=self._places.worlds):
                self._put_worlds(tx, [prepared])

        self._write(ensure)
        return str(prepared.id)

    def update_world(self, world: WorldInput) -> bool:
        """Put the world in the place of the one with its id; whether there is one. Owner and creation time stay."""
        return self.update_worlds([world])[0]

    def update_worlds(self, worlds: Iterable[WorldInput]) -> list[bool]:
        """The same for several, all or none."""
        return self._replace_worlds(worlds, create=False)

    def upsert_worlds(self, worlds: Iterable[WorldInput]) -> None:
        """Store each world, or put it in the place of the one with its id."""
        self._replace_worlds(worlds, create=True)

    def delete_world(self, id: str) -> bool:
        """Delete a world with the components that belong to it; whether it existed. Its rooms stay:
        ``delete_rooms_by_world_id`` is for them.
        """
        return self.delete_worlds([id]) > 0

    def delete_worlds(self, ids: Iterable[str]) -> int:
        """The same for several, all or none; how many existed."""
        wanted = check_ids(ids, "ids")

        def delete(tx: StorageBackend) -> int:
            seen = self._get_each(World, self._places.worlds, wanted, tx)
            return sum(self._drop_world(tx, str(world.id)) for world in seen)

        return self._write(delete)

    def remove_world(self, id: str) -> bool:
        """The older name of :meth:`delete_world`."""
        return self.delete_world(id)

    def compare_and_swap_world_metadata(
        self, world_id: str, expected_metadata: Mapping[str, Any], replacement_metadata: Mapping[str, Any]
    ) -> SwapStatus:
        """Replace a world's metadata if it equals what is expected, as JSON."""
        id = as_uuid(world_id)
        expected = identity(check_object(expected_metadata, "expected_metadata"))
        replacement = check_object(replacement_metadata, "replacement_metadata")

        def swap(tx: StorageBackend) -> SwapStatus:
            world = self._get(World, self._places.worlds, id, tx)
            if world is None:
                return "not_found"
            if identity(world.metadata) != expected:
                return "conflict"
            self._put_worlds(tx, [world.with_(metadata=replacement)])
            return "updated"

        return self._write(swap)

    def _new_world(self, given: WorldInput) -> World:
        world = World.of(given)
        return world.with_(
            id=world.id or new_uuid(),
            agent_id=self._owner(world.agent_id),
            created_at=now() if world.created_at is None else world.created_at,
        )

    def _put_worlds(self, tx: StorageBackend, worlds: Iterable[World]) -> None:
        rows = [(str(each.id), each.to_json(), self._world_lookups(each)) for each in worlds]
        self._put(tx, self._places.worlds, rows)

    def _replace_worlds(self, worlds: Iterable[WorldInput], create: bool) -> list[bool]:
        prepared = []
        for given in worlds:
            world = World.of(given)
            if world.id is None and not create:
                raise InvalidInput("updating a world takes its id")
            prepared.append(self._new_world(world))

        def replace(tx: StorageBackend) -> list[bool]:
            ids = [str(each.id) for each in prepared]
            known = {each.id: each for each in self._get_each(World, self._places.worlds, ids, tx)}
            for each in prepared:
                before = known.get(each.id)
                if before is not None:
                    each = each.with_(agent_id=before.agent_id, created_at=before.created_at)
                elif not create:
                    continue
                self._put_worlds(tx, [each])
            return [each.id in known for each in prepared]

        return self._write(replace)
