"""What only the memory backend has: its sorted map, its queue of writers, its sweeping thread, its dump."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.contract import Entry
from mycelia_storage.dumps import parse_dump_line
from mycelia_storage.errors import InvalidConfig, StorageBusy
from mycelia_storage.states import ordered
from mycelia_storage.states.ordered import SortedMap
from mycelia_storage.states.turn import Claim, WriterTurn

PATIENCE = 60

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "pop", "fork"]), st.integers(0, 40), st.integers(0, 3)), max_size=80
)


def wait_until(condition: object) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < give_up
        time.sleep(0.002)


@settings(derandomize=True, deadline=None)
@given(OPERATIONS, st.none() | st.integers(-1, 41), st.none() | st.integers(-1, 41))
def test_a_sorted_map_and_its_forks_are_as_many_dicts(
    operations: list[tuple[str, int, int]], low: int | None, high: int | None
) -> None:
    whole, ordered.MAX_BLOCK = ordered.MAX_BLOCK, 4
    try:
        maps: list[tuple[SortedMap[int, int], dict[int, int]]] = [(SortedMap(), {})]
        for operation, key, which in operations:
            tree, model = maps[which % len(maps)]
            if operation == "put":
                tree.put(key, which)
                model[key] = which
            elif operation == "pop":
                assert tree.pop(key) == model.pop(key, None)
            else:
                maps.append((tree.fork(), model.copy()))
    finally:
        ordered.MAX_BLOCK = whole
    for tree, model in maps:
        assert tree.problems() == []
        assert len(tree) == len(model)
        assert all(tree.get(key) == model.get(key) for key in range(-1, 42))
        expected = [
            (key, model[key]) for key in sorted(model) if (low is None or key >= low) and (high is None or key < high)
        ]
        assert list(tree.items(low, high)) == expected
        assert list(tree.items(low, high, reverse=True)) == expected[::-1]
        assert list(tree.values()) == [model[key] for key in sorted(model)]


def test_writers_take_turns_in_the_order_of_arrival() -> None:
    turn = WriterTurn()
    holder = Claim()
    turn.take(holder, 0)
    order: list[int] = []

    def wait(number: int) -> None:
        claim = Claim()
        turn.take(claim, PATIENCE)
        order.append(number)
        turn.give_up(claim)

    with ThreadPoolExecutor(5) as pool:
        waiting = []
        for number in range(5):
            waiting.append(pool.submit(wait, number))
            wait_until(lambda number=number: len(turn._line) == number + 1)
        turn.give_up(holder)
        for done in waiting:
            done.result(PATIENCE)
    assert order == [0, 1, 2, 3, 4]


def test_one_who_gives_up_waiting_leaves_the_line() -> None:
    turn = WriterTurn()
    holder = Claim()
    turn.take(holder, 0)
    with pytest.raises(StorageBusy):
        turn.take(Claim(), 0)
    turn.give_up(holder)
    turn.take(Claim(), 0)


def test_the_sweep_comes_by_itself() -> None:
    with MemoryStorageBackend(sweep_interval=0.01) as storage:
        storage.create_namespace("n", track_changes=True)
        storage.set("k", 1, namespace="n", ttl=0.01)
        expire = next(change for change in storage.watch(namespace="n", since=0) if change.operation == "expire")
        assert expire.key == "k"


def test_a_forgotten_storage_is_collected_and_its_thread_ends() -> None:
    before = set(threading.enumerate())
    storage = MemoryStorageBackend()
    storage.set("k", 1)
    (thread,) = set(threading.enumerate()) - before
    gone = weakref.ref(storage)
    del storage
    gc.collect()
    assert gone() is None
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_backup_is_a_dump(tmp_path: Path) -> None:
    with MemoryStorageBackend() as storage:
        storage.set("a", {"x": 1}, namespace="n", metadata={"m": 1}, ttl=1000)
        storage.set("b", b"\0")
        entries = [*storage.scan(), *storage.scan(namespace="n")]
        storage.backup(tmp_path / "dump")
    lines = [parse_dump_line(json.loads(line)) for line in (tmp_path / "dump").read_bytes().splitlines()]
    assert [line for line in lines if isinstance(line, Entry)] == entries


def test_old_states_are_let_go() -> None:
    with MemoryStorageBackend() as storage:
        with storage.transaction() as tx:
            tx.set("k", 1)
        snapshot = storage.begin_transaction(read_only=True)
        state = snapshot._state()  # type: ignore[attr-defined]
        assert state.space("default") is not None
        holders = len(gc.get_referrers(state))
        snapshot.rollback()
        storage.set("k", 2)
        assert len(gc.get_referrers(state)) < holders


def test_the_configuration_is_a_mapping() -> None:
    MemoryStorageBackend({"busyTimeout": 100}).close()
    MemoryStorageBackend({"busyTimeout": 100}, busy_timeout=5).close()
    for bad in ("path", 7, ["busyTimeout"]):
        with pytest.raises(InvalidConfig):
            MemoryStorageBackend(bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig, match="busyTimeout"):
        MemoryStorageBackend({"busyTimout": 100})
