"""Several entries at once: get_many, set_many, delete_many, restore."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from ..contract import BatchResult, Entry, StorageBackend
from ..errors import BatchError, InvalidInput, InvalidKey, InvalidNamespace, InvalidValue, KeyExists, UniqueViolation
from ..indexes import FieldIndex
from ..names import check_namespace
from .fixtures import ContractCase, now_ms


class BatchContract(ContractCase):
    """The ``*_many`` methods and restore."""

    def test_get_many_keeps_the_order_and_leaves_missing_keys_out(self, storage: StorageBackend) -> None:
        storage.set_many({"a": 1, "b": None, "c": 3})
        assert list(storage.get_many(["c", "x", "a", "b", "c"]).items()) == [("c", 3), ("a", 1), ("b", None)]
        assert storage.get_many([]) == {}
        assert storage.get_many(iter(["b"])) == {"b": None}
        assert storage.get_many(["a"], namespace="nowhere") == {}

    def test_get_across_is_get_many_of_each_namespace(self, storage: StorageBackend) -> None:
        storage.set_many({"a": 1, "b": [2], "c": None}, namespace="n")
        storage.set_many({"a": b"bytes", "%s {s}": "odd"}, namespace=("n", "x/y"))
        storage.set("gone", 1, namespace="n", ttl=0.001)
        time.sleep(0.01)
        with storage.transaction(read_only=True) as snapshot:
            for reads in (storage, snapshot):
                wanted: dict[str | tuple[str, ...], Iterable[str]] = {
                    "n": ["c", "no", "a", "gone", "c"],
                    ("n", "x/y"): iter(["a", "%s {s}", "b"]),
                    "no/where": ["a"],
                    "m": [],
                }
                found = reads.get_across(wanted)
                assert list(found.items()) == [
                    ("n", {"c": None, "a": 1}),
                    (check_namespace(("n", "x/y")), {"a": b"bytes", "%s {s}": "odd"}),
                    ("no/where", {}),
                    ("m", {}),
                ]
                assert [list(held) for held in found.values()] == [["c", "a"], ["a", "%s {s}"], [], []]
        assert storage.get_across({}) == {}
        with storage.transaction() as tx:
            tx.set("a", 2, namespace="n")
            twice: dict[str | tuple[str, ...], list[str]] = {"n": ["a"], ("n",): ["b"]}
            assert tx.get_across(twice) == {"n": {"a": 2, "b": [2]}}
        with pytest.raises(InvalidKey):
            storage.get_across({"n": [""]})
        with pytest.raises(InvalidNamespace):
            storage.get_across({"": ["a"]})

    def test_get_many_of_very_many(self, storage: StorageBackend) -> None:
        storage.set_many((f"k{number}", number) for number in range(12_000))
        wanted = [f"k{number}" for number in reversed(range(0, 12_000, 2))]
        assert list(storage.get_many(wanted)) == wanted
        assert storage.delete_many(f"k{number}" for number in range(12_000)) == 12_000

    def test_set_many_takes_what_the_contract_names(self, storage: StorageBackend) -> None:
        assert storage.set_many({"a": 1, "b": 2}) == BatchResult(2, {})
        assert storage.set_many([("c", 3), ["d", 4]]) == BatchResult(2, {})  # type: ignore[list-item]
        assert storage.set_many(iter([("e", 5)])).written == 1
        entry = storage.get_entry("a")
        assert entry is not None
        assert storage.set_many([entry._replace(key="f"), {"key": "g", "value": 7}]).written == 2
        assert storage.set_many({}) == BatchResult(0, {})
        assert storage.set_many([]) == BatchResult(0, {})
        assert storage.get_many("abcdefg") == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 1, "g": 7}

    def test_an_items_own_options_win(self, storage: StorageBackend) -> None:
        storage.set_many(
            [
                ("plain", 1),
                {"key": "own", "value": 2, "namespace": "other", "metadata": {"own": 1}, "ttl": 500},
                {"key": "none", "value": 3, "metadata": None, "ttl": None},
                {"key": "segments", "value": 4, "namespace": ("a/b", "c")},
            ],
            namespace="n",
            metadata={"common": 1},
            ttl=1000,
        )
        plain = storage.get_entry("plain", namespace="n")
        own = storage.get_entry("own", namespace="other")
        none = storage.get_entry("none", namespace="n")
        assert plain is not None
        assert own is not None
        assert none is not None
        assert (plain.metadata, own.metadata, none.metadata) == ({"common": 1}, {"own": 1}, {})
        assert plain.expires_at is not None
        assert own.expires_at is not None
        assert own.expires_at < plain.expires_at
        assert none.expires_at is None
        assert storage.get("segments", namespace="a~1b/c") == 4

    def test_entries_given_to_set_many_get_new_versions_and_times(self, storage: StorageBackend) -> None:
        storage.set_many([Entry("n", "k", 1, {"m": 1}, 5, 1000, 1000, now_ms() + 100_000)])
        entry = storage.get_entry("k", namespace="n")
        assert entry is not None
        assert entry.metadata == {"m": 1}
        assert entry.version > 5
        assert entry.created_at > 1000
        assert entry.expires_at is not None

    def test_of_a_key_given_twice_the_last_wins(self, storage: StorageBackend) -> None:
        assert storage.set_many([("a", 1), ("b", 2), ("a", 3)]) == BatchResult(3, {})
        assert storage.get_many("ab") == {"a": 3, "b": 2}
        assert storage.count() == 2

    def test_one_bad_item_of_an_atomic_batch_writes_nothing(self, storage: StorageBackend) -> None:
        storage.set("old", 1)
        items: list[Any] = [
            ("good", 1),
            ("nan", float("nan")),
            ("", 1),
            {"key": "spaced", "value": 1, "namespace": ""},
            {"key": "timed", "value": 1, "ttl": 0},
            {"key": "described", "value": 1, "metadata": [1]},
            {"key": "unfinished"},
            {"key": "extra", "value": 1, "color": 2},
            ("late", 1),
        ]
        with pytest.raises(BatchError) as caught:
            storage.set_many(items)
        errors = caught.value.errors
        assert {key for _, key in errors} == {"nan", "", "spaced", "timed", "described", "unfinished", "extra"}
        assert isinstance(errors["default", "nan"], InvalidValue)
        assert isinstance(errors["default", ""], InvalidKey)
        assert isinstance(errors["", "spaced"], InvalidNamespace)
        assert isinstance(errors["default", "timed"], InvalidInput)
        assert storage.list() == ["old"]

    def test_every_bad_key_is_named_whatever_is_wrong_with_it(self, storage: StorageBackend) -> None:
        storage.create_index("default", FieldIndex("mail", unique=True))
        storage.set("old", {"mail": "x"})
        items: list[Any] = [("nan", float("nan")), ("old", 2), ("new", 1), ("new", 2), ("mail", {"mail": "x"}), ("", 1)]
        with pytest.raises(BatchError) as caught:
            storage.set_many(items, overwrite=False)
        assert {key: type(error) for (_, key), error in caught.value.errors.items()} == {
            "nan": InvalidValue,
            "old": KeyExists,
            "new": KeyExists,
            "mail": UniqueViolation,
            "": InvalidKey,
        }
        assert storage.list() == ["old"]

    def test_without_atomic_the_good_items_are_written(self, storage: StorageBackend) -> None:
        result = storage.set_many([("a", 1), ("bad", {1}), 5, ("b", 2)], atomic=False)  # type: ignore[list-item]
        assert result.written == 2
        assert len(result.errors) == 2
        assert isinstance(result.errors["default", "bad"], InvalidValue)
        assert storage.get_many("ab") == {"a": 1, "b": 2}

    def test_overwrite_false_in_a_batch(self, storage: StorageBackend) -> None:
        storage.set("old", 1)
        items = [("new", 1), ("old", 2), ("new", 3)]
        with pytest.raises(BatchError) as caught:
            storage.set_many(items, overwrite=False)
        assert set(caught.value.errors) == {("default", "old"), ("default", "new")}
        assert all(isinstance(error, KeyExists) for error in caught.value.errors.values())
        assert storage.get_many(["old", "new"]) == {"old": 1}
        result = storage.set_many(items, overwrite=False, atomic=False)
        assert result.written == 1
        assert set(result.errors) == {("default", "old"), ("default", "new")}
        assert storage.get_many(["old", "new"]) == {"old": 1, "new": 1}

    def test_a_unique_index_in_a_batch(self, storage: StorageBackend) -> None:
        storage.create_index("default", FieldIndex("mail", unique=True))
        items = [("a", {"mail": 1}), ("b", {"mail": 1}), ("c", {"mail": 2})]
        with pytest.raises(BatchError) as caught:
            storage.set_many(items)
        assert isinstance(caught.value.errors["default", "b"], UniqueViolation)
        assert storage.count() == 0
        assert storage.set_many(items, atomic=False).written == 2
        assert storage.list() == ["a", "c"]

    def test_an_iterable_that_fails_leaves_nothing_behind(self, storage: StorageBackend) -> None:
        def items() -> Iterator[tuple[str, int]]:
            for number in range(3_000):
                yield f"k{number}", number
            raise LookupError("source")

        for atomic in (True, False):
            with pytest.raises(LookupError, match="source"):
                storage.set_many(items(), atomic=atomic)
            assert storage.count() == 0
        storage.set("k", 1)

    def test_a_long_batch_is_one_transaction(self, storage: StorageBackend) -> None:
        seen = []

        def items() -> Iterator[tuple[str, Any]]:
            for number in range(5_000):
                if number % 1_000 == 0:
                    seen.append(storage.count())
                yield f"k{number}", number
            yield "bad", {1}

        with pytest.raises(BatchError):
            storage.set_many(items())
        assert set(seen) == {0}
        assert storage.count() == 0

    def test_delete_many_counts_what_existed(self, storage: StorageBackend) -> None:
        storage.set_many({"a": 1, "b": 2, "c": 3})
        assert storage.delete_many(["a", "x", "c", "a"]) == 2
        assert storage.delete_many([]) == 0
        assert storage.list() == ["b"]

    def test_delete_many_is_all_or_nothing(self, storage: StorageBackend) -> None:
        storage.set_many({"a": 1, "b": 2})
        with pytest.raises(InvalidKey):
            storage.delete_many(["a", ""])
        assert storage.list() == ["a", "b"]

    # -- restore ---------------------------------------------------------------------------------------------------

    def test_restore_keeps_version_times_and_expiry(self, storage: StorageBackend) -> None:
        entries = [
            Entry("n", "a", {"x": 1}, {"m": 1}, 5, 1000, 2000, None),
            Entry("n/m", "b", b"\0", {}, 6, 1001, 2001, now_ms() + 1_000_000),
        ]
        assert storage.restore(iter(entries)) == 2
        assert storage.get_entry("a", namespace="n") == entries[0]
        assert storage.get_entry("b", namespace="n/m") == entries[1]
        assert storage.set("a", 2, namespace="n") > 5

    def test_restore_leaves_expired_entries_out(self, storage: StorageBackend) -> None:
        assert (
            storage.restore([Entry("n", "a", 1, {}, 5, 1000, 1000, 2000), Entry("n", "b", 1, {}, 5, 1, 1, None)]) == 1
        )
        assert storage.list(namespace="n") == ["b"]

    def test_restore_never_lets_a_version_fall(self, storage: StorageBackend) -> None:
        version = storage.set("k", 1)
        for restored in (version, version - 1, 1):
            storage.restore([Entry("default", "k", 2, {}, restored, 1000, 1000, None)])
            entry = storage.get_entry("k")
            assert entry is not None
            assert (entry.value, entry.created_at) == (2, 1000)
            assert entry.version > version
            version = entry.version

    def test_restore_is_one_transaction_and_is_logged(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        bad = Entry("n", "", 1, {}, 5, 1, 1, None)
        good = [Entry("n", "a", 1, {}, 5, 1, 1, None), Entry("n", "b", 1, {}, 6, 1, 1, None)]
        with pytest.raises(InvalidKey):
            storage.restore([*good, bad])
        with pytest.raises(InvalidValue):
            storage.restore([*good, bad._replace(key="c", value={1})])
        with pytest.raises(InvalidInput):
            storage.restore([*good, bad._replace(key="c", version=0)])
        assert storage.list(namespace="n") == []
        assert storage.restore(good) == 2
        changes = storage.changes(namespace="n").changes
        assert [(change.operation, change.key, change.version) for change in changes] == [
            ("set", "a", 5),
            ("set", "b", 6),
        ]
