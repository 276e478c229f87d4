"""The memories layer, on every backend."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import Random
from typing import Any

import numpy as np
import pytest

from mycelia_storage import StorageBackend, TextIndex, where
from mycelia_storage.errors import (
    BatchError,
    EmbeddingMismatch,
    InvalidFilter,
    InvalidInput,
    InvalidKey,
    InvalidValue,
    KeyExists,
    KeyNotFound,
)
from mycelia_storage.layers.memories import EmbeddingSpace, Memories
from mycelia_storage.layers.memories.embedders import from_function

from .meaning import model

SEED = 20_261_121

TURNS = [
    ("Ann", "I adopted a puppy called Rex last spring"),
    ("Bob", "What breed is he?"),
    ("Ann", "A beagle, and he barks at the postman"),
    ("Bob", "My automobile broke down again"),
    ("Ann", "You should see a mechanic about that"),
    ("Bob", "I play the violin in an orchestra"),
]
KEYS = [f"t{n}" for n in range(len(TURNS))]


def fill(memories: Memories, conversation: str = "c", prefix: str = "t") -> None:
    memories.remember_many(
        {
            "key": f"{prefix}{n}",
            "text": text,
            "speaker": speaker,
            "conversation": conversation,
            "session": 1,
            "created_at": 1_000 * n,
            "metadata": {"n": n},
        }
        for n, (speaker, text) in enumerate(TURNS)
    )


def context(storage: StorageBackend, key: str, namespace: str = "memories") -> list[str]:
    found: list[str] = storage.get(key, namespace=namespace).get("context", [])
    return found


def keys(found: Any) -> list[str]:
    return [hit.key for hit in found]


def test_remember_and_recall_by_words_alone(storage: StorageBackend) -> None:
    memories = Memories(storage)
    assert memories.recall("anything") == []
    receipt = memories.remember("The garden gate is painted green", metadata={"room": "outside"}, source="a walk")
    assert receipt.status == "stored"
    memories.remember(
        "Ravens nest in the old oak", key="ravens", created_at=datetime(2026, 5, 1, tzinfo=UTC), subject="birds"
    )
    (hit,) = memories.recall("painting a gate")
    assert (hit.key, hit.text, hit.memory.source, hit.memory.metadata) == (
        receipt.key,
        "The garden gate is painted green",
        "a walk",
        {"room": "outside"},
    )
    assert hit.legs == {}
    found = memories.recall("raven oak gate", explain=True)
    assert keys(found) == ["ravens", receipt.key]
    assert found[0].legs["text"].rank == 1
    assert found[0].score == found[0].legs["text"].share == 1.0
    assert found.plan["text"]["method"]
    ravens = memories.get("ravens")
    assert ravens is not None
    assert ravens.created_at == int(datetime(2026, 5, 1, tzinfo=UTC).timestamp() * 1000)
    assert memories.get("nothing") is None
    assert memories.count() == 2
    assert memories.count(subject="birds") == 1
    assert keys(memories.list()) == ["ravens", receipt.key]


def test_conditions(storage: StorageBackend) -> None:
    memories = Memories(storage, ("agents", "a/1"), model())
    fill(memories)
    fill(memories, "other", "o")
    asked = "puppy beagle violin mechanic"
    for conditions, wanted in (
        ({"conversation": "c"}, set(KEYS)),
        ({"conversation": "c", "session": 2}, set()),
        ({"conversation": "other", "since": 2_000, "until": 4_000}, {"o2", "o3"}),
        ({"filter": where("n") < 2}, {"t0", "t1", "o0", "o1"}),
        ({"filter": (where("speaker") == "Bob") & (where("$metadata.n") == 5)}, {"t5", "o5"}),
        ({"filter": where("$key") == "t3"}, {"t3"}),
        ({"filter": where("text").contains("violin")}, {"t5", "o5"}),
        ({"filter": ~(where("n") < 5), "conversation": "c"}, {"t5"}),
        ({"filter": [{"field": "created_at", "operator": "gte", "value": 5_000}], "conversation": "c"}, {"t5"}),
        ({"filter": where("nothing") == 1}, set()),
    ):
        found = memories.recall(asked, 50, **conditions)  # type: ignore[arg-type]
        assert set(keys(found)) == wanted, conditions
        listed = memories.list(**conditions)  # type: ignore[arg-type]
        assert set(keys(listed)) == wanted
        assert memories.count(**conditions) == len(wanted)  # type: ignore[arg-type]
    assert keys(memories.list(conversation="c")) == KEYS
    assert keys(memories.list(conversation="c", newest_first=True, limit=2, offset=1)) == ["t4", "t3"]
    with pytest.raises(InvalidFilter):
        memories.recall(asked, filter=where("$value") == 1)


def test_context_is_the_neighbours_texts(storage: StorageBackend) -> None:
    memories = Memories(storage)
    texts = [text for _, text in TURNS]
    for n in (0, 1, 2, 4, 5):  # one by one, and the fourth comes last
        memories.remember(texts[n], key=f"t{n}", speaker=TURNS[n][0], conversation="c", session=1, created_at=n * 1_000)
    assert context(storage, "t2") == [texts[0], texts[1], texts[4], texts[5]]
    memories.remember(texts[3], key="t3", conversation="c", session=1, created_at=3_000)
    together = Memories(storage, "bulk")
    fill(together)
    for n in range(6):
        expected = texts[max(0, n - 2) : n] + texts[n + 1 : n + 3]
        assert context(storage, f"t{n}") == expected
        assert context(storage, f"t{n}", "bulk") == expected
    assert keys(memories.recall("breed puppy"))[:2] == ["t0", "t1"]
    before = storage.get_entry("t2", namespace="memories")
    memories.update("t3", text="My bicycle has a flat tyre")
    after = storage.get_entry("t2", namespace="memories")
    assert before is not None
    assert after is not None
    assert context(storage, "t2") == [texts[0], texts[1], "My bicycle has a flat tyre", texts[4]]
    assert (after.created_at, after.updated_at, after.expires_at) == (before.created_at, before.updated_at, None)
    memories.forget("t3")
    assert context(storage, "t2") == [texts[0], texts[1], texts[4], texts[5]]
    assert context(storage, "t5") == [texts[2], texts[4]]
    assert "automobile" not in str([entry.value for entry in storage.scan(namespace="memories")])


def test_contexts_stay_within_a_session_and_equal_times_keep_their_order(storage: StorageBackend) -> None:
    memories = Memories(storage)
    for n in range(4):
        memories.remember(f"word{n}", key=f"k{9 - n}", conversation="c", session="s", created_at=7)
    memories.remember("elsewhere", key="z", conversation="c", created_at=7)
    memories.remember("alone", key="y", created_at=7)
    assert context(storage, "k8") == ["word0", "word2", "word3"]
    assert context(storage, "z") == context(storage, "y") == []
    assert keys(memories.list(conversation="c", session="s")) == ["k9", "k8", "k7", "k6"]
    alone = memories.get("z")
    assert alone is not None
    assert (alone.conversation, alone.session) == ("c", None)
    memories.remember_many(
        {"text": f"more{n}", "key": f"a{9 - n}", "conversation": "c", "session": "s", "created_at": 7} for n in range(3)
    )
    assert keys(memories.list(conversation="c", session="s"))[4:] == ["a9", "a8", "a7"]
    assert context(storage, "k6") == ["word1", "word2", "more0", "more1"]


def test_recall_by_meaning_and_explanations(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())
    fill(memories)
    assert keys(memories.recall("hound", 1)) == ["t0"]  # no word in common
    found = memories.recall("a car for the orchestra", explain=True)
    assert set(keys(found)[:2]) == {"t3", "t5"}
    by_key = {hit.key: hit for hit in found}
    assert set(by_key["t3"].legs) == {"text", "vector", "window"}
    for hit in found:
        assert hit.score == pytest.approx(sum(leg.share for leg in hit.legs.values()))
        assert sum(leg.weight for leg in hit.legs.values()) == pytest.approx(1)
        assert hit.legs["vector"].score is not None
    assert by_key["t3"].legs["vector"].rank in (1, 2)
    assert by_key["t5"].legs["text"].rank == 1
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    first = memories.recall("a car for the orchestra", fusion="rrf", explain=True)[0]
    ranks = {name: leg.rank for name, leg in first.legs.items()}
    weights = {"text": 0.55, "vector": 0.225, "window": 0.225}
    assert first.score == pytest.approx(sum(weights[name] / (60 + rank) for name, rank in ranks.items() if rank))
    assert set(memories.recall("puppy", weights={"vector": 1}, explain=True)[0].legs) == {"vector"}
    bad: Any
    for bad in ({"vector": -1}, {"words": 1}, {"text": 0}, {"text": "much"}, 7):
        with pytest.raises(InvalidInput):
            memories.recall("puppy", weights=bad)
    for bad in ({"fusion": "best"}, {"k": -1}, {"k": None}, {"since": "yesterday"}, {"until": datetime(2026, 1, 1)}):
        with pytest.raises(InvalidInput):
            memories.recall("puppy", **bad)
    with pytest.raises(InvalidInput):
        memories.recall(None)  # type: ignore[arg-type]
    assert memories.recall("puppy", 0) == []
    assert len(memories.recall("puppy", 1_000)) == 6


def test_why_not(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())
    fill(memories)
    memories.remember("soon gone puppy", key="gone", ttl=0.02)
    assert memories.why_not("puppy", "t0").verdict == "returned"
    assert memories.why_not("puppy", "nobody").verdict == "missing"
    filtered = memories.why_not("puppy", "t0", filter=(where("n") > 3) & (where("speaker") == "Ann"), conversation="c")
    assert filtered.verdict == "filtered"
    assert filtered.failed == ("$metadata.n gt 3",)
    below = memories.why_not("puppy beagle violin", "t3", k=1)
    assert below.verdict == "below the cut"
    assert below.rank is not None
    assert below.rank > 1
    assert below.legs["vector"].rank is not None
    words = Memories(storage, "words")
    words.remember("a green gate", key="gate")
    assert words.why_not("violin", "gate").verdict == "no match"
    words.remember_many({"text": "gate gate", "key": f"g{n:03}"} for n in range(150))
    deep = words.why_not("gate", "gate", k=5)
    assert deep.verdict == "below the cut"
    assert deep.rank == 151
    assert deep.legs["text"].rank == 151
    while memories.get("gone") is not None:
        pass
    assert memories.why_not("puppy", "gone").verdict == "expired"
    assert "gone" not in keys(memories.recall("soon gone puppy", 50))


def test_dedupe(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())
    first = memories.remember("Rex likes cheese", subject="Rex", metadata={"a": 1})
    again = memories.remember("rex LIKES cheese!", subject="Rex", dedupe="skip", metadata={"b": 1})
    assert (again.key, again.status) == (first.key, "duplicate")
    merged = memories.remember("rex likes cheese", subject="Rex", dedupe="merge", metadata={"b": 2})
    assert (merged.key, merged.status) == (first.key, "merged")
    held = memories.get(first.key)
    assert held is not None
    assert (held.text, held.metadata) == ("Rex likes cheese", {"a": 1, "b": 2})
    assert [(one["text"], one["metadata"]) for one in memories.history(first.key)] == [("Rex likes cheese", {"a": 1})]
    assert memories.remember("Rex likes cheese", subject="another", dedupe="skip").status == "stored"
    assert memories.remember("Rex likes cheese", subject="Rex").status == "stored"
    near = memories.remember("cheese likes Rex the dog", subject="Rex", dedupe="merge", similar=0.8)
    assert near.status == "merged"
    renewed = memories.get(near.key)
    assert renewed is not None
    assert renewed.text == "cheese likes Rex the dog"
    assert keys(memories.recall("hound", 1, subject="Rex")) == [near.key]
    assert memories.remember("Rex sleeps", subject="Rex", dedupe="skip", similar=0.99).status == "stored"
    batch = memories.remember_many([{"text": "twice"}, {"text": "Twice"}], dedupe="skip")
    assert [receipt.status for receipt in batch] == ["stored", "duplicate"]
    assert batch[0].key == batch[1].key
    bad: Any
    for bad in ({"dedupe": "yes"}, {"similar": 0.9}, {"dedupe": "skip", "similar": 2}):
        with pytest.raises(InvalidInput):
            memories.remember("x", **bad)


def test_update_and_history(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())
    fill(memories)
    before = memories.get("t5")
    assert before is not None
    changed = memories.update("t5", text="I play the cello", metadata={"n": 6, "new": True}, source="letter")
    assert (changed.text, changed.metadata, changed.source) == ("I play the cello", {"n": 6, "new": True}, "letter")
    assert (changed.created_at, changed.order, changed.session) == (before.created_at, before.order, 1)
    assert changed.version > before.version
    assert keys(memories.recall("cello", 1)) == ["t5"]
    assert "t5" not in keys(memories.recall("violin orchestra", weights={"text": 1}))
    assert keys(memories.recall("cello", filter=where("n") == 6)) == ["t5"]
    memories.update("t5", metadata={"n": 7})
    assert keys(memories.recall("cello", filter=where("n") == 7, weights={"vector": 1})) == ["t5"]
    assert keys(memories.recall("cello", filter=where("n") == 7, weights={"window": 1})) == ["t5"]
    history = memories.history("t5")
    assert [(one["text"], one["metadata"]["n"], one["version"]) for one in history] == [
        ("I play the violin in an orchestra", 5, before.version),
        ("I play the cello", 6, changed.version),
    ]
    assert memories.history("t0") == []
    memories.update("t5", metadata={"n": 7})
    assert len(memories.history("t5")) == 2
    with pytest.raises(KeyNotFound):
        memories.update("nobody", text="x")
    bad: Any
    for bad in ({"text": " "}, {"text": 7}, {"metadata": 7}, {"speaker": ""}):
        with pytest.raises(InvalidInput):
            memories.update("t5", **bad)


def everything(storage: StorageBackend, namespace: str = "memories") -> list[str]:
    names = storage.list_namespaces(prefix=namespace)
    return [
        f"{entry.key} {entry.value!r} {entry.metadata!r}" for name in names for entry in storage.scan(namespace=name)
    ]


def test_forget_leaves_nothing(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())
    fill(memories)
    memories.remember(
        "a secret about the violin", key="secret", subject="Ann", conversation="c", session=1, created_at=2_500, ttl=500
    )
    memories.update("secret", text="a hidden secret about the violin")
    assert any("secret" in line for line in everything(storage))
    assert memories.forget(subject="Ann") == 1
    assert not any("secret" in line for line in everything(storage))
    assert memories.forget(subject="Ann") == 0
    assert memories.forget(["t0", "t1", "nobody"]) == 2
    assert memories.forget(filter=where("n") == 2) == 1
    assert memories.count() == 3
    assert "t2" not in keys(memories.recall("beagle", 50))
    assert memories.forget(conversation="c", since=3_000) == 3
    left = [line for line in everything(storage) if not line.startswith("spaces ")]
    assert left == []
    for bad in ({}, {"key": "t0", "subject": "Ann"}):
        with pytest.raises(InvalidInput):
            memories.forget(**bad)  # type: ignore[arg-type]
    assert storage.check().ok


def test_forgetting_takes_the_window_of_the_next(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())
    fill(memories)
    namespace = "memories/spaces/words-64/window"
    assert storage.list(namespace=namespace) == KEYS[1:]
    memories.forget("t2")
    assert storage.list(namespace=namespace) == ["t1", "t4", "t5"]
    found = memories.recall("automobile", explain=True)[0]
    assert found.key == "t3"
    assert found.legs["window"].score == found.legs["vector"].score
    memories.update("t3", text="My boat sank")
    window = storage.get("t4", namespace=namespace)
    expected = model()(["Bob: My boat sank\nAnn: You should see a mechanic about that"])[0]
    assert np.frombuffer(window, "<f4") == pytest.approx(expected)


@pytest.mark.parametrize("number", [1, 5, 30])
def test_forgetting_many_of_a_session(storage: StorageBackend, number: int) -> None:
    def turns(kept: Any) -> list[dict[str, Any]]:
        return [
            {"key": f"k{n:02}", "text": f"word{n}", "conversation": "c", "created_at": n} for n in range(60) if kept(n)
        ]

    gone = set(Random(SEED).sample(range(60), number))
    memories = Memories(storage, embedder=model())
    memories.remember_many(turns(lambda _: True))
    assert memories.forget(f"k{n:02}" for n in gone) == number
    rest = turns(lambda n: n not in gone)
    Memories(storage, "other").remember_many(rest)
    for turn in rest:
        assert context(storage, turn["key"]) == context(storage, turn["key"], "other")
    windows = set(storage.list(namespace="memories/spaces/words-64/window"))
    assert windows == {turn["key"] for turn in rest if turn["created_at"] and turn["created_at"] - 1 not in gone}


def test_ttl_carries_over(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())
    memories.remember("a long puppy", key="long", conversation="c", created_at=1)
    memories.remember("a short puppy", key="short", conversation="c", created_at=2, ttl=1_000)
    memories.remember("another long puppy", key="last", conversation="c", created_at=3)
    memories.update("short", metadata={"a": 1})
    ends = [
        entry.expires_at
        for name in storage.list_namespaces(prefix="memories")
        for entry in storage.scan(namespace=name)
        if entry.key.startswith("short") or "short" in entry.key
        if not name.endswith("expiries")
    ]
    assert len(ends) == 4  # memory, history, vector, window
    assert all(end is not None and abs(end - ends[0]) < 1_000 for end in ends)
    # What expires sooner gives no context, and no window, to what stays.
    assert context(storage, "last") == ["a long puppy"]
    assert context(storage, "short") == ["a long puppy", "another long puppy"]
    assert storage.list(namespace="memories/spaces/words-64/window") == ["short"]


def test_given_vectors(storage: StorageBackend) -> None:
    space = EmbeddingSpace("elsewhere", 3)
    memories = Memories(storage, space=space)
    memories.remember("first", key="a", vector=[1, 0, 0])
    memories.remember("second", key="b", vector=np.array([0, 1, 0]), window_vector=np.array([0, 0, 1], "<f4").tobytes())
    memories.remember("third", key="c")
    assert keys(memories.recall("", vector=[1, 0.1, 0])) == ["a", "b"]
    assert keys(memories.recall("", vector=[0, 0.1, 1], explain=True))[0] == "b"
    assert keys(memories.recall("third", vector=[1, 0, 0])) == ["c", "a", "b"]
    bad: Any
    for bad in ([1, 0], [0, 0, 0], [1, 2, float("nan")], "abc", [[1, 2, 3]]):
        with pytest.raises(InvalidValue):
            memories.remember("bad", key="bad", vector=bad)
        with pytest.raises(InvalidValue):
            memories.recall("bad", vector=bad)
        assert memories.get("bad") is None
    assert Memories(storage).recall("", vector=[1, 0, 0])[0].key == "a"
    with pytest.raises(EmbeddingMismatch, match="reembed"):
        Memories(storage, space=EmbeddingSpace("elsewhere", 4))
    with pytest.raises(EmbeddingMismatch, match="reembed"):
        Memories(storage, embedder=model())
    with pytest.raises(InvalidInput):
        Memories(storage, "fresh").remember("x", vector=[1, 2])
    with pytest.raises(InvalidInput):
        memories.remember("x", window_vector=[1, 2, 3])


def test_bad_memories_are_refused_whole(storage: StorageBackend) -> None:
    memories = Memories(storage)
    memories.remember("there", key="there")
    bad: list[Any] = [
        {"text": ""},
        {"text": " \n"},
        {"text": None},
        {"text": 7},
        {},
        {"text": "x", "key": ""},
        {"text": "x", "key": "k" * 901},
        {"text": "x", "metadata": [1]},
        {"text": "x", "metadata": {"a": float("nan")}},
        {"text": "x", "speaker": 7},
        {"text": "x", "session": 1},
        {"text": "x", "conversation": "c", "session": ""},
        {"text": "x", "conversation": "c", "session": False},
        {"text": "x", "conversation": "c", "session": 1.5},
        {"text": "x", "created_at": "now"},
        {"text": "x", "created_at": 10**17},
        {"text": "x", "ttl": 0},
        {"text": "x", "ttl": True},
        {"text": "x", "colour": "red"},
        {"text": "\ud800"},
        {"text": "x", "subject": ""},
        {"text": "x", "history": [1]},
        "x",
        None,
    ]
    for one in bad:
        with pytest.raises((InvalidInput, BatchError)):
            memories.remember_many([{"text": "good", "key": "good"}, one])
        assert memories.count() == 1, one
    with pytest.raises(BatchError) as refused:
        memories.remember_many([{"text": "good"}, {"text": "", "key": "one"}, {"text": "x", "ttl": -1}])
    assert set(refused.value.errors) == {("memories", "one"), ("memories", "item 2")}
    with pytest.raises(KeyExists):
        memories.remember("again", key="there")
    with pytest.raises(BatchError):
        memories.remember_many([{"text": "a", "key": "k"}, {"text": "b", "key": "k"}])
    with pytest.raises(InvalidKey):
        memories.get("k" * 901)
    for items in ("text", {"text": "x"}, 7):
        with pytest.raises(InvalidInput):
            memories.remember_many(items)  # type: ignore[arg-type]
    assert memories.count() == 1
    for hostile in ("'; DROP TABLE x; --", "\0", "😀", "東京" * 500, "x" * 100_000):
        key = memories.remember(hostile, conversation="c", speaker="\u202e").key
        held = memories.get(key)
        assert held is not None
        assert held.text == hostile
        memories.recall(hostile)


def test_a_failing_embedder_stores_nothing(storage: StorageBackend) -> None:
    def broken(_: list[str]) -> Any:
        raise ConnectionError("away")

    rows: Any
    for rows in (
        broken,
        lambda texts: [[1.0]] * len(texts),
        lambda texts: [[float("nan")] * 4] * len(texts),
        lambda texts: [[0.0] * 4] * len(texts),
        lambda _: [],
        lambda _: "abcd",
    ):
        memories = Memories(storage, "m", from_function(rows, model="m", dimensions=4))
        with pytest.raises((ConnectionError, InvalidValue, TypeError)):
            memories.remember("text", key="k")
        assert memories.count() == 0


def test_in_a_transaction(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())
    fill(memories)
    tx = storage.transaction()
    inside = Memories(tx, embedder=model())
    inside.remember("the cellar is flooded", key="cellar", conversation="c", session=1)
    tx.set("other", 1, namespace="elsewhere")
    assert keys(inside.recall("flooded cellar", 1)) == ["cellar"]
    assert inside.forget("t0") == 1
    tx.rollback()
    assert memories.get("cellar") is None
    assert memories.count() == 6
    assert context(storage, "t5") == [TURNS[3][1], TURNS[4][1]]
    with storage.transaction(read_only=True) as snapshot:
        memories.forget("t5")
        assert keys(Memories(snapshot, embedder=model()).recall("violin", 1)) == ["t5"]
        assert Memories(snapshot, "never").recall("violin") == []


def test_export_and_load(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())
    fill(memories)
    memories.remember("for a while", key="ttl", ttl=1_000)
    memories.update("t0", text="I adopted a kitten")
    lines = list(memories.export())
    copied = Memories(storage, "copy")
    assert copied.load(lines) == 7
    assert copied.load([lines[0]]) == 0
    assert [m.key for m in copied.list()] == [m.key for m in memories.list()]
    assert copied.history("t0") == memories.history("t0")
    held = copied.get("ttl")
    assert held is not None
    assert held.expires_at is not None
    again = Memories(storage, "copy", model())
    for query in ("kitten", "automobile mechanic"):
        expected = [(hit.key, pytest.approx(hit.score)) for hit in memories.recall(query)]
        assert [(hit.key, hit.score) for hit in again.recall(query)] == expected
    assert list(again.export())[1:3] == lines[1:3]
    other = Memories(storage, "third", model("other"))
    assert other.load(lines) == 7
    assert keys(other.recall("hound", 1, conversation="c"))
    with pytest.raises(EmbeddingMismatch):
        Memories(storage, "fourth", space=EmbeddingSpace("x", 3)).load(lines)
    bad: Any
    for bad in (
        [],
        ["{}"],
        ['{"kind": "memories", "version": 9}'],
        [lines[0], "no JSON"],
        [lines[0], '["x"]'],
        [lines[0], '{"text": "x", "vector": "?"}'],
        ['{"kind": "memories", "version": 1, "space": {"a": 1}}'],
    ):
        with pytest.raises(InvalidInput):
            Memories(storage, "fifth").load(bad)
    with pytest.raises(BatchError):
        copied.load(lines)


def test_many_threads_in_one_session(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())

    def say(speaker: int) -> None:
        for n in range(6):
            memories.remember(f"word{speaker}x{n}", speaker=f"s{speaker}", conversation="c", session=1)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(say, speaker) for speaker in range(4)]:
            done.result()
    held = memories.list(conversation="c", session=1)
    assert len(held) == 24
    assert len({memory.order for memory in held}) == 24
    texts = [memory.text for memory in held]
    for n, memory in enumerate(held):
        assert context(storage, memory.key) == texts[max(0, n - 2) : n] + texts[n + 1 : n + 3]
    assert storage.check().ok


def test_other_indexes_and_vectors_of_the_same_text(storage: StorageBackend) -> None:
    memories = Memories(storage, embedder=model())
    storage.create_index("memories", TextIndex("$metadata.note"))
    fill(memories)
    assert keys(memories.recall("violin", 1)) == ["t5"]
    window = storage.get("t5", namespace="memories/spaces/words-64/window")
    memories.update("t5", vector=np.eye(64)[0])
    assert storage.get("t5", namespace="memories/spaces/words-64/window") == window
    assert memories.recall("", vector=np.eye(64)[0], weights={"vector": 1})[0].key == "t5"
