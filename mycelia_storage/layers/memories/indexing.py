"""The indexes of the memories themselves; those of vectors come with their spaces (:mod:`.spaces`)."""

from __future__ import annotations

from typing import Final

from ...contract import StorageBackend
from ...errors import StorageReadOnly
from ...indexes import FieldIndex, Index
from ..transacting import in_transaction
from .contexts import TEXT_INDEX
from .spaces import Places

_INDEXES: Final[tuple[Index, ...]] = (
    TEXT_INDEX,
    FieldIndex(("conversation", "session", "order")),
    FieldIndex("subject"),
    FieldIndex("digest"),
)


def make_indexes(storage: StorageBackend, places: Places) -> None:
    """Make those that are missing, and with them the namespace; a storage that can only be read stays as it is."""
    existing = storage.list_indexes(places.main)
    missing = [index for index in _INDEXES if index.default_name not in existing]
    if not missing:
        return

    def make(tx: StorageBackend) -> None:
        for index in missing:
            tx.create_index(places.main, index)

    try:
        in_transaction(storage, make)
    except StorageReadOnly:
        pass  # what is there can be read
