"""The seq of a change is remembered between transactions, yet rises over what other connections have committed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend

SEED = 20_261


@pytest.fixture
def pair(tmp_path: Path) -> tuple[SQLiteStorageBackend, SQLiteStorageBackend]:
    path = {"dbPath": str(tmp_path / "s.db")}
    first, second = SQLiteStorageBackend(path), SQLiteStorageBackend(path)
    first.create_namespace("t", track_changes=True)
    first.create_namespace("u", track_changes=True)
    return first, second


def test_two_connections_never_give_one_seq_twice(pair: tuple[SQLiteStorageBackend, SQLiteStorageBackend]) -> None:
    rng = random.Random(SEED)
    expected = 0
    for number in range(400):
        storage = rng.choice(pair)
        namespace = rng.choice("tu")
        match rng.randrange(6):
            case 0:
                storage.set("plain", number)
            case 1:
                undone = storage.begin_transaction()
                undone.set("undone", number, namespace=namespace)
                undone.rollback()
            case 2:
                with storage.transaction() as tx:
                    tx.set("a", number, namespace="t")
                    tx.set("a", number, namespace="u")
                expected += 2
            case 3:
                storage.set_many({"b": 1, "c": 2}, namespace=namespace)
                expected += 2
            case _:
                storage.set("k", number, namespace=namespace)
                expected += 1
    page = pair[0].changes(limit=10_000)
    numbers = [change.seq for change in page.changes]
    assert len(numbers) == expected, f"seed {SEED}"
    assert numbers == sorted(set(numbers)), f"seed {SEED}"
    for storage in pair:
        storage.close()


def test_a_rolled_back_write_hides_nothing_of_the_other_connection(
    pair: tuple[SQLiteStorageBackend, SQLiteStorageBackend],
) -> None:
    first, second = pair
    first.set("k", 1, namespace="t")
    undone = first.begin_transaction()
    undone.set("k", 2, namespace="t")
    undone.rollback()
    second.set_many([(f"{number}", number) for number in range(10)], namespace="t")
    first.set("plain", 1)
    with first.transaction() as tx:
        tx.set("plain", 2)
    first.set("k", 3, namespace="t")
    numbers = [change.seq for change in first.changes(namespace="t").changes]
    assert len(numbers) == 12
    assert numbers == sorted(set(numbers))
    first.close()
    second.close()
