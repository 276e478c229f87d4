"""The injection class: names given by strangers are data, in every place that takes a name, on every backend.

The original pasted field names into SQL and matched namespaces and keys with unescaped LIKE, so a field name could
read other tenants' entries. Each test plants entries of two tenants and asks with hostile names for one tenant's.
"""

from __future__ import annotations

from typing import Any

import pytest

from mycelia_storage import FieldIndex, where
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidFilter, InvalidInput, TransactionError

from .conftest import everything
from .hostile import HOSTILE


def quoted(name: str) -> str:
    """The name as a path segment in brackets; plain quotes, no JSON escapes but these."""
    return '["' + name.replace("\\", "\\\\").replace('"', '\\"') + '"]'


# -- fields ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_a_field_name_selects_that_field_and_nothing_else(planted: StorageBackend, name: str) -> None:
    planted.set("own", {name: "here", "secret": "mine"}, namespace="mine", metadata={name: "noted"})
    before = everything(planted)
    spellings: list[Any] = [where((name,)) == "here"]
    if name.isprintable():
        spellings.append({"field": quoted(name), "operator": "eq", "value": "here"})
        spellings.append({"field": "$metadata" + quoted(name), "operator": "eq", "value": "noted"})
    for filter in spellings:
        assert [entry.key for entry in planted.query(filter, namespace="mine")] == ["own"]
        assert planted.count(namespace="mine", filter=filter) == 1
        assert planted.query(filter, namespace="theirs") == []
    for filter in (where((name,)).exists(), where((name,)).contains("er"), where((name,)).starts_with("he")):
        assert [entry.key for entry in planted.query(filter, namespace="mine")] == ["own"]
    assert everything(planted) == before


@pytest.mark.parametrize("name", HOSTILE)
def test_a_field_name_as_plain_text_is_a_path_or_refused(planted: StorageBackend, name: str) -> None:
    before = everything(planted)
    for operator in ("eq", "ne", "gt", "contains", "startsWith", "in", "nin", "exists"):
        operand: Any = {"in": ["x"], "nin": ["x"], "exists": True}.get(operator, "x")
        try:
            found = planted.query({"field": name, "operator": operator, "value": operand}, namespace="mine")
        except InvalidFilter:
            continue
        assert {entry.namespace for entry in found} <= {"mine"}
        if name not in ("value", "$value"):
            assert found == []
    assert everything(planted) == before


@pytest.mark.parametrize("name", HOSTILE)
def test_a_sort_field_orders_and_nothing_else(planted: StorageBackend, name: str) -> None:
    planted.set("a", {name: 2}, namespace="mine")
    planted.set("b", {name: 1}, namespace="mine")
    before = everything(planted)
    assert [entry.key for entry in planted.query(sort=((name,), "asc"), namespace="mine")][:2] == ["b", "a"]
    assert [entry.key for entry in planted.query(sort=((name,), "desc"), namespace="mine")][:2] == ["a", "b"]
    for sort in (name, "-" + name, {"field": name, "order": "asc"}):
        try:
            found = planted.query(sort=sort, namespace="mine", limit=10)
        except InvalidFilter:
            continue
        assert {entry.namespace for entry in found} == {"mine"}
        assert len(found) == 5
    assert everything(planted) == before


@pytest.mark.parametrize("order", ["asc; DROP TABLE storage_entries", "asc, (SELECT 1)", "", "desc --", "ASC NULLS"])
def test_a_sort_direction_is_one_of_two_words(planted: StorageBackend, order: str) -> None:
    with pytest.raises(InvalidFilter):
        planted.query(sort={"field": "n", "order": order}, namespace="mine")
    assert planted.count(namespace="theirs") == 3


@pytest.mark.parametrize("operator", ["= 1 OR 1", "LIKE", "==", "eq; --", "eq OR 1=1", "", "__eq__", None, 1, ["eq"]])
def test_an_unknown_operator_is_refused(planted: StorageBackend, operator: Any) -> None:
    with pytest.raises(InvalidFilter):
        planted.query({"field": "n", "operator": operator, "value": 1}, namespace="mine")


@pytest.mark.parametrize("operand", HOSTILE)
def test_an_operand_is_compared_and_nothing_else(planted: StorageBackend, operand: str) -> None:
    planted.set("own", {"text": f"<{operand}>", "list": [operand], "same": operand}, namespace="mine")
    before = everything(planted)
    matching = [
        where("same") == operand,
        where("same").is_in([operand, "other"]),
        where("text").contains(operand),
        where("list").contains(operand),
        where("text").starts_with("<" + operand),
        where("text").ends_with(operand + ">"),
        where("same") >= operand,
        ~(where("same") != operand),
    ]
    for filter in matching:
        assert "own" in [entry.key for entry in planted.query(filter, namespace="mine")]
    for filter in (*matching[:6], where("secret") == operand, where("secret").contains(operand)):
        assert {entry.key for entry in planted.query(filter, namespace="mine")} <= {"own"}
        assert planted.query(filter, namespace="theirs") == []
    assert everything(planted) == before


# -- indexes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_an_index_over_a_hostile_field_serves_it_and_nothing_else(planted: StorageBackend, name: str) -> None:
    planted.set("own", {name: "here"}, namespace="mine")
    before = everything(planted)
    if not name.isprintable():
        return
    chosen = planted.create_index("mine", FieldIndex([quoted(name), "secret"]), name=name)
    assert chosen == name
    assert list(planted.list_indexes("mine")) == [name]
    assert planted.list_indexes("theirs") == {}
    assert [entry.key for entry in planted.query(where((name,)) == "here", namespace="mine")] == ["own"]
    assert planted.query(where((name,)) == "here", namespace="theirs") == []
    assert everything(planted) == before
    planted.set("own", {name: "changed"}, namespace="mine")
    assert [entry.key for entry in planted.query(where((name,)) == "changed", namespace="mine")] == ["own"]
    assert planted.check().ok
    assert planted.drop_index("theirs", name) is False
    assert planted.drop_index("mine", name) is True
    assert planted.list_indexes("mine") == {}


@pytest.mark.parametrize("name", HOSTILE)
def test_dropping_an_index_of_a_hostile_name_drops_nothing(planted: StorageBackend, name: str) -> None:
    planted.create_index("mine", FieldIndex("n"))
    before = everything(planted)
    assert planted.drop_index("mine", name) is False
    assert list(planted.list_indexes("mine")) == ["n"]
    assert everything(planted) == before


@pytest.mark.parametrize("name", HOSTILE)
def test_a_plain_hostile_path_in_an_index_is_a_path_or_refused(planted: StorageBackend, name: str) -> None:
    before = everything(planted)
    try:
        planted.create_index("mine", FieldIndex(name, unique=True))
    except InvalidInput:
        assert planted.list_indexes("mine") == {}
    else:
        assert planted.list_indexes("mine") == {name: FieldIndex(name, unique=True)}
        planted.set("more", {"n": 1}, namespace="mine")
        planted.set("more", {"n": 1}, namespace="theirs")
        planted.delete("more", namespace="mine")
        planted.delete("more", namespace="theirs")
    assert everything(planted) == before
    assert planted.check().ok


# -- transaction ids -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["", "x", "1; ROLLBACK", "'; DROP TABLE storage_entries; --", "*", "%"])
def test_an_unknown_transaction_id_touches_no_other_transaction(planted: StorageBackend, id: str) -> None:
    transaction = planted.begin_transaction()
    transaction.set("k0", "pending", namespace="mine")
    with pytest.raises(TransactionError):
        planted.commit(id)
    with pytest.raises(TransactionError):
        planted.rollback(id)
    assert planted.get("k0", namespace="mine") != "pending"
    planted.commit(transaction.id)
    assert planted.get("k0", namespace="mine") == "pending"
