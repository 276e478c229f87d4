"""Deletes what only the destination holds."""

from __future__ import annotations

from ..contract import StorageBackend
from .entries import BATCH_ENTRIES, Sent, Wanted, send_wanted


def remove_surplus(
    source: StorageBackend, destination: StorageBackend, namespace: str, after: str | None, through: int | None = None
) -> Sent:
    """Delete the keys of a namespace after ``after`` that the source does not have, as it stands page by page.

    ``through`` keeps entries of a higher version; they are among the problems of the result.
    """
    removed = 0
    problems: dict[tuple[str, str], str] = {}
    while keys := destination.list(namespace=namespace, after=after, limit=BATCH_ENTRIES):
        there = set(source.list(namespace=namespace, after=after, limit=BATCH_ENTRIES))
        if len(there) == BATCH_ENTRIES:  # known only as far as this page of the source goes
            reach = max(there)
            keys = [key for key in keys if key <= reach] or [reach]
        gone = [Wanted(namespace, key, None, through) for key in keys if key not in there]
        if gone:
            with destination.transaction() as tx:
                sent = send_wanted(tx, gone)
            removed += sent.removed
            problems |= sent.problems
        after = keys[-1]
    return Sent(0, removed, problems)
