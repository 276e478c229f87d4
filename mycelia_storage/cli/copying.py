"""``copy``: one storage into another, also while it is being written."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import click

from ..copying import CopyReport, copy_storage
from ..errors import InvalidInput
from .care import progress_bar
from .opening import file_of, json_option, open_existing, open_to_read, open_to_write, require_file
from .output import note, print_json, visible

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@click.command("copy")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("--namespace", "namespaces", multiple=True, help="Copy only this namespace. Repeatable.")
@click.option("--catch-up", is_flag=True, help="SRC is being written: follow its changes until DST is equal.")
@click.option("--follow", is_flag=True, help="Go on following until Ctrl-C, then catch up and end.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Follow for so long.")
@click.option("--mirror", is_flag=True, help="Delete from DST what SRC does not have, in the namespaces copied.")
@click.option("--no-verify", is_flag=True, help="Do not compare every entry afterwards.")
@json_option
@click.pass_context
def copy_command(
    ctx: click.Context,
    source: str,
    destination: str,
    namespaces: tuple[str, ...],
    catch_up: bool,
    follow: bool,
    seconds: float | None,
    mirror: bool,
    no_verify: bool,
    as_json: bool,
) -> None:
    """Copy storage SRC into DST, files or URLs, and compare every entry; exit 1 if anything differs.

    Values, metadata, versions, times, expiry and indexes are kept. DST keeps what else it holds, and entries that are
    newer there. Run again after an interruption, it goes on. --catch-up, --follow and --seconds turn on change tracking
    in SRC where it is off, and it stays on.
    """
    require_file(source)
    _refuse_one_file(source, destination)
    follows = follow or seconds is not None
    opened = open_existing(source) if catch_up or follows else open_to_read(source)
    with (
        opened as reading,
        open_to_write(destination) as writing,
        progress_bar("copy") as progress,
        _until_stopped(seconds) if follows else nullcontext() as stop,
    ):
        report = copy_storage(
            reading,
            writing,
            namespaces=namespaces or None,
            progress=progress,
            verify=not no_verify,
            catch_up=catch_up,
            follow=stop,
            mirror=mirror,
        )
    _print(report, as_json, no_verify)
    if not report.ok:
        ctx.exit(1)


def _print(report: CopyReport, as_json: bool, no_verify: bool) -> None:
    if as_json:
        mismatches = [mismatch._asdict() for mismatch in report.mismatches]
        print_json({**report._asdict(), "mismatches": mismatches})
        return
    for mismatch in report.mismatches:
        click.echo(visible(str(mismatch)), err=True)
    if report.mismatch_count > len(report.mismatches):
        note(f"... and {report.mismatch_count - len(report.mismatches)} more")
    compared = "" if no_verify else f", {report.verified} of them compared equal"
    note(f"Copied {report.entries} entries in {report.namespaces} namespaces{compared}.")
    if report.tracking:
        note(f"Change tracking was turned on in SRC and stays on: {', '.join(report.tracking)}.")
    if not report.one_moment:
        note("It took several snapshots: what was written meanwhile may have been missed (--catch-up follows it).")


@contextmanager
def _until_stopped(seconds: float | None) -> Iterator[Callable[[], bool]]:
    """A function that tells whether Ctrl-C was pressed or the time is over. A second Ctrl-C interrupts."""
    stopped = False
    end = None if seconds is None else time.monotonic() + seconds

    def stop(*_: Any) -> None:
        nonlocal stopped
        stopped = True
        for each, handler in before.items():
            signal.signal(each, handler)
        note("Stopping: catching up for the last time.")

    before = {each: signal.signal(each, stop) for each in _STOP_SIGNALS}
    try:
        yield lambda: stopped or (end is not None and time.monotonic() >= end)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _refuse_one_file(source: str, destination: str) -> None:
    first, second = file_of(source), file_of(destination)
    if first is not None and second is not None and second.exists() and first.samefile(second):
        raise InvalidInput("source and destination are one storage")
