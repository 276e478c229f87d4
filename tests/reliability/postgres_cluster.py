"""A primary and its streaming standby on local sockets, from the wheel's programs: to be killed and promoted."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

from mycelia_storage.backends.postgres.server_programs import find_programs, hand_over, let_pass, run_program

#: Durable as by default, only smaller.
SETTINGS = {"shared_buffers": "32MB", "listen_addresses": "", "max_wal_senders": "4", "wal_keep_size": "64MB"}


class Node:
    """One server in a folder of its own, stopped by default."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._programs = find_programs()
        folder.mkdir()
        hand_over(folder)
        let_pass(self._programs)

    @property
    def dsn(self) -> str:
        return f"postgresql:///postgres?host={quote(str(self.folder), safe='')}&user=postgres"

    def run(self, program: str, *arguments: str) -> None:
        code = run_program(self._programs / program, *arguments, folder=self.folder)
        log = self.folder / "log"
        assert code == 0, (program, code, log.read_text()[-2000:] if log.exists() else "")

    def initialise(self) -> None:
        self.run("initdb", "-D", "data", "-U", "postgres", "--auth=trust", "--no-locale", "-E", "UTF8", "--no-sync")

    def copy_from(self, primary: Node, name: str) -> None:
        """Become a standby of the primary that calls itself ``name``."""
        source = f"host={primary.folder} user=postgres application_name={name}"
        self.run("pg_basebackup", "-d", source, "-D", "data", "-R", "-X", "stream", "-c", "fast", "--no-sync")

    def start(self, **settings: str) -> None:
        given = {**SETTINGS, "unix_socket_directories": str(self.folder), **settings}
        options = " ".join(f"--{name}='{value}'" for name, value in given.items())
        self.run("pg_ctl", "start", "-D", "data", "-w", "-t", "60", "-l", "log", "-o", options)

    def stop(self) -> None:
        if (self.data / "postmaster.pid").exists():
            run_program(self._programs / "pg_ctl", "stop", "-D", "data", "-m", "immediate", "-w", folder=self.folder)

    def kill(self) -> None:
        """kill -9 of every process of the server at once, as a power cut does."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in [postmaster, *map(int, children)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def promote(self) -> None:
        self.run("pg_ctl", "promote", "-D", "data", "-w", "-t", "60")

    def ask(self, sql: str) -> object:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]

    def order(self, sql: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql)


@contextmanager
def cluster(**settings: str) -> Iterator[tuple[Node, Node]]:
    """A running primary and its standby, called ``standby``; ``settings`` are the primary's."""
    folder = Path(tempfile.mkdtemp(prefix="mycelia-pg-"))
    primary, standby = Node(folder / "primary"), Node(folder / "standby")
    try:
        primary.initialise()
        primary.start(**settings)
        standby.copy_from(primary, "standby")
        standby.start(wal_retrieve_retry_interval="100ms")
        give_up = time.monotonic() + 60
        while primary.ask("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") != 1:
            assert time.monotonic() < give_up, "the standby does not stream"
            time.sleep(0.05)
        yield primary, standby
    finally:
        primary.stop()
        standby.stop()
        shutil.rmtree(folder)


def either(first: Node, second: Node) -> str:
    """The address of whichever of the two takes writes."""
    hosts = quote(f"{first.folder},{second.folder}", safe="")
    return f"postgresql:///postgres?host={hosts}&user=postgres&target_session_attrs=read-write"
