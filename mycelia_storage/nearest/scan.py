"""Four bits for every two dimensions of a vector, all of them compared with each query by SIMD instructions (faiss).

A vector is centred on the mean, rotated (:mod:`.rotation`), scaled to unit variance and coded pair by pair
(:mod:`.codebook`). Distances between codes rank roughly: what they find is ranked anew by the vectors themselves.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ..indexes import VectorIndex
from . import codebook
from .rotation import rotation

if TYPE_CHECKING:
    from ..similarity import Floats
    from .resident import Mask, Positions

#: How far the mean of the codes may move, in standard deviations a dimension, before they are made anew.
DRIFT: Final = 0.15

_AT_ONCE: Final = 8_192
_HEADER: Final = struct.Struct("<4sHHIQfI")  # magic, codebook, layout, dimensions, count, scale, crc of the rest
_MAGIC: Final = b"MyNS"


def load_faiss() -> Any:
    """The library, or None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


class ScanCodes:
    """The codes of vectors, by position."""

    method = "scan"

    def __init__(self, index: VectorIndex, mean: Floats, scale: float) -> None:
        import numpy

        faiss = load_faiss()
        self._index = index
        self._width = index.dimensions + index.dimensions % 2
        self._mean = mean
        self._scale = scale
        self._rotation = rotation(self._width)
        self._sum = numpy.zeros(self._width, dtype=numpy.float64)
        self._squares = 0.0
        self._faiss = faiss
        self._codes, self._lists = _empty_codes(self._width, index.metric == "dot")

    @classmethod
    def fitted(cls, index: VectorIndex, sample: Floats) -> ScanCodes:
        """No codes yet, centred and scaled for vectors like those of the sample."""
        import numpy

        directions = _directions(index, sample)
        mean = directions.mean(axis=0, dtype=numpy.float64).astype(numpy.float32)
        spread = float(numpy.square(directions - mean, dtype=numpy.float32).mean(dtype=numpy.float64)) ** 0.5
        return cls(index, mean, spread if 0 < spread < float("inf") else 1.0)

    @property
    def count(self) -> int:
        """How many vectors have been added."""
        return int(self._codes.ntotal)

    def add(self, matrix: Floats) -> None:
        """Append vectors, shape (vectors, dimensions)."""
        import numpy

        for start in range(0, len(matrix), _AT_ONCE):
            coded = self._prepared(_directions(self._index, matrix[start : start + _AT_ONCE]) - self._mean)
            coded /= numpy.float32(self._scale)
            self._sum += coded.sum(axis=0, dtype=numpy.float64)
            self._squares += float(numpy.einsum("ij,ij->", coded, coded, dtype=numpy.float64))
            self._codes.add(coded)

    def nearest(self, query: Floats, limit: int, allowed: Mask | None) -> Positions:
        """About the ``limit`` nearest positions, best first."""
        import numpy

        target = _directions(self._index, query[None])
        if self._index.metric != "dot":
            target = target - self._mean
        turned = self._prepared(target)
        if self._index.metric != "dot":
            turned /= numpy.float32(self._scale)
        parameters = None
        if allowed is not None:
            bits = numpy.packbits(allowed, bitorder="little")
            chosen = self._faiss.IDSelectorBitmap(len(allowed), self._faiss.swig_ptr(bits))
            parameters = self._faiss.SearchParametersIVF(nprobe=1, sel=chosen)
        _, found = self._codes.search(turned, min(limit, self.count), params=parameters)
        positions: Positions = found[0]
        return positions[positions >= 0]

    def has_drifted(self) -> bool:
        """Whether the vectors added since have another mean or spread than those it was fitted to."""
        count = self.count
        if not count:
            return False
        moved = float(self._sum @ self._sum) ** 0.5 / count / self._width**0.5
        spread = (self._squares / count / self._width) ** 0.5
        return moved > DRIFT or not 0.5 < spread < 2

    def _prepared(self, rows: Floats) -> Floats:
        import numpy

        if self._width != self._index.dimensions:
            rows = numpy.pad(rows, ((0, 0), (0, 1)))
        with numpy.errstate(over="ignore", invalid="ignore"):
            return numpy.nan_to_num(rows @ self._rotation)

    # -- kept in the database --------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The codes and what they were made with."""
        body = b"".join(
            (
                self._mean.astype("<f4").tobytes(),
                self._sum.astype("<f8").tobytes(),
                struct.pack("<d", self._squares),
                self._raw_codes().tobytes(),
            )
        )
        header = _HEADER.pack(
            _MAGIC, codebook.VERSION, _layout(), self._index.dimensions, self.count, self._scale, zlib.crc32(body)
        )
        return header + body

    @classmethod
    def from_bytes(cls, index: VectorIndex, data: bytes) -> ScanCodes | None:
        """What :meth:`to_bytes` gave, or None if it is damaged or of another version: codes can be made again."""
        import numpy

        if len(data) < _HEADER.size:
            return None
        magic, version, layout, dimensions, count, scale, crc = _HEADER.unpack_from(data)
        width = index.dimensions + index.dimensions % 2
        expected = 4 * index.dimensions + 8 * width + 8 + -(-count // 32) * 32 * width // 4
        body = memoryview(data)[_HEADER.size :]
        if (magic, version, layout, dimensions) != (_MAGIC, codebook.VERSION, _layout(), index.dimensions):
            return None
        if len(body) < expected or not 0 < scale < float("inf"):
            return None
        body = body[:expected]
        if zlib.crc32(body) != crc:
            return None
        at = 4 * index.dimensions
        codes = cls(index, numpy.frombuffer(body[:at], dtype="<f4").astype(numpy.float32), scale)
        codes._sum = numpy.frombuffer(body[at : at + 8 * width], dtype="<f8").astype(numpy.float64)
        (codes._squares,) = struct.unpack_from("<d", body, at + 8 * width)
        codes._lists.resize(0, count)
        codes._raw_codes()[:] = numpy.frombuffer(body[at + 8 * width + 8 :], dtype=numpy.uint8)
        ids = codes._faiss.rev_swig_ptr(codes._lists.get_ids(0), count) if count else []
        ids[:] = numpy.arange(count, dtype=numpy.int64)
        codes._codes.ntotal = count
        return codes

    def size(self) -> int:
        """The length of :meth:`to_bytes`."""
        stored = -(-self.count // 32) * 32 * self._width // 4
        return _HEADER.size + 4 * self._index.dimensions + 8 * self._width + 8 + stored

    def _raw_codes(self) -> Any:
        """The packed codes as a writable array of bytes."""
        import numpy

        stored = self._lists.list_size(0)
        if not stored:
            return numpy.empty(0, dtype=numpy.uint8)
        blocks = -(-stored // self._lists.n_per_block)
        return self._faiss.rev_swig_ptr(self._lists.get_codes(0), blocks * self._lists.block_size)


def _directions(index: VectorIndex, matrix: Floats) -> Floats:
    """The vectors, for cosine divided by their norms."""
    import numpy

    if index.metric != "cosine":
        return matrix
    norms = numpy.sqrt(numpy.einsum("ij,ij->i", matrix, matrix, dtype=numpy.float64))
    directions: Floats = (matrix / norms[:, None]).astype(numpy.float32)
    return directions


def _empty_codes(width: int, dot: bool) -> tuple[Any, Any]:
    """An inverted file with one list, whose quantizers all have our codebook, and that list."""
    import numpy

    faiss = load_faiss()
    centre = faiss.IndexFlatIP(width) if dot else faiss.IndexFlatL2(width)
    centre.add(numpy.zeros((1, width), dtype=numpy.float32))
    metric = faiss.METRIC_INNER_PRODUCT if dot else faiss.METRIC_L2
    codes = faiss.IndexIVFPQFastScan(centre, width, 1, width // 2, 4, metric)
    codes.by_residual = False
    codes.is_trained = True
    points = numpy.tile(numpy.array(codebook.POINTS, dtype=numpy.float32).ravel(), width // 2)
    faiss.copy_array_to_vector(points, codes.pq.centroids)
    return codes, faiss.downcast_InvertedLists(codes.invlists)


@lru_cache(maxsize=1)
def _layout() -> int:
    """A number that tells how the installed faiss packs codes: others than its own are not loaded."""
    import numpy

    codes, lists = _empty_codes(8, dot=False)
    codes.add(numpy.array(codebook.POINTS, dtype=numpy.float32).ravel()[:32].repeat(9).reshape(36, 8))
    packed = load_faiss().rev_swig_ptr(lists.get_codes(0), 2 * lists.block_size)
    return zlib.crc32(packed.tobytes()) & 0xFFFF
