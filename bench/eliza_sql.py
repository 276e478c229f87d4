"""``python -m bench.eliza_sql``: the agents layer beside the Python port of elizaOS's own adapter, on one PostgreSQL.

Needs ``pip install elizaos-plugin-sql asyncpg``. Of version 2.0.0a5 the SQLite adapter cannot make its tables, and
storing a memory with an embedding raises TypeError; there is no vector search. So both keep the same memories without
embeddings and answer in turn; a ratio is the median over the rounds of theirs over ours within a round, by the wall
clock. The port is driven on one event loop that is not left between calls.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from mycelia_storage import open_storage
from mycelia_storage.layers.agents import AgentStore, string_to_uuid

from .report import machine, versions, write_json

AGENT: Final = string_to_uuid("agent")
SPEAKER: Final = string_to_uuid("speaker")
ROOMS: Final = 20

Call = Callable[[], Awaitable[object]]


class Ours:
    """AgentStore on PostgreSQL."""

    def __init__(self, dsn: str) -> None:
        self.storage = open_storage(dsn)
        self.store = AgentStore(self.storage, AGENT)

    async def prepare(self, rooms: Sequence[str]) -> None:
        self.store.create_agent({"id": AGENT, "name": "Bot"})
        self.store.create_entities([{"id": SPEAKER, "names": ["Speaker"]}])
        self.store.create_rooms([{"id": room, "source": "bench", "type": "GROUP"} for room in rooms])

    async def create(self, memory: dict[str, Any]) -> object:
        return self.store.create_memory(memory, "messages", True)

    async def newest(self, room: str) -> list[Any]:
        return self.store.get_memories("messages", room_id=room, limit=50, include_embedding=False)

    async def count(self, room: str) -> int:
        return self.store.count_memories(room, False, "messages")

    async def close(self) -> None:
        self.storage.close()


class Theirs:
    """elizaos_plugin_sql's adapter on PostgreSQL."""

    def __init__(self, dsn: str) -> None:
        from elizaos_plugin_sql import PostgresAdapter
        from psycopg.conninfo import conninfo_to_dict

        parts = conninfo_to_dict(dsn)
        self.adapter = PostgresAdapter(f"postgresql+asyncpg://{parts['user']}@/postgres?host={parts['host']}", AGENT)

    async def prepare(self, rooms: Sequence[str]) -> None:
        await self.adapter.initialize()
        await self.adapter.create_agent({"id": AGENT, "name": "Bot"})
        await self.adapter.create_entities([{"id": SPEAKER, "agentId": AGENT, "names": ["Speaker"]}])
        await self.adapter.create_rooms(
            [{"id": room, "agentId": AGENT, "source": "bench", "type": "GROUP"} for room in rooms]
        )

    async def create(self, memory: dict[str, Any]) -> object:
        return await self.adapter.create_memory({**memory, "agentId": AGENT}, "messages", True)

    async def newest(self, room: str) -> list[Any]:
        found: list[Any] = await self.adapter.get_memories({"roomId": room, "count": 50, "tableName": "messages"})
        return found

    async def count(self, room: str) -> int:
        return int(await self.adapter.count_memories(room, False, "messages"))

    async def close(self) -> None:
        await self.adapter.close()


async def compare(dsn: str, memories: int, rounds: int, calls: int) -> dict[str, Any]:
    """Milliseconds a call of both, and the ratio."""
    rooms = [string_to_uuid(f"room {number}") for number in range(ROOMS)]
    engines: dict[str, Any] = {"ours": Ours(dsn), "theirs": Theirs(dsn)}

    def memory(room: str) -> dict[str, Any]:
        return {"entityId": SPEAKER, "roomId": room, "content": {"text": "something said"}}

    for engine in engines.values():
        await engine.prepare(rooms)
    for number in range(memories):
        each = memory(rooms[number % ROOMS])
        for engine in engines.values():
            await engine.create(each)
    work: dict[str, Callable[[Any], Call]] = {
        "create_memory": lambda engine: lambda: engine.create(memory(rooms[1])),
        "get_memories, newest 50": lambda engine: lambda: engine.newest(rooms[0]),
        "count": lambda engine: lambda: engine.count(rooms[0]),
    }
    for engine in engines.values():
        assert await engine.count(rooms[0]) == memories // ROOMS
        assert len(await engine.newest(rooms[0])) == min(50, memories // ROOMS)
    samples: dict[str, dict[str, list[float]]] = {name: {each: [] for each in engines} for name in work}
    for number in range(rounds):
        for name, make in work.items():
            for each in list(engines)[:: 1 if number % 2 else -1]:
                call = make(engines[each])
                begun = time.perf_counter()
                for _ in range(calls):
                    await call()
                samples[name][each].append((time.perf_counter() - begun) / calls * 1_000)
    for engine in engines.values():
        await engine.close()
    return {
        name: {
            **{each: round(median(turns), 3) for each, turns in held.items()},
            "ratio": round(median(b / a for a, b in zip(held["ours"], held["theirs"], strict=True)), 2),
        }
        for name, held in samples.items()
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.eliza_sql", description=__doc__)
    parser.add_argument("--memories", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    from mycelia_storage.backends.postgres.embedded import EmbeddedServer

    with tempfile.TemporaryDirectory(prefix="mycelia-bench-") as folder, EmbeddedServer(Path(folder) / "pg") as server:
        found = asyncio.run(compare(server.dsn, options.memories, options.rounds, options.calls))
    for name, figures in found.items():
        sys.stdout.write(f"{name:30} {figures}\n")
    packages = ["elizaos-plugin-sql", "elizaos", "sqlalchemy", "asyncpg", "psycopg"]
    result = {"machine": machine(), "versions": versions(packages), "memories": options.memories, **found}
    if options.out:
        write_json(options.out, result)
    return result


if __name__ == "__main__":
    main()
