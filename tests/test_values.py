"""The value codec: what goes in comes out equal, and nothing else goes in."""

from __future__ import annotations

import datetime
import enum
import json
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from mycelia_storage.errors import InvalidValue
from mycelia_storage.values import (
    MAX_DEPTH,
    copy_value,
    decode_metadata,
    decode_value,
    encode_json,
    encode_metadata,
    encode_value,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Number(int):
    __slots__ = ()


class Mapping(dict[str, Any]):
    pass


@dataclass
class Point:
    x: int = 1


def nested(depth: int, kind: type) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


@given(JSON)
@example(-0.0)
@example(1.0)
@example([True, 1, 1.0])
@example(2**63 - 1)
@example(-(2**63))
@example("\0")
@example({"": {"": []}})
@example({"b": 1, "a": 2})
@example(5e-324)
@example(1e22)
def test_json_comes_back_equal(value: Any) -> None:
    stored = encode_value(value)
    assert type(stored) is str
    back = decode_value(stored)
    assert repr(back) == repr(value)  # tells 1 from 1.0 from true, the order of names, and the sign of zero
    assert json.loads(stored) == value


@pytest.mark.parametrize(
    "value", [b"", b"\0\xff", b"null", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"abcd")[::2]]
)
def test_bytes_come_back_equal(value: Any) -> None:
    stored = encode_value(value)
    assert type(stored) is bytes
    assert decode_value(stored) == bytes(value)


def test_bytes_stored_are_not_the_callers_buffer() -> None:
    buffer = bytearray(b"ab")
    stored = encode_value(buffer)
    buffer[0] = 0
    assert stored == b"ab"


@pytest.mark.parametrize(
    "bad",
    [
        nan,
        inf,
        -inf,
        2**63,
        -(2**63) - 1,
        2**64,
        (1,),
        {1},
        frozenset(),
        Colour.RED,
        Text("a"),
        Number(1),
        Mapping(),
        datetime.datetime(2024, 1, 1),
        Point(),
        object(),
        1j,
        b"a",
        bytearray(b"a"),
        "\ud800",
        "a\udfff",
        range(3),
        print,
    ],
    ids=lambda bad: repr(bad)[:20],
)
def test_what_is_no_json_is_refused_at_every_depth(bad: Any) -> None:
    values: list[Any] = [[bad], {"a": bad}, [1, "a", [None, {"b": [bad]}]], [1.0, bad], ["a", bad], [True, [], bad]]
    if not isinstance(bad, bytes | bytearray):
        values.append(bad)
    for value in values:
        with pytest.raises(InvalidValue):
            encode_value(value)
        with pytest.raises(InvalidValue):
            encode_metadata({"a": value})


@pytest.mark.parametrize("bad", [1, None, True, 1.5, b"a", ("a",), Text("a"), "\ud800"])
def test_the_names_of_an_object_are_plain_strings(bad: Any) -> None:
    for value in ({bad: 1}, [{bad: 1}], {"a": {"ok": 1, bad: 1}}):
        with pytest.raises(InvalidValue):
            encode_value(value)


@pytest.mark.parametrize("kind", [list, dict])
def test_depth(kind: type) -> None:
    deepest = nested(MAX_DEPTH, kind)
    assert decode_value(encode_value(deepest)) == deepest
    with pytest.raises(InvalidValue):
        encode_value(nested(MAX_DEPTH + 1, kind))
    with pytest.raises(InvalidValue):
        encode_value(nested(100_000, kind))


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidValue):
        encode_value(loop)


def test_floats_in_a_list_are_each_looked_at() -> None:
    with pytest.raises(InvalidValue):
        encode_value([1.0, inf, -inf])
    with pytest.raises(InvalidValue):
        encode_value([1.0, nan])
    huge = [1e308, 1e308, -1e308]  # their sum is infinite, they are not
    assert decode_value(encode_value(huge)) == huge


def test_text_is_compact_and_in_the_given_order() -> None:
    assert encode_json({"b": [1, 2.0, None], "a": "é"}) == '{"b":[1,2.0,null],"a":"é"}'


def test_what_only_files_of_the_original_hold_is_readable() -> None:
    assert decode_value("18446744073709551615") == 2**64 - 1
    assert decode_value('"\\ud800"') == "\ud800"


def test_metadata() -> None:
    assert encode_metadata(None) is None
    assert encode_metadata({}) is None
    assert decode_metadata(None) == {}
    assert decode_metadata(encode_metadata({"a": [1]})) == {"a": [1]}
    for bad in ([], "", 0, False, (), [1], "a", 1, Mapping(a=1), Mapping(), b""):
        with pytest.raises(InvalidValue):
            encode_metadata(bad)


def test_a_copy_shares_nothing() -> None:
    value = {"a": [1, {"b": []}]}
    copy = copy_value(value)
    copy["a"][1]["b"].append(1)
    assert value == {"a": [1, {"b": []}]}
