"""A graph of near neighbours over the vectors (HNSW, faiss, numbers of 16 bits), for sets too large to go through.

It finds the nearest of millions in a fraction of a millisecond, and takes minutes to build and a kilobyte a vector. So
it is built in the background while codes serve, and goes along with them: what was added since, and every search with
a filter, is left to the codes.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

from ..indexes import VectorIndex
from .scan import ScanCodes, load_faiss

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ..similarity import Floats

_HEADER: Final = struct.Struct("<4sIQIIQI")  # magic, width, count, m, highest level + 1, entry point, crc of the rest
_MAGIC: Final = b"MyNG"


class Graph:
    """The first vectors of an index, by position, in the space of its codes."""

    method = "hnsw"

    def __init__(self, index: VectorIndex, codes: ScanCodes) -> None:
        faiss = load_faiss()
        self._faiss = faiss
        self._index = index
        self._codes = codes
        self._graph = faiss.IndexHNSWSQ(codes.width, faiss.ScalarQuantizer.QT_fp16, index.m)
        self._graph.hnsw.efConstruction = index.ef_construction
        self._graph.is_trained = True

    @property
    def count(self) -> int:
        """How many vectors are in it."""
        return int(self._graph.ntotal)

    def add(self, matrix: Floats) -> None:
        """Append vectors, shape (vectors, dimensions)."""
        self._graph.add(self._codes.points(matrix))

    def nearest(self, query: Floats, limit: int) -> list[int]:
        """About the ``limit`` nearest positions, best first."""
        wanted = min(limit, self.count)
        parameters = self._faiss.SearchParametersHNSW()
        parameters.efSearch = max(self._index.ef, wanted)
        _, found = self._graph.search(self._codes.query_point(query), wanted, params=parameters)
        positions: list[int] = found[0][found[0] >= 0].tolist()
        return positions

    def to_bytes(self) -> bytes:
        """The graph, to be read with the codes that it was made with."""
        faiss, links = self._faiss, self._graph.hnsw
        store = faiss.downcast_index(self._graph.storage)
        body = b"".join(
            part.tobytes()
            for part in (
                faiss.vector_to_array(links.levels).astype("<i4"),
                faiss.vector_to_array(links.neighbors).astype("<i4"),
                faiss.vector_to_array(store.codes),
            )
        )
        header = _HEADER.pack(
            _MAGIC,
            self._codes.width,
            self.count,
            self._index.m,
            links.max_level + 1,
            max(links.entry_point, 0),
            zlib.crc32(body),
        )
        return header + body

    @classmethod
    def from_bytes(cls, index: VectorIndex, codes: ScanCodes, data: bytes) -> Graph | None:
        """What :meth:`to_bytes` gave, or None if it is not that: every number is checked before faiss gets it."""
        import numpy

        if len(data) < _HEADER.size:
            return None
        magic, width, count, m, levels_above, entry, crc = _HEADER.unpack_from(data)
        body = memoryview(data)[_HEADER.size :]
        if (
            (magic, width, m) != (_MAGIC, codes.width, index.m)
            or not 0 < count <= codes.count
            or zlib.crc32(body) != crc
        ):
            return None
        links_bytes = len(body) - count * (4 + 2 * width)
        if links_bytes < 0 or links_bytes % 4:
            return None
        levels = numpy.frombuffer(body, dtype="<i4", count=count)
        neighbors = numpy.frombuffer(body, dtype="<i4", count=links_bytes // 4, offset=4 * count)
        offsets = _offsets(levels, m)
        if not _sound(levels, neighbors, offsets, count, levels_above, entry):
            return None
        graph = cls(index, codes)
        faiss, links = graph._faiss, graph._graph.hnsw
        store = faiss.downcast_index(graph._graph.storage)
        faiss.copy_array_to_vector(levels.astype(numpy.int32), links.levels)
        faiss.copy_array_to_vector(neighbors.astype(numpy.int32), links.neighbors)
        faiss.copy_array_to_vector(offsets.astype(numpy.uint64), links.offsets)
        links.entry_point, links.max_level = entry, levels_above - 1
        stored = numpy.frombuffer(body, dtype=numpy.uint8, offset=4 * count + links_bytes)
        faiss.copy_array_to_vector(stored.copy(), store.codes)
        store.ntotal = graph._graph.ntotal = count
        return graph


def _offsets(levels: NDArray[numpy.int32], m: int) -> NDArray[numpy.int64]:
    """Where the links of each vector begin: 2m on the lowest level and m on each above."""
    import numpy

    offsets = numpy.zeros(len(levels) + 1, dtype=numpy.int64)
    numpy.cumsum((levels.astype(numpy.int64) + 1) * m, out=offsets[1:])
    return offsets


def _sound(levels: Any, neighbors: Any, offsets: Any, count: int, levels_above: int, entry: int) -> bool:
    """Whether no link leads out of the graph, nor to a vector on a level that it is not on."""
    import numpy

    if levels.min() < 1 or levels.max() != levels_above or levels_above > 64 or offsets[-1] != len(neighbors):
        return False
    if entry >= count or levels[entry] != levels_above:
        return False
    if neighbors.min() < -1 or neighbors.max() >= count:
        return False
    owner_start = numpy.repeat(offsets[:-1], numpy.diff(offsets))
    place = numpy.arange(len(neighbors)) - owner_start
    m = int(offsets[1] // (levels[0] + 1))
    level = numpy.maximum(place // m - 1, 0)  # the lowest has twice as many
    linked = neighbors >= 0
    return bool((levels[neighbors[linked]] > level[linked]).all())
