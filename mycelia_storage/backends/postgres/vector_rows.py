"""What a vector index keeps of an entry: its vector as real[], on its way to the server and compared by pgvector.

======  ====================================================================================
metric  kept
======  ====================================================================================
cosine  the vector divided by its length, so that the inner product is the cosine
dot     the vector
l2      the vector
======  ====================================================================================

A vector with a number beyond the largest half (65,504) fits no graph, and sums over it may overflow float32: it has
the state :data:`ALWAYS`. All others begin as :data:`LOOSE`; upkeep moves them into the graph (:mod:`.graphs`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from ...indexes import VectorIndex
from ...similarity import to_matrix

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ...similarity import Floats

#: States of a kept vector: compared with every query; in the graph; always a candidate.
LOOSE, IN_GRAPH, ALWAYS = 0, 1, 2

#: The largest number that a half holds.
LARGEST: Final = 65_504.0

_FLOAT4: Final = 700
_FLOAT4_ARRAY: Final = 1021
_HEAD: Final = struct.Struct(">iiiii")
_EMPTY: Final = struct.pack(">iii", 0, 0, _FLOAT4)
_COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END: Final = b"\xff\xff"


class RealArray:
    """A real[] in the server's binary form."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class _RealArrayDumper(Dumper):
    format = Format.BINARY
    oid = _FLOAT4_ARRAY

    def dump(self, obj: RealArray) -> bytes:
        return obj.data


psycopg.adapters.register_dumper(RealArray, _RealArrayDumper)


def kept_vectors(values: Sequence[bytes], index: VectorIndex) -> tuple[Floats, NDArray[numpy.int16]]:
    """What is kept of checked vectors: float32 of shape (vectors, dimensions), and their states."""
    import numpy

    matrix = to_matrix(values, index.dimensions)
    if index.metric == "cosine":
        return to_unit(matrix), numpy.zeros(len(values), dtype=numpy.int16)
    large = numpy.abs(matrix).max(axis=1, initial=0) > LARGEST
    return matrix, numpy.where(large, ALWAYS, LOOSE).astype(numpy.int16)


def to_unit(matrix: Floats) -> Floats:
    """Each row divided by its length."""
    import numpy

    wide = matrix.astype(numpy.float64)
    wide /= numpy.sqrt(numpy.einsum("ij,ij->i", wide, wide))[:, None]
    unit: Floats = wide.astype(numpy.float32)
    return unit


def to_array(numbers: Floats) -> RealArray:
    """All numbers of a matrix as one array."""
    return RealArray(next(_arrays(numbers.reshape(1, -1))) if numbers.size else _EMPTY)


def to_text(vector: Floats) -> str:
    """A vector as pgvector reads it."""
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def copy_data(keys: Iterable[str], states: Iterable[int], matrix: Floats) -> bytes:
    """Rows of key, state and numbers as COPY BINARY takes them."""
    parts = [_COPY_HEAD]
    for key, state, array in zip(keys, states, _arrays(matrix), strict=True):
        name = key.encode()
        parts += (struct.pack(">hi", 3, len(name)), name, struct.pack(">ihi", 2, state, len(array)), array)
    parts.append(_COPY_END)
    return b"".join(parts)


def _arrays(matrix: Floats) -> Iterator[bytes]:
    """The rows in the server's binary form: each number preceded by its length."""
    import numpy

    rows, width = matrix.shape
    cells = numpy.empty((rows, width), dtype=[("length", ">i4"), ("number", ">f4")])
    cells["length"], cells["number"] = 4, matrix
    head = _HEAD.pack(1, 0, _FLOAT4, width, 1)
    return (head + cells[row].tobytes() for row in range(rows))
