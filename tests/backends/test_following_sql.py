"""follow as SQL: one statement for several hops, with one range of the index for each point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.filters import where
from mycelia_storage.indexes import FieldIndex
from mycelia_storage.names import join_key

LINKS = [(join_key(str(n), "to", str(n * 3 % 1_000)), {"n": n}) for n in range(1_000)]


def count_calls(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> list[Any]:
    """The arguments of each call of a method from now on."""
    calls: list[Any] = []
    method = getattr(kind, name)

    def counted(self: Any, *args: Any) -> Any:
        calls.append(args)
        return method(self, *args)

    monkeypatch.setattr(kind, name, counted)
    return calls


def three_hops(storage: StorageBackend, **more: Any) -> dict[Any, int]:
    return storage.follow(["1"], namespaces=["n", "m"], part=2, hops=3, **more)


def test_sqlite_follows_three_hops_in_one_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SQLiteStorageBackend(tmp_path / "db") as storage:
        storage.set_many(LINKS, namespace="n")
        calls = count_calls(monkeypatch, SQLiteStorageBackend, "_rows")
        for more in ({}, {"second": ["to", "from"]}, {"filter": where("n") >= 0}, {"limit": 1_000}):
            calls.clear()
            assert three_hops(storage, **more) == {"1": 0, "3": 1, "9": 2, "27": 3}
            recursive = [sql for sql, *_ in calls if "RECURSIVE" in sql]
            assert len(recursive) == 1
            assert len(calls) == 2  # and whether anything has expired
            plan = [row[3] for row in storage._rows("EXPLAIN QUERY PLAN " + recursive[0], calls[-1][1])]
            searches = [step for step in plan if step.startswith("SEARCH storage_entries")]
            assert len(searches) == 2
            assert all("(namespace=? AND key>? AND key<?)" in step for step in searches)
            if "filter" not in more:
                assert all("COVERING INDEX" in step for step in searches)
        calls.clear()
        keys = storage.follow_keys(["1", "2"], namespaces=["m", "n"], part=2)
        assert keys == {"3": ("n", join_key("1", "to", "3")), "6": ("n", join_key("2", "to", "6"))}
        assert len(calls) == 2


def test_postgres_follows_three_hops_in_one_statement(
    open_one: Callable[..., PostgresStorageBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_one() as storage:
        storage.create_index("n", FieldIndex("n"))
        storage.set_many(LINKS, namespace="n")
        calls = count_calls(monkeypatch, PostgresStorageBackend, "_uncompiled_rows")
        for _ in range(2):  # without statistics and with them
            for more in ({}, {"second": ["to", "from"]}, {"filter": where("n") >= 0}, {"limit": 1_000}):
                calls.clear()
                assert three_hops(storage, **more) == {"1": 0, "3": 1, "9": 2, "27": 3}
                assert len(calls) == 1
                sql, parameters = calls[0]
                plan = [row[0] for row in storage._query_rows("EXPLAIN " + sql, parameters)]
                ranges = [line for line in plan if "Index Cond" in line]
                assert len(ranges) == 2
                assert all("key >= " in line and "key < " in line for line in ranges)
                assert not any("Join Filter" in line for line in plan)
            calls.clear()
            keys = storage.follow_keys(["1", "2"], namespaces=["m", "n"], part=2)
            assert keys == {"3": ("n", join_key("1", "to", "3")), "6": ("n", join_key("2", "to", "6"))}
            assert len(calls) == 1
            storage.optimize()
