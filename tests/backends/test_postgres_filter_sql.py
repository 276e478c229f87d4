"""Filters as PostgreSQL's SQL are exactly ``filters.match`` on hostile names, mixed types and every boundary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings, strategies as st

from mycelia_storage.backends.postgres.documents import document_text
from mycelia_storage.backends.postgres.field_sql import START_LENGTH
from mycelia_storage.backends.postgres.filter_sql import Compiled, compile_query, create_index_sql
from mycelia_storage.errors import InvalidFilter
from mycelia_storage.filters import And, Filter, Or, match, parse_sort, where
from mycelia_storage.indexes import FieldIndex
from mycelia_storage.values import encode_json, encode_metadata
from tests.backends.filter_worlds import HOSTILE_NAMESPACE, INJECTIONS, NAMES, SCALARS, Row, strategies, world
from tests.postgres_server import fresh_schema

TABLE = """
CREATE TABLE storage_entries (
  tenant text COLLATE "C" NOT NULL DEFAULT '', namespace text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
  value bytea NOT NULL, is_json boolean NOT NULL, document jsonb, metadata text, metadata_document jsonb,
  version bigint NOT NULL, created_at bigint NOT NULL, updated_at bigint NOT NULL, expires_at bigint,
  PRIMARY KEY (namespace, tenant, key))
"""

LONG = "x" * START_LENGTH
ALL_NAMES = [*NAMES, "a\0b", "\0", "\x02", "\x05\x06", "%s", "{a,b}", "last", "0", "\uffff"]
ALL_SCALARS = [
    *SCALARS,
    *["\0", "\1", "\2", "\3", "\5\4", "\6", "\0\0", "\1\3", "\\u0000", "é\0", "\0a"],
    *[LONG, LONG + "a", LONG + "b", LONG[:-1], LONG + "\0", "é" * START_LENGTH, "é" * START_LENGTH + "z"],
    *[2.0**60, 2**60, 2**60 + 1, -(2.0**60), 2.0**62 + 2**12, -(2.0**63), 1e16, 10**16, 1e23, 1.5, -1.5, 2**53 - 1],
]
WORLDS = strategies(ALL_NAMES, ALL_SCALARS)


def insert(connection: psycopg.Connection[Any], rows: Iterable[Row], tenant: str = "") -> None:
    cursor = connection.cursor()
    cursor.executemany(
        "INSERT INTO storage_entries (tenant, namespace, key, value, is_json, document, metadata, metadata_document,"
        " created_at, updated_at, version)"
        " VALUES (%s, %s, %s, %s, %s, %s::text::jsonb, %s, %s::text::jsonb, %s, %s, 1)",
        [(tenant, *_columns(row)) for row in rows],
    )


def _columns(row: Row) -> tuple[Any, ...]:
    metadata = encode_metadata(row.metadata)
    seen = metadata if metadata is None else document_text(metadata) or metadata
    if isinstance(row.value, bytes):
        value: tuple[Any, ...] = (row.value, False, None)
    else:
        stored = encode_json(row.value)
        value = (stored.encode(), True, document_text(stored) or stored)
    return (row.namespace, row.key, *value, metadata, seen, row.created_at, row.updated_at)


def keys(connection: psycopg.Connection[Any], query: Compiled) -> list[str]:
    sql = f"SELECT key FROM storage_entries WHERE {query.where_sql} ORDER BY {query.order_sql}"
    return [key for (key,) in connection.execute(sql, query.params)]


def check(connection: psycopg.Connection[Any], rows: list[Row], filter: Filter | None, sort: Any = None) -> None:
    """SQL gives what match() and sorted() give."""
    order = parse_sort(sort)
    wanted = [row.key for row in order.sorted(row for row in rows if filter is None or match(filter, row))]
    query = compile_query(filter, order, rows[0].namespace)
    assert query.exact
    assert query.sort_exact
    assert keys(connection, query) == wanted


@pytest.fixture(scope="module")
def database(postgres_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection with an empty table, whose tests leave it empty by rolling back."""
    with fresh_schema(postgres_dsn) as dsn, psycopg.connect(dsn) as connection:
        connection.execute(TABLE)
        connection.commit()
        yield connection
        connection.rollback()


@pytest.fixture
def connection(database: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    yield database
    database.rollback()


@settings(derandomize=True, deadline=None, max_examples=400)
@given(WORLDS.worlds, st.lists(WORLDS.filters, min_size=1, max_size=4), WORLDS.sorts)
def test_sql_is_match_and_sorted(
    database: psycopg.Connection[Any],
    contents: list[tuple[Any, dict[str, Any]]],
    conditions: list[Filter],
    sort: Any,
) -> None:
    rows = world(contents)
    try:
        insert(database, rows)
        insert(database, [row._replace(namespace="other") for row in rows])
        insert(database, rows, tenant="another")
        for condition in conditions:
            check(database, rows, condition, sort)
        check(database, rows, None, sort)
    finally:
        database.rollback()


# -- plain examples ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(postgres_dsn: str) -> Iterator[tuple[psycopg.Connection[Any], list[Row]]]:
    """Each name holding each scalar, and each scalar at the root, in one namespace with quotes in its name."""
    contents: list[Any] = [{name: value} for name in ALL_NAMES for value in ALL_SCALARS]
    contents += [*ALL_SCALARS, {name: at for at, name in enumerate(ALL_NAMES)}, [], {}, [[1], {"a": 1}]]
    contents += [b"", b'{"a":1}', {"a": {"b": 1, "a": 2}}, {"a": {"a": 2, "b": 1}}, {"a": {"a": 2, "b": 1, "c": 0}}]
    contents += [{"a": [value, "x"]} for value in ALL_SCALARS] + [{"a": [[value, 1]]} for value in ALL_SCALARS]
    rows = [Row(HOSTILE_NAMESPACE, f"{at:05}", value, {}, at, -at) for at, value in enumerate(contents)]
    with fresh_schema(postgres_dsn) as dsn, psycopg.connect(dsn) as connection:
        connection.execute(TABLE)
        insert(connection, rows)
        insert(connection, [row._replace(namespace="o'hara") for row in rows])
        yield connection, rows


@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_scalar_under_every_name(everything: tuple[psycopg.Connection[Any], list[Row]], name: str) -> None:
    connection, rows = everything
    field = where((name,))
    texts = [scalar for scalar in ALL_SCALARS if isinstance(scalar, str)]
    for scalar in ALL_SCALARS if name == "a" else ALL_SCALARS[:: len(ALL_SCALARS) // 9]:
        for filter in [field == scalar, field != scalar, field > scalar, field <= scalar, field.contains(scalar)]:
            check(connection, rows, filter)
    check(connection, rows, field.is_in(ALL_SCALARS[::2]))
    check(connection, rows, field.not_in(ALL_SCALARS[1::2]))
    check(connection, rows, field.exists(False), [((name,), "desc")])
    check(connection, rows, None, [((name,), "asc")])
    for text in texts if name == "a" else texts[::7]:
        for filter in [field.starts_with(text), field.ends_with(text), ~field.ends_with(text), field.contains(text)]:
            check(connection, rows, filter, [((name,), "desc")])


def test_lists_and_objects_as_operands(everything: tuple[psycopg.Connection[Any], list[Row]]) -> None:
    connection, rows = everything
    field = where("a")
    for filter in [
        field == [1, "x"],
        field == [1.0, "x"],
        field == {"b": 1.0, "a": 2},
        field != {},
        field.is_in([1, [], ["\0", "x"], {"a": 2, "b": 1}]),
        field.not_in([1, [0, "x"]]),
        field.contains([1]),
        field.contains([2.0**60, 1]),
        field.contains(["\1", 1]),
        field.contains({}),
    ]:
        check(connection, rows, filter)
        check(connection, rows, ~filter)
        check(connection, rows, (field == 1) | ~filter, "-a")


def test_positions_go_into_lists_alone(connection: psycopg.Connection[Any]) -> None:
    contents = [5, "a", True, None, [5], [1, 2], {"0": 5}, {"a": [5]}, {"a": [[5, 6]]}, {"a": 5}, [], {"a": {"0": 5}}]
    rows = [Row("n", f"{at:02}", value, {"a": value}, 1, 1) for at, value in enumerate(contents)]
    insert(connection, rows)
    for path in ["$value[0]", "$value[-1]", "a[0]", "a[-1]", "a[0][1]", "a[0][-2]", "a[1]", "a[-9]", "$metadata.a[0]"]:
        for filter in [where(path).exists(), where(path) == 5, where(path) > 1, where(path).contains(5)]:
            check(connection, rows, filter, [path])


def test_keys_and_times(connection: psycopg.Connection[Any]) -> None:
    times = [-(2**63), -2, -1, 0, 1, 2, 2**53 + 1, 2**60, 2**63 - 1]
    names = ["a", "a\x01", "ab", "b", "%", "é", "\U0010ffff", "\uffff", "'"]
    rows = [Row("n", key, 1, {}, at, -at - 1) for key, at in zip(names, times, strict=True)]
    insert(connection, rows)
    numbers = [*times, -1.5, -0.0, 0.5, 2.0**53, 2.0**60, 2.0**63, -(2.0**63), 1e300, -1e300]
    for path in ["$created_at", "$updated_at"]:
        field = where(path)
        for number in numbers:
            filters = [field == number, field != number, field > number, field >= number, field < number]
            for filter in [*filters, field <= number, field.is_in([number, 1, "x"])]:
                check(connection, rows, filter, f"-{path}")
        for filter in [
            field == "a",
            field != "a",
            field > "a",
            field.contains("a"),
            field.starts_with(""),
            field == [],
        ]:
            check(connection, rows, filter)
    field = where("$key")
    for text in [*names, "", "a\0", "a\0b", "\0", "b\0", "\U0010ffff\U0010ffff"]:
        filters = [field == text, field != text, field > text, field >= text, field < text, field <= text]
        strings = [field.starts_with(text), field.ends_with(text), field.contains(text), field.not_in([text, "b", 1])]
        for filter in [*filters, *strings]:
            check(connection, rows, filter)
            check(connection, rows, ~filter, "-$key")


def test_many_operands_and_filters_beyond_all_limits(connection: psycopg.Connection[Any]) -> None:
    rows = [Row("n0", f"{at:03}", {"a": at, "b": str(at)}, {}, at, at) for at in range(100)]
    insert(connection, rows)
    check(connection, rows, where("a").is_in(list(range(50, 90_000))))
    check(connection, rows, where("a").is_in([*range(50, 150), *map(str, range(9))]))
    check(connection, rows, And(tuple(where("a") != at for at in range(400))))
    check(connection, rows, Or(tuple(where("a") == at for at in range(40, 1000))))
    nested: Filter = where("a") > 50
    for at in range(190):
        nested = And((where("b") != str(at), nested)) if at % 2 else Or((where("a") == 10**6 + at, nested))
    check(connection, rows, nested)
    deep = ~where(tuple("a" for _ in range(200))).exists()
    for _ in range(98):
        deep = ~And((deep, where("a") >= 0))
    check(connection, rows, deep, [(tuple("b" for _ in range(200)), "desc")])
    for huge in [
        And(tuple(where(f"f{at}").exists(False) for at in range(5000))),
        Or(tuple(where(f"f{at}") > 1 for at in range(70_000))),
    ]:
        query = compile_query(huge, parse_sort(None), "n0")
        assert not query.exact
        assert len(keys(connection, query)) == 100


def test_the_largest_filter_that_is_compiled_runs(connection: psycopg.Connection[Any]) -> None:
    rows = [Row("n0", "1", {"f7": 2}, {}, 1, 1), Row("n0", "2", {}, {}, 1, 1)]
    insert(connection, rows)
    for make in [And, Or]:
        count, query = 100, None
        while True:
            filter = make(tuple(where(f"f{at}") > 1 for at in range(count)))
            larger = compile_query(filter, parse_sort(None), "n0")
            if not larger.exact:
                break
            count, query = count + 100, larger
        assert query is not None
        assert keys(connection, query) == ([] if make is And else ["1"])


@pytest.mark.parametrize("text", INJECTIONS)
def test_names_operands_namespaces_and_tenants_are_data(connection: psycopg.Connection[Any], text: str) -> None:
    rows = [Row(text, "1", {text: text}, {text: 1}, 1, 1), Row(text, "2", {"a": [{text: 1}]}, {}, 1, 1)]
    insert(connection, rows, tenant=text)
    insert(connection, [Row("secret", "3", {text: text}, {}, 1, 1)])
    quoted = f"[{json.dumps(text)}]"
    for at, index in enumerate([FieldIndex(quoted), FieldIndex(["$metadata", f"$metadata{quoted}", f"a[0]{quoted}"])]):
        for statement in create_index_sql(f"i {text} {at}", text, index, tenant=text):
            connection.execute(statement)
    field = where((text,))
    for filter in [field == text, field.contains(text), field.starts_with(text), field.is_in([text]), field.exists()]:
        query = compile_query(filter, parse_sort([((text,), "desc"), (("a", -1, text), "asc")]), text, text)
        assert keys(connection, query) == ["1"]
        assert keys(connection, compile_query(filter, parse_sort(None), text)) == []
    for filter, key in [(where(f"$metadata{quoted}") == 1, "1"), (where(("a", 0, text)) == 1, "2")]:
        assert keys(connection, compile_query(filter, parse_sort(None), text, text)) == [key]
    row = connection.execute("SELECT count(*) FROM storage_entries").fetchone()
    assert row == (3,)


def test_literals_hold_where_backslashes_escape(connection: psycopg.Connection[Any]) -> None:
    text = "a\\' OR true --"
    rows = [Row(text, "1", {text: 1}, {}, 1, 1), Row(text, "2", {}, {}, 1, 1)]
    insert(connection, rows)
    connection.execute("SET LOCAL standard_conforming_strings = off")
    connection.execute("SET LOCAL escape_string_warning = off")
    check(connection, rows, where((text,)) == 1, [((text,), "desc")])


def test_an_index_holds_long_strings_and_keys(connection: psycopg.Connection[Any]) -> None:
    paths = [f"f{at}" for at in range(12)]
    wide = [chr(point) for point in range(0x10000, 0x12000)]  # four bytes each, and nothing to compress
    random = Random(1)
    text = "".join(random.choices(wide, k=5000))
    for count in range(1, 13):
        for statement in create_index_sql(f"i{count}", "n", FieldIndex(paths[:count])):
            connection.execute(statement)
    rows = [
        Row(
            "n", "".join(random.choices(wide, k=256)), {p: "".join(random.choices(wide, k=99)) for p in paths}, {}, 1, 1
        )
    ]
    rows.append(Row("n", "é" * 512, dict.fromkeys(paths, 1.7976931348623157e308), {}, 1, 1))
    rows.append(Row("n", "x", dict.fromkeys(paths, text + "x"), {}, 1, 1))
    rows.append(Row("n", "y", dict.fromkeys(paths, 5e-324), {}, 1, 1))
    insert(connection, rows)
    for filter in [where("f0") == text, where("f0") > text, where("f1").starts_with(text), where("f2") < 1]:
        check(connection, rows, filter, "-f0")


def test_an_index_with_a_bad_path_is_refused() -> None:
    for path in ("a..b", "$version", "$key.x"):
        with pytest.raises(InvalidFilter):
            create_index_sql("x", "n0", FieldIndex(path))


# -- the planner -------------------------------------------------------------------------------------------------------


PARTITIONED = TABLE.rstrip() + " PARTITION BY HASH (namespace)"


@pytest.fixture(scope="module", params=["one table", "partitions"])
def large(request: pytest.FixtureRequest, postgres_dsn: str) -> Iterator[tuple[psycopg.Connection[Any], list[Row]]]:
    """20,000 entries in four namespaces, indexes on two of them, with statistics."""
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
    with fresh_schema(postgres_dsn) as dsn, psycopg.connect(dsn) as connection:
        connection.execute(TABLE if request.param == "one table" else PARTITIONED)
        if request.param == "partitions":
            for part in range(3):
                connection.execute(
                    f"CREATE TABLE p{part} PARTITION OF storage_entries FOR VALUES WITH (MODULUS 3, REMAINDER {part})"
                )
        copy = (
            "COPY storage_entries (namespace, key, value, is_json, document, metadata, metadata_document, created_at,"
            " updated_at, tenant, version) FROM STDIN"
        )
        with connection.cursor().copy(copy) as stage:
            for row in rows:
                stage.write_row((*_columns(row), "", 1))
        for namespace in ("n0", "n1"):
            for name, index in {
                "age": FieldIndex("age"),
                "city": FieldIndex(["city", "age"]),
                "id": FieldIndex("id", unique=True),
                "created": FieldIndex("$created_at"),
                "lang": FieldIndex("$metadata.lang"),
            }.items():
                for statement in create_index_sql(
                    f"{namespace}_{name}", namespace, index, table=_table_of(connection, namespace)
                ):
                    connection.execute(statement)
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE storage_entries")
        yield connection, [row for row in rows if row.namespace == "n0"]


def _table_of(connection: psycopg.Connection[Any], namespace: str) -> str:
    row = connection.execute(
        "SELECT tableoid::regclass::text FROM storage_entries WHERE namespace = %s LIMIT 1", [namespace]
    ).fetchone()
    assert row is not None
    return str(row[0])


def plan(connection: psycopg.Connection[Any], filter: Filter | None, sort: Any = None, limit: int | None = 10) -> str:
    query = compile_query(filter, parse_sort(sort), "n0")
    sql = (
        f"EXPLAIN SELECT key, value FROM storage_entries WHERE {query.where_sql}"
        f" AND (expires_at IS NULL OR expires_at > %s) ORDER BY {query.order_sql} LIMIT %s"
    )
    return "\n".join(line for (line,) in connection.execute(sql, (*query.params, 5, limit)))


age, city = where("age"), where("city")


@pytest.mark.parametrize(
    ("filter", "sort", "index"),
    [
        (age == 4, None, "n0_age"),
        (age >= 396, None, "n0_age"),
        ((age > 4) & (age < 9), None, "n0_age"),
        (age.is_in([4, 8]), None, "n0_age"),
        (age.is_in([4, "x"]), None, "n0_age"),
        ((age == 4) | (age == 8), None, "n0_age"),
        (age.starts_with("x"), None, "n0_age"),
        (age > "x", None, "n0_age"),
        (age == {"a": 1}, None, "n0_age"),
        (city.starts_with("c95"), None, "n0_city"),
        (city == "c5", None, "n0_city"),
        ((city == "c5") & (age >= 200), None, "n0_city"),
        ((city == "c5") & (age == 8), None, "n0_city"),
        ((age == 4) & (where("other") == 1), None, "n0_age"),
        (where("id") == 400, None, "n0_id"),
        (where("$created_at") > 19_990, None, "n0_created"),
        (where("$key").starts_with("k0001"), None, "_pkey"),
    ],
)
def test_conditions_are_looked_up_in_the_index(
    large: tuple[psycopg.Connection[Any], list[Row]], filter: Filter, sort: Any, index: str
) -> None:
    connection, rows = large
    steps = plan(connection, filter, sort, limit=None)
    assert index in steps
    assert "Index Cond" in steps
    assert "Seq Scan" not in steps
    check(connection, rows, filter, sort)


@pytest.mark.parametrize(
    ("filter", "sort", "index"),
    [
        (age >= 4, "age", "n0_age"),
        (age >= 4, "-age", "n0_age"),
        (age <= 396, "-age", "n0_age"),
        (None, "age", "n0_age"),
        (None, ["city", "age"], "n0_city"),
        (None, "$created_at", "n0_created"),
        (None, "-$created_at", "n0_created"),
        (where("other").exists(False), "age", "n0_age"),
        (where("$created_at") >= 4, "-$created_at", "n0_created"),
        (city >= "c", "city", "n0_city"),
    ],
)
def test_sorted_pages_are_read_from_the_index(
    large: tuple[psycopg.Connection[Any], list[Row]], filter: Filter | None, sort: Any, index: str
) -> None:
    """An incremental sort has only ties to sort; a sort proper would have read everything."""
    connection, rows = large
    steps = plan(connection, filter, sort)
    assert f"Index Scan using {index}" in steps or f"Index Scan Backward using {index}" in steps
    assert "->  Sort" not in steps
    check(connection, rows, filter, sort)


def test_equality_and_ranges_need_no_look_at_the_entry_to_decide(
    large: tuple[psycopg.Connection[Any], list[Row]],
) -> None:
    connection, _ = large
    for filter in [age == 4, (age > 4) & (age < 9), city == "c5", city.starts_with("c95")]:
        for line in plan(connection, filter, limit=None).splitlines():
            assert "Filter" not in line or "jsonb" not in line


def test_a_namespace_without_indexes_is_read_by_itself(large: tuple[psycopg.Connection[Any], list[Row]]) -> None:
    connection, _ = large
    query = compile_query(age >= 4, parse_sort("age"), "n3")
    sql = f"EXPLAIN SELECT key FROM storage_entries WHERE {query.where_sql}"
    steps = "\n".join(line for (line,) in connection.execute(sql, query.params))
    assert "_pkey" in steps
    assert "n0_" not in steps
