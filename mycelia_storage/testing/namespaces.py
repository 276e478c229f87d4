"""Namespaces: they appear, are listed, emptied and deleted."""

from __future__ import annotations

import pytest

from ..contract import NamespaceInfo, StorageBackend
from ..errors import InvalidNamespace, InvalidValue, NamespaceExists, NamespaceNotEmpty, NamespaceNotFound
from ..indexes import FieldIndex
from .fixtures import HOSTILE_NAMES, ContractCase, now_ms


class NamespaceContract(ContractCase):
    """create_namespace, delete_namespace, list_namespaces, get_namespace, clear."""

    def test_default_always_exists(self, storage: StorageBackend) -> None:
        assert storage.list_namespaces() == ["default"]
        info = storage.get_namespace("default")
        assert info is not None
        assert info[0:2] == ("default", {})
        for recursive in (False, True):
            with pytest.raises(InvalidNamespace):
                storage.delete_namespace("default", recursive=recursive)
        with pytest.raises(NamespaceExists):
            storage.create_namespace("default")
        storage.create_namespace("default", exist_ok=True)

    def test_a_namespace_appears_when_first_written(self, storage: StorageBackend) -> None:
        storage.set("k", 1, namespace="a/b")
        storage.set_many([{"key": "k", "value": 1, "namespace": "c"}])
        storage.create_index("d", FieldIndex("x"))
        assert storage.list_namespaces() == ["a/b", "c", "d", "default"]
        assert storage.get_namespace("a") is None

    def test_nothing_else_makes_one(self, storage: StorageBackend) -> None:
        storage.get("k", namespace="n")
        storage.delete("k", namespace="n")
        storage.delete_many(["k"], namespace="n")
        storage.clear(namespace="n")
        storage.set_many([], namespace="n")
        storage.drop_index("n", "x")
        list(storage.scan(namespace="n"))
        storage.changes(namespace="n")
        assert storage.list_namespaces() == ["default"]

    def test_it_stays_when_its_entries_go(self, storage: StorageBackend) -> None:
        storage.set("k", 1, namespace="n")
        storage.delete("k", namespace="n")
        assert "n" in storage.list_namespaces()

    def test_creating_and_knowing_one(self, storage: StorageBackend) -> None:
        before = now_ms()
        storage.create_namespace("n", metadata={"owner": "ada"})
        info = storage.get_namespace("n")
        assert isinstance(info, NamespaceInfo)
        assert before <= info.created_at <= now_ms()
        assert info == ("n", {"owner": "ada"}, info.created_at, 0, False)
        storage.set("k", 1, namespace="n")
        storage.set("k", 1, namespace="n/below")
        info = storage.get_namespace("n")
        assert info is not None
        assert info.entries == 1
        info.metadata["owner"] = "eve"
        again = storage.get_namespace("n")
        assert again is not None
        assert again.metadata == {"owner": "ada"}
        with pytest.raises(InvalidValue):
            storage.create_namespace("bad", metadata={"x": {1}})
        assert storage.get_namespace("bad") is None

    def test_creating_one_that_exists(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", metadata={"a": 1}, track_changes=True)
        with pytest.raises(NamespaceExists):
            storage.create_namespace("n")
        storage.create_namespace("n", exist_ok=True)
        info = storage.get_namespace("n")
        assert info is not None
        assert (info.metadata, info.track_changes) == ({"a": 1}, True)
        storage.create_namespace("n", metadata={"b": 1}, exist_ok=True)
        info = storage.get_namespace("n")
        assert info is not None
        assert (info.metadata, info.track_changes) == ({"b": 1}, True)
        storage.create_namespace("n", metadata={}, exist_ok=True)
        info = storage.get_namespace("n")
        assert info is not None
        assert info.metadata == {}

    def test_tracking_can_be_turned_on_later(self, storage: StorageBackend) -> None:
        storage.set("before", 1, namespace="n")
        storage.create_namespace("n", exist_ok=True, track_changes=True)
        storage.set("after", 1, namespace="n")
        assert [change.key for change in storage.changes(namespace="n").changes] == ["after"]

    def test_a_prefix_is_a_level_not_a_string(self, storage: StorageBackend) -> None:
        names = [
            "agents",
            "agents/a1",
            "agents/a1/x",
            "agents/a10",
            "agents%",
            "agents/a_",
            "agentsX",
            "agents0",
            "agents.",
        ]
        for name in names:
            storage.create_namespace(name)
        assert storage.list_namespaces(prefix="agents/a1") == ["agents/a1", "agents/a1/x"]
        assert storage.list_namespaces(prefix="agents") == sorted(name for name in names if name[6:7] in ("", "/"))
        assert storage.list_namespaces(prefix="agents/a_") == ["agents/a_"]
        assert storage.list_namespaces(prefix="agents%") == ["agents%"]
        assert storage.list_namespaces(prefix=("agents", "a1")) == ["agents/a1", "agents/a1/x"]
        assert storage.list_namespaces(prefix="Agents") == []

    def test_names_come_in_order_of_utf8(self, storage: StorageBackend) -> None:
        for name in reversed(HOSTILE_NAMES):
            storage.create_namespace(name)
        assert storage.list_namespaces() == sorted([*HOSTILE_NAMES, "default"], key=str.encode)

    def test_tuples_name_levels(self, storage: StorageBackend) -> None:
        storage.set("k", 1, namespace=("users", "a/b~c"))
        assert storage.list_namespaces(prefix="users") == ["users/a~1b~0c"]
        assert storage.get("k", namespace="users/a~1b~0c") == 1
        assert storage.get("k", namespace=("users", "a/b~c")) == 1
        assert storage.delete_namespace(("users", "a/b~c"), recursive=True) == 1

    # -- delete ----------------------------------------------------------------------------------------------------

    def test_deleting_a_missing_one(self, storage: StorageBackend) -> None:
        for recursive in (False, True):
            with pytest.raises(NamespaceNotFound):
                storage.delete_namespace("n", recursive=recursive)

    def test_deleting_needs_it_empty_or_recursive(self, storage: StorageBackend) -> None:
        storage.create_namespace("empty")
        assert storage.delete_namespace("empty") == 0
        storage.set("k", 1, namespace="full")
        storage.create_namespace("parent")
        storage.create_namespace("parent/child")
        for name in ("full", "parent"):
            with pytest.raises(NamespaceNotEmpty):
                storage.delete_namespace(name)
        assert storage.delete_namespace("full", recursive=True) == 1
        assert storage.delete_namespace("parent", recursive=True) == 0
        assert storage.list_namespaces() == ["default"]

    def test_recursive_takes_what_is_below_and_nothing_beside(self, storage: StorageBackend) -> None:
        for name in ("a", "a/b", "a/b/c", "a0", "a.b", "ab", "A/b", "a%"):
            storage.set_many({"x": 1, "y": 2}, namespace=name)
        assert storage.delete_namespace("a", recursive=True) == 6
        assert storage.list_namespaces() == sorted(["a0", "a.b", "ab", "A/b", "a%", "default"])
        assert storage.get_status().entries == 10

    def test_recursive_works_on_a_parent_that_exists_only_through_its_children(self, storage: StorageBackend) -> None:
        storage.set("k", 1, namespace="a/b")
        with pytest.raises((NamespaceNotEmpty, NamespaceNotFound)):
            storage.delete_namespace("a")
        assert storage.delete_namespace("a", recursive=True) == 1
        assert storage.list_namespaces() == ["default"]

    def test_indexes_metadata_and_changes_go_with_it(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", metadata={"a": 1}, track_changes=True)
        storage.create_index("n", FieldIndex("x", unique=True))
        storage.set("k", {"x": 1}, namespace="n")
        storage.delete_namespace("n", recursive=True)
        assert storage.list_indexes("n") == {}
        assert storage.changes(namespace="n").changes == []
        storage.set("a", {"x": 1}, namespace="n")
        storage.set("b", {"x": 1}, namespace="n")
        info = storage.get_namespace("n")
        assert info is not None
        assert (info.metadata, info.entries, info.track_changes) == ({}, 2, False)
        assert storage.changes(namespace="n").changes == []

    # -- clear -----------------------------------------------------------------------------------------------------

    def test_clear_empties_that_namespace_alone(self, storage: StorageBackend) -> None:
        for name in ("n", "n/below", "m"):
            storage.set_many({"x": 1, "y": 2}, namespace=name)
        assert storage.clear(namespace="n") == 2
        assert storage.clear(namespace="n") == 0
        assert storage.clear(namespace="nowhere") == 0
        assert [storage.count(namespace=name) for name in ("n", "n/below", "m")] == [0, 2, 2]

    def test_clear_without_namespace_empties_all(self, storage: StorageBackend) -> None:
        for name in ("default", "n", "n/below"):
            storage.set("k", 1, namespace=name)
        assert storage.clear() == 3
        assert storage.get_status().entries == 0
        assert storage.list_namespaces() == ["default", "n", "n/below"]

    def test_clear_keeps_indexes_and_the_change_log(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True, metadata={"a": 1})
        storage.create_index("n", FieldIndex("x", unique=True))
        version = storage.set("k", {"x": 1}, namespace="n")
        storage.set("l", {"x": 2}, namespace="n")
        storage.clear()
        assert list(storage.list_indexes("n")) == ["x"]
        changes = storage.changes(namespace="n").changes
        assert [(change.operation, change.key) for change in changes] == [("set", "k"), ("set", "l"), ("clear", None)]
        assert changes[-1].version > version
        storage.set("other", {"x": 1}, namespace="n")
        info = storage.get_namespace("n")
        assert info is not None
        assert info.metadata == {"a": 1}
