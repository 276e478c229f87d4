"""Changes seen from other processes: each once, in order, also after the watcher was killed; snapshots never torn."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from mycelia_storage.backends.sqlite import SQLiteStorageBackend

from .forkserver import ForkServer
from .watching import NAMESPACE

WRITERS = 3
EACH = 120


def test_a_watcher_sees_each_change_of_other_processes_once_in_order(tmp_path: Path, server: ForkServer) -> None:
    path = str(tmp_path / "storage.db")
    with closing(SQLiteStorageBackend({"dbPath": path})) as storage:
        storage.create_namespace(NAMESPACE, track_changes=True)
    writers = [
        server.start("watching:write_changes", path=path, writer=writer, count=EACH) for writer in range(WRITERS)
    ]
    for writer in writers:
        assert writer.line() == "ready"
    seen: list[tuple[int, str]] = []
    # The watcher is killed twice; the next one goes on from the last change that was heard.
    for stop_at in (EACH // 3, EACH, WRITERS * EACH):
        with server.start("watching:watch_changes", path=path, since=seen[-1][0] if seen else 0) as watcher:
            assert watcher.line() == "watching"
            if not seen:
                for writer in writers:
                    writer.tell("go")
            while len(seen) < stop_at:
                seq, key = watcher.line()
                seen.append((seq, key))
    for writer in writers:
        assert writer.lines() == []
        assert writer.end() == 0

    assert [seq for seq, _ in seen] == sorted({seq for seq, _ in seen})
    for number in range(WRITERS):
        own = [key for _, key in seen if key.startswith(f"{number}-")]
        assert own == [f"{number}-{place:04}" for place in range(EACH)]
    with closing(SQLiteStorageBackend({"dbPath": path})) as storage:
        logged = storage.changes(namespace=NAMESPACE, limit=10 * EACH * WRITERS).changes
    assert [(change.seq, change.key) for change in logged] == seen


def test_readers_in_other_processes_never_see_half_a_transaction(tmp_path: Path, server: ForkServer) -> None:
    path = str(tmp_path / "storage.db")
    with closing(SQLiteStorageBackend({"dbPath": path})) as storage:
        storage.set_many([("left", 0), ("right", 0)], namespace="pair")
    readers = [server.start("watching:read_consistently", path=path) for _ in range(3)]
    for reader in readers:
        assert reader.line() == "ready"
    assert server.run("watching:write_pairs", path=path, count=400) == ["written"]
    for reader in readers:
        found = reader.line()
        reader.lines()
        assert reader.end() == 0
        assert found["torn"] == 0
        assert found["reads"] > 1


def test_paging_from_the_start_never_expires_its_own_cursor(tmp_path: Path) -> None:
    """A quiet namespace keeps changes older than what retention took from a busy one."""
    with closing(SQLiteStorageBackend({"dbPath": str(tmp_path / "s.db"), "change_retention": 3})) as storage:
        for name in ("quiet", "busy"):
            storage.create_namespace(name, track_changes=True)
        storage.set("k", 1, namespace="quiet")
        for number in range(12):
            storage.set(f"k{number}", 1, namespace="busy")
        keys = []
        page = storage.changes(limit=1)
        while page.changes:
            keys += [change.key for change in page.changes]
            page = storage.changes(since=page.cursor, limit=1)
        assert keys[-3:] == ["k9", "k10", "k11"]
        assert [change.key for change in storage.changes(namespace="quiet").changes] == ["k"]
