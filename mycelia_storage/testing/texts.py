"""Text indexes: declared, kept up in the entry's transaction, ranked as :mod:`mycelia_storage.text` defines."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from ..contract import SearchHits, StorageBackend
from ..errors import IndexNotFound, InvalidFilter, InvalidInput
from ..field_paths import parse_path
from ..filters import match, where
from ..indexes import TextIndex, VectorIndex
from ..text import occurrences, query_terms, rank
from .fixtures import ContractCase, eventually

SEED = 20_261_121

WORDS = """garden spore root mushroom forest rain memory agent cat dog house river stone paint music travel friend
letter Größe niño café naïve élan 東京 日本 запись ёлка नमस्ते don't state-of-the-art x y running runs ran 42 3.14
user_name""".split()  # noqa: SIM905


def found(hits: SearchHits) -> list[str]:
    return [hit.key for hit in hits]


def by_definition(
    storage: StorageBackend, query: str, index: TextIndex, limit: int, filter: Any = None
) -> list[tuple[str, float]]:
    """What the search has to give, computed from the entries."""
    held, matching = {}, set()
    for entry in storage.scan(namespace="t"):
        fields = ((parse_path(path).read(entry), weight) for path, weight in index.fields)
        kept = occurrences(fields, index.language)
        if kept.length:
            held[entry.key] = kept
        if filter is None or match(filter, entry):
            matching.add(entry.key)
    ranked = rank(query_terms(query, index.language), held)
    return sorted(
        ((key, score) for key, score in ranked.items() if key in matching), key=lambda pair: (-pair[1], pair[0])
    )[:limit]


def assert_same_ranking(hits: SearchHits, expected: list[tuple[str, float]], about: str = "") -> None:
    """Equal scores within rounding, and equal keys but where scores tie."""
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], rel=1e-5), about
    for hit, (key, score) in zip(hits, expected, strict=True):
        if hit.key != key:
            assert hit.score == pytest.approx(score, rel=1e-6), about
            assert any(other == hit.key for other, _ in expected) or hit.score == pytest.approx(
                expected[-1][1], rel=1e-6
            ), about


class TextContract(ContractCase):
    """search_text."""

    def test_text_search_words_are_found(self, storage: StorageBackend) -> None:
        storage.create_index("t", TextIndex({"text": 1.0, "title": 2.0}))
        storage.set("a", {"title": "Garden", "text": "The spores were growing in the rain"}, namespace="t")
        storage.set("b", {"text": "A garden in the rain", "tags": ["spore"]}, namespace="t")
        storage.set("c", {"text": ["rain", "again", 7, None, {"x": "spore"}]}, namespace="t", metadata={"n": 1})
        assert found(storage.search_text("gardens", namespace="t")) == ["a", "b"]
        assert found(storage.search_text("SPORE grows", namespace="t")) == ["a"]
        assert found(storage.search_text("rain", namespace="t", limit=1)) == ["c"]
        hit = storage.search_text("again raining", namespace="t")[0]
        assert hit.entry == storage.get_entry("c", namespace="t")
        assert hit.metadata == {"n": 1}
        assert hit.score > 0
        assert storage.search_text("nothing here", namespace="t") == []

    def test_text_search_the_whole_value_the_key_and_metadata(self, storage: StorageBackend) -> None:
        storage.create_index("t", TextIndex())
        storage.create_index("t", TextIndex(["$metadata.note", "$key"]), name="notes")
        storage.set("first words", "a plain string about ravens", namespace="t", metadata={"note": "heard of owls"})
        storage.set("bytes", b"ravens", namespace="t", metadata={"note": "ravens"})
        assert found(storage.search_text("raven", namespace="t", index="text:$value")) == ["first words"]
        assert found(storage.search_text("raven", namespace="t", index="notes")) == ["bytes"]
        assert found(storage.search_text("word owl", namespace="t", index="notes")) == ["first words"]
        with pytest.raises(InvalidInput):
            storage.search_text("raven", namespace="t")
        storage.set_metadata("bytes", {"note": "owls and ravens"}, namespace="t")
        assert sorted(found(storage.search_text("owl", namespace="t", index="notes"))) == ["bytes", "first words"]

    def test_text_search_without_language_every_word_counts(self, storage: StorageBackend) -> None:
        storage.create_index("t", TextIndex("text", language=None))
        storage.set("a", {"text": "The running of the bulls"}, namespace="t")
        assert found(storage.search_text("the", namespace="t")) == ["a"]
        assert storage.search_text("run", namespace="t") == []

    @pytest.mark.parametrize(
        "query",
        ["", " ", "the of and", '"', "'; DROP TABLE x; --", "a AND OR NOT NEAR(", "raven*", "^raven", "ti:raven",
         "-raven", "\\", "%", "_", "raven\0", "\ud800", "\U0001f600", "東京タワー", "(((", "{}", "col : x",
         "raven " * 10_000, " ".join(f"w{n}" for n in range(10_000)), "x" * 100_000],
        ids=lambda query: repr(query[:12]),
    )  # fmt: skip
    def test_text_search_query_text_is_data(self, storage: StorageBackend, query: str) -> None:
        storage.create_index("t", TextIndex("text"))
        storage.set("a", {"text": "a raven in a tower 東京"}, namespace="t")
        storage.set("b", {"text": "w1 w2 w3"}, namespace="t")
        hits = storage.search_text(query, namespace="t")
        assert_same_ranking(hits, by_definition(storage, query, TextIndex("text"), 10))
        assert ("a" in found(hits)) == ("raven" in query or "東" in query)

    def test_text_search_texts_are_data(self, storage: StorageBackend) -> None:
        storage.create_index("t", TextIndex("text"))
        texts = [
            "\0",
            "a\0raven",
            "",
            "'; --",
            "\U0001f600 raven",
            "x" * 5_000,
            "raven " * 50_000,
            "\u0301",
            "ra\u0301ven",
        ]
        storage.set_many({f"k{number}": {"text": text} for number, text in enumerate(texts)}, namespace="t")
        expected = by_definition(storage, "raven", TextIndex("text"), 10)
        assert {key for key, _ in expected} == {"k1", "k4", "k6", "k8"}
        assert_same_ranking(storage.search_text("raven", namespace="t"), expected)

    def test_text_search_bad_arguments(self, storage: StorageBackend) -> None:
        storage.create_index("t", TextIndex("text"))
        bad: Any
        for bad in (None, 7, b"raven", ["raven"]):
            with pytest.raises(InvalidInput):
                storage.search_text(bad, namespace="t")
        for bad in (-1, None, 1.5, True):
            with pytest.raises(InvalidInput):
                storage.search_text("raven", namespace="t", limit=bad)
        with pytest.raises(InvalidFilter):
            storage.search_text("raven", namespace="t", filter={"field": "a..b", "operator": "eq", "value": 1})
        assert storage.search_text("raven", namespace="t", limit=0) == []
        bad_fields: list[Any] = [[], {"": 1}, {"a": 0}, {"a": -1}, {"a": "x"}, {"a": True}, {"a..b": 1}]
        for bad in bad_fields:
            with pytest.raises(InvalidInput):
                TextIndex(bad)
        with pytest.raises(InvalidInput):
            TextIndex("a", language="klingon")  # type: ignore[arg-type]

    def test_text_search_without_an_index(self, storage: StorageBackend) -> None:
        storage.set("a", {"text": "raven"}, namespace="t")
        storage.create_index("v", VectorIndex(2))
        for namespace in ("t", "v", "nowhere"):
            with pytest.raises(IndexNotFound):
                storage.search_text("raven", namespace=namespace)
        with pytest.raises(IndexNotFound):
            storage.search_text("raven", namespace="t", index="other")

    def test_text_search_every_write_is_seen(self, storage: StorageBackend) -> None:
        storage.set("old", {"text": "an old raven"}, namespace="t")
        index = TextIndex("text")
        assert storage.create_index("t", index) == "text:text"

        def ravens() -> list[str]:
            hits = storage.search_text("raven", namespace="t")
            assert_same_ranking(hits, by_definition(storage, "raven", index, 10))
            return sorted(found(hits))

        assert ravens() == ["old"]
        storage.set("a", {"text": "raven raven"}, namespace="t")
        assert ravens() == ["a", "old"]
        storage.set("a", {"text": "owl"}, namespace="t")
        assert ravens() == ["old"]
        storage.set("a", "no text", namespace="t")
        storage.set_many({"b": {"text": "raven"}, "c": {"text": "a raven and an owl"}}, namespace="t")
        assert ravens() == ["b", "c", "old"]
        storage.set_metadata("b", {"n": 1}, namespace="t")
        storage.delete_many(["c", "old"], namespace="t")
        assert ravens() == ["b"]
        entry = storage.get_entry("b", namespace="t")
        assert entry is not None
        storage.restore([entry._replace(key="r")])
        assert ravens() == ["b", "r"]
        storage.clear(namespace="t")
        assert ravens() == []
        storage.set("z", {"text": "raven"}, namespace="t")
        assert ravens() == ["z"]
        assert storage.drop_index("t", "text:text")
        with pytest.raises(IndexNotFound):
            storage.search_text("raven", namespace="t")
        storage.set("y", {"text": "raven"}, namespace="t")
        storage.create_index("t", index)
        assert ravens() == ["y", "z"]
        storage.delete_namespace("t", recursive=True)
        storage.create_index("t", index)
        assert ravens() == []
        assert storage.check().ok

    def test_text_search_expired_entries_are_not_found(self, storage: StorageBackend) -> None:
        storage.create_index("t", TextIndex("text"))
        storage.set("short", {"text": "raven raven raven"}, namespace="t", ttl=0.02)
        storage.set("long", {"text": "one raven"}, namespace="t", ttl=1_000)
        eventually(lambda: not storage.has("short", namespace="t"))
        assert found(storage.search_text("raven", namespace="t", limit=1)) == ["long"]

    def test_text_search_statistics_are_the_namespaces_own(self, storage: StorageBackend) -> None:
        for name in ("t", "other", "t/below"):
            storage.create_index(name, TextIndex("text"))
        storage.set_many({"a": {"text": "raven owl"}, "b": {"text": "owl"}, "c": {"text": "tree"}}, namespace="t")
        before = [(hit.key, hit.score) for hit in storage.search_text("raven owl", namespace="t")]
        for name in ("other", "t/below"):
            storage.set_many({f"k{number}": {"text": "raven " * 20} for number in range(30)}, namespace=name)
        assert [(hit.key, hit.score) for hit in storage.search_text("raven owl", namespace="t")] == before
        assert len(storage.search_text("raven", namespace="other", limit=50)) == 30

    def test_text_search_transactions_and_snapshots(self, storage: StorageBackend) -> None:
        storage.create_index("t", TextIndex("text"))
        storage.set_many({"a": {"text": "raven"}, "b": {"text": "owl"}}, namespace="t")

        def ravens(where: StorageBackend) -> list[str]:
            return sorted(found(where.search_text("raven", namespace="t")))

        snapshot = storage.transaction(read_only=True)
        tx = storage.transaction()
        tx.set("c", {"text": "raven"}, namespace="t")
        tx.set("a", {"text": "owl"}, namespace="t")
        assert ravens(tx) == ["c"]
        inner = tx.transaction()
        inner.delete("c", namespace="t")
        inner.set("d", {"text": "raven"}, namespace="t")
        assert ravens(inner) == ["d"]
        inner.rollback()
        assert ravens(tx) == ["c"]
        assert ravens(storage) == ["a"]
        tx.clear(namespace="t")
        assert ravens(tx) == []
        tx.rollback()
        assert ravens(storage) == ["a"]
        with storage.transaction() as tx:
            tx.set("c", {"text": "raven"}, namespace="t")
            tx.delete("a", namespace="t")
        assert ravens(storage) == ["c"]
        assert ravens(snapshot) == ["a"]
        snapshot.rollback()

    def test_text_search_the_same_as_by_definition(self, storage: StorageBackend) -> None:
        random = Random(SEED)
        index = TextIndex({"text": 1.0, "title": 2.5, "$metadata.context": 0.3})
        storage.create_index("t", index)

        def text(most: int) -> str:
            return " ".join(random.choice(WORDS) for _ in range(random.randrange(most)))

        for step in range(40):
            key = f"k{random.randrange(40)}"
            action = random.choice(["set", "many", "delete", "metadata"])
            if action == "set":
                value = {"text": text(30), "title": text(4), "n": step % 3}
                storage.set(key, value, namespace="t", metadata={"context": text(20)})
            elif action == "many":
                batch = {f"k{random.randrange(40)}": {"text": text(30), "n": step % 4} for _ in range(8)}
                storage.set_many(batch, namespace="t")
            elif action == "delete":
                storage.delete(key, namespace="t")
            elif storage.has(key, namespace="t"):
                storage.set_metadata(key, {"context": text(10)}, namespace="t")
            query = text(8)
            for filter in (None, where("n") == 1, (where("n") > 1) | (where("$key") < "k2")):
                for limit in (3, 100):
                    hits = storage.search_text(query, namespace="t", limit=limit, filter=filter)
                    expected = by_definition(storage, query, index, limit, filter)
                    assert_same_ranking(hits, expected, f"seed {SEED}, step {step}")
        assert storage.check().ok

    def test_text_search_filtered_searches_never_fall_short(self, storage: StorageBackend) -> None:
        storage.create_index("t", TextIndex("text"))
        items = {f"k{n:04}": {"text": "raven " * (1 + n % 5) + "owl", "n": n} for n in range(1_500)}
        storage.set_many(items, namespace="t")
        for filter, matching in ((where("n") >= 1_495, 5), (where("n") < 20, 20), (where("n") == -1, 0)):
            hits = storage.search_text("raven", namespace="t", limit=10, filter=filter)
            assert len(hits) == min(10, matching)
            assert_same_ranking(hits, by_definition(storage, "raven", TextIndex("text"), 10, filter))
