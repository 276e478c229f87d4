"""Four bits for every two dimensions of a vector, all of them compared with each query by SIMD instructions (faiss).

A vector becomes a point whose squared Euclidean distance to the query's point ranks as the metric does: for cosine its
direction; for the dot product, divided by the largest norm and lifted onto the unit sphere in a dimension more. The
point is centred on the mean, rotated (:mod:`.rotation`), scaled to unit variance and coded pair by pair
(:mod:`.codebook`). Distances to codes rank roughly: what they find is ranked anew by the vectors themselves.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
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

#: Standard deviations beyond the mean to which codes of near vectors may lie.
_FARTHEST: Final = 5.0

#: Where all codes end anyhow; farther numbers would only overflow.
_FAR: Final = 1e6

#: How much larger than the largest norm that the codes were fitted to a norm may be.
_LARGER: Final = 1.01
# magic, codebook, layout, width, count, scale, largest norm, whether outgrown, crc of the rest
_HEADER: Final = struct.Struct("<4sHHIQff?I")
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

    def __init__(self, index: VectorIndex, mean: Floats, scale: float, largest: float) -> None:
        import numpy

        self._faiss = load_faiss()
        self._index = index
        self._mean = mean
        self.width = len(mean)
        self._scale = scale
        self._largest = largest
        self._rotation = rotation(self.width)
        self._sum = numpy.zeros(self.width, dtype=numpy.float64)
        self._squares = 0.0
        self._outgrown = False
        self._codes, self._lists = _empty_codes(self.width)

    @classmethod
    def fitted(cls, index: VectorIndex, sample: Floats) -> ScanCodes:
        """No codes yet, centred and scaled for vectors like those of the sample."""
        import numpy

        largest = float(_norms(sample).max()) if index.metric == "dot" else 1.0
        largest = float(numpy.float32(min(largest or 1.0, 3e38)))
        with numpy.errstate(over="ignore", invalid="ignore"):
            points = _points(index, sample, largest)
            mean = points.mean(axis=0, dtype=numpy.float64).astype(numpy.float32)
            spread = float(numpy.square(points - mean, dtype=numpy.float64).mean()) ** 0.5
        spread = float(numpy.float32(min(spread, 3e38)))
        return cls(index, mean, spread if 0 < spread < float("inf") else 1.0, largest)

    @property
    def count(self) -> int:
        """How many vectors have been added."""
        return int(self._codes.ntotal)

    def add(self, matrix: Floats) -> None:
        """Append vectors, shape (vectors, dimensions)."""
        import numpy

        for start in range(0, len(matrix), _AT_ONCE):
            part = matrix[start : start + _AT_ONCE]
            if self._index.metric == "dot" and float(_norms(part).max()) > self._largest * _LARGER:
                self._outgrown = True
            with numpy.errstate(over="ignore", invalid="ignore"):
                coded = self._turned(self.points(part))
            if not numpy.isfinite(coded).all():  # vectors far out of the range of the others
                coded = numpy.nan_to_num(coded)
            numpy.clip(coded, -_FAR, _FAR, out=coded)
            self._sum += coded.sum(axis=0, dtype=numpy.float64)
            self._squares += float(numpy.einsum("ij,ij->", coded, coded, dtype=numpy.float64))
            with _one_thread(self._faiss):
                self._codes.add(coded)

    def nearest(self, query: Floats, limit: int, allowed: Mask | None) -> tuple[Positions, Floats]:
        """About the ``limit`` nearest positions, best first, with squared distances of about their points."""
        import numpy

        parameters = None
        if allowed is not None:
            bits = numpy.packbits(allowed, bitorder="little")
            chosen = self._faiss.IDSelectorBitmap(len(allowed), self._faiss.swig_ptr(bits))
            parameters = self._faiss.SearchParametersIVF(nprobe=1, sel=chosen)
        with numpy.errstate(over="ignore", invalid="ignore"):
            turned = self._turned(self._centred_query(query))
            with _one_thread(self._faiss):
                distances, found = self._codes.search(turned, min(limit, self.count), params=parameters)
            positions: Positions = found[0]
            held = int(numpy.count_nonzero(positions >= 0))
            return positions[:held], distances[0, :held] * numpy.float32(min(self._scale**2, 3e38))

    def _turned(self, points: Floats) -> Floats:
        """Points, rotated."""
        import numpy

        if len(points) == 1:
            # Row by row on this thread: the threads of BLAS, woken for one vector, cost more than they help.
            turned: Floats = numpy.vecdot(_turned_rotation(self.width), points)[None]
        else:
            turned = numpy.matmul(points, self._rotation)
        return turned

    def farthest(self, sample: Floats, least: float) -> float:
        """How far codes are, at most, from queries whose cosine with the coded vector is ``least``.

        Seen on vectors of the sample and queries turned away from them, half towards another one of the sample, half
        anywhere. Beyond it, by the deviation seen, is about one vector in a million that lies exactly at ``least``.
        """
        import numpy

        with numpy.errstate(over="ignore", invalid="ignore"):
            wide = numpy.nan_to_num(sample.astype(numpy.float64) / _norms(sample)[:, None])
            away = numpy.random.default_rng(0).standard_normal(wide.shape)
            away[::2] = numpy.roll(wide, 1, axis=0)[::2]
            away -= numpy.einsum("ij,ij->i", away, wide)[:, None] * wide
            lengths = numpy.sqrt(numpy.einsum("ij,ij->i", away, away))
            some = lengths > 1e-6
            away = away[some] / lengths[some][:, None]
            queries = (least * wide[some] + max(0.0, 1 - least * least) ** 0.5 * away).astype(numpy.float32)
            twin = ScanCodes(self._index, self._mean, self._scale, self._largest)
            twin.add(sample[some])
            with _one_thread(self._faiss):
                distances, found = twin._codes.search(self._turned(self.points(queries)), twin.count)
        own = distances[found == numpy.arange(len(queries))[:, None]] * numpy.float32(min(self._scale**2, 3e38))
        if not len(own):
            return float("inf")
        return float(max(own.mean() + _FARTHEST * own.std(), own.max()))

    def distances(self, query: Floats, scores: Floats) -> Floats:
        """The squared distances of points whose vectors have these scores."""
        if self._index.metric == "l2":
            return scores * scores
        if self._index.metric == "cosine":
            return 2 - 2 * scores
        norm = float(_norms(query[None])[0])
        return 2 - scores * (2 / (self._largest * (norm or 1.0)))

    def points(self, matrix: Floats) -> Floats:
        """The points of vectors, centred and scaled, float32, shape (vectors, width)."""
        import numpy

        with numpy.errstate(over="ignore", invalid="ignore"):
            centred: Floats = numpy.subtract(_points(self._index, matrix, self._largest), self._mean)
            centred /= numpy.float32(self._scale)
        return centred

    def query_point(self, query: Floats) -> Floats:
        """The point of a query, likewise, shape (1, width)."""
        import numpy

        with numpy.errstate(over="ignore", invalid="ignore"):
            return self._centred_query(query)

    def _centred_query(self, query: Floats) -> Floats:
        centred: Floats = _query_point(self._index, query, self.width)
        centred -= self._mean
        centred /= self._scale
        return centred

    def holds(self, matrix: Floats, only: Mask) -> bool:
        """Whether the one position of the mask has the code of this vector, shape (1, dimensions)."""
        twin = ScanCodes(self._index, self._mean, self._scale, self._largest)
        twin.add(matrix)
        _, wanted = twin.nearest(matrix[0], 1, None)
        _, found = self.nearest(matrix[0], 1, only)
        return len(found) == 1 and bool(abs(found[0] - wanted[0]) <= 1e-3 * abs(wanted[0]) + 1e-6)

    def has_drifted(self) -> bool:
        """Whether the vectors have another mean or spread, or larger norms, than those it was fitted to."""
        count = self.count
        if self._outgrown:
            return True
        if not count:
            return False
        moved = float(self._sum @ self._sum) ** 0.5 / count / self.width**0.5
        spread = (self._squares / count / self.width) ** 0.5
        return moved > DRIFT or not 0.5 < spread < 2

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
            _MAGIC,
            codebook.VERSION,
            _layout(),
            self.width,
            self.count,
            self._scale,
            self._largest,
            self._outgrown,
            zlib.crc32(body),
        )
        return header + body

    @classmethod
    def from_bytes(cls, index: VectorIndex, data: bytes) -> ScanCodes | None:
        """What :meth:`to_bytes` gave, or None if it is damaged or of another version: codes can be made again."""
        import numpy

        if len(data) < _HEADER.size:
            return None
        magic, version, layout, width, count, scale, largest, outgrown, crc = _HEADER.unpack_from(data)
        pairs = width // 2 + width // 2 % 2  # faiss rounds up to an even number
        expected = 12 * width + 8 + -(-count // 32) * 16 * pairs
        body = memoryview(data)[_HEADER.size :]
        if (magic, version, layout, width) != (_MAGIC, codebook.VERSION, _layout(), _width(index)):
            return None
        if len(body) != expected or not (0 < scale < float("inf") and 0 < largest < float("inf")):
            return None
        if zlib.crc32(body) != crc:
            return None
        at = 4 * width
        codes = cls(index, numpy.frombuffer(body[:at], dtype="<f4").astype(numpy.float32), scale, largest)
        codes._outgrown = outgrown
        codes._sum = numpy.frombuffer(body[at : at + 8 * width], dtype="<f8").astype(numpy.float64)
        (codes._squares,) = struct.unpack_from("<d", body, at + 8 * width)
        codes._lists.resize(0, count)
        codes._raw_codes()[:] = numpy.frombuffer(body[at + 8 * width + 8 :], dtype=numpy.uint8)
        ids = codes._faiss.rev_swig_ptr(codes._lists.get_ids(0), count) if count else []
        ids[:] = numpy.arange(count, dtype=numpy.int64)
        codes._codes.ntotal = count
        return codes

    def _raw_codes(self) -> Any:
        """The packed codes as a writable array of bytes."""
        import numpy

        stored = self._lists.list_size(0)
        if not stored:
            return numpy.empty(0, dtype=numpy.uint8)
        blocks = -(-stored // self._lists.n_per_block)
        return self._faiss.rev_swig_ptr(self._lists.get_codes(0), blocks * self._lists.block_size)


@contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
    """Keep faiss to the calling thread: waking others costs more than they help. Other threads keep their setting."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _width(index: VectorIndex) -> int:
    """The dimensions of points: an even number."""
    lifted = index.dimensions + (index.metric == "dot")
    return lifted + lifted % 2


def _norms(matrix: Floats) -> Any:
    import numpy

    return numpy.sqrt(numpy.einsum("ij,ij->i", matrix, matrix, dtype=numpy.float64))


@lru_cache(maxsize=8)
def _turned_rotation(width: int) -> Floats:
    """The columns of the rotation as rows."""
    import numpy

    return numpy.ascontiguousarray(rotation(width).T)


def _points(index: VectorIndex, matrix: Floats, largest: float) -> Floats:
    """The points that stand for vectors, float32, shape (vectors, width)."""
    import numpy

    points = numpy.zeros((len(matrix), _width(index)), dtype=numpy.float32)
    points[:, : index.dimensions] = matrix
    if index.metric == "cosine":
        points[:, : index.dimensions] = matrix / _norms(matrix)[:, None]
    elif index.metric == "dot":
        points /= numpy.float32(largest)
        norms = numpy.minimum(_norms(matrix) / largest, 1)
        points[:, index.dimensions] = numpy.sqrt(1 - norms * norms)
    return points


def _query_point(index: VectorIndex, query: Floats, width: int) -> Floats:
    """The point that stands for a query, float32, shape (1, width)."""
    import numpy

    point = numpy.zeros((1, width), dtype=numpy.float32)
    point[0, : index.dimensions] = query if index.metric == "l2" else query / (_norms(query[None])[0] or 1)
    return point


def _empty_codes(width: int) -> tuple[Any, Any]:
    """An inverted file with one list, whose quantizers all have our codebook, and that list."""
    import numpy

    faiss = load_faiss()
    centre = faiss.IndexFlatL2(width)
    centre.add(numpy.zeros((1, width), dtype=numpy.float32))
    codes = faiss.IndexIVFPQFastScan(centre, width, 1, width // 2, 4, faiss.METRIC_L2)
    codes.by_residual = False
    codes.is_trained = True
    points = numpy.tile(numpy.array(codebook.POINTS, dtype=numpy.float32).ravel(), width // 2)
    faiss.copy_array_to_vector(points, codes.pq.centroids)
    return codes, faiss.downcast_InvertedLists(codes.invlists)


@lru_cache(maxsize=1)
def _layout() -> int:
    """A number that tells how the installed faiss packs codes: others than its own are not loaded."""
    import numpy

    codes, lists = _empty_codes(8)
    with _one_thread(load_faiss()):
        codes.add(numpy.array(codebook.POINTS, dtype=numpy.float32).ravel()[:32].repeat(9).reshape(36, 8))
    packed = load_faiss().rev_swig_ptr(lists.get_codes(0), 2 * lists.block_size)
    return zlib.crc32(packed.tobytes()) & 0xFFFF
