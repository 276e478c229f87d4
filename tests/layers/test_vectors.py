"""The vectors layer, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mycelia_storage import StorageBackend, where
from mycelia_storage.errors import (
    BatchError,
    EmbeddingMismatch,
    IndexFull,
    InvalidFilter,
    InvalidInput,
    InvalidKey,
    InvalidValue,
    KeyExists,
    VersionConflict,
)
from mycelia_storage.layers.vectors import Vectors

SEED = 20_261_121


def some(number: int, dimensions: int = 8) -> np.ndarray:
    return np.random.default_rng(SEED).normal(size=(number, dimensions)).astype(np.float32)


def test_add_get_search_delete(storage: StorageBackend) -> None:
    vectors = Vectors(storage, dimensions=3)
    assert vectors.search([1, 0, 0]) == []
    version = vectors.add("x", [1, 0, 0], {"lang": "en"})
    vectors.add("y", np.array([0, 2, 0]), {"lang": "de"})
    vectors.add("z", np.array([1, 1, 0], dtype="<f4").tobytes())
    stored = vectors.get("x")
    assert stored is not None
    assert (stored.key, stored.metadata, stored.version) == ("x", {"lang": "en"}, version)
    assert stored.vector.tolist() == [1, 0, 0]
    assert vectors.get("w") is None
    found = vectors.search([1, 0, 0], k=2)
    assert [(match.key, round(match.score, 6)) for match in found] == [("x", 1.0), ("z", 0.707107)]
    assert found[0].metadata == {"lang": "en"}
    assert found[1].vector.tolist() == [1, 1, 0]
    assert found.plan["method"]
    assert vectors.delete("x")
    assert not vectors.delete("x")
    assert [match.key for match in vectors.search([1, 0, 0])] == ["z", "y"]
    assert vectors.delete_many(["y", "nobody"]) == 1
    assert vectors.count() == 1


def test_filters_are_about_metadata(storage: StorageBackend) -> None:
    vectors = Vectors(storage, ("agents", "a/1"), 8)
    matrix = some(300)
    vectors.add_many((f"k{n:03}", row, {"lang": "en" if n % 3 else "de", "n": n}) for n, row in enumerate(matrix))
    query = some(1)[0] + 0.5
    cosine = matrix @ query / np.linalg.norm(matrix, axis=1)
    for condition, wanted in (
        (where("lang") == "de", lambda n: n % 3 == 0),
        ({"field": "n", "operator": "lt", "value": 4}, lambda n: n < 4),
        ((where("$metadata.n") >= 290) | ~(where("n") > 2), lambda n: n >= 290 or n <= 2),
        (where("$key").is_in(["k007", "k008"]), lambda n: n in (7, 8)),
        (where("$metadata").exists(), lambda _: True),
        (where("missing") == 1, lambda _: False),
    ):
        best = sorted((n for n in range(300) if wanted(n)), key=lambda n: -cosine[n])[:10]
        found = vectors.search(query, filter=condition)
        assert [match.key for match in found] == [f"k{n:03}" for n in best]
        assert vectors.count(condition) == sum(map(wanted, range(300)))
        assert [match.key for match in vectors.search(query, filter=condition, exact=True)] == [m.key for m in found]
    with pytest.raises(InvalidFilter):
        vectors.search(query, filter={"field": "a..b", "operator": "eq", "value": 1})


def test_threshold_and_metrics(storage: StorageBackend) -> None:
    for metric, scores in (("cosine", [1.0, 0.0]), ("dot", [1.0, 0.0]), ("l2", [0.0, -(5**0.5)])):
        vectors = Vectors(storage, f"m/{metric}", 2, metric)  # type: ignore[arg-type]
        vectors.add_many({"a": [1, 0], "b": [0, 2]})
        found = vectors.search([1, 0])
        assert [match.score for match in found] == pytest.approx(scores)
        assert [match.key for match in vectors.search([1, 0], threshold=scores[0] - 0.1)] == ["a"]
        assert vectors.search([1, 0], threshold=5) == []
    with pytest.raises(InvalidInput):
        vectors.search([1, 0], threshold="near")  # type: ignore[arg-type]


def test_batches_tell_what_is_bad(storage: StorageBackend) -> None:
    vectors = Vectors(storage, "v", 2, max_vectors=4)
    bad: list[Any] = [
        ("short", [1]),
        ("long", [1, 2, 3]),
        ("nan", [1, float("nan")]),
        ("zero", [0, 0]),
        ("word", "ab"),
        ("nothing", None),
        ("matrix", [[1, 2]]),
        ("huge", [10**400, 1]),
        ("", [1, 2]),
        (7, [1, 2]),
        "text",
        {"key": "k"},
        ("meta", [1, 2], "no dict"),
    ]
    with pytest.raises(BatchError) as refused:
        vectors.add_many([("good", [1, 2]), *bad])
    assert len(refused.value.errors) == len(bad)
    assert isinstance(refused.value.errors["v", "nan"], InvalidValue)
    assert vectors.count() == 0
    result = vectors.add_many(
        [("good", [1, 2]), *bad, {"key": "other", "vector": [0, 1], "metadata": {"a": 1}}], atomic=False
    )
    assert result.written == 2
    assert set(result.errors) == set(refused.value.errors)
    assert [match.key for match in vectors.search([1, 2])] == ["good", "other"]
    vectors.add_many({"c": [1, 1], "d": [1, 1]})
    with pytest.raises(IndexFull):
        vectors.add("e", [1, 1])
    vectors.add("d", [2, 1])
    with pytest.raises(InvalidInput):
        vectors.add_many("text")


def test_bad_single_vectors(storage: StorageBackend) -> None:
    vectors = Vectors(storage, "v", 2)
    bad: Any
    for bad in ([1], [1, 2, 3], [1, float("inf")], [0, 0], "ab", None, [[1, 2]], b"12345678901", [[1], [2, 3]]):
        with pytest.raises(InvalidValue):
            vectors.add("k", bad)
        with pytest.raises(InvalidValue):
            vectors.search(bad)
    with pytest.raises(InvalidKey):
        vectors.add("", [1, 2])
    for bad in (-1, None, 1.5):
        with pytest.raises(InvalidInput):
            vectors.search([1, 2], k=bad)
    version = vectors.add("k", [1, 2])
    with pytest.raises(KeyExists):
        vectors.add("k", [1, 2], overwrite=False)
    with pytest.raises(VersionConflict):
        vectors.add("k", [1, 2], if_version=version + 1)
    assert vectors.search([1, 2], k=0) == []
    assert len(vectors.search([1, 2], k=1_000)) == 1


def test_other_dimensions_or_metric_are_refused(storage: StorageBackend) -> None:
    Vectors(storage, "v", 4, max_vectors=10).add("a", [1, 2, 3, 4])
    assert Vectors(storage, "v", 4).index.max_vectors == 10
    for arguments in ((3,), (4, "l2")):
        with pytest.raises(EmbeddingMismatch, match="'v'"):
            Vectors(storage, "v", *arguments)
    wider = Vectors(storage, "v", 4, max_vectors=20)
    wider.rebuild()
    assert wider.stats().index.max_vectors == 20
    assert (wider.stats().vectors, wider.stats().size_bytes) == (1, 16)
    assert [match.key for match in wider.search([1, 2, 3, 4])] == ["a"]
    explained = wider.explain([1, 2, 3, 4], filter=where("a") == 1)
    assert explained["dimensions"] == 4
    assert explained["filtered"]
    assert explained["method"]


def test_in_a_transaction(storage: StorageBackend) -> None:
    vectors = Vectors(storage, "v", 2)
    tx = storage.transaction()
    inside = Vectors(tx, "v", 2)
    inside.add("a", [1, 2])
    inside.add_many({"b": [1, 0]})
    assert [match.key for match in inside.search([1, 2])] == ["a", "b"]
    tx.rollback()
    assert vectors.count() == 0
    with storage.transaction(read_only=True) as snapshot:
        vectors.add("c", [1, 2])
        assert Vectors(snapshot, "v", 2).search([1, 2]) == []
        assert Vectors(snapshot, "never", 2).search([1, 2]) == []
    assert [match.key for match in vectors.search([1, 2])] == ["c"]
