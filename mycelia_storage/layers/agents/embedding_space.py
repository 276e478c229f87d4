"""Embedding spaces: which vectors may be compared. A model and its number of dimensions, not the number alone."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import InvalidInput, InvalidValue
from .errors import WrongDimension


class EmbeddingSpace(NamedTuple):
    """A space: its name, and how many dimensions its vectors have."""

    name: str
    dimensions: int

    @classmethod
    def plain(cls, dimensions: int) -> EmbeddingSpace:
        """The space of callers who know no more than the number of dimensions."""
        return cls(str(dimensions), dimensions)

    @classmethod
    def named(cls, space_id: str, dimensions: int | None = None) -> EmbeddingSpace:
        """The space of an id like ``model:pooling:normalisation:384``. Raises InvalidInput."""
        if not isinstance(space_id, str) or not 0 < len(space_id.encode(errors="replace")) <= 120 or "\0" in space_id:
            raise InvalidInput("the id of an embedding space is a string of at most 120 bytes")
        if dimensions is None:
            last = space_id.rpartition(":")[2]
            if not last.isdecimal() or not last.isascii():
                raise InvalidInput("give the dimensions of the embedding space: its id does not end in :384 or so")
            dimensions = int(last)
        return cls(space_id, dimensions)

    def pack(self, vector: Any) -> bytes | None:
        """The float32 bytes of a vector; None for none, and for one that is all zero, which means the same.

        Raises WrongDimension, InvalidValue for what is no vector of finite numbers.
        """
        if vector is None:
            return None
        import numpy

        try:
            with numpy.errstate(over="ignore"):
                numbers = numpy.asarray(vector, dtype="<f4")
        except (TypeError, ValueError, OverflowError):
            raise InvalidValue("an embedding is a sequence of numbers") from None
        if numbers.ndim != 1:
            raise InvalidValue("an embedding is a sequence of numbers")
        if len(numbers) != self.dimensions:
            raise WrongDimension(self.dimensions, len(numbers))
        if not numpy.isfinite(numbers).all():
            raise InvalidValue("an embedding holds NaN or infinity")
        return numbers.tobytes() if numbers.any() else None


def unpack(vector: bytes | None) -> tuple[float, ...] | None:
    """The numbers of a stored vector."""
    if vector is None:
        return None
    import numpy

    return tuple(numpy.frombuffer(vector, dtype="<f4").tolist())
