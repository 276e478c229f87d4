"""The order of memories in a session, and the context that neighbours give each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ...contract import Entry, StorageBackend
from ...filters import Filter, where
from ...indexes import TextIndex
from .records import Session, spoken

#: How many memories before and after one are its context.
BEFORE: Final = 2
AFTER: Final = 2

#: What is searched by words, and how much each counts.
TEXT_INDEX: Final = TextIndex({"text": 1.0, "speaker": 1.0, "context": 0.3})

#: Numbers that tell memories of the same millisecond apart.
ORDERS_A_MS: Final = 1000


class Stretch(NamedTuple):
    """Consecutive memories of a session."""

    entries: list[Entry]
    from_start: bool
    to_end: bool


def session_of(entry: Entry) -> Session | None:
    """The session that a memory belongs to; outside of conversations there is none, and no context."""
    conversation = entry.value.get("conversation")
    return None if conversation is None else (conversation, entry.value["session"])


def in_session(session: Session) -> Filter:
    """The memories of that session."""
    return (where("conversation") == session[0]) & (where("session") == session[1])


def read_stretch(storage: StorageBackend, namespace: str, session: Session, first_ms: int, *, single: bool) -> Stretch:
    """What surrounds a memory of that time (``single``), or everything from there on, and enough before it."""
    here, split, reach = in_session(session), (first_ms + 1) * ORDERS_A_MS, BEFORE + AFTER
    before = storage.query(here & (where("order") < split), namespace=namespace, sort="-order", limit=reach)
    limit = reach if single else None
    after = storage.query(here & (where("order") >= split), namespace=namespace, sort="order", limit=limit)
    return Stretch([*reversed(before), *after], len(before) < reach, not single or len(after) < reach)


def around(storage: StorageBackend, namespace: str, session: Session, order: int) -> Stretch:
    """What surrounds the place ``order``, which itself is left out."""
    here, reach = in_session(session), BEFORE + AFTER
    before = storage.query(here & (where("order") < order), namespace=namespace, sort="-order", limit=reach)
    after = storage.query(here & (where("order") > order), namespace=namespace, sort="order", limit=reach)
    return Stretch([*reversed(before), *after], len(before) < reach, len(after) < reach)


def previous(storage: StorageBackend, namespace: str, session: Session, order: int) -> Entry | None:
    """The memory before that place."""
    condition = in_session(session) & (where("order") < order)
    return next(iter(storage.query(condition, namespace=namespace, sort="-order", limit=1)), None)


def following(storage: StorageBackend, namespace: str, session: Session, order: int) -> Entry | None:
    """The memory after that place."""
    condition = in_session(session) & (where("order") > order)
    return next(iter(storage.query(condition, namespace=namespace, sort="order", limit=1)), None)


def free_order(created_at: int, taken: set[int]) -> int:
    """A place for a memory of that time, behind those of the same time."""
    order = created_at * ORDERS_A_MS
    same = [given for given in taken if order <= given < order + ORDERS_A_MS]
    order = max(same) + 1 if same else order
    while order in taken:
        order += 1
    taken.add(order)
    return order


def changed_contexts(stretch: Stretch) -> Iterator[Entry]:
    """Those of the stretch, in new form, whose context is another one now, as far as their neighbours are known."""
    entries = stretch.entries
    for at, entry in enumerate(entries):
        if (at < BEFORE and not stretch.from_start) or (at >= len(entries) - AFTER and not stretch.to_end):
            continue
        context = [
            other.value["text"]
            for other in (*entries[max(0, at - BEFORE) : at], *entries[at + 1 : at + 1 + AFTER])
            if outlives(other, entry)
        ]
        if context != entry.value.get("context", []):
            value = {name: held for name, held in entry.value.items() if name != "context"}
            yield entry._replace(value={**value, "context": context} if context else value)


def outlives(other: Entry, entry: Entry) -> bool:
    """Whether ``other`` is there as long as ``entry`` is."""
    return other.expires_at is None or (entry.expires_at is not None and other.expires_at >= entry.expires_at)


def window_text(before: tuple[str, str | None], text: str, speaker: str | None) -> str:
    """The text of a window: the previous memory's text and speaker, and this one's."""
    return f"{spoken(*before)}\n{spoken(text, speaker)}"


def window_of(before: Entry | None, entry: Entry) -> str | None:
    """The text of a memory's window; None where nothing comes before it, or nothing that lasts as long."""
    if before is None or not outlives(before, entry):
        return None
    said = (before.value["text"], before.value.get("speaker"))
    return window_text(said, entry.value["text"], entry.value.get("speaker"))
