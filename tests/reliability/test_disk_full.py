"""No room, no sync: a typed error, an intact store, and work goes on when the disk is well again."""

from __future__ import annotations

from pathlib import Path

import pytest

from .failing_vfs import FULL, UNKNOWN, WRITES, mount_small, unmount
from .forkserver import ForkServer


@pytest.mark.parametrize("wal", [True, False], ids=["wal", "rollback journal"])
@pytest.mark.parametrize("room", [0, 20_000], ids=["at once", "midway"])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_without_room_is_undone(tmp_path: Path, server: ForkServer, write: str, room: int, wal: bool) -> None:
    (found,) = server.run(
        "failing_vfs:fill_the_disk", path=str(tmp_path / "storage.db"), write=write, room=room, wal=wal
    )
    assert found == {"failed": FULL, "same": True, "again": FULL, "later": "written", "problems": []}


def test_a_really_full_file_system(tmp_path: Path, server: ForkServer) -> None:
    if not mount_small(tmp_path):
        pytest.skip("mounting a small file system takes privileges; the simulated disk above is tested anyway")
    try:
        (found,) = server.run("failing_vfs:real_full_disk", folder=str(tmp_path))
    finally:
        unmount(tmp_path)
    assert found.pop("written") > 100
    assert found == {"failed": FULL, "batch": FULL, "intact": True, "later": "written", "problems": []}


def test_a_limit_on_the_size_of_files(tmp_path: Path, server: ForkServer) -> None:
    (found,) = server.run("failing_vfs:limited_file_size", path=str(tmp_path / "storage.db"))
    assert found == {"failed": FULL, "same": True, "later": "written", "problems": []}


def test_a_failed_sync_at_commit_says_that_the_outcome_is_unknown(tmp_path: Path, server: ForkServer) -> None:
    (found,) = server.run("failing_vfs:fail_the_sync", path=str(tmp_path / "storage.db"))
    assert found["outcomes"] == [UNKNOWN] * 3
    assert found["held"] in ("first", "second", "third", "by id")
    assert found["later"] == "written"
    assert found["problems"] == []


def test_a_failed_checkpoint_reaches_the_status(tmp_path: Path, server: ForkServer) -> None:
    (found,) = server.run("failing_vfs:fail_the_checkpoint", path=str(tmp_path / "storage.db"))
    assert found["last_error"]
    assert found["healthy"] is False
    assert found["intact"] is True
    assert found["problems"] == []
