"""Rooms: channels, direct messages, threads; and ``ensure_connection``, which makes all that a message needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...contract import StorageBackend
from ...errors import InvalidInput
from .binding import check_ids, check_page, now
from .ids import as_uuid, new_uuid
from .participants import Participants
from .records import Entity, Participant, Room, World

RoomInput = Room | Mapping[str, Any]


class Rooms(Participants):
    """The methods on rooms."""

    def get_room(self, id: str) -> Room | None:
        """The agent's room, or None."""
        found = self.get_rooms_by_ids([id])
        return found[0] if found else None

    def get_rooms_by_ids(self, ids: Iterable[str]) -> list[Room]:
        """The agent's rooms of those ids, in that order."""
        found = self._get_each(Room, self._places.rooms, check_ids(ids, "ids"))
        return [room for room in found if room.agent_id == self._agent_id]

    def get_rooms_by_world(self, world_id: str) -> list[Room]:
        """The rooms of a world, in order of their ids."""
        return self.get_rooms_by_worlds([world_id])

    def get_rooms_by_worlds(
        self, world_ids: Iterable[str], limit: int | None = None, offset: int | None = None
    ) -> list[Room]:
        """The rooms of several worlds."""
        limit, start = check_page(limit, offset)
        ids = [str(id) for world in check_ids(world_ids, "world_ids") for id, _ in self._lookup("world-room", world)]
        found = self._get_each(Room, self._places.rooms, ids)
        return found[start:] if limit is None else found[start : start + limit]

    def create_room(self, room: RoomInput) -> str:
        """Store a new room unless its id is taken; the id."""
        prepared = Room.of(room)
        prepared = prepared.with_(id=prepared.id or new_uuid())
        self.create_rooms([prepared])
        return str(prepared.id)

    def create_rooms(self, rooms: Iterable[RoomInput]) -> list[str]:
        """Store new rooms, the agent's own; the ids of those whose id was free."""
        prepared = [self._new_room(room) for room in rooms]

        def create(tx: StorageBackend) -> list[str]:
            taken = set(tx.get_many([str(each.id) for each in prepared], namespace=self._places.rooms))
            fresh = {str(each.id): each for each in reversed(prepared) if each.id not in taken}
            self._put_rooms(tx, fresh.values())
            return [str(each.id) for each in prepared if fresh.get(str(each.id)) is each]

        return self._write(create)

    def ensure_room_exists(self, room: RoomInput) -> str:
        """The same for one, under the name of elizaOS's runtime."""
        return self.create_room(room)

    def update_room(self, room: RoomInput) -> bool:
        """Put the room in the place of the one with its id; whether there is one. Owner and creation time stay."""
        return self.update_rooms([room])[0]

    def update_rooms(self, rooms: Iterable[RoomInput]) -> list[bool]:
        """The same for several, all or none."""
        return self._replace_rooms(rooms, create=False)

    def upsert_rooms(self, rooms: Iterable[RoomInput]) -> None:
        """Store each room, or put it in the place of the one with its id."""
        self._replace_rooms(rooms, create=True)

    def delete_room(self, id: str) -> bool:
        """Delete a room with its memories, seats, components and logs; whether it existed."""
        return self.delete_rooms([id]) > 0

    def delete_rooms(self, ids: Iterable[str]) -> int:
        """The same for several, all or none; how many existed."""
        wanted = check_ids(ids, "ids")

        def delete(tx: StorageBackend) -> int:
            seen = self._get_each(Room, self._places.rooms, wanted, tx)
            return sum(self._drop_room(tx, str(room.id)) for room in seen)

        return self._write(delete)

    def delete_rooms_by_world_id(self, world_id: str) -> int:
        """Delete the rooms of a world; how many there were."""
        world = as_uuid(world_id)

        def delete(tx: StorageBackend) -> int:
            ids = [str(id) for id, _ in self._lookup("world-room", world, storage=tx)]
            seen = self._get_each(Room, self._places.rooms, ids, tx)
            return sum(self._drop_room(tx, str(room.id)) for room in seen)

        return self._write(delete)

    def ensure_connection(
        self,
        *,
        entity_id: str,
        room_id: str,
        user_name: str | None = None,
        name: str | None = None,
        source: str = "",
        type: str = "DM",
        channel_id: str | None = None,
        server_id: str | None = None,
        world_id: str | None = None,
        world_name: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """See that an entity, its room, the room's world and the seats of entity and agent are there, in one commit.

        What exists keeps what it has; the entity gains the names.
        """
        entity, room, agent, at = as_uuid(entity_id), as_uuid(room_id), self._agent_id, now()
        names = [each for each in (name, user_name) if each]

        def connect(tx: StorageBackend) -> None:
            places = self._places
            for id, called in ((entity, names), (agent, [])):
                old = self._get(Entity, places.entities, id, tx)
                more = [each for each in called if old is None or each not in old.names]
                if old is None or more:
                    new = old or Entity(id=id, agent_id=agent, metadata=dict(metadata or {}), created_at=at)
                    new = new.with_(names=[*new.names, *more])
                    stale = {} if old is None else self._entity_lookups(old)
                    self._put(tx, places.entities, [(id, new.to_json(), self._entity_lookups(new))], stale)
            if world_id is not None and not tx.has(as_uuid(world_id), namespace=places.worlds):
                world = World(id=world_id, agent_id=agent, name=world_name, message_server_id=server_id, created_at=at)
                self._put(tx, places.worlds, [(str(world.id), world.to_json(), self._world_lookups(world))])
            if not tx.has(room, namespace=places.rooms):
                made = Room(
                    id=room, agent_id=agent, name=name, source=source, type=type, channel_id=channel_id,
                    message_server_id=server_id, world_id=world_id, created_at=at,
                )  # fmt: skip
                self._put_rooms(tx, [made])
            seats = [Participant(entity_id=each, room_id=room, agent_id=agent) for each in (entity, agent)]
            self._seat(tx, seats)

        self._write(connect)

    def _new_room(self, given: RoomInput) -> Room:
        room = Room.of(given)
        return room.with_(
            id=room.id or new_uuid(),
            agent_id=self._agent_id,
            created_at=now() if room.created_at is None else room.created_at,
        )

    def _put_rooms(self, tx: StorageBackend, rooms: Iterable[Room]) -> None:
        self._put(tx, self._places.rooms, [(str(each.id), each.to_json(), self._room_lookups(each)) for each in rooms])

    def _replace_rooms(self, rooms: Iterable[RoomInput], create: bool) -> list[bool]:
        prepared = []
        for given in rooms:
            room = Room.of(given)
            if room.id is None and not create:
                raise InvalidInput("updating a room takes its id")
            prepared.append(self._new_room(room))

        def replace(tx: StorageBackend) -> list[bool]:
            ids = [str(each.id) for each in prepared]
            known = {each.id: each for each in self._get_each(Room, self._places.rooms, ids, tx)}
            for each in prepared:
                before = known.get(each.id)
                if before is None:
                    if create:
                        self._put_rooms(tx, [each])
                    continue
                after = each.with_(agent_id=before.agent_id, created_at=before.created_at)
                row = (str(after.id), after.to_json(), self._room_lookups(after))
                self._put(tx, self._places.rooms, [row], self._room_lookups(before))
            return [each.id in known for each in prepared]

        return self._write(replace)
