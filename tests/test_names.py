"""Names: rules of keys and namespaces, escaped levels, composite keys that sort as their parts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from mycelia_storage.errors import InvalidKey, InvalidNamespace
from mycelia_storage.names import check_key, check_namespace, is_below, join_key, key_prefix, split_key

# Small alphabets find what wide ones never do: every character that an encoding here gives a meaning to.
PART_TEXT = st.text("\x01\x02\x03ab~/", max_size=4)
PARTS = st.one_of(PART_TEXT, st.integers(-(2**63), 2**63 - 1), st.sampled_from([-1, 0, 1, 9, 10, 255, 256]))
SEGMENTS = st.lists(st.text("~/01ab", min_size=1, max_size=3), min_size=1, max_size=3).map(tuple)


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("good", ["a", " ", "a\n", "é", "\U0001f600", "\uffff", "x" * 1024, "é" * 512, "\x01", "a/b"])
def test_a_good_key_is_returned_unchanged(good: str) -> None:
    assert check_key(good) == good


@pytest.mark.parametrize("bad", ["", "\0", "a\0", "\ud800", "a\udfff", "x" * 1025, "é" * 513, None, 1, b"a", ("a",)])
def test_a_bad_key(bad: Any) -> None:
    with pytest.raises(InvalidKey):
        check_key(bad)


def test_a_subclass_of_str_becomes_a_plain_one() -> None:
    assert type(check_key(Text("a"))) is str
    assert type(check_namespace(Text("never seen before"))) is str


@pytest.mark.parametrize("good", ["a", "/", "a//b", "~", " ", "x" * 512, "é" * 256])
def test_a_namespace_given_as_a_string_is_any_good_name(good: str) -> None:
    assert check_namespace(good) == good
    assert check_namespace(good) == good


@pytest.mark.parametrize(
    "bad",
    ["", "a\0", "\ud800", "x" * 513, None, 1, b"a", ["a"], (), ("a", ""), ("a", 1), (("a",),), ("a\0",), {"a": 1}],
)
def test_a_bad_namespace(bad: Any) -> None:
    for _ in range(2):  # what is refused once is not remembered as good
        with pytest.raises(InvalidNamespace):
            check_namespace(bad)


@pytest.mark.parametrize(
    ("segments", "name"),
    [(("a",), "a"), (("a", "b"), "a/b"), (("a/b",), "a~1b"), (("a~b",), "a~0b"), (("~1", "/"), "~01/~1")],
)
def test_segments_are_escaped_and_joined(segments: tuple[str, ...], name: str) -> None:
    assert check_namespace(segments) == name


@given(SEGMENTS, SEGMENTS)
@example(("~1",), ("/",))
@example(("a", "b"), ("a/b",))
@example(("~0",), ("~",))
def test_different_segments_give_different_names(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (check_namespace(one) == check_namespace(other)) == (one == other)
    assert is_below(check_namespace(one), check_namespace(other)) == (one[: len(other)] == other)


def test_many_namespaces_do_not_confuse_the_cache() -> None:
    for round_ in range(2):
        for number in range(5_000):
            assert check_namespace(("cache", f"{number}/{round_}")) == f"cache/{number}~1{round_}"


@pytest.mark.parametrize(
    ("namespace", "below"),
    [
        ("a", True),
        ("a/b", True),
        ("a/b/c", True),
        ("a0", False),
        ("ab", False),
        ("A/b", False),
        ("", False),
        ("a.", False),
    ],
)
def test_below_is_by_level(namespace: str, below: bool) -> None:
    assert is_below(namespace, "a") is below


@given(st.lists(PARTS, min_size=1, max_size=4))
@example(["", ""])
@example(["\x01", "\x02", "\x02\x01"])
@example([-(2**63), 2**63 - 1])
def test_a_composite_key_splits_into_its_parts(parts: list[str | int]) -> None:
    assert split_key(join_key(*parts)) == tuple(parts)


def rank(parts: list[str | int]) -> list[tuple[int, str | int]]:
    """How the parts themselves order: integers before strings."""
    return [(0, part) if isinstance(part, int) else (1, part) for part in parts]


@given(st.lists(PARTS, min_size=1, max_size=3), st.lists(PARTS, min_size=1, max_size=3))
@example(["a"], ["a", "b"])
@example(["a\x01"], ["a", "a"])
@example(["a\x02"], ["a\x01"])
@example(["a"], ["a\x01"])
@example([9], [10])
@example([-1], [0])
@example(["room", 7], ["rooms", 1])
def test_composite_keys_order_as_their_parts(one: list[str | int], other: list[str | int]) -> None:
    assert (join_key(*one).encode() < join_key(*other).encode()) == (rank(one) < rank(other))


@given(st.lists(PARTS, min_size=1, max_size=2), st.lists(PARTS, min_size=1, max_size=3))
@example(["a"], ["a\x01", "b"])
@example(["a"], ["ab"])
def test_a_prefix_covers_exactly_the_keys_that_go_on(prefix: list[str | int], parts: list[str | int]) -> None:
    goes_on = len(parts) > len(prefix) and parts[: len(prefix)] == prefix
    assert join_key(*parts).startswith(key_prefix(*prefix)) == goes_on


@pytest.mark.parametrize(
    "bad", [(), (1.5,), (None,), (True,), (2**63,), (-(2**63) - 1,), ("a\0",), ("x" * 1024,), (b"a",)]
)
def test_bad_parts(bad: Any) -> None:
    with pytest.raises(InvalidKey):
        join_key(*bad)


@pytest.mark.parametrize(
    "foreign",
    ["plain", "sa\x01", "i12", "i" + "g" * 16, "x\x01sa", "i" + "-" + "0" * 15, "i" + "F" * 16, "sa\x02b", "sa\x02"],
)
def test_a_key_that_is_not_composite(foreign: str) -> None:
    with pytest.raises(InvalidKey):
        split_key(foreign)
