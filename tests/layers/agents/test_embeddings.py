"""Embeddings, on every backend: similarity, thresholds, scope, ``unique``, spaces and changes of dimension."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy
import pytest

from mycelia_storage.errors import InvalidInput, InvalidValue
from mycelia_storage.layers.agents import AgentStore, EmbeddingSpaceChanged, WrongDimension
from mycelia_storage.layers.agents.recall import levenshtein

from .people import ADA, AGENT, BOB, DAY, HALL, NOBODY, OTHER_AGENT, ROOM, WORLD, World

X = [1.0, 0.0, 0.0, 0.0]
Y = [0.0, 1.0, 0.0, 0.0]


def shown(memories: list[Any]) -> list[tuple[str, float]]:
    return [(memory.text, round(memory.similarity, 3)) for memory in memories]


def test_similarity_is_the_cosine(world: World) -> None:
    store = world.store
    for text, vector in (("same", [2, 0, 0, 0]), ("half", [1, 1, 0, 0]), ("none", Y), ("opposite", [-1, 0, 0, 0])):
        world.say(text, embedding=vector)
    world.say("no vector")
    world.say("zero", embedding=[0, 0, 0, 0])
    assert shown(store.search_memories(X, "messages")) == [
        ("same", 1.0), ("half", 0.707), ("none", 0.0), ("opposite", -1.0),
    ]  # fmt: skip
    assert shown(store.search_memories(X, "messages", match_threshold=0.7)) == [("same", 1.0), ("half", 0.707)]
    assert len(store.search_memories(X, "messages", match_threshold=0)) == 4, "0 is no bound, as in elizaOS"
    assert shown(store.search_memories(X, "messages", limit=1)) == shown(store.search_memories(X, "messages", count=1))
    assert shown(store.search_memories(X, "messages", limit=2, offset=1)) == [("half", 0.707), ("none", 0.0)]
    assert store.search_memories(X, "messages", count=0) == []
    assert store.search_memories([0, 0, 0, 0], "messages") == []
    assert store.search_memories(X, "facts") == []
    assert store.search_memories_by_embedding(X, table_name="messages", count=1)[0].embedding == (2.0, 0, 0, 0)
    assert store.search_memories(X, "messages", include_embedding=False)[0].embedding is None
    found = store.get_memories("messages", room_id=HALL)
    assert {each.text: each.embedding for each in found}["half"] == (1.0, 1.0, 0, 0)
    assert store.get_memories("messages", room_id=HALL, include_embedding=False)[0].embedding is None
    for wrong in ([1, 0], [], [1] * 5):
        with pytest.raises(WrongDimension):
            store.search_memories(wrong, "messages")
    for bad in ({"match_threshold": 2}, {"match_threshold": "0.5"}, {"limit": -1}, {"offset": -1}):
        with pytest.raises(InvalidInput):
            store.search_memories(X, "messages", **bad)  # type: ignore[arg-type]


def test_of_equal_similarity_the_newest_counts(world: World) -> None:
    for number in range(30):
        world.say(
            str(number),
            embedding=X,
            createdAt=DAY + number % 15,
            unique=True,
            id=f"{number:08d}-0000-0000-0000-000000000000",
        )
    found = world.store.search_memories(X, "messages", limit=4)
    assert [memory.text for memory in found] == ["29", "14", "28", "13"]
    assert [memory.text for memory in world.store.search_memories(X, "messages", limit=2, offset=2)] == ["28", "13"]


def test_a_search_keeps_to_its_scope(world: World, open_store: Callable[..., AgentStore]) -> None:
    store = world.store
    for number in range(25):
        world.say(f"near {number}", embedding=[1, number / 1000, 0, 0], roomId=ROOM, entityId=BOB, unique=True)
    world.say("far", embedding=[1, 1, 0, 0], worldId=WORLD)
    world.say("repeated", embedding=[1, 2, 0, 0], unique=False)
    other = open_store(OTHER_AGENT)
    other.create_memory({"roomId": HALL, "content": {"text": "guest's"}, "embedding": X}, "messages")
    assert [each.text for each in store.search_memories(X, "messages", room_id=HALL, limit=1)] == ["far"]
    assert len(store.search_memories(X, "messages", room_id=HALL)) == 2
    assert [each.text for each in store.search_memories(X, "messages", room_id=HALL, unique=True)] == ["far"]
    assert [each.text for each in store.search_memories(X, "messages", entity_id=ADA, limit=5)] == ["far", "repeated"]
    assert [each.text for each in store.search_memories(X, "messages", world_id=WORLD)] == ["far"]
    assert store.search_memories(X, "messages", room_id=ROOM, entity_id=ADA) == []
    assert len(store.search_memories(X, "messages", room_id=ROOM, limit=100)) == 25
    assert [each.text for each in other.search_memories(X, "messages")] == ["guest's"]


def test_unique_says_whether_it_was_said_before(world: World) -> None:
    store = world.store
    world.say("first", embedding=X)
    world.say("again", embedding=[1, 0.01, 0, 0])
    world.say("other", embedding=Y)
    world.say("another room", embedding=X, roomId=ROOM)
    world.say("another person", embedding=X, entityId=BOB)
    world.say("another table", embedding=X, table="facts")
    world.say("insists", embedding=X, unique=True)
    world.say("humble", unique=False)
    assert store.create_memory({"roomId": HALL, "content": {"text": "by argument"}}, "messages", False)
    flags = {memory.text: memory.unique for memory in store.get_memories("messages")}
    assert flags == {
        "first": True, "again": False, "other": True, "another room": True, "another person": True, "insists": True,
        "humble": False, "by argument": False,
    }  # fmt: skip
    assert store.get_memories("facts")[0].unique is True
    assert "again" in world.texts(), "it is stored all the same"
    assert "again" not in world.texts(unique=True)
    assert store.count_memories(HALL, True, "messages") == 4
    batch = [({"roomId": ROOM, "content": {"text": str(n)}, "embedding": v}, "notes") for n, v in enumerate([X, X, Y])]
    store.create_memories(batch)
    assert [each.unique for each in store.get_memories("notes", order_direction="asc")].count(False) == 1


def test_a_vector_is_written_with_its_memory_or_not_at_all(world: World) -> None:
    with pytest.raises(WrongDimension, match="4 dimensions"):
        world.say("x", embedding=[1.0] * 8)
    with pytest.raises(InvalidValue):
        world.say("x", embedding=[1.0, float("inf"), 0, 0])
    assert world.texts() == []
    id = world.say("x", embedding=numpy.array(X, dtype=numpy.float64))
    with pytest.raises(WrongDimension):
        world.store.update_memory({"id": id, "content": {"text": "y"}, "embedding": [1]})
    assert world.texts() == ["x"]


def test_a_changed_text_takes_its_vector_with_it(world: World) -> None:
    store = world.store
    id = world.say("x", embedding=X)
    store.update_memory({"id": id, "metadata": {"a": 1}})
    assert len(store.search_memories(X, "messages")) == 1
    store.update_memory({"id": id, "content": {"text": "x", "source": "cli"}})
    assert len(store.search_memories(X, "messages")) == 1, "the text is the same"
    store.update_memory({"id": id, "content": {"text": "y"}})
    assert store.search_memories(X, "messages") == []
    assert store.get_memories_to_embed() == [id]
    store.update_memory({"id": id, "content": {"text": "z"}, "embedding": Y})
    assert shown(store.search_memories(Y, "messages")) == [("z", 1.0)]
    assert store.get_memories_to_embed() == []


def test_a_late_vector_is_for_the_text_that_was_embedded(world: World) -> None:
    store = world.store
    id = world.say("x")
    assert store.get_memories_to_embed("messages", limit=5) == [id]
    expected = {"text": "x", "roomId": HALL, "entityId": ADA, "agentId": AGENT}
    assert store.update_memory_embedding(id, X, expected=expected)
    store.update_memory({"id": id, "content": {"text": "y"}})
    assert not store.update_memory_embedding(id, X, expected=expected)
    assert not store.update_memory_embedding(NOBODY, X)
    assert store.search_memories(X, "messages") == []
    for bad in ([], [0, 0, 0, 0], [float("nan")] * 4):
        with pytest.raises(InvalidValue):
            store.update_memory_embedding(id, bad)
    with pytest.raises(InvalidInput):
        store.update_memory_embedding(id, X, expected={"text": "y", "color": 1})


def test_a_change_of_dimension_loses_nothing(world: World) -> None:
    store = world.store
    old = world.say("old", embedding=X)
    both = world.say("both", embedding=Y)
    store.ensure_embedding_dimension(8)
    eight = [1.0] + [0.0] * 7
    assert store.search_memories(eight, "messages") == [], "no vector of another size, nor any without one, appears"
    new = world.say("new", embedding=eight)
    assert sorted(world.texts()) == ["both", "new", "old"]
    assert store.get_memory_by_id(old).embedding is None  # type: ignore[union-attr]
    waiting = sorted(store.get_memories_by_ids([old, both]), key=lambda memory: (memory.created_at, memory.id))
    assert store.get_memories_to_embed() == [memory.id for memory in waiting]
    assert shown(store.search_memories(X, "messages", space="4")) == [("old", 1.0), ("both", 0.0)]
    with pytest.raises(WrongDimension, match="8 dimensions; received a vector of 4"):
        store.search_memories(X, "messages")
    with pytest.raises(WrongDimension):
        world.say("x", embedding=X)
    assert store.update_memory({"id": both, "embedding": eight})
    assert shown(store.search_memories(eight, "messages")) == [("both", 1.0), ("new", 1.0)] or shown(
        store.search_memories(eight, "messages")
    ) == [("new", 1.0), ("both", 1.0)]
    assert store.get_embedding_spaces() == {"4": 2, "8": 2}
    for wrong in (5, 0, -4):
        with pytest.raises(ValueError, match=r"4, 8|least"):
            store.ensure_embedding_dimension(wrong)
    assert store.embedding_space.dimensions == 8
    assert sorted(store.clear_embeddings_outside_active_dimension()) == sorted([old, both])
    assert store.clear_embeddings_outside_active_dimension() == []
    assert store.get_memories_to_embed() == [old]
    store.ensure_embedding_dimension(4)
    assert store.search_memories(X, "messages") == []
    assert store.delete_memory(new)
    store.ensure_embedding_dimension(8)
    assert [each.text for each in store.search_memories(eight, "messages")] == ["both"]


def test_a_space_is_a_model_not_a_size(world: World, open_store: Callable[..., AgentStore]) -> None:
    plain = world.store
    id = world.say("x", embedding=X)
    store = open_store()
    assert store.ensure_embedding_space("minilm:mean:l2:4") == [id]
    assert store.search_memories(X, "messages") == []
    store.update_memory({"id": id, "embedding": Y})
    assert store.ensure_embedding_space("minilm:mean:l2:4") == []
    assert shown(plain.search_memories(X, "messages")) == [("x", 1.0)], "both are there, side by side"
    assert shown(plain.search_memories(Y, "messages", space="minilm:mean:l2:4")) == [("x", 1.0)]
    assert store.get_cached_embeddings(query_table_name="messages", query_input="x")[0].embedding == tuple(Y)
    with pytest.raises(EmbeddingSpaceChanged):
        store.ensure_embedding_space("other:4")
    with pytest.raises(EmbeddingSpaceChanged):
        store.ensure_embedding_dimension(8)
    for bad in ("nodimension", "", "x:5", "x" * 200 + ":4", "a\0:4"):
        with pytest.raises(InvalidInput):
            open_store().ensure_embedding_space(bad)


def test_a_new_fingerprint_asks_for_everything_again(world: World) -> None:
    store = world.store
    id = world.say("x", embedding=X)
    assert store.reconcile_embedding_space("v1") == (True, [])
    assert store.reconcile_embedding_space("v1") == (False, [])
    assert store.reconcile_embedding_space("v2") == (True, [id])
    assert store.reconcile_embedding_space("v2") == (False, [id])
    assert store.search_memories(X, "messages") == []
    store.update_memory_embedding(id, Y)
    assert store.reconcile_embedding_space("v2") == (False, [])


def test_embeddings_are_reused_for_like_texts(world: World, open_store: Callable[..., AgentStore]) -> None:
    store = world.store
    long = "a" * 600
    for text, vector in (("kitten", X), ("sitting", Y), ("kitten!", [1, 1, 0, 0]), (long, [0, 0, 1, 0]), ("", X)):
        world.say(text, embedding=vector)
    world.say("kitten?")

    def cached(text: str, **options: Any) -> list[tuple[tuple[float, ...], int]]:
        return [
            tuple(each)
            for each in store.get_cached_embeddings(query_table_name="messages", query_input=text, **options)
        ]  # type: ignore[misc]

    assert cached("kitten") == [(tuple(X), 0)]
    assert cached("kitten", query_threshold=1) == [(tuple(X), 0), ((1, 1, 0, 0), 1)]
    assert [distance for _, distance in cached("kitten", query_threshold=3)] == [0, 1, 3]
    assert cached("kitten", query_threshold=3, query_match_count=1) == [(tuple(X), 0)]
    assert cached(long[1:], query_threshold=2) == [((0, 0, 1, 0), 1)]
    assert cached("Kitten") == []
    assert cached("kitten", query_field_sub_name="thought") == []
    other = open_store(OTHER_AGENT)
    assert other.get_cached_embeddings(query_table_name="messages", query_input="kitten") == []
    world.say("with a thought", embedding=Y, content={"text": "t", "thought": "deep"})
    assert cached("deep", query_field_sub_name="thought") == [(tuple(Y), 0)]


def test_the_bounded_distance_is_levenshteins() -> None:
    def slowly(one: str, other: str) -> int:
        row = list(range(len(other) + 1))
        for at, character in enumerate(one, start=1):
            before, row[0] = row[0], at
            for column, against in enumerate(other, start=1):
                before, row[column] = (
                    row[column],
                    min(row[column] + 1, row[column - 1] + 1, before + (character != against)),
                )
        return row[-1]

    random = Random(20_261_121)
    for _ in range(300):
        one, other = ("".join(random.choices("abé", k=random.randrange(8))) for _ in range(2))
        distance = slowly(one, other)
        for most in range(9):
            assert levenshtein(one, other, most) == (distance if distance <= most else None)


def test_searches_agree_with_the_definition(world: World) -> None:
    random = numpy.random.default_rng(20_261_121)
    vectors = random.standard_normal((200, 4)).astype(numpy.float32)
    rooms = [HALL if number % 3 else ROOM for number in range(200)]
    world.store.create_memories(
        [
            (
                {"roomId": room, "entityId": ADA, "content": {"text": str(n)}, "embedding": vectors[n], "unique": True},
                "m",
            )
            for n, room in enumerate(rooms)
        ]
    )
    for query in random.standard_normal((10, 4)).astype(numpy.float32):
        cosines = vectors @ query / numpy.linalg.norm(vectors, axis=1) / numpy.linalg.norm(query)
        for room in (None, HALL, ROOM):
            inside = [n for n in numpy.argsort(-cosines) if room in (None, rooms[n])][:7]
            found = world.store.search_memories(query, "m", room_id=room, limit=7)
            assert [int(memory.text or "") for memory in found] == inside
            assert [memory.similarity for memory in found] == pytest.approx(cosines[inside].tolist(), abs=1e-6)
