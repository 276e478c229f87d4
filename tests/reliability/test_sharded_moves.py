"""Shards added under writing processes, the mover killed on the way (the long form: ``sharded_moves``); and threads.

``SHARD_ROUNDS`` and ``SHARD_SEED`` in the environment change length and seed.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.backends.sharded import ShardedStorageBackend

from .sharded_moves import LEASE, SETTLE, TOPS, Hand, judge, judge_places, run

ROUNDS = int(os.environ.get("SHARD_ROUNDS", "2"))
SEED = int(os.environ.get("SHARD_SEED", 20_261_121))


def test_a_killed_mover_loses_nothing_acknowledged(tmp_path: Path) -> None:
    print(f"seed {SEED}")  # shown when it fails
    campaign = run(ROUNDS, SEED, tmp_path)
    assert campaign.seen["movers killed"] == 6 * ROUNDS
    assert campaign.seen["step count"] > 0


@pytest.mark.parametrize("shared", [True, False], ids=["one-client", "a-client-each"])
def test_threads_write_while_shards_come_and_names_go(shared: bool) -> None:
    """Two more shards, a pin and its end, under four threads."""
    print(f"seed {SEED}")
    shards = [MemoryStorageBackend() for _ in range(5)]
    times = {"lease": LEASE, "settle": SETTLE, "busy_timeout": 30_000}
    mover = ShardedStorageBackend(shards[:3], **times)
    clients = [mover if shared else ShardedStorageBackend(shards, **times) for _ in range(4)]
    hands = [Hand(client, SEED, name) for client, name in zip(clients, "pqrs", strict=True)]
    stop = threading.Event()

    def work(hand: Hand) -> None:
        while not stop.is_set():
            hand.step()

    with ThreadPoolExecutor(len(hands)) as pool:
        working = [pool.submit(work, hand) for hand in hands]
        try:
            moved = []
            for shard in shards[3:]:
                mover.add_shard(shard)
                moved += mover.rebalance().moves
            mover.pin(TOPS[0], "s4")
            moved += mover.rebalance().moves
            mover.pin(TOPS[0], None)
            moved += mover.rebalance().moves
        finally:
            stop.set()
        for done in working:
            done.result(60)
    assert len(moved) > 3
    judge(mover, [hand.told() for hand in hands])
    judge_places(mover)
    for client in clients:
        client.close()
