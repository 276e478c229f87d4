"""The injection class, keys and namespaces: one tenant's never read or change another's."""

from __future__ import annotations

from typing import Any

import pytest

from mycelia_storage import FieldIndex, where
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidKey, InvalidNamespace

from .conftest import everything
from .hostile import HOSTILE, TENANTS

# -- keys and patterns -----------------------------------------------------------------------------------------------


def test_hostile_keys_are_kept_apart_and_stay_what_they_are(planted: StorageBackend) -> None:
    before = everything(planted)
    for key in HOSTILE:
        planted.set(key, {"key": key}, namespace="keys", metadata={"key": key})
    assert planted.list(namespace="keys") == sorted(HOSTILE, key=str.encode)
    for key in HOSTILE:
        assert planted.get(key, namespace="keys") == {"key": key}
        assert planted.get_metadata(key, namespace="keys") == {"key": key}
        assert planted.list(namespace="keys", after=key) == [
            other for other in sorted(HOSTILE, key=str.encode) if other.encode() > key.encode()
        ]
        assert [entry.key for entry in planted.query(where("$key") == key, namespace="keys")] == [key]
    for key in HOSTILE:
        assert planted.delete(key, namespace="keys") is True
        assert planted.count(namespace="keys") == len(HOSTILE) - HOSTILE.index(key) - 1
    assert everything(planted) == before


@pytest.mark.parametrize("text", [text for text in HOSTILE if not set(text) & set("*?")])
def test_a_pattern_without_wildcards_is_literal(storage: StorageBackend, text: str) -> None:
    keys = {text, text + "x", "x" + text, "axb", "ab", "A", "a", "z", "ba", "_x", "%x"}
    storage.set_many(dict.fromkeys(keys, 1))
    assert storage.list(text) == [text]
    assert storage.list(text + "*") == sorted((key for key in keys if key.startswith(text)), key=str.encode)
    assert storage.list("*" + text) == sorted((key for key in keys if key.endswith(text)), key=str.encode)
    assert [entry.key for entry in storage.scan(prefix=text)] == storage.list(text + "*")


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("a%", ["a%"]),
        ("a_", ["a_"]),
        ("a%*", ["a%", "a%b"]),
        ("a_*", ["a_", "a_b"]),
        ("[ab]*", ["[ab]", "[ab]c"]),
        ("A*", ["A", "Ab"]),
        ("a\\*", ["a\\", "a\\b"]),
        ("a?", ["a%", "a\\", "a_", "ab"]),
        ("?", ["A", "a"]),
        ("*%*", ["a%", "a%b"]),
        ("*b", ["Ab", "a%b", "a\\b", "a_b", "ab"]),
        ("", []),
    ],
)
def test_wildcards_of_sql_are_plain_characters(storage: StorageBackend, pattern: str, matching: list[str]) -> None:
    keys = ["a", "A", "ab", "Ab", "a%", "a%b", "a_", "a_b", "a\\", "a\\b", "[ab]", "[ab]c"]
    storage.set_many(dict.fromkeys(keys, 1))
    assert storage.list(pattern) == sorted(matching, key=str.encode)


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "k" * 1025, None, 1, b"k", ["k"], {"k": 1}])
def test_a_key_that_is_none_is_refused_everywhere(storage: StorageBackend, key: Any) -> None:
    for attempt in (
        lambda: storage.get(key),
        lambda: storage.has(key),
        lambda: storage.set(key, 1),
        lambda: storage.delete(key),
        lambda: storage.get_metadata(key),
        lambda: storage.set_metadata(key, {}),
        lambda: storage.get_many([key]),
    ):
        with pytest.raises(InvalidKey):
            attempt()
    assert storage.count() == 0


# -- namespaces ------------------------------------------------------------------------------------------------------


def _of(tenant: str) -> list[str]:
    return sorted((name for name in TENANTS if name == tenant or name.startswith(tenant + "/")), key=str.encode)


@pytest.fixture
def tenants(storage: StorageBackend) -> StorageBackend:
    for tenant in TENANTS:
        storage.create_namespace(tenant, track_changes=True)
        storage.set("secret", {"of": tenant}, namespace=tenant)
        storage.create_index(tenant, FieldIndex("of"))
    return storage


@pytest.mark.parametrize("tenant", TENANTS)
def test_reads_of_one_tenant_return_no_other(tenants: StorageBackend, tenant: str) -> None:
    assert tenants.get("secret", namespace=tenant) == {"of": tenant}
    assert tenants.count(namespace=tenant) == 1
    assert [entry.namespace for entry in tenants.scan(namespace=tenant)] == [tenant]
    assert [entry.value for entry in tenants.query(where("of").exists(), namespace=tenant)] == [{"of": tenant}]
    assert [entry.value for entry in tenants.query(sort="-of", namespace=tenant)] == [{"of": tenant}]
    assert tenants.list("*", namespace=tenant) == ["secret"]
    assert {change.namespace for change in tenants.changes(namespace=tenant).changes} == {tenant}
    assert tenants.list_namespaces(prefix=tenant) == _of(tenant)
    info = tenants.get_namespace(tenant)
    assert info is not None
    assert info.entries == 1


@pytest.mark.parametrize("tenant", TENANTS)
def test_a_clear_touches_one_namespace_alone(tenants: StorageBackend, tenant: str) -> None:
    assert tenants.clear(namespace=tenant) == 1
    left = {entry.namespace for entry in everything(tenants)}
    assert left == set(TENANTS) - {tenant}


@pytest.mark.parametrize("tenant", TENANTS)
def test_a_recursive_deletion_takes_the_tenant_and_what_is_below_alone(tenants: StorageBackend, tenant: str) -> None:
    gone = set(_of(tenant))
    assert tenants.delete_namespace(tenant, recursive=True) == len(gone)
    assert {entry.namespace for entry in everything(tenants)} == set(TENANTS) - gone
    assert {change.namespace for change in tenants.changes().changes} <= set(TENANTS) - gone
    for other in set(TENANTS) - gone:
        assert [change.key for change in tenants.changes(namespace=other).changes] == ["secret"]
        assert list(tenants.list_indexes(other)) == ["of"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_namespace_is_a_namespace(planted: StorageBackend, name: str) -> None:
    before = everything(planted)
    planted.create_namespace(name, track_changes=True, metadata={"name": name})
    planted.set("k", {"n": 1}, namespace=name)
    planted.create_index(name, FieldIndex("n", unique=True))
    assert planted.query(where("n") == 1, namespace=name)[0].namespace == name
    assert planted.count(namespace=name, filter=where("n") >= 0) == 1
    assert [change.key for change in planted.changes(namespace=name).changes] == ["k"]
    assert planted.list_namespaces(prefix=name) == [name]
    assert planted.query(where("n") == 1, namespace="theirs")[0].value["secret"] == "theirs"
    assert planted.delete_namespace(name, recursive=True) == 1
    assert everything(planted) == before
    assert planted.check().ok


def test_the_segments_of_a_tuple_cannot_climb(storage: StorageBackend) -> None:
    storage.set("k", "theirs", namespace=("agents", "a1", "private"))
    assert storage.get("k", namespace=("agents", "a1/private")) is None
    assert storage.get("k", namespace=("agents/a1", "private")) is None
    storage.set("k", "mine", namespace=("agents", "a1/private"))
    assert storage.get("k", namespace=("agents", "a1", "private")) == "theirs"
    assert len(storage.list_namespaces(prefix=("agents", "a1"))) == 1
    for segments in ((), ("",), ("a", ""), ("a\0",), ("a", 1)):
        with pytest.raises(InvalidNamespace):
            storage.get("k", namespace=segments)  # type: ignore[arg-type]
