"""Chroma in one process, its files in the folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chromadb
from chromadb.config import Settings

from ..vector_data import Chosen, Floats, key_of, metadata_of
from .rival import VectorRival


class Chroma(VectorRival):
    name = "chromadb"
    how = "HNSW, defaults but for cosine"
    packages = ("chromadb",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
        self.collection: Any = self.client.get_or_create_collection(
            "vectors", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def build(self, vectors: Floats) -> None:
        step = min(self.client.get_max_batch_size(), 5_000)
        for start in range(0, len(vectors), step):
            part = vectors[start : start + step]
            numbers = range(start, start + len(part))
            self.collection.add(
                ids=[key_of(i) for i in numbers], embeddings=part, metadatas=[metadata_of(i) for i in numbers]
            )

    def add(self, number: int, vector: Floats) -> None:
        self.collection.add(ids=[key_of(number)], embeddings=vector[None], metadatas=[metadata_of(number)])

    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        where = None if chosen is None else {chosen.field: 1}
        found = self.collection.query(query_embeddings=query[None], n_results=k, where=where, include=["metadatas"])
        return list(zip(found["ids"][0], found["metadatas"][0], strict=True))

    def close(self) -> None:
        self.client.close()
