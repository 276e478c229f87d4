"""Vector indexes of memory and RocksDB: their log, what is remembered beside it, and the codes that RocksDB keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import numpy
import pytest

from mycelia_storage import MemoryStorageBackend, RocksDBStorageBackend
from mycelia_storage.backends.memory.state import MemoryState
from mycelia_storage.backends.rocksdb import layout, vector_codes
from mycelia_storage.backends.rocksdb.space import RocksDBSpace
from mycelia_storage.backends.rocksdb.view import View
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import IndexNotFound, InvalidConfig, StorageBusy, StorageFull
from mycelia_storage.filters import where
from mycelia_storage.indexes import VectorIndex
from mycelia_storage.nearest import index as nearest_index, scan
from mycelia_storage.nearest.index import NearestIndex
from mycelia_storage.nearest.scan import ScanCodes
from mycelia_storage.states import state as states
from mycelia_storage.states.storage import StateStorage
from mycelia_storage.testing.fixtures import eventually

SEED = 20_261_121
DIMENSIONS = 8
INDEX = VectorIndex(DIMENSIONS)
NAME = INDEX.default_name


@pytest.fixture(params=["memory", "rocksdb"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStorage]:
    options: dict[str, Any] = {"vectors_compared": 0}
    memory = request.param == "memory"
    with MemoryStorageBackend(options) if memory else RocksDBStorageBackend(tmp_path / "s", **options) as opened:
        yield opened


def vector(random: Random) -> bytes:
    return numpy.array([random.gauss(0.5, 1) for _ in range(DIMENSIONS)], dtype="<f4").tobytes()


def vectors(random: Random, number: int, first: int = 0) -> dict[str, bytes]:
    return {f"k{place:04}": vector(random) for place in range(first, first + number)}


def assert_as_defined(storage: StorageBackend, random: Random, filter: Any = None) -> None:
    query = vector(random)
    wanted = StorageBackend.search_vectors(storage, query, namespace="v", limit=7, filter=filter)
    for exact in (None, True):
        found = storage.search_vectors(query, namespace="v", limit=7, filter=filter, exact=exact)
        assert [(hit.key, hit.score, hit.entry) for hit in found] == [(hit.key, hit.score, hit.entry) for hit in wanted]


@pytest.mark.parametrize("kept", [3, 10_000])
def test_every_view_finds_what_it_sees(storage: StateStorage, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(states, "VECTOR_CHANGES_KEPT", kept)
    monkeypatch.setattr(states, "_FORGOTTEN_AT_ONCE", 1)
    random = Random(SEED)
    storage.create_index("v", INDEX)
    snapshots: list[Any] = []
    for step in range(120):
        action = random.choice(["set", "many", "delete", "short", "tx", "undone", "clear", "metadata", "snapshot"])
        key = f"k{random.randrange(40):04}"
        if action == "set":
            storage.set(key, vector(random), namespace="v", metadata={"n": step % 3})
        elif action == "many":
            storage.set_many(vectors(random, 12, random.randrange(30)), namespace="v", metadata={"n": step % 4})
        elif action == "delete":
            storage.delete_many([key, f"k{random.randrange(40):04}"], namespace="v")
        elif action == "short":
            storage.set(key, vector(random), namespace="v", ttl=0.001)
            eventually(lambda key=key: not storage.has(key, namespace="v"))  # type: ignore[misc]
        elif action in ("tx", "undone"):
            tx = storage.transaction()
            tx.set(key, vector(random), namespace="v")
            if random.random() < 0.3:
                tx.clear(namespace="v")
            tx.set_many(vectors(random, 4, random.randrange(40)), namespace="v")
            assert_as_defined(tx, random)
            tx.commit() if action == "tx" else tx.rollback()
        elif action == "clear" and random.random() < 0.3:
            storage.clear(namespace="v")
        elif action == "metadata" and storage.has(key, namespace="v"):
            storage.set_metadata(key, {"n": 1}, namespace="v")
        elif action == "snapshot":
            snapshots.append(storage.transaction(read_only=True))
        assert_as_defined(storage, random, where("$metadata.n") == 1 if step % 2 else None)
        for snapshot in snapshots[-3:]:
            assert_as_defined(snapshot, random)
    assert storage.check().problems == []
    for snapshot in snapshots:
        snapshot.rollback()


def test_a_new_index_is_never_taken_for_an_old_one(storage: StateStorage) -> None:
    random = Random(SEED)
    storage.create_index("v", INDEX)
    storage.set_many(vectors(random, 30), namespace="v")
    old = storage.transaction(read_only=True)
    assert_as_defined(storage, random)
    for _ in range(3):
        # Dropped, changed without it, and made anew over what is there.
        storage.drop_index("v", NAME)
        storage.set_many(vectors(random, 20, random.randrange(30)), namespace="v")
        storage.delete("k0003", namespace="v")
        with pytest.raises(IndexNotFound):
            storage.search_vectors([1.0] * DIMENSIONS, namespace="v")
        tx = storage.transaction()
        tx.create_index("v", INDEX)
        tx.set("inside", vector(random), namespace="v")
        assert_as_defined(tx, random)
        tx.rollback()
        storage.create_index("v", INDEX)
        assert_as_defined(storage, random)
        assert_as_defined(old, random)
        # The namespace deleted, and another of that name.
        storage.delete_namespace("v", recursive=True)
        storage.create_index("v", INDEX)
        assert storage.search_vectors([1.0] * DIMENSIONS, namespace="v") == []
        storage.set_many(vectors(random, 25), namespace="v")
        assert_as_defined(storage, random)
        assert storage.check().problems == []
    # All of it in one transaction, with the log going on where another index stays.
    storage.create_index("v", VectorIndex(DIMENSIONS, "l2"))
    with storage.transaction() as tx:
        tx.drop_index("v", NAME)
        tx.set_many(vectors(random, 10, 5), namespace="v")
        tx.create_index("v", INDEX)
        query = vector(random)
        for view in (tx, storage):
            for name in (NAME, "vector:l2"):
                if name in view.list_indexes("v"):
                    found = view.search_vectors(query, namespace="v", index=name)
                    assert found == StorageBackend.search_vectors(view, query, namespace="v", index=name)
    assert_as_defined(old, random)
    old.rollback()
    assert storage.check().problems == []


def test_seqs_of_a_new_log_lie_above_the_old_even_if_the_clock_stands_still(
    storage: StateStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(SEED)
    monkeypatch.setattr("time.time_ns", lambda: 1_800_000_000_000_000_000)
    storage.create_index("v", INDEX)
    entries = [entry for entry in _entries(storage, random)]  # noqa: C416
    for ending in (lambda: storage.drop_index("v", NAME), lambda: storage.delete_namespace("v", recursive=True)):
        storage.restore(entries)  # these keep their versions, and tick no clock
        space = storage._state().space("v")
        assert space is not None
        through = space.vectors_through
        ending()
        storage.create_index("v", INDEX)
        space = storage._state().space("v")
        assert space is not None
        assert space.vectors_from > through


def _entries(storage: StateStorage, random: Random) -> Iterator[Any]:
    storage.set_many(vectors(random, 50), namespace="v")
    yield from storage.scan(namespace="v")
    storage.clear(namespace="v")


def test_the_log_is_kept_within_bounds(storage: StateStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "VECTOR_CHANGES_KEPT", 100)
    random = Random(SEED)
    storage.create_index("v", INDEX)
    for number in range(5):
        storage.set_many(vectors(random, 90, number), namespace="v")
    space = storage._state().space("v")
    assert space is not None
    assert 100 <= len(list(space.vector_changes(0))) <= 164
    assert storage.check().problems == []
    assert_as_defined(storage, random)


def test_what_is_remembered_of_indexes_that_are_gone_goes_too(storage: StateStorage) -> None:
    for name in ("v", "w"):
        storage.create_index(name, INDEX)
        storage.set("k", vector(Random(SEED)), namespace=name)
        storage.search_vectors([1.0] * DIMENSIONS, namespace=name)
    storage.drop_index("v", NAME)
    storage.optimize()
    assert list(storage._nearest) == [("w", INDEX)]


def test_without_faiss_the_answers_are_the_same(storage: StateStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(SEED)
    storage.create_index("v", INDEX)
    storage.set_many(vectors(random, 300), namespace="v")
    queries = [vector(random) for _ in range(5)]
    with_faiss = [storage.search_vectors(query, namespace="v") for query in queries]
    assert {hits.plan["method"] for hits in with_faiss} == {"scan"}
    monkeypatch.setattr(nearest_index, "load_faiss", lambda: None)
    monkeypatch.setattr(scan, "load_faiss", lambda: None)
    storage._nearest.clear()
    without = [storage.search_vectors(query, namespace="v") for query in queries]
    assert {hits.plan["method"] for hits in without} == {"exact"}
    assert without == with_faiss
    storage.optimize()
    assert storage.check().problems == []


@pytest.mark.parametrize("bad", [{"vectors_compared": -1}, {"vectors_rescored": 0}, {"vectorsCompared": 1.5}])
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        MemoryStorageBackend(bad)


def test_settings_say_how_it_is_searched() -> None:
    random = Random(SEED)
    with MemoryStorageBackend(vectors_compared=50 * DIMENSIONS, vectors_rescored=10) as storage:
        storage.create_index("v", INDEX)
        storage.set_many(vectors(random, 50), namespace="v")
        assert storage.search_vectors(vector(random), namespace="v").plan["method"] == "exact"
        storage.set_many(vectors(random, 500, 50), namespace="v")
        plan = storage.search_vectors(vector(random), namespace="v", limit=5).plan
        assert plan["method"] == "scan"
        assert plan["rescored"] % 10 == 0
        assert_as_defined(storage, random)


def test_a_graph_is_built_where_one_is_declared(storage: StateStorage) -> None:
    random = Random(SEED)
    object.__setattr__(storage.settings, "vectors_linked", 100)
    storage.create_index("v", VectorIndex(DIMENSIONS, index="hnsw", ef=20))
    storage.set_many(vectors(random, 400), namespace="v")

    def method() -> str:
        return str(storage.search_vectors(vector(random), namespace="v", limit=3).plan["method"])

    assert method() == "scan"
    eventually(lambda: method() == "hnsw")
    key, value = "later", vector(random)
    storage.set(key, value, namespace="v")
    assert storage.search_vectors(value, namespace="v", limit=3)[0].key == key
    storage.delete(key, namespace="v")
    assert key not in {hit.key for hit in storage.search_vectors(value, namespace="v", limit=3)}
    storage.optimize()
    assert storage.check().problems == []


def test_check_finds_a_log_in_memory_that_disagrees() -> None:
    with MemoryStorageBackend() as storage:
        storage.create_index("v", INDEX)
        storage.set_many(vectors(Random(SEED), 5), namespace="v")
        state = storage._state()
        assert isinstance(state, MemoryState)
        space = state.space("v")
        assert space is not None
        held, last = space._vectors, space.vectors_through
        space._vectors = held.fork()
        space._vectors.pop(last)
        assert "the log of vectors does not hold" in " ".join(storage.check().problems)
        space._vectors, space.vectors_through = held, last + 1
        assert "the log of vectors does not hold" in " ".join(storage.check().problems)
        space.vectors_through = last
        space.indexes = {}
        assert "there is a log of vectors without an index" in " ".join(storage.check().problems)


# -- the codes that RocksDB keeps --------------------------------------------------------------------------------------


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], RocksDBStorageBackend]:
    """Opens one and the same storage; codes are saved in small parts, and after 50 changes."""
    monkeypatch.setattr(vector_codes, "_PART_BYTES", 700)
    monkeypatch.setattr(vector_codes, "_LEAST_CHANGES", 50)
    return lambda: RocksDBStorageBackend(tmp_path / "s", vectors_compared=0)


def filled(storage: RocksDBStorageBackend, random: Random, number: int = 200) -> None:
    storage.create_index("v", INDEX)
    storage.set_many(vectors(random, number), namespace="v")
    assert_as_defined(storage, random)


def codes_rows(storage: RocksDBStorageBackend) -> dict[bytes, bytes]:
    return dict(storage._db.items(b"k", b"l"))


def space_of(storage: RocksDBStorageBackend) -> RocksDBSpace:
    space = RocksDBSpace.load("v", View(storage._db))
    assert space is not None
    return space


@pytest.fixture
def rebuilds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seqs at which codes were made from all vectors."""
    seen: list[int] = []
    real = NearestIndex._rebuild

    def rebuild(self: NearestIndex, source: Any, seq: int) -> None:
        seen.append(seq)
        real(self, source, seq)

    monkeypatch.setattr(NearestIndex, "_rebuild", rebuild)
    return seen


@pytest.mark.parametrize("way", ["close", "optimize", "sweep"])
def test_codes_are_saved_and_opening_makes_none(
    opened: Callable[[], RocksDBStorageBackend], rebuilds: list[int], way: str
) -> None:
    random = Random(SEED)
    with opened() as storage:
        filled(storage, random)
        assert not codes_rows(storage)
        if way != "close":
            storage.optimize() if way == "optimize" else storage._sweep(1)
            assert len(codes_rows(storage)) > 3
            saved = space_of(storage).saved_through(NAME)
            # Too few changes to save anew: the log leads from the old codes to what is there.
            storage.set_many(vectors(random, 20, 190), namespace="v")
            storage.delete("k0001", namespace="v")
            storage.optimize()
            assert space_of(storage).saved_through(NAME) == saved
    rebuilds.clear()
    with opened() as storage:
        assert_as_defined(storage, random)
        assert storage.search_vectors(vector(random), namespace="v").plan["method"] == "scan"
        assert rebuilds == []
        assert storage.check().problems == []
        storage.set_many(vectors(random, 60), namespace="v")
        storage.optimize()
        first = min(codes_rows(storage))
        assert {key[len(first) : len(first) + 8] for key in codes_rows(storage)} == {
            b"", layout.NUMBER.pack(space_of(storage).vectors_through)}  # fmt: skip
        assert storage.check().problems == []


def test_optimize_makes_the_codes_of_indexes_not_yet_searched(
    opened: Callable[[], RocksDBStorageBackend], rebuilds: list[int]
) -> None:
    random = Random(SEED)
    with opened() as storage:
        storage.create_index("v", INDEX)
        storage.set_many(vectors(random, 100), namespace="v")
        storage.optimize()
        assert codes_rows(storage)
    rebuilds.clear()
    with opened() as storage:
        assert_as_defined(storage, random)
        assert rebuilds == []


def test_a_read_only_storage_searches_by_the_codes_and_saves_none(
    opened: Callable[[], RocksDBStorageBackend], rebuilds: list[int]
) -> None:
    random = Random(SEED)
    with opened() as storage:
        filled(storage, random)
    rebuilds.clear()
    with RocksDBStorageBackend(storage.path, vectors_compared=0, read_only=True) as reader:
        assert_as_defined(reader, random)
        assert rebuilds == []


def test_codes_of_a_log_that_has_gone_on_without_them_are_not_used(
    opened: Callable[[], RocksDBStorageBackend], monkeypatch: pytest.MonkeyPatch, rebuilds: list[int]
) -> None:
    monkeypatch.setattr(states, "VECTOR_CHANGES_KEPT", 100)
    random = Random(SEED)
    with opened() as storage:
        filled(storage, random)
    with opened() as storage:
        for number in range(3):
            storage.set_many(vectors(random, 150, number), namespace="v")
    rebuilds.clear()
    with opened() as storage:
        assert space_of(storage).saved_through(NAME) == 0
        assert_as_defined(storage, random)
        assert len(rebuilds) == 1
        assert storage.check().problems == []


def test_codes_of_more_than_the_log_has_are_not_used(opened: Callable[[], RocksDBStorageBackend]) -> None:
    """Whatever a crash undid, codes that know of it are not taken for the truth."""
    random = Random(SEED)
    with opened() as storage:
        filled(storage, random)
        storage.optimize()
        space, raw = space_of(storage), storage._db.rdict
        through = space.vectors_through - 5
        for seq in range(through + 1, space.vectors_through + 1):
            raw.delete(layout.prefix("v", "v") + layout.NUMBER.pack(seq))
        counters = layout.COUNTS_WITH_VECTORS.pack(space.stored, 0, space.vectors_from, through)
        raw.put(layout.COUNTERS + b"v", counters)
    with opened() as storage:
        storage.set_many(vectors(random, 3), namespace="v")
        assert_as_defined(storage, random)
        assert storage.check().problems == []
        assert storage.search_vectors(storage.get("k0001", namespace="v"), namespace="v", limit=1)[0].key == "k0001"


def test_whatever_ends_the_index_ends_its_codes(opened: Callable[[], RocksDBStorageBackend]) -> None:
    random = Random(SEED)
    with opened() as storage:
        for end in (
            lambda: storage.drop_index("v", NAME),
            lambda: storage.clear(namespace="v"),
            lambda: storage.delete_namespace("v", recursive=True),
        ):
            storage.create_index("v", INDEX)
            storage.set_many(vectors(random, 120), namespace="v")
            storage.optimize()
            assert codes_rows(storage)
            end()
            assert not codes_rows(storage)
            assert storage.check().problems == []
        assert not list(storage._db.items(b"v", b"w"))


@pytest.mark.parametrize("written", range(5))
def test_a_saving_that_is_interrupted_leaves_the_codes_before(
    opened: Callable[[], RocksDBStorageBackend], monkeypatch: pytest.MonkeyPatch, rebuilds: list[int], written: int
) -> None:
    random = Random(SEED)
    storage = opened()
    filled(storage, random)
    storage.optimize()
    before = space_of(storage).saved_through(NAME)
    storage.set_many(vectors(random, 120, 150), namespace="v")
    assert_as_defined(storage, random)
    write, left = RocksDBStorageBackend.write_beside, iter(range(written))

    def stop(self: RocksDBStorageBackend, ranges: Any, rows: Any) -> None:
        if next(left, None) is None:
            raise StorageFull("no room")
        write(self, ranges, rows)

    with monkeypatch.context() as patch:
        patch.setattr(RocksDBStorageBackend, "write_beside", stop)
        storage.close()  # codes can be made again: it goes on
    rebuilds.clear()
    with opened() as storage:
        assert space_of(storage).saved_through(NAME) == before
        assert_as_defined(storage, random)
        assert rebuilds == []
        assert storage.check().problems == []
        storage.optimize()
        seq = layout.NUMBER.pack(space_of(storage).vectors_through)
        prefix = space_of(storage).codes_prefix(NAME)
        assert all(key == prefix or key[len(prefix) :].startswith(seq) for key in codes_rows(storage))


@pytest.mark.parametrize("change", ["drop", "make anew", "clear", "delete the namespace"])
def test_an_index_that_goes_while_its_codes_are_saved(
    opened: Callable[[], RocksDBStorageBackend], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    random = Random(SEED)
    with opened() as storage:
        filled(storage, random)
        write, calls = RocksDBStorageBackend.write_beside, iter(range(100))

        def interfere(self: RocksDBStorageBackend, ranges: Any, rows: Any) -> None:
            write(self, ranges, rows)
            if next(calls) == 2:
                storage._turn._holder = None  # between two parts the turn is free
                if change == "clear":
                    storage.clear(namespace="v")
                elif change == "delete the namespace":
                    storage.delete_namespace("v", recursive=True)
                else:
                    storage.drop_index("v", NAME)
                if change == "make anew":
                    storage.create_index("v", INDEX)

        with monkeypatch.context() as patch:
            patch.setattr(RocksDBStorageBackend, "write_beside", interfere)
            storage.optimize()
        assert not codes_rows(storage)
        assert storage.check().problems == []
        if change in ("make anew", "clear"):
            storage.set_many(vectors(random, 10, 300), namespace="v")
            assert_as_defined(storage, random)


def test_closing_does_not_wait_for_an_open_transaction(opened: Callable[[], RocksDBStorageBackend]) -> None:
    random = Random(SEED)
    storage = opened()
    filled(storage, random)
    transaction = storage.transaction()
    with pytest.raises(StorageBusy):
        vector_codes.save_due(storage, 0)
    storage.close()
    assert not transaction.is_active
    with closing(opened()) as storage:
        assert not codes_rows(storage)
        assert_as_defined(storage, random)


def test_damaged_codes_are_told_and_made_anew(opened: Callable[[], RocksDBStorageBackend], rebuilds: list[int]) -> None:
    random = Random(SEED)
    with opened() as storage:
        filled(storage, random)
    with opened() as storage:
        part = max(codes_rows(storage))
        raw = bytearray(codes_rows(storage)[part])
        raw[-1] ^= 1
        storage._db.rdict.put(part, bytes(raw))
        assert f"the codes of index '{NAME}' are damaged" in " ".join(storage.check().problems)
        rebuilds.clear()
        assert_as_defined(storage, random)
        assert len(rebuilds) == 1
        storage.set_many(vectors(random, 60), namespace="v")
        storage.optimize()
        assert storage.check().problems == []


def test_check_finds_rows_of_vectors_that_disagree(opened: Callable[[], RocksDBStorageBackend]) -> None:
    random = Random(SEED)
    with opened() as storage:
        filled(storage, random)
        storage.optimize()
        storage.set("k0007", vector(random), namespace="v")
        storage.set("later", vector(random), namespace="v")
        storage.delete("k0008", namespace="v")
        assert storage.check().problems == []
        space, raw = space_of(storage), storage._db.rdict
        log, prefix = layout.prefix("v", "v"), space.codes_prefix(NAME)
        entry = raw.get(space.entries + b"k0001")
        numbers = layout.COUNTS.unpack_from(raw.get(layout.COUNTERS + b"v"))
        bounds = (space.vectors_from, space.vectors_through)

        def counters(stored: int, first: int, last: int) -> bytes:
            return layout.COUNTS_WITH_VECTORS.pack(stored, numbers[1], first, last)

        broken: dict[str, list[dict[bytes, bytes | None]]] = {
            "the log of vectors does not hold": [
                {log + layout.NUMBER.pack(space.vectors_through): None},
                {log + layout.NUMBER.pack(space.vectors_through + 1): b"k0001"},
                {layout.COUNTERS + b"v": counters(numbers[0], bounds[0], bounds[1] + 1)},
            ],
            "or an index without it": [{layout.COUNTERS + b"v": layout.COUNTS.pack(*numbers)}],
            "there are codes of no vector index": [{layout.prefix("k", "v") + b"\0\0\0\x09": b""}],
            "'m' is not registered": [
                {layout.prefix("k", "m") + b"\0\0\0\1": b""},
                {layout.prefix("v", "m") + layout.NUMBER.pack(1): b"k"},
            ],
            "know entries that are not there": [
                {space.entries + b"k0001": None, layout.COUNTERS + b"v": counters(numbers[0] - 1, *bounds)}
            ],
            "do not know key 'unlogged'": [
                {space.entries + b"unlogged": entry, layout.COUNTERS + b"v": counters(numbers[0] + 1, *bounds)}
            ],
            "are damaged": [{max(codes_rows(storage)): None}, {prefix: layout.CODES.pack(space.vectors_through, 3, 1)}],
        }
        for sentence, faults in broken.items():
            for rows in faults:
                before = {key: raw.get(key) for key in rows}
                for key, row in rows.items():
                    raw.delete(key) if row is None else raw.put(key, row)
                assert sentence in " ".join(storage.check().problems), (sentence, storage.check().problems)
                for key, row in before.items():
                    raw.delete(key) if row is None else raw.put(key, row)
                assert storage.check().problems == []


def test_keys_of_any_kind_are_kept_with_the_codes(
    opened: Callable[[], RocksDBStorageBackend], rebuilds: list[int]
) -> None:
    random = Random(SEED)
    keys = ['"quoted"', "tab\tand \\", "🍄", "日本", "7", "é", "\x7f", "null"]
    with opened() as storage:
        storage.create_index("v", INDEX)
        storage.set_many({key: vector(random) for key in keys} | vectors(random, 60), namespace="v")
        assert isinstance(storage.search_vectors(vector(random), namespace="v").plan["method"], str)
        assert isinstance(storage._nearest["v", INDEX].vectors, ScanCodes)
    rebuilds.clear()
    with opened() as storage:
        found = storage.search_vectors(vector(random), namespace="v", limit=100)
        assert {hit.key for hit in found} >= set(keys)
        assert rebuilds == []
