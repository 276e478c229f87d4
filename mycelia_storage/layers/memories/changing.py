"""The transactions that change and delete memories, with all that belongs to them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from ...contract import Entry, StorageBackend
from ...errors import KeyNotFound
from ...filters import Filter, where
from ...names import join_key, key_prefix
from .contexts import Stretch, around, changed_contexts, following, in_session, previous, session_of, window_of
from .fields import repeated
from .records import NO_SESSION, Session, digest
from .spaces import EmbeddingSpace, Places
from .writing import VectorPair, drop_windows, now_ms, time_left, true_windows, write_vectors

#: Up to so many forgotten memories of a session are looked around one by one; for more the session is read through.
FEW_GAPS: Final = 20

_HISTORY_LEFT_OUT: Final = ("context", "digest", "order")


class NextWindow(NamedTuple):
    """The vectors of the window of the memory that follows, and the text that they were made of."""

    said: str
    vectors: dict[EmbeddingSpace, bytes]


def write_update(
    tx: StorageBackend,
    places: Places,
    key: str,
    changes: dict[str, Any],
    vectors: dict[EmbeddingSpace, VectorPair],
    next_window: NextWindow | None,
) -> bool:
    """Change a memory; whether anything changed. Metadata is merged at its top level. Raises KeyNotFound."""
    entry = tx.get_entry(key, namespace=places.main)
    if entry is None:
        raise KeyNotFound(places.main, key)
    now = now_ms()
    named = {name: change for name, change in changes.items() if name != "metadata"}
    value = {name: held for name, held in {**entry.value, **named}.items() if held is not None}
    value["digest"] = digest(value["text"])
    metadata = {**entry.metadata, **(changes.get("metadata") or {})}
    if value == entry.value and metadata == entry.metadata and not vectors:
        return False
    earlier = {name: held for name, held in entry.value.items() if name not in _HISTORY_LEFT_OUT and held != NO_SESSION}
    tx.set(
        join_key(key, entry.version),
        {**earlier, "metadata": entry.metadata, "version": entry.version, "replaced_at": now},
        namespace=places.history,
        ttl=time_left(entry, now),
    )
    tx.set(key, value, namespace=places.main, metadata=metadata, ttl=time_left(entry, now))
    renewed = entry._replace(value=value, metadata=metadata)
    spoken_anew = any(value.get(name) != entry.value.get(name) for name in ("text", "speaker"))
    session = session_of(entry)
    if spoken_anew and session is not None:
        # The renewed memory stands in its place among what surrounds it.
        stretch = around(tx, places.main, session, value["order"])
        current = tx.get_entry(key, namespace=places.main)
        assert current is not None
        together = sorted([*stretch.entries, current], key=lambda one: (one.value["order"], one.key))
        moved = list(changed_contexts(Stretch(together, stretch.from_start, stretch.to_end)))
        if moved:
            tx.restore(moved)
        _renew_window(tx, places, session, current, next_window)
        before = previous(tx, places.main, session, value["order"])
        vectors = true_windows(vectors, window_of(before, renewed))
    _renew_vectors(tx, places, renewed, vectors, now, keep=not spoken_anew)
    return True


def _renew_vectors(
    tx: StorageBackend,
    places: Places,
    entry: Entry,
    vectors: dict[EmbeddingSpace, VectorPair],
    now: int,
    *,
    keep: bool,
) -> None:
    """Write the given vectors; those of the old text go, or stay with new metadata (``keep``)."""
    spaces = places.read_state(tx)
    for space in spaces.written:
        if space in vectors:
            if vectors[space].window is None and not keep:
                tx.delete(entry.key, namespace=places.window(space))
            continue
        for namespace in (places.text(space), places.window(space)):
            if not keep:
                tx.delete(entry.key, namespace=namespace)
                continue
            held = tx.get(entry.key, namespace=namespace)
            if held is not None:
                tx.set(entry.key, held, namespace=namespace, metadata=repeated(entry), ttl=time_left(entry, now))
    if vectors or not keep:
        write_vectors(tx, places, [(entry, vectors)], now)


def _renew_window(
    tx: StorageBackend,
    places: Places,
    session: Session,
    entry: Entry,
    next_window: NextWindow | None,
) -> None:
    """Give the memory that follows its new window, or none: what went is in the old one."""
    after = following(tx, places.main, session, entry.value["order"])
    if after is None:
        return
    true = next_window is not None and next_window.said == window_of(entry, after)
    given = next_window.vectors if next_window is not None and true else {}
    for space in places.read_state(tx).written:
        namespace = places.window(space)
        if space in given:
            tx.set(
                after.key, given[space], namespace=namespace, metadata=repeated(after), ttl=time_left(after, now_ms())
            )
        else:
            tx.delete(after.key, namespace=namespace)


def write_forget(tx: StorageBackend, places: Places, keys: Iterable[str] | None, condition: Filter | None) -> int:
    """Delete memories by keys, or by a condition, with all that belongs to them; how many there were."""
    keys = None if keys is None else list(keys)
    if keys is not None:
        found = tx.query(where("$key").is_in(keys), namespace=places.main)
    else:
        found = tx.query(condition, namespace=places.main)
    tx.delete_many([entry.key for entry in found] if keys is None else keys, namespace=places.expiries)
    if not found:
        return 0
    gone = [entry.key for entry in found]
    tx.delete_many(gone, namespace=places.main)
    tx.delete_many(gone, namespace=places.todo)
    for space in places.read_state(tx).written:
        tx.delete_many(gone, namespace=places.text(space))
        tx.delete_many(gone, namespace=places.window(space))
    if tx.get_namespace(places.history) is not None:
        for key in gone:
            earlier = [entry.key for entry in tx.scan(namespace=places.history, prefix=key_prefix(key))]
            if earlier:
                tx.delete_many(earlier, namespace=places.history)
    sessions: dict[Session, list[int]] = {}
    for entry in found:
        session = session_of(entry)
        if session is not None:
            sessions.setdefault(session, []).append(entry.value["order"])
    for session, orders in sessions.items():
        _close_gaps(tx, places, session, orders)
    return len(found)


def _close_gaps(tx: StorageBackend, places: Places, session: Session, orders: list[int]) -> None:
    """Take what went from the contexts and windows of its neighbours."""
    if len(orders) <= FEW_GAPS:
        for order in orders:
            moved = list(changed_contexts(around(tx, places.main, session, order)))
            if moved:
                tx.restore(moved)
            after = following(tx, places.main, session, order)
            if after is not None:
                drop_windows(tx, places, [after.key])
        return
    left = tx.query(in_session(session), namespace=places.main, sort="order")
    moved = list(changed_contexts(Stretch(left, True, True)))
    if moved:
        tx.restore(moved)
    remaining = [entry.value["order"] for entry in left]
    behind = {left[at].key for order in orders if (at := bisect_right(remaining, order)) < len(left)}
    drop_windows(tx, places, behind)
