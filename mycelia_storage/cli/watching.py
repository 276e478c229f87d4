"""``watch``: changes as they are committed."""

from __future__ import annotations

from itertools import islice

import click

from ..contract import Change
from .opening import db_option, json_option, open_to_read
from .output import print_json, time_text, visible, wants_json


@click.command("watch")
@click.argument("namespace", required=False)
@db_option
@click.option("--since", type=int, metavar="SEQ", help="Start after this change instead of now; 0 is from the oldest.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="End when no change came for so long.")
@click.option("--limit", type=click.IntRange(min=0), help="End after so many changes.")
@json_option
def watch_command(
    namespace: str | None, db: str, since: int | None, timeout: float | None, limit: int | None, as_json: bool
) -> None:
    """Print the changes of NAMESPACE, or of all, as they are committed by any process.

    Only namespaces that track changes have them: `namespaces create NAMESPACE --track-changes --exist-ok`.
    """
    with open_to_read(db) as storage:
        changes = storage.watch(namespace=namespace, since=since, timeout=timeout)
        # islice does not draw, and so does not wait for, the change after the last.
        for change in islice(changes, limit):
            _print(change, as_json)


def _print(change: Change, as_json: bool) -> None:
    # click.echo flushes each line, so a reader behind a pipe sees it at once.
    if wants_json(as_json):
        print_json(change._asdict())
    else:
        key = "" if change.key is None else f" {change.key}"
        click.echo(visible(f"{change.seq} {time_text(change.at)} {change.operation} {change.namespace}{key}"))
