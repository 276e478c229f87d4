"""What the vector benchmark asks of a store. An adapter uses it as its users do, with keys and metadata.

Everything the first search needs is imported by the adapter's module, so that the time to open is the store's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..vector_data import Chosen, Floats


class VectorRival(ABC):
    """One open collection in ``folder``, made if missing. Vectors have length 1 and are compared by cosine."""

    name: ClassVar[str]
    how: ClassVar[str]
    """The kind of index and the settings that decide its speed."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions the results record."""
    persistent: ClassVar[bool] = True
    """Whether another process finds the collection in the folder."""
    shared: ClassVar[bool] = False
    """Whether two processes may have it open, one of them writing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def build(self, vectors: Floats) -> None:
        """Store all, keys and metadata by number, and make them searchable. Once, in an empty collection."""

    @abstractmethod
    def add(self, number: int, vector: Floats) -> None:
        """Store one more, as durably as the store does by itself."""

    @abstractmethod
    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        """Keys and metadata of the ``k`` nearest that ``chosen`` lets through, best first."""

    def finish(self) -> None:
        """Write down what a later process needs. After ``build`` and the adds; not timed with them."""

    def plan(self) -> dict[str, Any]:
        """What the last search says about itself."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Release everything."""
