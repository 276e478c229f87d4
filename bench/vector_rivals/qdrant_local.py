"""Qdrant's local mode, the client without a server."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models

from ..vector_data import DIMENSIONS, Chosen, Floats, key_of, metadata_of
from .rival import VectorRival

_AT_ONCE = 1_000


class QdrantLocal(VectorRival):
    name = "qdrant"
    how = "local mode with a path; every vector compared in memory"
    packages = ("qdrant-client",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        warnings.filterwarnings("ignore", message=".*Local mode is not recommended.*")
        self.client = QdrantClient(path=str(folder / "qdrant"))
        if not self.client.collection_exists("vectors"):
            size = models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE)
            self.client.create_collection("vectors", vectors_config=size)

    def build(self, vectors: Floats) -> None:
        for start in range(0, len(vectors), _AT_ONCE):
            part = vectors[start : start + _AT_ONCE]
            self.client.upsert("vectors", [_point(i, row) for i, row in enumerate(part, start)])

    def add(self, number: int, vector: Floats) -> None:
        self.client.upsert("vectors", [_point(number, vector)])

    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        condition = None
        if chosen is not None:
            matches = models.FieldCondition(key=chosen.field, match=models.MatchValue(value=1))
            condition = models.Filter(must=[matches])
        found = self.client.query_points("vectors", query=query, limit=k, query_filter=condition, with_payload=True)
        return [(key_of(point.id), point.payload) for point in found.points]  # type: ignore[arg-type,misc]

    def close(self) -> None:
        self.client.close()


def _point(number: int, vector: Floats) -> models.PointStruct:
    return models.PointStruct(id=number, vector=vector.tolist(), payload=metadata_of(number))
