"""Values: JSON data and bytes come back equal, anything else is refused."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass
from math import copysign, inf, nan
from typing import Any

import pytest

from ..contract import StorageBackend
from ..errors import InvalidValue
from .fixtures import ContractCase


class _Colour(enum.IntEnum):
    RED = 1


class _Text(str):
    __slots__ = ()


@dataclass
class _Point:
    x: int = 1


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


GOOD_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    0.0,
    0.1,
    1.0,
    1e308,
    5e-324,
    -1.5,
    "",
    "5",
    "nul \0 inside",
    "\U0001f600 \u2028 \ufeff é e\u0301",
    '"quotes" and \\ and \n',
    "\x01\x1f\x7f",
    [],
    {},
    [[]],
    [{}],
    {"": ""},
    {"a.b": {"c[0]": 1}, "$key": 2, 'quo"te': 3, "nul\0": 4},
    [True, 1, 1.0, "1", None],
    {"z": 1, "a": 2},
    _nested(200),
    list(range(5000)),
    b"",
    b"\x00\xff",
    b'{"not": "parsed"}',
    "x" * 2_000_000,
    b"\x00" * 2_000_000,
]

BAD_VALUES: list[Any] = [
    nan,
    inf,
    -inf,
    2**63,
    -(2**63) - 1,
    (1, 2),
    {1, 2},
    {1: 2},
    {None: 1},
    {_Text("a"): 1},
    _Colour.RED,
    _Text("a"),
    datetime.datetime(2024, 1, 1),
    datetime.date(2024, 1, 1),
    _Point(),
    object(),
    1j,
    "\ud800",
    {"\udfff": 1},
    _nested(201),
    b"inside".join,
]


class ValueContract(ContractCase):
    """What may be stored, and that it comes back equal."""

    @pytest.mark.parametrize("value", GOOD_VALUES, ids=lambda value: repr(value)[:20])
    def test_a_value_comes_back_equal(self, storage: StorageBackend, value: Any) -> None:
        storage.set("k", value)
        entry = storage.get_entry("k")
        assert entry is not None
        for got in (storage.get("k"), entry.value, storage.get_many(["k"])["k"], next(storage.scan()).value):
            assert got == value
            assert type(got) is type(value)
        if isinstance(value, list):
            assert list(map(type, entry.value)) == list(map(type, value))

    def test_minus_zero_keeps_its_sign(self, storage: StorageBackend) -> None:
        storage.set("k", [-0.0, 0.0])
        assert [copysign(1, number) for number in storage.get("k")] == [-1, 1]

    def test_the_order_of_an_object_is_kept(self, storage: StorageBackend) -> None:
        storage.set("k", {"z": 1, "a": {"y": 1, "b": 2}})
        assert list(storage.get("k")) == ["z", "a"]
        assert list(storage.get("k")["a"]) == ["y", "b"]

    @pytest.mark.parametrize("value", [bytearray(b"ab\0"), memoryview(b"ab\0")], ids=["bytearray", "memoryview"])
    def test_other_bytes_count_as_bytes(self, storage: StorageBackend, value: Any) -> None:
        storage.set("k", value)
        assert storage.get("k") == b"ab\0"
        assert type(storage.get("k")) is bytes

    @pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: repr(value)[:20])
    def test_what_would_not_come_back_equal_is_refused(self, storage: StorageBackend, value: Any) -> None:
        storage.set("k", 1)
        for bad in (value, [value], {"a": value}, [1, 2, {"a": [value]}]):
            with pytest.raises(InvalidValue):
                storage.set("k", bad)
        with pytest.raises(InvalidValue):
            storage.set("k", 2, metadata={"a": value})
        with pytest.raises(InvalidValue):
            storage.set_metadata("k", {"a": value})
        assert storage.get("k") == 1
        assert storage.get_metadata("k") == {}

    def test_bytes_inside_json_are_refused(self, storage: StorageBackend) -> None:
        for bad in ([b"a"], {"a": b"a"}, {b"a": 1}):
            with pytest.raises(InvalidValue):
                storage.set("k", bad)
        assert not storage.has("k")

    @pytest.mark.parametrize("metadata", [[1], "a", 1, b"a", (("a", 1),), True], ids=repr)
    def test_metadata_is_an_object(self, storage: StorageBackend, metadata: Any) -> None:
        with pytest.raises(InvalidValue):
            storage.set("k", 1, metadata=metadata)
        assert not storage.has("k")
        storage.set("k", 1)
        with pytest.raises(InvalidValue):
            storage.set_metadata("k", metadata)
