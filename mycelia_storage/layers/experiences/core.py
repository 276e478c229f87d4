"""What all parts of a store share: the storage, the layout, opening, and how it reads and writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from ...contract import StorageBackend, Transaction
from ...errors import StorageCorrupt
from ...names import Namespace
from ..transacting import in_transaction
from .decay_settings import DecayConfig
from .errors import DimensionMismatch, EmbeddingProviderMismatch, InvalidField, NotFound, ReadOnly, SchemaMismatch
from .ids import new_id
from .layout import STORE_KEY, Layout
from .limits import MAX_DIMENSION, MAX_PROVIDER, check_count, check_text
from .turns import Turn, now_ms

R = TypeVar("R")

SCHEMA_VERSION: Final = 1

#: Turns the text of an experience or insight into a vector.
Embedder = Callable[[str], Any]


class Core:
    """A store that is open. The parts of :class:`ExperienceStore` build on it."""

    def __init__(
        self,
        storage: StorageBackend,
        dimension: int = 384,
        *,
        namespace: Namespace = "experiences",
        embedder: Embedder | None = None,
        decay: DecayConfig | None = None,
        provider: str | None = None,
        stale_after: float = 300.0,
        read_only: bool = False,
    ) -> None:
        check_count("dimension", dimension, MAX_DIMENSION)
        if not isinstance(stale_after, int | float) or not stale_after > 0:
            raise InvalidField("stale_after", "is a number of seconds over 0")
        self.storage = storage
        self.dimension = dimension
        self.embedder = embedder
        if provider is not None:
            check_text("provider", provider, MAX_PROVIDER)
        self.provider = provider
        self.decay = decay or DecayConfig()
        self.decay.check()
        self.stale_after = stale_after
        self.is_read_only = read_only
        self.layout = Layout(namespace)
        self._about = self._open()
        self._instance: str = self._about["instance"]

    def _open(self) -> dict[str, Any]:
        about = self.storage.get(STORE_KEY, namespace=self.layout.about)
        if about is None:
            if self.is_read_only:
                raise NotFound("store", self.layout.root)
            return self._settle()
        self._check(about)
        if not self.is_read_only:
            about = self.storage.run_transaction(self._touch)
        return dict(about)

    def _settle(self) -> dict[str, Any]:
        """Make the store, unless another has made it meanwhile."""
        with self.storage.transaction() as tx:
            about = tx.get(STORE_KEY, namespace=self.layout.about)
            if about is not None:
                self._check(about)
                return dict(about)
            tx.create_namespace(self.layout.sequence, exist_ok=True, track_changes=True)
            now = now_ms()
            about = {
                "schema": SCHEMA_VERSION, "dimension": self.dimension, "created": now, "opened": now,
                "instance": new_id(), "provider": self.provider,
            }  # fmt: skip
            tx.set(STORE_KEY, about, namespace=self.layout.about)
            return about

    def _touch(self, tx: Transaction) -> dict[str, Any]:
        about = tx.get(STORE_KEY, namespace=self.layout.about)
        self._check(about)
        about["opened"] = max(now_ms(), about["opened"])
        about["provider"] = about["provider"] or self.provider
        tx.set(STORE_KEY, about, namespace=self.layout.about)
        return dict(about)

    def _check(self, about: Any) -> None:
        if not isinstance(about, dict) or "schema" not in about:
            raise StorageCorrupt(f"the store of experiences in {self.layout.root!r} cannot be read")
        if about["schema"] != SCHEMA_VERSION:
            raise SchemaMismatch(f"the store has schema version {about['schema']}, this layer {SCHEMA_VERSION}")
        if about["dimension"] != self.dimension:
            raise DimensionMismatch(self.dimension, about["dimension"])
        if self.provider is not None and about["provider"] not in (None, self.provider):
            raise EmbeddingProviderMismatch(self.provider, about["provider"])

    def _check_writable(self) -> None:
        if self.is_read_only:
            raise ReadOnly

    def _write(self, work: Callable[[Turn], R], *, alone: bool = False, via: str | None = None) -> R:
        """Run ``work`` in a turn of its own, or of the transaction that the store was built on.

        ``alone``: in an exclusive transaction from the start. Else only where another turn was met: turns follow one
        another in any case, and a queue lets nobody be overtaken for ever.
        """
        self._check_writable()

        def run(tx: Transaction) -> R:
            turn = Turn(tx, self.layout, self._instance, via)
            result = work(turn)
            turn.finish()
            return result

        if not alone:
            return in_transaction(self.storage, run, attempts=1)
        with self.storage.transaction() as tx:
            return run(tx)

    def _snapshot(self) -> Transaction:
        """One state for several reads."""
        return self.storage.transaction(read_only=True)
