"""execute_query: what takes long or much inside one step of the engine, and what is no text."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from mycelia_storage.backends.sqlite.sql_functions import replace_functions
from mycelia_storage.errors import InvalidInput, SqlRefused, SqlTimeout
from mycelia_storage.layers.graph import Graph, Node, Relationship

from .conftest import CONFIG, open_backend

TEN = "'aaaaaaaaaa'"


def long_text(times: int) -> str:
    """SQL of PostgreSQL that makes 10 ** times characters."""
    made = TEN
    for _ in range(times - 1):
        made = f"replace({made}, 'a', {TEN})"
    return made


@pytest.fixture(params=["sqlite", "postgres"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Graph]:
    """A graph of two nodes on a backend with SQL."""
    with open_backend(request.param, tmp_path, request) as storage:
        graph = Graph(storage, CONFIG)
        graph.initialize()
        graph.store_many([Node("a", {"n": 5}), Node("b")], [Relationship("a", "b", "t", id="1")])
        yield graph


on_sqlite = pytest.mark.parametrize("small", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("small", ["postgres"], indirect=True)


@on_sqlite
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT instr(printf('%.16000000c', 'a'), printf('%.1000000c', 'a') || 'b')",
        "SELECT length(replace(printf('%.16000000c', 'a'), printf('%.1000000c', 'a') || 'b', 'x'))",
        "SELECT length(replace(printf('%.1000000c', 'a'), 'a', printf('%.1000000c', 'a')))",
        "SELECT length(trim(printf('%.16000000c', 'a'), printf('%.1000000c', 'b') || 'a'))",
        "SELECT length(unhex(printf('%.16000000c', ' '), printf('%.1000000c', 'x') || ' '))",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 90000),"
        " o(j) AS (SELECT json_group_object('k' || n, n) FROM c) SELECT length(json_patch(j, j)) FROM o",
        "SELECT printf('%.30000000c', 'a') GLOB '*" + "[a-z]" * 30 + "b'",
    ],
)
def test_no_function_of_sqlite_multiplies_two_long_texts(small: Graph, sql: str) -> None:
    before = time.process_time()
    try:
        assert small.execute_query(sql, timeout=0.5).rows in ([(0,)], [(16_000_000,)])
    except (SqlRefused, SqlTimeout):
        pass
    assert time.process_time() - before < 30  # one of them took hours


@on_sqlite
def test_a_row_of_many_long_texts_is_not_held(small: Graph) -> None:
    columns = ", ".join(["s"] * 150)
    with pytest.raises(SqlTimeout, match="too large"):
        small.execute_query(f"WITH t(s) AS MATERIALIZED (SELECT printf('%.3000000c', 'x')) SELECT {columns} FROM t")
    small.store_node(Node("a", {"text": "x" * 3_000_000}))
    assert len(small.execute_query("SELECT * FROM nodes").rows[0][1]) > 3_000_000


def test_functions_made_again_are_sqlites_own() -> None:
    own, other = apsw.Connection(""), apsw.Connection("")
    replace_functions(other, 2**24)
    values = [None, 0, -5, 1.5, 1.0, 0.1 + 0.2, 1e20, 1e-7, -0.0, float("inf"), "", "a", "aab", "é", "🦊a", "1", ".0"]
    values += [b"a", b"\xc3\xa9", b"", " a "]
    for name, arguments in (("instr", 2), ("replace", 3), ("trim", 2), ("ltrim", 2), ("rtrim", 2)):
        sql = f"SELECT {name}({', '.join('?' * arguments)}) AS v"
        for given in itertools.product(values, repeat=arguments):
            expected = own.execute(sql, given).fetchall()
            assert other.execute(sql, given).fetchall() == expected, (name, given)


@on_postgres
def test_postgres_answers_in_time_though_its_server_does_not(small: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mycelia_storage.backends.postgres.sql_queries._GRACE", 0.05)
    # The server compares each of 100,000 characters with 2,000: a second in which it looks for no interrupt.
    sql = f"SELECT length(btrim({long_text(5)}, replace({long_text(3)}, 'a', 'bc') || 'a')) AS n FROM nodes"
    with pytest.raises(SqlTimeout, match=r"0\.1 seconds"):
        small.execute_query(sql, timeout=0.1)
    assert small.execute_query("SELECT count(*) AS n FROM nodes").rows == [(2,)]


@on_postgres
def test_postgres_rows_are_counted_as_they_come(small: Graph) -> None:
    sql = f"WITH c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 150) SELECT n, {long_text(6)} AS s FROM c"
    with pytest.raises(SqlTimeout, match="bytes"):
        small.execute_query(sql, timeout=20)
    assert small.execute_query("SELECT id FROM nodes ORDER BY id").rows == [("a",), ("b",)]


def test_names_of_views_have_no_case(small: Graph) -> None:
    assert small.execute_query("SELECT Id FROM NODES ORDER BY ID").rows == [("a",), ("b",)]
    sql = "SELECT N.id FROM Nodes AS N JOIN Relationships R ON R.from_node = N.id"
    assert small.execute_query(sql).rows == [("a",)]


def test_what_is_no_text_is_refused(small: Graph) -> None:
    for sql, parameters in (("SELECT ? AS v", ["\ud800"]), ("SELECT '\ud800' AS v", [])):
        with pytest.raises(InvalidInput, match="surrogate"):
            small.execute_query(sql, parameters)
    with pytest.raises(SqlRefused):
        small.execute_query("SELECT CAST(x'ff80' AS TEXT) AS v")


def test_a_number_in_data_is_asked_for_alike(small: Graph) -> None:
    sql = "SELECT id FROM nodes WHERE CAST(data ->> 'n' AS integer) = ?"
    assert small.execute_query(sql, [5]).rows == [("a",)]


def test_names_after_a_dot_are_columns_where_they_are_no_functions(small: Graph) -> None:
    """To PostgreSQL ``(x).name`` may be a call, which read any file of the server."""
    sql = "SELECT w.depth FROM (SELECT 1 AS depth) w JOIN nodes n ON n.id = 'a'"
    assert small.execute_query(sql).rows == [(1,)]


@on_postgres
def test_postgres_functions_of_the_list_may_stand_after_a_dot(small: Graph) -> None:
    sql = "SELECT x.upper AS up, (n).id AS id FROM nodes n, unnest(ARRAY['b']) x WHERE (n).id = 'a'"
    assert small.execute_query(sql).rows == [("B", "a")]
    assert small.execute_query("SELECT 1e5000::numeric AS n").rows == [(float("inf"),)]
