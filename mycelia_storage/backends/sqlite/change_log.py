"""The change log: appended in each write's transaction, read by cursor, pruned by count and age.

SQLite has one writer at a time, so ``seq`` is the order of commit: once a seq is visible, every one below it is too.
Entries lie by (namespace, seq). A reader of all namespaces asks for the last seq first and then reads windows up to it,
since changes beyond might still be joined by lower ones in another namespace. A pruned range leaves its last seq behind
in ``pruned_through``; a cursor below that has missed something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...contract import Change, ChangePage
from ...errors import CursorExpired, InvalidInput

PAGE: Final = 1_000

Rows = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]

APPEND: Final = "INSERT INTO storage_changes(namespace,seq,key,operation,version,at)VALUES(?,?,?,?,?,?)"
APPEND_STORED: Final = """INSERT INTO storage_changes (namespace, seq, key, operation, version, at)
SELECT namespace, ?3, key, 'set', version, ?4 FROM storage_entries WHERE namespace = ?1 AND key = ?2"""

_COLUMNS: Final = "seq, namespace, key, operation, version, at"
_READ: Final = f"SELECT {_COLUMNS} FROM storage_changes WHERE namespace = ? AND seq > ? ORDER BY seq LIMIT ?"
# 1 after, 2 through, 3 limit
_READ_ALL: Final = """SELECT c.seq, c.namespace, c.key, c.operation, c.version, c.at FROM storage_namespaces AS n
CROSS JOIN storage_changes AS c ON c.namespace = n.name AND c.seq > ?1 AND c.seq <= ?2
WHERE n.track_changes & 1 ORDER BY c.seq LIMIT ?3"""
_PRUNED_IN: Final = "SELECT pruned_through FROM storage_namespaces WHERE name = ? AND track_changes & 1"
_PRUNED: Final = """SELECT max((SELECT max(pruned_through) FROM storage_namespaces),
(SELECT value FROM storage_state WHERE name = 'pruned_through'))"""
_LAST_SEQ: Final = """SELECT max((SELECT value FROM storage_state WHERE name = 'pruned_through'),
coalesce((SELECT max(max(pruned_through,
  coalesce((SELECT max(seq) FROM storage_changes WHERE namespace = n.name), 0)))
FROM storage_namespaces AS n WHERE track_changes & 1), 0))"""

_SURPLUS: Final = "SELECT seq FROM storage_changes WHERE namespace = ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
_TOO_OLD: Final = "SELECT max(seq) FROM storage_changes WHERE namespace = ? AND at < ?"
_PRUNE: Final = "DELETE FROM storage_changes WHERE namespace = ? AND seq <= ?"
_NOTE_PRUNED: Final = "UPDATE storage_namespaces SET pruned_through = max(pruned_through, ?2) WHERE name = ?1"


def last_seq(rows: Rows) -> int:
    """The newest seq ever given, 0 for none."""
    return _seq(rows(_LAST_SEQ, ()))


def read_page(rows: Rows, namespace: str | None, since: int | None, limit: int) -> ChangePage:
    """A page of changes after ``since``. Raises CursorExpired, InvalidInput."""
    if since is not None and (not isinstance(since, int) or isinstance(since, bool) or since < 0):
        raise InvalidInput("a cursor is a whole number of at least 0")
    lost_sql, bound = (_PRUNED, ()) if namespace is None else (_PRUNED_IN, (namespace,))
    # The start is above what any namespace has lost: a page begun below that would hand out an expired cursor.
    after = _seq(rows(lost_sql, bound)) if since is None else since
    if namespace is None:
        found, reached = _read_all(rows, after, limit + 1)
    else:
        found, reached = rows(_READ, (namespace, after, limit + 1)), after
    # Asked after the changes were read: what was pruned meanwhile is then seen here.
    lost = _seq(rows(lost_sql, bound))
    if since is not None and since < lost:
        raise CursorExpired(f"changes up to {lost} are no longer kept; the cursor stands at {since}")
    changes = [Change._make(row) for row in found[:limit]]
    if len(found) > limit:
        reached = after  # what was read and not handed out comes next
    return ChangePage(changes, changes[-1].seq if changes else reached, len(found) > limit)


def _read_all(rows: Rows, after: int, limit: int) -> tuple[list[tuple[Any, ...]], int]:
    """The next changes of all namespaces, and the seq through which everything has been seen."""
    last = last_seq(rows)
    found: list[tuple[Any, ...]] = []
    window = limit
    while after < last and len(found) < limit:
        through = min(after + window, last)
        found += rows(_READ_ALL, (after, through, limit - len(found)))
        after = through
        window *= 4  # where much has been pruned, the windows are mostly empty
    return found, after


def _seq(found: list[tuple[Any, ...]]) -> int:
    return int(found[0][0] or 0) if found else 0


def prune(rows: Rows, namespace: str, keep: int, older_than: int | None) -> None:
    """Drop all but the newest ``keep`` changes, and those before ``older_than`` (UTC ms). Inside a transaction."""
    through = 0
    for (seq,) in rows(_SURPLUS, (namespace, keep)):
        through = seq
    if older_than is not None:
        through = max(through, rows(_TOO_OLD, (namespace, older_than))[0][0] or 0)
    if through:
        rows(_PRUNE, (namespace, through))
        rows(_NOTE_PRUNED, (namespace, through))
