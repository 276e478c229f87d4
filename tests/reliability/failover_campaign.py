"""Kill the primary under load, promote its synchronous standby, go on: no acknowledged write may be lost.

Each round starts a primary and a standby, lets several threads write through one storage whose address names both
servers, kills every process of the primary at a random moment and promotes the standby. The storage is not told: its
threads go on until each has been answered by the new primary. Then every acknowledged write is looked for, with its
version and its change; what was in flight may be there or not.

    python -m tests.reliability.failover_campaign --rounds 50 --seed 7
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import BackendUnavailable, CommitUnknown, StorageBusy, StorageError, TransactionError

from .postgres_cluster import Node, cluster, either

NAMESPACE = "load"
SYNCHRONOUS = {"synchronous_standby_names": "standby", "synchronous_commit": "on"}


@dataclass
class Load:
    """What one thread wrote: acknowledged keys with their versions, and those whose fate it was not told."""

    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    refused: int = 0
    unexpected: list[StorageError] = field(default_factory=list)
    answered_at: float = 0.0


@dataclass
class Outcome:
    """One round: numbers of writes, and seconds from the kill to each thread's next acknowledged write."""

    acknowledged: int
    unknown: int
    kept_unknown: int
    refused: int
    gap: float


def run_round(seed: int, *, threads: int = 4, seconds: float = 1.0, synchronous: bool = True) -> Outcome:
    """One kill and promotion. Raises AssertionError for a lost write, as it may be where nothing is synchronous."""
    random_source = random.Random(seed)
    with cluster(**(SYNCHRONOUS if synchronous else {})) as (primary, standby):
        if synchronous:
            _wait_for_sync(primary)
        with PostgresStorageBackend(either(primary, standby), schema="failover", busy_timeout=30_000) as storage:
            storage.create_namespace(NAMESPACE, track_changes=True)
            loads = [Load() for _ in range(threads)]
            killed_at: list[float] = []
            workers = [
                threading.Thread(target=_write, args=(storage, f"t{number}", load, killed_at))
                for number, load in enumerate(loads)
            ]
            for worker in workers:
                worker.start()
            time.sleep(random_source.uniform(0.2, seconds))
            primary.kill()
            killed_at.append(time.monotonic())
            standby.promote()
            for worker in workers:
                worker.join(120)
                assert not worker.is_alive(), "a writer is not answered"
            return _judge(storage, loads, killed_at[0])


def _wait_for_sync(primary: Node) -> None:
    give_up = time.monotonic() + 30
    while primary.ask("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != 1:
        assert time.monotonic() < give_up
        time.sleep(0.02)


def _write(storage: StorageBackend, name: str, load: Load, killed_at: list[float]) -> None:
    number = 0
    while True:
        number += 1
        key = f"{name}/{number:06}"
        before = bool(killed_at)
        try:
            if number % 3:
                version = storage.set(key, number, namespace=NAMESPACE)
            else:
                with storage.transaction() as tx:
                    version = tx.set(key, number, namespace=NAMESPACE)
        except CommitUnknown:
            load.unknown.add(key)
        except (BackendUnavailable, StorageBusy, TransactionError):  # nothing was written
            load.refused += 1
            time.sleep(0.02)
        except StorageError as error:
            load.unexpected.append(error)
            load.unknown.add(key)
            time.sleep(0.02)
        else:
            load.acknowledged[key] = (number, version)
            if before:
                load.answered_at = time.monotonic()
                return


def _judge(storage: StorageBackend, loads: list[Load], killed_at: float) -> Outcome:
    found = {entry.key: (entry.value, entry.version) for entry in storage.scan(namespace=NAMESPACE)}
    acknowledged = {key: wrote for load in loads for key, wrote in load.acknowledged.items()}
    unknown = {key for load in loads for key in load.unknown}
    assert not [error for load in loads for error in load.unexpected], [repr(load.unexpected[:3]) for load in loads]
    lost = {key for key, wrote in acknowledged.items() if found.get(key) != wrote}
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged writes are lost"
    assert not set(found) - set(acknowledged) - unknown, "something is there that was refused"
    page = storage.changes(namespace=NAMESPACE, limit=1_000_000)
    assert {change.key: change.version for change in page.changes} == {key: wrote[1] for key, wrote in found.items()}
    assert storage.check().ok
    return Outcome(
        len(acknowledged),
        len(unknown),
        len(unknown & set(found)),
        sum(load.refused for load in loads),
        max(load.answered_at for load in loads) - killed_at,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--asynchronous", action="store_true", help="see it fail: the standby may lag behind answers")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    outcomes: list[Any] = []
    for number in range(given.rounds):
        outcome = run_round(given.seed + number, threads=given.threads, synchronous=not given.asynchronous)
        outcomes.append(outcome)
        print(number, outcome, flush=True)
    gaps = sorted(outcome.gap for outcome in outcomes)
    print(
        f"{sum(o.acknowledged for o in outcomes)} acknowledged writes, none lost;"
        f" {sum(o.unknown for o in outcomes)} of unknown fate, {sum(o.kept_unknown for o in outcomes)} of them there;"
        f" gap median {gaps[len(gaps) // 2]:.2f} s, worst {gaps[-1]:.2f} s"
    )


if __name__ == "__main__":
    main()
