"""Ways to await a get: which is fastest, and what each does to the loop while another process holds the write lock.

All ways read the same entries through the same storage, but for apsw's own async, which runs the statement alone.
They take turns within a round, in changing order, between two runs of the synchronous get; a figure is the median
over the rounds of the ratio within a round. "alone" awaits one get after the other, "gathered" 300 at once.

The heartbeat asks the loop for a turn every 2 ms while another process holds the write lock and a set is waiting
for it; "late" is by how much the turn came after its time. The same heartbeat on an idle loop tells what the
machine itself adds. "longest step" is the most CPU time that the loop's thread spent on one callback: the bound on
what AsyncStorage itself takes from the loop, which no other process disturbs.

    python -m bench.async_choices --out bench/results/async_choices.json
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import platform
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import apsw
import apsw.aio
import orjson

from mycelia_storage import AsyncStorage, SQLiteStorageBackend
from mycelia_storage.lanes import Lane

ENTRIES: Final = 20_000
GATHERED: Final = 300
ALONE: Final = 100
BEAT: Final = 0.002
_SELECT: Final = "SELECT value FROM storage_entries WHERE namespace = ? AND key = ?"
_HOLD_LOCK: Final = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.execute("COMMIT")
"""

Get = Callable[[str], Awaitable[Any]]


class QueuePerCall:
    """One worker thread, a simple queue, one hop each way for every call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, get: Callable[[str], Any]) -> None:
        self._loop, self._sync_get = loop, get
        self._queue: queue.SimpleQueue[tuple[asyncio.Future[Any], str] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            self._loop.call_soon_threadsafe(call[0].set_result, self._sync_get(call[1]))

    async def get(self, key: str) -> Any:
        future = self._loop.create_future()
        self._queue.put((future, key))
        return await future

    def close(self) -> None:
        self._queue.put(None)


async def measure(path: Path, rounds: int) -> dict[str, dict[str, float]]:
    storage = SQLiteStorageBackend(path)
    storage.set_many((f"key{n}", {"n": n, "text": "x" * 280}) for n in range(ENTRIES))
    loop = asyncio.get_running_loop()
    apsw.async_controller.set(apsw.aio.AsyncIO)
    native = await apsw.Connection.as_async(str(path))
    queued = QueuePerCall(loop, storage.get)
    hop = Lane(loop, "hop")
    ours = AsyncStorage(storage)

    async def native_get(key: str) -> Any:
        return orjson.loads(await (await native.execute(_SELECT, ("default", key))).get)

    async def thread_get(key: str) -> Any:
        return await asyncio.to_thread(storage.get, key)

    async def hop_get(key: str) -> Any:
        return await hop.submit(storage.get, (key,))

    ways: dict[str, Get] = {
        "apsw async": native_get,
        "asyncio.to_thread": thread_get,
        "queue, a hop per call": queued.get,
        "a hop per tick": hop_get,
        "AsyncStorage (a hop per tick, gets merged)": ours.get,
    }
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in ways}
    order = list(ways)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            keys = [f"key{random.randrange(ENTRIES)}" for _ in range(GATHERED)]
            found = samples[name]
            await asyncio.gather(
                *map(ways[name], keys)
            )  # each thread has a page cache of its own: as warm as the floor's
            for part, wanted, gathered in (("alone", keys[:ALONE], False), ("gathered", keys, True)):
                floor = _sync(storage, keys)
                wall, cpu = time.perf_counter(), time.process_time()
                if gathered:
                    await asyncio.gather(*map(ways[name], wanted))
                else:
                    for key in wanted:
                        await ways[name](key)
                wall = (time.perf_counter() - wall) / len(wanted)
                cpu = (time.process_time() - cpu) / len(wanted)
                floor = (floor + _sync(storage, keys)) / 2
                found.setdefault(f"{part} us", []).append(wall * 1e6)
                found.setdefault(f"{part} ratio", []).append(wall / floor)
                found.setdefault(f"{part} cpu ratio", []).append(cpu / floor)
    await native.aclose()
    queued.close()
    await hop.drained()
    await ours.close()
    return {name: {part: round(median(values), 2) for part, values in found.items()} for name, found in samples.items()}


def _sync(storage: SQLiteStorageBackend, keys: list[str]) -> float:
    begun = time.perf_counter()
    for key in keys:
        storage.get(key)
    return (time.perf_counter() - begun) / len(keys)


async def heartbeat(path: Path, seconds: float) -> dict[str, dict[str, float]]:
    loop = asyncio.get_running_loop()

    async def beats() -> dict[str, float]:
        late, end = [], loop.time() + seconds
        with _steps() as steps:
            while (now := loop.time()) < end:
                await asyncio.sleep(BEAT)
                late.append((loop.time() - now - BEAT) * 1000)
        return {**_summary(late), "longest step, cpu ms": round(max(steps), 3)}

    report = {"idle loop": await beats()}
    async with AsyncStorage(SQLiteStorageBackend(path, busy_timeout=60_000)) as db:
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        write = asyncio.create_task(db.set("held", 1))
        report["a set waits"] = await beats()
        reading = asyncio.create_task(_read_on(db))
        report["a set waits, 20 gets at a time"] = await beats()
        reading.cancel()
        assert not write.done()
        holder.stdin.close()
        await write
        holder.wait()
        holder.stdout.close()
    return report


@contextmanager
def _steps() -> Iterator[list[float]]:
    """The CPU milliseconds of the loop's thread for each callback that it runs. Unlike the wall clock it says nothing
    about other processes, and a callback that waited for a database would show as late, not here."""
    steps: list[float] = []
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        begun = time.thread_time_ns()
        run(handle)
        steps.append((time.thread_time_ns() - begun) / 1e6)

    asyncio.Handle._run = timed  # type: ignore[method-assign]
    try:
        yield steps
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]


async def _read_on(db: AsyncStorage) -> None:
    while True:
        await asyncio.gather(*(db.get(f"key{n}") for n in range(20)))


def _summary(late: list[float]) -> dict[str, float]:
    cuts = quantiles(late, n=100)
    return {"p50 ms": round(median(late), 3), "p99 ms": round(cuts[98], 3), "worst ms": round(max(late), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each heartbeat")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        ways = asyncio.run(measure(path, options.rounds))
        beats = asyncio.run(heartbeat(path, options.seconds))
    print(f"{'way':44}{'alone us':>10}{'x sync':>8}{'x cpu':>8}{'300: us':>10}{'x sync':>8}{'x cpu':>8}")
    for name, found in ways.items():
        alone = f"{found['alone us']:10.1f}{found['alone ratio']:8.2f}{found['alone cpu ratio']:8.2f}"
        together = f"{found['gathered us']:10.1f}{found['gathered ratio']:8.2f}{found['gathered cpu ratio']:8.2f}"
        print(f"{name:44}{alone}{together}")
    for name, late in beats.items():
        print(f"{name:44}" + "  ".join(f"{what} {value}" for what, value in late.items()))
    if options.out:
        versions = {
            "python": platform.python_version(),
            "apsw": apsw.apsw_version(),
            "sqlite": apsw.sqlite_lib_version(),
        }
        made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        report = {"date": made, "machine": platform.machine(), "versions": versions, "ways": ways, "late": beats}
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
