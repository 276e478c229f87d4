"""Fork with an open storage; and the locks that a process holds on a file stay its own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend

from .forkserver import ForkServer


def test_after_a_fork_both_sides_go_on(tmp_path: Path, server: ForkServer) -> None:
    assert server.run("forking:fork", path=str(tmp_path / "s.db")) == ["both went on"]


def test_a_transaction_stays_with_the_process_that_opened_it(tmp_path: Path, server: ForkServer) -> None:
    said = server.run("forking:fork_in_transaction", path=str(tmp_path / "s.db"))
    assert said == ["the parent's transaction went on"]


def test_nothing_that_the_library_does_drops_its_own_locks(tmp_path: Path, server: ForkServer) -> None:
    """POSIX locks go when any descriptor of the file is closed in the process: status, check, backup, a second
    storage on the same file."""
    path = tmp_path / "storage.db"
    SQLiteStorageBackend({"dbPath": str(path)}).close()
    with server.start("forking:lose_the_lock", path=str(path)) as holder:
        assert holder.line() == "holding"
        with (
            server.start("locking:hold", path=str(path), begin="BEGIN IMMEDIATE") as other,
            pytest.raises(AssertionError, match="BusyError"),
        ):
            other.line()
        holder.tell("go on")
        assert holder.line() == "committed"
    with closing(SQLiteStorageBackend({"dbPath": str(path)})) as storage:
        assert storage.get("k") == "held"
