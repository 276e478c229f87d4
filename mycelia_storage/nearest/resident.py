"""The vectors themselves in memory: exact, and as fast as any approximation while they are few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..indexes import VectorIndex

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ..similarity import Floats

    Positions = NDArray[numpy.int64]
    Mask = NDArray[numpy.bool_]

#: A product of vectors in float32 is this far off at most for each dimension, relative to the product of the norms.
_ROUNDING: Final = 1.2e-7

_SHORT: Final = 1e-25


class Resident:
    """Vectors by position."""

    method = "exact"

    def __init__(self, index: VectorIndex) -> None:
        import numpy

        self._metric = index.metric
        self._matrix: Floats = numpy.empty((64, index.dimensions), dtype=numpy.float32)
        self._norms: Floats = numpy.empty(64, dtype=numpy.float32)
        self.count = 0

    def add(self, matrix: Floats) -> None:
        """Append vectors, shape (vectors, dimensions)."""
        import numpy

        needed = self.count + len(matrix)
        if needed > len(self._matrix):
            room = max(needed, 2 * len(self._matrix))
            self._matrix = _grown(self._matrix, self.count, room)
            self._norms = _grown(self._norms, self.count, room)
        self._matrix[self.count : needed] = matrix
        wide = matrix.astype(numpy.float64)
        with numpy.errstate(over="ignore"):
            self._norms[self.count : needed] = numpy.sqrt(numpy.einsum("ij,ij->i", wide, wide))
        self.count = needed

    def nearest(self, query: Floats, limit: int, allowed: Mask | None, upto: int) -> Positions:
        """The positions below ``upto`` that can be among the ``limit`` nearest: those, and what rounding does not tell
        from them.
        """
        import numpy

        norms = self._norms[:upto]
        length = float(numpy.sqrt(query.astype(numpy.float64) @ query.astype(numpy.float64)))
        with numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if self._metric == "cosine":
                query, length = (query / length).astype(numpy.float32), 1.0
            # Not @, which would wake the threads of BLAS and wait for them, on a busy machine for milliseconds.
            found: Floats = numpy.vecdot(self._matrix[:upto], query)
            error = norms * (length * _ROUNDING * len(query))
            if self._metric == "cosine":
                found, error = found / norms, error / norms
            elif self._metric == "l2":
                error = 2 * error + (norms + length) ** 2 * 4e-7
                found = 2 * found - norms * norms
        if allowed is not None:
            found = numpy.where(allowed, found, -numpy.inf)
        if not numpy.isfinite(found).any() or numpy.isnan(found).any() or not numpy.isfinite(error).all():
            everything = numpy.arange(upto) if allowed is None else numpy.flatnonzero(allowed)
            return everything.astype(numpy.int64, copy=False)
        if limit < upto:
            least = numpy.partition(found, upto - limit)[upto - limit]
            near = found >= least - 2 * float(error.max())
            if self._metric == "cosine":  # a product with so short a vector is no longer a number of full precision
                near |= norms < _SHORT
            if allowed is not None:
                near &= allowed
            return numpy.flatnonzero(near)
        return numpy.flatnonzero(allowed) if allowed is not None else numpy.arange(upto)

    def rows(self, positions: Positions) -> Floats:
        """The vectors at these positions."""
        taken: Floats = self._matrix[positions]
        return taken


def _grown(array: Floats, count: int, room: int) -> Floats:
    import numpy

    larger = numpy.empty((room, *array.shape[1:]), dtype=array.dtype)
    larger[:count] = array[:count]
    return larger
