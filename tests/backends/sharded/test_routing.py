"""Where names belong, and how a wrong shard is noticed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mycelia_storage import open_storage
from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.backends.sharded import ShardedStorageBackend
from mycelia_storage.backends.sharded.cursors import decode, encode
from mycelia_storage.backends.sharded.routing import Table, choose, top_of
from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.errors import InvalidConfig, InvalidInput, SchemaTooNew, StorageCorrupt

NAMES = [f"tenant-{number}" for number in range(4_000)]


def ring(size: int) -> tuple[str, ...]:
    return tuple(f"s{number}" for number in range(size))


def test_the_hash_is_the_same_for_ever() -> None:
    """These places were written down once; data on disk depends on them."""
    names = ["default", "n", "other", "users", "", "é", "\U0001f600"]
    assert [choose(ring(5), name) for name in names] == ["s0", "s3", "s2", "s2", "s3", "s0", "s0"]


def test_the_hash_is_the_same_in_another_process() -> None:
    code = (
        "from mycelia_storage.backends.sharded.routing import choose;"
        "print(*[choose(tuple('abc'), str(number)) for number in range(50)])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == [choose(tuple("abc"), str(number)) for number in range(50)]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_another_shard_takes_its_share_and_nothing_else_moves(size: int) -> None:
    before = {name: choose(ring(size), name) for name in NAMES}
    after = {name: choose(ring(size + 1), name) for name in NAMES}
    moved = [name for name in NAMES if before[name] != after[name]]
    assert {after[name] for name in moved} == {f"s{size}"}
    assert 0.8 < len(moved) * (size + 1) / len(NAMES) < 1.2
    assert min(Counter(after.values()).values()) * (size + 1) > 0.8 * len(NAMES)


def test_the_top_level_decides() -> None:
    assert [top_of(name) for name in ("a", "a/b", "a/b/c", "/a", "")] == ["a", "a", "a", "", ""]


def test_a_table_comes_back_equal() -> None:
    table = Table(epoch=3, cluster="c", shards=ring(3), ring=ring(2), pins={"a": "s2"}, addresses={"s2": "x"})
    assert Table.from_json(table.to_json()) == table
    announced = table.announced(next_ring=ring(3), next_pins={})
    assert Table.from_json(announced.to_json()) == announced
    assert announced.finished() == Table(
        epoch=5, cluster="c", shards=ring(3), ring=ring(3), pins={}, addresses={"s2": "x"}
    )
    with pytest.raises(SchemaTooNew):
        Table.from_json(table.to_json() | {"format": 2})
    with pytest.raises(StorageCorrupt):
        Table.from_json({"format": 1})


def test_cursors_come_back_equal_and_rise() -> None:
    seen: dict[int, int] = {}
    last = 0
    for number, seq in [(2, 1), (2, 7), (0, 3), (2, 8), (255, 2**54), (1, 2**40), (0, 4)]:
        seen[number] = seq
        cursor = encode(seen)
        assert decode(cursor) == seen
        assert cursor > last
        last = cursor
    assert encode({}) == encode({3: 0}) == 0
    assert encode({255: 2**55 - 1}) < 2**63
    for bad in (-1, "1", 1.0, True, None):
        with pytest.raises(InvalidInput):
            decode(bad)


# -- opening -------------------------------------------------------------------------------------------------------


@pytest.fixture
def address(tmp_path: Path) -> Callable[[str], str]:
    return lambda name: str(tmp_path / f"{name}.db")


def test_shards_are_known_by_name_when_opened_again(address: Callable[[str], str]) -> None:
    with ShardedStorageBackend([address(name) for name in "abc"]) as storage:
        for name in NAMES[:30]:
            storage.set("k", name, namespace=name)
    with ShardedStorageBackend([address(name) for name in "abc"]) as storage:
        assert [storage.get("k", namespace=name) for name in NAMES[:30]] == NAMES[:30]
    with open_storage(
        {"backend": "sharded", "options": {"shards": {f"s{n}": address(c) for n, c in enumerate("abc")}}}
    ):
        pass
    for wrong in ("acb", "bac", "cab"):
        with pytest.raises(InvalidConfig, match="wrong order"):
            ShardedStorageBackend([address(name) for name in wrong])
    with ShardedStorageBackend([address(name) for name in "abcd"]) as storage:
        assert [storage.get("k", namespace=name) for name in NAMES[:30]] == NAMES[:30]
        assert list(storage.get_status().details["shards"]) == ["s0", "s1", "s2"]  # the fourth is in reserve


def test_a_shard_of_another_storage_is_refused(address: Callable[[str], str]) -> None:
    ShardedStorageBackend([address("a"), address("b")]).close()
    ShardedStorageBackend([address("c"), address("d")]).close()
    with pytest.raises(InvalidConfig, match="another sharded storage"):
        ShardedStorageBackend([address("a"), address("d")])
    with pytest.raises(InvalidConfig, match="wrong order or address"):
        ShardedStorageBackend([address("new"), address("d")])


def test_a_creation_that_was_interrupted_goes_on() -> None:
    """The first shard is written first, and names the others."""
    with MemoryStorageBackend() as second, MemoryStorageBackend() as first:
        broken = ShardedStorageBackend([first, second])
        broken.set("k", 1, namespace="n")
        with second.transaction() as tx:
            tx.delete_namespace("~mycelia-shards", recursive=True)
        again = ShardedStorageBackend([first, second])
        assert again.check().ok
        assert again.get("k", namespace="n") == 1


def test_one_storage_becomes_the_first_of_many(address: Callable[[str], str]) -> None:
    with SQLiteStorageBackend(address("a")) as alone:
        for name in NAMES[:20]:
            alone.set("k", name, namespace=name)
    with pytest.raises(InvalidConfig, match="only shard"):
        ShardedStorageBackend([address("a"), address("b")])
    with ShardedStorageBackend([address("a")], lease=0.01, settle=0.02) as storage:
        storage.add_shard(address("b"))
        moved = storage.rebalance()
        assert 0 < len(moved.moves) < 20
        assert [storage.get("k", namespace=name) for name in NAMES[:20]] == NAMES[:20]
        assert storage.check().ok


def test_a_shard_added_elsewhere_is_found(address: Callable[[str], str]) -> None:
    with ShardedStorageBackend([address("a"), address("b")], lease=0.01, settle=0.02) as old:
        old.set_many({"k": 1})
        with ShardedStorageBackend([address("a"), address("b")]) as other:
            other.add_shard(address("c"))
            other.rebalance()
            for name in NAMES[:20]:
                other.set("k", name, namespace=name)
        assert [old.get("k", namespace=name) for name in NAMES[:20]] == NAMES[:20]
        assert len(old.get_status().details["shards"]) == 3
    with ShardedStorageBackend([address("a"), address("b")]) as again:
        assert [again.get("k", namespace=name) for name in NAMES[:20]] == NAMES[:20]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shards": []},
        {"shards": "sqlite:///a.db"},
        {"shards": [1]},
        {"shards": {"": "memory:"}},
        {"shards": ["memory:"], "ring": ["s1"]},
        {"shards": ["memory:"], "ring": []},
        {"shards": ["memory:"], "pins": {"a": "s1"}},
        {"shards": ["memory:"], "lease": -1},
        {"shards": ["memory:"], "lease": 1, "settle": 1},
        {"shards": ["memory:"], "no_such_option": 1},
        {"shards": ["memory:"], "transaction_timeout": 0},
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        ShardedStorageBackend(**options)


def test_options_reach_the_shards(address: Callable[[str], str]) -> None:
    shards = [address("a"), address("b")]
    with open_storage(
        {"backend": "sharded", "options": {"shards": shards, "busyTimeout": 7, "synchronous": "FULL"}}
    ) as s:
        assert isinstance(s, ShardedStorageBackend)
        for shard in s._router.shards.values():
            assert isinstance(shard, SQLiteStorageBackend)
            assert (shard.settings.busy_timeout, shard.settings.synchronous) == (7, "FULL")


def test_closing_closes_the_shards() -> None:
    shards = [MemoryStorageBackend() for _ in range(2)]
    ShardedStorageBackend(shards).close()
    assert all(shard.is_closed for shard in shards)
