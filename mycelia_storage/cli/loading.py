"""``load``: a file's records into a namespace, or a dump into a storage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from ..loading import BadRecord, LoadOptions, LoadReport, load_records
from ..records import RecordFile
from .opening import LONG_TRANSACTION, db_option, json_option, open_to_write
from .output import note, print_json

#: Bad lines that are shown; all are counted.
SHOWN_BAD_LINES: Final = 20


@click.command("load")
@click.argument("arguments", nargs=-1, metavar="[NAMESPACE] FILE")
@db_option
@click.option(
    "--all", "all_namespaces", is_flag=True, help="FILE is a dump of several namespaces: load each as itself."
)
@click.option("--key", metavar="FIELD", help="The field that holds the key. It stays in the value.")
@click.option(
    "--metadata", multiple=True, metavar="FIELD", help="A field to put into the metadata as well. Repeatable."
)
@click.option("--ttl", type=float, metavar="SECONDS", help="Let the entries expire after this time.")
@click.option("--no-overwrite", is_flag=True, help="Leave keys alone that exist already.")
@click.option("--detect-numbers", is_flag=True, help="CSV: turn cells that are JSON numbers, true or false into them.")
@click.option("--strict", is_flag=True, help="Stop at the first bad line and undo its transaction.")
@click.option(
    "--format", "format", type=click.Choice(["jsonl", "json", "csv"]), help="The format, if FILE's name does not tell."
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=1000, show_default=True, help="Entries in a transaction."
)
@click.option("--restart", is_flag=True, help="Start over instead of going on where an interrupted load ended.")
@json_option
@click.pass_context
def load_command(
    ctx: click.Context,
    arguments: tuple[str, ...],
    db: str,
    all_namespaces: bool,
    key: str | None,
    metadata: tuple[str, ...],
    ttl: float | None,
    no_overwrite: bool,
    detect_numbers: bool,
    strict: bool,
    format: str | None,
    batch_size: int,
    restart: bool,
    as_json: bool,
) -> None:
    """Load FILE into NAMESPACE, or a dump with --all.

    FILE is JSON lines (.jsonl, .ndjson), a JSON array or object (.json), CSV with a header (.csv), any of them
    compressed (.gz), or a dump; - reads stdin and needs --format. Each record becomes an entry under the key in its
    field --key: a string, or a number, whose JSON text is the key. The members of a JSON object have their names as
    keys and need no --key. Of a key that comes twice the last record stays.

    Bad lines are reported and the others loaded. An interrupted load goes on where it was when it is run again.
    """
    wanted = 1 if all_namespaces else 2
    if len(arguments) != wanted:
        raise click.UsageError("give FILE alone with --all" if all_namespaces else "give NAMESPACE and FILE")
    namespace = None if all_namespaces else arguments[0]
    path = None if arguments[-1] == "-" else Path(arguments[-1])
    if path is not None and not path.is_file():
        raise click.UsageError(f"no file {arguments[-1]!r}")
    options = LoadOptions(
        key=key,
        metadata_fields=metadata,
        ttl=ttl,
        overwrite=not no_overwrite,
        detect_numbers=detect_numbers,
        strict=strict,
        batch_size=batch_size,
        restart=restart,
    )
    shown = 0

    def report_bad(bad: BadRecord) -> None:
        nonlocal shown
        shown += 1
        if shown <= SHOWN_BAD_LINES:
            note(f"line {bad.line}: {bad.problem}")

    with (
        RecordFile(path, format, sys.stdin.buffer if path is None else None) as source,
        open_to_write(db, transaction_timeout=LONG_TRANSACTION) as storage,
        _progress(source) as progress,
    ):
        try:
            report = load_records(storage, namespace, source, options, report_bad=report_bad, progress=progress)
        except KeyboardInterrupt:
            if path is not None:
                note("What is loaded so far stays; run the same command again to go on from there.")
            raise
    if shown > SHOWN_BAD_LINES:
        note(f"... and {shown - SHOWN_BAD_LINES} more bad lines")
    _print_report(report, namespace, as_json)
    if report.bad:
        ctx.exit(1)


def _print_report(report: LoadReport, namespace: str | None, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "namespace": namespace,
                "loaded": report.loaded,
                "kept": report.kept,
                "bad": report.bad,
                "resumed_at": report.resumed_at,
                "stopped_at": report.stopped_at,
            }
        )
        return
    if report.resumed_at is not None:
        note(f"Went on at line {report.resumed_at}, where an earlier load ended (--restart starts over).")
    if report.stopped_at is not None:
        done = f"lines 1 to {report.committed_line} are in" if report.committed_line else "nothing was loaded"
        note(f"Stopped at line {report.stopped_at}: {done}.")
    kept = f", {report.kept} existed already and were kept" if report.kept else ""
    bad = f", {report.bad} bad" if report.bad else ""
    note(f"Loaded {report.loaded} entries{kept}{bad}.")


@contextmanager
def _progress(source: RecordFile) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on stderr by the bytes of the file, when that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("load", total=source.size)
        yield lambda done: bar.update(task, completed=done)
