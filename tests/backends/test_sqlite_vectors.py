"""Vector search on SQLite: codes that are kept, caught up and made anew, graphs, and life without faiss."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import apsw
import numpy
import pytest

from mycelia_storage import SQLiteStorageBackend, StorageBackend, VectorIndex, where
from mycelia_storage.nearest import index as nearest_index, key_ranges, scan
from mycelia_storage.testing.fixtures import eventually

SEED = 20_261_121
DIMENSIONS = 64
Open = Callable[..., SQLiteStorageBackend]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "vectors.db")


@pytest.fixture
def reopen(path: str) -> Open:
    def open_storage(**options: Any) -> SQLiteStorageBackend:
        return SQLiteStorageBackend({"dbPath": path, "vectors_compared": 0, **options})

    return open_storage


def vectors(count: int, seed: int = SEED, about: float = 0.0) -> list[bytes]:
    rng = numpy.random.default_rng(seed)
    centres = rng.normal(size=(20, DIMENSIONS))
    found = centres[rng.integers(0, 20, count)] + 0.5 * rng.normal(size=(count, DIMENSIONS)) + about
    return [vector.tobytes() for vector in found.astype("<f4")]


def filled(storage: SQLiteStorageBackend, count: int = 3_000, **options: Any) -> None:
    storage.create_index("v", VectorIndex(DIMENSIONS, **options))
    items = [
        {"key": f"k{number:05}", "value": vector, "metadata": {"tenth": number % 10, "rare": number % 200}}
        for number, vector in enumerate(vectors(count))
    ]
    storage.set_many(items, namespace="v")


def recall(storage: StorageBackend, filter: Any = None, queries: int = 20) -> float:
    agreed = wanted = 0
    for query in vectors(queries, SEED + 1):
        exact = storage.search_vectors(query, namespace="v", filter=filter, exact=True)
        near = storage.search_vectors(query, namespace="v", filter=filter)
        assert len(near) == len(exact)
        agreed += len({hit.key for hit in near} & {hit.key for hit in exact})
        wanted += len(exact)
    return agreed / wanted


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_codes_find_what_an_exact_search_finds(reopen: Open, metric: str) -> None:
    with closing(reopen()) as storage:
        filled(storage, metric=metric)
        assert recall(storage) >= 0.95
        for share in (where("$metadata.tenth") < 5, where("$metadata.tenth") == 3, where("$metadata.rare") == 7):
            assert recall(storage, share) >= 0.95
        plan = storage.search_vectors(vectors(1)[0], namespace="v").plan
        assert plan["method"] == "scan"
        assert plan["vectors"] == 3_000
        assert plan["rescored"] < 3_000


@pytest.mark.parametrize("kind", ["of many norms", "in one dimension"])
def test_codes_find_the_nearest_of_data_that_they_tell_apart_badly(reopen: Open, kind: str) -> None:
    rng = numpy.random.default_rng(SEED)
    found = numpy.frombuffer(b"".join(vectors(20_020)), dtype="<f4").reshape(-1, DIMENSIONS).copy()
    if kind == "of many norms":
        found *= rng.lognormal(0, 0.7, (len(found), 1)).astype(numpy.float32)
    elif kind == "in one dimension":
        found[:, 3] *= 1_000
    with closing(reopen()) as storage:
        storage.create_index("v", VectorIndex(DIMENSIONS, "l2"))
        storage.set_many(((f"k{at}", row.tobytes()) for at, row in enumerate(found[:20_000])), namespace="v")
        agreed = 0
        for query in found[20_000:]:
            exact = storage.search_vectors(query, namespace="v", exact=True)
            near = storage.search_vectors(query, namespace="v")
            agreed += len({hit.key for hit in near} & {hit.key for hit in exact})
        assert agreed >= 0.95 * 200, f"seed {SEED}"


def test_saved_codes_spare_a_new_process_the_work(reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(reopen()) as storage:
        filled(storage)
        query = vectors(1, 5)[0]
        before = list(storage.search_vectors(query, namespace="v"))
    with closing(reopen()) as storage:
        monkeypatch.setattr(nearest_index.NearestIndex, "_rebuild", None)  # not to be called
        assert list(storage.search_vectors(query, namespace="v")) == before
        storage.set("new", query, namespace="v")
        assert storage.search_vectors(query, namespace="v")[0].key == "new"
        storage.delete("k00007", namespace="v")
        assert recall(storage) >= 0.95
        assert storage.check().ok


def test_optimize_makes_and_saves_codes_that_nobody_asked_for_yet(reopen: Open, path: str) -> None:
    with closing(reopen()) as storage:
        filled(storage)
        storage.optimize()
        assert storage.check().ok
    with closing(apsw.Connection(path)) as database:
        assert database.execute("SELECT count(*) FROM storage_vector_codes WHERE part = 0").get == 1


def test_the_log_is_kept_short(reopen: Open, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mycelia_storage.backends.sqlite.vector_codes._KEPT", 10)
    with closing(reopen()) as behind, closing(reopen()) as storage:
        filled(storage)
        assert recall(behind) >= 0.95
        for about in (1, 2):
            storage.set_many(
                {f"k{number:05}": vector for number, vector in enumerate(vectors(1_500, about))}, namespace="v"
            )
            storage.optimize()
        with closing(apsw.Connection(path)) as database:
            assert database.execute("SELECT count(*) FROM storage_vector_log").get <= 11
        assert recall(behind) >= 0.95
        assert recall(storage) >= 0.95


def test_codes_that_were_damaged_are_made_anew(reopen: Open, path: str) -> None:
    with closing(reopen()) as storage:
        filled(storage)
        storage.optimize()
    with closing(apsw.Connection(path)) as database:
        database.execute("UPDATE storage_vector_codes SET data = zeroblob(length(data))")
    with closing(reopen()) as storage:
        assert recall(storage) >= 0.95
    with closing(apsw.Connection(path)) as database:
        assert any(database.execute("SELECT data FROM storage_vector_codes WHERE part = 0").get)
    with closing(reopen()) as storage, pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_index.NearestIndex, "_rebuild", None)  # not to be called
        assert recall(storage) >= 0.95


def test_check_finds_what_codes_and_log_say_wrongly(reopen: Open, path: str) -> None:
    with closing(reopen()) as storage:
        filled(storage)
        storage.optimize()
        assert storage.check().problems == []
    other = vectors(1, 99)[0]
    with closing(apsw.Connection(path)) as database:
        database.execute("UPDATE storage_entries SET value = ? WHERE key = 'k00000'", (other,))
        for number in range(0, 3_000, 15):
            database.execute("UPDATE storage_entries SET value = ? WHERE key = ?", (other, f"k{number:05}"))
    with closing(reopen()) as storage:
        assert any("codes are not those of their vectors" in problem for problem in storage.check().problems)
    with closing(apsw.Connection(path)) as database:
        database.execute("DELETE FROM storage_entries WHERE key = 'k00003'")
    with closing(reopen()) as storage:
        assert any("counts 3000 vectors, and there are 2999" in problem for problem in storage.check().problems)


def test_vectors_that_wander_off_get_new_codes(reopen: Open) -> None:
    with closing(reopen()) as storage:
        storage.create_index("v", VectorIndex(DIMENSIONS, "l2"))
        for step in range(6):
            batch = {f"{step}-{number}": vector for number, vector in enumerate(vectors(400, step, about=3.0 * step))}
            storage.set_many(batch, namespace="v")
            storage.search_vectors(vectors(1)[0], namespace="v")
        codes = next(iter(storage._nearest.values())).vectors
        assert isinstance(codes, scan.ScanCodes)
        assert not codes.has_drifted()
        for step in range(6):
            query = vectors(3, step + 50, about=3.0 * step)[2]
            exact = storage.search_vectors(query, namespace="v", exact=True)
            near = storage.search_vectors(query, namespace="v")
            assert len({hit.key for hit in near} & {hit.key for hit in exact}) >= 9


def test_an_old_snapshot_sees_its_own_moment(reopen: Open) -> None:
    with closing(reopen()) as storage:
        filled(storage, 500)
        query = vectors(1, 5)[0]
        snapshot = storage.transaction(read_only=True)
        before = list(storage.search_vectors(query, namespace="v", limit=500))
        storage.set_many({f"k{number:05}": vector for number, vector in enumerate(vectors(250, 8))}, namespace="v")
        storage.set("nearest", query, namespace="v")
        assert storage.search_vectors(query, namespace="v")[0].key == "nearest"
        assert list(snapshot.search_vectors(query, namespace="v", limit=500)) == before
        snapshot.rollback()
        snapshot = storage.transaction(read_only=True)
        storage.clear(namespace="v")
        assert storage.search_vectors(query, namespace="v") == []
        assert snapshot.search_vectors(query, namespace="v")[0].key == "nearest"
        snapshot.rollback()


def test_what_was_rolled_back_never_enters_the_index(reopen: Open) -> None:
    with closing(reopen()) as storage:
        filled(storage, 500)
        query = vectors(1, 5)[0]
        for _ in range(2):
            tx = storage.transaction()
            tx.set("undone", query, namespace="v")
            assert tx.search_vectors(query, namespace="v")[0].key == "undone"
            tx.rollback()
            assert storage.search_vectors(query, namespace="v")[0].key != "undone"
        storage.set("done", query, namespace="v")
        assert storage.search_vectors(query, namespace="v")[0].key == "done"


def test_without_faiss_the_answers_are_the_exact_ones(reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scan, nearest_index):
        monkeypatch.setattr(module, "load_faiss", lambda: None)
    with closing(reopen()) as storage:
        filled(storage, index="hnsw")
        assert recall(storage) == 1
        assert recall(storage, where("$metadata.rare") == 7) == 1
        assert storage.search_vectors(vectors(1)[0], namespace="v").plan["method"] == "exact"


def test_without_faiss_very_many_are_read_at_each_search(reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scan, nearest_index):
        monkeypatch.setattr(module, "load_faiss", lambda: None)
    with closing(reopen()) as storage:
        filled(storage, 500)
        query = vectors(1, 5)[0]
        kept = list(storage.search_vectors(query, namespace="v", filter=where("$metadata.rare") == 7))
        for index in storage._nearest.values():
            index.settings = index.settings._replace(largest_resident=499 * DIMENSIONS)
        storage.set("nearest", query, namespace="v", metadata={"rare": 7})
        hits = storage.search_vectors(query, namespace="v", filter=where("$metadata.rare") == 7)
        assert [hit.key for hit in hits] == ["nearest", *(hit.key for hit in kept)]
        assert hits.plan == {"method": "exact", "vectors": 501, "compared": 4}


def test_few_vectors_are_compared_exactly(reopen: Open) -> None:
    with closing(reopen(vectors_compared=100 * DIMENSIONS)) as storage:
        filled(storage, 100)
        assert storage.search_vectors(vectors(1)[0], namespace="v").plan["method"] == "exact"
        storage.set("one more", vectors(1, 5)[0], namespace="v")
        assert storage.search_vectors(vectors(1)[0], namespace="v").plan["method"] == "scan"


def test_a_graph_is_built_in_the_background_and_kept(reopen: Open) -> None:
    query = vectors(1, 5)[0]
    with closing(reopen(vectors_linked=1_000)) as storage:
        filled(storage, index="hnsw", ef=100)
        assert storage.search_vectors(query, namespace="v").plan["method"] == "scan"
        eventually(lambda: storage.search_vectors(query, namespace="v").plan["method"] == "hnsw")
        assert recall(storage) >= 0.95
        assert recall(storage, where("$metadata.rare") == 7) >= 0.95
        storage.set("one more", query, namespace="v")
        assert storage.search_vectors(query, namespace="v")[0].key == "one more"
        storage.set_many({f"n{number}": vector for number, vector in enumerate(vectors(100, 9))}, namespace="v")
        hits = storage.search_vectors(vectors(100, 9)[50], namespace="v")
        assert (hits[0].key, hits.plan["method"]) == ("n50", "hnsw")
        storage.delete("one more", namespace="v")
        assert storage.search_vectors(query, namespace="v")[0].key != "one more"
    with closing(reopen(vectors_linked=1_000)) as storage:
        assert storage.search_vectors(query, namespace="v").plan["method"] == "hnsw"
        assert recall(storage) >= 0.95
        assert storage.check().ok


def test_many_fields_and_values_in_filters(reopen: Open) -> None:
    with closing(reopen()) as storage:
        storage.create_index("v", VectorIndex(2))
        random = Random(SEED)
        items = [
            {
                "key": f"k{number}",
                "value": struct.pack("<2f", random.gauss(0, 1), 1),
                "metadata": {"n": number, "s": f"t{number}"},
            }
            for number in range(300)
        ]
        storage.set_many(items, namespace="v")
        for filter, matching in (
            (where("$metadata.n") >= 290, 10),
            (where("$metadata.s") == "t7", 1),
            (where("$key").starts_with("k29"), 11),
            (where("value") == 1, 0),
            (where("$created_at") > 0, 300),
            (~(where("$metadata.n") < 295), 5),
        ):
            assert len(storage.search_vectors([0, 1], namespace="v", limit=300, filter=filter)) == matching
        storage.set_metadata("k5", {"n": 1_000}, namespace="v")
        assert len(storage.search_vectors([0, 1], namespace="v", limit=300, filter=where("$metadata.n") >= 290)) == 11


# -- ranges of keys ----------------------------------------------------------------------------------------------------


def test_a_range_of_keys_that_was_asked_for_is_led_on_by_the_changes(
    reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, given = Random(SEED), vectors(4_000)
    monkeypatch.setattr(key_ranges, "MOST_RANGES", 3)
    with closing(reopen()) as storage, closing(reopen()) as other:
        storage.create_index("v", VectorIndex(DIMENSIONS))
        storage.set_many(((f"room{at % 5}/{at:04}", each) for at, each in enumerate(given[:2_000])), namespace="v")
        for step in range(120):
            writer = random.choice((storage, other))
            key = f"room{random.randrange(5)}/{random.randrange(2_400):04}"
            match random.randrange(4):
                case 0:
                    writer.delete(key, namespace="v")
                case 1:
                    writer.set_metadata(random.choice(writer.list(namespace="v")), {"step": step}, namespace="v")
                case _:
                    writer.set(key, random.choice(given), namespace="v")
            condition = where("$key").starts_with(f"room{random.randrange(5)}/")
            if step % 3 == 0:
                condition &= where("$metadata.step") < 60
            query = random.choice(given)
            with storage.transaction() as tx:
                tx.set("room1/mine", query, namespace="v", metadata={"step": 1})
                for view in (storage, tx):
                    exact = view.search_vectors(query, namespace="v", filter=condition, exact=True)
                    near = view.search_vectors(query, namespace="v", filter=condition)
                    assert [hit.key for hit in near][:3] == [hit.key for hit in exact][:3], f"seed {SEED}, step {step}"
                    assert len(near) == len(exact)
                tx.rollback()


def test_a_second_search_in_a_range_does_not_ask_for_its_keys(reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from mycelia_storage.backends.sqlite.vector_search import SQLiteVectors

    with closing(reopen()) as storage:
        filled(storage)
        query, within = vectors(1, 5)[0], where("$key").starts_with("k002")
        first = list(storage.search_vectors(query, namespace="v", filter=within))
        monkeypatch.setattr(SQLiteVectors, "matching", None)  # not to be called
        assert list(storage.search_vectors(query, namespace="v", filter=within)) == first
        storage.set("k00299 new", query, namespace="v")
        storage.set("k00300 other", query, namespace="v")
        hits = storage.search_vectors(query, namespace="v", filter=within)
        assert [hit.key for hit in hits][:2] == ["k00299 new", first[0].key]


# -- whether anything is near ------------------------------------------------------------------------------------------


def near_to(vector: bytes, cosine: float, seed: int) -> Any:
    """A vector at that cosine."""
    unit = numpy.frombuffer(vector, dtype="<f4").astype(numpy.float64)
    unit /= numpy.linalg.norm(unit)
    away = numpy.random.default_rng(seed).normal(size=len(unit))
    away -= away @ unit * unit
    return cosine * unit + (1 - cosine**2) ** 0.5 * away / numpy.linalg.norm(away)


@pytest.mark.parametrize("compared", [0, 10_000_000], ids=["codes", "in memory"])
@pytest.mark.parametrize("kind", ["alike", "of many norms", "in one dimension", "one cloud"])
def test_whether_anything_is_near_is_told_right(reopen: Open, kind: str, compared: int) -> None:
    rng = numpy.random.default_rng(SEED)
    found = numpy.frombuffer(b"".join(vectors(3_000)), dtype="<f4").reshape(-1, DIMENSIONS).copy()
    if kind == "of many norms":
        found *= rng.lognormal(0, 1.5, (len(found), 1)).astype(numpy.float32)
    elif kind == "in one dimension":
        found[:, 3] *= 30
    elif kind == "one cloud":
        found = (rng.normal(size=DIMENSIONS) + 0.35 * rng.normal(size=found.shape)).astype("<f4")
    with closing(reopen(vectors_compared=compared)) as storage:
        storage.create_index("v", VectorIndex(DIMENSIONS))
        items = [{"key": f"k{at}", "value": row.tobytes(), "metadata": {"n": at % 5}} for at, row in enumerate(found)]
        storage.set_many(items, namespace="v")
        for number in range(60):
            at = int(rng.integers(len(found)))
            cosine = (0.8, 0.93, 0.949, 0.951, 0.97, 1.0)[number % 6]
            query = near_to(found[at].tobytes(), cosine, number)
            wanted = where("$metadata.n") == (at + number % 2) % 5 if number % 3 else None
            best = storage.search_vectors(query, namespace="v", limit=1, filter=wanted, exact=True)[0].score
            near = storage.has_near(query, 0.95, namespace="v", filter=wanted)
            assert near == (best >= 0.95), f"{kind}, query {number}"


@pytest.mark.parametrize("compared", [0, 10_000_000], ids=["codes", "in memory"])
def test_nothing_near_is_told_without_a_search(reopen: Open, monkeypatch: pytest.MonkeyPatch, compared: int) -> None:
    from mycelia_storage.backends.sqlite import vector_search

    with closing(reopen(vectors_compared=compared)) as storage:
        filled(storage, 3_000)
        strange, known = vectors(1, 77, about=-9.0)[0], vectors(3_000)[0]
        monkeypatch.setattr(vector_search, "search", None)  # not to be called
        assert not storage.has_near(strange, 0.95, namespace="v")
        assert storage.has_near(known, 0.95, namespace="v")
        assert not storage.has_near(known, 0.95, namespace="v", filter=where("$metadata.tenth") == 1)
        with storage.transaction() as tx:
            tx.delete("k00000", namespace="v")
            tx.set("strange", strange, namespace="v", metadata={"tenth": 1})
            assert not tx.has_near(known, 0.95, namespace="v")
            assert tx.has_near(strange, 0.95, namespace="v", filter=where("$metadata.tenth") == 1)
        assert not storage.has_near(known, 0.95, namespace="v")
        assert storage.has_near(strange, 0.95, namespace="v")


def test_where_very_many_are_near_a_search_with_the_filter_tells(reopen: Open) -> None:
    with closing(reopen()) as storage:
        filled(storage, 2_000)
        vector = vectors(1, 77)[0]
        storage.set_many(
            [{"key": f"same{at}", "value": vector, "metadata": {"same": at}} for at in range(500)], namespace="v"
        )
        for at in (0, 250, 499):
            assert storage.has_near(vector, 0.95, namespace="v", filter=where("$metadata.same") == at)
        assert not storage.has_near(vector, 0.95, namespace="v", filter=where("$metadata.same") == 500)
