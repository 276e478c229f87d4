"""The campaign of vector indexes on RocksDB: kills while codes are saved in many small parts, beside the writes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from mycelia_storage.backends.rocksdb import RocksDBStorageBackend, layout, vector_codes
from mycelia_storage.backends.rocksdb.space import RocksDBSpace
from mycelia_storage.backends.rocksdb.view import View

from . import vector_children
from .forkserver import ForkServer, Talk
from .vector_children import VectorCampaign


def write_vectors(talk: Talk, options: dict[str, Any], seed: int, writer: str, first: int, backend: str) -> None:
    """Write a story of vectors until killed, with sweeps that save codes every few milliseconds."""
    vector_codes._PART_BYTES, vector_codes._LEAST_CHANGES = 100, 5  # type: ignore[misc]

    def save(storage: RocksDBStorageBackend, _timeout: float) -> None:
        vector_codes.catch_up(storage)
        vector_codes.save_due(storage, 1)

    RocksDBStorageBackend._sweep = save  # type: ignore[method-assign]
    options = options | {"sweep_interval": 0.002}
    vector_children.write_vectors(talk, options, seed, writer, first, backend)


class RocksDBVectorCampaign(VectorCampaign):
    """One writer at a time."""

    backend = "rocksdb"
    function = "rocksdb_vector_kills:write_vectors"
    settings: list[dict[str, Any]] = [{"synchronous": "NORMAL"}]  # noqa: RUF012
    two_writers = 0.0

    def __init__(self, seed: int, folder: Path, server: ForkServer) -> None:
        super().__init__(seed, folder, server)
        vector_children.tell_in_vectors()

    def _judge(self, cycle: int, acknowledged: dict[str, int]) -> None:
        with closing(RocksDBStorageBackend(**self.options)) as storage:
            view = View(storage._db)
            for name in storage.list_namespaces():
                space = RocksDBSpace.load(name, view)
                for index in {} if space is None else space.vector_indexes:
                    assert space is not None
                    prefix = space.codes_prefix(index)
                    seqs = {key[len(prefix) :][:8] for key, _ in view.items(prefix, layout.after(prefix))}
                    self.seen["codes found whole"] += b"" in seqs
                    self.seen["codes found half saved"] += len(seqs - {b""}) > (b"" in seqs)
        super()._judge(cycle, acknowledged)
