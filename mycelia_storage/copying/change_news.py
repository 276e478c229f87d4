"""What a change log says about where to look: keys that changed, namespaces cleared, logs that were lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..contract import ChangePage, StorageBackend
from ..errors import CursorExpired


@dataclass
class News:
    """What changed since the cursors."""

    keys: dict[tuple[str, str], int] = field(default_factory=dict)
    """(namespace, key) to the version of its last change."""
    cleared: dict[str, int] = field(default_factory=dict)
    """Namespace to the version of its last clear."""
    lost: set[str] = field(default_factory=set)
    """Namespaces whose log no longer reaches back to the cursor."""
    cursors: dict[str, int] = field(default_factory=dict)
    """Where each namespace goes on."""
    more: bool = False
    """Whether there is more than what was read."""


def read_news(snapshot: StorageBackend, cursors: Mapping[str, int], *, together: bool, most: int) -> News:
    """The changes of namespaces since their cursors, about ``most`` of them.

    ``together`` reads the log of all namespaces at once, which is one question instead of many; it is asked again for
    each when changes of some namespace, even of one that is not meant, are no longer kept.
    """
    news = News()
    if not cursors:
        return news
    last = snapshot._last_seq()
    if together:
        try:
            reached = _read(snapshot, None, min(cursors.values()), last, most, cursors, news)
        except CursorExpired:
            news = News()
        else:
            news.cursors = dict.fromkeys(cursors, reached)
            return news
    for name, cursor in cursors.items():
        try:
            news.cursors[name] = _read(snapshot, name, cursor, last, most, cursors, news)
        except CursorExpired:
            news.lost.add(name)
    return news


def _read(
    snapshot: StorageBackend,
    namespace: str | None,
    cursor: int,
    last: int,
    most: int,
    meant: Mapping[str, int],
    news: News,
) -> int:
    """Read on from a cursor into ``news``; the new cursor. The snapshot's log ends at ``last``."""
    while True:
        page = snapshot.changes(namespace=namespace, since=cursor)
        _note(page, meant, news)
        if not page.has_more:
            return max(last, page.cursor)
        cursor = page.cursor
        if len(news.keys) >= most:
            news.more = True
            return cursor


def _note(page: ChangePage, meant: Mapping[str, int], news: News) -> None:
    for change in page.changes:
        if change.namespace not in meant:
            continue
        if change.key is None:
            news.cleared[change.namespace] = change.version
        else:
            news.keys[change.namespace, change.key] = change.version
