"""``migrate``: status, up, down: the schema of a database file or of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..config import read_config
from ..errors import InvalidConfig
from .opening import db_option, file_of, json_option, require_file
from .output import note, print_json, print_table, time_text, wants_json

if TYPE_CHECKING:
    from ..migrations import Migrator


@click.group("migrate")
def migrate_command() -> None:
    """Show and change the version of a database's schema.

    Opening a database to write brings it up to date by itself; commands that only read refuse an older one.
    """


@migrate_command.command("status")
@db_option
@json_option
def migrate_status(db: str, as_json: bool) -> None:
    """List the migrations and which of them are applied. Changes nothing."""
    with _migrator(db, read_only=True) as migrator:
        lines = migrator.status()
    if wants_json(as_json):
        for line in lines:
            print_json(line._asdict())
        return
    rows = [
        (line.version, line.name or "", line.state, "" if line.applied_at is None else time_text(line.applied_at))
        for line in lines
    ]
    print_table(["version", "name", "state", "applied"], rows)


@migrate_command.command("up")
@db_option
@click.option("--to", type=int, metavar="N", help="Stop at this version instead of the newest.")
@click.option("--dry-run", is_flag=True, help="Say what would be applied and change nothing.")
@json_option
def migrate_up(db: str, to: int | None, dry_run: bool, as_json: bool) -> None:
    """Apply the pending migrations."""
    with _migrator(db, read_only=dry_run) as migrator:
        _print_steps("Would apply" if dry_run else "Applied", migrator.up(to, dry_run=dry_run), as_json)


@migrate_command.command("down")
@db_option
@click.option("--to", type=int, required=True, metavar="N", help="The version to go back to.")
@click.option("--dry-run", is_flag=True, help="Say what would be undone and change nothing.")
@json_option
def migrate_down(db: str, to: int, dry_run: bool, as_json: bool) -> None:
    """Undo the migrations above version N, newest first. What only they can hold is lost: back up first."""
    with _migrator(db, read_only=dry_run) as migrator:
        _print_steps("Would undo" if dry_run else "Undid", migrator.down(to, dry_run=dry_run), as_json)


def _print_steps(verb: str, versions: list[int], as_json: bool) -> None:
    if as_json:
        print_json(versions)
    else:
        note(f"{verb} {', '.join(map(str, versions))}." if versions else "Nothing to do.")


@contextmanager
def _migrator(db: str, *, read_only: bool) -> Iterator[Migrator]:
    """The library's own migrations on a database that exists, opened without migrating it."""
    name, options = read_config(db)
    if name == "postgres":
        from ..backends.postgres.opening import open_migrator

        with open_migrator(options) as migrator:
            yield migrator
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
        yield migrator_of(connection)
    finally:
        connection.close()
