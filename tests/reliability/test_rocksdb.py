"""RocksDB under kills, forks, a second process, full disks and foreign owners."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mycelia_storage.backends.rocksdb import RocksDBStorageBackend
from mycelia_storage.errors import StorageBusy

from .failing_vfs import mount_small, unmount
from .forkserver import ROOT, ForkServer
from .kill_campaign import run_campaign
from .rocksdb_kills import RocksDBCampaign

CYCLES = int(os.environ.get("KILL_CYCLES", "60"))
SEED = int(os.environ.get("KILL_SEED", 20_261_121))
FULL = "StorageFull"

LEAVING = """
import os, sys
from mycelia_storage import RocksDBStorageBackend
storage = RocksDBStorageBackend(sys.argv[1])
storage.set("k", 1)
snapshot = storage.begin_transaction(read_only=True)
child = os.fork()
if child == 0:
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
storage.set("k", 2)
storage.close()
with RocksDBStorageBackend(sys.argv[1]) as again:
    assert again.get("k") == 2
    assert again.check().ok
"""


def test_a_killed_writer_loses_nothing_acknowledged_and_tears_nothing(tmp_path: Path) -> None:
    print(f"seed {SEED}")  # shown when it fails; every message has it too
    seen = run_campaign(CYCLES, SEED, tmp_path, RocksDBCampaign)
    assert seen["kills"] == CYCLES
    # The campaign would prove nothing if the kills came at harmless moments or the steps were few.
    assert seen["step pair"] + seen["step counter"] >= CYCLES
    assert seen["checkpoints killed"] == CYCLES // 8


def test_the_storage_serves_one_process(tmp_path: Path, server: ForkServer) -> None:
    path = str(tmp_path / "s")
    with server.start("rocksdb_children:hold", path=path) as holder:
        assert holder.line() == "open"
        with pytest.raises(StorageBusy, match=path):
            RocksDBStorageBackend(path)
        with RocksDBStorageBackend(path, read_only=True) as reader:
            assert reader.get("k") == "held"
        holder.tell("close")
        assert holder.line() == "closed"
    with RocksDBStorageBackend(path) as storage:
        assert storage.get("k") == "held"


def test_after_a_fork_the_storage_is_the_parents(tmp_path: Path, server: ForkServer) -> None:
    assert server.run("rocksdb_children:fork", path=str(tmp_path / "s")) == ["the parent went on"]


def test_a_child_that_ends_leaves_the_parents_storage_alone(tmp_path: Path) -> None:
    """The child ends as a program does, with everything torn down: it neither hangs nor writes."""
    ran = subprocess.run([sys.executable, "-c", LEAVING, str(tmp_path / "s")], cwd=ROOT, timeout=60, check=False)
    assert ran.returncode == 0


def test_a_limit_on_the_size_of_files(tmp_path: Path, server: ForkServer) -> None:
    (found,) = server.run("rocksdb_children:limited_file_size", path=str(tmp_path / "s"))
    assert found == {"failed": [FULL, FULL], "same": True, "healthy": False, "later": "done", "problems": []}


def test_a_really_full_file_system(tmp_path: Path, server: ForkServer) -> None:
    if not mount_small(tmp_path, "40m"):
        pytest.skip("mounting a small file system takes privileges; the limit above is tested anyway")
    try:
        (found,) = server.run("rocksdb_children:real_full_disk", folder=str(tmp_path))
    finally:
        unmount(tmp_path)
    assert found == {"failed": [FULL, FULL], "intact": True, "later": "done", "problems": []}


@pytest.mark.parametrize("read_only", [False, True])
def test_the_folder_of_somebody_else(tmp_path: Path, server: ForkServer, read_only: bool) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    path = tmp_path / "s"
    RocksDBStorageBackend(path).close()
    found = server.run("rocksdb_children:without_privileges", path=str(path), read_only=read_only)
    assert found == ["StorageReadOnly"]
