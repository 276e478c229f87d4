"""Copies of a source that is being written, and copies that are interrupted: both storages are equal in the end."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mycelia_storage import FieldIndex, MemoryStorageBackend, SQLiteStorageBackend, StorageBackend, copy_storage
from mycelia_storage.copying import Follower, entries, follower, places, snapshots, surplus
from mycelia_storage.errors import StorageReadOnly

from . import writing
from .conftest import PAIRS, Open
from .writing import Writer

SEEDS = range(5)


class Interrupted(Exception):
    """The copy was interrupted."""


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a few entries, rounds of a few changes, and a round after every page."""
    for module in (entries, snapshots, surplus):
        monkeypatch.setattr(module, "BATCH_ENTRIES", 10)
    monkeypatch.setattr(follower, "ROUND_CHANGES", 25)
    monkeypatch.setattr(follower, "FOLLOWING_SECONDS", 0.0)


def contents(storage: StorageBackend) -> dict[str, Any]:
    """Everything but whether changes are tracked, which a copy turns on in the source alone."""
    found: dict[str, Any] = {}
    for name in storage.list_namespaces():
        info = storage.get_namespace(name)
        assert info is not None
        found[name] = (info.metadata, storage.list_indexes(name), list(storage.scan(namespace=name)))
    return found


def assert_equal(source: StorageBackend, destination: StorageBackend) -> None:
    time.sleep(0.005)  # what lives for a millisecond is over on both sides
    assert contents(destination) == contents(source)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("source_name", "destination_name"), PAIRS)
@pytest.mark.usefixtures("small_steps")
def test_a_source_written_between_all_steps_of_a_copy(
    open_storage: Open, source_name: str, destination_name: str, seed: int
) -> None:
    source, destination = open_storage(source_name), open_storage(destination_name)
    writer = Writer(source, seed)
    writer.fill()
    left = 60

    def progress(*_: int) -> None:
        nonlocal left
        if left:
            left -= 1
            writer.steps(3)

    report = copy_storage(source, destination, progress=progress, catch_up=True)
    assert report.ok, report
    assert report.one_moment
    assert left < 50  # pages there were
    assert_equal(source, destination)
    assert report.entries == report.verified


@pytest.mark.parametrize(("source_name", "destination_name"), PAIRS)
def test_a_thread_writes_while_the_copy_follows(open_storage: Open, source_name: str, destination_name: str) -> None:
    source, destination = open_storage(source_name), open_storage(destination_name)
    writer = Writer(source, 7)
    writer.fill()
    source.set_many({f"{number:06}": number for number in range(5_000)}, namespace="large")
    thread = threading.Thread(target=writer.steps, args=(1_500,))
    thread.start()
    try:
        report = copy_storage(source, destination, follow=lambda: not thread.is_alive())
    finally:
        thread.join()
    assert report.ok, report
    assert report.one_moment
    assert_equal(source, destination)


@pytest.mark.parametrize("destination_name", ["memory", "sqlite"])
def test_a_process_writes_while_the_copy_follows(open_storage: Open, tmp_path: Path, destination_name: str) -> None:
    path = tmp_path / "written.db"
    destination = open_storage(destination_name)
    with SQLiteStorageBackend(str(path)) as source:
        Writer(source, 8).fill()
        process = subprocess.Popen([sys.executable, writing.__file__, str(path), "8", "1500"])
        try:
            report = copy_storage(source, destination, follow=lambda: process.poll() is not None)
        finally:
            process.kill()
            assert process.wait() == 0
        assert report.ok, report
        assert_equal(source, destination)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("source_name", "destination_name"), PAIRS)
@pytest.mark.usefixtures("small_steps")
def test_an_interrupted_copy_of_a_written_source_goes_on(
    open_storage: Open, source_name: str, destination_name: str, seed: int
) -> None:
    source, destination = open_storage(source_name), open_storage(destination_name)
    chosen = random.Random(seed)
    writer = Writer(source, seed)
    writer.fill()
    interruptions = 0
    while True:
        left = chosen.randrange(1, 12) if interruptions < 8 else -1

        def progress(*_: int) -> None:
            nonlocal left
            if left:
                writer.steps(2 if left > 0 else 0)
                left -= 1
            if left == 0:
                raise Interrupted

        try:
            report = copy_storage(source, destination, progress=progress, catch_up=True)
        except Interrupted:
            interruptions += 1
            writer.steps(chosen.randrange(20))
        else:
            break
    assert interruptions
    assert report.ok, report
    assert_equal(source, destination)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("small_steps")
def test_a_killed_copy_goes_on(tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    one, other = str(tmp_path / "a.db"), str(tmp_path / "b.db")
    with SQLiteStorageBackend(one) as source:
        writer = Writer(source, seed)
        writer.fill()
        source.set_many(((f"{number:06}", "x" * 50) for number in range(30_000)), namespace="large")
        script = (
            "import sys; from mycelia_storage import SQLiteStorageBackend as Open, copy_storage\n"
            "copy_storage(Open(sys.argv[1]), Open(sys.argv[2]), follow=1000)"
        )
        for _ in range(3):
            process = subprocess.Popen([sys.executable, "-c", script, one, other])
            deadline = time.monotonic() + chosen.uniform(0.15, 0.9)
            try:
                while time.monotonic() < deadline:
                    writer.steps(3)
            finally:
                process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            writer.steps(20)
        with SQLiteStorageBackend(other) as destination:
            report = copy_storage(source, destination, catch_up=True)
            assert report.ok, report
            assert_equal(source, destination)


def test_what_has_arrived_is_not_sent_again(open_storage: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "BATCH_ENTRIES", 100)
    source, destination = open_storage("sqlite"), open_storage("sqlite")
    source.set_many({f"{number:05}": number for number in range(1_000)}, namespace="n")

    def interrupt(done: int, _: int) -> None:
        if done >= 500:
            raise Interrupted

    with pytest.raises(Interrupted):
        copy_storage(source, destination, namespaces=["n"], progress=interrupt, catch_up=True)
    assert destination.count(namespace="n") == 500
    read: list[str] = []
    page = snapshots.Snapshots.page

    def noted(self: snapshots.Snapshots, namespace: str, after: str | None) -> Any:
        read.append(after or "")
        return page(self, namespace, after)

    monkeypatch.setattr(snapshots.Snapshots, "page", noted)
    source.set("00001", "changed", namespace="n")
    source.delete("00002", namespace="n")
    report = copy_storage(source, destination, namespaces=["n"], verify=False, catch_up=True)
    assert read[0] == "00499"
    assert (report.written, report.removed, report.entries) == (501, 1, 1_000)
    assert_equal_namespace(source, destination, "n")


def assert_equal_namespace(source: StorageBackend, destination: StorageBackend, name: str) -> None:
    assert list(destination.scan(namespace=name)) == list(source.scan(namespace=name))


def test_a_source_that_lost_its_log_is_compared_and_what_was_deleted_goes(open_storage: Open) -> None:
    destination = open_storage("sqlite")
    with MemoryStorageBackend(change_retention=10) as source:
        source.set_many({f"{number:05}": number for number in range(3_000)}, namespace="n")

        def interrupt(done: int, _: int) -> None:
            if done >= 2_000:
                raise Interrupted

        with pytest.raises(Interrupted):
            copy_storage(source, destination, progress=interrupt, catch_up=True)
        source.delete_many([f"{number:05}" for number in range(0, 3_000, 2)], namespace="n")
        report = copy_storage(source, destination, catch_up=True)
        assert report.ok
        # Of the 2,000 that had arrived, every second went; of the others, 500 were left to be sent.
        assert (report.written, report.removed) == (500, 1_000)
        assert_equal(source, destination)


def test_a_log_lost_while_copying_is_made_good(open_storage: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "FOLLOWING_SECONDS", 0.0)
    destination = open_storage("sqlite")
    with MemoryStorageBackend(change_retention=5) as source:
        source.set_many({f"{number:05}": number for number in range(3_000)}, namespace="n")
        bursts = iter(range(0, 1_000, 100))

        def progress(*_: int) -> None:
            for start in [next(bursts, None)]:
                if start is not None:
                    source.delete_many([f"{number:05}" for number in range(start, start + 100)], namespace="n")

        report = copy_storage(source, destination, progress=progress, catch_up=True)
        assert report.ok, report
        assert_equal(source, destination)
        assert source.count(namespace="n") == 2_000


def test_the_destination_gets_the_tracking_from_before(open_storage: Open) -> None:
    source, destination = open_storage("sqlite"), open_storage("memory")
    source.create_namespace("tracked", track_changes=True)
    source.create_namespace("untracked")
    report = copy_storage(source, destination, catch_up=True)
    assert report.tracking == ["default", "untracked"]
    for storage, expected in ((source, [True] * 3), (destination, [False, True, False])):
        infos = [storage.get_namespace(name) for name in ("default", "tracked", "untracked")]
        assert [info is not None and info.track_changes for info in infos] == expected
    assert destination.list_namespaces() == ["default", "tracked", "untracked"]
    assert copy_storage(source, destination, catch_up=True).tracking == []


def test_a_read_only_source_cannot_be_made_to_track(tmp_path: Path) -> None:
    with SQLiteStorageBackend(str(tmp_path / "a.db")) as source:
        source.set("k", 1)
    with SQLiteStorageBackend(str(tmp_path / "a.db"), read_only=True) as source, MemoryStorageBackend() as destination:
        with pytest.raises(StorageReadOnly):
            copy_storage(source, destination, catch_up=True)
        assert copy_storage(source, destination).ok
        assert destination.get("k") == 1


@pytest.mark.parametrize("operation", ["set", "delete"])
def test_newer_entries_of_the_destination_are_kept_and_reported(open_storage: Open, operation: str) -> None:
    source, destination = open_storage("sqlite"), open_storage("memory")
    source.set("k", "old", namespace="n")
    with Follower(source, destination) as copy:
        copy.copy()
        if operation == "set":
            source.set("k", "source", namespace="n")
        else:
            source.delete("k", namespace="n")
        destination.set("k", "newer", namespace="n")
        copy.catch_up()
        copy.verify()
        report = copy.finish()
    assert destination.get("k", namespace="n") == "newer"
    assert [(mismatch.key, "newer" in mismatch.problem) for mismatch in report.mismatches] == [("k", True)]


def test_a_mismatch_that_the_source_overwrites_is_gone(open_storage: Open) -> None:
    source, destination = open_storage("sqlite"), open_storage("memory")
    source.set("k", "old", namespace="n")
    destination.set("k", "newer", namespace="n")
    with Follower(source, destination) as copy:
        copy.copy()
        assert copy.report().mismatch_count == 1
        source.set("k", "newest", namespace="n")
        assert copy.catch_up(gap=5) == 1
        copy.verify()
        assert copy.finish().ok
    assert destination.get("k", namespace="n") == "newest"


def test_a_clear_deletes_what_the_copy_brought_and_nothing_else(open_storage: Open) -> None:
    source, destination = open_storage("sqlite"), open_storage("memory")
    for name in ("own", "shared"):
        source.set_many({"a": 1, "b": 2}, namespace=name)
    destination.set("mine", 1, namespace="shared")
    with Follower(source, destination) as copy:
        copy.copy()
        for name in ("own", "shared"):
            source.clear(namespace=name)
            source.set("c", 3, namespace=name)
        report = copy.finish()
    assert destination.list(namespace="own") == ["c"]
    assert destination.list(namespace="shared") == ["a", "b", "c", "mine"]
    assert [mismatch.namespace for mismatch in report.mismatches] == ["shared"]
    report = copy_storage(source, destination, catch_up=True, mirror=True)
    assert report.ok
    assert report.removed == 3
    assert_equal(source, destination)


@pytest.mark.parametrize("shared", [False, True])
def test_a_namespace_deleted_meanwhile(open_storage: Open, shared: bool) -> None:
    source, destination = open_storage("memory"), open_storage("sqlite")
    source.set_many({"a": 1, "b": 2}, namespace="n")
    source.set("a", 1, namespace="n/below")
    if shared:
        destination.set("mine", 1, namespace="n")
    with Follower(source, destination) as copy:
        copy.copy()
        source.delete_namespace("n", recursive=True)
        report = copy.finish()
    assert destination.list_namespaces() == (["default", "n"] if shared else ["default"])
    assert report.ok is not shared


def test_a_namespace_made_anew_meanwhile(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("sqlite")
    source.create_namespace("n", metadata={"first": 1})
    source.set_many({"a": 1, "b": 2}, namespace="n")
    with Follower(source, destination) as copy:
        copy.copy()
        source.delete_namespace("n", recursive=True)
        time.sleep(0.002)
        source.set("c", 1, namespace="n")
        copy.verify()
        assert copy.finish().ok
    assert_equal(source, destination)


def test_metadata_changed_to_and_fro_while_the_log_is_lost(open_storage: Open) -> None:
    destination = open_storage("memory")
    with MemoryStorageBackend(change_retention=5) as source, Follower(source, destination, namespaces=["n"]) as copy:
        source.create_namespace("n", metadata={"v": 1})
        copy.copy()
        copy.catch_up()
        source.create_namespace("n", metadata={"v": 2}, exist_ok=True)
        source.set_many({f"{number}": number for number in range(50)}, namespace="n")
        source.optimize()
        copy.follow(iter([False, True]).__next__)  # a round that finds the log lost and looks at nothing else
        source.create_namespace("n", metadata={"v": 1}, exist_ok=True)
        assert copy.finish().ok
        assert_equal(source, destination)


def test_indexes_made_and_dropped_meanwhile(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("sqlite")
    source.set("a", {"x": 1}, namespace="n")
    source.create_index("n", FieldIndex("x"), name="first")
    destination.create_index("n", FieldIndex("y"), name="mine")
    with Follower(source, destination) as copy:
        copy.copy()
        assert list(destination.list_indexes("n")) == ["first", "mine"]
        source.drop_index("n", "first")
        source.create_index("n", FieldIndex("z"), name="second")
        assert copy.finish().ok
    assert list(destination.list_indexes("n")) == ["mine", "second"]


def test_values_of_a_unique_index_exchanged(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("sqlite")
    source.set_many({"a": {"x": 1}, "b": {"x": 2}}, namespace="n")
    source.create_index("n", FieldIndex("x", unique=True))
    with Follower(source, destination) as copy:
        copy.copy()
        with source.transaction() as tx:
            tx.set("a", {"x": 0}, namespace="n")
            tx.set("b", {"x": 1}, namespace="n")
            tx.set("a", {"x": 2}, namespace="n")
        copy.verify()
        assert copy.finish().ok
    assert_equal(source, destination)


def test_a_time_limit_shorter_than_the_copy_does_not_end_it(
    open_storage: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "BATCH_ENTRIES", 200)
    destination = open_storage("sqlite")
    with MemoryStorageBackend(transaction_timeout=0.3) as source:
        source.set_many({f"{number:05}": number for number in range(1_000)}, namespace="n")
        report = copy_storage(source, destination, progress=lambda *_: time.sleep(0.1))
        assert report.ok
        assert not report.one_moment  # nothing tells what was written between two snapshots
        source.create_namespace("n", exist_ok=True, track_changes=True)
        report = copy_storage(source, destination, namespaces=["n"], progress=lambda *_: time.sleep(0.1))
        assert report.ok
        assert report.one_moment


def test_tracked_namespaces_are_of_one_moment_however_long_it_takes(
    open_storage: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "SNAPSHOT_SECONDS", 0.0)
    source, destination = open_storage("sqlite"), open_storage("memory")
    source.create_namespace("n", track_changes=True)
    source.set_many({f"{number:05}": 0 for number in range(3_000)}, namespace="n")
    numbers = iter(range(1, 7))

    def progress(*_: int) -> None:
        for number in [next(numbers, None)]:
            if number is not None:
                source.set_many(dict.fromkeys(("00000", "02999"), number), namespace="n")

    report = copy_storage(source, destination, namespaces=["n"], progress=progress)
    assert report.ok
    assert report.one_moment
    assert destination.get("00000", namespace="n") == destination.get("02999", namespace="n") == 6


@pytest.mark.parametrize("source_name", ["memory", "sqlite"])
def test_an_interrupted_plain_copy_sends_nothing_twice_and_leaves_nothing_stale(
    open_storage: Open, source_name: str
) -> None:
    source, destination = open_storage(source_name), open_storage("sqlite")
    source.set_many({f"{number:05}": number for number in range(3_000)}, namespace="n")
    destination.set("mine", 1, namespace="m")
    source.set("theirs", 1, namespace="m")

    def interrupt(done: int, _: int) -> None:
        if done >= 2_000:
            raise Interrupted

    with pytest.raises(Interrupted):
        copy_storage(source, destination, progress=interrupt)
    source.delete_many(["00000", "01999", "02999"], namespace="n")
    report = copy_storage(source, destination)
    assert report.ok
    assert (report.entries, report.verified, report.written, report.removed) == (2_998, 2_998, 999, 2)
    assert_equal_namespace(source, destination, "n")
    assert destination.list(namespace="m") == ["mine", "theirs"]
    assert destination.list_namespaces() == ["default", "m", "n"]


def test_following_waits_for_a_busy_destination(tmp_path: Path) -> None:
    path = str(tmp_path / "b.db")
    stop = threading.Event()
    reports: list[Any] = []
    with (
        MemoryStorageBackend() as source,
        SQLiteStorageBackend(path, busy_timeout=20) as destination,
        SQLiteStorageBackend(path) as other,
    ):
        source.set("k", 1)
        thread = threading.Thread(target=lambda: reports.append(copy_storage(source, destination, follow=stop.is_set)))
        thread.start()
        try:
            wait_until(lambda: other.get("k") == 1)
            with other.transaction() as tx:
                source.set("k", 2)
                source.set("k", 3, namespace="new")
                time.sleep(0.2)
                tx.set("x", 1, namespace="others")
            wait_until(lambda: other.get("k") == 2 and other.get("k", namespace="new") == 3)
        finally:
            stop.set()
            thread.join()
        assert reports[0].ok


def test_two_copies_into_one_destination_keep_apart(open_storage: Open) -> None:
    first, second, destination = (open_storage("sqlite") for _ in range(3))
    first.set_many({f"{number:05}": number for number in range(3_000)}, namespace="first")
    second.set("k", 1, namespace="second")

    def interrupt(done: int, _: int) -> None:
        if done > 1_000:
            raise Interrupted

    with pytest.raises(Interrupted):
        copy_storage(first, destination, namespaces=["first"], progress=interrupt)
    assert copy_storage(second, destination, namespaces=["second"]).ok
    assert places.COPIES_NAMESPACE in destination.list_namespaces()
    assert copy_storage(first, destination, namespaces=["first"]).ok
    assert destination.list_namespaces() == ["default", "first", "second"]


def wait_until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.005)


def test_following_goes_on_until_told_to_stop(open_storage: Open) -> None:
    source, destination = open_storage("sqlite"), open_storage("memory")
    source.set("k", 1, namespace="n")
    stop = threading.Event()
    reports: list[Any] = []
    thread = threading.Thread(target=lambda: reports.append(copy_storage(source, destination, follow=stop.is_set)))
    thread.start()
    try:
        for number in range(2, 5):
            source.set("k", number, namespace="n")
            wait_until(lambda number=number: destination.get("k", namespace="n") == number)
        source.set("k", 1, namespace="new")
        wait_until(lambda: destination.get("k", namespace="new") == 1)
    finally:
        stop.set()
        thread.join()
    assert reports[0].ok
    assert reports[0].namespaces == 3


def test_following_for_some_seconds_ends(open_storage: Open) -> None:
    source, destination = open_storage("sqlite"), open_storage("memory")
    source.set("k", 1, namespace="n")
    assert copy_storage(source, destination, follow=0.1).ok
    assert_equal(source, destination)
