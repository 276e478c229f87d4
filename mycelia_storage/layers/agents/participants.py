"""Participants: who is in which room, as the agent sees it. A seat is its own key, so it cannot be taken twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...contract import StorageBackend
from ...errors import InvalidInput
from ...names import join_key, key_prefix, split_key
from .binding import check_ids, now
from .cascades import Cascades
from .ids import as_uuid, new_uuid
from .records import Participant, check_state

Pair = Mapping[str, Any] | tuple[str, str]


class Participants(Cascades):
    """The methods on participants."""

    def add_participant(self, entity_id: str, room_id: str) -> bool:
        """Seat an entity in a room; True, also if it sat there. Raises UnknownRecord for either that is not there."""
        self.create_room_participants([entity_id], room_id)
        return True

    def add_participants_room(self, entity_ids: Iterable[str], room_id: str) -> bool:
        """The same for several, all or none."""
        self.create_room_participants(entity_ids, room_id)
        return True

    def create_room_participants(self, entity_ids: Iterable[str], room_id: str) -> list[str]:
        """The same; the ids of the seats in that order."""
        room = as_uuid(room_id)
        seats = [
            Participant(entity_id=entity, room_id=room, agent_id=self._agent_id)
            for entity in check_ids(entity_ids, "entity_ids")
        ]
        return self._write(self._seat, seats)

    def remove_participant(self, entity_id: str, room_id: str) -> bool:
        """Take an entity's seat away; whether it had one."""
        return self._write(self._drop_participants, [self._seat_key(room_id, entity_id)]) > 0

    def delete_participants(self, pairs: Iterable[Pair]) -> bool:
        """The same for each {"entityId", "roomId"}; whether all were there. Those that were are gone either way."""
        keys = [self._seat_key(room, entity) for entity, room in map(_pair, pairs)]
        return self._write(self._drop_participants, keys) == len(set(keys)) if keys else True

    def get_participants_for_entity(self, entity_id: str) -> list[Participant]:
        """The entity's seats as the agent has them."""
        entity = as_uuid(entity_id)
        keys = [join_key(room, entity, agent) for room, agent, _ in self._lookup("participant", entity)]
        found = self._get_each(Participant, self._places.participants, keys)
        return [each for each in found if each.agent_id == self._agent_id]

    def get_participants_for_room(self, room_id: str) -> list[str]:
        """The ids of the entities in a room, in order."""
        return self._entities_in(as_uuid(room_id))

    def get_participants_for_rooms(self, room_ids: Iterable[str]) -> list[dict[str, Any]]:
        """For each room {"roomId", "entityIds"}, in that order."""
        return [{"roomId": room, "entityIds": self._entities_in(room)} for room in check_ids(room_ids, "room_ids")]

    def is_room_participant(self, room_id: str, entity_id: str) -> bool:
        """Whether the entity is in the room."""
        return self.are_room_participants([{"roomId": room_id, "entityId": entity_id}])[0]

    def are_room_participants(self, pairs: Iterable[Pair]) -> list[bool]:
        """The same for each {"roomId", "entityId"}, in that order."""
        keys = [self._seat_key(room, entity) for entity, room in map(_pair, pairs)]
        found = self._storage.get_many(dict.fromkeys(keys), namespace=self._places.participants)
        return [key in found for key in keys]

    def get_rooms_for_participant(self, entity_id: str) -> list[str]:
        """The ids of the rooms that the entity is in, in order."""
        return self.get_rooms_for_participants([entity_id])

    def get_rooms_for_participants(self, entity_ids: Iterable[str]) -> list[str]:
        """The ids of the rooms that any of the entities is in, each once."""
        found = {
            str(room): None
            for entity in check_ids(entity_ids, "entity_ids")
            for room, agent, _ in self._lookup("participant", entity)
            if agent == self._agent_id
        }
        return list(found)

    def get_participant_user_state(self, room_id: str, entity_id: str) -> str | None:
        """FOLLOWED, MUTED or None, which a missing seat has too."""
        return self.get_participant_user_states([{"roomId": room_id, "entityId": entity_id}])[0]

    def get_participant_user_states(self, pairs: Iterable[Pair]) -> list[str | None]:
        """The same for each {"roomId", "entityId"}, in that order."""
        keys = [self._seat_key(room, entity) for entity, room in map(_pair, pairs)]
        found = self._storage.get_many(dict.fromkeys(keys), namespace=self._places.participants)
        return [found.get(key, {}).get("roomState") for key in keys]

    def set_participant_user_state(self, room_id: str, entity_id: str, state: str | None) -> bool:
        """Set the state of a seat; whether there is one. Raises InvalidValue for another state."""
        return self.update_participant_user_states([{"roomId": room_id, "entityId": entity_id, "state": state}])[0]

    def update_participant_user_states(self, updates: Iterable[Mapping[str, Any]]) -> list[bool]:
        """The same for each {"roomId", "entityId", "state"}, all or none."""
        read = []
        for update in updates:
            entity, room = _pair({name: value for name, value in update.items() if name != "state"})
            read.append((self._seat_key(room, entity), check_state(update.get("state"), "state")))

        def change(tx: StorageBackend) -> list[bool]:
            done = []
            for key, state in read:
                value = tx.get(key, namespace=self._places.participants)
                done.append(value is not None)
                if value is not None:
                    seat = Participant.from_json(value).with_(room_state=state)
                    tx.set(key, seat.to_json(), namespace=self._places.participants)
            return done

        return self._write(change)

    def update_participants(self, updates: Iterable[Mapping[str, Any]]) -> list[bool]:
        """The same, where each may call the state ``roomState``."""
        renamed = []
        for each in updates:
            state = each.get("roomState", each.get("state"))
            pair = {name: value for name, value in each.items() if name not in ("roomState", "state")}
            renamed.append({**pair, "state": state})
        return self.update_participant_user_states(renamed)

    # -- within --------------------------------------------------------------------------------------------------------

    def _seat_key(self, room: str, entity: str) -> str:
        return join_key(as_uuid(room), as_uuid(entity), self._agent_id)

    def _entities_in(self, room: str) -> list[str]:
        seats = self._storage.list(key_prefix(room) + "*", namespace=self._places.participants)
        parts = [split_key(key) for key in seats]
        return [str(entity) for _, entity, agent in parts if agent == self._agent_id]

    def _seat(self, tx: StorageBackend, seats: list[Participant]) -> list[str]:
        places = self._places
        rooms, entities = ([seat.room_id for seat in seats], [seat.entity_id for seat in seats])
        keys = [join_key(seat.room_id, seat.entity_id, str(seat.agent_id)) for seat in seats]
        found = self._require(tx, {places.rooms: rooms, places.entities: entities}, {places.participants: keys})
        taken = found[places.participants]
        ids: dict[str, str] = {key: value["id"] for key, value in taken.items()}
        for key, seat in zip(keys, seats, strict=True):
            if key not in ids:
                new = seat.with_(
                    id=seat.id or new_uuid(), created_at=now() if seat.created_at is None else seat.created_at
                )
                ids[key] = str(new.id)
                self._put(tx, places.participants, [(key, new.to_json(), self._participant_lookups(new))])
        return [ids[key] for key in keys]


def _pair(given: Pair) -> tuple[str, str]:
    """(entity, room) of {"entityId", "roomId"} or of such a tuple."""
    if isinstance(given, tuple) and len(given) == 2:
        return given
    if isinstance(given, Mapping) and given.keys() == {"entityId", "roomId"}:
        return given["entityId"], given["roomId"]
    raise InvalidInput('a pair is {"entityId", "roomId"} or (entity id, room id)')
