"""Status, check, backup, optimize, close."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from ..contract import CheckReport, Status, StorageBackend
from ..errors import InvalidConfig, StorageClosed, StorageError
from ..indexes import FieldIndex
from .fixtures import ContractCase, OpenStorage


class CareContract(ContractCase):
    """What keeps a storage well."""

    def test_status(self, storage: StorageBackend) -> None:
        storage.set_many({"a": 1, "b": 2})
        storage.set("c", 3, namespace="n")
        status = storage.get_status()
        assert isinstance(status, Status)
        assert status.healthy is True
        assert status.backend == storage.backend_name != ""
        assert (status.entries, status.namespaces) == (3, 2)
        assert status.last_error is None
        assert min(status.size_bytes, status.wal_bytes, status.schema_version) >= 0

    def test_ping_answers_without_a_word_and_changes_nothing(self, storage: StorageBackend) -> None:
        storage.set("ping", 1)
        before = list(storage.scan())
        storage.ping()
        assert list(storage.scan()) == before
        with storage.transaction(read_only=True) as snapshot:
            snapshot.ping()

    def test_what_is_supported(self, storage: StorageBackend) -> None:
        assert storage.supports_transactions
        assert storage.supports_query
        assert storage.supports_metadata

    def test_a_healthy_storage_has_no_problems(self, storage: StorageBackend) -> None:
        storage.create_index("n", FieldIndex("a", unique=True))
        storage.create_index("n", FieldIndex(["a", "$metadata.m"]))
        storage.set_many(((f"{number}", {"a": number}) for number in range(100)), namespace="n", ttl=1000)
        storage.delete("5", namespace="n")
        storage.set_metadata("6", {"m": 1}, namespace="n")
        assert storage.check() == CheckReport(True, [])

    def test_optimize_changes_no_answer(self, storage: StorageBackend) -> None:
        storage.set_many((f"{number}", number) for number in range(100))
        entries = list(storage.scan())
        storage.optimize()
        assert list(storage.scan()) == entries

    def test_backup_writes_a_private_file(self, storage: StorageBackend, tmp_path: Path) -> None:
        storage.set_many(((f"{number}", number) for number in range(3_000)), namespace="n")
        seen: list[tuple[int, int]] = []
        target = tmp_path / "backup"
        storage.backup(target, progress=lambda done, total: seen.append((done, total)))
        assert target.stat().st_size > 3_000
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert seen[-1][0] == seen[-1][1]
        assert seen == sorted(seen)
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("backup")] == ["backup"]

    def test_backup_replaces_only_when_told_to(self, storage: StorageBackend, tmp_path: Path) -> None:
        target = tmp_path / "backup"
        target.write_text("precious")
        with pytest.raises(StorageError):
            storage.backup(target)
        assert target.read_text() == "precious"
        storage.backup(str(target), overwrite=True)
        assert target.read_bytes() != b"precious"
        assert stat.S_IMODE(target.stat().st_mode) == 0o600

    def test_a_backup_that_cannot_be_written(self, storage: StorageBackend, tmp_path: Path) -> None:
        with pytest.raises(StorageError):
            storage.backup(tmp_path / "missing" / "folder" / "backup")

    def test_everything_is_refused_after_close(self, open_storage: OpenStorage, tmp_path: Path) -> None:
        storage = open_storage()
        storage.set_many((f"{number:04}", number) for number in range(3_000))
        scan = storage.scan()
        next(scan)
        watch = storage.watch(timeout=5)
        storage.close()
        storage.close()
        calls: list[Any] = [
            lambda: storage.get("k"),
            lambda: storage.get_entry("k"),
            lambda: storage.has("k"),
            lambda: storage.get_many(["k"]),
            lambda: storage.set("k", 1),
            lambda: storage.set_many({"k": 1}),
            lambda: storage.delete("k"),
            lambda: storage.delete_many(["k"]),
            lambda: storage.restore([]),
            lambda: storage.list(),
            lambda: list(storage.scan()),
            lambda: storage.query(),
            lambda: storage.count(),
            lambda: storage.clear(),
            lambda: storage.get_metadata("k"),
            lambda: storage.set_metadata("k", {}),
            lambda: storage.create_namespace("n"),
            lambda: storage.delete_namespace("n"),
            lambda: storage.list_namespaces(),
            lambda: storage.get_namespace("n"),
            lambda: storage.transaction(),
            lambda: storage.begin_transaction(read_only=True),
            lambda: storage.commit("x"),
            lambda: storage.create_index("n", FieldIndex("a")),
            lambda: storage.drop_index("n", "a"),
            lambda: storage.list_indexes("n"),
            lambda: storage.changes(),
            lambda: storage.watch(),
            lambda: storage.ping(),
            lambda: storage.get_status(),
            lambda: storage.check(),
            lambda: storage.optimize(),
            lambda: storage.backup(tmp_path / "b"),
            lambda: list(scan),
            lambda: list(watch),
        ]
        for call in calls:
            with pytest.raises(StorageClosed):
                call()

    def test_with_closes(self, open_storage: OpenStorage) -> None:
        with open_storage() as storage:
            storage.set("k", 1)
        with pytest.raises(StorageClosed):
            storage.get("k")

    @pytest.mark.parametrize(
        "options",
        [
            {"busyTimout": 1},
            {"BusyTimeout": 1},
            {"busy_timeout": -1},
            {"busy_timeout": "soon"},
            {"transaction_timeout": 0},
            {"sweepInterval": True},
            {"change_retention": 0},
            {"change_retention_age": -5},
        ],
        ids=str,
    )
    def test_bad_options(self, open_storage: OpenStorage, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidConfig):
            open_storage(**options)

    def test_options_in_either_spelling(self, open_storage: OpenStorage) -> None:
        open_storage(busyTimeout=100, transactionTimeout=5.5, sweep_interval=1, changeRetention=5).close()
