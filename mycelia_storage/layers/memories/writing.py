"""The transactions that change memories: each covers values, contexts, history and vectors together."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from ...contract import Entry, StorageBackend
from ...errors import BatchError, KeyExists, KeyNotFound, StorageError
from ...filters import Filter, where
from ...names import join_key, key_prefix
from .contexts import (
    ORDERS_A_MS,
    Stretch,
    around,
    changed_contexts,
    following,
    free_order,
    in_session,
    read_stretch,
    session_of,
)
from .fields import repeated
from .records import NO_SESSION, NewMemory, Receipt, Session, digest, value_of
from .spaces import EmbeddingSpace, Places, check_dimensions

Dedupe = Literal["skip", "merge"]

#: How long it is known that a memory has expired, in seconds.
EXPIRY_KNOWN: Final = 30 * 24 * 3600.0

#: Up to so many forgotten memories of a session are looked around one by one; for more the session is read through.
FEW_GAPS: Final = 20

_HISTORY_LEFT_OUT: Final = ("context", "digest", "order")


class VectorPair(NamedTuple):
    """The vectors of a memory in one space. Without a window the text's own vector stands for it."""

    text: bytes
    window: bytes | None


@dataclass(frozen=True)
class Prepared:
    """A memory with its vectors, ready to be written."""

    new: NewMemory
    vectors: dict[EmbeddingSpace, VectorPair] = field(default_factory=dict)


@dataclass(frozen=True)
class Duplicates:
    """What is to be done about texts that are there already: ``similar`` is a cosine, None for equal words alone."""

    action: Dedupe
    similar: float | None


def now_ms() -> int:
    """UTC milliseconds."""
    return time.time_ns() // 1_000_000


def write_new(
    tx: StorageBackend, places: Places, batch: Sequence[Prepared], duplicates: Duplicates | None
) -> list[Receipt]:
    """Store new memories. Raises KeyExists for one, BatchError for several, EmbeddingMismatch."""
    _refuse_existing(tx, places, batch)
    if duplicates is not None:
        # One by one: the second of two equal texts finds the first.
        return [_write_unless_known(tx, places, prepared, duplicates) for prepared in batch]
    _write(tx, places, batch)
    return [Receipt(prepared.new.key, "stored") for prepared in batch]


def _refuse_existing(tx: StorageBackend, places: Places, batch: Sequence[Prepared]) -> None:
    seen: set[str] = set()
    errors: dict[tuple[str, str], StorageError] = {}
    existing = tx.get_many([prepared.new.key for prepared in batch], namespace=places.main)
    for prepared in batch:
        key = prepared.new.key
        if key in existing or key in seen:
            errors[places.main, key] = KeyExists(places.main, key)
        seen.add(key)
    if errors:
        raise next(iter(errors.values())) if len(batch) == 1 else BatchError(errors)


def _write(tx: StorageBackend, places: Places, batch: Sequence[Prepared]) -> None:
    now = now_ms()
    entries = _placed(tx, places, batch, now)
    items = [
        {
            "key": entry.key,
            "value": entry.value,
            "metadata": entry.metadata or None,
            "ttl": prepared.new.ttl,
        }
        for entry, prepared in zip(entries, batch, strict=True)
    ]
    if len(items) == 1:
        tx.set(**items[0], namespace=places.main, overwrite=False)
    else:
        tx.set_many(items, namespace=places.main, overwrite=False)
    lasting = [(entry, prepared.new) for entry, prepared in zip(entries, batch, strict=True)]
    for entry, new in lasting:
        if new.ttl is not None:
            tx.set(entry.key, entry.expires_at, namespace=places.expiries, ttl=new.ttl + EXPIRY_KNOWN)
        for earlier in new.history:
            tx.set(join_key(entry.key, earlier["version"]), earlier, namespace=places.history, ttl=new.ttl)
    write_vectors(tx, places, [(entry, prepared.vectors) for entry, prepared in zip(entries, batch, strict=True)], now)


def _placed(tx: StorageBackend, places: Places, batch: Sequence[Prepared], now: int) -> list[Entry]:
    """The entries of a batch with order and context; contexts that they change are written."""
    entries: dict[str, Entry] = {}
    sessions: dict[Session, list[NewMemory]] = {}
    for prepared in batch:
        new = prepared.new
        if new.place is None:
            entries[new.key] = _entry(places, new, new.created_at * ORDERS_A_MS, now)
        else:
            sessions.setdefault(new.place, []).append(new)
    for session, arrived in sessions.items():
        arrived.sort(key=lambda new: new.created_at)
        stretch = read_stretch(tx, places.main, session, arrived[0].created_at, single=len(arrived) == 1)
        taken: set[int] = {entry.value["order"] for entry in stretch.entries}
        fresh = [_entry(places, new, free_order(new.created_at, taken), now) for new in arrived]
        entries.update((entry.key, entry) for entry in fresh)
        together = sorted([*stretch.entries, *fresh], key=lambda entry: (entry.value["order"], entry.key))
        moved = []
        for entry in changed_contexts(Stretch(together, stretch.from_start, stretch.to_end)):
            if entry.key in entries:
                entries[entry.key] = entry
            else:
                moved.append(entry)
        if moved:
            tx.restore(moved)
    return [entries[prepared.new.key] for prepared in batch]


def _entry(places: Places, new: NewMemory, order: int, now: int) -> Entry:
    expires_at = None if new.ttl is None else now + round(new.ttl * 1000)
    return Entry(places.main, new.key, value_of(new, order), new.metadata, 0, now, now, expires_at)


def write_vectors(
    tx: StorageBackend,
    places: Places,
    written: Iterable[tuple[Entry, dict[EmbeddingSpace, VectorPair]]],
    now: int,
) -> None:
    """Store vectors, in the spaces that are active or under way; who has none for the next is noted for it."""
    found = [(entry, vectors) for entry, vectors in written]
    spaces = places.read_state(tx)
    given = {space for _, vectors in found for space in vectors}
    if spaces.active is None and given:
        spaces = places.activate(tx, spaces, next(iter(given)))
    current = dict.fromkeys(space for space in (spaces.active, spaces.next) if space is not None)
    if given and not given & current.keys():
        places.require(spaces, next(iter(given)))
    for space in current:
        texts: list[dict[str, Any]] = []
        windows: list[dict[str, Any]] = []
        for entry, vectors in found:
            pair = vectors.get(space)
            if pair is None:
                continue
            item = {"key": entry.key, "metadata": repeated(entry), "ttl": _left(entry, now)}
            texts.append({**item, "value": check_dimensions(pair.text, space, places.main, entry.key)})
            if pair.window is not None:
                windows.append({**item, "value": check_dimensions(pair.window, space, places.main, entry.key)})
        for items, namespace in ((texts, places.text(space)), (windows, places.window(space))):
            if len(items) == 1:
                tx.set(**items[0], namespace=namespace)
            elif items:
                tx.set_many(items, namespace=namespace)
    if spaces.next is not None:
        waiting = [entry for entry, vectors in found if spaces.next not in vectors]
        for entry in waiting:
            tx.set(entry.key, True, namespace=places.todo, ttl=_left(entry, now))


def _left(entry: Entry, now: int) -> float | None:
    return None if entry.expires_at is None else max(entry.expires_at - now, 1) / 1000


# -- duplicates --------------------------------------------------------------------------------------------------------


def _write_unless_known(tx: StorageBackend, places: Places, prepared: Prepared, duplicates: Duplicates) -> Receipt:
    new = prepared.new
    known = _known(tx, places, prepared, duplicates.similar)
    if known is None:
        _write(tx, places, [prepared])
        return Receipt(new.key, "stored")
    if duplicates.action == "skip":
        return Receipt(known, "duplicate")
    changes: dict[str, Any] = {"metadata": new.metadata}
    entry = tx.get_entry(known, namespace=places.main)
    if entry is not None and entry.value["text"] != new.text and entry.value["digest"] != digest(new.text):
        changes["text"] = new.text
    write_update(tx, places, known, changes, prepared.vectors if "text" in changes else {}, None)
    return Receipt(known, "merged")


def _known(tx: StorageBackend, places: Places, prepared: Prepared, similar: float | None) -> str | None:
    """The memory of the same conversation, speaker and subject that says the same."""
    new = prepared.new
    scope = {"conversation": new.conversation, "speaker": new.speaker, "subject": new.subject}
    for entry in tx.query(where("digest") == digest(new.text), namespace=places.main, sort="order"):
        if all(entry.value.get(name) == value for name, value in scope.items()):
            return entry.key
    space = places.read_state(tx).active
    pair = prepared.vectors.get(space) if space is not None else None
    if similar is None or pair is None or space is None:
        return None
    condition: Filter | None = None
    for name, value in scope.items():
        field = where(f"$metadata.{name}")
        part = field.exists(False) if value is None else field == value
        condition = part if condition is None else condition & part
    hits = tx.search_vectors(pair.text, namespace=places.text(space), limit=1, filter=condition)
    return hits[0].key if hits and hits[0].score >= similar else None


# -- changes ---------------------------------------------------------------------------------------------------------


def write_update(
    tx: StorageBackend,
    places: Places,
    key: str,
    changes: dict[str, Any],
    vectors: dict[EmbeddingSpace, VectorPair],
    next_window: tuple[str, dict[EmbeddingSpace, bytes]] | None,
) -> bool:
    """Change a memory; whether anything changed. Metadata is merged at its top level.

    ``next_window``: the key of the memory that follows, and the vectors of its window. Raises KeyNotFound.
    """
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
        ttl=_left(entry, now),
    )
    tx.set(key, value, namespace=places.main, metadata=metadata, ttl=_left(entry, now))
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
        _renew_window(tx, places, session, value["order"], next_window)
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
                tx.set(entry.key, held, namespace=namespace, metadata=repeated(entry), ttl=_left(entry, now))
    if vectors or not keep:
        write_vectors(tx, places, [(entry, vectors)], now)


def _renew_window(
    tx: StorageBackend,
    places: Places,
    session: Session,
    order: int,
    next_window: tuple[str, dict[EmbeddingSpace, bytes]] | None,
) -> None:
    """Give the memory that follows its new window, or none: what went is in the old one."""
    after = following(tx, places.main, session, order)
    if after is None:
        return
    given = next_window[1] if next_window is not None and next_window[0] == after.key else {}
    for space in places.read_state(tx).written:
        namespace = places.window(space)
        if space in given:
            tx.set(after.key, given[space], namespace=namespace, metadata=repeated(after), ttl=_left(after, now_ms()))
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
            _renew_window(tx, places, session, order, None)
        return
    left = tx.query(in_session(session), namespace=places.main, sort="order")
    moved = list(changed_contexts(Stretch(left, True, True)))
    if moved:
        tx.restore(moved)
    remaining = [entry.value["order"] for entry in left]
    behind = {left[at].key for order in orders if (at := bisect_right(remaining, order)) < len(left)}
    for space in places.read_state(tx).written:
        tx.delete_many(behind, namespace=places.window(space))
