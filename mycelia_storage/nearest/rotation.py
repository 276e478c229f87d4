"""A fixed random rotation, the same everywhere and for ever: codes are stored, and queries are rotated anew.

It is made of permutations, signs and Hadamard transforms, which mix all dimensions in a few milliseconds where an
orthogonalised random matrix of 1,536 dimensions takes a good part of a second.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import shake_256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..similarity import Floats

_ROUNDS: Final = 4


@lru_cache(maxsize=8)
def rotation(dimensions: int) -> Floats:
    """An orthogonal matrix, float32, shape (dimensions, dimensions); vectors are rows, multiplied from the left."""
    import numpy

    rows = numpy.eye(dimensions, dtype=numpy.float32)
    block = 1 << (dimensions.bit_length() - 1)
    for turn in range(_ROUNDS):
        noise = shake_256(f"mycelia rotation {dimensions} {turn}".encode()).digest(9 * dimensions)
        order = numpy.argsort(numpy.frombuffer(noise[: 8 * dimensions], dtype="<u8"), kind="stable")
        flips = numpy.frombuffer(noise[8 * dimensions :], dtype=numpy.uint8) & 1
        signs = numpy.where(flips, numpy.float32(-1), numpy.float32(1))
        rows = rows[:, order] * signs
        rows[:, :block] = _hadamard(rows[:, :block])
        if block < dimensions:  # both ends in turn, so that no dimension is left out
            rows[:, -block:] = _hadamard(rows[:, -block:])
    return rows


def _hadamard(rows: Floats) -> Floats:
    """The normalised Walsh-Hadamard transform of each row; the width is a power of two."""
    import numpy

    width = rows.shape[1]
    high = 1 << (width.bit_length() // 2)
    blocks = rows.reshape(len(rows), high, width // high)
    turned: Floats = numpy.matmul(numpy.matmul(_matrix(high), blocks), _matrix(width // high))
    return turned.reshape(len(rows), width)


def _matrix(size: int) -> Floats:
    import numpy

    found: Floats = numpy.ones((1, 1), dtype=numpy.float32)
    while len(found) < size:
        above: Floats = numpy.concatenate((found, found), axis=1)
        below: Floats = numpy.concatenate((found, -found), axis=1)
        found = numpy.concatenate((above, below))
    found /= numpy.float32(size**0.5)
    return found
