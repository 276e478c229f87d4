"""Filters as SQL agree with ``filters.match`` on hostile names, mixed types and every boundary, and use indexes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest
from hypothesis import given, settings, strategies as st

from mycelia_storage.backends.sqlite.filter_sql import Compiled, compile_query, create_index_sql
from mycelia_storage.errors import InvalidFilter, InvalidInput
from mycelia_storage.filters import (
    And,
    Comparison,
    Filter,
    Or,
    match,
    parse_filter,
    parse_sort,
    where,
)
from mycelia_storage.indexes import FieldIndex
from tests.backends.filter_worlds import HOSTILE_NAMESPACE, INJECTIONS, NAMES, SCALARS, Row, strategies, world

SCHEMA = Path(__file__).parents[2] / "schema" / "sqlite"
WORLDS = strategies(NAMES, SCALARS)


def open_database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    for script in sorted(SCHEMA.glob("000[12]_*.up.sql")):
        connection.execute(script.read_text())
    return connection


def insert(connection: apsw.Connection, rows: Iterable[Row]) -> None:
    connection.executemany(
        "INSERT INTO storage_entries (namespace, key, value, metadata, created_at, updated_at, version)"
        " VALUES (?, ?, ?, ?, ?, ?, 1)",
        (
            (
                row.namespace,
                row.key,
                row.value if isinstance(row.value, bytes) else orjson.dumps(row.value).decode(),
                orjson.dumps(row.metadata).decode() if row.metadata else None,
                row.created_at,
                row.updated_at,
            )
            for row in rows
        ),
    )


def keys(connection: apsw.Connection, query: Compiled, limit: int | None = None) -> list[str]:
    sql = f"SELECT key FROM storage_entries WHERE {query.where_sql} ORDER BY {query.order_sql}"
    if limit is not None:
        sql += f" LIMIT {limit}"
    return [key for (key,) in connection.execute(sql, query.params)]


def plan(connection: apsw.Connection, filter: Filter | None, sort: Any = None, namespace: str = "n0") -> str:
    query = compile_query(filter, parse_sort(sort), namespace)
    sql = (
        f"SELECT key, value FROM storage_entries WHERE {query.where_sql}"
        f" AND (expires_at IS NULL OR expires_at > 0) ORDER BY {query.order_sql} LIMIT ? OFFSET ?"
    )
    return "; ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (*query.params, 10, 0)))


def check(connection: apsw.Connection, rows: list[Row], filter: Filter | None, sort: Any = None) -> bool:
    """SQL gives what match() gives, or a superset and says so. Returns whether it was exact."""
    namespace = rows[0].namespace
    order = parse_sort(sort)
    wanted = [row.key for row in order.sorted(row for row in rows if filter is None or match(filter, row))]
    query = compile_query(filter, order, namespace)
    found = keys(connection, query)
    if not query.exact:
        matching = set(wanted)
        assert matching <= set(found)
        found = [key for key in found if key in matching]
    assert (found if query.sort_exact else sorted(found)) == (wanted if query.sort_exact else sorted(wanted))
    return query.exact


@settings(derandomize=True, deadline=None, max_examples=500)
@given(WORLDS.worlds, st.lists(WORLDS.filters, min_size=1, max_size=4), WORLDS.sorts)
def test_sql_agrees_with_match_and_sorted(
    contents: list[tuple[Any, dict[str, Any]]], conditions: list[Filter], sort: Any
) -> None:
    rows = world(contents)
    connection = open_database()
    insert(connection, rows)
    insert(connection, [row._replace(namespace="other") for row in rows])
    for condition in conditions:
        check(connection, rows, condition, sort)
    check(connection, rows, None, sort)
    connection.close()


# -- plain examples ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything() -> Iterator[tuple[apsw.Connection, list[Row]]]:
    """Each name holding each scalar, and each scalar at the root, in one namespace with quotes in its name."""
    contents: list[Any] = [{name: value} for name in NAMES for value in SCALARS]
    contents += [*SCALARS, {name: at for at, name in enumerate(NAMES)}, [], {}, [[1], {"a": 1}], b"", b'{"a":1}']
    contents += [{"a": [value, "x"]} for value in SCALARS]
    rows = [Row(HOSTILE_NAMESPACE, f"{at:04}", value, {}, at, -at) for at, value in enumerate(contents)]
    connection = open_database()
    insert(connection, rows)
    insert(connection, [row._replace(namespace="o'hara") for row in rows])
    yield connection, rows
    connection.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_scalar_under_every_name(everything: tuple[apsw.Connection, list[Row]], name: str) -> None:
    connection, rows = everything
    field = where((name,))
    for scalar in SCALARS:
        vague = isinstance(scalar, float) and abs(scalar) >= 2**63
        for filter in [field == scalar, field != scalar, field > scalar, field <= scalar, field.contains(scalar)]:
            assert check(connection, rows, filter) is not vague
    assert check(connection, rows, field.is_in([s for s in SCALARS if s not in (1e308, float(2**63))]))
    assert check(connection, rows, field.exists(False))
    for text in (s for s in SCALARS if isinstance(s, str)):
        assert check(connection, rows, field.starts_with(text))
        assert check(connection, rows, field.ends_with(text))
        assert check(connection, rows, ~field.ends_with(text))


def test_containers_as_operands_are_left_to_the_caller_in_both_polarities(
    everything: tuple[apsw.Connection, list[Row]],
) -> None:
    connection, rows = everything
    field = where("a")
    for filter in [
        field == [1, "x"],
        field != {},
        field.is_in([1, []]),
        field.not_in([1, [0, "x"]]),
        field.contains([1]),
    ]:
        assert not check(connection, rows, filter)
        assert not check(connection, rows, ~filter)
        check(connection, rows, (field == 1) & ~filter)
        check(connection, rows, (field == 1) | ~filter)


def test_a_name_with_nul_is_left_to_the_caller() -> None:
    rows = [Row("n0", "1", {"a\0b": 1}, {}, 1, 1), Row("n0", "2", {"b": 1}, {}, 1, 1)]
    connection = open_database()
    insert(connection, rows)
    assert not check(connection, rows, where(("a\0b",)) == 1)
    assert not check(connection, rows, ~(where(("a\0b",)) == 1))
    assert not compile_query(None, parse_sort([(("a\0b",), "asc")]), "n0").sort_exact
    with pytest.raises(InvalidInput, match="NUL"):
        create_index_sql("x", "n0", FieldIndex(r'["a\u0000b"]'))


def test_many_operands_and_filters_beyond_the_limits_of_sqlite() -> None:
    rows = [Row("n0", f"{at:03}", {"a": at, "b": str(at)}, {}, at, at) for at in range(100)]
    connection = open_database()
    insert(connection, rows)
    assert check(connection, rows, where("a").is_in(list(range(50, 5000))))
    assert check(connection, rows, where("a").is_in([*range(50, 150), *map(str, range(9))]))
    assert check(connection, rows, where("b").not_in([str(at) for at in range(10, 200)]))
    assert check(connection, rows, And(tuple(where("a") != at for at in range(400))))
    assert check(connection, rows, Or(tuple(where("a") == at for at in range(40, 1000))))
    assert not check(connection, rows, And(tuple(where(f"f{at}").exists(False) for at in range(5000))))
    nested: Filter = where("a") > 50
    for at in range(190):
        nested = And((where("b") != str(at), nested)) if at % 2 else Or((where("a") == 10**6 + at, nested))
    check(connection, rows, nested)


@pytest.mark.parametrize("text", INJECTIONS)
def test_names_operands_and_namespaces_are_data(text: str) -> None:
    connection = open_database()
    rows = [Row(text, "1", {text: text}, {text: 1}, 1, 1), Row(text, "2", {"a": 1}, {}, 1, 1)]
    insert(connection, [*rows, Row("secret", "3", {text: text}, {}, 1, 1)])
    for index in [
        FieldIndex(f"[{json.dumps(text)}]"),
        FieldIndex(["$metadata", f"$metadata[{json.dumps(text)}]"], unique=True),
    ]:
        for statement in create_index_sql(f"i {text} {index.unique}", text, index):
            connection.execute(statement)
    field = where((text,))
    for filter in [
        field == text,
        field.contains(text),
        field.starts_with(text),
        field.is_in([text]),
        field.exists(False),
    ]:
        assert check(connection, rows, filter, [((text,), "desc")])
    assert check(connection, rows, where(f"$metadata[{json.dumps(text)}]") == 1)
    assert connection.execute("SELECT count(*) FROM storage_entries").get == 3


# -- the planner -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> Iterator[tuple[apsw.Connection, list[Row]]]:
    """20,000 entries in four namespaces, indexes on two of them, no statistics."""
    rows = [
        Row(
            f"n{at % 4}",
            f"k{at:06}",
            {"age": at % 400, "city": f"c{at % 97}", "id": at},
            {"lang": f"l{at % 9}"},
            at,
            at,
        )
        for at in range(20_000)
    ]
    connection = open_database()
    insert(connection, rows)
    for namespace in ("n0", "n1"):
        for name, index in {
            "age": FieldIndex("age"),
            "city": FieldIndex(["city", "age"]),
            "id": FieldIndex("id", unique=True),
            "created": FieldIndex("$created_at"),
            "lang": FieldIndex("$metadata.lang"),
        }.items():
            for statement in create_index_sql(f"{namespace}_{name}", namespace, index):
                connection.execute(statement)
    yield connection, [row for row in rows if row.namespace == "n0"]
    connection.close()


age, city = where("age"), where("city")
SORTED = "USE TEMP B-TREE FOR ORDER BY"


@pytest.mark.parametrize(
    ("filter", "sort", "index", "sorts"),
    [
        (age == 4, None, "n0_age", False),
        (age >= 396, None, "n0_age", True),
        ((age > 4) & (age < 9), None, "n0_age", True),
        (age.is_in([4, 8]), None, "n0_age", True),
        (age.is_in(list(range(80))), None, "n0_age", True),
        (age.is_in([4, "x"]), None, "n0_age", True),
        ((age == 4) | (age == 8), None, "n0_age", True),
        (city.starts_with("c9"), None, "n0_city", True),
        ((city == "c5") & (age >= 200), None, "n0_city", True),
        ((city == "c5") & (age == 8), None, "n0_city", False),
        ((age == 4) & (where("other") == 1), None, "n0_age", False),
        (where("id") == 400, None, "n0_id", True),
        (where("$created_at") > 19_990, None, "n0_created", True),
        (where("$metadata.lang") == "l3", None, "n0_lang", False),
        (where("$key").starts_with("k0001"), None, "sqlite_autoindex_storage_entries_1", False),
        (age >= 4, "age", "n0_age", False),
        (city == "c5", "age", "n0_city", False),
        (None, "age", "n0_age", False),
        (None, ["city", "age"], "n0_city", False),
        (None, "$created_at", "n0_created", False),
        (where("other").exists(False), "age", "n0_age", False),
    ],
)
def test_the_planner_uses_the_index(
    large: tuple[apsw.Connection, list[Row]], filter: Filter | None, sort: Any, index: str, sorts: bool
) -> None:
    connection, rows = large
    steps = plan(connection, filter, sort)
    assert f"INDEX {index} " in f"{steps} " or f"INDEX {index};" in f"{steps};"
    assert (SORTED in steps) is sorts
    assert check(connection, rows, filter, sort)


@pytest.mark.parametrize("filter", [age >= 4, where("$created_at") >= 4])
def test_the_newest_come_from_the_end_of_the_index(large: tuple[apsw.Connection, list[Row]], filter: Filter) -> None:
    connection, rows = large
    assert isinstance(filter, Comparison)
    sort = f"-{filter.path}"
    steps = plan(connection, filter, sort)
    assert "USING INDEX n0_" in steps
    assert SORTED not in steps  # only the ties are sorted
    assert check(connection, rows, filter, sort)


def test_a_namespace_without_indexes_is_read_by_itself(large: tuple[apsw.Connection, list[Row]]) -> None:
    connection, _ = large
    for sort in (None, "age", "-age"):
        assert "SEARCH storage_entries USING INDEX sqlite_autoindex_storage_entries_1 (namespace=?)" in plan(
            connection, age >= 4, sort, "n3"
        )


# -- unique indexes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "collide"),
    [
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": "x"}, {"a": "x"}, True),
        ({"a": None}, {"a": None}, False),
        ({}, {}, False),
        ({"a": [1]}, {"a": [1]}, False),
        (b"x", b"x", False),
    ],
)
def test_unique_indexes_compare_scalars_only(first: Any, second: Any, collide: bool) -> None:
    connection = open_database()
    for statement in create_index_sql("u", "n0", FieldIndex("a", unique=True)):
        connection.execute(statement)
    rows = [Row("n0", "1", first, {}, 1, 1), Row("n0", "2", second, {}, 1, 1)]
    insert(connection, [rows[0], rows[0]._replace(namespace="n1"), rows[1]._replace(namespace="n1")])
    if collide:
        with pytest.raises(apsw.ConstraintError):
            insert(connection, rows[1:])
    else:
        insert(connection, rows[1:])


def test_a_compound_unique_index_wants_every_field() -> None:
    connection = open_database()
    for statement in create_index_sql("u", "n0", FieldIndex(["a", "$metadata.b", "$created_at"], unique=True)):
        connection.execute(statement)
    row = Row("n0", "1", {"a": 1}, {"b": 2}, 1, 1)
    insert(connection, [row, row._replace(key="2", metadata={}), row._replace(key="3", metadata={})])
    insert(connection, [row._replace(key="4", created_at=2), row._replace(key="5", value={"a": [1]})])
    insert(connection, [row._replace(key="6", value={"a": [1]})])
    with pytest.raises(apsw.ConstraintError):
        insert(connection, [row._replace(key="7")])


def test_an_index_with_a_bad_path_is_refused() -> None:
    for path in ("a..b", "$version", "$key.x"):
        with pytest.raises(InvalidFilter):
            create_index_sql("x", "n0", FieldIndex(path))


def test_parse_filter_none_reads_the_namespace() -> None:
    assert parse_filter([]) is None
    rows = [Row(HOSTILE_NAMESPACE, "b", 1, {}, 1, 1), Row(HOSTILE_NAMESPACE, "a", b"x", {}, 2, 2)]
    connection = open_database()
    insert(connection, [*rows, rows[0]._replace(namespace="other")])
    assert check(connection, rows, None)
    assert check(connection, rows, None, "-$created_at")
