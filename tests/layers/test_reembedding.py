"""Another model for memories in use: in steps, beside writers, through interruptions, kills and several processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mycelia_storage import SQLiteStorageBackend, StorageBackend
from mycelia_storage.errors import EmbeddingMismatch, InvalidInput
from mycelia_storage.layers.memories import Memories
from mycelia_storage.layers.memories.embedders import from_function

from .meaning import model, rows_of

ROOT = Path(__file__).parents[2]


def fill(memories: Memories, number: int = 20) -> None:
    memories.remember_many(
        {"key": f"k{n:02}", "text": f"memory number{n} of a puppy", "conversation": "c", "created_at": n}
        for n in range(number)
    )


def vectors(storage: StorageBackend, space: str, part: str = "text") -> dict[str, bytes]:
    return {entry.key: entry.value for entry in storage.scan(namespace=f"memories/spaces/{space}/{part}")}


def assert_as_if_new(storage: StorageBackend, opened: Memories, embedder: Any, fresh: StorageBackend) -> None:
    """The vectors are those that memories made with this embedder from the start would have."""
    again = Memories(fresh, embedder=embedder)
    again.remember_many(
        {"key": memory.key, "text": memory.text, "conversation": "c", "created_at": memory.created_at}
        for memory in opened.list()
    )
    for part in ("text", "window"):
        assert vectors(storage, embedder.space.name, part) == vectors(fresh, embedder.space.name, part)


Open = Callable[[], StorageBackend]


def test_the_old_space_serves_until_the_switch(storage: StorageBackend, open_storage: Open) -> None:
    old, new = model(), model("better", 32)
    memories = Memories(storage, embedder=old)
    fill(memories)
    change = memories.start_reembed(new, batch_size=6)
    steps = 0
    while change.step():
        steps += 1
        assert memories.recall("hound number3", 1)[0].key == "k03"
        assert storage.get("spaces", namespace="memories/state")["active"]["model"] == "words"
        with pytest.raises(EmbeddingMismatch, match="reembed"):
            Memories(storage, embedder=new)
        if steps == 2:  # both know this one
            memories.remember("memory during the change", key="k98", conversation="c", created_at=98)
    assert steps >= 4
    assert not change.step()
    assert memories.space == new.space
    assert change.embedded == 20
    assert memories.recall("hound number3", 1)[0].key == "k03"
    assert not [name for name in storage.list_namespaces(prefix="memories") if "words" in name]
    assert_as_if_new(storage, memories, new, open_storage())
    Memories(storage, embedder=new)
    with pytest.raises(EmbeddingMismatch, match="reembed"):
        Memories(storage, embedder=old)


def test_others_write_meanwhile_with_the_old_model(storage: StorageBackend) -> None:
    old, new = model(), model("better", 32)
    writer = Memories(storage, embedder=old)
    fill(writer)
    change = Memories(storage, embedder=old).start_reembed(new, batch_size=7)
    change.step()
    writer.remember("memory of a boat", key="a0", conversation="c", created_at=50)  # behind the cursor
    writer.update("k00", text="memory number0 of a whale")
    writer.forget("k01")
    change.step()
    writer.remember("memory of a plane", key="z0", conversation="c", created_at=51)
    writer.forget("k19")
    writer.update("k18", metadata={"a": 1})
    while change.step():
        pass
    opened = Memories(storage, embedder=new)
    assert opened.count() == 20
    assert set(vectors(storage, "better-32")) == {memory.key for memory in opened.list()}
    assert opened.recall("a boat", 1)[0].key == "a0"
    for action in (
        lambda: writer.recall("puppy"),
        lambda: writer.remember("too late", key="late"),
        lambda: writer.update("k00", text="too late"),
    ):
        with pytest.raises(EmbeddingMismatch, match="reembed"):
            action()
    assert opened.get("late") is None
    assert storage.count(namespace="memories/todo") == 0


def test_an_interrupted_change_goes_on(storage: StorageBackend, open_storage: Open) -> None:
    calls = 0
    rows = rows_of(32, "better")

    def failing(texts: list[str]) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ConnectionError("away")
        return rows(texts)

    old, new = model(), from_function(failing, model="better", dimensions=32)
    memories = Memories(storage, embedder=old)
    fill(memories)
    with pytest.raises(ConnectionError):
        memories.reembed(new, batch_size=5)
    assert len(vectors(storage, "better-32")) == 10
    assert memories.recall("hound number3", 1)[0].key == "k03"
    progress: list[int] = []
    again = Memories(storage)  # in another process, without any model, by words
    assert again.recall("number3", 1)[0].key == "k03"
    report = again.reembed(new, batch_size=5, progress=progress.append)
    assert report.embedded == 10
    assert progress == sorted(progress)
    assert_as_if_new(storage, again, new, open_storage())
    with pytest.raises(EmbeddingMismatch):
        memories.recall("puppy")


def test_two_at_the_same_change(storage: StorageBackend, open_storage: Open) -> None:
    old, new = model(), model("better", 32)
    fill(Memories(storage, embedder=old))
    first = Memories(storage, embedder=old).start_reembed(new, batch_size=4)
    second = Memories(storage, embedder=old).start_reembed(new, batch_size=3)
    for _ in range(4):
        first.step()
        second.step()
    while first.step():
        pass
    while second.step():
        pass
    assert first.embedded + second.embedded == 20
    opened = Memories(storage, embedder=new)
    assert_as_if_new(storage, opened, new, open_storage())


def test_a_third_model_must_be_asked_for(storage: StorageBackend) -> None:
    old, new, newest = model(), model("better", 32), model("best", 16)
    memories = Memories(storage, embedder=old)
    fill(memories)
    given_up = memories.start_reembed(new, batch_size=5)
    given_up.step()
    with pytest.raises(EmbeddingMismatch, match="restart"):
        memories.start_reembed(newest)
    memories.reembed(newest, restart=True)
    with pytest.raises(EmbeddingMismatch, match="given up"):
        given_up.step()
    assert len(vectors(storage, "best-16")) == 20
    assert not [name for name in storage.list_namespaces(prefix="memories") if "better" in name or "words" in name]
    with pytest.raises(InvalidInput):
        memories.start_reembed("model")  # type: ignore[arg-type]


def test_memories_without_vectors_get_them(storage: StorageBackend, open_storage: Open) -> None:
    plain = Memories(storage)
    fill(plain)
    assert plain.recall("hound") == []
    report = plain.reembed(model())
    assert report.embedded == 20
    assert plain.recall("hound number3", 1)[0].key == "k03"
    Memories(storage).remember("memory of a boat", key="k99", conversation="c", created_at=99)
    again = Memories(storage, embedder=model())
    assert again.reembed(model()).embedded == 1
    assert_as_if_new(storage, again, model(), open_storage())


CHILD = """
import os, signal, sys, threading
from mycelia_storage import SQLiteStorageBackend
from mycelia_storage.layers.memories import Memories
from mycelia_storage.layers.memories.embedders import from_function
from tests.layers.meaning import rows_of

path, kill_at = sys.argv[1], int(sys.argv[2])
calls, rows = 0, rows_of(32, "better")
def slow(texts):
    global calls
    calls += 1
    if calls == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows(texts)
with SQLiteStorageBackend(path) as storage:
    Memories(storage).reembed(from_function(slow, model="better", dimensions=32), batch_size=5)
"""


def test_a_killed_change_goes_on_in_other_processes(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.db")

    def start(kill_at: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", CHILD, path, str(kill_at)], cwd=ROOT)

    with SQLiteStorageBackend(path) as storage, SQLiteStorageBackend(str(tmp_path / "fresh.db")) as fresh:
        writer = Memories(storage, embedder=model())
        fill(writer, 60)
        killed = start(3)
        assert killed.wait(60) == -signal.SIGKILL
        assert len(vectors(storage, "better-32")) == 10
        both = [start(-1), start(-1)]
        n, refused = 100, False
        while any(child.poll() is None for child in both) or not refused:
            try:
                writer.remember(f"memory number{n} of a puppy", key=f"m{n}", conversation="c", created_at=n)
            except EmbeddingMismatch:  # from the moment of the switch
                refused = True
                continue
            assert not refused
            n += 1
        assert [child.wait(60) for child in both] == [0, 0]
        opened = Memories(storage, embedder=model("better", 32))
        assert opened.count() == 60 + n - 100
        assert_as_if_new(storage, opened, model("better", 32), fresh)
        assert storage.check().ok
