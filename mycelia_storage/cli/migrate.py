"""``migrate``: status, up, down: the schema of a database file or of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from ..config import read_config
from ..errors import InvalidConfig
from ..migrations import MigrationStatus, Migrator, check_component, derive_schema_name, load_migrations
from .opening import db_option, file_of, json_option, require_file
from .output import note, print_json, print_table, time_text, wants_json

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Component(NamedTuple):
    """Whose migrations a command is about: those of a plug-in, in a folder with one folder for each dialect."""

    name: str
    folder: Path


def component_options(command: _Command) -> _Command:
    """Add the options that name a plug-in's migrations instead of the library's own."""
    command = click.option(
        "--migrations",
        "folder",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="With --component: its migrations, FOLDER/sqlite/0001_name.up.sql and so on.",
    )(command)
    return click.option("--component", metavar="NAME", help="The package whose schema it is, e.g. @your-org/plugin.")(
        command
    )


def component_of(component: str | None, folder: Path | None) -> Component | None:
    """The plug-in that those options name, None for the library itself."""
    if (component is None) != (folder is None):
        raise click.UsageError("--component and --migrations go together")
    return (
        None
        if component is None or folder is None
        else Component(check_component(derive_schema_name(component)), folder)
    )


@click.group("migrate")
def migrate_command() -> None:
    """Show and change the version of a database's schema.

    Opening a database to write brings it up to date by itself; commands that only read refuse an older one.
    """


@migrate_command.command("status")
@db_option
@json_option
@component_options
def migrate_status(db: str, as_json: bool, component: str | None, folder: Path | None) -> None:
    """List the migrations and which of them are applied. Changes nothing.

    Without --component the library's own come first, then what the database's journal has of other components. Those
    are "recorded": whether their files were edited, or have newer ones, only --component and --migrations can tell.
    """
    chosen = component_of(component, folder)
    with _migrator(db, chosen, read_only=True) as migrator:
        lines = migrator.status()
        if chosen is None:
            lines += migrator.status_of_others()
    if wants_json(as_json):
        for line in lines:
            print_json(line._asdict())
        return
    print_table(["component", "version", "name", "state", "applied"], [_row(line) for line in lines])
    if any(line.state == "recorded" for line in lines):
        note("recorded: what the journal says; --component and --migrations compare it with the component's files.")


def _row(line: MigrationStatus) -> tuple[str, int, str, str, str]:
    at = "" if line.applied_at is None else time_text(line.applied_at)
    return line.component, line.version, line.name or "", line.state, at


@migrate_command.command("up")
@db_option
@click.option("--to", type=int, metavar="N", help="Stop at this version instead of the newest.")
@click.option("--dry-run", is_flag=True, help="Say what would be applied and change nothing.")
@json_option
@component_options
@click.option("--allow-destructive", is_flag=True, help="Let a component's script drop what holds data.")
def migrate_up(
    db: str,
    to: int | None,
    dry_run: bool,
    as_json: bool,
    component: str | None,
    folder: Path | None,
    allow_destructive: bool,
) -> None:
    """Apply the pending migrations."""
    with _migrator(db, component_of(component, folder), read_only=dry_run) as migrator:
        steps = migrator.up(to, dry_run=dry_run, allow_destructive=allow_destructive)
    _print_steps("Would apply" if dry_run else "Applied", steps, as_json)


@migrate_command.command("down")
@db_option
@click.option("--to", type=int, required=True, metavar="N", help="The version to go back to.")
@click.option("--dry-run", is_flag=True, help="Say what would be undone and change nothing.")
@json_option
@component_options
@click.option("--allow-destructive", is_flag=True, help="Let a component's script drop what holds data.")
def migrate_down(
    db: str,
    to: int,
    dry_run: bool,
    as_json: bool,
    component: str | None,
    folder: Path | None,
    allow_destructive: bool,
) -> None:
    """Undo the migrations above version N, newest first. What only they can hold is lost: back up first.

    Version 0 has no tables: to go back to it, all entries lost, the library too needs --allow-destructive.
    """
    if component is None and to == 0 and not (dry_run or allow_destructive):
        require_file(db)
        raise InvalidConfig("version 0 holds nothing, all entries would be lost: --allow-destructive does it")
    with _migrator(db, component_of(component, folder), read_only=dry_run) as migrator:
        steps = migrator.down(to, dry_run=dry_run, allow_destructive=allow_destructive)
    _print_steps("Would undo" if dry_run else "Undid", steps, as_json)


def _print_steps(verb: str, versions: list[int], as_json: bool) -> None:
    if as_json:
        print_json(versions)
    else:
        note(f"{verb} {', '.join(map(str, versions))}." if versions else "Nothing to do.")


@contextmanager
def _migrator(db: str, component: Component | None, *, read_only: bool) -> Iterator[Migrator]:
    """The migrations of the library or of a component on a database that exists, opened without migrating it."""
    name, options = read_config(db)
    if name == "postgres":
        from ..backends.postgres.opening import open_migrator

        with open_migrator(options) as migrator:
            yield _of(component, migrator, "postgres")
        return
    file = file_of(db)
    if file is None:
        raise InvalidConfig("only a SQLite file and a PostgreSQL database have migrations")
    require_file(db)
    from ..backends.sqlite.connections import open_connection
    from ..backends.sqlite.journal import migrator_of
    from ..backends.sqlite.settings import SQLiteSettings

    settings = SQLiteSettings.read(file, {"read_only": read_only})
    connection = open_connection(settings.db_path, settings, query_only=read_only)
    try:
        yield _of(component, migrator_of(connection), "sqlite")
    finally:
        connection.close()


def _of(component: Component | None, own: Migrator, dialect: str) -> Migrator:
    if component is None:
        return own
    found = load_migrations(component.folder / dialect, component.name)
    return Migrator(own.target, found, component.name)
