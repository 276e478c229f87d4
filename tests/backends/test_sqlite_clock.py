"""Versions and the system's clock."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend

DAY_NS = 86_400 * 10**9


def test_a_clock_set_back_while_the_file_was_closed_gives_no_lower_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "s.db")
    with SQLiteStorageBackend(path) as storage:
        before = storage.set("k", 1)
        assert storage.delete("k")
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - DAY_NS)
    with SQLiteStorageBackend(path) as storage:
        assert storage.set("k", 2) > before


def test_the_processes_of_a_clock_set_back_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "s.db")
    with SQLiteStorageBackend(path) as storage:
        storage.set("other", 1)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - DAY_NS)
    with SQLiteStorageBackend(path) as first:
        version = first.set("k", 1)
        os.utime(path, ns=(time.time_ns(), time.time_ns()))  # as the system would have it
        os.utime(f"{path}-wal", ns=(time.time_ns(), time.time_ns()))
        with SQLiteStorageBackend(path) as second:
            assert first.delete("k")
            assert second.set("k", 2) > version
