"""The transaction that stores new memories: whether they are new, and what is done about those that are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...contract import StorageBackend
from ...errors import BatchError, KeyExists, StorageError
from ...filters import Filter, where
from .changing import write_update
from .records import Receipt, digest
from .spaces import Places
from .writing import Prepared, write_batch

Dedupe = Literal["skip", "merge"]


@dataclass(frozen=True)
class Duplicates:
    """What is to be done about texts that are there already: ``similar`` is a cosine, None for equal words alone."""

    action: Dedupe
    similar: float | None


def write_new(
    tx: StorageBackend, places: Places, batch: Sequence[Prepared], duplicates: Duplicates | None
) -> list[Receipt]:
    """Store new memories. Raises KeyExists for one, BatchError for several, EmbeddingMismatch."""
    _refuse_existing(tx, places, batch)
    if duplicates is not None:
        # One by one: the second of two equal texts finds the first.
        return [_write_unless_known(tx, places, prepared, duplicates) for prepared in batch]
    write_batch(tx, places, batch)
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


def _write_unless_known(tx: StorageBackend, places: Places, prepared: Prepared, duplicates: Duplicates) -> Receipt:
    new = prepared.new
    known = _known(tx, places, prepared, duplicates.similar)
    if known is None:
        write_batch(tx, places, [prepared])
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
