"""Operations in a log: what is said, at which level, and what is never said."""

from __future__ import annotations

import logging
import time

import pytest

from mycelia_storage import MemoryStorageBackend, SQLiteStorageBackend, logged
from mycelia_storage.errors import InvalidInput, KeyExists, StorageBusy

NAME = "mycelia_storage.operations"


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str | None, str, int | None]]:
    return [
        (r.levelname, r.storage_operation, r.storage_namespace, r.storage_outcome, r.storage_rows)  # type: ignore[attr-defined]
        for r in caplog.records
        if r.name == NAME
    ]


def test_every_operation_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger=NAME)
    with logged(MemoryStorageBackend()) as storage:
        storage.set("k", 1, namespace="users")
        with pytest.raises(KeyExists):
            storage.set("k", 1, namespace="users", overwrite=False)
        with storage.transaction() as tx:
            tx.delete("k", namespace="users")
        list(storage.scan(namespace="users"))
    assert lines(caplog) == [
        ("DEBUG", "set", "users", "ok", 1),
        ("DEBUG", "set", "users", "KeyExists", None),
        ("DEBUG", "transaction", None, "ok", None),
        ("DEBUG", "delete", "users", "ok", 1),
        ("DEBUG", "commit", None, "ok", None),
        ("DEBUG", "scan", "users", "ok", 0),
        ("DEBUG", "close", None, "ok", None),
    ]
    message = caplog.records[3].getMessage()
    assert message.startswith("delete namespace='users' ")
    assert message.endswith(f" ms ok rows=1 transaction={tx.id}")


def test_values_are_never_logged_and_keys_only_if_asked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger=NAME)
    for keys in (False, True):
        with logged(MemoryStorageBackend(), keys=keys) as storage:
            storage.set("the key", "the value", metadata={"the": "metadata"})
            with pytest.raises(KeyExists):
                storage.set("the key", "the value", overwrite=False)
        text = caplog.text + repr([vars(record) for record in caplog.records])
        assert "the value" not in text
        assert "metadata" not in text
        assert ("the key" in text) is keys
        caplog.clear()


def test_slow_operations_are_warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.5, 1.0, 1.1])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    storage = logged(MemoryStorageBackend(), slow=0.2)
    storage.get("a")
    storage.get("b")
    monkeypatch.undo()
    storage.close()
    assert lines(caplog) == [("WARNING", "get", "default", "ok", None)]
    assert caplog.records[0].getMessage() == "get namespace='default' 500.000 ms ok slow"
    for bad in (-1, float("nan")):
        with pytest.raises(InvalidInput):
            logged(storage, slow=bad)


def test_only_the_storages_own_time_counts_in_a_scan(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = logged(MemoryStorageBackend(), level=logging.WARNING)
    storage.set("k", 1)
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    for _ in storage.scan():
        now += 10
    monkeypatch.undo()
    storage.close()
    (scan,) = [record for record in caplog.records if record.storage_operation == "scan"]  # type: ignore[attr-defined]
    assert scan.storage_duration == 0  # type: ignore[attr-defined]


def test_trouble_is_a_warning(caplog: pytest.LogCaptureFixture, tmp_path) -> None:
    path = str(tmp_path / "a.db")
    with (
        SQLiteStorageBackend(path) as other,
        logged(SQLiteStorageBackend(path, busy_timeout=10)) as storage,
        other.transaction(),
        pytest.raises(StorageBusy),
    ):
        storage.set("k", 1)
    assert lines(caplog) == [("WARNING", "set", "default", "StorageBusy", None)]


def test_another_logger_and_level(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("mine")
    caplog.set_level(logging.INFO, logger="mine")
    with logged(MemoryStorageBackend(), logger=logger, level=logging.INFO) as storage:
        storage.has("k")
    assert [(record.name, record.levelname) for record in caplog.records] == [("mine", "INFO")] * 2
