"""Several processes on one PostgreSQL schema: starting at once, writing at once, forking, watching, dying."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from mycelia_storage.backends.postgres import PostgresStorageBackend, journal
from mycelia_storage.backends.postgres.journal import NEWEST_VERSION
from mycelia_storage.errors import TransactionError
from mycelia_storage.testing.fixtures import eventually
from tests.postgres_server import PostgresSchemas

_PATIENCE = 120

_BEGIN = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from mycelia_storage.backends.postgres import PostgresStorageBackend
url, schema = sys.argv[1:3]
"""
_START = "PostgresStorageBackend(url, schema=schema, partitions=2).close()"
_COUNT = """
with PostgresStorageBackend(url, schema=schema, busy_timeout=60_000) as storage:
    def work():
        for _ in range(15):
            with storage.transaction() as tx:
                tx.set("n", tx.get("n", 0) + 1)
            storage.run_transaction(lambda tx: tx.set("m", tx.get("m", 0) + 1), attempts=1_000)
            storage.set("own", 1)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
"""
_WRITE = """
with PostgresStorageBackend(url, schema=schema) as storage:
    for number in range(20):
        storage.set(f"{number}", 1, namespace="n")
"""
_HOLD = """
storage = PostgresStorageBackend(url, schema=schema)
tx = storage.begin_transaction()
tx.set("k", "never committed")
print("held", flush=True)
sys.stdin.read()
"""


def start(code: str, url: str, schema: str) -> subprocess.Popen[str]:
    """Run the code in a process of its own."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _BEGIN + code, url, schema],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for the process; it ended well and said nothing."""
    try:
        _, errors = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert (process.returncode, errors) == (0, "")


@contextmanager
def forked() -> Iterator[int]:
    """0 in the child, which ends with the block; in the parent the child's pid, waited for at the end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            yield 0
            code = 0
        finally:
            os._exit(code)
    yield pid
    _, status = os.waitpid(pid, 0)
    assert status == 0


def test_many_starters_apply_each_migration_once(postgres_dsn: str) -> None:
    for _ in range(2):
        for process in [start(_START, postgres_dsn, "starters") for _ in range(5)]:
            finish(process)
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        rows = admin.execute("SELECT version FROM starters.schema_version ORDER BY version").fetchall()
        assert rows == [(number,) for number in range(1, NEWEST_VERSION + 1)]
        admin.execute("DROP SCHEMA starters CASCADE")


def test_a_starter_overtaken_between_its_looks_takes_the_schema_for_what_it_is(
    postgres_schemas: PostgresSchemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saw no version, then the table that another starter had made meanwhile, and took that for somebody else's."""
    schema = postgres_schemas.new()
    PostgresStorageBackend(postgres_schemas.url, schema=schema).close()
    real, first = journal.recorded_version, iter([True])
    monkeypatch.setattr(journal, "recorded_version", lambda link, name: 0 if next(first, False) else real(link, name))
    with PostgresStorageBackend(postgres_schemas.url, schema=schema) as storage:
        storage.set("k", 1)


def test_starters_at_the_same_moment_in_one_process(postgres_dsn: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        opening = [pool.submit(PostgresStorageBackend, postgres_dsn, schema="at_once") for _ in range(8)]
        for opened in opening:
            opened.result(_PATIENCE).close()
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute("DROP SCHEMA at_once CASCADE")


def test_read_modify_write_by_processes_and_threads_loses_nothing(postgres_schemas: PostgresSchemas) -> None:
    schema = postgres_schemas.new()
    with PostgresStorageBackend(postgres_schemas.url, schema=schema) as storage:
        for process in [start(_COUNT, postgres_schemas.url, schema) for _ in range(4)]:
            finish(process)
        assert storage.get_many(["n", "m"]) == {"n": 4 * 4 * 15, "m": 4 * 4 * 15}


def test_a_watcher_sees_what_another_process_writes(postgres_schemas: PostgresSchemas) -> None:
    schema = postgres_schemas.new()
    with PostgresStorageBackend(postgres_schemas.url, schema=schema) as storage:
        storage.create_namespace("n", track_changes=True)
        watch = storage.watch(namespace="n", timeout=_PATIENCE)
        process = start(_WRITE, postgres_schemas.url, schema)
        seen = [next(watch).key for _ in range(20)]
        watch.close()
        finish(process)
        assert seen == [str(number) for number in range(20)]


def test_a_killed_writer_stops_nobody(postgres_schemas: PostgresSchemas) -> None:
    schema = postgres_schemas.new()
    with PostgresStorageBackend(postgres_schemas.url, schema=schema, busy_timeout=60_000) as storage:
        holder = start(_HOLD, postgres_schemas.url, schema)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
        holder.communicate(timeout=_PATIENCE)
        storage.set("l", 1)
        assert storage.list() == ["l"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(postgres_schemas: PostgresSchemas) -> None:
    schema = postgres_schemas.new()
    with PostgresStorageBackend(postgres_schemas.url, schema=schema) as storage:
        storage.set("k", 1)
        tx = storage.begin_transaction()
        tx.set("t", 1)
        snapshot = storage.begin_transaction(read_only=True)
        with forked() as child:
            if not child:
                for inherited in (tx, snapshot):
                    with pytest.raises(TransactionError):
                        inherited.get("k")
                assert storage.get("k") == 1
                with storage.transaction(read_only=True) as own:
                    assert own.list() == ["k"]
                storage.close()
        assert tx.get("t") == 1
        tx.commit()
        assert snapshot.list() == ["k"]
        snapshot.commit()
        with forked() as child:
            if not child:
                storage.set("child", 1)
                with storage.transaction() as own:
                    own.set("k", own.get("k") + 1)
        eventually(lambda: storage.has("child"))
        assert storage.get_many(["child", "k", "t"]) == {"child": 1, "k": 2, "t": 1}
