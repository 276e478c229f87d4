"""The store of experiences: all its parts as one object."""

from __future__ import annotations

from .entities import StoreMetadata
from .lines import Lines


class ExperienceStore(Lines):
    """Shared knowledge of agents, over any storage.

    ``storage``: a storage, or a transaction, which the store then joins. ``dimension`` of all vectors, fixed when the
    store is made. ``namespace``: everything lies below it (:mod:`.layout`). ``embedder``: text -> vector, asked where
    no vector is given. ``provider``: a name for where vectors come from, such as that of the model; a store keeps the
    first name it is given and refuses another. ``decay``: settings for all collectives without their own.
    ``stale_after``: seconds after which an agent that is not heard of counts as gone. ``read_only``: writes raise
    ReadOnly, and a store must be there.

    The storage stays its caller's: closing the store does not close it. Raises DimensionMismatch, SchemaMismatch,
    EmbeddingProviderMismatch, InvalidField, NotFound (read_only, and there is no store).
    """

    def metadata(self) -> StoreMetadata:
        """What the store is, as read when it was opened."""
        about = self._about
        return StoreMetadata(
            about["schema"], about["dimension"], about["created"], about["opened"], about["instance"], about["provider"]
        )

    def path(self) -> str | None:
        """Where the storage keeps its file or folder, None where it has none."""
        path = getattr(self.storage, "path", None)
        return path if isinstance(path, str) else None

    def close(self) -> None:
        """Nothing is pending, ever: every call has committed when it returns. The storage stays open."""
