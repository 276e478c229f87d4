"""faiss with the metadata in a list: no storage. ``faiss-scan`` has our codes and ranks them from RAM: the floor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy

from mycelia_storage import VectorIndex
from mycelia_storage.nearest.scan import ScanCodes

from ..vector_data import DIMENSIONS, FILTERS, Chosen, Floats, key_of, metadata_of
from .rival import VectorRival

_RESCORED = 100


class _Bare(VectorRival):
    packages = ("faiss-cpu", "numpy")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.metadata: list[dict[str, Any]] = []
        self._bits: dict[str, tuple[int, Any]] = {}

    def describe(self, count: int) -> None:
        self.metadata = [metadata_of(i) for i in range(count)]
        self._bits = {}

    def selector(self, chosen: Chosen) -> Any:
        """A bitmap of the allowed, kept between searches."""
        count, bits = self._bits.get(chosen.field, (-1, None))
        if count != len(self.metadata):
            count = len(self.metadata)
            bits = numpy.packbits(chosen.holds(numpy.arange(count)), bitorder="little")
            self._bits[chosen.field] = count, bits
        return faiss.IDSelectorBitmap(count, faiss.swig_ptr(bits))

    def hits(self, found: list[int]) -> Sequence[tuple[str, dict[str, Any]]]:
        return [(key_of(number), self.metadata[number]) for number in found if number >= 0]

    def close(self) -> None:
        self.metadata = []


class FaissFlat(_Bare):
    name = "faiss-flat"
    how = "float32 in memory, every vector compared; one thread; filters by bitmap"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        faiss.omp_set_num_threads(1)
        saved = folder / "index"
        self.index: Any = faiss.read_index(str(saved)) if saved.exists() else faiss.IndexFlatIP(DIMENSIONS)
        self.describe(self.index.ntotal)

    def build(self, vectors: Floats) -> None:
        self.index.add(numpy.ascontiguousarray(vectors))
        self.describe(len(vectors))

    def add(self, number: int, vector: Floats) -> None:
        self.index.add(vector[None])
        self.metadata.append(metadata_of(number))

    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        parameters = None
        if chosen is not None:
            selector = self.selector(chosen)
            parameters = faiss.SearchParameters(sel=selector)
        return self.hits(self.index.search(query[None], k, params=parameters)[1][0].tolist())

    def finish(self) -> None:
        faiss.write_index(self.index, str(self.folder / "index"))


class FaissScan(_Bare):
    name = "faiss-scan"
    how = "our 4-bit codes and the float32 of 100 candidates, all in memory; one thread; filters by bitmap"
    _INDEX = VectorIndex(DIMENSIONS)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        faiss.omp_set_num_threads(1)
        if (folder / "codes").exists():
            codes = ScanCodes.from_bytes(self._INDEX, (folder / "codes").read_bytes())
            assert codes is not None
            self.use(codes)
            self.vectors: Floats = numpy.load(folder / "vectors.npy")
            self.count = len(self.vectors)
            self.describe(self.count)

    def build(self, vectors: Floats) -> None:
        self.vectors = numpy.array(vectors)
        self.count = len(vectors)
        self.use(ScanCodes.fitted(self._INDEX, self.vectors[:20_000]))
        self.codes.add(self.vectors)
        self.describe(self.count)

    def use(self, codes: ScanCodes) -> None:
        """Take what the codes were made with, to make a query's in one product."""
        self.codes = codes
        self.faiss: Any = codes._codes
        # By rows, for vecdot: a product by @ would wake the threads of BLAS and wait for them.
        self.turn = numpy.ascontiguousarray((codes._rotation / numpy.float32(codes._scale)).T, dtype=numpy.float32)
        self.centre = numpy.vecdot(self.turn, codes._mean)

    def add(self, number: int, vector: Floats) -> None:
        if self.count == len(self.vectors):
            self.vectors = numpy.concatenate((self.vectors, numpy.zeros_like(self.vectors)))
        self.vectors[self.count] = vector
        self.count += 1
        self.codes.add(vector[None])
        self.metadata.append(metadata_of(number))

    def prepare(self) -> None:
        """Make the bitmaps of the filters beforehand."""
        for chosen in FILTERS:
            if chosen is not None:
                self.selector(chosen)

    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        return self.hits(self.nearest(query, k, None if chosen is None else self.selector(chosen)))

    def nearest(self, query: Floats, k: int, selector: Any) -> list[int]:
        """Positions: faiss on the codes, then one product with the candidates' vectors."""
        parameters = None if selector is None else faiss.SearchParametersIVF(nprobe=1, sel=selector)
        turned = (numpy.vecdot(self.turn, query) - self.centre)[None]
        near = self.faiss.search(turned, min(_RESCORED, self.count), params=parameters)[1][0]
        near = near[near >= 0]
        scores = numpy.vecdot(self.vectors[near], query)
        found: list[int] = near[numpy.argsort(-scores)[:k]].tolist()
        return found

    def finish(self) -> None:
        (self.folder / "codes").write_bytes(self.codes.to_bytes())
        numpy.save(self.folder / "vectors.npy", self.vectors[: self.count])

    def close(self) -> None:
        self.vectors = numpy.empty((0, DIMENSIONS), dtype=numpy.float32)
        super().close()
