"""PostgreSQL: isolation, what a session keeps, and connections that are cut or run out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.contract import Transaction
from mycelia_storage.errors import CommitUnknown, StorageBusy, TransactionError
from mycelia_storage.filters import where
from mycelia_storage.testing.fixtures import eventually

Open = Callable[..., PostgresStorageBackend]


def cut(admin: psycopg.Connection, storage: PostgresStorageBackend) -> None:
    """Terminate every connection of the storage, found by its application name."""
    name = storage.settings.application_name
    gone = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE application_name = %s"
    row = admin.execute(gone, (name,)).fetchone()
    assert row is not None
    assert row[0] > 0


# -- isolation -------------------------------------------------------------------------------------------------------


def test_weaker_transactions_stand_side_by_side(open_one: Open) -> None:
    storage = open_one(busy_timeout=2_000)
    for level in ("snapshot", "repeatable read", "read committed"):
        one, two = storage.begin_transaction(isolation=level), storage.begin_transaction(isolation=level)
        one.set("a", level)
        two.set("b", level)
        storage.set("c", level)
        two.commit()
        one.commit()
        assert set(storage.get_many("abc").values()) == {level}
    busy = open_one(busy_timeout=20)
    weak = storage.begin_transaction(isolation="read committed")
    with pytest.raises(StorageBusy):
        busy.begin_transaction()
    weak.rollback()
    with busy.transaction(), pytest.raises(StorageBusy):
        open_one(busy_timeout=20).begin_transaction(isolation="snapshot")


def test_a_lost_race_of_snapshots_is_safe_to_repeat(open_one: Open) -> None:
    storage = open_one()
    storage.set("n", 0)
    one, two = storage.begin_transaction(isolation="snapshot"), storage.begin_transaction(isolation="snapshot")
    assert (one.get("n"), two.get("n")) == (0, 0)
    one.set("n", 1)
    one.commit()
    with pytest.raises(StorageBusy):
        two.set("n", 2)
    with pytest.raises(TransactionError):
        two.commit()
    assert storage.get("n") == 1


def test_no_reader_can_miss_a_change_of_a_slower_transaction(open_one: Open) -> None:
    storage = open_one()
    storage.create_namespace("n", track_changes=True)
    slow = storage.begin_transaction(isolation="read committed")
    slow.set("slow", 1, namespace="n")
    with ThreadPoolExecutor(1) as pool:
        fast = pool.submit(storage.set, "fast", 1, namespace="n")  # waits for the counter, so its seq is the higher
        cursor = storage.changes(namespace="n").cursor
        slow.commit()
        fast.result(60)
    changes = storage.changes(namespace="n", since=cursor).changes
    assert [change.key for change in changes] == ["slow", "fast"]


def test_a_version_lies_above_that_of_a_deletion_it_waited_for(open_one: Open) -> None:
    storage = open_one()
    storage.set("k", 0)
    other = storage.begin_transaction(isolation="read committed")
    other.delete("k")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(storage.set, "k", 2)
        eventually(lambda: waiting.running() and _is_blocked(storage))
        highest = other.set("k", 1)
        other.delete("k")
        other.commit()
        assert waiting.result(60) > highest


def _is_blocked(storage: PostgresStorageBackend) -> bool:
    return bool(storage._rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' LIMIT 1", ()))


def test_run_transaction_is_serializable_without_the_lock(open_one: Open) -> None:
    storage = open_one(pool_max_size=8)
    storage.set_many({"ada": True, "bob": True})
    together = threading.Barrier(2, timeout=20)
    first = threading.local()

    def go_off_duty(tx: Transaction, name: str) -> None:
        on_duty = sum(tx.get_many(["ada", "bob"]).values())
        if not hasattr(first, "seen"):
            first.seen = True
            together.wait()  # both have read before either writes
        if on_duty > 1:
            tx.set(name, False)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(storage.run_transaction, go_off_duty, name) for name in ("ada", "bob")]:
            done.result(60)
    assert sorted(storage.get_many(["ada", "bob"]).values()) == [False, True]


def test_nothing_is_left_in_a_session(open_one: Open) -> None:
    storage = open_one(pool_max_size=1)
    storage.create_namespace("n", track_changes=True)
    storage.set("a", 1, namespace="n")
    storage.set_many([(f"k{number}", number) for number in range(500)])
    with storage.transaction() as tx:
        tx.set("b", 1, namespace="n")
    storage.begin_transaction(isolation="snapshot").rollback()
    link = storage._pool.take()
    asked = "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'),"
    asked += " (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),"
    asked += " (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relname = 'mycelia_stage'),"
    asked += " current_setting('search_path')"
    assert link.rows(asked, (), False) == [("0", "0", 0, 0, '"$user", public')]
    storage._pool.give(link)


def test_without_prepared_statements_nothing_changes(open_one: Open) -> None:
    storage = open_one(prepare=False, pool_max_size=1)
    for number in range(12):
        storage.set("k", number)
        assert storage.get("k") == number
        assert len(storage.query(where("$key") == "k")) == 1
    link = storage._pool.take()
    assert link.rows("SELECT count(*) FROM pg_prepared_statements", (), False) == [(0,)]
    storage._pool.give(link)


# -- connections -----------------------------------------------------------------------------------------------------


def test_reads_survive_a_cut_connection(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one(application_name="cut_reads")
    storage.set("k", 1)
    for read in (lambda: storage.get("k"), lambda: storage.list(), lambda: storage.count(), lambda: storage.has("k")):
        cut(admin, storage)
        assert read()


def test_a_cut_inside_a_transaction(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one(application_name="cut_inside")
    tx = storage.begin_transaction()
    tx.set("k", 1)
    cut(admin, storage)
    with pytest.raises(TransactionError, match="connection"):
        tx.get("k")
    assert not tx.is_active
    with pytest.raises(TransactionError):
        tx.commit()
    assert storage.list() == []
    storage.set("k", 2)


def test_a_cut_at_commit_leaves_its_outcome_unknown(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one(application_name="cut_commit")
    tx = storage.begin_transaction()
    tx.set("k", 1)
    cut(admin, storage)
    with pytest.raises(CommitUnknown):
        tx.commit()
    storage.set("l", 1)
    assert storage.list() == ["l"]


def test_a_cut_under_a_write_says_that_it_is_unknown(open_one: Open, admin: psycopg.Connection) -> None:
    storage, blocker = open_one(application_name="cut_write", busy_timeout=20_000), open_one()
    with ThreadPoolExecutor(1) as pool, blocker.transaction():
        waiting = pool.submit(storage.set, "k", 1)
        eventually(lambda: _waits(admin, "cut_write"))
        cut(admin, storage)
        with pytest.raises(CommitUnknown, match="'k'"):
            waiting.result(60)
    assert storage.list() == []


def _waits(admin: psycopg.Connection, name: str) -> bool:
    asked = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
    return admin.execute(asked, (name,)).fetchone() is not None


def test_connections_that_died_while_idle_are_replaced(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one(application_name="cut_idle")
    storage.set("k", 1)
    cut(admin, storage)
    for link in storage._pool.links():
        link.idle_since -= 100
    storage.set("k", 2)
    assert storage.get("k") == 2


def test_no_more_connections_than_allowed(open_one: Open) -> None:
    storage = open_one(pool_max_size=2, busy_timeout=30)
    snapshots = [storage.begin_transaction(read_only=True) for _ in range(2)]
    with pytest.raises(StorageBusy, match="pool_max_size"):
        storage.get("k")
    snapshots[0].commit()
    assert storage.get("k") is None
    snapshots[1].commit()


def test_many_threads_share_few_connections(open_one: Open) -> None:
    storage = open_one(pool_max_size=3)

    def work(worker: int) -> None:
        for number in range(20):
            storage.set(f"{worker}", number)
            assert storage.get(f"{worker}") == number

    with ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(work, worker) for worker in range(12)]:
            done.result(60)
    assert storage.count() == 12
    assert storage._pool.size <= 3


def test_statement_timeout(open_one: Open) -> None:
    storage = open_one(statement_timeout=0.05)
    with pytest.raises(StorageBusy):
        storage._rows("SELECT pg_sleep(10)", ())
    assert storage.get("k") is None
