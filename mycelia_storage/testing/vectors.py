"""Vector indexes: declared, kept up in the entry's transaction, searched exactly and with filters."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from ..contract import SearchHits, StorageBackend
from ..errors import BatchError, IndexFull, IndexNotFound, InvalidFilter, InvalidInput, InvalidValue
from ..filters import match, where
from ..indexes import FieldIndex, Metric, VectorIndex
from ..similarity import scores, to_matrix, to_vector
from .fixtures import ContractCase, eventually

SEED = 20_261_121


def packed(*numbers: float) -> bytes:
    """Numbers as a stored vector."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def found(hits: SearchHits) -> list[str]:
    return [hit.key for hit in hits]


def brute_force(
    storage: StorageBackend, query: list[float], index: VectorIndex, limit: int, filter: Any = None
) -> list[tuple[str, float]]:
    """The definition, computed from the entries."""
    entries = [entry for entry in storage.scan(namespace="v") if filter is None or match(filter, entry)]
    if not entries:
        return []
    matrix = to_matrix([entry.value for entry in entries], index.dimensions)
    scored = scores(matrix, to_vector(query, index), index.metric).tolist()
    return sorted(zip([entry.key for entry in entries], scored, strict=True), key=lambda pair: (-pair[1], pair[0]))[
        :limit
    ]


class VectorContract(ContractCase):
    """search_vectors, and what a vector index asks of writes."""

    @pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
    def test_vector_search_scores_and_order(self, storage: StorageBackend, metric: Metric) -> None:
        storage.create_index("v", VectorIndex(2, metric))
        storage.set("right", packed(3, 0), namespace="v", metadata={"side": "r"})
        storage.set("up", packed(0, 2), namespace="v")
        storage.set("also right", packed(3, 0), namespace="v")
        storage.set("diagonal", packed(1, 1), namespace="v")
        hits = storage.search_vectors([1, 0], namespace="v")
        expected = {
            "cosine": [("also right", 1.0), ("right", 1.0), ("diagonal", 0.5**0.5), ("up", 0.0)],
            "dot": [("also right", 3.0), ("right", 3.0), ("diagonal", 1.0), ("up", 0.0)],
            "l2": [("diagonal", -1.0), ("also right", -2.0), ("right", -2.0), ("up", -(5**0.5))],
        }[metric]
        assert found(hits) == [key for key, _ in expected]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=1e-6)
        right = hits[found(hits).index("right")]
        assert right.entry == storage.get_entry("right", namespace="v")
        assert (right.value, right.metadata) == (packed(3, 0), {"side": "r"})

    def test_vector_search_a_vector_is_numbers_or_bytes_or_an_array(self, storage: StorageBackend) -> None:
        import numpy

        storage.create_index("v", VectorIndex(2))
        storage.set("a", packed(1, 2), namespace="v")
        for query in ([1, 2], (1.0, 2.0), packed(1, 2), numpy.array([1, 2]), numpy.array([1.0, 2.0], dtype="f4")):
            assert found(storage.search_vectors(query, namespace="v")) == ["a"]

    @pytest.mark.parametrize(
        "query", [[1], [1, 2, 3], [], None, "ab", [1, "x"], [[1, 2]], 7, [1, float("nan")], [float("inf"), 1], b"12345",
                  [1e39, 0], [0, 0]], ids=repr,
    )  # fmt: skip
    def test_vector_search_bad_queries(self, storage: StorageBackend, query: Any) -> None:
        storage.create_index("v", VectorIndex(2))
        with pytest.raises(InvalidValue):
            storage.search_vectors(query, namespace="v")

    @pytest.mark.parametrize(
        "value", [packed(1), packed(1, 2, 3), b"", b"1234567", packed(1, float("nan")), packed(float("-inf"), 1),
                  packed(0, 0), packed(0.0, -0.0), "text", [1.0, 2.0], None], ids=repr,
    )  # fmt: skip
    def test_vector_search_bad_vectors_are_refused_and_nothing_is_lost(
        self, storage: StorageBackend, value: Any
    ) -> None:
        storage.create_index("v", VectorIndex(2))
        version = storage.set("a", packed(1, 2), namespace="v")
        with pytest.raises(InvalidValue):
            storage.set("a", value, namespace="v")
        tx = storage.transaction()
        tx.set("b", packed(2, 1), namespace="v")
        with pytest.raises(InvalidValue):
            tx.set("c", value, namespace="v")
        tx.rollback()
        with pytest.raises(BatchError) as error:
            storage.set_many({"b": packed(2, 1), "c": value}, namespace="v")
        assert list(error.value.errors) == [("v", "c")]
        result = storage.set_many([("b", packed(2, 1)), ("c", value)], namespace="v", atomic=False)
        assert (result.written, list(result.errors)) == (1, [("v", "c")])
        assert isinstance(result.errors["v", "c"], InvalidValue)
        entry = storage.get_entry("a", namespace="v")
        assert entry is not None
        assert entry.version == version
        with pytest.raises(InvalidValue):
            storage.restore([entry._replace(key="d", value=value)])
        assert storage.list(namespace="v") == ["a", "b"]
        assert found(storage.search_vectors([1, 2], namespace="v")) == ["a", "b"]

    def test_vector_search_tells_whether_anything_is_near(self, storage: StorageBackend) -> None:
        with pytest.raises(IndexNotFound):
            storage.has_near([1, 0], 0.9, namespace="v")
        storage.create_index("v", VectorIndex(2))
        assert not storage.has_near([1, 0], -1.0, namespace="v")
        storage.set("right", packed(3, 0), namespace="v", metadata={"side": "r"})
        storage.set("diagonal", packed(1, 1), namespace="v")
        assert storage.has_near([2, 0], 1.0, namespace="v")
        assert storage.has_near([0, 1], 0.7, namespace="v")
        assert not storage.has_near([0, 1], 0.71, namespace="v")
        assert not storage.has_near([1, 0], 0.9, namespace="v", filter=where("$metadata.side") == "l")
        assert storage.has_near([1, 0], 0.9, namespace="v", filter=where("$metadata.side") == "r")
        with storage.transaction() as tx:
            tx.delete("right", namespace="v")
            assert not tx.has_near([1, 0], 0.9, namespace="v")
            tx.set("up", packed(0, 1), namespace="v")
            assert tx.has_near([0, 1], 0.9, namespace="v")
        assert not storage.has_near([1, 0], 0.9, namespace="v")
        assert storage.has_near([0, 1], 0.9, namespace="v")
        storage.create_index("d", VectorIndex(2, "l2"))
        storage.set("far", packed(3, 4), namespace="d")
        assert storage.has_near([0, 0], -5.0, namespace="d")
        assert not storage.has_near([0, 0], -4.9, namespace="d")
        with pytest.raises(InvalidValue):
            storage.has_near([1, 2, 3], 0.5, namespace="v")

    def test_vector_search_zero_vectors_are_only_without_direction(self, storage: StorageBackend) -> None:
        storage.create_index("v", VectorIndex(2, "l2"))
        storage.create_index("v", VectorIndex(2, "dot"))
        storage.set("zero", packed(0, 0), namespace="v")
        storage.set("one", packed(0, 1), namespace="v")
        assert found(storage.search_vectors([0, 0], namespace="v", index="vector:l2")) == ["zero", "one"]
        assert found(storage.search_vectors([0, 0], namespace="v", index="vector:dot")) == ["one", "zero"]
        with pytest.raises(InvalidInput):
            storage.search_vectors([0, 0], namespace="v")
        with pytest.raises(InvalidValue):
            storage.create_index("v", VectorIndex(2, "cosine"))
        assert list(storage.list_indexes("v")) == ["vector:dot", "vector:l2"]

    def test_vector_search_without_an_index(self, storage: StorageBackend) -> None:
        storage.set("a", packed(1, 2), namespace="v")
        for namespace in ("v", "nowhere"):
            with pytest.raises(IndexNotFound):
                storage.search_vectors([1, 2], namespace=namespace)
        with pytest.raises(IndexNotFound):
            storage.search_vectors([1, 2], namespace="v", index="other")
        assert "nowhere" not in storage.list_namespaces()

    def test_vector_search_an_empty_index_and_limits(self, storage: StorageBackend) -> None:
        storage.create_index("v", VectorIndex(2))
        assert storage.search_vectors([1, 2], namespace="v") == []
        storage.set("a", packed(1, 2), namespace="v")
        assert found(storage.search_vectors([1, 2], namespace="v", limit=1_000)) == ["a"]
        assert storage.search_vectors([1, 2], namespace="v", limit=0) == []
        for bad in (-1, None, 1.5, True):
            with pytest.raises(InvalidInput):
                storage.search_vectors([1, 2], namespace="v", limit=bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidFilter):
            storage.search_vectors([1, 2], namespace="v", filter={"field": "a..b", "operator": "eq", "value": 1})

    def test_vector_search_existing_entries_are_indexed_or_refused(self, storage: StorageBackend) -> None:
        storage.set_many({"a": packed(1, 2), "b": packed(2, 1)}, namespace="v")
        assert storage.create_index("v", VectorIndex(2)) == "vector:cosine"
        assert found(storage.search_vectors([2, 1], namespace="v")) == ["b", "a"]
        with pytest.raises(InvalidValue):
            storage.create_index("v", VectorIndex(3), name="other")
        with pytest.raises(IndexFull):
            storage.create_index("v", VectorIndex(2, max_vectors=1), name="small")
        storage.set("words", {"a": 1}, namespace="w")
        with pytest.raises(InvalidValue):
            storage.create_index("w", VectorIndex(2))
        assert list(storage.list_indexes("v")) == ["vector:cosine"]
        assert storage.list_indexes("w") == {}

    def test_vector_search_max_vectors(self, storage: StorageBackend) -> None:
        storage.create_index("v", VectorIndex(2, max_vectors=2))
        storage.set_many({"a": packed(1, 2), "b": packed(2, 1)}, namespace="v")
        with pytest.raises(IndexFull):
            storage.set("c", packed(1, 1), namespace="v")
        storage.set("b", packed(3, 1), namespace="v")
        result = storage.set_many({"a": packed(1, 1), "c": packed(1, 1)}, namespace="v", atomic=False)
        assert result.written == 1
        assert isinstance(result.errors["v", "c"], IndexFull)
        with pytest.raises(BatchError):
            storage.set_many({"a": packed(1, 1), "c": packed(1, 1)}, namespace="v")
        storage.delete("a", namespace="v")
        storage.set("c", packed(1, 1), namespace="v", ttl=0.01)
        eventually(lambda: not storage.has("c", namespace="v"))
        storage.set("d", packed(1, 1), namespace="v")
        assert sorted(found(storage.search_vectors([1, 1], namespace="v"))) == ["b", "d"]

    def test_vector_search_every_write_is_seen(self, storage: StorageBackend) -> None:
        storage.create_index("v", VectorIndex(2))

        def nearest() -> list[str]:
            return found(storage.search_vectors([1, 0], namespace="v"))

        storage.set("a", packed(1, 0), namespace="v")
        storage.set("b", packed(0, 1), namespace="v")
        assert nearest() == ["a", "b"]
        storage.set("a", packed(-1, 0), namespace="v")
        assert nearest() == ["b", "a"]
        storage.set_metadata("a", {"n": 1}, namespace="v")
        assert storage.search_vectors([1, 0], namespace="v")[1].metadata == {"n": 1}
        storage.delete("b", namespace="v")
        assert nearest() == ["a"]
        storage.set_many({"b": packed(1, 0), "c": packed(1, 1)}, namespace="v")
        assert nearest() == ["b", "c", "a"]
        storage.delete_many(["b", "c"], namespace="v")
        assert nearest() == ["a"]
        entry = storage.get_entry("a", namespace="v")
        assert entry is not None
        storage.restore([entry._replace(key="r", value=packed(1, 0))])
        assert nearest() == ["r", "a"]
        storage.clear(namespace="v")
        assert nearest() == []
        storage.set("z", packed(1, 0), namespace="v")
        assert nearest() == ["z"]
        storage.clear()
        assert nearest() == []

    def test_vector_search_expired_entries_are_not_found(self, storage: StorageBackend) -> None:
        storage.create_index("v", VectorIndex(2))
        storage.set("short", packed(1, 0), namespace="v", ttl=0.02)
        storage.set("long", packed(0, 1), namespace="v", ttl=1_000)
        eventually(lambda: not storage.has("short", namespace="v"))
        assert found(storage.search_vectors([1, 0], namespace="v", limit=1)) == ["long"]

    def test_vector_search_dropping_and_deleting(self, storage: StorageBackend) -> None:
        storage.create_index("v", VectorIndex(2))
        storage.set("a", packed(1, 0), namespace="v")
        assert found(storage.search_vectors([1, 0], namespace="v")) == ["a"]
        assert storage.drop_index("v", "vector:cosine") is True
        with pytest.raises(IndexNotFound):
            storage.search_vectors([1, 0], namespace="v")
        storage.set("b", packed(1, 0, 0), namespace="v")
        storage.delete("a", namespace="v")
        storage.create_index("v", VectorIndex(3))
        assert found(storage.search_vectors([1, 0, 0], namespace="v")) == ["b"]
        storage.delete_namespace("v", recursive=True)
        with pytest.raises(IndexNotFound):
            storage.search_vectors([1, 0, 0], namespace="v")
        storage.create_index("v", VectorIndex(2))
        assert storage.search_vectors([1, 0], namespace="v") == []
        storage.set("c", packed(0, 1), namespace="v")
        assert found(storage.search_vectors([1, 0], namespace="v")) == ["c"]

    def test_vector_search_leaves_the_tracking_of_changes_alone(self, storage: StorageBackend) -> None:
        storage.create_namespace("v", track_changes=True)
        storage.create_namespace("plain")
        for name in ("v", "plain"):
            storage.create_index(name, VectorIndex(2))
            storage.create_index(name, FieldIndex("x"))
        storage.set("a", packed(1, 0), namespace="v")
        storage.drop_index("v", "x")
        storage.set_many({"b": packed(1, 0)}, namespace="v")
        storage.drop_index("v", "vector:cosine")
        storage.delete("a", namespace="v")
        storage.set("c", packed(1, 0), namespace="plain")
        storage.drop_index("plain", "x")
        storage.drop_index("plain", "vector:cosine")
        storage.set("d", 1, namespace="plain")
        found = [(change.namespace, change.operation, change.key) for change in storage.changes().changes]
        assert found == [("v", "set", "a"), ("v", "set", "b"), ("v", "delete", "a")]
        tracked, plain = storage.get_namespace("v"), storage.get_namespace("plain")
        assert tracked is not None
        assert plain is not None
        assert (tracked.track_changes, plain.track_changes) == (True, False)

    def test_vector_search_transactions_and_snapshots(self, storage: StorageBackend) -> None:
        storage.create_index("v", VectorIndex(2))
        storage.set_many({"a": packed(1, 0), "b": packed(0, 1)}, namespace="v")

        def nearest(where: StorageBackend) -> list[str]:
            return found(where.search_vectors([1, 0], namespace="v"))

        assert nearest(storage) == ["a", "b"]
        snapshot = storage.transaction(read_only=True)
        tx = storage.transaction()
        tx.set("c", packed(2, 0.1), namespace="v")
        tx.set("a", packed(-1, 0), namespace="v")
        assert nearest(tx) == ["c", "b", "a"]
        inner = tx.transaction()
        inner.delete("c", namespace="v")
        inner.set("d", packed(1, 0), namespace="v")
        assert nearest(inner) == ["d", "b", "a"]
        inner.rollback()
        assert nearest(tx) == ["c", "b", "a"]
        assert nearest(storage) == ["a", "b"]
        tx.clear(namespace="v")
        assert nearest(tx) == []
        tx.rollback()
        assert nearest(storage) == ["a", "b"]
        with storage.transaction() as tx:
            tx.set("c", packed(2, 0.1), namespace="v")
            tx.set("words", "beside it", namespace="v/beside")
            tx.delete("a", namespace="v")
        assert nearest(storage) == ["c", "b"]
        assert nearest(snapshot) == ["a", "b"]
        snapshot.rollback()
        with storage.transaction() as tx:
            tx.create_index("made inside", VectorIndex(2))
            tx.set("x", packed(1, 1), namespace="made inside")
            assert found(tx.search_vectors([1, 0], namespace="made inside")) == ["x"]
        assert found(storage.search_vectors([1, 0], namespace="made inside")) == ["x"]

    @pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
    def test_vector_search_the_same_as_by_brute_force(self, storage: StorageBackend, metric: Metric) -> None:
        random = Random(SEED)
        index = VectorIndex(8, metric)
        storage.create_index("v", index)

        def some() -> bytes:
            return packed(*(random.gauss(1, 1) for _ in range(8)))

        for step in range(40):
            key = f"k{random.randrange(60)}"
            action = random.choice(["set", "many", "delete", "metadata"])
            if action == "set":
                storage.set(key, some(), namespace="v", metadata={"n": step % 7})
            elif action == "many":
                batch = {f"k{random.randrange(60)}": some() for _ in range(10)}
                storage.set_many(batch, namespace="v", metadata={"n": step % 5, "s": str(step)})
            elif action == "delete":
                storage.delete(key, namespace="v")
            elif storage.has(key, namespace="v"):
                storage.set_metadata(key, {"n": 3}, namespace="v")
            query = [random.gauss(0, 1) for _ in range(8)]
            for filter in (None, where("$metadata.n") == 3, (where("$metadata.n") < 2) | (where("$key") > "k4")):
                for exact in (None, True):
                    hits = storage.search_vectors(query, namespace="v", limit=5, filter=filter, exact=exact)
                    expected = brute_force(storage, query, index, 5, filter)
                    assert [(hit.key, hit.score) for hit in hits] == expected, f"seed {SEED}, step {step}"

    @pytest.mark.parametrize("share", [2, 20, 200])
    def test_vector_search_filtered_searches_never_fall_short(self, storage: StorageBackend, share: int) -> None:
        random = Random(SEED)
        index = VectorIndex(16)
        storage.create_index("v", index)
        items = [
            {
                "key": f"k{number}",
                "value": packed(*(random.gauss(0, 1) for _ in range(16))),
                "metadata": {"group": number % share, "even": number % 2 == 0},
            }
            for number in range(3_000)
        ]
        storage.set_many(items, namespace="v")
        self.compare_filtered(storage, index, random, where("$metadata.group") == 1, 3_000 // share)
        storage.delete_many([f"k{number}" for number in range(0, 3_000, 3)], namespace="v")
        self.compare_filtered(storage, index, random, where("$metadata.group") == 1, None)
        nothing = where("$metadata.group") == share
        assert storage.search_vectors([1.0] * 16, namespace="v", filter=nothing) == []

    def compare_filtered(
        self, storage: StorageBackend, index: VectorIndex, random: Random, filter: Any, matching: int | None
    ) -> None:
        agreed = wanted = 0
        for _ in range(5):
            query = [random.gauss(0, 1) for _ in range(16)]
            expected = brute_force(storage, query, index, 20, filter)
            exact = storage.search_vectors(query, namespace="v", limit=20, filter=filter, exact=True)
            assert [(hit.key, hit.score) for hit in exact] == expected
            hits = storage.search_vectors(query, namespace="v", limit=20, filter=filter)
            assert len(hits) == len(expected)
            assert {hit.score for hit in hits} <= {hit.score for hit in storage.search_vectors(
                query, namespace="v", limit=3_000, filter=filter, exact=True)}  # fmt: skip
            agreed += len({hit.key for hit in hits} & {key for key, _ in expected})
            wanted += len(expected)
            if matching is not None:
                assert len(expected) == min(20, matching)
        assert agreed >= 0.95 * wanted

    def test_vector_search_other_namespaces_are_their_own(self, storage: StorageBackend) -> None:
        for name in ("v", "v/below", "w"):
            storage.create_index(name, VectorIndex(2))
            storage.set(f"of {name}", packed(1, 0), namespace=name)
        for name in ("v", "v/below", "w"):
            assert found(storage.search_vectors([1, 0], namespace=name)) == [f"of {name}"]

    def test_vector_search_it_comes_with_a_plan(self, storage: StorageBackend) -> None:
        storage.create_index("v", VectorIndex(2))
        storage.set("a", packed(1, 0), namespace="v")
        hits = storage.search_vectors([1, 0], namespace="v", exact=True)
        assert hits.plan["method"] == "exact"

    def test_vector_search_threads_search_while_others_write(self, open_storage: Callable[..., StorageBackend]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        with open_storage() as storage:
            storage.create_index("v", VectorIndex(4))
            storage.set("fixed", packed(1, 0, 0, 0), namespace="v")

            def write(worker: int) -> None:
                random = Random(SEED + worker)
                for number in range(30):
                    storage.set(
                        f"w{worker}-{number}", packed(0, *(random.gauss(0, 1) for _ in range(3))), namespace="v"
                    )
                    hits = storage.search_vectors([0, 1, 1, 1], namespace="v", limit=1_000)
                    assert f"w{worker}-{number}" in found(hits)

            def read() -> None:
                for _ in range(30):
                    assert storage.search_vectors([1, 0, 0, 0], namespace="v", limit=1)[0].key == "fixed"

            with ThreadPoolExecutor(4) as pool:
                for done in [pool.submit(write, 1), pool.submit(write, 2), pool.submit(read), pool.submit(read)]:
                    done.result()
            assert storage.check().ok
