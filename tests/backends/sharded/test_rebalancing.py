"""Moving namespaces: what arrives, what a dead mover leaves, what clients with old knowledge see."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.backends.sharded import ShardedStorageBackend, moving, rebalancing, router
from mycelia_storage.backends.sharded.routing import choose
from mycelia_storage.contract import Entry
from mycelia_storage.errors import (
    CommitUnknown,
    InvalidConfig,
    InvalidNamespace,
    StorageBusy,
    StorageError,
    TransactionError,
)
from mycelia_storage.filters import where
from mycelia_storage.indexes import FieldIndex

from .conftest import Killed, Shards, everything

RING = ("s0", "s1", "s2")
TENANTS = [f"agent{number}" for number in range(12)]
MOVING = [name for name in TENANTS if choose((*RING, "s3"), name) == "s3"]
STAYING = [name for name in TENANTS if name not in MOVING]


def fill(storage: ShardedStorageBackend) -> None:
    for number, name in enumerate(TENANTS):
        storage.create_namespace(name, metadata={"number": number}, track_changes=number % 2 == 0)
        storage.create_index(name, FieldIndex("mail", unique=True))
        storage.set_many(((f"k{n:03}", {"mail": f"{n}@{name}"}) for n in range(30)), namespace=name)
        storage.set("timed", b"\0", namespace=f"{name}/below", metadata={"m": 1}, ttl=1000)
        storage.create_namespace(f"{name}/empty/deep")


def place_of(shards: Shards, namespace: str) -> list[int]:
    return [number for number, shard in enumerate(shards.storages) if shard.get_namespace(namespace) is not None]


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
def test_a_mover_may_die_at_any_commit(after: bool) -> None:
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


def test_a_fence_whose_mover_died_is_lifted_by_a_writer(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "FENCE_SECONDS", 0.05)
    storage = shards.client()
    name = MOVING[0]
    storage.set("k", 1, namespace=name)
    mover = shards.client()
    mover.add_shard(shards.storages[3])
    monkeypatch.setattr(moving.Move, "_arrive", _die)
    monkeypatch.setattr(moving.Move, "_unfence", lambda _: None)
    with pytest.raises(Killed):
        mover.rebalance()
    assert storage.get("k", namespace=name) == 1  # readers do not wait
    storage.set("k", 2, namespace=name)
    monkeypatch.undo()
    storage.rebalance()
    assert storage.get("k", namespace=name) == 2
    assert place_of(shards, name) == [3]


def _die(*_: Any) -> None:
    raise Killed


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


# -- clients with old knowledge ------------------------------------------------------------------------------------


def moved_meanwhile(shards: Shards, call: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """``call``, which a whole rebalance comes just before or just after, once."""
    done = False

    def move() -> None:
        nonlocal done
        if not done:
            done = True
            with ThreadPoolExecutor(1) as pool:
                client = shards.client()
                pool.submit(client.add_shard, shards.storages[3]).result(60)
                pool.submit(client.rebalance).result(60)

    def delayed(*arguments: Any, **options: Any) -> Any:
        if before:
            move()
        result = call(*arguments, **options)
        move()
        return result

    return delayed


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
@pytest.mark.parametrize(
    ("method", "read", "expected"),
    [
        ("get", lambda s, n: s.get("k", namespace=n), 1),
        ("has", lambda s, n: s.has("k", namespace=n), True),
        ("count", lambda s, n: s.count(namespace=n), 1),
        ("list", lambda s, n: s.list(namespace=n), ["k"]),
        ("get_metadata", lambda s, n: s.get_metadata("k", namespace=n), {"m": 1}),
        ("get_many", lambda s, n: s.get_many(["k"], namespace=n), {"k": 1}),
        ("query", lambda s, n: [entry.key for entry in s.query(namespace=n)], ["k"]),
        ("list_namespaces", lambda s, _: s.list_namespaces(), [MOVING[0], "default"]),
        ("get_status", lambda s, _: s.get_status().entries, 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_reader_that_was_held_up_gets_what_is_true(
    shards: Shards, method: str, read: Callable[[Any, str], Any], expected: Any, before: bool
) -> None:
    """The shard answers late: from a copy that has been deleted, or from one that is no longer the newest."""
    storage = shards.client()
    name = MOVING[0]
    storage.set("k", 1, namespace=name, metadata={"m": 1})
    assert read(storage, name) == expected  # the route is known
    shard = shards.storages[place_of(shards, name)[0]]
    setattr(shard, method, moved_meanwhile(shards, getattr(shard, method), before=before))
    assert read(storage, name) == expected
    assert place_of(shards, name) == [3]
    shards.client().set("k", 2, namespace=name)
    assert storage.get("k", namespace=name) == 2


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
def test_a_writer_that_was_held_up_is_not_told_that_it_wrote(shards: Shards, before: bool) -> None:
    """Longer than ``settle``: nobody can say whether the copy has it. What did not arrive is nowhere to be seen."""
    storage = shards.client()
    name = MOVING[0]
    storage.set("k", 1, namespace=name)
    old = place_of(shards, name)[0]
    shard = shards.storages[old]
    shard.set = moved_meanwhile(shards, shard.set, before=before)  # type: ignore[method-assign]
    with pytest.raises(CommitUnknown, match="moved"):
        storage.set("k", 2, namespace=name)
    assert storage.get("k", namespace=name) == (1 if before else 2)
    if before:
        assert any(name in problem for problem in storage.check().problems)
        storage.pin(name, f"s{old}")
        storage.rebalance()
        assert storage.get("k", namespace=name) == 1  # what was stray did not come back to life
        assert storage.check().ok


def test_a_write_that_was_refused_by_an_old_copy_is_made_anew(shards: Shards) -> None:
    storage = shards.client()
    name = MOVING[0]
    storage.set("k", 1, namespace=name)
    shard = shards.storages[place_of(shards, name)[0]]
    shard.set_metadata = moved_meanwhile(shards, shard.set_metadata, before=True)  # type: ignore[method-assign]
    storage.set_metadata("k", {"m": 1}, namespace=name)  # KeyNotFound there
    assert storage.get_metadata("k", namespace=name) == {"m": 1}


@pytest.mark.parametrize("batch", ["set_many", "delete_many", "clear", "restore"])
def test_batches_and_transactions_look_before_they_write(shards: Shards, batch: str) -> None:
    storage, other = shards.client(), shards.client()
    name = MOVING[0]
    storage.set("k", 1, namespace=name)
    other.add_shard(shards.storages[3])
    other.rebalance()
    if batch == "set_many":
        storage.set_many({"k": 2}, namespace=name)
    elif batch == "delete_many":
        assert storage.delete_many(["k"], namespace=name) == 1
    elif batch == "clear":
        assert storage.clear(namespace=name) == 1
    else:
        assert storage.restore([Entry(name, "l", 1, {}, 5, 5, 5, None)]) == 1
    with storage.transaction() as tx:
        tx.set("t", 1, namespace=name)
    assert everything(storage) == everything(other) != []
    assert place_of(shards, name) == [3]


def test_a_client_that_slept_wakes_to_the_new_places(shards: Shards) -> None:
    storage, other = shards.client(), shards.client()
    for name in TENANTS:
        storage.set("k", 1, namespace=name)
    other.add_shard(shards.storages[3])
    other.rebalance()
    other.add_shard(shards.storages[4])
    other.rebalance()
    for name in TENANTS:
        storage.set("k", 2, namespace=name)
        assert other.get("k", namespace=name) == 2
    assert everything(storage) == everything(other)
    assert storage.check().ok


def test_without_leases_every_answer_is_looked_after(shards: Shards) -> None:
    storage, other = shards.client(lease=0, settle=0), shards.client()
    name = MOVING[0]
    storage.set("k", 1, namespace=name)
    other.add_shard(shards.storages[3])
    other.rebalance()
    other.set("k", 2, namespace=name)
    assert storage.get("k", namespace=name) == 2
    storage.set("k", 3, namespace=name)
    assert other.get("k", namespace=name) == 3


def test_a_scan_goes_on_where_it_was(shards: Shards) -> None:
    storage, other = shards.client(), shards.client()
    name = MOVING[0]
    storage.set_many(((f"{n:04}", n) for n in range(2_000)), namespace=name)
    forth, back = storage.scan(namespace=name), storage.scan(namespace=name, reverse=True, limit=1_500)
    seen = [[entry.value for entry in islice(scan, 10)] for scan in (forth, back)]
    other.add_shard(shards.storages[3])
    for scan, values in zip((forth, back), seen, strict=True):
        values += [entry.value for entry in islice(scan, 150)]
    other.rebalance()
    other.set("1700", "new", namespace=name)
    assert seen[0] + [entry.value for entry in forth] == [*range(1700), "new", *range(1701, 2_000)]
    assert [value for value in seen[1] + [entry.value for entry in back] if value != "new"] == [
        n for n in range(1_999, 499, -1) if n != 1700 or 1700 in seen[1]
    ]


def test_a_snapshot_outlives_a_move(shards: Shards) -> None:
    storage, other = shards.client(), shards.client()
    fill(storage)
    before = everything(storage)
    with storage.transaction(read_only=True) as snapshot:
        other.add_shard(shards.storages[3])
        other.rebalance()
        for name in MOVING:
            other.set("k000", "new", namespace=name)
        assert everything(storage) != before
        assert everything(snapshot) == before


def move_without_finish(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything has left, and the rebalance died just before it wrote so."""
    monkeypatch.setattr(rebalancing, "_close", _die)
    with pytest.raises(Killed):
        shards.client().rebalance()
    monkeypatch.undo()


def test_a_snapshot_does_not_learn_where_names_went(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, other = shards.client(), shards.client()
    name = MOVING[0]
    storage.set("k", 1, namespace=name)
    other.add_shard(shards.storages[3])
    storage.set("k", 2, namespace=name)  # the storage knows by now that the name is in transit
    with storage.transaction(read_only=True) as snapshot:
        move_without_finish(shards, monkeypatch)
        storage.set("k", 3, namespace=name)
        assert storage.get("k", namespace=name) == 3
        assert snapshot.get("k", namespace=name) == 2
        assert snapshot.list_namespaces(prefix=name) == [name]
        assert name in snapshot.list_namespaces()
    other.rebalance()


def test_a_batch_looks_after_every_name_in_it(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, other = shards.client(), shards.client()
    name = next(name for name in MOVING if any(choose(RING, stays) == choose(RING, name) for stays in STAYING))
    neighbour = next(stays for stays in STAYING if choose(RING, stays) == choose(RING, name))
    batch = [{"key": "k", "value": 1, "namespace": each} for each in (neighbour, name)]
    assert storage.set_many(batch).written == 2
    other.add_shard(shards.storages[3])
    assert storage.set_many(batch).written == 2
    move_without_finish(shards, monkeypatch)
    with pytest.raises(TransactionError, match="one commit covers one shard"):
        storage.set_many([{**item, "value": 2} for item in batch])
    with pytest.raises(TransactionError, match="one commit covers one shard"), storage.transaction() as tx:  # noqa: PT012
        tx.set("k", 2, namespace=neighbour)
        tx.set("k", 2, namespace=name)
    other.rebalance()
    assert [storage.get("k", namespace=each) for each in (neighbour, name)] == [1, 1]
    assert storage.check().ok


def test_a_transaction_in_a_movers_way_is_waited_for(shards: Shards) -> None:
    storage, other = shards.client(), shards.client()
    name = MOVING[0]
    storage.set("n", 0, namespace=name)
    other.add_shard(shards.storages[3])
    stop = threading.Event()

    def count() -> int:
        number = 0
        while not stop.is_set():
            with storage.transaction() as tx:
                tx.set("n", tx.get("n", namespace=name) + 1, namespace=name)
            number += 1
        return number

    with ThreadPoolExecutor(3) as pool:
        counters = [pool.submit(count) for _ in range(3)]
        other.rebalance()
        stop.set()
        counted = sum(counter.result(60) for counter in counters)
    assert storage.get("n", namespace=name) == other.get("n", namespace=name) == counted


def test_fresh_names_in_transit_are_one_place_for_all(shards: Shards) -> None:
    """A name that no shard has yet stays with its old owner until that one is closed."""
    storage, other = shards.client(), shards.client()
    other.add_shard(shards.storages[3])
    storage.set("k", 1, namespace=MOVING[0])
    assert other.get("k", namespace=MOVING[0]) == 1
    assert place_of(shards, MOVING[0]) != [3]
    other.rebalance()
    storage.set("k", 1, namespace=MOVING[1])
    assert other.get("k", namespace=MOVING[1]) == 1
    assert [place_of(shards, name) for name in MOVING[:2]] == [[3], [3]]


def test_a_name_that_appears_at_the_last_moment_moves_too(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, other = shards.client(), shards.client()
    close = rebalancing._close

    def close_late(*arguments: Any) -> bool:
        for name in MOVING:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(other.set, "k", 1, namespace=name).result(60)
        return close(*arguments)

    monkeypatch.setattr(rebalancing, "_close", close_late)
    storage.add_shard(shards.storages[3])
    storage.rebalance()
    for name in MOVING:
        assert storage.get("k", namespace=name) == other.get("k", namespace=name) == 1
        assert place_of(shards, name) == [3]


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
    from mycelia_storage.backends.memory.transactions import MemoryTransaction

    monkeypatch.setattr(MemoryTransaction, "_restore", forgetful)
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
