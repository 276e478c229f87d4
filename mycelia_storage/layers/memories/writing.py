"""Storing new memories with their contexts and vectors, and the vectors of changed ones, within a transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

from ...contract import Entry, StorageBackend
from ...names import join_key
from .contexts import (
    ORDERS_A_MS,
    Stretch,
    changed_contexts,
    free_order,
    read_stretch,
    window_of,
)
from .fields import repeated
from .records import NewMemory, Session, value_of
from .spaces import EmbeddingSpace, Places, check_dimensions

#: How long it is known that a memory has expired, in seconds.
EXPIRY_KNOWN: Final = 30 * 24 * 3600.0


class VectorPair(NamedTuple):
    """The vectors of a memory in one space. Without a window the text's own vector stands for it."""

    text: bytes
    window: bytes | None
    said: str | None = None
    """The text that the window was made of, which has to be true still when it is written; None: it was given."""


@dataclass(frozen=True)
class Prepared:
    """A memory with its vectors, ready to be written."""

    new: NewMemory
    vectors: dict[EmbeddingSpace, VectorPair] = field(default_factory=dict)


def now_ms() -> int:
    """UTC milliseconds."""
    return time.time_ns() // 1_000_000


def write_batch(tx: StorageBackend, places: Places, batch: Sequence[Prepared]) -> None:
    """Store new memories; none of their keys exists."""
    now = now_ms()
    entries, before = _placed(tx, places, batch, now)
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
    vectors = [
        (entry, true_windows(prepared.vectors, window_of(before.get(entry.key), entry)))
        for entry, prepared in zip(entries, batch, strict=True)
    ]
    write_vectors(tx, places, vectors, now)


def true_windows(vectors: dict[EmbeddingSpace, VectorPair], said: str | None) -> dict[EmbeddingSpace, VectorPair]:
    """The vectors without windows that were made of another text than ``said``."""
    return {
        space: pair._replace(window=None) if pair.said is not None and pair.said != said else pair
        for space, pair in vectors.items()
    }


def _placed(
    tx: StorageBackend, places: Places, batch: Sequence[Prepared], now: int
) -> tuple[list[Entry], dict[str, Entry]]:
    """The entries of a batch with order and context, and what comes before each; what they change is written."""
    entries: dict[str, Entry] = {}
    before: dict[str, Entry] = {}
    parted: list[str] = []
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
        for one, other in pairwise(together):
            if other.key in entries:
                before[other.key] = one
            elif one.key in entries:
                parted.append(other.key)  # its window is of what came before it until now
    if parted:
        drop_windows(tx, places, parted)
    return [entries[prepared.new.key] for prepared in batch], before


def drop_windows(tx: StorageBackend, places: Places, keys: Iterable[str]) -> None:
    """Delete the windows of these memories: their own vectors stand for them."""
    gone = list(keys)
    for space in places.read_state(tx).written:
        tx.delete_many(gone, namespace=places.window(space))


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
            item = {"key": entry.key, "metadata": repeated(entry), "ttl": time_left(entry, now)}
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
            tx.set(entry.key, True, namespace=places.todo, ttl=time_left(entry, now))


def time_left(entry: Entry, now: int) -> float | None:
    """The ttl of what belongs to a memory, in seconds."""
    return None if entry.expires_at is None else max(entry.expires_at - now, 1) / 1000
