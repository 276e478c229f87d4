"""Metadata: read, merged, replaced."""

from __future__ import annotations

import pytest

from ..contract import StorageBackend
from ..errors import KeyNotFound
from .fixtures import ContractCase


class MetadataContract(ContractCase):
    """get_metadata and set_metadata."""

    def test_an_entry_without_metadata_has_an_empty_dict(self, storage: StorageBackend) -> None:
        storage.set("a", 1)
        storage.set("b", 1, metadata={})
        assert storage.get_metadata("a") == {}
        assert storage.get_metadata("b") == {}

    def test_a_missing_key_is_an_error(self, storage: StorageBackend) -> None:
        with pytest.raises(KeyNotFound) as caught:
            storage.get_metadata("k", namespace="n")
        assert (caught.value.namespace, caught.value.key) == ("n", "k")
        with pytest.raises(KeyNotFound):
            storage.set_metadata("k", {"a": 1}, namespace="n")
        with pytest.raises(KeyError):
            storage.get_metadata("k")
        assert storage.list_namespaces() == ["default"]

    def test_merge_is_by_top_level_name(self, storage: StorageBackend) -> None:
        storage.set("k", 1, metadata={"a": 1, "deep": {"x": 1}})
        storage.set_metadata("k", {"b": None, "deep": {"y": 2}})
        assert storage.get_metadata("k") == {"a": 1, "b": None, "deep": {"y": 2}}

    def test_merge_false_replaces(self, storage: StorageBackend) -> None:
        storage.set("k", 1, metadata={"a": 1})
        storage.set_metadata("k", {"b": 2}, merge=False)
        assert storage.get_metadata("k") == {"b": 2}
        storage.set_metadata("k", {}, merge=False)
        assert storage.get_metadata("k") == {}

    def test_it_is_a_write_that_keeps_the_value(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        first = storage.set("k", {"v": 1}, namespace="n")
        before = storage.get_entry("k", namespace="n")
        second = storage.set_metadata("k", {}, namespace="n")
        after = storage.get_entry("k", namespace="n")
        assert before is not None
        assert after is not None
        assert first < second == after.version
        assert after.value == {"v": 1}
        assert after.created_at == before.created_at <= after.updated_at
        change = storage.changes(namespace="n").changes[-1]
        assert (change.operation, change.key, change.version) == ("set", "k", second)
