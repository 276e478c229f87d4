"""StorageConfig and VectorConfig, with the original's fields and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ...errors import InvalidConfig
from ...indexes import Metric, VectorIndex

#: The original's names of backends, and others, in any case: what this library calls them.
_BACKENDS: Final = {
    "sqlite": "sqlite",
    "rocksdb": "rocksdb",
    "memory": "memory",
    "postgres": "postgres",
    "postgresql": "postgres",
}


@dataclass(frozen=True)
class VectorConfig:
    """The vectors of nodes. ``metric`` is new; the ``hnsw_*`` matter to a backend that builds such a graph."""

    dimensions: int = 384
    max_vectors: int = 1_000_000
    hnsw_m: int = 16
    hnsw_ef_construction: int = 200
    hnsw_ef: int = 50
    metric: Metric = "cosine"

    @property
    def index(self) -> VectorIndex:
        """The declaration. Raises InvalidInput."""
        return VectorIndex(
            self.dimensions, self.metric, self.hnsw_m, self.hnsw_ef_construction, self.hnsw_ef, self.max_vectors
        )


@dataclass(frozen=True)
class StorageConfig:
    """Which storage a graph is in, for ``open_storage(config.storage)``, and how it is kept, for ``Graph``.

    ``path``: a file, a folder or a URL. ``max_connections`` bounds PostgreSQL's pool; SQLite has a connection for each
    thread. ``enable_wal`` is SQLite's. ``enable_foreign_keys`` False lets relationships name nodes that do not exist.
    """

    backend: Literal["sqlite", "rocksdb", "memory", "postgres"] | str = "sqlite"
    path: str = "./data/rusty-gun.db"
    max_connections: int = 10
    enable_wal: bool = True
    enable_foreign_keys: bool = True
    vector_config: VectorConfig = field(default_factory=VectorConfig)

    @property
    def storage(self) -> dict[str, Any]:
        """The configuration of the storage. Raises InvalidConfig for a backend that there is not, such as "sled"."""
        name = _BACKENDS.get(str(self.backend).lower())
        if name is None:
            raise InvalidConfig(
                f"no backend {self.backend!r} for a graph: sqlite, rocksdb (an LSM store, as sled is), memory, postgres"
            )
        options: dict[str, Any] = {}
        if name == "sqlite":
            options = {"dbPath": self.path, "walMode": self.enable_wal}
        elif name == "rocksdb":
            options = {"dbPath": self.path}
        elif name == "postgres":
            options = {"url": self.path, "pool_max_size": self.max_connections}
        return {"backend": name, "options": options}
