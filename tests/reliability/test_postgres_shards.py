"""Shards on three PostgreSQL servers: names spread, one server lost, a shard added under writing processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from mycelia_storage import BackendUnavailable, CommitUnknown, ShardedStorageBackend, TransactionError, where
from mycelia_storage.backends.postgres.embedded import EmbeddedServer
from tests.postgres_server import temporary_server

from .forkserver import ForkServer
from .sharded_moves import Campaign

SEED = int(os.environ.get("SHARD_SEED", 20_261_121))
KILLS = 4
TOPS = [f"tenant{number}" for number in range(12)]

_schemas = count(1)


@pytest.fixture(scope="module")
def servers() -> Iterator[list[EmbeddedServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(temporary_server()) for _ in range(3)]


def fresh(servers: list[EmbeddedServer]) -> list[str]:
    """An address on each server, in a schema not used before."""
    return [f"{server.dsn}&schema=shard{next(_schemas)}" for server in servers]


def test_names_are_spread_and_answers_merged(servers: list[EmbeddedServer]) -> None:
    with ShardedStorageBackend(fresh(servers)) as storage:
        for number, top in enumerate(TOPS):
            storage.set_many({f"k{n}": {"n": n, "top": number} for n in range(20)}, namespace=f"{top}/notes")
        expected = sorted(f"{top}/notes" for top in TOPS)
        assert [name for name in storage.list_namespaces() if name != "default"] == expected
        assert storage.get_status().entries == 20 * len(TOPS)
        for number, top in enumerate(TOPS):
            found = storage.query(where("n") >= 18, namespace=f"{top}/notes", sort="-n")
            assert [entry.value for entry in found] == [{"n": n, "top": number} for n in (19, 18)]

        with storage.transaction(read_only=True) as snapshot:
            assert snapshot.count(namespace=f"{TOPS[0]}/notes") == 20
        assert storage.check().ok


def test_one_commit_reaches_one_server(servers: list[EmbeddedServer]) -> None:
    with ShardedStorageBackend(fresh(servers)) as storage:
        items = [{"key": "k", "value": 1, "namespace": top} for top in TOPS]
        with pytest.raises(TransactionError):
            storage.set_many(items)
        assert storage.get_status().entries == 0
        assert storage.set_many(items, atomic=False).written == len(TOPS)
        refused = []
        with storage.transaction() as tx:
            for top in TOPS:
                try:
                    tx.set("k", 2, namespace=top)
                except TransactionError:
                    refused.append(top)
        assert 0 < len(refused) < len(TOPS)
        assert {storage.get("k", namespace=top) for top in refused} == {1}
        assert {storage.get("k", namespace=top) for top in TOPS if top not in refused} == {2}


def test_a_lost_server_takes_only_its_own_names_along(servers: list[EmbeddedServer]) -> None:
    with temporary_server() as lost:
        storage = ShardedStorageBackend(fresh([*servers[:2], lost]), connect_timeout=2)
        for top in TOPS:
            storage.set("k", top, namespace=top)
    reached = []
    for top in TOPS:
        try:
            storage.set("k", "again", namespace=top)
            reached.append(top)
        except (BackendUnavailable, CommitUnknown):
            with pytest.raises(BackendUnavailable):
                storage.get("k", namespace=top)
    assert 0 < len(reached) < len(TOPS)
    assert {storage.get("k", namespace=top) for top in reached} == {"again"}
    storage.close()


def test_a_killed_mover_between_servers_loses_nothing_acknowledged(
    servers: list[EmbeddedServer], tmp_path: Path
) -> None:
    print(f"seed {SEED}")  # shown when it fails
    places = iter(fresh([*servers, servers[0]]))
    with ForkServer() as server:
        campaign = Campaign(tmp_path, server, SEED, address=lambda _: next(places))
        campaign.round(0, kills=KILLS)
    assert campaign.seen["movers killed"] == KILLS
    assert campaign.seen["moves finished"] > 0
    assert campaign.seen["step count"] > 0
