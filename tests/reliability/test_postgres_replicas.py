"""Reads on a replica never miss what the same storage has written, however far the replica lags."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.errors import CommitUnknown, InvalidConfig
from mycelia_storage.filters import where
from mycelia_storage.indexes import TextIndex, VectorIndex
from mycelia_storage.testing.fixtures import eventually

from .postgres_cluster import Node, cluster, either


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Node, Node]]:
    with cluster(fsync="off") as found:
        yield found


@pytest.fixture
def pair(nodes: tuple[Node, Node]) -> Iterator[tuple[Node, Node]]:
    """The two servers, the standby replaying without delay."""
    primary, standby = nodes
    with PostgresStorageBackend(primary.dsn) as storage:
        storage.clear()
        storage.set("seen", "old")
    target = primary.ask("SELECT pg_current_wal_insert_lsn()")
    eventually(lambda: standby.ask(f"SELECT pg_last_wal_replay_lsn() >= '{target}'"))
    yield primary, standby
    standby.order("SELECT pg_wal_replay_resume()")
    _delay(standby, "0")


def _delay(standby: Node, milliseconds: str) -> None:
    standby.order(f"ALTER SYSTEM SET recovery_min_apply_delay = '{milliseconds}ms'")
    standby.order("SELECT pg_reload_conf()")
    eventually(lambda: str(standby.ask("SHOW recovery_min_apply_delay")).removesuffix("ms") == milliseconds)


def open_near(pair: tuple[Node, Node], wait: float, **options: Any) -> PostgresStorageBackend:
    return PostgresStorageBackend(pair[0].dsn, replicas=[pair[1].dsn], replica_wait=wait, **options)


def test_a_lagging_replica_is_waited_for(pair: tuple[Node, Node]) -> None:
    _, standby = pair
    with open_near(pair, 30) as storage, psycopg.connect(standby.dsn, autocommit=True) as direct:
        storage.set("n", -1)
        assert storage.get("n") == -1
        _delay(standby, "60")
        stale = 0
        for number in range(8):
            if number % 2:
                storage.set("n", number)
            else:
                with storage.transaction() as tx:
                    tx.set("n", number)
            row = direct.execute("SELECT value FROM mycelia.storage_entries WHERE key = 'n'").fetchone()
            assert row is not None
            stale += bytes(row[0]) != str(number).encode()
            assert storage.get("n") == number
            assert storage.query(where("$value") == number)[0].key == "n"
        assert stale > 0  # without the wait these reads would have been old


def test_replicas_serve_reads_and_the_primary_those_that_they_cannot(pair: tuple[Node, Node]) -> None:
    primary, standby = pair
    with open_near(pair, 0.05) as storage, PostgresStorageBackend(primary.dsn) as other:
        assert storage.get("seen") == "old"
        standby.order("SELECT pg_wal_replay_pause()")
        other.set("seen", "new")
        assert storage.get("seen") == "old"  # the replica answered: others' writes come when they come
        assert [entry.value for entry in storage.scan()] == ["old"]
        assert storage.query(where("$key") == "seen")[0].value == "old"
        assert not storage.has("mine")
        with storage.transaction(read_only=True) as snapshot:
            assert snapshot.get("seen") == "new"  # the primary's
        storage.set("mine", 1)
        assert storage.get("mine") == 1
        assert storage.list() == ["mine", "seen"]
        assert storage.count() == 2
        assert storage.get_metadata("mine") == {}
        assert storage.get_status().details["replicas"][0]["rests"] is True
        standby.order("SELECT pg_wal_replay_resume()")
        eventually(lambda: not storage.get_status().details["replicas"][0]["rests"])
        eventually(lambda: standby.ask("SELECT pg_get_wal_replay_pause_state()") == "not paused")
        assert storage.get("mine") == 1  # on the replica, which has arrived
        standby.order("SELECT pg_wal_replay_pause()")
        other.set("seen", "newer")
        assert storage.get("seen") == "new"  # the replica again


def test_replicas_serve_searches(pair: tuple[Node, Node]) -> None:
    primary, standby = pair
    vectors = [struct.pack("<2f", 1, number) for number in range(40)]
    with open_near(pair, 30, vector_exact_up_to=20) as storage, PostgresStorageBackend(primary.dsn) as other:
        storage.create_index("t", TextIndex("text"))
        storage.create_index("v", VectorIndex(2))
        storage.set("a", {"text": "raven"}, namespace="t")
        storage.set_many({f"k{number}": vector for number, vector in enumerate(vectors)}, namespace="v")
        storage.optimize()

        def found() -> tuple[list[str], list[str]]:
            texts = storage.search_text("raven", namespace="t")
            near = storage.search_vectors([1, 0], namespace="v", limit=2)
            assert near.plan["method"] == "graph"
            return [hit.key for hit in texts], [hit.key for hit in near]

        assert found() == (["a"], ["k0", "k1"])
        standby.order("SELECT pg_wal_replay_pause()")
        other.set("b", {"text": "raven"}, namespace="t")
        other.set("new", vectors[0], namespace="v")
        assert found() == (["a"], ["k0", "k1"])  # the replica's
        with storage.transaction(read_only=True) as snapshot:
            assert len(snapshot.search_text("raven", namespace="t")) == 2
        standby.order("SELECT pg_wal_replay_resume()")
        eventually(lambda: found() == (["a", "b"], ["k0", "new"]))
        for name in "tv":
            storage.delete_namespace(name, recursive=True)


def test_a_replica_that_is_gone_is_not_missed_and_used_when_it_is_back(pair: tuple[Node, Node]) -> None:
    primary, standby = pair
    with open_near(pair, 0.5) as storage:
        assert storage.get("seen") == "old"
        standby.stop()
        storage.set("seen", 1)
        assert storage.get("seen") == 1
        assert [entry.key for entry in storage.scan()] == ["seen"]
        standby.start(wal_retrieve_retry_interval="100ms")
        eventually(lambda: storage.get("seen") == 1 and storage.get_status().details["replicas"][0]["connections"])
    with PostgresStorageBackend(primary.dsn, replicas=f"postgresql://127.0.0.1:1/x {standby.dsn}") as storage:
        storage.set("seen", 2)
        assert storage.get("seen") == 2


def test_a_promoted_replica_is_asked_as_the_primary() -> None:
    with cluster() as (primary, standby), _open_either(primary, standby) as storage:
        for number in range(20):
            storage.set("n", number)
            assert storage.get("n") == number
        primary.kill()
        standby.promote()
        assert storage.get("n") == 19
        try:
            storage.set("n", 20)
        except CommitUnknown:  # it went out on a connection to the dead primary
            storage.set("n", 20)
        assert storage.get("n") == 20


def _open_either(primary: Node, standby: Node) -> PostgresStorageBackend:
    return PostgresStorageBackend(either(primary, standby), replicas=[standby.dsn], replica_wait=30)


def test_what_an_open_transaction_wrote_is_not_waited_for(pair: tuple[Node, Node]) -> None:
    """It need not reach the replica before the commit, so that a read would wait for nothing."""
    with open_near(pair, 2) as storage:
        for number in range(5):
            with storage.transaction() as tx:
                tx.set("n", number)
                assert storage.get("n") == (number - 1 if number else None)
                assert not storage.get_status().details["replicas"][0]["rests"]
            assert storage.get("n") == number


def test_replicas_are_urls() -> None:
    for replicas in (5, ["sqlite:///x"], "host=a", [b"postgresql://a"]):
        with pytest.raises(InvalidConfig, match="replicas"):
            PostgresStorageBackend("postgresql://a/b", replicas=replicas)
