"""The change log: complete, in order of commit, resumed exactly, kept as long as promised."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest

from ..contract import Change, ChangePage, StorageBackend
from ..errors import CursorExpired, InvalidInput, StorageError
from .fixtures import ContractCase, OpenStorage, eventually, now_ms

_PATIENCE = 60


def told(changes: list[Change]) -> list[tuple[str, str, str | None]]:
    """The parts of changes that do not depend on the clock."""
    return [(change.namespace, change.operation, change.key) for change in changes]


class ChangeContract(ContractCase):
    """changes, watch, retention."""

    def test_every_write_to_a_tracked_namespace_is_logged(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        before = now_ms()
        version = storage.set("a", 1, namespace="n")
        storage.set("a", 1)
        storage.set_many({"b": 1, "c": 1}, namespace="n")
        storage.delete("a", namespace="n")
        storage.delete("a", namespace="n")
        storage.delete_many(["b", "x"], namespace="n")
        storage.set_metadata("c", {"m": 1}, namespace="n")
        storage.clear(namespace="n")
        after = now_ms()
        page = storage.changes(namespace="n")
        expected = [
            ("set", "a"),
            ("set", "b"),
            ("set", "c"),
            ("delete", "a"),
            ("delete", "b"),
            ("set", "c"),
            ("clear", None),
        ]
        assert told(page.changes) == [("n", operation, key) for operation, key in expected]
        assert page.changes[0].version == version
        assert page.changes[3].version > version
        seqs = [change.seq for change in page.changes]
        assert seqs == sorted(set(seqs))
        assert all(before <= change.at <= after for change in page.changes)
        assert page.cursor == seqs[-1]
        assert not page.has_more
        assert storage.changes() == page

    def test_a_refused_write_is_not_logged(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        with pytest.raises(StorageError):
            storage.set("a", 1, namespace="n", if_version=5)
        with pytest.raises(StorageError):
            storage.set_many([("a", 1), ("b", {1})], namespace="n")
        with pytest.raises(LookupError), storage.transaction() as tx:  # noqa: PT012
            tx.set("a", 1, namespace="n")
            raise LookupError
        assert storage.changes(namespace="n").changes == []

    def test_changes_appear_with_their_transaction(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        with storage.transaction() as tx:
            tx.set("a", 1, namespace="n")
            with pytest.raises(LookupError), tx.transaction() as inner:  # noqa: PT012
                inner.set("b", 1, namespace="n")
                raise LookupError
            tx.set("c", 1, namespace="n")
            assert told(tx.changes(namespace="n").changes) == [("n", "set", "a"), ("n", "set", "c")]
            assert storage.changes(namespace="n").changes == []
        assert told(storage.changes().changes) == [("n", "set", "a"), ("n", "set", "c")]

    def test_untracked_and_missing_namespaces_give_an_empty_page(self, storage: StorageBackend) -> None:
        storage.set("a", 1, namespace="untracked")
        for namespace in ("untracked", "missing", None):
            page = storage.changes(namespace=namespace)
            assert isinstance(page, ChangePage)
            assert (page.changes, page.has_more) == ([], False)
            assert storage.changes(namespace=namespace, since=page.cursor).changes == []

    def test_paging_meets_every_change_once(self, storage: StorageBackend) -> None:
        for name in ("n", "m"):
            storage.create_namespace(name, track_changes=True)
        for number in range(25):
            storage.set(f"{number}", 1, namespace="nm"[number % 2])
        for namespace, expected in (("n", range(0, 25, 2)), ("m", range(1, 25, 2)), (None, range(25))):
            seen: list[Change] = []
            cursor, more = None, True
            while more:
                page = storage.changes(namespace=namespace, since=cursor, limit=4)
                assert len(page.changes) <= 4
                seen += page.changes
                cursor, more = page.cursor, page.has_more
            assert [change.key for change in seen] == [str(number) for number in expected]
            assert [change.seq for change in seen] == sorted(change.seq for change in seen)

    def test_the_cursor_of_an_empty_page_goes_on_exactly_there(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        storage.create_namespace("m", track_changes=True)
        start = storage.changes(namespace="n").cursor
        storage.set("a", 1, namespace="m")
        page = storage.changes(namespace="n", since=start)
        storage.set("b", 1, namespace="n")
        assert told(storage.changes(namespace="n", since=page.cursor).changes) == [("n", "set", "b")]
        end = storage.changes(namespace="n", since=page.cursor).cursor
        assert storage.changes(namespace="n", since=end).changes == []
        none = storage.changes(namespace="n", since=start, limit=0)
        assert none.changes == []
        assert told(storage.changes(namespace="n", since=none.cursor).changes) == [("n", "set", "b")]
        for since in (None, 0):
            none = storage.changes(since=since, limit=0)
            assert (none.changes, none.has_more) == ([], True)
            assert told(storage.changes(since=none.cursor).changes) == [("m", "set", "a"), ("n", "set", "b")]

    @pytest.mark.parametrize("bad", [-1, "1", 1.5, True], ids=repr)
    def test_a_cursor_is_a_whole_number(self, storage: StorageBackend, bad: Any) -> None:
        with pytest.raises(InvalidInput):
            storage.changes(since=bad)

    # -- retention -------------------------------------------------------------------------------------------------

    def test_retention_by_count(self, open_storage: OpenStorage) -> None:
        with open_storage(change_retention=10) as storage:
            storage.create_namespace("n", track_changes=True)
            storage.create_namespace("m", track_changes=True)
            storage.set("first", 1, namespace="m")
            first = storage.changes(namespace="m").cursor
            for number in range(50):
                storage.set(f"{number}", 1, namespace="n")
            storage.optimize()
            page = storage.changes(namespace="n")
            assert [change.key for change in page.changes] == [str(number) for number in range(40, 50)]
            assert storage.changes(namespace="n", since=page.changes[0].seq).changes == page.changes[1:]
            for namespace in ("n", None):
                with pytest.raises(CursorExpired):
                    storage.changes(namespace=namespace, since=first)
            assert told(storage.changes(namespace="m", since=0).changes) == [("m", "set", "first")]
            with pytest.raises(CursorExpired):
                next(storage.watch(namespace="n", since=first))

    @pytest.mark.parametrize("limit", [1, 3, 100])
    def test_the_oldest_kept_of_all_can_be_paged_through(self, open_storage: OpenStorage, limit: int) -> None:
        with open_storage(change_retention=10) as storage:
            for name in ("n", "m"):
                storage.create_namespace(name, track_changes=True)
            storage.set("first", 1, namespace="m")
            for number in range(50):
                storage.set(f"{number}", 1, namespace="n")
            storage.set("last", 1, namespace="m")
            storage.optimize()
            seen: list[Change] = []
            cursor, more = None, True
            while more:
                page = storage.changes(since=cursor, limit=limit)
                seen += page.changes
                cursor, more = page.cursor, page.has_more
            # "first" is kept, yet changes of the other namespace between it and these are not.
            assert [change.key for change in seen] == [*(str(number) for number in range(40, 50)), "last"]

    def test_retention_by_age(self, open_storage: OpenStorage) -> None:
        with open_storage(change_retention_age=0.02) as storage:
            storage.create_namespace("n", track_changes=True)
            storage.set("a", 1, namespace="n")
            storage.set("b", 1, namespace="n")

            def gone() -> bool:
                storage.optimize()
                return storage.changes(namespace="n").changes == []

            eventually(gone)
            with pytest.raises(CursorExpired):
                storage.changes(namespace="n", since=0)
            page = storage.changes(namespace="n")
            assert storage.changes(namespace="n", since=page.cursor).changes == []
            storage.set("c", 1, namespace="n")
            assert told(storage.changes(namespace="n", since=page.cursor).changes) == [("n", "set", "c")]

    def test_a_deleted_namespace_takes_its_changes_along_but_not_in_silence(self, storage: StorageBackend) -> None:
        for name in ("n", "m"):
            storage.create_namespace(name, track_changes=True)
        storage.set("a", 1, namespace="n")
        cursor = storage.changes().cursor
        storage.set("b", 1, namespace="n")
        storage.set("c", 1, namespace="m")
        storage.delete_namespace("n", recursive=True)
        assert storage.changes(namespace="n").changes == []
        with pytest.raises(CursorExpired):
            storage.changes(since=cursor)
        assert told(storage.changes(namespace="m", since=cursor).changes) == [("m", "set", "c")]
        storage.create_namespace("n", track_changes=True)
        storage.set("d", 1, namespace="n")
        assert told(storage.changes(namespace="n").changes) == [("n", "set", "d")]
        with pytest.raises(CursorExpired):
            storage.changes(namespace="n", since=cursor)

    def test_a_seq_is_never_given_twice(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        storage.set("a", 1, namespace="n")
        storage.set("b", 1, namespace="n")
        last = storage.changes().changes[-1].seq
        storage.delete_namespace("n", recursive=True)
        storage.create_namespace("n", track_changes=True)
        storage.set("c", 1, namespace="n")
        assert storage.changes(namespace="n").changes[0].seq > last

    # -- watch -----------------------------------------------------------------------------------------------------

    def test_watch_starts_now_and_ends_after_its_timeout(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        storage.set("before", 1, namespace="n")
        watch = storage.watch(namespace="n", timeout=0.05)
        storage.set("after", 1, namespace="n")
        storage.set("elsewhere", 1)
        assert told(list(watch)) == [("n", "set", "after")]
        assert list(storage.watch(timeout=0)) == []

    def test_watch_resumes_exactly_from_a_cursor(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        storage.create_namespace("m", track_changes=True)
        for number in range(10):
            storage.set(f"{number}", 1, namespace="n")
            storage.set(f"{number}", 1, namespace="m")
        seen: list[Change] = []
        cursor = 0
        while page := list(islice(storage.watch(namespace="n", since=cursor, timeout=0), 3)):
            seen += page
            cursor = page[-1].seq
        assert [change.key for change in seen] == [str(number) for number in range(10)]
        assert list(storage.watch(namespace="n", since=cursor, timeout=0)) == []
        assert len(list(storage.watch(since=0, timeout=0))) == 20

    def test_a_watcher_wakes_when_something_is_committed(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        expected = ["between", *map(str, range(20)), "end"]

        def follow(watch: Iterator[Change]) -> list[str | None]:
            return [next(watch).key for _ in expected]

        watches = [storage.watch(namespace="n", timeout=_PATIENCE) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            followers = [pool.submit(follow, watch) for watch in watches]
            storage.set("between", 1, namespace="n")
            with storage.transaction() as tx:
                for number in range(20):
                    tx.set(f"{number}", 1, namespace="n")
            storage.set("end", 1, namespace="n")
            assert [follower.result(_PATIENCE) for follower in followers] == [expected] * 2

    def test_a_reader_misses_nothing_while_many_write(self, storage: StorageBackend) -> None:
        storage.create_namespace("n", track_changes=True)
        finished = threading.Event()

        def follow() -> list[Change]:
            seen: list[Change] = []
            cursor = 0
            while True:
                last_round = finished.is_set()
                page = storage.changes(namespace="n", since=cursor, limit=7)
                seen += page.changes
                cursor = page.cursor
                if last_round and not page.changes:
                    return seen

        def write(worker: int) -> None:
            for number in range(30):
                storage.set(f"{worker}-{number}", 1, namespace="n")

        with ThreadPoolExecutor(4) as pool:
            following = pool.submit(follow)
            try:
                for done in [pool.submit(write, worker) for worker in range(3)]:
                    done.result(_PATIENCE)
            finally:
                finished.set()
            seen = following.result(_PATIENCE)
        assert len({change.key for change in seen}) == len(seen) == 90
        assert [change.seq for change in seen] == sorted(change.seq for change in seen)
