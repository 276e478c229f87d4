"""What only the PostgreSQL backend has: opening, isolation, cut connections, partitions, its own indexes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from mycelia_storage import open_storage
from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.backends.postgres.driver_errors import cannot_connect, translate
from mycelia_storage.backends.postgres.filter_sql import compile_query
from mycelia_storage.backends.postgres.journal import NEWEST_VERSION
from mycelia_storage.backends.postgres.opening import open_migrator
from mycelia_storage.backends.postgres.settings import PostgresSettings
from mycelia_storage.cli import cli
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import (
    BackendUnavailable,
    ForeignDatabase,
    InvalidConfig,
    InvalidInput,
    MigrationError,
    SchemaTooNew,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageReadOnly,
    TransactionError,
    UniqueViolation,
)
from mycelia_storage.filters import parse_filter, parse_sort, where
from mycelia_storage.indexes import FieldIndex
from mycelia_storage.migrations import core_migrations
from mycelia_storage.testing.fixtures import eventually
from tests.postgres_server import PostgresSchemas

Open = Callable[..., PostgresStorageBackend]


# -- opening ---------------------------------------------------------------------------------------------------------


def test_a_url_opens_it_with_options_in_its_query(postgres_schemas: PostgresSchemas) -> None:
    schema = postgres_schemas.new()
    url = f"{postgres_schemas.url}&schema={schema}&busyTimeout=1234&pool_max_size=3&prepare=false"
    with open_storage(url) as storage:
        assert isinstance(storage, PostgresStorageBackend)
        assert storage.settings.schema == schema
        assert (storage.settings.busy_timeout, storage.settings.pool_max_size) == (1234, 3)
        assert storage.settings.prepare is False
        storage.set("k", 1)
    with open_storage({"backend": "postgres", "options": {"url": postgres_schemas.url, "schema": schema}}) as storage:
        assert storage.get("k") == 1


@pytest.mark.parametrize(
    "options",
    [
        {"url": None},
        {"url": 5},
        {"url": "mysql://host/db"},
        {"url": "postgresql://host/db?busy_timeout=soon"},
        {"url": "postgresql://host/db?busyTimeout=1&busy_timeout=1"},
        {"url": "postgresql://host/db?nonsense=1"},
        {"schema": ""},
        {"schema": "x" * 64},
        {"schema": "a\0b"},
        {"tenant": ""},
        {"partitions": -1},
        {"pool_max_size": 0},
        {"pool_min_size": 5, "pool_max_size": 4},
        {"retries": -1},
        {"connect_timeout": 0},
        {"statement_timeout": "1s"},
        {"prepare": 1},
        {"poolSize": 1},
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        PostgresStorageBackend(**{"url": "postgresql://nowhere/db", **options})


def test_a_server_that_is_down_is_named_without_the_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(BackendUnavailable) as caught:
        PostgresStorageBackend(f"postgresql://ada:s3cret@127.0.0.1:{port}/agents", connect_timeout=2, retries=0)
    assert f"ada@127.0.0.1:{port}/agents" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_missing_database_and_role(postgres_dsn: str) -> None:
    for wrong in (postgres_dsn.replace("/postgres?", "/missing?"), postgres_dsn.replace("user=postgres", "user=eve")):
        with pytest.raises(BackendUnavailable):
            PostgresStorageBackend(wrong)
    error = psycopg.OperationalError('connection failed: FATAL:  password authentication failed for user "ada"')
    assert "check the user, the password" in str(cannot_connect(error, "ada@host/db"))
    assert isinstance(
        cannot_connect(psycopg.OperationalError("FATAL:  sorry, too many clients already"), ""), StorageBusy
    )


def test_the_newest_version_is_known_by_number() -> None:
    assert core_migrations("postgres")[-1].version == NEWEST_VERSION


def test_a_schema_from_the_future_is_not_touched(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one()
    storage.set("k", 1)
    journal = f"{storage.settings.schema}.schema_version"
    admin.execute(f"INSERT INTO {journal} (version, applied_at) VALUES ({NEWEST_VERSION + 1}, 0)")
    try:
        with pytest.raises(SchemaTooNew):
            open_one()
    finally:
        admin.execute(f"DELETE FROM {journal} WHERE version > {NEWEST_VERSION}")
    assert open_one().get("k") == 1


def test_without_migrate_an_empty_schema_is_refused_and_stays_empty(
    postgres_dsn: str, admin: psycopg.Connection
) -> None:
    for options in ({"migrate": False}, {"read_only": True}):
        with pytest.raises(MigrationError, match="mycelia-storage migrate up"):
            PostgresStorageBackend(postgres_dsn, schema="never_made", **options)
    found = admin.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'never_made'").fetchone()
    assert found is None


def test_a_schema_of_another_application_is_refused(postgres_dsn: str, admin: psycopg.Connection) -> None:
    admin.execute("CREATE SCHEMA other; CREATE TABLE other.storage_entries (id int)")
    try:
        with pytest.raises(ForeignDatabase):
            PostgresStorageBackend(postgres_dsn, schema="other")
    finally:
        admin.execute("DROP SCHEMA other CASCADE")


def test_hostile_names_of_schemas_and_tenants_are_quoted(postgres_dsn: str, admin: psycopg.Connection) -> None:
    schema = "a'b\"c; %s % \\ é"
    try:
        with PostgresStorageBackend(postgres_dsn, schema=schema) as storage:
            storage.create_namespace("n", track_changes=True)
            storage.create_index("n", FieldIndex("x", unique=True))
            storage.set_many([(f"k{number}", {"x": number}) for number in range(300)], namespace="n")
            with storage.transaction() as tx:
                tx.set("k", {"x": "%s"}, namespace="n")
            assert storage.query(where("x") == "%s", namespace="n")[0].key == "k"
            assert storage.check().ok
            storage.drop_index("n", "x")
            storage.optimize()
            assert len(storage.changes(namespace="n").changes) == 301
    finally:
        admin.execute('DROP SCHEMA "a\'b""c; %s % \\ é" CASCADE')


def test_migrations_go_down_and_up_again(postgres_dsn: str, admin: psycopg.Connection) -> None:
    options = {"url": postgres_dsn, "schema": "up_and_down"}
    versions = list(range(1, NEWEST_VERSION + 1))
    try:
        with open_migrator(options) as migrator:
            assert migrator.up(dry_run=True) == versions
            assert migrator.up() == versions
            assert [line.state for line in migrator.status()] == ["applied"] * NEWEST_VERSION
            assert migrator.down(0) == versions[::-1]
        left = "SELECT relname FROM pg_class WHERE relnamespace = 'up_and_down'::regnamespace AND relkind IN ('r', 'S')"
        assert admin.execute(left).fetchall() == [("schema_version",)]
        assert admin.execute("SELECT 1 FROM pg_proc WHERE pronamespace = 'up_and_down'::regnamespace").fetchall() == []
        with PostgresStorageBackend(options) as storage:
            assert storage.schema_version == NEWEST_VERSION
    finally:
        admin.execute("DROP SCHEMA up_and_down CASCADE")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("08006", BackendUnavailable),
        ("22021", InvalidInput),
        ("23505", UniqueViolation),
        ("25006", StorageReadOnly),
        ("25P02", TransactionError),
        ("25P03", TransactionError),
        ("28P01", BackendUnavailable),
        ("3D000", BackendUnavailable),
        ("40001", StorageBusy),
        ("40P01", StorageBusy),
        ("42501", StorageReadOnly),
        ("53100", StorageFull),
        ("53300", StorageBusy),
        ("54000", InvalidInput),
        ("55P03", StorageBusy),
        ("57014", StorageBusy),
        ("57P01", BackendUnavailable),
        ("57P03", BackendUnavailable),
        ("XX001", StorageCorrupt),
        ("99999", StorageError),
    ],
)
def test_errors_by_sqlstate(state: str, expected: type[StorageError]) -> None:
    class Raised(psycopg.Error):
        sqlstate = state

    ours = translate(Raised("DETAIL:  Key (print)=(secret)"), "namespace 'n', key 'k'")
    assert type(ours) is expected
    assert "namespace 'n', key 'k'" in str(ours)
    assert state in str(ours)


def test_migrating_from_the_command_line(postgres_schemas: PostgresSchemas, admin: psycopg.Connection) -> None:
    url = f"{postgres_schemas.url}&schema=by_hand"
    run = CliRunner()
    try:
        for order, expected in (("status", "pending"), ("up", "1"), ("status", "applied"), ("down --to 1", "2")):
            done = run.invoke(cli, ["migrate", *order.split(), "--db", url, "--json"])
            assert done.exit_code == 0, done.output
            assert expected in done.output
        assert run.invoke(cli, ["set", "n", "k", "1", "--db", url]).exit_code == 0
        assert run.invoke(cli, ["get", "n", "k", "--db", url]).output.strip() == "1"
    finally:
        admin.execute("DROP SCHEMA IF EXISTS by_hand CASCADE")


# -- partitions ------------------------------------------------------------------------------------------------------


def test_partitions_change_no_answer_and_one_namespace_reads_one(postgres_dsn: str, admin: psycopg.Connection) -> None:
    try:
        with PostgresStorageBackend(postgres_dsn, schema="parted", partitions=4) as storage:
            for number in range(12):
                space = f"n{number}"
                storage.set_many(((f"k{key}", {"x": key % 10}) for key in range(300)), namespace=space, ttl=1000)
                storage.create_index(space, FieldIndex("x"))
                assert storage.count(namespace=space, filter=where("x") == 3) == 30
            assert storage.check().ok
            storage.optimize()
        admin.execute("ANALYZE parted.storage_entries")
        sizes = admin.execute("SELECT count(*) FROM parted.storage_entries GROUP BY tableoid").fetchall()
        assert len(sizes) > 1
        plan = "\n".join(
            row[0]
            for row in admin.execute(
                "EXPLAIN SELECT * FROM parted.storage_entries WHERE namespace = 'n1' AND tenant = '' AND key = 'k1'"
            )
        )
        assert plan.count("Scan") == 1
        with PostgresStorageBackend(postgres_dsn, schema="parted") as storage:
            storage.set("k0", 1, namespace="n0")
            assert storage.delete_namespace("n0", recursive=True) == 300
    finally:
        admin.execute("DROP SCHEMA parted CASCADE")


def test_a_new_index_over_partitions_serves_at_once(postgres_dsn: str, admin: psycopg.Connection) -> None:
    """Nobody has run ANALYZE, and a statement is not planned anew at every call."""
    try:
        with PostgresStorageBackend(postgres_dsn, schema="parted", partitions=4) as storage:
            for space in ("n1", "n2", "n3"):
                storage.set_many(((f"k{key:05}", {"x": key}) for key in range(3_000)), namespace=space)
                storage.create_index(space, FieldIndex("x"))
            assert storage._rows("SHOW plan_cache_mode", ()) == [("force_generic_plan",)]
        for space in ("n1", "n2", "n3"):
            compiled = compile_query(parse_filter((where("x") >= 7) & (where("x") < 20)), parse_sort(None), space)
            sql = f"EXPLAIN SELECT * FROM parted.storage_entries WHERE {compiled.where_sql}"
            plan = "\n".join(row[0] for row in admin.execute(sql, compiled.params))
            assert "mycelia_ix_" in plan
            assert plan.count("Scan") <= 2  # one partition; a bitmap scan is two lines
    finally:
        admin.execute("DROP SCHEMA parted CASCADE")


# -- indexes ---------------------------------------------------------------------------------------------------------


def test_a_query_uses_the_index_that_the_storage_built(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one()
    storage.set_many(((f"k{number:05}", {"x": number}) for number in range(5_000)), namespace="n")
    storage.set_many(((f"k{number:05}", {"x": number}) for number in range(5_000)), namespace="m")
    storage.create_index("n", FieldIndex("x"))
    storage.optimize()
    compiled = compile_query(parse_filter(where("x") == 7), parse_sort(None), "n")
    sql = f"SELECT * FROM {storage.settings.schema}.storage_entries WHERE {compiled.where_sql}"
    explained = psycopg.ClientCursor(admin).mogrify(f"{sql} ORDER BY {compiled.order_sql}", compiled.params)
    plan = admin.execute(f"EXPLAIN {explained}").fetchall()
    assert any("mycelia_ix_" in line for (line,) in plan), plan
    assert [entry.key for entry in storage.query(where("x") == 7, namespace="n")] == ["k00007"]


def test_a_point_read_is_one_index_lookup(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one()
    storage.set_many((f"k{number:05}", number) for number in range(5_000))
    storage.optimize()
    table = f"{storage.settings.schema}.storage_entries"
    for tail in ("key = 'k00001'", "key >= 'k00' AND key < 'k01' ORDER BY key LIMIT 5"):
        plan = admin.execute(f"EXPLAIN SELECT * FROM {table} WHERE namespace = 'default' AND tenant = '' AND {tail}")
        text = "\n".join(row[0] for row in plan)
        assert "Index Scan using" in text
        assert "Sort" not in text


def test_a_dropped_index_goes_when_nobody_reads(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one()
    storage.create_index("n", FieldIndex("x"))
    storage.set("k", {"x": 1}, namespace="n")

    def built() -> int:
        row = admin.execute(
            "SELECT count(*) FROM pg_indexes WHERE schemaname = %s AND starts_with(indexname, 'mycelia_ix_')",
            (storage.settings.schema,),
        ).fetchone()
        assert row is not None
        return int(row[0])

    with storage.transaction(read_only=True) as snapshot:
        assert snapshot.count(namespace="n") == 1
        assert storage.drop_index("n", "x")
        storage.optimize()
        assert built() == 1
        assert storage.get("k", namespace="n") == {"x": 1}
    storage.optimize()
    assert built() == 0


def test_a_unique_index_made_elsewhere_is_noticed(open_one: Open) -> None:
    one, two = open_one(), open_one()
    one.set("a", {"x": 1}, namespace="n")
    two.create_index("n", FieldIndex("x", unique=True))
    with pytest.raises(UniqueViolation):
        one.set("b", {"x": 1}, namespace="n")
    two.drop_index("n", "x")
    one.set("b", {"x": 1}, namespace="n")
    two.set("b", {"x": 2}, namespace="n")
    two.create_index("n", FieldIndex("y", unique=True))
    one.set("c", {"x": 1, "y": 1}, namespace="n")
    with pytest.raises(UniqueViolation):
        one.set_metadata("c", {}, namespace="n") and two.set("d", {"y": 1}, namespace="n")
    assert one.check().ok


# -- what may not be written -----------------------------------------------------------------------------------------


def test_read_only(open_one: Open) -> None:
    open_one().set("k", 1)
    storage = open_one(read_only=True)
    assert storage.get("k") == 1
    calls: list[Callable[[StorageBackend], Any]] = [
        lambda side: side.set("k", 2),
        lambda side: side.set_many({"k": 2}),
        lambda side: side.delete("k"),
        lambda side: side.create_namespace("n"),
        lambda side: side.transaction(),
        lambda side: side.run_transaction(lambda tx: tx.get("k")),
    ]
    for call in calls:
        with pytest.raises(StorageReadOnly):
            call(storage)
    with storage.transaction(read_only=True) as snapshot:
        assert snapshot.get("k") == 1


def test_a_server_that_takes_no_writes(open_one: Open, postgres_dsn: str) -> None:
    open_one().set("k", 1)
    storage = open_one(url=f"{postgres_dsn}&options=-cdefault_transaction_read_only%3Don")
    assert storage.get("k") == 1
    with pytest.raises(StorageReadOnly):
        storage.set("k", 2)
    assert storage.get("k") == 1


def test_a_role_without_privileges_is_told_which(open_one: Open, admin: psycopg.Connection, postgres_dsn: str) -> None:
    schema = open_one().settings.schema
    admin.execute(f"CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA {schema} TO reader")
    admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader")
    try:
        storage = open_one(url=postgres_dsn.replace("user=postgres", "user=reader"))
        assert storage.get("k") is None
        with pytest.raises(StorageReadOnly, match="needs USAGE on the schema"):
            storage.set("k", 1)
        storage.close()
    finally:
        admin.execute("DROP OWNED BY reader; DROP ROLE reader")


def test_a_role_that_owns_no_table_declares_indexes_without_building_them(
    open_one: Open, admin: psycopg.Connection, postgres_dsn: str
) -> None:
    schema = open_one().settings.schema
    admin.execute(f"CREATE ROLE writer LOGIN; GRANT USAGE ON SCHEMA {schema} TO writer")
    admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO writer")
    admin.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO writer")
    try:
        storage = open_one(url=postgres_dsn.replace("user=postgres", "user=writer"))
        storage.set("a", {"x": 1})
        storage.create_index("default", FieldIndex("x", unique=True))
        with pytest.raises(UniqueViolation):
            storage.set("b", {"x": 1})
        assert storage.check().ok
        assert storage.drop_index("default", "x")
        storage.optimize()
        storage.close()
    finally:
        admin.execute("DROP OWNED BY writer; DROP ROLE writer")


# -- care ------------------------------------------------------------------------------------------------------------


def test_check_finds_what_is_wrong(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one()
    storage.create_index("n", FieldIndex("x", unique=True))
    storage.set_many({"a": {"x": 1}, "b": {"x": 2}}, namespace="n")
    table = f"{storage.settings.schema}.storage_entries"
    admin.execute(f"UPDATE {table} SET value = '{{\"x\": 2'::bytea WHERE key = 'a'")
    assert any("'a'" in problem for problem in storage.check().problems)
    admin.execute(f"UPDATE {table} SET value = '{{\"x\":5}}'::bytea WHERE key = 'a'")
    assert any("disagrees with the entry 'a'" in problem for problem in storage.check().problems)
    admin.execute(f"DELETE FROM {table}; UPDATE {storage.settings.schema}.storage_namespaces SET uniques = 0")
    admin.execute(f"DELETE FROM {storage.settings.schema}.storage_namespaces WHERE namespace = 'n'")


def test_status_tells_where_it_is(open_one: Open) -> None:
    storage = open_one()
    status = storage.get_status()
    assert status.schema_version == NEWEST_VERSION
    assert status.size_bytes > 0
    assert status.details["standby"] is False
    assert status.details["schema"] == storage.settings.schema


def test_a_backup_loads_back(open_one: Open, tmp_path: Path) -> None:
    storage = open_one()
    storage.set_many(((f"k{number}", {"n": number}) for number in range(50)), namespace="n")
    storage.backup(tmp_path / "dump")
    assert (tmp_path / "dump").read_bytes().count(b'"kind":"entry"') == 50


def test_two_sweeps_share_the_work(open_one: Open) -> None:
    one, two = open_one(), open_one()
    one.create_namespace("n", track_changes=True)
    one.set_many(((f"k{number:04}", 1) for number in range(1_200)), namespace="n", ttl=0.001)
    eventually(lambda: one.count(namespace="n") == 0)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(one.optimize), pool.submit(two.optimize)]:
            done.result(60)
    changes = [change for change in one.changes(namespace="n", limit=5_000).changes if change.operation == "expire"]
    assert len(changes) == len({change.key for change in changes}) == 1_200


def test_a_watcher_listens_and_polls_where_it_cannot(open_one: Open) -> None:
    storage = open_one(pool_max_size=4)
    storage.create_namespace("n", track_changes=True)
    for hears in (True, False):
        if not hears:
            storage._listener.stop()
        watch = storage.watch(namespace="n", timeout=30)
        with ThreadPoolExecutor(1) as pool:
            seen = pool.submit(lambda watch=watch: [change.key for change in islice(watch, 2)])
            if hears:
                eventually(lambda: storage._listener.listening)
            storage.set("a", 1, namespace="n")
            storage.set("b", 1, namespace="n")
            assert seen.result(30) == ["a", "b"]
        watch.close()


def test_large_values_and_batches_in_bounded_chunks(open_one: Open) -> None:
    storage = open_one()
    large = {"text": "x" * 3_000_000}
    storage.set_many((f"k{number}", large) for number in range(12))
    assert storage.get("k11") == large
    assert sum(len(entry.value["text"]) for entry in storage.scan()) == 36_000_000


def test_a_batch_notices_what_its_own_source_changes(open_one: Open) -> None:
    storage = open_one()
    with storage.transaction() as tx:

        def items() -> Iterator[tuple[str, Any]]:
            for number in range(6_000):
                if number == 3_000:
                    tx.create_index("default", FieldIndex("x", unique=True))
                yield f"k{number:04}", {"x": number}
            yield "twice", {"x": 0}

        result = tx.set_many(items(), atomic=False)
        assert result.written == 6_000
        assert set(result.errors) == {("default", "twice")}
    assert storage.count() == 6_000
    assert storage.check().ok


def test_an_error_of_a_chunk_under_way_undoes_the_batch(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one()
    table = f"{storage.settings.schema}.storage_entries"
    admin.execute(f"ALTER TABLE {table} ADD CONSTRAINT no_such_key CHECK (key <> 'k1000')")
    try:
        with pytest.raises(StorageError):
            storage.set_many((f"k{number:04}", number) for number in range(6_000))
        assert storage.count() == 0
        with storage.transaction() as tx:
            tx.set("before", 1)
            with pytest.raises(StorageError):
                tx.set_many((f"k{number:04}", number) for number in range(6_000))
            with pytest.raises(StorageError), tx.transaction() as inner:  # noqa: PT012
                inner.set("inner", 1)
                inner.set("k1000", 1)
            tx.set("after", 1)
        assert storage.list() == ["after", "before"]
    finally:
        admin.execute(f"ALTER TABLE {table} DROP CONSTRAINT no_such_key")


def test_versions_and_limits_beyond_64_bits(open_one: Open) -> None:
    storage = open_one()
    storage.set("k", 1)
    with pytest.raises(Exception, match="version"):
        storage.set("k", 2, if_version=2**80)
    with pytest.raises(Exception, match="version"):
        storage.delete("k", if_version=2**80)
    assert storage.list(limit=2**80, offset=0) == ["k"]
    assert storage.query(limit=2**80)[0].key == "k"
    assert storage.changes(since=2**80).changes == []
    with pytest.raises(InvalidInput):
        storage.restore([storage.query()[0]._replace(version=2**64)])


def test_settings_read_from_either_spelling() -> None:
    settings = PostgresSettings.read({"url": "postgres://h/d?sslmode=require&applicationName=x"}, {"poolMaxSize": 4})
    assert settings.url == "postgres://h/d?sslmode=require"
    assert (settings.application_name, settings.pool_max_size) == ("x", 4)
