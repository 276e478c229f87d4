"""What vector search means on every backend: which values are vectors, and how near a vector is to a query.

A score is computed in float64 from the float32 numbers as stored, and rounded to float32: so equal vectors have equal
scores, whichever way they were found. Larger is nearer: the cosine of the angle, the dot product, or minus the
Euclidean distance. Ties go by key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import InvalidValue
from .indexes import Metric, VectorIndex

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Floats = NDArray[numpy.float32]

#: A vector as callers give it: numbers, a numpy array, or its bytes.
VectorInput = Any


def to_vector(vector: VectorInput, index: VectorIndex) -> Floats:
    """A query as float32, shape (dimensions,). Raises InvalidValue as a stored vector would."""
    import numpy

    if isinstance(vector, bytes | bytearray | memoryview):
        return _checked(bytes(vector), index, "the vector")
    try:
        with numpy.errstate(over="ignore"):
            numbers = numpy.asarray(vector, dtype=numpy.float32)
    except (TypeError, ValueError, OverflowError):
        raise InvalidValue(f"a vector is {index.dimensions} numbers, or their bytes") from None
    if numbers.ndim != 1:
        raise InvalidValue(f"a vector is {index.dimensions} numbers in a row, not an array of shape {numbers.shape}")
    return _checked(numbers.astype("<f4", copy=False).tobytes(), index, "the vector")


def check_vector(value: Any, index: VectorIndex, namespace: str, key: str) -> None:
    """Raise InvalidValue unless ``value`` is a vector that the index takes."""
    about = f"the value of key {key!r} in namespace {namespace!r}"
    if not isinstance(value, bytes):
        raise InvalidValue(f"{about} is no vector, which is bytes: the namespace has a vector index")
    _checked(value, index, about)


def are_vectors(values: Sequence[Any], index: VectorIndex) -> bool:
    """Whether the index takes all of these values: many at once cost a fraction of what they cost one by one."""
    import numpy

    size = 4 * index.dimensions
    if not all(value.__class__ is bytes and len(value) == size for value in values):
        return False
    numbers = to_matrix(values, index.dimensions)
    return bool(numpy.isfinite(numbers).all()) and (index.metric != "cosine" or bool(numbers.any(axis=1).all()))


def _checked(value: bytes, index: VectorIndex, about: str) -> Floats:
    import numpy

    if len(value) != 4 * index.dimensions:
        held = f"{len(value) // 4} dimensions" if len(value) % 4 == 0 else f"{len(value)} bytes"
        raise InvalidValue(f"{about} has {held}, and the vector index {index.dimensions} dimensions")
    numbers = numpy.frombuffer(value, dtype="<f4")
    if not numpy.isfinite(numbers).all():
        raise InvalidValue(f"{about} holds NaN or infinity")
    if index.metric == "cosine" and not numbers.any():
        raise InvalidValue(f"{about} is all zero, and a zero vector has no direction to compare by cosine")
    return numbers


def to_matrix(vectors: Sequence[bytes], dimensions: int) -> Floats:
    """Stored vectors as float32, shape (vectors, dimensions)."""
    import numpy

    return numpy.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), dimensions)


class Scorer:
    """Scores vectors against one query, float32, shape (dimensions,)."""

    def __init__(self, query: Floats, metric: Metric) -> None:
        import numpy

        self._metric = metric
        self._query = query.astype(numpy.float64)
        self._norm = float(numpy.sqrt(self._query @ self._query))

    def scores(self, matrix: Floats) -> Floats:
        """The score of each row, float32, shape (rows,)."""
        import numpy

        wide = matrix.astype(numpy.float64)
        if self._metric == "cosine":
            found = numpy.einsum("ij,j->i", wide, self._query)
            found /= numpy.sqrt(numpy.einsum("ij,ij->i", wide, wide)) * self._norm
            cosines: Floats = found.astype(numpy.float32)
            return cosines
        if self._metric == "l2":
            wide -= self._query
            found = -numpy.sqrt(numpy.einsum("ij,ij->i", wide, wide))
        else:
            found = numpy.einsum("ij,j->i", wide, self._query)
        with numpy.errstate(over="ignore", under="ignore"):
            rounded: Floats = found.astype(numpy.float32)
        return rounded


def scores(matrix: Floats, query: Floats, metric: Metric) -> Floats:
    """The score of each row, float32, shape (rows,)."""
    return Scorer(query, metric).scores(matrix)


def best(found: Iterable[tuple[str, float]], limit: int) -> list[tuple[str, float]]:
    """The ``limit`` best of pairs of key and score, best first, ties in order of key."""
    from heapq import nsmallest

    return nsmallest(limit, found, key=lambda pair: (-pair[1], pair[0]))
