"""Tenants: whatever a role does, by hand too, it reaches the rows of the tenant that its transaction names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy
import psycopg
import pytest

from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.backends.postgres.tenants import TABLES, VECTORS
from mycelia_storage.errors import InvalidConfig, StorageError, StorageReadOnly, UniqueViolation
from mycelia_storage.filters import where
from mycelia_storage.indexes import FieldIndex, TextIndex, VectorIndex
from mycelia_storage.testing import OpenStorage, StorageContract
from mycelia_storage.testing.fixtures import eventually

OpenTenant = Callable[..., PostgresStorageBackend]
SCHEMA = "tenants"

_numbers = count(1)


@pytest.fixture(scope="module")
def app_url(postgres_dsn: str) -> Iterator[str]:
    """A role of its own that owns the schema: neither superuser nor BYPASSRLS."""
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE app LOGIN; CREATE SCHEMA {SCHEMA} AUTHORIZATION app")
        admin.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
        try:
            yield postgres_dsn.replace("user=postgres", "user=app")
        finally:
            admin.execute(f"DROP SCHEMA {SCHEMA} CASCADE; DROP OWNED BY app; DROP ROLE app")


@pytest.fixture
def open_tenant(app_url: str) -> Iterator[OpenTenant]:
    opened: list[PostgresStorageBackend] = []

    def open_more(tenant: str | None, **options: Any) -> PostgresStorageBackend:
        opened.append(PostgresStorageBackend(**{"url": app_url, "schema": SCHEMA, "tenant": tenant, **options}))
        return opened[-1]

    yield open_more
    for storage in opened:
        storage.close()
    with psycopg.connect(app_url, autocommit=True) as own:
        made = own.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.{VECTORS}",)).fetchone()
        for table in (*TABLES, VECTORS) if made is not None and made[0] else TABLES:
            own.execute(f"TRUNCATE {SCHEMA}.{table}")


def test_tenants_share_nothing(open_tenant: OpenTenant) -> None:
    acme, blue = open_tenant("acme"), open_tenant("blue")
    for storage, value in ((acme, "a"), (blue, "b")):
        storage.create_namespace("n", track_changes=True, metadata={"owner": value})
        storage.create_index("n", FieldIndex("x", unique=True))
        storage.set("k", {"x": value}, namespace="n")
        storage.set("same", {"x": "same"}, namespace="n")
        storage.set("only", value, namespace=value)
        storage.set("brief", 1, namespace="n", ttl=0.001)
    with pytest.raises(UniqueViolation):
        acme.set("other", {"x": "same"}, namespace="n")
    eventually(lambda: not acme.has("brief", namespace="n") and not blue.has("brief", namespace="n"))
    assert acme.get("k", namespace="n") == {"x": "a"}
    assert acme.list_namespaces() == ["a", "default", "n"]
    assert acme.get_status().entries == 3
    assert acme.get_status().namespaces == 3
    assert [entry.value for entry in acme.query(where("x") == "a", namespace="n")] == [{"x": "a"}]
    assert acme.query(where("x") == "b", namespace="n") == []
    seqs = [change.seq for change in acme.changes().changes]
    assert seqs == [1, 2, 3]
    before = blue.changes().changes
    acme.optimize()
    assert [change.operation for change in acme.changes().changes] == ["set", "set", "set", "expire"]
    assert blue.changes().changes == before
    assert acme.drop_index("n", "x")
    acme.optimize()
    assert acme.clear() == 3
    assert acme.delete_namespace("n", recursive=True) == 0
    assert blue.get("k", namespace="n") == {"x": "b"}
    assert blue.list_namespaces() == ["b", "default", "n"]
    with pytest.raises(UniqueViolation):
        blue.set("other", {"x": "same"}, namespace="n")
    assert acme.check().ok
    assert blue.check().ok


def test_a_tenants_batches_transactions_and_snapshots_are_its_own(open_tenant: OpenTenant) -> None:
    acme, blue = open_tenant("acme", pool_max_size=2), open_tenant("blue", pool_max_size=2)
    acme.set_many((f"k{number}", number) for number in range(500))
    with acme.transaction() as tx:
        tx.set("own", 1)
        tx.set_many({"few": 1})
        blue.set("meanwhile", 1)  # another tenant's exclusive transaction is in nobody's way
        assert tx.list("meanwhile") == []
    with blue.transaction(read_only=True) as snapshot:
        assert snapshot.list() == ["meanwhile"]
    assert blue.run_transaction(lambda tx: tx.count()) == 1
    assert sum(1 for _ in acme.scan()) == 502
    assert acme.delete_many(["own", "few", "meanwhile"]) == 2
    assert blue.count() == 1


def test_a_pooled_connection_carries_no_tenant_over(open_tenant: OpenTenant) -> None:
    acme = open_tenant("acme", pool_max_size=1)
    acme.set("k", 1)
    with acme.transaction() as tx:
        tx.set("l", 1)
    link = acme._pool.take()
    connection = link.connection
    assert connection.execute("SELECT nullif(current_setting('mycelia.tenant', true), '')").fetchall() == [(None,)]
    for table in TABLES:
        assert connection.execute(f"SELECT count(*) FROM {SCHEMA}.{table}").fetchall() == [(0,)], table
    acme._pool.give(link)
    assert acme.get("k") == 1


@pytest.mark.parametrize("claimed", [None, "", "other"], ids=repr)
def test_by_hand_nothing_is_read_or_written_without_the_tenant(
    open_tenant: OpenTenant, app_url: str, claimed: str | None
) -> None:
    acme = open_tenant("acme")
    acme.create_namespace("n", track_changes=True)
    acme.create_index("n", FieldIndex("x", unique=True))
    acme.set("k", {"x": 1}, namespace="n")
    with psycopg.connect(app_url) as own:
        if claimed is not None:
            own.execute("SELECT set_config('mycelia.tenant', %s, true)", (claimed,))
        made = own.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.{VECTORS}",)).fetchone()
        for table in (*TABLES, VECTORS) if made is not None and made[0] else TABLES:
            assert own.execute(f"SELECT * FROM {SCHEMA}.{table}").fetchall() == [], table
            assert own.execute(f"UPDATE {SCHEMA}.{table} SET tenant = 'other'").rowcount == 0
            assert own.execute(f"DELETE FROM {SCHEMA}.{table}").rowcount == 0
    insert = f"INSERT INTO {SCHEMA}.storage_state (tenant, name, value) VALUES ('acme', 'forged', 1)"
    call = (
        f"SELECT {SCHEMA}.storage_set(1, '100', 'acme', 'n', 'forged', '1', true, NULL, NULL, NULL, NULL, true, NULL)"
    )
    for forged in (insert, call):
        with psycopg.connect(app_url) as own:
            if claimed is not None:
                own.execute("SELECT set_config('mycelia.tenant', %s, true)", (claimed,))
            with pytest.raises(psycopg.Error):
                own.execute(forged)
    assert acme.list(namespace="n") == ["k"]
    with psycopg.connect(app_url) as own:
        own.execute("SELECT set_config('mycelia.tenant', 'acme', true)")
        assert own.execute(f"SELECT key FROM {SCHEMA}.storage_entries").fetchall() == [("k",)]


def test_a_storage_without_tenant_reaches_nothing_there(open_tenant: OpenTenant) -> None:
    open_tenant("acme").set("k", 1)
    plain = open_tenant(None)
    assert plain.get("k") is None
    assert plain.list_namespaces() == []
    with pytest.raises(StorageReadOnly, match="row level security"):
        plain.set("k", 2)


def test_roles_that_row_level_security_does_not_bind_are_refused(
    open_tenant: OpenTenant, app_url: str, postgres_dsn: str
) -> None:
    with pytest.raises(InvalidConfig, match="superuser"):
        open_tenant("acme", url=postgres_dsn)
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute("ALTER ROLE app BYPASSRLS")
        try:
            with pytest.raises(InvalidConfig, match="BYPASSRLS"):
                open_tenant("acme")
        finally:
            admin.execute("ALTER ROLE app NOBYPASSRLS")
    open_tenant("acme").close()
    with psycopg.connect(app_url, autocommit=True) as own:
        own.execute(f"ALTER TABLE {SCHEMA}.storage_changes NO FORCE ROW LEVEL SECURITY")
    for options in ({"migrate": False}, {"read_only": True}):
        with pytest.raises(StorageError, match=r"storage_changes .*FORCE ROW LEVEL SECURITY"):
            open_tenant("acme", **options)
    open_tenant("acme").set("k", 1)  # its owner may force it again
    open_tenant("acme", migrate=False)


def test_a_role_that_does_not_own_the_tables(open_tenant: OpenTenant, app_url: str, postgres_dsn: str) -> None:
    open_tenant(None)
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE guest LOGIN; GRANT USAGE ON SCHEMA {SCHEMA} TO guest")
        admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO guest")
        admin.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO guest")
        try:
            admin.execute(f"ALTER TABLE {SCHEMA}.storage_entries DISABLE ROW LEVEL SECURITY")
            guest = app_url.replace("user=app", "user=guest")
            with pytest.raises(StorageError, match="does not own the tables"):
                open_tenant("acme", url=guest)
            open_tenant("other").set("k", "theirs")
            storage = open_tenant("acme", url=guest)
            storage.set("k", "mine")
            assert (storage.get("k"), storage.count()) == ("mine", 1)
            storage.close()
        finally:
            admin.execute("DROP OWNED BY guest; DROP ROLE guest")


def test_threads_of_several_tenants_never_meet(open_tenant: OpenTenant) -> None:
    storages = {name: open_tenant(name, pool_max_size=3) for name in ("a", "b", "c")}

    def work(name: str) -> None:
        storage = storages[name]
        for number in range(30):
            with storage.transaction() as tx:
                tx.set("n", tx.get("n", 0) + 1)
            assert storage.get("n") == number + 1
            storage.set("name", name)
            assert storage.get("name") == name

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(work, name) for name in storages]:
            done.result(60)


@pytest.fixture(scope="module")
def contract_url(postgres_dsn: str) -> Iterator[str]:
    """A role that owns the schema ``contract``."""
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE contract LOGIN; CREATE SCHEMA contract AUTHORIZATION contract")
        admin.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
        try:
            yield postgres_dsn.replace("user=postgres", "user=contract")
        finally:
            admin.execute("DROP SCHEMA contract CASCADE; DROP OWNED BY contract; DROP ROLE contract")


class TestTenant(StorageContract):
    """The contract, kept by the storage of one tenant."""

    @pytest.fixture
    def open_storage(self, contract_url: str) -> OpenStorage:
        return lambda **options: PostgresStorageBackend(
            contract_url, schema="contract", tenant=f"tenant {next(_numbers)}", **options
        )


def test_tenants_search_their_own(open_tenant: OpenTenant) -> None:
    acme, blue = open_tenant("acme", vector_exact_up_to=50), open_tenant("blue")
    vectors = numpy.random.default_rng(20_261_121).normal(size=(100, 4)).astype("<f4")
    for storage, most in ((acme, 100), (blue, 10)):
        name = storage.settings.tenant
        storage.create_index("v", VectorIndex(4))
        storage.create_index("t", TextIndex("text"))
        storage.set_many({f"{name}{n}": vectors[n].tobytes() for n in range(most)}, namespace="v")
        storage.set_many({f"{name}{n}": {"text": "raven owl"} for n in range(most)}, namespace="t")
        storage.set("one", {"text": f"raven of {name}"}, namespace="t")
    acme.optimize()
    for storage in (acme, blue):
        name = storage.settings.tenant
        hits = storage.search_vectors(vectors[7], namespace="v")
        assert len(hits) == 10
        assert hits.plan["method"] == ("graph" if storage is acme else "exact")
        assert all(hit.key.startswith(str(name)) for hit in hits)
        assert hits[0].key == f"{name}7"
        assert [hit.key for hit in storage.search_text(str(name), namespace="t")] == ["one"]
    before = [(hit.key, hit.score) for hit in blue.search_text("raven owl", namespace="t")]
    acme.clear()
    assert acme.search_text("raven", namespace="t") == []
    assert [(hit.key, hit.score) for hit in blue.search_text("raven owl", namespace="t")] == before
    assert acme.check().ok
    assert blue.check().ok
