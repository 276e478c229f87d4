"""LanceDB: without an index, as it is until one is made, and with two of its indexes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lancedb
import pyarrow

from ..vector_data import DIMENSIONS, Chosen, Floats, key_of, metadata_of
from .rival import VectorRival

_FIELDS = ("half", "twentieth", "twohundredth", "text")


class Lance(VectorRival):
    name = "lancedb"
    how = "no index: every vector compared"
    packages = ("lancedb", "pyarrow")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.database = lancedb.connect(folder)
        try:
            self.table: Any = self.database.open_table("vectors")
        except (ValueError, FileNotFoundError):
            self.table = None

    def build(self, vectors: Floats) -> None:
        self.table = self.database.create_table("vectors", _rows(range(len(vectors)), vectors))
        self.index(len(vectors))

    def index(self, count: int) -> None:
        """Make the index."""

    def add(self, number: int, vector: Floats) -> None:
        self.table.add(_rows(range(number, number + 1), vector[None]))

    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        wanted = self.prepared(self.table.search(query).distance_type("cosine").limit(k))
        if chosen is not None:
            wanted = wanted.where(f"{chosen.field} = 1", prefilter=True)
        rows = wanted.select(["key", *_FIELDS, "_distance"]).to_list()
        return [(row["key"], {field: row[field] for field in _FIELDS}) for row in rows]

    def prepared(self, search: Any) -> Any:
        """The search with the settings of the index."""
        return search

    def close(self) -> None:
        self.table = None


class LanceHnsw(Lance):
    name = "lancedb-hnsw"
    how = "IVF_HNSW_SQ, one partition, ef 100"

    def index(self, count: int) -> None:
        self.table.create_index(metric="cosine", index_type="IVF_HNSW_SQ", num_partitions=1)

    def prepared(self, search: Any) -> Any:
        return search.ef(100)


class LanceIvfPq(Lance):
    name = "lancedb-ivfpq"
    how = "IVF_PQ with 96 sub-vectors, 20 probes, refined 10 times"

    def index(self, count: int) -> None:
        if count >= 256:  # fewer cannot train it
            self.table.create_index(metric="cosine", index_type="IVF_PQ", num_sub_vectors=96)

    def prepared(self, search: Any) -> Any:
        return search.nprobes(20).refine_factor(10)


def _rows(numbers: range, vectors: Floats) -> Any:
    metadata = [metadata_of(i) for i in numbers]
    flat = pyarrow.array(vectors.ravel(), type=pyarrow.float32())
    columns = {"key": pyarrow.array([key_of(i) for i in numbers])}
    columns |= {field: pyarrow.array([row[field] for row in metadata]) for field in _FIELDS}
    columns["vector"] = pyarrow.FixedSizeListArray.from_arrays(flat, DIMENSIONS)
    return pyarrow.table(columns)
