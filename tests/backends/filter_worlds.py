"""Small worlds of entries and filters at every boundary, for comparing filters as SQL with ``filters.match``."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from mycelia_storage.field_paths import FieldPath
from mycelia_storage.filters import And, Comparison, Filter, Or

HOSTILE_NAMESPACE = 'o\'hara "x" -- /*'


class Row(NamedTuple):
    namespace: str
    key: str
    value: Any
    metadata: dict[str, Any]
    created_at: int
    updated_at: int


NAMES = [
    "a",
    "b",
    "a.b",
    'a"b',
    "a\\b",
    "a'b",
    "[0]",
    "$",
    "$key",
    "é",
    "😀",
    " ",
    "\n",
    "\x01",
    "\\u0061",
    "#-1",
    "{}",
    "A",
]

SCALARS = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    1.0,
    -0.0,
    0.1 + 0.2,
    0.3,
    1e308,
    5e-324,
    2**53,
    float(2**53),
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    float(2**63),
    9.2e18,
    "",
    "a",
    "A",
    "ab",
    "b",
    "1",
    "true",
    "null",
    "a\x00",
    "a\x00b",
    "é",
    "é",
    "😀",
    "\ud7ff",
    "\ue000",
    "\U0010ffff",
    "a\U0010ffff",
    "%",
    "_",
    "[1]",
    "{}",
]


INJECTIONS = [
    "x') OR 1=1 --",
    "a' OR '1'='1",
    'a" OR 1=1 --',
    "a'); DROP TABLE storage_entries; --",
    "\\'; SELECT 1; --",
    "'||(SELECT value FROM storage_entries)||'",
    "?1",
    ":a",
    "{}",
    "/* */",
    "%s %(a)s %",
    "$1 $$",
]


class Strategies(NamedTuple):
    """What to draw: ``worlds`` are lists of (value, metadata)."""

    worlds: st.SearchStrategy[list[tuple[Any, dict[str, Any]]]]
    filters: st.SearchStrategy[Filter]
    sorts: st.SearchStrategy[Any]


def strategies(names_used: list[str], scalars_used: list[Any]) -> Strategies:
    """Strategies over these names of members and these scalars."""
    names = st.sampled_from(names_used)
    scalars = st.sampled_from(scalars_used)
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=6,
    )
    documents = st.dictionaries(names, values, max_size=4) | values | st.sampled_from([b"", b"{}", b'{"a":1}', b"\x0b"])
    segments = st.lists(names | st.sampled_from([0, 1, -1, -2]), max_size=2).map(tuple)
    paths = st.one_of(
        st.lists(names, min_size=1, max_size=1).map(lambda found: FieldPath("value", tuple(found))),
        segments.map(lambda found: FieldPath("value", found)),
        segments.map(lambda found: FieldPath("metadata", found)),
        st.sampled_from([FieldPath("key"), FieldPath("created_at"), FieldPath("updated_at")]),
    )
    texts = st.sampled_from([text for text in scalars_used if isinstance(text, str)])
    comparisons = st.one_of(
        st.builds(Comparison, paths, st.sampled_from(["eq", "ne", "contains"]), values),
        st.builds(Comparison, paths, st.sampled_from(["gt", "gte", "lt", "lte"]), scalars),
        st.builds(Comparison, paths, st.sampled_from(["startsWith", "endsWith", "contains"]), texts),
        st.builds(Comparison, paths, st.sampled_from(["in", "nin"]), st.lists(values, max_size=4)),
        st.builds(Comparison, paths, st.just("exists"), st.booleans()),
    )
    filters = st.recursive(
        comparisons,
        lambda inner: st.one_of(
            inner.map(lambda part: ~part),
            st.lists(inner, max_size=3).map(lambda parts: And(tuple(parts))),
            st.lists(inner, max_size=3).map(lambda parts: Or(tuple(parts))),
        ),
        max_leaves=5,
    )
    sorts = st.lists(st.tuples(paths, st.sampled_from(["asc", "desc"])), max_size=2)
    worlds = st.lists(st.tuples(documents, st.dictionaries(names, values, max_size=2)), min_size=1, max_size=8)
    return Strategies(worlds, filters, sorts)


def world(contents: list[tuple[Any, dict[str, Any]]]) -> list[Row]:
    return [
        Row(HOSTILE_NAMESPACE, f"{NAMES[at]}{at}", value, metadata, at % 3, 10 - at)
        for at, (value, metadata) in enumerate(contents)
    ]
