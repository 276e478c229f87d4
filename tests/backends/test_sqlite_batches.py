"""Batches in a transaction of SQLite: whole or not at all, with a savepoint and where they do without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend, set_rows, statements, writing
from mycelia_storage.errors import BatchError, InvalidValue, StorageError, TransactionError, UniqueViolation
from mycelia_storage.indexes import FieldIndex


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SQLiteStorageBackend]:
    with SQLiteStorageBackend({"dbPath": str(tmp_path / "s.db")}) as opened:
        opened.set_many({"old": 0, "kept": 1})
        yield opened


@pytest.fixture(params=[1, 3, 1_000], ids=["a row a chunk", "chunks of three", "one chunk"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_rows, "_CHUNK_ITEMS", request.param)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_bad_item_undoes_its_batch_alone(storage: SQLiteStorageBackend, place: int, indexed: bool) -> None:
    if indexed:
        storage.create_index("default", FieldIndex("mail", unique=True))
    items: list[tuple[str, Any]] = [(f"k{number}", {"n": number}) for number in range(9)]
    items.insert(place, ("bad", {1}))
    with storage.transaction() as tx:
        tx.set("before", 1)
        with pytest.raises(BatchError) as caught:
            tx.set_many([("old", "changed"), *items])
        assert list(caught.value.errors) == [("default", "bad")]
        assert isinstance(caught.value.errors["default", "bad"], InvalidValue)
        assert tx.list() == ["before", "kept", "old"]
        assert tx.set_many(items, atomic=False).written == 9
        tx.set("after", 1)
    assert storage.list() == ["after", "before", *(f"k{number}" for number in range(9)), "kept", "old"]
    assert storage.get("old") == 0


@pytest.mark.usefixtures("chunks")
def test_every_bad_key_is_named_though_one_was_found_before_anything_was_written(storage: SQLiteStorageBackend) -> None:
    storage.create_index("default", FieldIndex("mail", unique=True))
    storage.set("old", {"mail": "x"})
    with storage.transaction() as tx, pytest.raises(BatchError) as caught:
        tx.set_many([("nan", float("nan")), ("new", {"mail": "x"})])
    assert {key: type(error) for (_, key), error in caught.value.errors.items()} == {
        "nan": InvalidValue,
        "new": UniqueViolation,
    }


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("nested", [False, True])
def test_what_fails_midway_leaves_nothing_of_the_batch(
    storage: SQLiteStorageBackend, monkeypatch: pytest.MonkeyPatch, nested: bool
) -> None:
    real = writing.EntryWriter._set_rows
    calls = 0

    def fail(writer: writing.EntryWriter, rows: list[Any], alike: bool) -> None:
        nonlocal calls
        calls += 1
        real(writer, rows, alike)
        if rows[-1][1] == "k8":
            raise apsw.FullError("database or disk is full")

    tx = storage.begin_transaction()
    inner = tx.begin_transaction() if nested else tx
    inner.set("before", 1)
    monkeypatch.setattr(writing.EntryWriter, "_set_rows", fail)
    with pytest.raises(StorageError):
        inner.set_many((f"k{number}", number) for number in range(9))
    monkeypatch.undo()
    assert calls
    # The transaction goes on without the batch, or it has ended: nobody can commit a part of it.
    if tx.is_active:
        assert inner.list() == ["before", "kept", "old"]
        tx.rollback()
    else:
        for ended in (inner, tx):
            with pytest.raises(TransactionError):
                ended.set("k", 1)
        with pytest.raises(TransactionError):
            tx.commit()
    assert storage.list() == ["kept", "old"]
    storage.set("later", 1)


def test_an_interrupt_in_a_batch_leaves_nothing_of_it(
    storage: SQLiteStorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = writing.EntryWriter._set_rows

    def interrupt(writer: writing.EntryWriter, rows: list[Any], alike: bool) -> None:
        real(writer, rows, alike)
        raise KeyboardInterrupt

    tx = storage.begin_transaction()
    tx.set("before", 1)
    monkeypatch.setattr(writing.EntryWriter, "_set_rows", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tx.set_many({"a": 1, "b": 2})
    monkeypatch.undo()
    with pytest.raises(TransactionError):
        tx.commit()
    assert storage.list() == ["kept", "old"]


def test_rows_beyond_a_statement_are_all_written(storage: SQLiteStorageBackend) -> None:
    for count in (1, statements.ROWS_A_STATEMENT, 2 * statements.ROWS_A_STATEMENT + 1):
        assert storage.set_many([(f"r{number}", number) for number in range(count)]).written == count
        assert storage.count() == count + 2


def test_items_may_be_drawn_from_the_transaction_that_stores_them(storage: SQLiteStorageBackend) -> None:
    with storage.transaction() as tx:

        def items() -> Iterator[tuple[str, Any]]:
            tx.set_many({"drawn": 1})
            for entry in list(tx.scan()):
                yield f"copy of {entry.key}", entry.value

        assert tx.set_many(items()).written == 3
    assert storage.list() == ["copy of drawn", "copy of kept", "copy of old", "drawn", "kept", "old"]
