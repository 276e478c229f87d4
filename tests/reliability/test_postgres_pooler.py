"""The storage behind a pooler in transaction mode: nothing correct depends on the state of a session.

``PGBOUNCER=/usr/sbin/pgbouncer`` in the environment puts the contract behind that program instead of the proxy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.testing import BatchContract, ChangeContract, EntryContract, OpenStorage, TransactionContract
from tests.postgres_server import PostgresSchemas

from .pgbouncer import pgbouncer
from .pooling_proxy import PoolingProxy

#: More than any test has transactions open at a time.
CONNECTIONS = 24


@pytest.fixture(scope="module")
def proxy(postgres_dsn: str) -> Iterator[PoolingProxy]:
    folder = parse_qs(urlsplit(postgres_dsn).query)["host"][0]
    with PoolingProxy(folder, connections=CONNECTIONS) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def pooler_dsn(request: pytest.FixtureRequest, postgres_dsn: str) -> Iterator[str]:
    """The address of PgBouncer if there is one, else of the proxy."""
    program = os.environ.get("PGBOUNCER")
    if program is None:
        yield request.getfixturevalue("proxy").dsn
    else:
        with pgbouncer(program, parse_qs(urlsplit(postgres_dsn).query)["host"][0]) as dsn:
            yield dsn


@pytest.fixture
def open_pooled(proxy: PoolingProxy, postgres_schemas: PostgresSchemas) -> OpenStorage:
    def open_new(**options: object) -> StorageBackend:
        return PostgresStorageBackend(proxy.dsn, schema=postgres_schemas.new(), prepare=False, **options)

    return open_new


class TestContractBehindAPooler(EntryContract, BatchContract, TransactionContract, ChangeContract):
    """The parts of the contract that lock, wait and wake."""

    @pytest.fixture
    def open_storage(self, pooler_dsn: str, postgres_schemas: PostgresSchemas) -> OpenStorage:
        def open_new(**options: object) -> StorageBackend:
            return PostgresStorageBackend(pooler_dsn, schema=postgres_schemas.new(), prepare=False, **options)

        return open_new


def test_each_transaction_had_a_connection_that_knew_nothing_of_the_last(
    proxy: PoolingProxy, open_pooled: OpenStorage, postgres_dsn: str
) -> None:
    with open_pooled() as storage:
        before = proxy.counts.moves
        for number in range(50):
            storage.set(f"k{number}", number)
            assert storage.get(f"k{number}") == number
        assert proxy.counts.moves - before >= 90
    assert proxy.counts.named == []
    with psycopg.connect(postgres_dsn) as connection:
        held = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
    assert held == (0,)


def test_counters_survive_writers_on_few_shared_connections(open_pooled: OpenStorage) -> None:
    with open_pooled(busy_timeout=60_000) as storage:
        storage.set("n", 0)

        def add() -> None:
            for _ in range(25):
                with storage.transaction() as tx:
                    tx.set("n", tx.get("n") + 1)

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert storage.get("n") == 100
