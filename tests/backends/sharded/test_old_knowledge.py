"""Clients that do not know yet, or not any more, where a namespace is: what they are told is true all the same."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest

from mycelia_storage.backends.sharded import rebalancing
from mycelia_storage.backends.sharded.routing import choose
from mycelia_storage.contract import Entry
from mycelia_storage.errors import (
    CommitUnknown,
    TransactionError,
)

from .conftest import MOVING, RING, STAYING, TENANTS, Killed, Shards, die, everything, fill, place_of


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
    monkeypatch.setattr(rebalancing, "_close", die)
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
