"""The names of elizaOS 0.x, on every backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mycelia_storage.errors import InvalidInput, StorageClosed
from mycelia_storage.layers.agents import AgentStore
from mycelia_storage.layers.agents.older import OlderAdapter

from .people import ADA, BOB, DAY, HALL, NOBODY, OTHER_AGENT

X, Y = [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]


@pytest.fixture
def adapter(store: AgentStore) -> OlderAdapter:
    """An adapter with two accounts in a room."""
    made = OlderAdapter(store)
    made.init()
    assert made.create_account({"id": ADA, "name": "Ada", "username": "ada", "email": "a@x", "details": {"t": 1}})
    assert made.create_account({"id": BOB, "name": "Bob", "username": "bob", "email": "b@x"})
    assert not made.create_account({"id": ADA, "name": "Again", "email": "c@x"})
    assert made.create_room(HALL) == made.create_room(HALL) == HALL
    for user in (ADA, BOB):
        assert made.add_participant(user, HALL)
    return made


def test_accounts_rooms_and_participants(adapter: OlderAdapter) -> None:
    account = adapter.get_account_by_id(ADA)
    assert account is not None
    assert (account["name"], account["email"], account["details"]) == ("Ada", "a@x", {"t": 1})
    assert adapter.get_account_by_id(NOBODY) is None
    actors = adapter.get_actor_details(room_id=HALL)
    assert sorted((actor["name"], actor["username"]) for actor in actors) == [("Ada", "ada"), ("Bob", "bob")]
    assert adapter.get_room(HALL) == HALL
    assert adapter.get_room(NOBODY) is None
    assert adapter.get_rooms_for_participant(ADA) == adapter.get_rooms_for_participants([ADA, BOB]) == [HALL]
    assert [seat["roomId"] for seat in adapter.get_participants_for_account(ADA)] == [HALL]
    assert adapter.get_participants_for_room(HALL) == sorted([ADA, BOB])
    assert adapter.set_participant_user_state(HALL, ADA, "MUTED")
    assert adapter.get_participant_user_state(HALL, ADA) == "MUTED"
    assert adapter.remove_participant(BOB, HALL)
    made = adapter.create_room()
    assert adapter.get_room(made) == made


def test_memories(adapter: OlderAdapter) -> None:
    for number, vector in enumerate([X, Y, None]):
        memory = {"userId": ADA, "roomId": HALL, "content": {"text": f"m{number}"}, "embedding": vector}
        adapter.create_memory({**memory, "createdAt": DAY + number}, "messages")
    found = adapter.get_memories(table_name="messages", room_id=HALL, count=2)
    assert [(each["content"]["text"], each["userId"]) for each in found] == [("m2", ADA), ("m1", ADA)]
    near = adapter.search_memories(table_name="messages", room_id=HALL, embedding=X, match_threshold=0.5)
    assert [each["content"]["text"] for each in near] == ["m0"]
    near = adapter.search_memories_by_embedding(X, table_name="messages")
    assert [each["similarity"] for each in near] == [1.0, 0.0], "the nearest first"
    assert adapter.count_memories(HALL, True, "messages") == 3
    with pytest.raises(InvalidInput, match="tableName"):
        adapter.count_memories(HALL)
    with pytest.raises(InvalidInput, match="roomId"):
        adapter.get_memories(table_name="messages", room_id="")
    with pytest.raises(InvalidInput, match="tableName"):
        adapter.get_memories(table_name="", room_id=HALL)
    assert adapter.get_cached_embeddings(query_table_name="messages", query_input="m0")[0]["embedding"] == X
    assert len(adapter.get_memories_by_room_ids(table_name="messages", room_ids=[HALL], limit=1)) == 1
    one = found[0]["id"]
    assert adapter.get_memory_by_id(one) == adapter.get_memories_by_ids([one], "messages")[0]
    assert not adapter.remove_memory(one, "facts")
    assert adapter.remove_memory(one, "messages")
    assert adapter.remove_all_memories(HALL, "messages") == 2
    adapter.log(body={"n": 1}, user_id=ADA, room_id=HALL, type="x")
    assert adapter.store.get_logs(room_id=HALL)[0].entity_id == ADA


def test_goals(adapter: OlderAdapter) -> None:
    goal = {"roomId": HALL, "userId": ADA, "name": "g", "objectives": [{"description": "o", "completed": False}]}
    first = adapter.create_goal(goal)
    second = adapter.create_goal({**goal, "userId": BOB, "status": "DONE"})
    assert [each["id"] for each in adapter.get_goals(room_id=HALL)] == [first]
    assert len(adapter.get_goals(room_id=HALL, only_in_progress=False)) == 2
    assert [each["id"] for each in adapter.get_goals(room_id=HALL, user_id=BOB, only_in_progress=False)] == [second]
    assert adapter.update_goal_status(goal_id=first, status="FAILED")
    assert adapter.update_goal({**goal, "id": second, "name": "h"})
    assert not adapter.update_goal({**goal, "id": NOBODY})
    assert [each["name"] for each in adapter.get_goals(room_id=HALL)] == ["h"]
    with pytest.raises(InvalidInput):
        adapter.update_goal_status(goal_id=first, status="PENDING")
    task = adapter.store.create_task({"name": "no goal", "roomId": HALL})
    assert not adapter.remove_goal(task)
    assert adapter.remove_goal(first)
    assert adapter.remove_all_goals(HALL) == 1
    adapter.create_goal(goal)
    assert adapter.remove_room(HALL)
    assert not adapter.remove_room(HALL)
    assert adapter.get_goals(room_id=HALL, only_in_progress=False) == []
    assert adapter.store.get_task(task) is not None


def test_relationships(adapter: OlderAdapter) -> None:
    assert adapter.create_relationship(user_a=ADA, user_b=BOB)
    assert not adapter.create_relationship(user_a=BOB, user_b=ADA)
    found = adapter.get_relationship(user_a=BOB, user_b=ADA)
    assert found == adapter.get_relationship(user_a=ADA, user_b=BOB)
    assert found is not None
    assert found["status"] == "FRIENDS"
    assert adapter.get_relationship(user_a=ADA, user_b=ADA) is None
    assert len(adapter.get_relationships(user_id=BOB)) == 1
    with pytest.raises(InvalidInput, match="required"):
        adapter.create_relationship(user_a=ADA, user_b="")


def test_knowledge(adapter: OlderAdapter, open_store: Callable[..., AgentStore]) -> None:
    def learn(id: str, text: str, vector: list[float], **metadata: object) -> None:
        content = {"text": text, "metadata": metadata}
        adapter.create_knowledge({"id": id, "content": content, "embedding": vector, "createdAt": DAY})

    learn("book", "all about mushrooms", X, isMain=True)
    learn("book-chunk-0", "mycelium", [1, 1, 0, 0], isChunk=True, originalId="book")
    learn("book-chunk-1", "spores", Y, isChunk=True, originalId="book")
    learn("news", "for everybody", [1, 0.1, 0, 0], isShared=True)
    learn("other", "unrelated", Y)
    other = OlderAdapter(open_store(OTHER_AGENT))
    assert [each["id"] for each in other.get_knowledge()] == ["news"]
    assert other.get_knowledge(id="book") == []
    assert other.get_knowledge(id="news")[0]["agentId"] is None
    assert len(adapter.get_knowledge()) == 5
    near = adapter.search_knowledge(embedding=X, match_threshold=0.9)
    assert [each["id"] for each in near] == ["book", "news"]
    lifted = adapter.search_knowledge(embedding=X, match_threshold=0.9, search_text="Mycelium")
    assert [each["id"] for each in lifted] == ["book-chunk-0", "book", "news"]
    assert adapter.remove_knowledge("book") == 3
    learn("note-chunk-1", "n", X)
    assert adapter.remove_knowledge("note-chunk-*") == 1
    assert adapter.clear_knowledge() == 1
    assert [each["id"] for each in adapter.get_knowledge()] == ["news"]
    assert adapter.clear_knowledge(shared=True) == 1


def test_cache_and_life(adapter: OlderAdapter) -> None:
    assert adapter.set_cache(key="k", value="v")
    assert adapter.get_cache(key="k") == "v"
    assert adapter.delete_cache(key="k")
    assert adapter.get_cache(key="k") is None
    assert adapter.test_connection()
    adapter.close()
    assert not adapter.test_connection()
    with pytest.raises(StorageClosed):
        adapter.get_cache(key="k")
