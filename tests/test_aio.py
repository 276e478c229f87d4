"""AsyncStorage: the contract awaited, who waits for whom, and what a cancel leaves behind."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from mycelia_storage import (
    AsyncStorage,
    BatchError,
    InvalidInput,
    InvalidKey,
    MemoryStorageBackend,
    SQLiteStorageBackend,
    StorageBackend,
    StorageBusy,
    StorageClosed,
    StorageReadOnly,
    TransactionError,
    where,
)
from mycelia_storage.aio import AsyncTransaction

Opener = Callable[[], StorageBackend]


@pytest.fixture(params=["memory", "sqlite"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    if request.param == "memory":
        return MemoryStorageBackend
    return lambda: SQLiteStorageBackend(tmp_path / "a.db")


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "b.db"


@asynccontextmanager
async def lock_held(path: Path) -> AsyncIterator[Callable[[], None]]:
    """The write lock of ``path`` is held by another connection, as another process would; call to let go."""
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield lambda: other.execute("COMMIT") and None
    finally:
        other.close()


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(30):
            return await main()

    return asyncio.run(bounded())


def test_every_contract_method_is_awaitable_with_its_signature() -> None:
    for name, method in inspect.getmembers(StorageBackend, inspect.isfunction):
        if name.startswith("_"):
            continue
        mine = getattr(AsyncStorage, name)
        theirs = inspect.signature(method).parameters
        assert list(inspect.signature(mine).parameters) == list(theirs), name
        kinds = (inspect.iscoroutinefunction(mine), inspect.isasyncgenfunction(mine), name in ("get", "transaction"))
        assert any(kinds), name


def test_round_trip_of_the_contract(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            version = await db.set("ada", {"age": 36}, namespace="users", metadata={"a": 1})
            assert await db.get("ada", namespace="users") == {"age": 36}
            assert await db.get("bob", "nobody", namespace="users") == "nobody"
            entry = await db.get_entry("ada", namespace="users")
            assert entry is not None
            assert entry.version == version
            assert (await db.set_many({"bob": {"age": 5}}, namespace="users")).written == 1
            assert await db.list("a*", namespace="users") == ["ada"]
            assert [e.key for e in await db.query(where("age") < 18, namespace="users")] == ["bob"]
            assert [e.key async for e in db.scan(namespace="users", reverse=True)] == ["bob", "ada"]
            assert [e.key async for e in db.scan_prefixes(["b", "a"], namespace="users")] == ["bob", "ada"]
            assert await db.delete("bob", namespace="users") is True
            assert await db.count(namespace="users") == 1
            assert (await db.check()).ok

    run(main)


def test_errors_arrive_as_they_are(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            with pytest.raises(InvalidKey):
                await db.get("")
            with pytest.raises(BatchError):
                await db.set_many([("", 1)])
            with pytest.raises(TypeError):
                await db.set("only a key")  # type: ignore[call-arg]

    run(main)


def test_gathered_gets_each_get_their_own_answer(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            await db.set_many([(f"k{n}", [n]) for n in range(500)])
            await db.set("k1", "other", namespace="n2")
            keys = [f"k{n % 600}" for n in range(1500)]
            wanted = [[n % 600] if n % 600 < 500 else None for n in range(1500)]
            assert await asyncio.gather(*(db.get(key) for key in keys)) == wanted
            mixed = await asyncio.gather(
                db.get("k1"), db.get("k1", namespace="n2"), db.get("no", 7), db.get(""), db.get("k2"),
                return_exceptions=True,
            )  # fmt: skip
            assert mixed[:3] == [[1], "other", 7]
            assert isinstance(mixed[3], InvalidKey)
            assert mixed[4] == [2]
            first, second = await asyncio.gather(db.get("k3"), db.get("k3"))
            first.append("changed")
            assert second == [3]

    run(main)


def test_get_is_good_for_everything_that_awaits(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            await db.set("k", 1)
            assert await asyncio.create_task(db.get("k")) == 1
            assert await asyncio.wait_for(db.get("k"), 20) == 1
            assert await asyncio.shield(db.get("k")) == 1
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(db.get(key)) for key in ("k", "no")]
            assert [task.result() for task in tasks] == [1, None]
            with pytest.raises(InvalidKey):
                await asyncio.create_task(db.get(""))
            with pytest.raises(InvalidKey):
                await db.get([])  # type: ignore[arg-type]
            cancelled = asyncio.create_task(db.get("k"))
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert await db.get("k") == 1

    run(main)


def test_scan_goes_over_many_pages(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            await db.set_many((f"{n:04}", n) for n in range(1050))
            assert [e.value async for e in db.scan()] == list(range(1050))
            with pytest.raises(InvalidInput):
                async for _ in db.scan(limit=-1):
                    pass

    run(main)


def test_watch_sees_what_is_written_after_it(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            await db.create_namespace("n", track_changes=True)
            await db.set("before", 1, namespace="n")
            cursor = (await db.changes()).cursor
            await db.set("a", 1, namespace="n")
            await db.delete("a", namespace="n")
            seen = [(c.key, c.operation) async for c in db.watch(namespace="n", since=cursor, timeout=0.01)]
            assert seen == [("a", "set"), ("a", "delete")]
            stream = db.watch(namespace="n", since=(await db.changes()).cursor)
            waiting = asyncio.ensure_future(anext(stream))
            await db.set("b", 1, namespace="n")
            assert (await waiting).key == "b"

    run(main)


def test_a_repeated_transaction_runs_in_the_lane_of_writes(opener: Opener) -> None:
    def count_up(tx: StorageBackend, step: int) -> int:
        number = int(tx.get("n", 0)) + step
        tx.set("n", number)
        return number

    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            await asyncio.gather(*(db.run_transaction(count_up, 2, attempts=3) for _ in range(20)))
            assert await db.get("n") == 40
            async with db.transaction() as tx:
                assert await tx.run_transaction(count_up, 1) == 41
            assert await db.get("n") == 41

    run(main)


def test_run_carries_a_layer(opener: Opener) -> None:
    def double(storage: StorageBackend, key: str, *, times: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return int(storage.get(key)) * times

    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            await db.set("n", 21)
            assert await db.run(double, db.storage, "n", times=2) == 42
            async with db.transaction() as tx:
                await tx.set("n", 5)
                assert await tx.run(double, tx.storage, "n", times=2) == 10

            def stops() -> None:
                next(iter(()))

            with pytest.raises(RuntimeError):
                await db.run(stops)

    run(main)


# -- transactions ------------------------------------------------------------------------------------------------------


async def set_and_fail(db: AsyncStorage | AsyncTransaction, error: type[Exception]) -> None:
    async with db.transaction() as inner:
        await inner.set("a", 9)
        raise error


def test_a_transaction_commits_rolls_back_and_nests(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            async with db.transaction() as tx:
                await tx.set("a", 1)
                assert await tx.get("a") == 1
                assert await db.get("a") is None
                with pytest.raises(KeyError):
                    await set_and_fail(tx, KeyError)
                assert await tx.get("a") == 1
            assert await db.get("a") == 1
            with pytest.raises(ZeroDivisionError):
                await set_and_fail(db, ZeroDivisionError)
            assert await db.get("a") == 1
            with pytest.raises(TransactionError):
                await tx.set("a", 3)
            async with db.transaction(read_only=True) as snapshot:
                await db.set("a", 4)
                assert await snapshot.get("a") == 1
                with pytest.raises(StorageReadOnly):
                    await snapshot.set("a", 5)
            handle = await db.begin_transaction()
            await handle.set("a", 6)
            await db.commit(handle.id)
            assert await db.get("a") == 6
            with pytest.raises(TransactionError):
                await db.rollback(handle.id)

    run(main)


def test_the_owners_own_write_raises_and_others_wait(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            async with db.transaction() as tx:
                with pytest.raises(TransactionError):
                    await db.set("a", "owner")
                with pytest.raises(TransactionError):
                    async with db.transaction():
                        pass
                other = asyncio.create_task(db.set("a", "other"))
                await asyncio.gather(*(db.get(f"k{n}") for n in range(50)))
                assert not other.done()
                await tx.set("a", "mine")
                assert await tx.get("a") == "mine"
            await other
            assert await db.get("a") == "other"
            await db.set("a", "owner")

    run(main)


def test_no_update_is_lost_between_tasks(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            await db.set("n", 0)

            async def add() -> None:
                for _ in range(5):
                    async with db.transaction() as tx:
                        await tx.set("n", await tx.get("n") + 1)

            await asyncio.gather(*(add() for _ in range(20)))
            assert await db.get("n") == 100

    run(main)


def test_reads_pass_a_writer_that_waits_for_the_lock(sqlite_path: Path) -> None:
    async def main() -> None:
        async with AsyncStorage(SQLiteStorageBackend(sqlite_path)) as db:
            await db.set("k", 1)
            async with lock_held(sqlite_path) as let_go:
                write = asyncio.create_task(db.set("k", 2))
                for _ in range(50):
                    assert await db.get("k") == 1
                assert not write.done()
                let_go()
                await write
            assert await db.get("k") == 2

    run(main)


def test_those_behind_a_busy_write_have_waited_as_long(sqlite_path: Path) -> None:
    async def main() -> None:
        async with AsyncStorage(SQLiteStorageBackend(sqlite_path, busy_timeout=200)) as db:
            await db.set("k", 1)
            async with lock_held(sqlite_path), asyncio.timeout(3):  # 40 waits one after the other would be 8 s
                results = await asyncio.gather(*(db.set("k", n) for n in range(40)), return_exceptions=True)
            assert all(isinstance(result, StorageBusy) for result in results)
            await db.set("k", 2)

    run(main)


def test_a_slow_read_does_not_hold_up_the_others() -> None:
    gate = threading.Event()

    class Slow(MemoryStorageBackend):
        def query(self, *args: Any, **kwargs: Any) -> Any:
            gate.wait(20)
            return super().query(*args, **kwargs)

    async def main() -> None:
        async with AsyncStorage(Slow()) as db:
            slow = asyncio.create_task(db.query())
            await asyncio.gather(*(db.get("k") for _ in range(50)))
            assert not slow.done()
            gate.set()
            assert await slow == []

    run(main)


# -- cancelling --------------------------------------------------------------------------------------------------------


async def the_lock_is_free(db: AsyncStorage) -> None:
    async with asyncio.timeout(3):  # under the busy timeout and the transaction's time limit
        await db.set("free", 1)
    assert (await db.get_status()).details.get("open_transactions", 0) == 0


def test_cancel_while_begin_waits(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            first = await db.begin_transaction()

            async def second() -> None:
                async with db.transaction():
                    raise AssertionError("must not begin")

            waiting = [asyncio.create_task(second()) for _ in range(3)]
            await db.get("k")
            for task in waiting:
                task.cancel()
            assert all(
                isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*waiting, return_exceptions=True)
            )
            await first.rollback()
            await the_lock_is_free(db)

    run(main)


@pytest.mark.parametrize("turns", range(12))
def test_cancel_at_any_turn_of_a_transaction(opener: Opener, turns: int) -> None:
    """The cancel comes after so many turns of the loop or answers of the worker: begin, body, commit, or after it."""

    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            await db.set("a", 0)

            async def body() -> None:
                async with db.transaction() as tx:
                    await tx.set("a", 1)
                    await tx.set("b", 1)

            task = asyncio.create_task(body())
            for turn in range(turns):
                await (asyncio.sleep(0) if turn % 2 else db.get("a"))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await the_lock_is_free(db)
            values = await db.get_many(["a", "b"])
            assert values in ({"a": 0}, {"a": 1, "b": 1})

    run(main)


class Held(MemoryStorageBackend):
    """A backend whose transactions stop at a gate in ``begin`` or ``commit``."""

    def __init__(self, phase: str) -> None:
        super().__init__()
        self.phase = phase
        self.reached = threading.Event()
        self.gate = threading.Event()

    def hold(self, phase: str) -> None:
        if phase == self.phase:
            self.reached.set()
            self.gate.wait(20)

    def begin_transaction(self, **options: Any) -> Any:
        self.hold("begin")
        transaction = super().begin_transaction(**options)
        commit = transaction.commit

        def held_commit(id: str | None = None) -> None:
            self.hold("commit")
            commit(id)

        transaction.commit = held_commit  # type: ignore[method-assign]
        return transaction


@pytest.mark.parametrize("phase", ["begin", "commit"])
def test_cancel_in_the_middle_of_begin_and_commit(phase: str) -> None:
    async def main() -> None:
        storage = Held(phase)
        async with AsyncStorage(storage) as db:

            async def body() -> None:
                async with db.transaction() as tx:
                    await tx.set("a", 1)

            task = asyncio.create_task(body())
            await asyncio.to_thread(storage.reached.wait, 20)
            task.cancel()
            storage.gate.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            await the_lock_is_free(db)
            assert await db.get("a") == (1 if phase == "commit" else None)

    run(main)


def test_cancel_of_the_body_twice(opener: Opener) -> None:
    async def main() -> None:
        async with AsyncStorage(opener()) as db:
            entered = asyncio.Event()

            async def body() -> None:
                async with db.transaction() as tx:
                    await tx.set("a", 1)
                    entered.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(body())
            await entered.wait()
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await the_lock_is_free(db)
            assert await db.get("a") is None

    run(main)


def test_a_begin_that_outlives_its_loop_is_undone() -> None:
    storage = Held("begin")
    db = AsyncStorage(storage)

    async def main() -> None:
        task = asyncio.create_task(db.begin_transaction())
        await asyncio.to_thread(storage.reached.wait, 20)
        task.cancel()

    asyncio.run(main())
    storage.gate.set()

    async def after() -> None:
        await the_lock_is_free(db)
        await db.close()

    asyncio.run(after())


# -- closing -----------------------------------------------------------------------------------------------------------


def test_close_ends_what_is_open_and_the_threads(opener: Opener) -> None:
    async def main() -> None:
        db = AsyncStorage(opener())
        left = await db.begin_transaction()
        await left.set("a", 1)
        write = asyncio.create_task(db.set("b", 1))
        await db.get("b")
        await db.close()
        await write
        await db.close()
        with pytest.raises(StorageClosed):
            await db.get("a")
        with pytest.raises(StorageClosed):
            await db.set("a", 1)

    run(main)
    names = [thread for thread in threading.enumerate() if thread.name.startswith("mycelia-")]
    for thread in names:
        thread.join(5)
        assert not thread.is_alive(), thread.name


def test_one_loop_after_the_other(opener: Opener) -> None:
    db = AsyncStorage(opener())

    async def put() -> None:
        await db.set("a", 1)

    async def take() -> Any:
        try:
            return await db.get("a")
        finally:
            await db.close()

    asyncio.run(put())
    assert asyncio.run(take()) == 1


def test_close_unused(opener: Opener) -> None:
    storage = opener()
    run(AsyncStorage(storage).close)
    with pytest.raises(StorageClosed):
        storage.get("a")


@pytest.fixture(autouse=True)
def no_thread_fails(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    failures: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    yield
    assert not failures
