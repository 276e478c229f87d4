"""``copy``: one storage into another."""

from __future__ import annotations

import click

from ..copying import copy_storage
from ..errors import InvalidInput
from .care import progress_bar
from .opening import LONG_TRANSACTION, file_of, json_option, open_to_read, open_to_write, require_file
from .output import note, print_json, visible


@click.command("copy")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("--namespace", "namespaces", multiple=True, help="Copy only this namespace. Repeatable.")
@click.option("--no-verify", is_flag=True, help="Do not compare every entry afterwards.")
@json_option
@click.pass_context
def copy_command(
    ctx: click.Context, source: str, destination: str, namespaces: tuple[str, ...], no_verify: bool, as_json: bool
) -> None:
    """Copy storage SRC into DST, files or URLs, and compare every entry; exit 1 if anything differs.

    Values, metadata, versions, times, expiry and indexes are kept. DST keeps what else it holds.
    """
    require_file(source)
    _refuse_one_file(source, destination)
    with (
        open_to_read(source, transaction_timeout=LONG_TRANSACTION) as reading,
        open_to_write(destination, transaction_timeout=LONG_TRANSACTION) as writing,
        progress_bar("copy") as progress,
    ):
        report = copy_storage(reading, writing, namespaces=namespaces or None, progress=progress, verify=not no_verify)
    if as_json:
        mismatches = [mismatch._asdict() for mismatch in report.mismatches]
        print_json({**report._asdict(), "mismatches": mismatches})
    else:
        for mismatch in report.mismatches:
            click.echo(visible(str(mismatch)), err=True)
        if report.mismatch_count > len(report.mismatches):
            note(f"... and {report.mismatch_count - len(report.mismatches)} more")
        compared = "" if no_verify else f", {report.verified} of them compared equal"
        note(f"Copied {report.entries} entries in {report.namespaces} namespaces{compared}.")
    if not report.ok:
        ctx.exit(1)


def _refuse_one_file(source: str, destination: str) -> None:
    first, second = file_of(source), file_of(destination)
    if first is not None and second is not None and second.exists() and first.samefile(second):
        raise InvalidInput("source and destination are one storage")
