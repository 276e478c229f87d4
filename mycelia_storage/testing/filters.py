"""Filters and sorts: query and count agree with the meaning that ``filters.match`` gives, at every boundary."""

from __future__ import annotations

from typing import Any

import pytest

from ..contract import StorageBackend
from ..errors import InvalidFilter, InvalidInput
from ..filters import Filter, match, where
from .fixtures import ContractCase

#: Values that engines like to confuse.
VALUES: dict[str, Any] = {
    "01": {"a": None},
    "02": {"a": False},
    "03": {"a": True},
    "04": {"a": 0},
    "05": {"a": 1},
    "06": {"a": 1.0},
    "07": {"a": -0.0},
    "08": {"a": 2**53 + 1},
    "09": {"a": float(2**53)},
    "10": {"a": 2**63 - 1},
    "11": {"a": ""},
    "12": {"a": "1"},
    "13": {"a": "A%_b"},
    "14": {"a": "a%_b"},
    "15": {"a": "\uffff"},
    "16": {"a": "\U0001f600"},
    "17": {"a": "nul\0"},
    "18": {"a": []},
    "19": {"a": [1, "1", None, True]},
    "20": {"a": [[1]]},
    "21": {"a": {}},
    "22": {"a": {"b": 1, "c": [2]}},
    "23": {"a": {"c": [2.0], "b": 1}},
    "24": {"a.b": 1, 'q"': 2, "$key": 3, "a[0]": 4, "'; --": 5},
    "25": {"b": 1},
    "26": [10, 20],
    "27": "text",
    "28": 5,
    "29": None,
    "30": b"bytes",
    "31": {"a": 1.5, "b": {"a": 1}},
    "32": {"a": -(2**63)},
    "33": {"a": "é"},
}

OPERANDS: list[Any] = [
    None,
    False,
    True,
    0,
    1,
    1.0,
    2**53,
    2**53 + 1,
    2**63 - 1,
    "",
    "1",
    "a%_b",
    "\uffff",
    [],
    [1],
    {},
    {"b": 1, "c": [2]},
]

_NAMED = {"01": {"lang": "en"}, "05": {"lang": "de", "n": 1}, "30": {"lang": "en"}}


def _filters() -> list[Filter]:
    a = where("a")
    found = [
        test
        for operand in OPERANDS
        for test in (
            a == operand,
            a != operand,
            a.contains(operand) if not isinstance(operand, list | dict) else a == operand,
        )
    ]
    found += [
        test
        for operand in (0, 1, 1.0, 2**53, 2**53 + 1, 1.5, "", "1", "a", "\uffff")
        for test in (a > operand, a >= operand, a < operand, a <= operand)
    ]
    found += [~test for test in found[::5]]
    found += [a.exists(), a.exists(False), a.is_in([1, "1", None]), a.not_in([1, "1", None]), a.is_in([]), a.not_in([])]
    found += [
        a.starts_with("a%"),
        a.starts_with("A"),
        a.ends_with("_b"),
        a.ends_with(""),
        a.contains("%"),
        a.contains("L"),
    ]
    found += [where("a[0]") == 1, where("a[-1]") == True, where("a[9]").exists(), where("$value[0]") == 10]  # noqa: E712
    found += [
        where('["a.b"]') == 1,
        where('["q\\""]') == 2,
        where('["$key"]') == 3,
        where(("a[0]",)) == 4,
        where(("'; --",)) == 5,
    ]
    found += [
        where("b.a") == 1,
        where("a.b") == 1,
        where("a.c[0]") == 2,
        where("$value") == 5,
        where("$value") == "text",
    ]
    found += [
        where("$key") >= "10",
        where("$key").starts_with("0"),
        where("$metadata.lang") == "en",
        where("$created_at") > 0,
    ]
    found += [where("$metadata.n").exists(False), where("$updated_at") < 5, where("$metadata") == {}]
    found += [
        (a == 1) | (where("b") == 1),
        (a > 0) & (a < 2),
        ~((a > 0) & (a < 2)),
        ~(a.exists() | where("b").exists()),
    ]
    return found


FILTERS = _filters()


def _fill(storage: StorageBackend) -> None:
    storage.set_many({"key": key, "value": value, "metadata": _NAMED.get(key)} for key, value in VALUES.items())


class FilterContract(ContractCase):
    """query and count."""

    def test_every_filter_means_what_match_says(self, storage: StorageBackend) -> None:
        _fill(storage)
        entries = list(storage.scan())
        for condition in FILTERS:
            expected = [entry.key for entry in entries if match(condition, entry)]
            assert [entry.key for entry in storage.query(condition)] == expected, condition
            assert storage.count(filter=condition) == len(expected), condition
            assert [entry.key for entry in storage.query(condition, limit=2, offset=1)] == expected[1:3], condition

    @pytest.mark.parametrize(
        ("condition", "keys"),
        [
            (where("a") == 1, ["05", "06"]),
            (where("a") == True, ["03"]),  # noqa: E712
            (where("a") == "1", ["12"]),
            (where("a") == None, ["01"]),  # noqa: E711
            (where("a") == 2**53 + 1, ["08"]),
            (where("a") == float(2**53), ["09"]),
            (where("a") == {"c": [2], "b": 1}, ["22", "23"]),
            (where("a").contains("%_"), ["13", "14"]),
            (where("a").contains("1"), ["12", "19"]),
            (where("a").contains(True), ["19"]),
            (where("a").starts_with("a"), ["14"]),
            (where("a") >= "\uffff", ["15", "16"]),
            (where("a").exists(False), ["24", "25", "26", "27", "28", "29", "30"]),
            (where("a") > 2**53, ["08", "10"]),
            (where("$metadata.lang") == "en", ["01", "30"]),
            (~where("a").exists() & (where("$key") > "27"), ["28", "29", "30"]),
        ],
        ids=str,
    )
    def test_plain_examples(self, storage: StorageBackend, condition: Filter, keys: list[str]) -> None:
        _fill(storage)
        assert [entry.key for entry in storage.query(condition)] == keys

    def test_the_spelling_of_the_sources(self, storage: StorageBackend) -> None:
        storage.set_many({"a": {"age": 17, "name": "x"}, "b": {"age": 18, "name": "y"}, "c": {"age": 30, "name": "x"}})
        adult = {"field": "age", "operator": "gte", "value": 18}
        assert [entry.key for entry in storage.query(adult)] == ["b", "c"]
        both = [adult, {"field": "name", "operator": "eq", "value": "x"}]
        assert [entry.key for entry in storage.query(both)] == ["c"]
        assert storage.count(filter=both) == 1
        assert len(storage.query([])) == 3
        assert len(storage.query()) == 3

    @pytest.mark.parametrize(
        "bad",
        [
            {"field": "a"},
            {"field": "a", "operator": "like", "value": 1},
            {"field": "", "operator": "eq", "value": 1},
            {"field": "a..b", "operator": "eq", "value": 1},
            {"field": "$nothing", "operator": "eq", "value": 1},
            {"field": "a' OR 1=1 --[", "operator": "eq", "value": 1},
            {"field": "a", "operator": "startsWith", "value": 1},
            {"field": "a", "operator": "in", "value": "abc"},
            {"field": "a", "operator": "eq", "value": float("nan")},
            "age > 3",
            7,
        ],
        ids=str,
    )
    def test_bad_filters(self, storage: StorageBackend, bad: Any) -> None:
        with pytest.raises(InvalidInput):
            storage.query(bad)
        with pytest.raises(InvalidInput):
            storage.count(filter=bad)

    def test_injection_by_field_name_is_only_a_name(self, storage: StorageBackend) -> None:
        name = "a') OR 1=1; DELETE FROM storage_entries; --"
        storage.set_many({"hit": {name: 1}, "miss": {"a": 1}})
        condition = where((name,)) == 1
        assert [entry.key for entry in storage.query(condition, sort=[("$key", "asc")])] == ["hit"]
        assert storage.count() == 2

    # -- sort ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "sort", ["a", "-a", [("a", "desc"), ("$key", "desc")], {"field": "a", "order": "desc"}], ids=str
    )
    def test_sorting_across_types(self, storage: StorageBackend, sort: Any) -> None:
        from ..filters import parse_sort

        _fill(storage)
        expected = [entry.key for entry in parse_sort(sort).sorted(storage.scan())]
        assert [entry.key for entry in storage.query(sort=sort)] == expected
        assert [entry.key for entry in storage.query(sort=sort, limit=5, offset=3)] == expected[3:8]
        missing = {"24", "25", "26", "27", "28", "29", "30"}
        assert set(expected[-len(missing) :]) == missing

    def test_ties_go_by_key_and_types_have_an_order(self, storage: StorageBackend) -> None:
        storage.set_many({"d": {"a": 1}, "b": {"a": 1.0}, "c": {"a": "x"}, "a": {"a": True}, "e": {"a": None}, "f": {}})
        assert [entry.key for entry in storage.query(sort="a")] == ["e", "a", "b", "d", "c", "f"]
        assert [entry.key for entry in storage.query(sort="-a")] == ["c", "b", "d", "a", "e", "f"]

    def test_several_fields(self, storage: StorageBackend) -> None:
        storage.set_many({"a": {"x": 1, "y": 1}, "b": {"x": 2, "y": 1}, "c": {"x": 1, "y": 2}})
        assert [entry.key for entry in storage.query(sort=[("x", "desc"), ("y", "desc")])] == ["b", "c", "a"]
        assert [entry.key for entry in storage.query(where("x") == 1, sort="-y", limit=1)] == ["c"]

    @pytest.mark.parametrize("bad", ["", [("a", "up")], {"field": "a", "order": "sideways"}, 7, [("a",)]], ids=repr)
    def test_bad_sorts(self, storage: StorageBackend, bad: Any) -> None:
        with pytest.raises(InvalidFilter):
            storage.query(sort=bad)

    def test_query_gives_whole_entries(self, storage: StorageBackend) -> None:
        storage.set("k", {"a": 1}, namespace="n", metadata={"m": 1}, ttl=1000)
        assert storage.query(where("a") == 1, namespace="n") == [storage.get_entry("k", namespace="n")]
        assert storage.query(where("a") == 1) == []
