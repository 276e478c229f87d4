"""usearch's index with the metadata in a list: no storage. It has no filters: ten times as many are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from usearch.index import Index

from ..vector_data import DIMENSIONS, Chosen, Floats, key_of, metadata_of
from .rival import VectorRival

_OVER = 10


class Usearch(VectorRival):
    name = "usearch"
    how = "HNSW in bf16, connectivity 16, expansion 200; filters by asking for ten times as many"
    packages = ("usearch",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.index: Any = Index(
            ndim=DIMENSIONS, metric="cos", dtype="bf16", connectivity=16, expansion_add=200, expansion_search=200
        )
        if (folder / "index").exists():
            self.index.load(str(folder / "index"))
        self.metadata = [metadata_of(i) for i in range(len(self.index))]

    def build(self, vectors: Floats) -> None:
        self.index.add(numpy.arange(len(vectors)), vectors)
        self.metadata = [metadata_of(i) for i in range(len(vectors))]

    def add(self, number: int, vector: Floats) -> None:
        self.index.add(number, vector)
        self.metadata.append(metadata_of(number))

    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        found = self.index.search(query, k if chosen is None else _OVER * k).keys.tolist()
        if chosen is not None:
            found = [number for number in found if self.metadata[number][chosen.field] == 1]
        return [(key_of(number), self.metadata[number]) for number in found[:k]]

    def finish(self) -> None:
        self.index.save(str(self.folder / "index"))

    def close(self) -> None:
        self.index.reset()
