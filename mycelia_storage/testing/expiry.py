"""Expiry: an expired entry is invisible to everything at once, and a sweep removes it."""

from __future__ import annotations

from typing import Any

import pytest

from ..contract import Entry, StorageBackend
from ..errors import InvalidInput, KeyNotFound, VersionConflict
from ..filters import where
from ..indexes import FieldIndex
from .fixtures import ContractCase, eventually, now_ms


def store_expired(storage: StorageBackend, *keys: str, namespace: str = "n", value: Any = 1) -> None:
    """Store entries and wait until they have expired."""
    for key in keys:
        storage.set(key, value, namespace=namespace, ttl=0.02, metadata={"m": 1})
    eventually(lambda: not any(storage.has(key, namespace=namespace) for key in keys))


class ExpiryContract(ContractCase):
    """ttl."""

    @pytest.mark.parametrize("bad", [0, -1, -0.5, True, "1", float("nan"), float("inf")], ids=repr)
    def test_ttl_is_a_number_over_zero(self, storage: StorageBackend, bad: Any) -> None:
        with pytest.raises(InvalidInput):
            storage.set("k", 1, ttl=bad)
        with pytest.raises(InvalidInput):
            storage.set_many({"k": 1}, ttl=bad)
        assert not storage.has("k")

    @pytest.mark.parametrize("ttl", [100, 100.5])
    def test_expires_at_is_that_many_seconds_from_now(self, storage: StorageBackend, ttl: float) -> None:
        before = now_ms()
        storage.set("k", 1, ttl=ttl)
        entry = storage.get_entry("k")
        assert entry is not None
        assert entry.expires_at is not None
        assert before + ttl * 1000 <= entry.expires_at <= now_ms() + ttl * 1000

    def test_an_expired_entry_is_invisible_to_every_read(self, storage: StorageBackend) -> None:
        storage.set("a", 1, namespace="n")
        store_expired(storage, "b")
        storage.set("c", 1, namespace="n", ttl=1000)
        assert storage.get("b", namespace="n") is None
        assert storage.get_entry("b", namespace="n") is None
        assert storage.get_many(["c", "b", "a"], namespace="n") == {"c": 1, "a": 1}
        assert storage.list(namespace="n") == ["a", "c"]
        assert storage.list("b*", namespace="n") == []
        assert [entry.key for entry in storage.scan(namespace="n")] == ["a", "c"]
        assert [entry.key for entry in storage.scan(namespace="n", reverse=True)] == ["c", "a"]
        assert [entry.key for entry in storage.scan(namespace="n", limit=2)] == ["a", "c"]
        assert [entry.key for entry in storage.query(where("$value") == 1, namespace="n")] == ["a", "c"]
        assert [entry.key for entry in storage.query(namespace="n", limit=2)] == ["a", "c"]
        assert storage.count(namespace="n") == 2
        assert storage.count(namespace="n", filter=where("$metadata.m") == 1) == 0
        with pytest.raises(KeyNotFound):
            storage.get_metadata("b", namespace="n")
        with storage.transaction(read_only=True) as snapshot:
            assert not snapshot.has("b", namespace="n")
        info = storage.get_namespace("n")
        assert info is not None
        assert info.entries == 2
        assert storage.get_status().entries == 2

    def test_an_expired_entry_is_missing_to_every_write(self, storage: StorageBackend) -> None:
        store_expired(storage, "a", "b", "c", "d", "e")
        storage.set("a", 2, namespace="n", overwrite=False)
        storage.set("b", 2, namespace="n", if_version=0)
        assert storage.delete("c", namespace="n") is False
        with pytest.raises(KeyNotFound):
            storage.set_metadata("d", {"x": 1}, namespace="n")
        with pytest.raises(VersionConflict):
            storage.delete("e", namespace="n", if_version=1)
        assert storage.get_metadata("a", namespace="n") == {}
        assert storage.delete_many(["a", "e"], namespace="n") == 1
        assert storage.clear(namespace="n") == 1

    def test_a_set_over_an_expired_entry_starts_a_new_one(self, storage: StorageBackend) -> None:
        storage.restore([Entry("n", "k", 1, {}, 7, 1000, 1000, now_ms() + 30)])
        eventually(lambda: not storage.has("k", namespace="n"))
        version = storage.set("k", 2, namespace="n")
        entry = storage.get_entry("k", namespace="n")
        assert entry is not None
        assert version > 7
        assert entry.created_at > 1000
        assert entry.expires_at is None

    def test_a_namespace_of_expired_entries_counts_as_empty(self, storage: StorageBackend) -> None:
        store_expired(storage, "a", "b")
        assert "n" in storage.list_namespaces()
        assert storage.delete_namespace("n") == 0

    def test_set_without_ttl_ends_the_expiry_and_set_metadata_keeps_it(self, storage: StorageBackend) -> None:
        storage.set("a", 1, ttl=1000)
        storage.set_metadata("a", {"m": 1})
        kept = storage.get_entry("a")
        assert kept is not None
        assert kept.expires_at is not None
        storage.set("a", 1)
        ended = storage.get_entry("a")
        assert ended is not None
        assert ended.expires_at is None

    def test_the_sweep_logs_each_as_expired(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        store_expired(storage, "a", "b")
        storage.set("c", 1, namespace="n", ttl=1000)
        storage.optimize()
        changes = storage.changes(namespace="n").changes
        assert [(change.operation, change.key) for change in changes[:2]] == [("set", "a"), ("set", "b")]
        assert sorted((change.operation, change.key) for change in changes[3:]) == [("expire", "a"), ("expire", "b")]
        assert changes[3].version > changes[0].version
        storage.optimize()
        assert len(storage.changes(namespace="n").changes) == 5
        assert storage.list(namespace="n") == ["c"]

    def test_an_expired_entry_is_not_in_the_way_of_a_unique_index(self, storage: StorageBackend) -> None:
        storage.create_index("n", FieldIndex("mail", unique=True))
        store_expired(storage, "a", value={"mail": "x"})
        storage.set("b", {"mail": "x"}, namespace="n")
        assert storage.list(namespace="n") == ["b"]

    def test_nor_in_the_way_of_what_is_restored(self, storage: StorageBackend) -> None:
        storage.create_index("n", FieldIndex("mail", unique=True))
        store_expired(storage, "a", value={"mail": "x"})
        assert storage.restore([Entry("n", "b", {"mail": "x"}, {}, 5, 1000, 1000, None)]) == 1
        assert storage.list(namespace="n") == ["b"]

    def test_a_unique_index_can_be_built_over_expired_entries(self, storage: StorageBackend) -> None:
        store_expired(storage, "a", "b", value={"mail": "x"})
        storage.set("c", {"mail": "x"}, namespace="n")
        storage.create_index("n", FieldIndex("mail", unique=True))
        assert storage.check().ok
