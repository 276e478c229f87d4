"""execute_query: SQL over the views of a graph, and what it refuses."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidInput, SqlRefused, SqlTimeout, SqlUnavailable, TransactionError
from mycelia_storage.layers.graph import Graph, Node, Relationship

from .conftest import CONFIG, open_backend

# What no backend with SQL answers. {s} is the storage's schema with a dot on PostgreSQL, main. on SQLite.
HOSTILE = [
    # other tables, by every name
    "SELECT value FROM storage_entries",
    "SELECT count(*) FROM {s}storage_entries",
    'SELECT 1 FROM {s}"storage_entries"',
    "SELECT * FROM {s}STORAGE_ENTRIES",
    "SELECT EXISTS (SELECT 1 FROM {s}storage_namespaces)",
    "SELECT (SELECT count(*) FROM {s}storage_changes)",
    "SELECT * FROM (SELECT value FROM {s}storage_entries) AS nodes",
    "WITH nodes AS (SELECT value FROM {s}storage_entries) SELECT * FROM nodes",
    "WITH vectors AS (SELECT * FROM {s}storage_entries), nodes AS (SELECT * FROM vectors) SELECT * FROM nodes",
    "SELECT n.id FROM nodes n JOIN {s}storage_state s ON true",
    "SELECT id FROM nodes UNION SELECT name FROM {s}storage_namespaces",
    "SELECT id FROM nodes WHERE id IN (SELECT key FROM {s}storage_entries)",
    "SELECT id FROM nodes WHERE EXISTS (SELECT 1 FROM {s}storage_entries AS e WHERE e.key = nodes.id)",
    "SELECT id, (SELECT max(value) FROM {s}storage_entries) AS v FROM nodes",
    "SELECT id FROM nodes ORDER BY (SELECT max(key) FROM {s}storage_entries)",
    "SELECT count(*) FROM nodes GROUP BY (SELECT max(key) FROM {s}storage_entries)",
    "SELECT id FROM nodes LIMIT (SELECT count(*) FROM {s}storage_entries)",
    "SELECT n.id FROM nodes AS n, {s}storage_entries AS nodes",
    "SELECT * FROM nodes NATURAL JOIN {s}storage_entries",
    "SELECT storage_entries.value FROM nodes",
    "SELECT rowid FROM nodes",
    "SELECT ctid, xmin FROM nodes",
    "SELECT * FROM {s}schema_version",
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM temp.sqlite_master",
    "SELECT * FROM sqlite_temp_schema",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_table_info('storage_entries')",
    "SELECT * FROM dbstat",
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM bytecode('SELECT 1')",
    "SELECT * FROM pg_authid",
    "SELECT rolpassword FROM pg_catalog.pg_authid",
    "SELECT * FROM pg_settings",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_file_settings",
    "SELECT * FROM pg_locks",
    "SELECT * FROM information_schema.tables",
    "SELECT 1 = ANY (ARRAY(SELECT 1 FROM pg_class))",
    # more than one statement, or none that reads
    "SELECT 1; DROP TABLE {s}storage_entries",
    "SELECT 1; SELECT 2",
    "SELECT 1;;SELECT 2",
    "INSERT INTO nodes VALUES (1)",
    "UPDATE nodes SET id = '1'",
    "DELETE FROM nodes",
    "DELETE FROM {s}storage_entries",
    "REPLACE INTO nodes VALUES (1)",
    "MERGE INTO nodes USING nodes AS n ON true WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM {s}storage_state RETURNING 1) SELECT * FROM gone",
    "WITH gone AS (DELETE FROM nodes RETURNING 1) SELECT * FROM gone",
    "DROP TABLE {s}storage_entries",
    "DROP VIEW nodes",
    "CREATE TABLE x (a int)",
    "CREATE TEMP TABLE x AS SELECT 1 AS a",
    "CREATE VIEW x AS SELECT 1 AS a",
    "CREATE TEMP TRIGGER t AFTER INSERT ON nodes BEGIN SELECT 1; END",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SELECT 1 INTO TEMP x",
    "ALTER TABLE nodes RENAME TO x",
    "TRUNCATE {s}storage_entries",
    "ATTACH ':memory:' AS x",
    "ATTACH '/tmp/mycelia-hostile.db' AS x",
    "DETACH main",
    "PRAGMA query_only = 0",
    "PRAGMA journal_mode",
    "PRAGMA table_info(nodes)",
    "VACUUM",
    "VACUUM INTO '/tmp/mycelia-hostile.db'",
    "REINDEX",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "SAVEPOINT x",
    "ROLLBACK",
    "EXPLAIN SELECT * FROM nodes",
    "EXPLAIN QUERY PLAN SELECT * FROM nodes",
    "EXPLAIN ANALYZE SELECT * FROM nodes",
    "SET ROLE postgres",
    "RESET ALL",
    "SHOW ALL",
    "DO 'BEGIN END'",
    "CALL f()",
    "COPY nodes TO '/tmp/mycelia-hostile'",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "LISTEN x",
    "NOTIFY x",
    "LOCK TABLE {s}storage_gate",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "LOAD 'x'",
    "FETCH 1 FROM mycelia_query",
    # functions that do more than compute
    "SELECT load_extension('x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/mycelia-hostile', 'x')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT sqlite_version()",
    "SELECT sqlite_compileoption_get(1)",
    "SELECT mycelia_clock()",
    "SELECT zeroblob(1000000000)",
    "SELECT randomblob(1000000000)",
    "SELECT last_insert_rowid()",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_catalog.pg_read_file('/etc/passwd')",
    "SELECT pg_catalog . pg_read_file ('/etc/passwd')",
    "SELECT \"pg_read_file\"('/etc/passwd')",
    "SELECT PG_READ_FILE/**/('/etc/passwd')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT * FROM nodes n, LATERAL pg_ls_dir('/') d",
    "SELECT * FROM (SELECT '/etc/passwd' AS x) q, pg_read_file(x) AS (a int)",
    "SELECT * FROM (SELECT 'x' AS x) q, dblink(x) AS (values int)",
    "WITH pg_read_file(x) AS (SELECT 1) SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_sleep(10)",
    "SELECT ('/etc/passwd').pg_read_file AS a",
    "SELECT (1) . pg_sleep",
    'SELECT ( 1 )."pg_sleep"',
    "SELECT (ARRAY[1])[1].PG_SLEEP",
    "SELECT x.pg_read_file FROM unnest(ARRAY['/etc/passwd']) x",
    "SELECT (x).pg_read_file FROM unnest(ARRAY['/etc/passwd']) AS x",
    "WITH x(pg_sleep) AS (SELECT 1) SELECT y.pg_sleep FROM unnest(ARRAY[1]) y, x",
    "SELECT n.pg_typeof FROM nodes n",
    "SELECT id FROM nodes n ORDER BY ('/').pg_ls_dir",
    "SELECT ('role').current_setting",
    "SELECT ('x').to_regclass",
    "SELECT 1260::regclass AS a",
    "SELECT (ARRAY[1260])::regclass[] AS a",
    "SELECT '{1260}'::_regclass AS a",
    'SELECT 1260::"regclass" AS a',
    "SELECT CAST(10 AS regrole)::text AS a",
    "SELECT 'a=r/a'::aclitem AS a",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_reload_conf()",
    "SELECT pg_advisory_lock(1)",
    "SELECT set_config('role', 'postgres', true)",
    "SELECT current_setting('data_directory')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/mycelia-hostile')",
    "SELECT nextval('{s}storage_index_ids')",
    "SELECT setval('{s}storage_index_ids', 1)",
    "SELECT txid_current()",
    "SELECT dblink('dbname=x', 'SELECT 1')",
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SELECT * FROM json_populate_record(null::pg_authid, '{}')",
    "SELECT {s}storage_wake('x')",
    "SELECT version()",
    "SELECT current_user",
    "SELECT * FROM nodes TABLESAMPLE system(10)",
    "SELECT 1 OPERATOR(pg_catalog.+) 1",
    "SELECT 1::{s}storage_gate",
    "SELECT * FROM nodes FOR UPDATE",
    # tricks with quotes, comments and parentheses
    "SELECT 1) UNION (SELECT 2",
    "SELECT 1) AS q, pg_authid AS (SELECT 1",
    "SELECT E'\\'' , pg_sleep(10) , '",
    "SELECT $$x$$ , pg_sleep(10)",
    'SELECT U&"\\0070g_sleep"(10)',
    "SELECT 1 /* /* */ , pg_sleep(10) /* */",
    "SELECT '' -- '\n , pg_sleep(10), load_extension('x')",
    "SELECT $1",
    "SELECT ?",
    "SELEC 1",
    "/* nothing",
    "-- nothing",
]

GOOD = [
    ("SELECT id FROM nodes WHERE node_type = ? ORDER BY id", ["person"], [("ada",), ("bob",)]),
    ("SELECT data ->> 'name' AS name FROM nodes WHERE id = ?", ["ada"], [("Ada; -- O'Neil",)]),
    ("SELECT from_node, to_node, relation_type, weight, valid_from FROM relationships ORDER BY id", [], None),
    ("SELECT node_id, tag FROM node_tags ORDER BY node_id, tag", [], [("ada", "x"), ("ada", "y"), ("bob", "x")]),
    ("SELECT id, vector_data FROM vectors", [], [("ada", struct.pack("<3f", 1, 2, 3))]),
    ("SELECT metadata ->> 'k' AS k FROM vectors WHERE created_at > 0", [], [("v",)]),
    (
        "SELECT n.id, count(*) AS c FROM nodes n JOIN relationships r ON r.from_node = n.id"
        " WHERE NOT n.deleted GROUP BY n.id HAVING count(*) > 1 ORDER BY c DESC;",
        [],
        [("ada", 2)],
    ),
    (
        "WITH RECURSIVE walk(id, depth) AS (SELECT ?, 0 UNION SELECT to_node, depth + 1 FROM walk JOIN relationships r"
        " ON r.from_node = walk.id WHERE depth < 5) SELECT id, min(depth) AS d FROM walk GROUP BY id ORDER BY d, id",
        ["ada"],
        [("ada", 0), ("bob", 1), ("paris", 1)],
    ),
    ("SELECT id, row_number() OVER (ORDER BY id DESC) AS n FROM nodes ORDER BY n LIMIT 1", [], [("paris", 1)]),
    ("SELECT '; DROP TABLE x' AS a, '--' AS b, '/*' AS c, ? AS d", [5], [("; DROP TABLE x", "--", "/*", 5)]),
    ("SELECT /* a comment */ 1 AS a -- and another", [], [(1,)]),
    ("SELECT coalesce(node_type, 'none') AS t FROM nodes WHERE id LIKE 'p%' AND upper(id) <> ''", [], [("place",)]),
    ("SELECT deleted FROM nodes WHERE deleted", [], []),
    ("VALUES (1)", [], [(1,)]),
]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def people(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """A small graph on a backend with SQL, read by every test here."""
    folder = tmp_path_factory.mktemp("sql")
    if request.param == "postgres":
        from mycelia_storage.backends.postgres import PostgresStorageBackend
        from tests.postgres_server import fresh_schema

        scope = fresh_schema(request.getfixturevalue("postgres_dsn"))
        storage: StorageBackend = PostgresStorageBackend(url=scope.__enter__(), schema="hostile_sql")
    else:
        scope, storage = None, open_backend("sqlite", folder, request)
    graph = Graph(storage, CONFIG)
    graph.initialize()
    storage.set("secret", "swordfish")
    graph.store_many(
        [
            Node("ada", {"name": "Ada; -- O'Neil"}, "person", ("x", "y")),
            Node("bob", {"name": "Bob"}, "person", ("x",)),
            Node("paris", None, "place"),
        ],
        [
            Relationship("ada", "bob", "knows", id="1", weight=0.5),
            Relationship("ada", "paris", "lives_in", id="2", valid_from=7),
        ],
    )
    graph.store_vector("ada", [1, 2, 3], {"k": "v"})
    yield graph
    storage.close()
    if scope is not None:
        import psycopg

        with psycopg.connect(request.getfixturevalue("postgres_dsn"), autocommit=True) as connection:
            connection.execute("SET client_min_messages = error")
            connection.execute("DROP SCHEMA hostile_sql CASCADE")
        scope.__exit__(None, None, None)


@pytest.mark.parametrize(("sql", "params", "rows"), GOOD)
def test_queries_are_answered(
    people: Graph, sql: str, params: list[object], rows: list[tuple[object, ...]] | None
) -> None:
    found = people.execute_query(sql, params)
    assert found.truncated is False
    if rows is None:
        rows = [("ada", "bob", "knows", 0.5, None), ("ada", "paris", "lives_in", 1, 7)]
    assert found.rows == rows


def test_recursive_sql_and_walks_agree(people: Graph) -> None:
    sql = next(sql for sql, *_ in GOOD if "RECURSIVE" in sql)
    for start in ("ada", "bob", "paris"):
        assert dict(people.execute_query(sql, [start]).rows) == people.reach(start, hops=5)


def test_the_views_have_the_originals_columns(people: Graph) -> None:
    wanted = {
        "nodes": "id data metadata created_at updated_at created_by updated_by node_type deleted",
        "relationships": "id from_node to_node relation_type data created_at created_by"
        " weight valid_from valid_to recorded_at end_recorded_at",
        "node_tags": "node_id tag",
        "vectors": "id vector_data metadata created_at updated_at",
    }
    for view, columns in wanted.items():
        assert people.execute_query(f"SELECT * FROM {view}").columns == columns.split()
        assert people.execute_query(f"SELECT * FROM {view} WHERE 1 = 0") == (columns.split(), [], False)


def test_hostile_queries_are_refused_and_change_nothing(people: Graph) -> None:
    schema = "hostile_sql." if people.storage.backend_name == "postgres" else "main."
    before = people.get_stats()
    for sql in HOSTILE:
        try:
            answer = people.execute_query(sql.replace("{s}", schema), timeout=2)
        except (SqlRefused, SqlTimeout):
            continue
        raise AssertionError(f"answered: {sql}: {answer}")
    assert people.get_stats()._replace(size_bytes=0) == before._replace(size_bytes=0)
    assert people.storage.get("secret") == "swordfish"
    assert not Path("/tmp/mycelia-hostile.db").exists()
    assert not Path("/tmp/mycelia-hostile").exists()


def test_only_this_graphs_entries_are_seen(people: Graph) -> None:
    other = Graph(people.storage, CONFIG, name="it's % another")
    other.initialize()
    other.store_node(Node("zoe", {"name": "100% Zoe"}, None, ("q'%s",)))
    assert other.execute_query("SELECT id FROM nodes").rows == [("zoe",)]
    assert other.execute_query("SELECT tag FROM node_tags").rows == [("q'%s",)]
    assert other.execute_query("SELECT count(*) AS n FROM nodes WHERE data ->> 'name' LIKE '100%'").rows == [(1,)]
    assert ("zoe",) not in people.execute_query("SELECT id FROM nodes").rows


def test_parameters_are_data(people: Graph) -> None:
    for value in ("x' OR '1'='1", "?", "%s", "ada'; DROP TABLE nodes; --"):
        assert people.execute_query("SELECT id FROM nodes WHERE id = ?", [value]).rows == []
    for value, back in ((None, None), (1.5, 1.5), (2**60, 2**60), (b"\0\xff", b"\0\xff")):
        assert people.execute_query("SELECT ? AS v", [value]).rows == [(back,)]
    for bad in ([{}], [[1]], [2**70], "ada", [object()]):
        with pytest.raises(InvalidInput):
            people.execute_query("SELECT ?", bad)  # type: ignore[arg-type]
    with pytest.raises(SqlRefused):
        people.execute_query("SELECT id FROM nodes WHERE id = ?", [])
    with pytest.raises(SqlRefused):
        people.execute_query("SELECT id FROM nodes", ["ada"])


def test_rows_are_limited(people: Graph) -> None:
    found = people.execute_query("SELECT id FROM nodes ORDER BY id", limit=2)
    assert (found.rows, found.truncated) == ([("ada",), ("bob",)], True)
    assert people.execute_query("SELECT id FROM nodes", limit=0) == (["id"], [], True)
    assert people.execute_query("SELECT id FROM nodes", limit=3).truncated is False
    for bad in ({"limit": -1}, {"limit": 10**9}, {"timeout": 0}, {"timeout": "1"}):
        with pytest.raises(InvalidInput):
            people.execute_query("SELECT 1", **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT 1 FROM c) SELECT max(x) FROM c",
    ],
)
def test_time_is_limited(people: Graph, sql: str) -> None:
    with pytest.raises(SqlTimeout):
        people.execute_query(sql, timeout=0.15)
    assert people.execute_query("SELECT 1 AS a").rows == [(1,)]


def test_a_transaction_has_no_sql(people: Graph) -> None:
    with people.begin_transaction() as inside, pytest.raises(TransactionError):
        inside.execute_query("SELECT 1")


def test_bad_sql_says_what_is_wrong(people: Graph) -> None:
    with pytest.raises(SqlRefused, match="colour"):
        people.execute_query("SELECT colour FROM nodes")
    for bad in ("", "   ", "SELECT '\0'", "x" * 100_001, 5):
        with pytest.raises(InvalidInput):
            people.execute_query(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["memory", "rocksdb"])
def test_backends_without_sql_say_so(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with open_backend(backend, tmp_path, request) as storage, pytest.raises(SqlUnavailable, match=backend):
        Graph(storage, CONFIG).execute_query("SELECT 1")


def test_a_query_sees_what_was_committed_before_it(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with open_backend("sqlite", tmp_path, request) as storage:
        graph = Graph(storage, CONFIG)
        graph.initialize()

        def ask() -> object:
            return graph.execute_query("SELECT count(*) AS n FROM nodes").rows[0][0]

        for count in range(3):
            assert ask() == count
            graph.store_node(Node(str(count)))
        with graph.begin_transaction() as inside:
            inside.store_node(Node("later"))
            assert ask() == 3
        assert ask() == 4
