"""One entry at a time: set, get, has, delete, versions and compare-and-set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..contract import Entry, StorageBackend
from ..errors import InvalidInput, InvalidKey, InvalidNamespace, KeyExists, VersionConflict
from .fixtures import BAD_NAMES, HOSTILE_NAMES, ContractCase, OpenStorage, now_ms


class EntryContract(ContractCase):
    """set, get, get_entry, has, delete."""

    def test_a_missing_key_is_no_error(self, storage: StorageBackend) -> None:
        assert storage.get("k") is None
        assert storage.get("k", 7) == 7
        assert storage.get("k", namespace="nowhere") is None
        assert storage.get_entry("k") is None
        assert storage.has("k") is False
        assert storage.delete("k") is False
        assert storage.list_namespaces() == ["default"]

    def test_an_entry_comes_back_whole(self, storage: StorageBackend) -> None:
        before = now_ms()
        version = storage.set("k", {"a": [1]}, namespace="n", metadata={"m": 1})
        after = now_ms()
        entry = storage.get_entry("k", namespace="n")
        assert entry is not None
        assert isinstance(entry, Entry)
        assert entry[:5] == ("n", "k", {"a": [1]}, {"m": 1}, version)
        assert before <= entry.created_at == entry.updated_at <= after
        assert entry.expires_at is None
        assert storage.get("k", namespace="n") == {"a": [1]}
        assert storage.has("k", namespace="n")
        assert not storage.has("k")

    def test_a_stored_null_is_not_a_missing_key(self, storage: StorageBackend) -> None:
        storage.set("k", None)
        assert storage.get("k", 7) is None
        assert storage.has("k")

    def test_set_replaces_the_whole_entry_and_keeps_created_at(self, storage: StorageBackend) -> None:
        storage.set("k", 1, metadata={"m": 1}, ttl=1000)
        first = storage.get_entry("k")
        storage.set("k", 2)
        second = storage.get_entry("k")
        assert first is not None
        assert second is not None
        assert (second.value, second.metadata, second.expires_at) == (2, {}, None)
        assert second.created_at == first.created_at <= second.updated_at

    def test_delete_tells_whether_the_entry_existed(self, storage: StorageBackend) -> None:
        storage.set("k", 1)
        assert storage.delete("k") is True
        assert storage.delete("k") is False
        assert not storage.has("k")

    def test_deleting_and_creating_again_starts_a_new_entry(self, storage: StorageBackend) -> None:
        storage.restore([Entry("default", "k", 1, {}, 5, 1000, 1000, None)])
        storage.delete("k")
        storage.set("k", 2)
        entry = storage.get_entry("k")
        assert entry is not None
        assert entry.created_at > 1000

    def test_what_is_returned_is_the_callers(self, storage: StorageBackend) -> None:
        given: dict[str, Any] = {"list": [1]}
        metadata: dict[str, Any] = {"m": [1]}
        storage.set("k", given, metadata=metadata)
        given["list"].append(2)
        metadata["m"].append(2)
        got = storage.get("k")
        got["list"].append(3)
        entry = storage.get_entry("k")
        assert entry is not None
        entry.value["list"].append(4)
        entry.metadata["m"].append(4)
        storage.get_metadata("k")["m"].append(5)
        assert storage.get("k") == {"list": [1]}
        assert storage.get_metadata("k") == {"m": [1]}

    def test_hostile_keys_and_namespaces_are_names_like_any_other(self, storage: StorageBackend) -> None:
        for place, namespace in enumerate(HOSTILE_NAMES):
            for key in HOSTILE_NAMES:
                storage.set(key, [place, key], namespace=namespace)
        for place, namespace in enumerate(HOSTILE_NAMES):
            assert storage.list(namespace=namespace) == HOSTILE_NAMES
            assert storage.get_many(HOSTILE_NAMES, namespace=namespace) == {key: [place, key] for key in HOSTILE_NAMES}
        gone = HOSTILE_NAMES[3]
        assert storage.delete(gone, namespace=gone)
        assert sum(storage.count(namespace=namespace) for namespace in HOSTILE_NAMES) == len(HOSTILE_NAMES) ** 2 - 1

    def test_the_longest_names(self, storage: StorageBackend) -> None:
        key, namespace = "é" * 512, "é" * 256
        storage.set(key, 1, namespace=namespace)
        assert storage.list(namespace=namespace) == [key]
        with pytest.raises(InvalidKey):
            storage.set(key + "x", 1)
        with pytest.raises(InvalidNamespace):
            storage.set("k", 1, namespace=namespace + "x")

    @pytest.mark.parametrize("bad", BAD_NAMES, ids=lambda bad: repr(bad)[:12])
    def test_key_rules_hold_everywhere(self, storage: StorageBackend, bad: Any) -> None:
        storage.set("k", 1)
        for call in (
            lambda: storage.get(bad),
            lambda: storage.get_entry(bad),
            lambda: storage.has(bad),
            lambda: storage.set(bad, 1),
            lambda: storage.delete(bad),
            lambda: storage.get_many(["k", bad]),
            lambda: storage.delete_many(["k", bad]),
            lambda: storage.get_metadata(bad),
            lambda: storage.set_metadata(bad, {}),
        ):
            with pytest.raises(InvalidKey):
                call()
        assert storage.list() == ["k"]

    @pytest.mark.parametrize("bad", [*BAD_NAMES, (), ("a", ""), ("a", 1)], ids=lambda bad: repr(bad)[:12])
    def test_namespace_rules_hold_everywhere(self, storage: StorageBackend, bad: Any) -> None:
        calls: list[Callable[[], object]] = [
            lambda: storage.get("k", namespace=bad),
            lambda: storage.get_entry("k", namespace=bad),
            lambda: storage.has("k", namespace=bad),
            lambda: storage.set("k", 1, namespace=bad),
            lambda: storage.delete("k", namespace=bad),
            lambda: storage.get_many(["k"], namespace=bad),
            lambda: storage.set_many({"k": 1}, namespace=bad),
            lambda: storage.delete_many(["k"], namespace=bad),
            lambda: storage.list(namespace=bad),
            lambda: storage.scan(namespace=bad),
            lambda: storage.query(namespace=bad),
            lambda: storage.count(namespace=bad),
            lambda: storage.get_metadata("k", namespace=bad),
            lambda: storage.set_metadata("k", {}, namespace=bad),
            lambda: storage.create_namespace(bad),
            lambda: storage.delete_namespace(bad),
            lambda: storage.get_namespace(bad),
            lambda: storage.list_indexes(bad),
        ]
        if bad is not None:
            calls += [
                lambda: storage.clear(namespace=bad),
                lambda: storage.list_namespaces(prefix=bad),
                lambda: storage.changes(namespace=bad),
                lambda: storage.watch(namespace=bad),
            ]
        for call in calls:
            with pytest.raises(InvalidNamespace):
                call()
        assert storage.list_namespaces() == ["default"]

    # -- overwrite -------------------------------------------------------------------------------------------------

    def test_overwrite_false_refuses_an_existing_key(self, storage: StorageBackend) -> None:
        storage.set("k", 1, overwrite=False)
        with pytest.raises(KeyExists) as caught:
            storage.set("k", 2, overwrite=False)
        assert (caught.value.namespace, caught.value.key) == ("default", "k")
        assert storage.get("k") == 1
        storage.delete("k")
        storage.set("k", 3, overwrite=False)
        assert storage.get("k") == 3

    # -- versions --------------------------------------------------------------------------------------------------

    def test_versions_rise_strictly_whatever_happens_in_between(self, storage: StorageBackend) -> None:
        versions = [storage.set("k", 1, namespace="n")]
        versions.append(storage.set("k", 1, namespace="n"))
        versions.append(storage.set_metadata("k", {"a": 1}, namespace="n"))
        storage.delete("k", namespace="n")
        versions.append(storage.set("k", 1, namespace="n"))
        storage.clear(namespace="n")
        versions.append(storage.set("k", 1, namespace="n"))
        storage.clear()
        versions.append(storage.set("k", 1, namespace="n"))
        storage.delete_namespace("n", recursive=True)
        versions.append(storage.set("k", 1, namespace="n"))
        storage.delete_many(["k"], namespace="n")
        storage.set_many({"k": 2}, namespace="n")
        entry = storage.get_entry("k", namespace="n")
        assert entry is not None
        versions.append(entry.version)
        assert versions == sorted(set(versions))

    def test_versions_rise_beyond_one_from_a_clock_ahead(self, storage: StorageBackend) -> None:
        ahead = now_ms() * 1000 + 10**12
        for namespace in ("n", "m"):
            storage.restore([Entry(namespace, "k", 1, {}, ahead, 1, 1, None)])
        assert storage.set("k", 2, namespace="n") > ahead
        storage.delete("k", namespace="n")
        storage.delete_namespace("m", recursive=True)
        assert storage.set("k", 2, namespace="n") > ahead + 1
        assert storage.set("k", 2, namespace="m") > ahead

    def test_a_failed_set_changes_nothing(self, storage: StorageBackend) -> None:
        storage.set("k", 1, metadata={"a": 1})
        before = storage.get_entry("k")
        for arguments in ({"overwrite": False}, {"if_version": 0}, {"if_version": 5}, {"ttl": 0}, {"metadata": [1]}):
            with pytest.raises((KeyExists, VersionConflict, InvalidInput)):
                storage.set("k", 2, **arguments)
        assert storage.get_entry("k") == before

    # -- compare-and-set -------------------------------------------------------------------------------------------

    def test_if_version_compares(self, storage: StorageBackend) -> None:
        first = storage.set("k", 1, if_version=0)
        second = storage.set("k", 2, if_version=first)
        with pytest.raises(VersionConflict) as caught:
            storage.set("k", 3, if_version=first)
        assert (caught.value.expected, caught.value.actual) == (first, second)
        with pytest.raises(VersionConflict) as caught:
            storage.set("k", 3, if_version=0)
        assert caught.value.actual == second
        assert storage.get("k") == 2

    def test_if_version_of_a_missing_key(self, storage: StorageBackend) -> None:
        with pytest.raises(VersionConflict) as caught:
            storage.set("k", 1, if_version=7)
        assert caught.value.actual == 0
        assert not storage.has("k")

    def test_delete_if_version(self, storage: StorageBackend) -> None:
        version = storage.set("k", 1)
        with pytest.raises(VersionConflict):
            storage.delete("k", if_version=version - 1)
        with pytest.raises(VersionConflict):
            storage.delete("k", if_version=0)
        assert storage.delete("k", if_version=version) is True
        with pytest.raises(VersionConflict):
            storage.delete("k", if_version=version)
        assert storage.delete("k", if_version=0) is False

    @pytest.mark.parametrize("bad", [-1, 1.5, "1", True])
    def test_if_version_is_a_whole_number(self, storage: StorageBackend, bad: Any) -> None:
        with pytest.raises(InvalidInput):
            storage.set("k", 1, if_version=bad)
        with pytest.raises(InvalidInput):
            storage.delete("k", if_version=bad)

    def test_two_storages_share_nothing(self, open_storage: OpenStorage) -> None:
        with open_storage() as one, open_storage() as two:
            one.set("k", 1)
            assert not two.has("k")
