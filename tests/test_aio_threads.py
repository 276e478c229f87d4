"""The loop's thread never runs a method of the storage: nothing that waits for a lock or a disk can hold it up."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mycelia_storage import AsyncStorage, FieldIndex, MemoryStorageBackend, where

TRACED = ("get", "get_entry", "set", "has", "delete", "get_many", "set_many", "delete_many", "list", "query", "count")
TRACED += ("scan", "clear", "get_metadata", "set_metadata", "create_namespace", "delete_namespace", "list_namespaces")
TRACED += (
    "create_index",
    "drop_index",
    "list_indexes",
    "changes",
    "get_status",
    "check",
    "optimize",
    "_begin",
    "close",
)


def test_every_call_of_the_storage_is_made_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, set[int]] = {}
    for name in TRACED:
        real = getattr(MemoryStorageBackend, name)

        def noted(self: Any, *args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
            threads.setdefault(_name, set()).add(threading.get_ident())
            return _real(self, *args, **kwargs)

        monkeypatch.setattr(MemoryStorageBackend, name, noted)

    async def main() -> int:
        storage = MemoryStorageBackend()
        async with AsyncStorage(storage) as db:
            await db.create_namespace("n", track_changes=True)
            await db.create_index("n", FieldIndex("a"))
            await asyncio.gather(*(db.set(f"k{number}", {"a": number}, namespace="n") for number in range(20)))
            await asyncio.gather(*(db.get(f"k{number}", namespace="n") for number in range(20)))
            await db.get_entry("k1", namespace="n")
            await db.has("k1", namespace="n")
            await db.set_many({"b": 1, "c": 2})
            await db.get_many(["b", "c"])
            await db.delete_many(["b"])
            await db.delete("c")
            await db.list(namespace="n")
            await db.query(where("a") > 3, namespace="n")
            await db.count(namespace="n")
            async for _ in db.scan(namespace="n"):
                pass
            await db.set_metadata("k1", {"m": 1}, namespace="n")
            await db.get_metadata("k1", namespace="n")
            await db.changes(namespace="n")
            await db.list_indexes("n")
            await db.drop_index("n", "a")
            await db.list_namespaces()
            await db.get_status()
            await db.check()
            await db.optimize()
            async with db.transaction() as tx:
                await tx.set("t", 1)
            await db.clear(namespace="n")
            await db.delete_namespace("n")
        return threading.get_ident()

    loop_thread = asyncio.run(main())
    assert set(TRACED) - set(threads) <= {"get"}  # gets of one tick are one get_many
    assert [name for name, used in threads.items() if loop_thread in used] == []
