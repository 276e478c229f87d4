"""The adapter of elizaOS 0.x: its names, its JSON, over an :class:`~.store.AgentStore`.

============  ==============================================================================================
0.x           here
============  ==============================================================================================
account       an entity; what an account has beside its name is in the entity's ``metadata.account``
userId        ``entityId``
room          a room of source and type "0.x"; ``create_room`` takes the id alone
goal          a task with the tag ``goal``
relationship  one from ``userA`` to ``userB``, found from either end
knowledge     memories of the table ``knowledge``; shared ones belong to the agent of the nil UUID
============  ==============================================================================================

Records come as mappings in 0.x's JSON and go so. The order of results, limits, thresholds and errors are those of the
store, not the differing ones of the five old adapters; in particular similarity is the cosine, the nearest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...errors import InvalidInput
from .binding import check_number
from .ids import as_uuid, new_uuid
from .older_json import (
    GOAL,
    Json,
    account_json,
    check_names,
    check_status,
    goal_fields,
    goal_json,
    memory_json,
    relationship_json,
)
from .older_knowledge import OlderKnowledge
from .store import AgentStore

_ACCOUNT: Final = ("name", "username", "email", "avatarUrl", "details")


class OlderAdapter(OlderKnowledge):
    """The 42 methods of 0.x's ``IDatabaseAdapter`` and the three of its cache, in snake_case."""

    def __init__(self, store: AgentStore) -> None:
        self.store = store

    def init(self) -> None:
        """See :meth:`AgentStore.initialize`."""
        self.store.initialize()

    def close(self) -> None:
        """See :meth:`AgentStore.close`."""
        self.store.close()

    def test_connection(self) -> bool:
        """Whether the store answers; never an error."""
        return self.store.is_ready()

    # -- accounts ------------------------------------------------------------------------------------------------------

    def get_account_by_id(self, user_id: str) -> Json | None:
        """The account, or None."""
        entity = self.store.get_entity_by_id(user_id)
        return None if entity is None else account_json(entity)

    def create_account(self, account: Mapping[str, Any]) -> bool:
        """Store a new account; False if its id is taken."""
        check_names(account, {"id", "createdAt", *_ACCOUNT}, "an account")
        id = as_uuid(account["id"]) if account.get("id") else new_uuid()
        if self.store.get_entity_by_id(id) is not None:
            return False
        kept = {name: account[name] for name in _ACCOUNT if account.get(name) is not None}
        names = [name for name in (account.get("name"), account.get("username")) if name]
        data = {"id": id, "names": list(dict.fromkeys(names)), "metadata": {"account": kept}}
        self.store.create_entity({**data, "createdAt": account.get("createdAt")})
        return True

    def get_actor_details(self, *, room_id: str) -> list[Json]:
        """Name, username and details of those in a room."""
        accounts = map(account_json, self.store.get_entities_for_room(room_id))
        return [
            {"id": each["id"], "name": each["name"], "username": each["username"], "details": each["details"]}
            for each in accounts
        ]

    # -- memories ------------------------------------------------------------------------------------------------------

    def get_memories(
        self,
        *,
        table_name: str,
        room_id: str,
        agent_id: str | None = None,
        count: int | None = None,
        unique: bool = False,
        start: int | None = None,
        end: int | None = None,
    ) -> list[Json]:
        """The memories of a room, newest first. Raises InvalidInput without table or room."""
        if not room_id:
            raise InvalidInput("roomId is required")
        found = self.store.get_memories(
            table_name, room_id=room_id, agent_id=agent_id, count=count, unique=unique, start=start, end=end
        )
        return list(map(memory_json, found))

    def get_memory_by_id(self, id: str) -> Json | None:
        """The memory, or None."""
        found = self.store.get_memory_by_id(id)
        return None if found is None else memory_json(found)

    def get_memories_by_ids(self, ids: Iterable[str], table_name: str | None = None) -> list[Json]:
        """The memories of those ids that exist, newest first."""
        return list(map(memory_json, self.store.get_memories_by_ids(ids, table_name)))

    def get_memories_by_room_ids(
        self, *, table_name: str, room_ids: Iterable[str], limit: int | None = None
    ) -> list[Json]:
        """The agent's memories of those rooms, newest first."""
        found = self.store.get_memories_by_room_ids(table_name=table_name, room_ids=room_ids, limit=limit)
        return list(map(memory_json, found))

    def search_memories(
        self,
        *,
        table_name: str,
        room_id: str,
        embedding: Any,
        match_threshold: float | None = None,
        match_count: int = 10,
        unique: bool = False,
    ) -> list[Json]:
        """The memories of a room nearest to a vector."""
        return self.search_memories_by_embedding(
            embedding,
            table_name=table_name,
            room_id=room_id,
            match_threshold=match_threshold,
            count=match_count,
            unique=unique,
        )

    def search_memories_by_embedding(
        self,
        embedding: Any,
        *,
        table_name: str,
        match_threshold: float | None = None,
        count: int = 10,
        room_id: str | None = None,
        unique: bool = False,
    ) -> list[Json]:
        """The agent's memories nearest to a vector, the nearest first."""
        found = self.store.search_memories(
            embedding, table_name, match_threshold=match_threshold, count=count, room_id=room_id, unique=unique
        )
        return list(map(memory_json, found))

    def get_cached_embeddings(self, **options: Any) -> list[Json]:
        """See :meth:`AgentStore.get_cached_embeddings`, whose options it takes."""
        return [
            {"embedding": list(found.embedding), "levenshtein_score": found.levenshtein_score}
            for found in self.store.get_cached_embeddings(**options)
        ]

    def create_memory(self, memory: Mapping[str, Any], table_name: str, unique: bool | None = None) -> None:
        """Store a memory; one whose id is taken changes nothing."""
        data = {("entityId" if name == "userId" else name): value for name, value in memory.items()}
        self.store.create_memory(data, table_name, unique)

    def remove_memory(self, id: str, table_name: str) -> bool:
        """Delete a memory of that table; whether there was one."""
        found = self.store.get_memories_by_ids([id], table_name)
        return bool(found) and self.store.delete_memory(id)

    def remove_all_memories(self, room_id: str, table_name: str) -> int:
        """Delete the memories of a table in a room; how many."""
        return self.store.delete_all_memories(room_id, table_name)

    def count_memories(self, room_id: str, unique: bool = True, table_name: str = "") -> int:
        """How many there are. Raises InvalidInput without a table."""
        return self.store.count_memories(room_id, unique, table_name)

    def log(self, *, body: Mapping[str, Any], user_id: str, room_id: str, type: str) -> None:
        """Note what happened."""
        self.store.log(body=body, entity_id=user_id, room_id=room_id, type=type)

    # -- goals ---------------------------------------------------------------------------------------------------------

    def get_goals(
        self,
        *,
        room_id: str,
        user_id: str | None = None,
        only_in_progress: bool = True,
        count: int | None = 5,
    ) -> list[Json]:
        """The goals of a room, oldest first."""
        tasks = self.store.get_tasks(tags=[GOAL], room_id=room_id, entity_id=user_id)
        goals = [goal for goal in map(goal_json, tasks) if not only_in_progress or goal["status"] == "IN_PROGRESS"]
        return goals if count is None else goals[: check_number(count, "count")]

    def create_goal(self, goal: Mapping[str, Any]) -> str:
        """Store a new goal; its id."""
        return self.store.create_task({**goal_fields(goal), "id": goal.get("id") or new_uuid()})

    def update_goal(self, goal: Mapping[str, Any]) -> bool:
        """Put a goal in the place of the one with its id; whether there is one."""
        if not self._is_goal(goal["id"]):
            return False
        return self.store.update_task(goal["id"], goal_fields(goal))

    def update_goal_status(self, *, goal_id: str, status: str) -> bool:
        """Set the status, DONE, FAILED or IN_PROGRESS; whether there is such a goal."""
        return self._is_goal(goal_id) and self.store.update_task(goal_id, {"status": check_status(status)})

    def remove_goal(self, goal_id: str) -> bool:
        """Delete a goal; whether there was one."""
        return self._is_goal(goal_id) and self.store.delete_task(goal_id)

    def remove_all_goals(self, room_id: str) -> int:
        """Delete the goals of a room; how many."""
        found = self.store.get_tasks(tags=[GOAL], room_id=room_id)
        return self.store.delete_tasks([str(task.id) for task in found])

    def _is_goal(self, id: str) -> bool:
        task = self.store.get_task(id)
        return task is not None and GOAL in task.tags

    # -- rooms and participants ----------------------------------------------------------------------------------------

    def get_room(self, room_id: str) -> str | None:
        """The room's id, or None if there is none."""
        room = self.store.get_room(room_id)
        return None if room is None else room.id

    def create_room(self, room_id: str | None = None) -> str:
        """Store a room unless there is one; its id."""
        return self.store.create_room({"id": room_id or new_uuid(), "source": "0.x", "type": "0.x"})

    def remove_room(self, room_id: str) -> bool:
        """Delete a room with its memories, seats, logs and goals; whether there was one."""

        def remove(store: AgentStore) -> bool:
            OlderAdapter(store).remove_all_goals(room_id)
            return store.delete_room(room_id)

        return self.store.run_transaction(remove)

    def get_rooms_for_participant(self, user_id: str) -> list[str]:
        """The ids of the rooms that an account is in."""
        return self.store.get_rooms_for_participant(user_id)

    def get_rooms_for_participants(self, user_ids: Iterable[str]) -> list[str]:
        """The ids of the rooms that any of the accounts is in."""
        return self.store.get_rooms_for_participants(user_ids)

    def add_participant(self, user_id: str, room_id: str) -> bool:
        """Seat an account in a room; True, also if it sat there."""
        return self.store.add_participant(user_id, room_id)

    def remove_participant(self, user_id: str, room_id: str) -> bool:
        """Take a seat away; whether there was one."""
        return self.store.remove_participant(user_id, room_id)

    def get_participants_for_account(self, user_id: str) -> list[Json]:
        """The seats of an account."""
        found = self.store.get_participants_for_entity(user_id)
        return [{"id": seat.id, "userId": seat.entity_id, "roomId": seat.room_id} for seat in found]

    def get_participants_for_room(self, room_id: str) -> list[str]:
        """The ids of the accounts in a room."""
        return self.store.get_participants_for_room(room_id)

    def get_participant_user_state(self, room_id: str, user_id: str) -> str | None:
        """FOLLOWED, MUTED or None."""
        return self.store.get_participant_user_state(room_id, user_id)

    def set_participant_user_state(self, room_id: str, user_id: str, state: str | None) -> bool:
        """Set it; whether there is such a seat."""
        return self.store.set_participant_user_state(room_id, user_id, state)

    # -- relationships -------------------------------------------------------------------------------------------------

    def create_relationship(self, *, user_a: str, user_b: str, status: str = "FRIENDS") -> bool:
        """Store a relationship; False if there is one between the two."""
        if not user_a or not user_b:
            raise InvalidInput("userA and userB are required")

        def create(store: AgentStore) -> bool:
            if store.get_relationship(user_b, user_a) is not None:
                return False
            edge = {"sourceEntityId": user_a, "targetEntityId": user_b, "metadata": {"status": status}}
            return store.create_relationship(edge)

        return self.store.run_transaction(create)

    def get_relationship(self, *, user_a: str, user_b: str) -> Json | None:
        """The relationship between the two, whoever is named first, or None."""
        for found in self.store.get_relationships_by_pairs([(user_a, user_b), (user_b, user_a)]):
            if found is not None:
                return relationship_json(found)
        return None

    def get_relationships(self, *, user_id: str) -> list[Json]:
        """The relationships of an account."""
        return list(map(relationship_json, self.store.get_relationships(user_id)))

    # -- cache ---------------------------------------------------------------------------------------------------------

    def get_cache(self, *, key: str) -> str | None:
        """The value, or None."""
        value: str | None = self.store.get_cache(key)
        return value

    def set_cache(self, *, key: str, value: str) -> bool:
        """Store a value."""
        return self.store.set_cache(key, value)

    def delete_cache(self, *, key: str) -> bool:
        """Delete a value."""
        return self.store.delete_cache(key)
