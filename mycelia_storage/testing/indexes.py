"""Field indexes: declared, kept up, unique."""

from __future__ import annotations

from typing import Any

import pytest

from ..contract import Entry, StorageBackend
from ..errors import InvalidFilter, InvalidInput, UniqueViolation
from ..filters import match, where
from ..indexes import FieldIndex
from .filters import FILTERS, VALUES
from .fixtures import ContractCase


class IndexContract(ContractCase):
    """create_index, drop_index, list_indexes."""

    def test_declaring_and_dropping(self, storage: StorageBackend) -> None:
        assert storage.list_indexes("n") == {}
        assert storage.create_index("n", FieldIndex("b")) == "b"
        assert storage.create_index("n", FieldIndex(["b", "a.x"])) == "b,a.x"
        assert storage.create_index("n", FieldIndex("c", unique=True), name="'; -- \"") == "'; -- \""
        assert list(storage.list_indexes("n").items()) == [
            ("'; -- \"", FieldIndex("c", unique=True)),
            ("b", FieldIndex("b")),
            ("b,a.x", FieldIndex(("b", "a.x"))),
        ]
        assert storage.list_indexes("default") == {}
        assert storage.drop_index("n", "b") is True
        assert storage.drop_index("n", "b") is False
        assert storage.drop_index("nowhere", "b") is False
        assert list(storage.list_indexes("n")) == ["'; -- \"", "b,a.x"]

    def test_the_same_declaration_again_changes_nothing(self, storage: StorageBackend) -> None:
        storage.create_index("n", FieldIndex("a"))
        assert storage.create_index("n", FieldIndex("a")) == "a"
        with pytest.raises(InvalidInput):
            storage.create_index("n", FieldIndex("a", unique=True))
        with pytest.raises(InvalidInput):
            storage.create_index("n", FieldIndex("b"), name="a")
        assert storage.list_indexes("n") == {"a": FieldIndex("a")}

    @pytest.mark.parametrize("path", ["a..b", "$nothing", "a[", "a[x]", '["', "a'); DROP TABLE x; --["])
    def test_bad_paths(self, storage: StorageBackend, path: str) -> None:
        with pytest.raises(InvalidFilter):
            storage.create_index("n", FieldIndex(path))
        assert storage.list_indexes("n") == {}

    @pytest.mark.parametrize("name", ["", "a\0b", 7], ids=repr)
    def test_bad_names(self, storage: StorageBackend, name: Any) -> None:
        with pytest.raises(InvalidInput):
            storage.create_index("n", FieldIndex("a"), name=name)

    def test_what_is_no_declaration(self, storage: StorageBackend) -> None:
        for bad in ("a", None, {"kind": "field"}):
            with pytest.raises(InvalidInput):
                storage.create_index("n", bad)  # type: ignore[arg-type]

    def test_an_index_changes_no_answer(self, storage: StorageBackend) -> None:
        for path in ("a", "a.b", "a[0]", "$metadata.lang", "$key", "$value", '["a.b"]', '["\'; --"]'):
            storage.create_index("default", FieldIndex(path))
        storage.create_index("default", FieldIndex(["a", "b"]))
        storage.set_many(VALUES)
        entries = list(storage.scan())
        for condition in FILTERS:
            expected = [entry.key for entry in entries if match(condition, entry)]
            assert [entry.key for entry in storage.query(condition)] == expected, condition
            assert storage.count(filter=condition) == len(expected), condition
        assert storage.check().ok

    def test_it_follows_every_write(self, storage: StorageBackend) -> None:
        storage.create_index("n", FieldIndex("a"))
        storage.set("k", {"a": 1}, namespace="n")
        storage.set("k", {"a": 2}, namespace="n")
        storage.set("l", {"a": 2}, namespace="n")
        assert storage.count(namespace="n", filter=where("a") == 1) == 0
        assert [entry.key for entry in storage.query(where("a") == 2, namespace="n")] == ["k", "l"]
        storage.delete("k", namespace="n")
        assert [entry.key for entry in storage.query(where("a") == 2, namespace="n")] == ["l"]
        storage.clear(namespace="n")
        assert storage.query(where("a") == 2, namespace="n") == []

    # -- unique ----------------------------------------------------------------------------------------------------

    def test_unique_refuses_a_second_entry(self, storage: StorageBackend) -> None:
        storage.create_index("n", FieldIndex("mail", unique=True))
        storage.set("a", {"mail": "x"}, namespace="n")
        with pytest.raises(UniqueViolation):
            storage.set("b", {"mail": "x"}, namespace="n")
        assert storage.list(namespace="n") == ["a"]
        storage.set("b", {"mail": "X"}, namespace="n")
        with pytest.raises(UniqueViolation):
            storage.set("b", {"mail": "x"}, namespace="n")
        assert storage.get("b", namespace="n") == {"mail": "X"}
        storage.set("a", {"mail": "x", "again": 1}, namespace="n")
        storage.set("b", {"mail": "x"}, namespace="elsewhere")
        storage.delete("a", namespace="n")
        storage.set("b", {"mail": "x"}, namespace="n")

    def test_who_takes_part(self, storage: StorageBackend) -> None:
        storage.create_index("default", FieldIndex("a", unique=True))
        for number, value in enumerate([{}, {"a": None}, {"a": []}, {"a": {}}, {"a": [1]}, 5, "text", b"bytes", [1]]):
            storage.set(f"{number}", value)
            storage.set(f"{number}'", value)
        for number, values in enumerate(
            [(1, 1.0), (0.0, -0.0), (0, -0.0), (True, True), ("", ""), (2**60, float(2**60))]
        ):
            storage.set(f"x{number}", {"a": values[0]}) if number != 2 else None
            with pytest.raises(UniqueViolation):
                storage.set(f"y{number}", {"a": values[1]})
        for distinct in (False, "1", "true", 2**53, 2**53 + 1, "nul\0", "nul\0more", "é", "e\u0301"):
            storage.set(f"z{distinct!r}", {"a": distinct})
        assert storage.check().ok

    def test_unique_over_several_paths(self, storage: StorageBackend) -> None:
        storage.create_index("default", FieldIndex(["a", "$metadata.b"], unique=True))
        storage.set("1", {"a": 1}, metadata={"b": "x"})
        storage.set("2", {"a": 1}, metadata={"b": "y"})
        storage.set("3", {"a": 1})
        storage.set("4", {"a": 1})
        with pytest.raises(UniqueViolation):
            storage.set("5", {"a": 1}, metadata={"b": "x"})
        with pytest.raises(UniqueViolation):
            storage.set_metadata("3", {"b": "y"})
        assert storage.get_metadata("3") == {}
        storage.set_metadata("2", {"b": "z"})
        storage.set_metadata("3", {"b": "y"})

    def test_parts_do_not_run_together(self, storage: StorageBackend) -> None:
        storage.create_index("default", FieldIndex(["a", "b"], unique=True))
        storage.set("1", {"a": "x,", "b": "y"})
        storage.set("2", {"a": "x", "b": ",y"})
        storage.set("3", {"a": "x', 'y", "b": ""})
        storage.set("4", {"a": "x", "b": "', 'y"})
        assert storage.count() == 4

    def test_unique_over_entries_that_already_collide(self, storage: StorageBackend) -> None:
        storage.set_many({"a": {"x": 1}, "b": {"x": 1.0}}, namespace="n")
        with pytest.raises(UniqueViolation):
            storage.create_index("n", FieldIndex("x", unique=True))
        assert storage.list_indexes("n") == {}
        storage.set("b", {"x": 2}, namespace="n")
        storage.create_index("n", FieldIndex("x", unique=True))
        with pytest.raises(UniqueViolation):
            storage.set("c", {"x": 2}, namespace="n")
        storage.drop_index("n", "x")
        storage.set("c", {"x": 2}, namespace="n")

    def test_unique_holds_for_restore_and_after_clear(self, storage: StorageBackend) -> None:
        storage.create_index("n", FieldIndex("x", unique=True))
        storage.set("a", {"x": 1}, namespace="n")
        with pytest.raises(UniqueViolation):
            storage.restore([Entry("n", "b", {"x": 1}, {}, 5, 1, 1, None)])
        storage.clear(namespace="n")
        storage.restore([Entry("n", "b", {"x": 1}, {}, 5, 1, 1, None)])
        with pytest.raises(UniqueViolation):
            storage.set("a", {"x": 1}, namespace="n")

    def test_messages_name_no_values(self, storage: StorageBackend) -> None:
        storage.create_index("n", FieldIndex("x", unique=True))
        storage.set("a", {"x": "secret-value"}, namespace="n")
        with pytest.raises(UniqueViolation) as caught:
            storage.set("b", {"x": "secret-value"}, namespace="n")
        assert "secret-value" not in str(caught.value)
        assert "'b'" in str(caught.value)
