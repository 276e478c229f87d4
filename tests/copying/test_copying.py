"""Copying storages: between every pair of backends, verified entry by entry."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from mycelia_storage import (
    FieldIndex,
    MemoryStorageBackend,
    SQLiteStorageBackend,
    StorageBackend,
    copy_storage,
)
from mycelia_storage.contract import Entry
from mycelia_storage.copying import bounded_batches, difference, entries as copying_entries, sending
from mycelia_storage.copying.entries import BATCH_ENTRIES
from mycelia_storage.copying.reports import NAMED_MISMATCHES
from mycelia_storage.errors import InvalidInput, NamespaceNotFound, StorageReadOnly

from .conftest import PAIRS, Open


def fill(storage: StorageBackend) -> None:
    storage.create_namespace("users", metadata={"owner": "ada"}, track_changes=True)
    storage.set("ada", {"age": 36}, namespace="users")
    storage.set(
        "ada", {"age": 37, "b": 1, "a": [1, 1.0, True, -0.0, "x\0"]}, namespace="users", metadata={"lang": "en"}
    )
    storage.set("blob", b"\x00\xff", namespace="users")
    storage.set("late", None, namespace="users", ttl=1000)
    storage.set_many(((f"k{n:05}", n) for n in range(BATCH_ENTRIES + 1)), namespace="users/more")
    storage.create_index("users", FieldIndex("age", unique=True), name="age")


def everything(storage: StorageBackend) -> list[Any]:
    found: list[Any] = []
    for name in storage.list_namespaces():
        info = storage.get_namespace(name)
        assert info is not None
        found.append((name, info.metadata, info.track_changes, storage.list_indexes(name)))
        found.extend(storage.scan(namespace=name))
    return found


@pytest.mark.parametrize(("source_name", "destination_name"), PAIRS)
def test_everything_arrives_between_all_backends(open_storage: Open, source_name: str, destination_name: str) -> None:
    source, destination = open_storage(source_name), open_storage(destination_name)
    fill(source)
    report = copy_storage(source, destination)
    assert report.ok
    assert report.namespaces == 3
    assert report.entries == report.verified == BATCH_ENTRIES + 4
    assert everything(destination) == everything(source)


def test_a_second_copy_changes_nothing(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("sqlite")
    fill(source)
    copy_storage(source, destination)
    seq = destination.changes(namespace="users").cursor
    assert copy_storage(source, destination).ok
    assert destination.changes(namespace="users", since=seq).changes == []
    assert everything(destination) == everything(source)


def test_only_the_named_namespaces_are_copied(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("memory")
    fill(source)
    report = copy_storage(source, destination, namespaces=["users", ("users",)])
    assert (report.namespaces, report.entries) == (1, 3)
    assert destination.list_namespaces() == ["default", "users"]
    with pytest.raises(NamespaceNotFound):
        copy_storage(source, destination, namespaces=["nobody"])


def test_what_only_the_destination_holds_stays(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("sqlite")
    fill(source)
    for key in ("a", "b", "zz"):
        destination.set(key, "mine", namespace="users")
    assert copy_storage(source, destination).ok
    assert destination.list(namespace="users") == ["a", "ada", "b", "blob", "late", "zz"]


def test_the_copy_is_of_one_moment(open_storage: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = open_storage("memory"), open_storage("memory")
    fill(source)
    before = everything(source)
    send = sending.send_wanted

    def send_and_write(*arguments: Any) -> Any:
        source.set("meanwhile", 1, namespace="users/more")
        return send(*arguments)

    monkeypatch.setattr(sending, "send_wanted", send_and_write)
    report = copy_storage(source, destination)
    assert report.ok
    assert report.one_moment
    assert everything(destination) == before


def test_a_storage_is_not_copied_into_itself(open_storage: Open) -> None:
    storage = open_storage("memory")
    with pytest.raises(InvalidInput, match="one storage"):
        copy_storage(storage, storage)


def test_one_file_opened_twice_is_one_storage(tmp_path: Path) -> None:
    with (
        SQLiteStorageBackend(str(tmp_path / "a.db")) as first,
        SQLiteStorageBackend(str(tmp_path / "a.db")) as second,
        pytest.raises(InvalidInput, match="one storage"),
    ):
        copy_storage(first, second)


def test_a_newer_version_in_the_destination_is_reported(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("sqlite")
    source.set("k", "old", namespace="users")
    destination.set("k", "new", namespace="users")
    report = copy_storage(source, destination)
    assert destination.get("k", namespace="users") == "new"
    assert not report.ok
    assert [str(mismatch) for mismatch in report.mismatches] == ["key 'k' in 'users': newer in the destination: kept"]


def test_entries_that_are_refused_are_named_and_the_others_copied(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("sqlite")
    source.set_many({f"k{n}": {"age": n} for n in range(5)}, namespace="users")
    destination.create_index("users", FieldIndex("age", unique=True))
    destination.set("mine", {"age": 3}, namespace="users")
    report = copy_storage(source, destination)
    assert [(mismatch.key, report.mismatch_count) for mismatch in report.mismatches] == [("k3", 1)]
    assert report.mismatches[0].problem.startswith("refused: ")
    assert (report.entries, report.verified) == (5, 4)


def test_a_unique_index_that_cannot_be_built_is_reported(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("sqlite")
    source.set("k", {"age": 3}, namespace="users")
    source.create_index("users", FieldIndex("age", unique=True))
    destination.set("mine", {"age": 3}, namespace="users")
    report = copy_storage(source, destination)
    assert [(mismatch.key, mismatch.namespace) for mismatch in report.mismatches] == [(None, "users")]


def test_mismatches_are_counted_beyond_those_named(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("memory")
    source.set_many({f"k{n}": n for n in range(50)}, namespace="users")
    destination.set_many({f"k{n}": n for n in range(50)}, namespace="users")
    report = copy_storage(source, destination)
    assert (report.mismatch_count, len(report.mismatches), report.verified) == (50, NAMED_MISMATCHES, 0)


def test_refused_entries_are_counted_once(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("memory")
    source.set_many({f"k{n:02}": {"age": 1} for n in range(50)}, namespace="users")
    destination.create_index("users", FieldIndex("age", unique=True))
    destination.set("mine", {"age": 1}, namespace="users")
    report = copy_storage(source, destination)
    assert (report.mismatch_count, report.verified) == (50, 0)


def test_progress_ends_at_its_total(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("memory")
    fill(source)
    seen: list[tuple[int, int]] = []
    copy_storage(source, destination, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (2 * (BATCH_ENTRIES + 4), 2 * (BATCH_ENTRIES + 4))


def test_without_verification_nothing_is_compared(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("memory")
    fill(source)
    report = copy_storage(source, destination, verify=False)
    assert report.ok
    assert report.verified == 0
    assert everything(destination) == everything(source)


def test_a_destination_that_cannot_be_written_stops_the_copy(open_storage: Open) -> None:
    source, destination = open_storage("memory"), open_storage("sqlite")
    fill(source)
    with destination.transaction(read_only=True) as snapshot, pytest.raises(StorageReadOnly):
        copy_storage(source, snapshot)


ENTRY = Entry("n", "k", 1, {}, 5, 10, 20, None)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (ENTRY, None),
        (None, "missing"),
        (ENTRY._replace(value=1.0), "another value"),
        (ENTRY._replace(value=True), "another value"),
        (ENTRY._replace(value=b"1"), "another value"),
        (ENTRY._replace(version=6, updated_at=21), "another version, updated_at"),
        (ENTRY._replace(created_at=11), "another created_at"),
        (ENTRY._replace(expires_at=30), "another expires_at"),
        (ENTRY._replace(metadata={"a": 1}), "another metadata"),
    ],
)
def test_every_difference_is_seen(found: Entry | None, problem: str | None) -> None:
    assert difference(ENTRY, found, 0) == problem


def test_an_expired_entry_may_be_gone() -> None:
    expiring = ENTRY._replace(expires_at=100)
    assert difference(expiring, None, 99) == "missing"
    assert difference(expiring, None, 100) is None


def test_batches_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying_entries, "BATCH_BYTES", 1000)
    sizes = [400, 400, 400, 5000, 1]
    batches = bounded_batches(ENTRY._replace(value=b"x" * size) for size in sizes)
    assert [len(batch) for batch in batches] == [3, 1, 1]


_keys = st.sampled_from(["a", "b", "\x01", "é", "漢", "\U0001f600", "\uffff", "%", "a/b"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
) | st.binary(max_size=5)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.tuples(st.sampled_from(["x", "x/y", "z"]), _keys), _values, max_size=12))
def test_any_storage_copies_there_and_back(entries: dict[tuple[str, str], Any]) -> None:
    with (
        MemoryStorageBackend() as first,
        SQLiteStorageBackend(":memory:") as second,
        MemoryStorageBackend() as third,
    ):
        for (namespace, key), value in entries.items():
            first.set(key, value, namespace=namespace)
        assert copy_storage(first, second).ok
        assert copy_storage(second, third).ok
        assert everything(third) == everything(second) == everything(first)
