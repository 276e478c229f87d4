"""The change logs of several shards as one, and how a reader follows a namespace that moves."""

from __future__ import annotations

import random

import pytest

from mycelia_storage.backends.sharded import moving
from mycelia_storage.contract import Change
from mycelia_storage.errors import CursorExpired, InvalidInput

from .conftest import MOVING, STAYING, Shards

NAMES = [MOVING[0], *STAYING[:5]]


def told(changes: list[Change]) -> list[tuple[str, str, str | None]]:
    return [(change.namespace, change.operation, change.key) for change in changes]


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_every_change_is_met_once_in_order_of_its_namespace(shards: Shards, limit: int) -> None:
    storage = shards.client()
    rng = random.Random(5)
    written: list[tuple[str, str, str | None]] = []
    for name in NAMES:
        storage.create_namespace(name, track_changes=True)
    storage.set("untracked", 1)
    for number in range(100):
        name = rng.choice(NAMES)
        storage.set(f"{number}", 1, namespace=name)
        written.append((name, "set", f"{number}"))
    seen: list[Change] = []
    cursor, more = None, True
    while more:
        page = storage.changes(since=cursor, limit=limit)
        assert len(page.changes) <= limit
        seen += page.changes
        cursor, more = page.cursor, page.has_more
    assert sorted(told(seen)) == sorted(written)
    assert [change.seq for change in seen] == sorted({change.seq for change in seen})
    for name in NAMES:
        assert [change for change in told(seen) if change[0] == name] == [c for c in written if c[0] == name]
    assert cursor is not None
    assert storage.changes(since=cursor).changes == []
    for place in (0, 10, 57, 99):
        assert sorted(told(storage.changes(since=seen[place].seq).changes)) == sorted(told(seen[place + 1 :]))
    assert told(list(storage.watch(since=seen[90].seq, timeout=0))) == told(seen[91:])


def test_a_watcher_sees_what_comes_to_any_shard(shards: Shards) -> None:
    storage = shards.client()
    for name in NAMES:
        storage.create_namespace(name, track_changes=True)
        storage.set("before", 1, namespace=name)
    watch = storage.watch(timeout=0)
    for name in NAMES:
        storage.set("after", 1, namespace=name)
    assert {change.namespace for change in watch} == set(NAMES)
    with pytest.raises(InvalidInput):
        storage.changes(since=-1)


def test_a_reader_that_is_up_to_date_goes_on_at_the_new_shard(shards: Shards) -> None:
    storage, other = shards.client(), shards.client()
    name = MOVING[0]
    for each in NAMES:
        storage.create_namespace(each, track_changes=True)
        storage.set_many({"a": 1, "b": 2}, namespace=each)
    of_one, of_all = storage.changes(namespace=name).cursor, storage.changes().cursor
    behind = storage.changes(namespace=name, limit=1).cursor
    all_behind = storage.changes(limit=1).cursor
    watch = storage.watch(namespace=name, since=of_one, timeout=0)
    other.add_shard(shards.storages[3])
    other.rebalance()
    assert storage.changes(namespace=name, since=of_one).changes == []
    storage.set("c", 3, namespace=name)
    other.delete("a", namespace=name)
    expected = [(name, "set", "c"), (name, "delete", "a")]
    assert told(list(watch)) == expected
    for since in (of_one, None):
        page = storage.changes(namespace=name, since=since)
        assert told(page.changes) == expected  # nothing of the copying
        assert page.changes[0].seq > of_one
        assert told(storage.changes(namespace=name, since=page.changes[0].seq).changes) == expected[1:]
        assert storage.changes(namespace=name, since=page.cursor).changes == []
    assert told(storage.changes(since=of_all).changes) == expected
    for since in (behind, 0):
        with pytest.raises(CursorExpired):
            storage.changes(namespace=name, since=since)
    with pytest.raises(CursorExpired):
        storage.changes(since=all_behind)


def test_a_large_namespace_that_moves_expires_cursors_of_all(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never in silence: its old copy is deleted in batches, whose changes go with its log."""
    monkeypatch.setattr(moving, "_AT_ONCE", 1)
    storage = shards.client()
    for name in (MOVING[0], STAYING[0]):
        storage.create_namespace(name, track_changes=True)
        storage.set_many({"a": 1, "b": 2}, namespace=name)
    of_one, of_all = storage.changes(namespace=STAYING[0]).cursor, storage.changes().cursor
    storage.add_shard(shards.storages[3])
    storage.rebalance()
    assert storage.list(namespace=MOVING[0]) == ["a", "b"]
    with pytest.raises(CursorExpired):
        storage.changes(since=of_all)
    assert storage.changes(namespace=STAYING[0], since=of_one).changes == []


def test_a_reader_that_saw_nothing_of_an_empty_log_goes_on(shards: Shards) -> None:
    storage = shards.client()
    name = MOVING[0]
    storage.create_namespace(name, track_changes=True)
    start = storage.changes(namespace=name).cursor
    storage.add_shard(shards.storages[3])
    storage.rebalance()
    storage.set("a", 1, namespace=name)
    assert told(storage.changes(namespace=name, since=start).changes) == [(name, "set", "a")]


def test_a_name_that_moves_twice(shards: Shards) -> None:
    storage = shards.client()
    name = MOVING[0]
    storage.create_namespace(name, track_changes=True)
    cursors = []
    for number, shard in enumerate(["s0", "s1", "s2", None]):
        storage.set(f"k{number}", 1, namespace=name)
        cursors.append(storage.changes(namespace=name).cursor)
        storage.pin(name, shard)
        storage.rebalance()
    storage.set("last", 1, namespace=name)
    assert told(storage.changes(namespace=name, since=cursors[-1]).changes) == [(name, "set", "last")]
    assert cursors == sorted(set(cursors))


def test_what_a_move_writes_is_no_change_of_the_users(shards: Shards) -> None:
    """Neither the copy, nor the deletion of the old one, nor what was tracked for the move alone."""
    storage, other = shards.client(), shards.client()
    for each in NAMES:
        storage.set_many({"a": 1, "b": 2}, namespace=each)
    storage.create_namespace(STAYING[0], exist_ok=True, track_changes=True)
    start = storage.changes().cursor
    seen: list[Change] = []

    written = 0

    def look(_done: int, _total: int) -> None:
        nonlocal written
        if written < 3:
            written += 1
            other.set("during", written, namespace=MOVING[0])
        seen.extend(other.changes(since=start).changes)

    storage.add_shard(shards.storages[3])
    storage.rebalance(progress=look)
    assert written == 3
    assert seen == []
    storage.set("c", 1, namespace=STAYING[0])
    storage.set("c", 1, namespace=MOVING[0])
    assert told(storage.changes().changes) == [(STAYING[0], "set", "c")]
