"""The postings that memory and RocksDB keep of text indexes: checked, emptied, made anew, never out of step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from mycelia_storage import MemoryStorageBackend, RocksDBStorageBackend
from mycelia_storage.backends.memory.state import MemoryState
from mycelia_storage.backends.rocksdb import layout
from mycelia_storage.backends.rocksdb.space import RocksDBSpace
from mycelia_storage.backends.rocksdb.view import View
from mycelia_storage.contract import StorageBackend
from mycelia_storage.indexes import FieldIndex, TextIndex
from mycelia_storage.testing.fixtures import eventually
from mycelia_storage.testing.texts import WORDS

SEED = 20_261_121
INDEX = TextIndex({"text": 1.0, "title": 2.5})


@pytest.fixture(params=["memory", "rocksdb"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageBackend]:
    with MemoryStorageBackend() if request.param == "memory" else RocksDBStorageBackend(tmp_path / "s") as opened:
        yield opened


def texts(random: Random, number: int) -> dict[str, object]:
    return {
        f"k{place}": {"text": " ".join(random.choices(WORDS, k=random.randrange(1, 25))), "n": place}
        for place in range(number)
    }


def assert_as_defined(storage: StorageBackend, query: str = "garden spore raven memory") -> None:
    found = storage.search_text(query, namespace="t", limit=20)
    wanted = StorageBackend.search_text(storage, query, namespace="t", limit=20)
    assert [(hit.key, hit.score, hit.entry) for hit in found] == [(hit.key, hit.score, hit.entry) for hit in wanted]
    assert storage.check().problems == []


def test_an_index_dropped_and_made_again_in_one_transaction(storage: StorageBackend) -> None:
    random = Random(SEED)
    storage.create_index("t", INDEX)
    storage.create_index("t", FieldIndex("n"))
    storage.set_many(texts(random, 400), namespace="t")
    assert_as_defined(storage)
    with storage.transaction() as tx:
        assert tx.drop_index("t", "text:text,title")
        tx.set_many(texts(random, 50), namespace="t")
        tx.create_index("t", INDEX)
        assert_as_defined(tx)
        tx.clear(namespace="t")
        assert tx.search_text("garden", namespace="t") == []
        tx.set_many(texts(random, 350), namespace="t")
        assert_as_defined(tx)
    assert_as_defined(storage)
    storage.delete_namespace("t", recursive=True)
    storage.create_index("t", INDEX)
    storage.set_many(texts(random, 20), namespace="t")
    assert_as_defined(storage)


def test_an_index_built_over_what_has_expired(storage: StorageBackend) -> None:
    storage.set_many({"a": {"text": "garden"}, "b": {"text": "garden spore"}}, namespace="t", ttl=0.01)
    storage.set("c", {"text": "garden"}, namespace="t")
    eventually(lambda: not storage.has("a", namespace="t"))
    storage.create_index("t", INDEX)
    assert storage.check().ok
    storage.set("a", {"text": "raven"}, namespace="t")
    storage.optimize()
    assert_as_defined(storage)
    assert [hit.key for hit in storage.search_text("garden", namespace="t")] == ["c"]


def test_check_finds_postings_in_memory_that_disagree() -> None:
    with MemoryStorageBackend() as storage:
        storage.create_index("t", INDEX)
        storage.set_many(texts(Random(SEED), 30), namespace="t")
        assert storage.check().ok
        state = storage._state()
        assert isinstance(state, MemoryState)
        space = state.space("t")
        assert space is not None
        kept = space._texts["text:text,title"]
        for spoil in (
            lambda: kept._held.put("garden\0k999", (1.0, 3)),
            lambda: kept._held.pop(next(iter(kept._held.items()))[0]),
            lambda: setattr(kept, "length", kept.length + 1),
        ):
            before = kept.fork()
            spoil()
            assert "index 'text:text,title' does not hold" in " ".join(storage.check().problems)
            kept._held, kept.length = before._held, before.length
            assert storage.check().ok


def test_check_finds_rows_in_rocksdb_that_disagree(tmp_path: Path) -> None:
    with RocksDBStorageBackend(tmp_path / "s") as storage:
        storage.create_index("t", INDEX)
        storage.set_many({"a": {"text": "garden spore"}, "b": {"text": "garden"}}, namespace="t")
        assert storage.check().ok
        space = RocksDBSpace.load("t", View(storage._db))
        assert space is not None
        posting, raw = space.text_prefix("t", "text:text,title"), storage._db.rdict
        broken: dict[str, list[tuple[bytes, bytes | None]]] = {
            "does not hold what key 'a' says": [
                (posting + b"garden\0a", None),
                (posting + b"garden\0a", layout.POSTING.pack(2.0, 2)),
            ],
            "holds what no entry says": [(posting + b"raven\0a", layout.POSTING.pack(1.0, 2))],
            "the statistics of index": [(space.text_prefix("s", "text:text,title"), layout.COUNTS.pack(3, 3))],
            "'m' is not registered": [
                (layout.prefix("t", "m") + b"\0\0\0\1x\0k", b""),
                (layout.prefix("s", "m") + b"\0\0\0\1", b""),
            ],
        }
        for sentence, rows in broken.items():
            for key, row in rows:
                before = raw.get(key)
                raw.delete(key) if row is None else raw.put(key, row)
                assert sentence in " ".join(storage.check().problems)
                raw.delete(key) if before is None else raw.put(key, before)
                assert storage.check().ok
