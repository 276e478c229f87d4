"""Where one way of searching vectors gives way to the next."""

from __future__ import annotations

from typing import NamedTuple


class VectorSettings(NamedTuple):
    """Where one way of searching gives way to the next. Sizes are numbers of float32."""

    resident_size: int = 2_500_000
    """Up to so many numbers (6,500 vectors of 384) are kept in memory as they are and compared exactly."""
    linked_from: int = 10_000
    """Vectors from which an index declared with ``index="hnsw"`` gets its graph."""
    largest_resident: int = 128_000_000
    """The same where faiss is not installed; more are read from the database at each search."""
    rescored: int = 100
    """How many of the nearest codes are ranked by their vectors at a time, for up to ten hits."""
