"""hnswlib's index with the metadata in a list: no storage. A filter is a function that it calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hnswlib
import numpy

from ..vector_data import DIMENSIONS, EXTRA, Chosen, Floats, key_of, metadata_of
from .rival import VectorRival

_EF = 200


class Hnswlib(VectorRival):
    name = "hnswlib"
    how = "HNSW, M 16, ef_construction 200, ef 200; filters by callback"
    packages = ("hnswlib",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.index: Any = hnswlib.Index(space="cosine", dim=DIMENSIONS)
        count = 0
        if (folder / "index").exists():
            self.index.load_index(str(folder / "index"))
            self.index.set_ef(_EF)
            count = self.index.get_current_count()
        self.metadata = [metadata_of(i) for i in range(count)]

    def build(self, vectors: Floats) -> None:
        self.index.init_index(max_elements=len(vectors) + EXTRA, M=16, ef_construction=200)
        self.index.set_ef(_EF)
        self.index.add_items(vectors, numpy.arange(len(vectors)))
        self.metadata = [metadata_of(i) for i in range(len(vectors))]

    def add(self, number: int, vector: Floats) -> None:
        self.index.add_items(vector[None], numpy.array([number]))
        self.metadata.append(metadata_of(number))

    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        if chosen is None:
            found, _ = self.index.knn_query(query, k=k)
        else:
            metadata, field = self.metadata, chosen.field
            try:
                found, _ = self.index.knn_query(
                    query, k=k, num_threads=1, filter=lambda number: metadata[number][field] == 1
                )
            except RuntimeError:  # it has met fewer than k
                return []
        return [(key_of(number), self.metadata[number]) for number in found[0].tolist()]

    def finish(self) -> None:
        self.index.save_index(str(self.folder / "index"))

    def close(self) -> None:
        self.metadata = []
