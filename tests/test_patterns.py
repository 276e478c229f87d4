"""Glob patterns: what they match, and that their ranges and LIKE forms leave no match out."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from mycelia_storage.errors import InvalidInput
from mycelia_storage.patterns import compile_pattern, is_prefix_pattern, literal_prefix, prefix_end, to_like

PATTERN = st.text("aA%_\\[]*?^$.\n", max_size=8)
KEY = st.text("aA%_\\[]*?^$.\n", max_size=8)
WIDE = st.text(st.characters(codec="utf-8"), max_size=4)


def matches(pattern: str, key: str) -> bool:
    """The meaning, by plain recursion."""
    if not pattern:
        return not key
    if pattern[0] == "*":
        return matches(pattern[1:], key) or (bool(key) and matches(pattern, key[1:]))
    return bool(key) and pattern[0] in ("?", key[0]) and matches(pattern[1:], key[1:])


@given(PATTERN, KEY)
@example("", "")
@example("*", "")
@example("?", "\n")
@example("a", "a\n")
@example("a*", "a\n")
@example("*a", "aa")
@example("*a*aa", "aaa")
@example("a*a", "a")
@example("a?*a", "aaa")
@example("**?", "a")
@example("[a]", "a")
@example("%", "a")
@example("A", "a")
@example("\\*", "\\a")
def test_a_pattern_means_what_it_says(pattern: str, key: str) -> None:
    assert compile_pattern(pattern)(key) is matches(pattern, key)


@given(PATTERN, st.lists(KEY, min_size=8, max_size=8))
def test_the_prefix_and_the_like_form_leave_no_match_out(pattern: str, runs: list[str]) -> None:
    fill = {"*": lambda: runs.pop(), "?": lambda: (runs.pop() or "x")[0]}
    key = "".join(fill[character]() if character in fill else character for character in pattern)
    assert matches(pattern, key)
    assert key.startswith(literal_prefix(pattern))
    assert like(to_like(pattern), key)


@given(PATTERN, KEY)
@example("a*", "ab")
@example("a**", "ab")
@example("a", "a")
def test_a_prefix_pattern_is_its_range(pattern: str, key: str) -> None:
    if is_prefix_pattern(pattern):
        assert matches(pattern, key) is key.startswith(literal_prefix(pattern))


def test_which_patterns_are_ranges() -> None:
    assert is_prefix_pattern("a%*")
    assert is_prefix_pattern("*")
    for pattern in ("", "a", "a?*", "*a*", "a*b", "a**", "?"):
        assert not is_prefix_pattern(pattern)


def like(pattern: str, key: str) -> bool:
    """LIKE with escape ``\\`` as SQLite defines it, case folding of ASCII included."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    expression = "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
    return re.fullmatch(expression, key, re.DOTALL | re.IGNORECASE) is not None


@pytest.mark.parametrize(
    ("pattern", "expected"), [("a%b", "a\\%b"), ("a_b", "a\\_b"), ("a\\b", "a\\\\b"), ("a*b?", "a%b_"), ("[x]", "[x]")]
)
def test_the_like_form(pattern: str, expected: str) -> None:
    assert to_like(pattern) == expected


@given(WIDE, WIDE)
@example("\ud7ff", "\ue000")
@example("\U0010ffff", "\U0010ffff\U0010ffff")
@example("a\U0010ffff", "b")
@example("a", "a\U0010ffff\U0010ffff")
@example("\uffff", "\U00010000")
def test_the_end_of_a_prefix(prefix: str, key: str) -> None:
    end = prefix_end(prefix)
    inside = prefix.encode() <= key.encode() and (end is None or key.encode() < end.encode())
    assert inside is key.startswith(prefix)


def test_there_is_no_end_to_the_last_character() -> None:
    assert prefix_end("") is None
    assert prefix_end("\U0010ffff\U0010ffff") is None
    assert prefix_end("a\U0010ffff") == "b"
    assert prefix_end("\ud7ff") == "\ue000"


@pytest.mark.parametrize("bad", [None, 1, b"a*", ["a"]])
def test_a_pattern_is_a_string(bad: Any) -> None:
    with pytest.raises(InvalidInput):
        compile_pattern(bad)
    with pytest.raises(InvalidInput):
        literal_prefix(bad)


def test_no_pattern_is_slow() -> None:
    started = time.monotonic()
    assert not compile_pattern("*a" * 400 + "b")("a" * 1024)
    assert not compile_pattern("*a?" * 300 + "b")("a" * 1024)
    # Backtracking would take longer than anyone waits; this bound only tells the two apart.
    assert time.monotonic() - started < 30
