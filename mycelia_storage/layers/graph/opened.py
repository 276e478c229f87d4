"""A graph in its storage: where it is kept, how long it is open, and how it reads and writes there."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

from ...contract import StorageBackend, Transaction
from ...errors import StorageBusy, StorageClosed
from ...indexes import TextIndex
from ...names import Namespace
from .layout import Places
from .nodes import Kept
from .settings import StorageConfig

P = ParamSpec("P")
R = TypeVar("R")

#: How often a write is tried beside others before it asks to be alone.
_ATTEMPTS: Final = 4


class OpenGraph:
    """What a :class:`.graph.Graph` is before anything is in it."""

    def __init__(
        self,
        storage: StorageBackend,
        config: StorageConfig | None = None,
        *,
        name: Namespace = "graph",
        owns_storage: bool = False,
    ) -> None:
        """``name``: the namespace below which it is kept. ``owns_storage``: ``close`` closes the storage too.

        Of ``config`` the graph reads ``enable_foreign_keys`` and ``vector_config``; the rest opens the storage.
        Raises InvalidInput.
        """
        self.config = config or StorageConfig()
        self._storage = storage
        self._kept = Kept(Places.below(name), self.config.enable_foreign_keys)
        self._vector_index = self.config.vector_config.index
        self._owns_storage = owns_storage
        self._closed = False

    # -- life ----------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The namespace below which it is kept."""
        return self._kept.places.root

    @property
    def storage(self) -> StorageBackend:
        """What it is kept in. Raises StorageClosed after :meth:`close`."""
        if self._closed:
            raise StorageClosed("the graph is closed")
        return self._storage

    def initialize(self) -> None:
        """Make its namespaces and indexes, any number of times. Raises InvalidInput for vectors declared otherwise."""
        places = self._kept.places

        def make(tx: StorageBackend) -> None:
            for namespace in places.all():
                tx.create_namespace(namespace, exist_ok=True)
            tx.create_index(places.texts, TextIndex(), name="words")
            tx.create_index(places.vectors, self._vector_index, name="nearest")

        if self.storage.list_indexes(places.vectors).get("nearest") != self._vector_index:
            self.storage.run_transaction(make)

    def close(self) -> None:
        """Nothing can be called any more; a storage of its own is closed. Twice is no error."""
        if not self._closed:
            self._closed = True
            if self._owns_storage:
                self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, work: Callable[Concatenate[StorageBackend, Kept, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        def attempt(tx: StorageBackend) -> R:
            return work(tx, self._kept, *args, **kwargs)

        try:
            return self.storage.run_transaction(attempt, attempts=_ATTEMPTS)
        except StorageBusy:
            if isinstance(self.storage, Transaction):
                raise
        # Others got in between each time, where such transactions run side by side: now alone.
        with self.storage.transaction() as tx:
            return attempt(tx)

    def _snapshot(
        self, work: Callable[Concatenate[StorageBackend, Kept, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Several reads of one state; in a transaction that is its own."""
        with self.storage.transaction(read_only=True) as state:
            return work(state, self._kept, *args, **kwargs)
