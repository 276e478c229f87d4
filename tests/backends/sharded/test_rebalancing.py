"""Moving namespaces: what arrives, what a dead mover leaves, what clients with old knowledge see."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.backends.sharded import ShardedStorageBackend, moving, router
from mycelia_storage.backends.sharded.routing import choose
from mycelia_storage.errors import (
    InvalidConfig,
    InvalidNamespace,
    StorageBusy,
    StorageError,
)
from mycelia_storage.filters import where
from mycelia_storage.indexes import FieldIndex
from mycelia_storage.states.transactions import StateTransaction

from .conftest import MOVING, RING, STAYING, TENANTS, Killed, Shards, die, everything, fill, place_of


def test_the_names_are_what_the_tests_take_them_for() -> None:
    assert 2 <= len(MOVING) <= 6


def test_what_moves_arrives_whole_and_the_rest_stays(shards: Shards) -> None:
    storage = shards.client()
    fill(storage)
    before, names = everything(storage), storage.list_namespaces()
    places = {name: place_of(shards, name) for name in STAYING}
    seen: list[tuple[int, int]] = []
    assert storage.add_shard(shards.storages[3]) == "s3"
    assert everything(storage) == before
    report = storage.rebalance(progress=lambda done, total: seen.append((done, total)))
    assert sorted(move.top for move in report.moves) == sorted(MOVING)
    assert {move.target for move in report.moves} == {"s3"}
    assert report.entries == 31 * len(MOVING)
    assert seen == sorted(seen)
    assert seen[-1] == (62 * len(MOVING),) * 2
    assert everything(storage) == before
    assert storage.list_namespaces() == names
    for number, name in enumerate(TENANTS):
        info = storage.get_namespace(name)
        assert info is not None
        assert (info.metadata, info.track_changes) == ({"number": number}, number % 2 == 0)
        assert storage.list_indexes(name) == {"mail": FieldIndex("mail", unique=True)}
        assert len(storage.query(where("mail") == f"7@{name}", namespace=name)) == 1
        assert place_of(shards, name) == ([3] if name in MOVING else places[name])
    assert storage.check().ok
    assert storage.rebalance().moves == []
    assert "~mycelia-shards/copies" not in shards.storages[3].list_namespaces()


def test_writes_during_a_move_are_in_it(shards: Shards) -> None:
    """Sets, deletes, clears, new namespaces, deleted ones and other indexes, at every step of the copy."""
    storage, other = shards.client(), shards.client()
    fill(storage)
    name = MOVING[0]
    turn = 0

    def interfere(_done: int, _total: int) -> None:
        nonlocal turn
        if turn == 4:
            return
        turn += 1
        other.set(f"new{turn}", turn, namespace=name)
        other.delete(f"k{turn:03}", namespace=name)
        other.set(f"k{turn + 10:03}", turn, namespace=name)
        other.set("k", turn, namespace=f"{name}/new{turn}")
        if turn == 1:
            other.delete_namespace(f"{name}/below", recursive=True)
            other.clear(namespace=f"{name}/empty/deep")
            other.drop_index(name, "mail")
            other.create_index(name, FieldIndex("other"))
            other.create_namespace(name, metadata={"changed": True}, exist_ok=True, track_changes=True)

    storage.add_shard(shards.storages[3])
    storage.rebalance(progress=interfere)
    assert turn == 4
    keys = {f"k{n:03}" for n in range(30)} - {f"k{n:03}" for n in range(1, turn + 1)}
    keys |= {f"k{n + 10:03}" for n in range(1, turn + 1)} | {f"new{n}" for n in range(1, turn + 1)}
    for client in (storage, other):
        assert set(client.list(namespace=name)) >= keys - {f"k{n:03}" for n in range(1, turn + 1)}
        assert client.list_indexes(name) == {"other": FieldIndex("other")}
        assert client.get(f"k{turn + 10:03}", namespace=name) == turn
        assert client.get_namespace(f"{name}/below") is None
        info = client.get_namespace(name)
        assert info is not None
        assert (info.metadata, info.track_changes) == ({"changed": True}, True)
        assert client.get("k", namespace=f"{name}/new{turn}") == turn
    assert storage.check().ok


def test_tracking_that_a_move_turned_on_is_not_taken_along(shards: Shards) -> None:
    storage, other = shards.client(), shards.client()
    name = MOVING[0]
    for below in ("", "/a", "/b"):
        storage.set("k", 1, namespace=name + below)
    asked = False

    def ask(_done: int, _total: int) -> None:
        nonlocal asked
        if not asked:
            asked = True
            other.create_namespace(f"{name}/b", exist_ok=True, track_changes=True)

    storage.add_shard(shards.storages[3])
    storage.rebalance(progress=ask)
    tracked = {
        n: info.track_changes for n in storage.list_namespaces(prefix=name) if (info := storage.get_namespace(n))
    }
    assert tracked == {name: False, f"{name}/a": False, f"{name}/b": True}
    storage.set("k", 2, namespace=f"{name}/b")
    assert [change.key for change in storage.changes(namespace=f"{name}/b").changes] == ["k"]
    assert [change.key for change in storage.changes().changes] == ["k"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_mover_maydie_at_any_commit(after: bool) -> None:
    """Whatever the commit it dies at, everything goes on, and the next rebalance comes to its end."""
    died = 0
    for commit in range(1, 200):
        shards = Shards(4)
        try:
            client = shards.client(busy_timeout=300)
            for name in [MOVING[0], MOVING[1], STAYING[0]]:
                client.create_namespace(name, track_changes=True)
                client.set_many({"a": 1, "b": 2, "c": 3}, namespace=name)
                client.set("k", 1, namespace=f"{name}/below")
            before = everything(client)
            mover = shards.client()

            def move(commit: int = commit, shards: Shards = shards, mover: ShardedStorageBackend = mover) -> None:
                shards.kill_at(commit, after=after)
                mover.add_shard(shards.storages[3])
                mover.rebalance()

            with ThreadPoolExecutor(1) as pool:
                error = pool.submit(move).exception(60)
            if error is None:
                assert died > 30
                return
            while error.__context__ is not None and not isinstance(error, Killed):
                error = error.__context__  # what it did in its last moments failed as well
            assert isinstance(error, Killed), error
            died += 1
            shards.revive()
            assert everything(client) == before
            for name in [MOVING[0], MOVING[1], STAYING[0]]:
                try:
                    client.set("late", commit, namespace=name)
                except StorageBusy:  # fenced; the mover would have to come back within seconds
                    assert shards.client().get("late", namespace=name) is None
            before = everything(client)
            again = shards.client()
            again.add_shard(shards.storages[3])
            again.rebalance()
            assert everything(client) == everything(again) == everything(shards.client()) == before
            assert client.check().ok
            assert [place_of(shards, name) for name in MOVING[:2]] == [[3], [3]]
        finally:
            shards.revive()
            shards.close()
    raise AssertionError("it died every time")


def test_a_fence_whose_moverdied_is_lifted_by_a_writer(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "FENCE_SECONDS", 0.05)
    storage = shards.client()
    name = MOVING[0]
    storage.set("k", 1, namespace=name)
    mover = shards.client()
    mover.add_shard(shards.storages[3])
    monkeypatch.setattr(moving.Move, "_arrive", die)
    monkeypatch.setattr(moving.Move, "_unfence", lambda _: None)
    with pytest.raises(Killed):
        mover.rebalance()
    assert storage.get("k", namespace=name) == 1  # readers do not wait
    storage.set("k", 2, namespace=name)
    monkeypatch.undo()
    storage.rebalance()
    assert storage.get("k", namespace=name) == 2
    assert place_of(shards, name) == [3]


def test_a_fence_lifted_under_a_slow_mover_is_put_up_again(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "FENCE_SECONDS", 0.001)
    storage, other = shards.client(), shards.client()
    name = MOVING[0]
    storage.set("k", 1, namespace=name)
    arrive = moving.Move._arrive
    slow = 0

    def arrive_late(move: moving.Move, ends: Any) -> None:
        nonlocal slow
        if slow < 2:
            slow += 1
            time.sleep(0.01)
            other.set("k", 1 + slow, namespace=name)
        arrive(move, ends)

    monkeypatch.setattr(moving.Move, "_arrive", arrive_late)
    storage.add_shard(shards.storages[3])
    storage.rebalance()
    assert slow == 2
    assert storage.get("k", namespace=name) == other.get("k", namespace=name) == 3


def test_two_movers_do_no_harm(shards: Shards) -> None:
    storage = shards.client()
    fill(storage)
    before = everything(storage)
    storage.add_shard(shards.storages[3])

    def move() -> int:
        try:
            return len(shards.client().rebalance().moves)
        except StorageBusy:
            return 0

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(move) for _ in range(3)]:
            done.result(60)
    storage.rebalance()
    assert everything(storage) == before
    assert storage.check().ok
    assert all(place_of(shards, name) == [3] for name in MOVING)


def test_a_mover_that_was_thought_dead_writes_nothing(shards: Shards) -> None:
    """It wakes in the middle of its copying, when all has moved and what it is about to copy was deleted there."""
    storage, late, other = shards.client(), shards.client(), shards.client()
    name = MOVING[0]
    storage.set_many(((f"k{n:05}", n) for n in range(2_500)), namespace=name)
    late.add_shard(shards.storages[3])
    woken = False

    def sleep(_done: int, _total: int) -> None:
        nonlocal woken
        if not woken:
            woken = True
            with ThreadPoolExecutor(1) as pool:
                pool.submit(other.rebalance).result(60)
            assert storage.clear(namespace=name) == 2_500

    with pytest.raises(StorageBusy, match="taken over"):
        late.rebalance(progress=sleep)
    assert woken
    assert storage.list(namespace=name) == late.list(namespace=name) == []
    assert place_of(shards, name) == [3]
    assert late.rebalance().moves == []


# -- pins and refusals ---------------------------------------------------------------------------------------------


def test_a_pin_moves_one_name(shards: Shards) -> None:
    storage = shards.client()
    fill(storage)
    before = everything(storage)
    name = STAYING[0]
    home = choose(RING, name)
    away = next(shard for shard in RING if shard != home)
    storage.pin(name, away)
    assert [move.top for move in storage.rebalance().moves] == [name]
    assert place_of(shards, name) == [RING.index(away)]
    storage.pin(name, None)
    storage.rebalance()
    assert place_of(shards, name) == [RING.index(home)]
    assert everything(storage) == before
    for wrong, shard, error in [(f"{name}/below", "s0", InvalidNamespace), (name, "s9", InvalidConfig)]:
        with pytest.raises(error):
            storage.pin(wrong, shard)


def test_the_default_namespace_moves_like_any_other(shards: Shards) -> None:
    storage = shards.client()
    storage.set_many({f"k{n}": n for n in range(10)})
    storage.create_index("default", FieldIndex("x"))
    for shard in ("s1", "s2", None):
        storage.pin("default", shard)
        storage.rebalance()
        assert storage.count() == 10
        assert list(storage.list_indexes("default")) == ["x"]
        assert storage.list_namespaces() == ["default"]
    assert storage.check().ok
    assert [shard.count() for shard in shards.storages[:3]] == [10, 0, 0]


def test_what_cannot_be_added(shards: Shards) -> None:
    storage = shards.client()
    with MemoryStorageBackend() as full, MemoryStorageBackend() as strange:
        full.set("k", 1)
        ShardedStorageBackend([strange])
        with pytest.raises(InvalidConfig, match="not empty"):
            storage.add_shard(full)
        with pytest.raises(InvalidConfig, match="already"):
            storage.add_shard(strange)
        with pytest.raises(InvalidConfig, match="already"):
            storage.add_shard(shards.storages[3], name="s1")
        assert storage.add_shard(shards.storages[1]) == "s1"  # in already: nothing changes
        assert storage.add_shard(shards.storages[3], name="new") == "new"
        with pytest.raises(StorageBusy, match="rebalance"):
            storage.add_shard(shards.storages[4])
        with pytest.raises(StorageBusy, match="rebalance"):
            storage.pin(TENANTS[0], "s0")
        assert storage.add_shard(shards.storages[3]) == "new"
    storage.rebalance()
    assert storage.get_status().details["ring"] == ["s0", "s1", "s2", "new"]


def test_a_copy_that_differs_does_not_take_over(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = shards.client()
    name = MOVING[0]
    storage.set_many({"a": 1, "b": 2}, namespace=name)
    target = shards.storages[3]
    restore = type(target)._restore

    def forgetful(self: Any, entries: Any) -> int:
        return restore(self, [entry for entry in entries if entry.key != "b"])

    storage.add_shard(target)
    monkeypatch.setattr(StateTransaction, "_restore", forgetful)
    with pytest.raises(StorageError, match="differs"):
        storage.rebalance()
    assert storage.get_many("ab", namespace=name) == {"a": 1, "b": 2}
    storage.set("c", 3, namespace=name)  # no fence is left behind
    monkeypatch.undo()
    storage.rebalance()
    assert storage.get_many("abc", namespace=name) == {"a": 1, "b": 2, "c": 3}
    assert place_of(shards, name) == [3]


def test_the_clock_goes_on_through_a_sleep_where_the_system_can_tell() -> None:
    assert router.clock() <= router.clock()
    assert not hasattr(time, "CLOCK_BOOTTIME") or router.clock() >= time.monotonic() - 0.1
