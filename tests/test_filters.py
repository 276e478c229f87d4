"""The meaning of filters, sorts and field paths, by example at every boundary."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from mycelia_storage.errors import InvalidFilter, InvalidValue
from mycelia_storage.field_paths import MISSING, FieldPath, parse_path
from mycelia_storage.filters import And, Comparison, Filter, Not, Or, identity, match, parse_filter, parse_sort, where
from mycelia_storage.where_text import parse_where


class Row(NamedTuple):
    namespace: str = "n"
    key: str = "k"
    value: Any = None
    metadata: dict[str, Any] = {}  # noqa: RUF012
    created_at: int = 1000
    updated_at: int = 2000


def holds(filter: Any, value: Any, **parts: Any) -> bool:
    parsed = parse_filter(filter)
    assert parsed is not None
    return match(parsed, Row(value=value, **parts))


# -- operators ---------------------------------------------------------------------------------------------------------

a = where("a")


@pytest.mark.parametrize(
    ("filter", "value", "expected"),
    [
        (a == 1, 1, True),
        (a == 1, 1.0, True),
        (a == 1.0, 1, True),
        (a == 1, True, False),
        (a == True, 1, False),  # noqa: E712
        (a == True, True, True),  # noqa: E712
        (a == 0, -0.0, True),
        (a == 5, "5", False),
        (a == "5", 5, False),
        (a == 2**53 + 1, float(2**53), False),
        (a == 2**63 - 1, float(2**63), False),
        (a == None, None, True),  # noqa: E711
        (a == None, False, False),  # noqa: E711
        (a == 0, None, False),
        (a == [1], [1.0], True),
        (a == [True], [1], False),
        (a == {"x": 1, "y": 2}, {"y": 2.0, "x": 1}, True),
        (a == {"x": 1}, {"x": 1, "y": 2}, False),
        (a == [], {}, False),
        (a == [["x", 1]], {"x": 1}, False),
        (a != 1, 2, True),
        (a != 1, "1", True),
        (a != 1, None, True),
        (a != 1, 1.0, False),
        (a != None, 1, True),  # noqa: E711
        (a > 1, 1.5, True),
        (a > 1, 1, False),
        (a >= 1, 1, True),
        (a < 2**53 + 1, float(2**53), True),
        (a > 0, True, False),
        (a >= 0, None, False),
        (a > 1, "2", False),
        (a > "a", "b", True),
        (a > "a", "B", False),
        (a > "\ud7ff", "\U0001f600", True),
        (a > "\uffff", "\U0001f600", True),
        (a >= None, None, False),
        (a >= True, True, False),
        (a >= [1], [1], False),
        (a.contains("b"), "abc", True),
        (a.contains("B"), "abc", False),
        (a.contains(""), "", True),
        (a.contains("\0"), "a\0", True),
        (a.contains(1), "1", False),
        (a.contains(1), [1.0], True),
        (a.contains(1), [True], False),
        (a.contains("a"), ["ab"], False),
        (a.contains("a"), {"a": 1}, False),
        (a.contains(None), [None], True),
        (a.contains([1]), [[1.0]], True),
        (a.contains({"x": 1}), [{"x": 1}], True),
        (a.starts_with("ab"), "abc", True),
        (a.starts_with("AB"), "abc", False),
        (a.starts_with(""), "", True),
        (a.starts_with(""), None, False),
        (a.starts_with("a"), ["a"], False),
        (a.ends_with("bc"), "abc", True),
        (a.ends_with(""), "abc", True),
        (a.ends_with("abcd"), "abc", False),
        (a.is_in([1, "x"]), 1.0, True),
        (a.is_in([1, "x"]), True, False),
        (a.is_in([]), 1, False),
        (a.is_in([None]), None, True),
        (a.is_in([[1]]), [1], True),
        (a.is_in((1, 2)), 2, True),
        (a.not_in([1]), 2, True),
        (a.not_in([1]), 1.0, False),
        (a.not_in([]), None, True),
        (a.exists(), None, True),
        (a.exists(False), None, False),
    ],
)
def test_operator(filter: Filter, value: Any, expected: bool) -> None:
    assert holds(filter, {"a": value}) is expected
    assert holds(~filter, {"a": value}) is not expected


@pytest.mark.parametrize(
    "filter",
    [
        a == 1,
        a == None,  # noqa: E711
        a != 1,
        a > 0,
        a < 0,
        a.contains("x"),
        a.starts_with(""),
        a.ends_with(""),
        a.is_in([None]),
        a.not_in([1]),
        a.exists(),
    ],
)
@pytest.mark.parametrize("value", [{}, {"b": 1}, None, 1, "a", [1], b"bytes", b'{"a": 1}'])
def test_a_missing_field_meets_only_exists_false(filter: Filter, value: Any) -> None:
    assert not holds(filter, value)
    assert holds(~filter, value)
    assert holds(a.exists(False), value)


def test_bytes_match_on_key_metadata_and_times_only() -> None:
    assert holds(where("$key") == "k", b"x")
    assert holds(where("$metadata.lang") == "en", b"x", metadata={"lang": "en"})
    assert holds(where("$created_at") >= 1000, b"x")
    assert holds(where("$updated_at") == 2000.0, b"x")
    assert holds(where("$value").exists(False), b"x")


# -- joining -----------------------------------------------------------------------------------------------------------


def test_and_or_not() -> None:
    both = (a == 1) & (where("b") == 2)
    assert holds(both, {"a": 1, "b": 2})
    assert not holds(both, {"a": 1})
    either = (a == 1) | (where("b") == 2)
    assert holds(either, {"b": 2})
    assert not holds(~either, {"b": 2})
    assert holds(~either, {})
    assert ~~both == both


def test_an_empty_and_holds_and_an_empty_or_does_not() -> None:
    assert holds(And(()), 1)
    assert not holds(Or(()), 1)


def test_filters_and_fields_have_no_truth_value() -> None:
    with pytest.raises(InvalidFilter, match="&"):
        _ = (a == 1) and (a == 2)
    with pytest.raises(InvalidFilter, match="&"):
        _ = 1 < a < 5
    with pytest.raises(InvalidFilter, match="contains"):
        _ = "x" in a
    with pytest.raises(TypeError):
        hash(a)
    with pytest.raises(TypeError):
        _ = (a == 1) & {"field": "b"}


def test_a_long_chain_is_one_level_and_deep_nesting_is_refused() -> None:
    chain: Filter = a == 0
    for number in range(1, 1000):
        chain = chain | (a == number)
    assert holds(chain, {"a": 999})
    nested: Filter = a == 1
    for _ in range(199):
        nested = Not(nested)
    assert not holds(nested, {"a": 1})
    with pytest.raises(InvalidFilter, match="200"):
        Not(nested)
    given: list[Any] = []
    given.append(given)
    with pytest.raises(InvalidFilter, match="200"):
        parse_filter(given)


# -- spellings ---------------------------------------------------------------------------------------------------------


def test_the_sources_form() -> None:
    assert parse_filter({"field": "age", "operator": "gte", "value": 18}) == (where("age") >= 18)
    assert parse_filter([{"field": "a", "operator": "eq", "value": 1}, [a != 2]]) == And((a == 1, a != 2))
    assert parse_filter({"field": "a", "operator": "starts_with", "value": "x"}) == a.starts_with("x")
    assert parse_filter({"field": "a", "operator": "endsWith", "value": "x"}) == a.ends_with("x")
    assert parse_filter({"field": "a", "operator": "not_in", "value": [1]}) == a.not_in([1])
    assert parse_filter({"field": "a", "operator": "exists"}) == a.exists()
    assert parse_filter({"field": ("a.b",), "operator": "eq", "value": None}) == (where(("a.b",)) == None)  # noqa: E711


def test_no_filter() -> None:
    assert parse_filter(None) is None
    assert parse_filter([]) is None
    assert parse_filter([[], []]) is None


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"field": "a"},
        {"field": "a", "operator": "eq"},
        {"field": "a", "operator": "EQ", "value": 1},
        {"field": "a", "operator": "= 1 OR 1", "value": 1},
        {"field": "a", "operator": ["eq"], "value": 1},
        {"field": "a", "operator": "eq", "value": 1, "and": 2},
        {"field": 1, "operator": "eq", "value": 1},
        {"field": "a", "operator": "in", "value": "abc"},
        {"field": "a", "operator": "in", "value": 1},
        {"field": "a", "operator": "nin", "value": {"x": 1}},
        {"field": "a", "operator": "exists", "value": 1},
        {"field": "a", "operator": "startsWith", "value": 1},
        {"field": "a", "operator": "endsWith", "value": None},
        [None],
        "a = 1",
        True,
        a,
    ],
)
def test_bad_filters_are_refused(given: Any) -> None:
    with pytest.raises(InvalidFilter):
        parse_filter(given)


@pytest.mark.parametrize("operand", [2**63, float("nan"), float("inf"), b"x", (1,), {1: 2}, "\ud800", object(), [{1}]])
def test_operands_are_legal_values(operand: Any) -> None:
    with pytest.raises(InvalidValue):
        _ = a == operand
    with pytest.raises(InvalidValue):
        a.is_in([operand])


def test_an_operand_is_not_shared_with_the_caller() -> None:
    operand = [1]
    filter = a == operand
    operand.append(2)
    assert holds(filter, {"a": [1]})


def test_identity_is_equality_as_json() -> None:
    assert identity([1, {"x": None}]) == identity([1.0, {"x": None}])
    assert len({identity(value) for value in [True, 1, "1", None, [], {}, [1], [True]]}) == 8


# -- field paths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "root", "segments"),
    [
        ("a", "value", ("a",)),
        ("a.b", "value", ("a", "b")),
        ('a["b.c"]', "value", ("a", "b.c")),
        ('["$key"]', "value", ("$key",)),
        (r'a["\"\\é"].c', "value", ("a", '"\\é', "c")),
        ("tags[0]", "value", ("tags", 0)),
        ("tags[-1].x", "value", ("tags", -1, "x")),
        ("$value", "value", ()),
        ("$value[0]", "value", (0,)),
        ("$value.a", "value", ("a",)),
        ("a.$key", "value", ("a", "$key")),
        ("$key", "key", ()),
        ("$metadata", "metadata", ()),
        ("$metadata.x[1]", "metadata", ("x", 1)),
        ("$created_at", "created_at", ()),
        ("$updated_at", "updated_at", ()),
        (" a ", "value", (" a ",)),
        ('a"b]', "value", ('a"b]',)),
        ("x') OR 1=1 --", "value", ("x') OR 1=1 --",)),
        (("a.b", "$key", "[0]", 0), "value", ("a.b", "$key", "[0]", 0)),
    ],
)
def test_paths(path: Any, root: Any, segments: tuple[Any, ...]) -> None:
    parsed = parse_path(path)
    assert parsed == FieldPath(root, segments)
    assert parse_path(str(parsed)) == parsed


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        ".a",
        "a.",
        "a..b",
        "a[",
        "a[]",
        "a[x]",
        "a['x']",
        'a["x"',
        'a["x',
        'a[""]',
        "a[0]b",
        "a[1.5]",
        "a[99999999999]",
        "$",
        "$version",
        "$expires_at",
        "$keys",
        "$key.x",
        "$created_at[0]",
        "$metadata.",
        "\ud800",
        "a[٣]",
        (),
        ("",),
        ("a", ""),
        ("a", 1.0),
        ("a", True),
        ("a", None),
        (2**31,),
        None,
        1,
        b"a",
        ("a",) * 201,
    ],
)
def test_bad_paths_are_refused(path: Any) -> None:
    with pytest.raises(InvalidFilter):
        where(path)


def test_what_a_path_reads() -> None:
    row = Row(value={"a": {"b.c": 1, "0": 2}, "t": [1, None], "n": None, "": 3}, metadata={"x": {"y": 4}})
    reads = {
        'a["b.c"]': 1,
        "a.0": 2,
        "a[0]": MISSING,
        "a.b.c": MISSING,
        "t[0]": 1,
        "t[-2]": 1,
        "t[2]": MISSING,
        "t[-3]": MISSING,
        "t.0": MISSING,
        "n": None,
        "n.x": MISSING,
        "$metadata.x.y": 4,
        "$metadata.y": MISSING,
        "$value": row.value,
        "$key": "k",
    }
    assert {path: parse_path(path).read(row) for path in reads} == reads


# -- sort --------------------------------------------------------------------------------------------------------------


def order(sort: Any, *values: Any) -> list[Any]:
    rows = [Row(key=f"{at:03}", value=value) for at, value in enumerate(values)]
    return [row.value for row in parse_sort(sort).sorted(reversed(rows))]


def test_sort_across_types_with_missing_last_in_both_directions() -> None:
    up = [None, False, True, -1, 0.5, 2, "", "B", "a", "\uffff", "😀", [1, 2], [1], [2], {"a": 1}]
    values = [{"a": value} for value in up]
    assert order("a", {}, *reversed(values), b"x") == [*values, {}, b"x"]
    assert order("-a", {}, *values, b"x") == [*reversed(values), {}, b"x"]


def test_ties_are_by_key_ascending_in_both_directions() -> None:
    values = [{"a": 1, "b": 1}, {"a": 1.0, "b": 2}, {"a": 0, "b": 3}]
    assert [value["b"] for value in order("a", *values)] == [3, 1, 2]
    assert [value["b"] for value in order("-a", *values)] == [1, 2, 3]


def test_several_keys() -> None:
    values = [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}]
    assert order(["-a", "-b"], *values) == [values[2], values[1], values[0]]
    assert order([("b", "asc"), ("a", "desc")], *values) == [values[2], values[0], values[1]]


def test_sort_spellings() -> None:
    keys = ((FieldPath("value", ("age",)), True),)
    assert parse_sort("-age").keys == keys
    assert parse_sort(("age", "desc")).keys == keys
    assert parse_sort([(("age",), "DESC")]).keys == keys
    assert parse_sort({"field": "age", "order": "desc"}).keys == keys
    assert parse_sort((("age", "desc"),)).keys == keys
    assert parse_sort(parse_sort("-age")).keys == keys
    assert parse_sort({"field": "age"}).keys == parse_sort("age").keys == parse_sort(["age"]).keys
    assert not parse_sort(None)
    assert not parse_sort([])
    assert parse_sort("age")


@pytest.mark.parametrize(
    "sort", ["", "-", "$version", ("a", "b"), ("a", "down"), {"order": "asc"}, {"field": "a", "x": 1}, 1, [1]]
)
def test_bad_sorts_are_refused(sort: Any) -> None:
    with pytest.raises(InvalidFilter):
        parse_sort(sort)


# -- text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "filter"),
    [
        ('speaker = "Melanie"', where("speaker") == "Melanie"),
        ("speaker = Melanie", where("speaker") == "Melanie"),
        ("speaker==Melanie", where("speaker") == "Melanie"),
        ("session >= 5", where("session") >= 5),
        ("session>=5", where("session") >= 5),
        ("a < -1.5", a < -1.5),
        ("a <= 1", a <= 1),
        ("a > 1", a > 1),
        ("a <> 1", a != 1),
        ("age != null", where("age") != None),  # noqa: E711
        ("a = true", a == True),  # noqa: E712
        ('a = "true"', a == "true"),
        ('name contains "x y"', where("name").contains("x y")),
        ("name startsWith Mel", where("name").starts_with("Mel")),
        ("name starts_with Mel", where("name").starts_with("Mel")),
        ("name ENDSWITH ie", where("name").ends_with("ie")),
        ('tag in ["a","b"]', where("tag").is_in(["a", "b"])),
        ('tag not in ["a"]', where("tag").not_in(["a"])),
        ("tag nin []", where("tag").not_in([])),
        ("x exists", where("x").exists()),
        ("  x exists false ", where("x").exists(False)),
        ("a eq 1", a == 1),
        ('["my field"] = 1', where(("my field",)) == 1),
        ('a["b = c"].d[0] = 1', where(("a", "b = c", "d", 0)) == 1),
        ("$metadata.lang = en", where("$metadata.lang") == "en"),
        ("a = NaN", a == "NaN"),
        ("a = 2024-01-01", a == "2024-01-01"),
        ('a = {"x": [1]}', a == {"x": [1]}),
    ],
)
def test_filters_as_text(text: str, filter: Filter) -> None:
    parsed = parse_where(text)
    assert isinstance(parsed, Comparison)
    assert parsed == filter
    assert isinstance(filter, Comparison)
    assert type(parsed.operand) is type(filter.operand)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "a",
        "= 1",
        "a =",
        "a ~ 1",
        "a like x",
        "a = b c",
        "a = 'b'",
        'a = "b',
        "a in [1,",
        "a in b",
        "a exists maybe",
        "a exists false x",
        "$version = 1",
        "a..b = 1",
        "a === 1",
        "a===1",
        "a = " + "[" * 100_000,
        "a startsWith 1",
    ],
)
def test_bad_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidFilter):
        parse_where(text)


def test_text_operands_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValue):
        parse_where("a = 9223372036854775808")
    with pytest.raises(InvalidValue):
        parse_where("a = 1e999")
