"""``status``, ``check`` and ``backup``: looking after a storage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..config import read_config
from ..contract import Status
from ..errors import InvalidInput, StorageError
from .opening import LONG_TRANSACTION, db_option, json_option, open_to_read
from .output import json_text, note, print_json, print_table, visible, wants_json


@click.command("status")
@db_option
@click.option("--ping", is_flag=True, help="Only read once, counting nothing: for probes of large storages.")
@json_option
@click.pass_context
def status_command(ctx: click.Context, db: str, ping: bool, as_json: bool) -> None:
    """Show health, number of entries and sizes; exit 1 if it is not healthy or cannot be opened.

    For a program there is one JSON object in either case, with "healthy" and "last_error".
    """
    try:
        with open_to_read(db) as storage:
            if ping:
                storage.ping()
                status = Status(True, storage.backend_name, 0, 0, 0, 0, 0, None, {})
            else:
                status = storage.get_status()
    except InvalidInput:
        raise
    except StorageError as error:
        if wants_json(as_json):
            print_json(_shown(Status(False, read_config(db)[0], 0, 0, 0, 0, 0, str(error), {}), short=True))
        raise
    if ping and not wants_json(as_json):
        note(f"The {status.backend} storage answers.")
    elif wants_json(as_json):
        print_json(_shown(status, short=ping))
    else:
        rows = []
        for name, value in status._asdict().items():
            rows.append((name, value if isinstance(value, str) else json_text(value)))
        print_table(["", ""], rows)
    if not status.healthy:
        ctx.exit(1)


def _shown(status: Status, *, short: bool) -> dict[str, Any]:
    """The status for a program; ``short`` leaves out what was not looked at."""
    shown = status._asdict()
    return {name: shown[name] for name in ("healthy", "backend", "last_error")} if short else shown


@click.command("check")
@db_option
@json_option
@click.pass_context
def check_command(ctx: click.Context, db: str, as_json: bool) -> None:
    """Read everything and report what is damaged; exit 1 if anything is."""
    with open_to_read(db, transaction_timeout=LONG_TRANSACTION) as storage:
        report = storage.check()
    if as_json:
        print_json(report._asdict())
    else:
        for problem in report.problems:
            click.echo(visible(problem))
        note("No problems found." if report.ok else f"{len(report.problems)} problems found.")
    if not report.ok:
        ctx.exit(1)


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@db_option
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
def backup_command(file: Path, db: str, overwrite: bool) -> None:
    """Write a consistent copy of the storage to FILE while others go on writing."""
    with open_to_read(db, transaction_timeout=LONG_TRANSACTION) as storage, progress_bar("backup") as progress:
        storage.backup(file, overwrite=overwrite, progress=progress)


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr driven by (done, total), when that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
