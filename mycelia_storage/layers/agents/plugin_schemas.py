"""Plug-ins' own tables beside the agents': numbered migrations for each package, with a journal and a guard.

    schemas = PluginSchemas(storage)
    schemas.register("@your-org/plugin-name", "schema/")     # schema/sqlite/0001_first.up.sql, schema/postgres/...
    schemas.run()
    schemas.status("@your-org/plugin-name")

A package's tables begin with its schema name, ``your_org_plugin_name``; two packages with one schema name are refused,
not mixed. Each migration and its row in the journal, with a snapshot of the tables as they are then, share one
transaction, and of several processes one applies it. A migration that destroys data needs ``force``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...contract import StorageBackend
from ...errors import InvalidInput, MigrationError, StorageError
from ...migrations import Migration, Migrator, check_component, derive_schema_name, load_migrations
from ...sql_guard import destructive_statement

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


class PluginStatus(NamedTuple):
    """Where a package stands."""

    has_run: bool
    last_migration: dict[str, Any] | None
    """``version``, ``name``, ``hash`` and ``createdAt`` (milliseconds) of the newest one applied."""
    journal: list[dict[str, Any]]
    snapshots: int


class DataLossCheck(NamedTuple):
    """What the pending migrations of a package would do."""

    has_data_loss: bool
    pending: list[int]
    destructive: dict[int, str]
    """By version the first words of a statement that loses data."""


class PluginSchemas:
    """The registered packages of one storage."""

    def __init__(self, storage: StorageBackend) -> None:
        self._storage = storage
        self._registered: dict[str, tuple[str, list[Migration]]] = {}
        self._turn = threading.Lock()

    def register(self, package: str, source: str | Path | Traversable | Iterable[Migration]) -> str:
        """Take a package's migrations from a folder, which has one folder for each dialect, or as they are; its schema
        name. Raises MigrationError for a name that another package has or that is reserved, or a bad folder.
        """
        name = check_component(derive_schema_name(package))
        for other, (taken, _) in self._registered.items():
            if taken == name and other != package:
                raise MigrationError(f"packages {other!r} and {package!r} have one schema name, {name!r}")
        self._registered[package] = (name, self._read(name, source))
        return name

    def _read(self, name: str, source: Any) -> list[Migration]:
        dialect = self._storage.sql_dialect
        if dialect is None:
            raise MigrationError(f"the {self._storage.backend_name} backend has no SQL schema for plug-ins")
        if isinstance(source, str | Path):
            return load_migrations(Path(source) / dialect, name)
        if hasattr(source, "joinpath"):
            return load_migrations(source.joinpath(dialect), name)
        found = list(source)
        if any(not isinstance(each, Migration) or each.component != name for each in found):
            raise InvalidInput(f"the migrations of this package are Migrations of the component {name!r}")
        return found

    def run(self, *, force: bool = False, dry_run: bool = False) -> dict[str, list[int]]:
        """Apply what is pending of every package, and of the others if one fails; the versions applied by package.

        ``force`` allows what destroys data; ``dry_run`` changes nothing and says what would be applied. Raises
        MigrationError naming every package that failed, with the first failure as its cause.
        """
        done: dict[str, list[int]] = {}
        failed: dict[str, StorageError] = {}
        with self._turn:
            for package in self._registered:
                try:
                    with self._migrator(package) as migrator:
                        done[package] = migrator.up(dry_run=dry_run, allow_destructive=force)
                except StorageError as error:
                    failed[package] = error
        if failed:
            told = "; ".join(f"{package}: {error}" for package, error in failed.items())
            raise MigrationError(f"{len(failed)} plug-in schema(s) failed: {told}") from next(iter(failed.values()))
        return done

    def down(self, package: str, to: int, *, force: bool = False) -> list[int]:
        """Revert a package's migrations above ``to``; the versions reverted. Dropping tables needs ``force``."""
        with self._turn, self._migrator(package) as migrator:
            return migrator.down(to, allow_destructive=force)

    def check(self, package: str) -> DataLossCheck | None:
        """What running the package's pending migrations would do; None if none is pending."""
        with self._migrator(package) as migrator:
            pending = migrator.up(dry_run=True, allow_destructive=True)
            by_version = {migration.version: migration for migration in migrator.migrations}
        if not pending:
            return None
        found = {version: destructive_statement(by_version[version].up) for version in pending}
        destructive = {version: words for version, words in found.items() if words is not None}
        return DataLossCheck(bool(destructive), pending, destructive)

    def status(self, package: str) -> PluginStatus:
        """Where a package stands. Writes nothing."""
        with self._migrator(package) as migrator:
            rows = migrator.target.read_journal(migrator.component)
        journal = [
            {"version": row.version, "name": row.name, "hash": row.checksum, "createdAt": row.applied_at}
            for row in rows
        ]
        snapshots = sum(row.snapshot is not None for row in rows)
        return PluginStatus(bool(rows), journal[-1] if journal else None, journal, snapshots)

    def snapshot(self, package: str) -> list[str]:
        """The definitions of the package's tables as its newest migration left them."""
        with self._migrator(package) as migrator:
            rows = migrator.target.read_journal(migrator.component)
        found: list[str] = json.loads(rows[-1].snapshot or "[]") if rows else []
        return found

    def reset(self, package: str) -> int:
        """Forget what was applied; how many rows of the journal went. The tables stay."""
        with self._turn, self._migrator(package) as migrator, migrator.target.transaction():
            rows = migrator.target.read_journal(migrator.component)
            for row in rows:
                migrator.target.delete_row(migrator.component, row.version)
            return len(rows)

    @contextmanager
    def _migrator(self, package: str) -> Iterator[Migrator]:
        if package not in self._registered:
            raise InvalidInput(f"package {package!r} is not registered")
        name, migrations = self._registered[package]
        with self._storage.component_migrator(name, migrations) as migrator:
            yield migrator


def run_plugin_migrations(
    storage: StorageBackend,
    plugins: Mapping[str, str | Path | Traversable | Iterable[Migration]],
    *,
    force: bool = False,
    dry_run: bool = False,
) -> dict[str, list[int]]:
    """Register the packages and run what is pending; see :class:`PluginSchemas`."""
    schemas = PluginSchemas(storage)
    for package, source in plugins.items():
        schemas.register(package, source)
    return schemas.run(force=force, dry_run=dry_run)
