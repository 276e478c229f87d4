"""Migrations: numbered SQL files, applied once each and in order, with a journal of what ran.

A migration is ``NNNN_name.up.sql`` and, if it can be undone, ``NNNN_name.down.sql``. Versions count from 1 without a
gap. The library's own are in ``schema/<dialect>/`` and form the component ``core``; a layer or plug-in brings its own
under its own component name (:func:`derive_schema_name`) with a version line of its own. Its tables should begin with
that name: this is what its snapshots show.

============  =======================================================================================
what holds    how
============  =======================================================================================
all or none   a migration and its journal row share one transaction
once          the journal is read again under the write lock, so of several starters one applies it
unchanged     the journal keeps a checksum of the up script; an edited one stops ``up`` and ``down``
no surprise   a component's destructive script (:mod:`.sql_guard`) needs ``allow_destructive=True``
not ahead     a journal with a version that nobody here knows raises SchemaTooNew before any write
============  =======================================================================================

Nothing here knows a driver: each SQL backend implements :class:`MigrationTarget`.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from .errors import (
    CommitUnknown,
    ForeignDatabase,
    InvalidInput,
    MigrationError,
    SchemaTooNew,
    StorageBusy,
    StorageClosed,
    StorageCorrupt,
    StorageFull,
    StorageReadOnly,
)
from .sql_guard import destructive_statement, transaction_statement

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

CORE: Final = "core"

State = Literal["applied", "pending", "edited", "unknown", "recorded"]

#: Components that no plug-in can be.
_OWN: Final = frozenset({CORE, "storage", "schema_version", "sqlite", "pg_catalog", "information_schema", "public"})

_FILE_NAME: Final = re.compile(r"(\d{4})_([A-Za-z0-9_]+)\.(up|down)\.sql")
_COMPONENT: Final = re.compile(r"[a-z_][a-z0-9_]*")

# What stands in the way from outside; everything else that fails is the migration's own failure.
_NOT_THE_SCRIPT: Final = (
    CommitUnknown,
    ForeignDatabase,
    MigrationError,
    SchemaTooNew,
    StorageBusy,
    StorageClosed,
    StorageCorrupt,
    StorageFull,
    StorageReadOnly,
)


@dataclass(frozen=True)
class Migration:
    """One step of a component's schema. ``down`` is None for a step that cannot be undone."""

    component: str
    version: int
    name: str
    up: str
    down: str | None = None

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the up script in hex, line ends normalised. A repaired down script changes nothing applied."""
        return hashlib.sha256("\n".join(self.up.splitlines()).encode()).hexdigest()

    def __str__(self) -> str:
        return f"migration {self.version:04d}_{self.name} of {self.component}"


class JournalRow(NamedTuple):
    """One applied migration."""

    version: int
    name: str | None
    checksum: str | None
    """None for a step that was applied by someone else (an adopted file): it never counts as edited."""
    applied_at: int
    """UTC milliseconds."""
    snapshot: str | None = None
    """JSON list of the component's CREATE statements after the step."""


class MigrationStatus(NamedTuple):
    """Where one migration stands.

    ``unknown``: in the journal, but in no file here. ``recorded``: in the journal, of a component whose files were not
    looked at, so that it may have been edited since, and others be pending.
    """

    component: str
    version: int
    name: str | None
    applied_at: int | None
    state: State


class MigrationTarget(Protocol):
    """What a SQL backend offers to :class:`Migrator`: one connection and the journal table on it.

    Errors are the library's own (``StorageBusy``, ...) or the driver's; the Migrator keeps either as the cause.
    """

    def transaction(self) -> AbstractContextManager[None]:
        """A write transaction that holds the write lock from its start: commits at the end, rolls back on an error."""

    def read_journal(self, component: str) -> list[JournalRow]:
        """The component's rows by version. Never writes; a database without a journal has none."""

    def components(self) -> list[str]:
        """The components that have rows in the journal, in order. Never writes."""

    def ensure_journal(self) -> None:
        """Create or convert the journal table, inside :meth:`transaction`; no write where nothing is to do."""

    def insert_row(self, component: str, row: JournalRow) -> None:
        """Add a row, inside :meth:`transaction`."""

    def delete_row(self, component: str, version: int) -> None:
        """Remove a row, inside :meth:`transaction`."""

    def run_script(self, sql: str) -> None:
        """Run every statement of a script, inside :meth:`transaction`."""

    def table_definitions(self, component: str) -> list[str]:
        """The CREATE statements of the component's tables and indexes, in a stable order."""


class Migrator:
    """Applies and reverts the migrations of one component on one target. One object serves one thread."""

    def __init__(self, target: MigrationTarget, migrations: Iterable[Migration], component: str = CORE) -> None:
        """Raises MigrationError for a gap, a duplicate or another component's migration; nothing is read yet."""
        if not _COMPONENT.fullmatch(component):
            raise InvalidInput(f"component {component!r} is not a schema name; see derive_schema_name")
        self.target = target
        self.component = component
        self.migrations = _in_order(migrations, component)

    @property
    def newest(self) -> int:
        """The newest version known here, 0 if there are no migrations."""
        return len(self.migrations)

    def version(self) -> int:
        """The version that the database is at, 0 for none."""
        return max((row.version for row in self.target.read_journal(self.component)), default=0)

    def status(self) -> list[MigrationStatus]:
        """Every migration known here or there, by version. Writes nothing and raises for none of the states."""
        applied = {row.version: row for row in self.target.read_journal(self.component)}
        report = []
        for migration in self.migrations:
            row = applied.pop(migration.version, None)
            state: State = "pending" if row is None else "edited" if _is_edited(migration, row) else "applied"
            at = None if row is None else row.applied_at
            report.append(MigrationStatus(self.component, migration.version, migration.name, at, state))
        for row in applied.values():
            report.append(MigrationStatus(self.component, row.version, row.name, row.applied_at, "unknown"))
        return sorted(report, key=lambda line: line.version)

    def status_of_others(self) -> list[MigrationStatus]:
        """What the journal has of all other components, by component and version, ``recorded``. Writes nothing."""
        return [
            MigrationStatus(component, row.version, row.name, row.applied_at, "recorded")
            for component in self.target.components()
            if component != self.component
            for row in self.target.read_journal(component)
        ]

    def up(self, to: int | None = None, *, dry_run: bool = False, allow_destructive: bool = False) -> list[int]:
        """Apply what is pending, through version ``to`` (default: everything), each in a transaction of its own.

        Returns the versions applied by this call, or with ``dry_run`` those that would be; a concurrent starter may
        have applied some of them meanwhile. A failed one leaves the versions before it applied. Raises MigrationError,
        SchemaTooNew, StorageBusy, and InvalidInput for a ``to`` that is no known version.
        """
        last = self.newest if to is None else self._known_version(to)
        current = self._checked_version()
        pending = self.migrations[current:last]
        for migration in pending:
            self._guard(migration, migration.up, allow_destructive)
        if dry_run:
            return [migration.version for migration in pending]
        return [migration.version for migration in pending if self._apply(migration)]

    def down(self, to: int, *, dry_run: bool = False, allow_destructive: bool = False) -> list[int]:
        """Revert the versions above ``to``, newest first, each in a transaction of its own; returns them in that order.

        Raises MigrationError if one of them has no down script, before any is reverted; otherwise as :meth:`up`.
        """
        self._known_version(to)
        current = self._checked_version()
        applied = self.migrations[to:current][::-1]
        for migration in applied:
            if migration.down is None:
                raise MigrationError(f"{migration} cannot be undone: it has no down script")
            self._guard(migration, migration.down, allow_destructive)
        if dry_run:
            return [migration.version for migration in applied]
        return [migration.version for migration in applied if self._revert(migration)]

    def _apply(self, migration: Migration) -> bool:
        try:
            with self.target.transaction():
                if self._checked_version() >= migration.version:
                    return False
                self.target.ensure_journal()
                self.target.run_script(migration.up)
                snapshot = json.dumps(self.target.table_definitions(self.component))
                now = time.time_ns() // 1_000_000
                row = JournalRow(migration.version, migration.name, migration.checksum, now, snapshot)
                self.target.insert_row(self.component, row)
                return True
        except _NOT_THE_SCRIPT:
            raise
        except Exception as error:
            raise MigrationError(f"{migration} failed and was rolled back: {error}") from error

    def _revert(self, migration: Migration) -> bool:
        try:
            with self.target.transaction():
                current = self._checked_version()
                if current < migration.version:
                    return False
                if current > migration.version:
                    raise MigrationError(f"{migration} is no longer the newest: another process migrated up meanwhile")
                self.target.ensure_journal()
                self.target.run_script(migration.down or "")
                self.target.delete_row(self.component, migration.version)
                return True
        except _NOT_THE_SCRIPT:
            raise
        except Exception as error:
            raise MigrationError(f"undoing {migration} failed and was rolled back: {error}") from error

    def _checked_version(self) -> int:
        rows = self.target.read_journal(self.component)
        current = max((row.version for row in rows), default=0)
        if current > self.newest:
            raise SchemaTooNew(
                f"the database's schema of {self.component} is version {current}; this library knows {self.newest}"
            )
        if [row.version for row in rows] != list(range(1, current + 1)):
            raise MigrationError(f"the journal of {self.component} lacks versions below {current}")
        for migration, row in zip(self.migrations, rows, strict=False):
            if _is_edited(migration, row):
                raise MigrationError(f"{migration} was edited after it was applied; add a new migration instead")
        return current

    def _known_version(self, to: int) -> int:
        if not isinstance(to, int) or isinstance(to, bool) or not 0 <= to <= self.newest:
            raise InvalidInput(f"there is no version {to!r} of {self.component}: known are 0 to {self.newest}")
        return to

    def _guard(self, migration: Migration, script: str, allow_destructive: bool) -> None:
        statement = transaction_statement(script)
        if statement is not None:
            raise MigrationError(f"{migration} controls transactions itself ({statement}); each has one already")
        if self.component == CORE or allow_destructive:
            return
        statement = destructive_statement(script)
        if statement is not None:
            raise MigrationError(
                f"{migration} destroys data ({statement}); allow_destructive=True runs it all the same"
            )


def core_migrations(dialect: str) -> list[Migration]:
    """The library's own migrations for ``sqlite`` or ``postgres``, by version."""
    return load_migrations(core_folder(dialect))


def core_folder(dialect: str) -> Traversable:
    """Where they are: package data of an installed wheel, ``schema/`` beside the package in a checkout."""
    from importlib.resources import files  # opening an up-to-date database needs neither

    packaged = files("mycelia_storage") / "schema" / dialect
    checkout = Path(__file__).resolve().parent.parent / "schema" / dialect
    for folder in (packaged, checkout):
        if folder.is_dir():
            return folder
    raise MigrationError(f"the migrations for {dialect!r} are missing from this installation")


def load_migrations(folder: str | Path | Traversable, component: str = CORE) -> list[Migration]:
    """The migrations in a folder or ``importlib.resources`` path, by version. Files that are not ``.sql`` are ignored.

    Raises MigrationError for a ``.sql`` file with another name, a gap, a duplicate, a missing up script, or text that
    is not UTF-8.
    """
    place: Traversable = Path(folder) if isinstance(folder, str) else folder
    scripts: dict[tuple[int, str], dict[str, str]] = {}
    try:
        found = sorted((item for item in place.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
        for item in found:
            shape = _FILE_NAME.fullmatch(item.name)
            if shape is None:
                raise MigrationError(f"{item.name!r} is not named NNNN_name.up.sql or NNNN_name.down.sql")
            number, name, direction = shape.groups()
            scripts.setdefault((int(number), name), {})[direction] = item.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationError(f"the migrations in {str(folder)!r} cannot be read: {error}") from error
    migrations = []
    for (version, name), texts in scripts.items():
        if "up" not in texts:
            raise MigrationError(f"{version:04d}_{name} has no up script")
        migrations.append(Migration(component, version, name, texts["up"], texts.get("down")))
    return _in_order(migrations, component)


def derive_schema_name(package: str) -> str:
    """The component name of a plug-in from its package name. Raises InvalidInput where nothing is left of it.

    >>> derive_schema_name("@your-org/plugin-name")
    'your_org_plugin_name'
    """
    if not isinstance(package, str):
        raise InvalidInput(f"a package name is a string, not {type(package).__name__}")
    name = re.sub(r"[^a-z0-9]+", "_", package.lower()).strip("_")
    if not name:
        raise InvalidInput(f"no schema name can be made of {package!r}: it has no ASCII letter or digit")
    return "_" + name if name[0].isdigit() else name


def check_component(component: str) -> str:
    """A plug-in's component name as it is. Raises MigrationError for the library's own, and for what its tables
    begin with: another's migrations under it would pass for the library's.
    """
    if component in _OWN or component.startswith("storage_"):
        raise MigrationError(f"the component name {component!r} is reserved")
    return component


def _in_order(migrations: Iterable[Migration], component: str) -> list[Migration]:
    ordered = sorted(migrations, key=lambda migration: migration.version)
    for expected, migration in enumerate(ordered, start=1):
        if migration.component != component:
            raise MigrationError(f"{migration} is not a migration of {component}")
        if migration.version < 1:
            raise MigrationError(f"{migration}: versions count from 1")
        if migration.version < expected:
            raise MigrationError(f"{component} has two migrations with version {migration.version}")
        if migration.version > expected:
            raise MigrationError(f"{component} has no migration with version {expected}, but has {migration.version}")
    return ordered


def _is_edited(migration: Migration, row: JournalRow) -> bool:
    return row.checksum is not None and row.checksum != migration.checksum
