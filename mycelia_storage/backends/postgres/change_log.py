"""The change log: appended in each write's transaction, read by cursor, pruned by count and age.

The counter that gives the seq stays locked until its transaction ends, so ``seq`` is the order of commit: once a seq
is visible, every one below it is too. A pruned range leaves its last seq behind in ``pruned_through``; a cursor below
that has missed something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...contract import Change, ChangePage
from ...errors import CursorExpired, InvalidInput

PAGE: Final = 1_000

Rows = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]

_COLUMNS: Final = "seq, namespace, key, operation, version, at"
_READ: Final = f"""SELECT {_COLUMNS} FROM {{s}}.storage_changes
WHERE tenant = {{t}} AND namespace = %s AND seq > %s ORDER BY seq LIMIT %s"""
_READ_ALL: Final = f"""SELECT {_COLUMNS} FROM {{s}}.storage_changes
WHERE tenant = {{t}} AND seq > %s ORDER BY seq LIMIT %s"""
_PRUNED_IN: Final = """SELECT pruned_through FROM {s}.storage_namespaces
WHERE tenant = {t} AND namespace = %s AND track_changes"""
_PRUNED: Final = """SELECT greatest(
(SELECT max(pruned_through) FROM {s}.storage_namespaces WHERE tenant = {t}),
(SELECT value FROM {s}.storage_state WHERE tenant = {t} AND name = 'pruned_through'))"""
_LAST_SEQ: Final = "SELECT value FROM {s}.storage_state WHERE tenant = {t} AND name = 'seq'"


def last_seq(rows: Rows) -> int:
    """The newest seq ever given, 0 for none."""
    return _seq(rows(_LAST_SEQ, ()))


def read_page(rows: Rows, namespace: str | None, since: int | None, limit: int) -> ChangePage:
    """A page of changes after ``since``. Raises CursorExpired, InvalidInput."""
    if since is not None and (not isinstance(since, int) or isinstance(since, bool) or since < 0):
        raise InvalidInput("a cursor is a whole number of at least 0")
    if since is not None and since >= 2**63:
        return ChangePage([], since, False)
    lost_sql, bound = (_PRUNED, ()) if namespace is None else (_PRUNED_IN, (namespace,))
    # The start is above what any namespace has lost: a page begun below that would hand out an expired cursor.
    after = _seq(rows(lost_sql, bound)) if since is None else since
    size = min(limit, 2**62) + 1
    found = rows(_READ_ALL, (after, size)) if namespace is None else rows(_READ, (namespace, after, size))
    # Asked after the changes were read: what was pruned meanwhile is then seen here.
    lost = _seq(rows(lost_sql, bound))
    if since is not None and since < lost:
        raise CursorExpired(f"changes up to {lost} are no longer kept; the cursor stands at {since}")
    changes = [Change._make(row) for row in found[:limit]]
    return ChangePage(changes, changes[-1].seq if changes else after, len(found) > limit)


def _seq(found: list[tuple[Any, ...]]) -> int:
    return int(found[0][0] or 0) if found else 0
