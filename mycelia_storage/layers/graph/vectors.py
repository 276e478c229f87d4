"""Vectors of nodes, each function inside a transaction of its caller. Those of soft-deleted nodes rest, unsearched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Any

from ...contract import Entry, StorageBackend
from ...errors import InvalidInput
from ...similarity import VectorInput, to_vector
from .errors import NodeNotFound
from .layout import Batch, check_id
from .nodes import Kept, labels
from .records import NodeVector, node_from_json
from .settings import VectorConfig


def store(
    tx: StorageBackend,
    kept: Kept,
    config: VectorConfig,
    given: Sequence[tuple[str, VectorInput, dict[str, Any]]],
    *,
    to_deleted: bool = False,
) -> int:
    """Give nodes their vectors, each with metadata; how many. Raises NodeNotFound, InvalidValue, IndexFull.

    ``to_deleted``: soft-deleted nodes will do; their vectors rest until they are restored.
    """
    places = kept.places
    ids = dict.fromkeys(check_id(node_id) for node_id, _, _ in given)
    records = tx.get_many(ids, namespace=places.nodes)
    batch = Batch()
    for node_id, vector, metadata in given:
        record = records.get(node_id)
        if record is None or (record["deleted"] and not to_deleted):
            raise NodeNotFound(places.root, node_id)
        if not isinstance(metadata, dict):
            raise InvalidInput("the metadata of a vector is a dict")
        held = to_vector(vector, config.index).astype("<f4").tobytes()
        node = node_from_json(node_id, record)
        table = places.resting if node.deleted else places.vectors
        batch.put(table, node_id, held, {"metadata": metadata, **labels(node)})
    batch.apply(tx)
    return len(given)


def load_all(storage: StorageBackend, kept: Kept, *, deleted: bool = False) -> Iterator[NodeVector]:
    """Every vector in order of its node's id, read in pages."""
    tables = (kept.places.vectors, kept.places.resting) if deleted else (kept.places.vectors,)
    for entry in merge(*(storage.scan(namespace=table) for table in tables), key=_key):
        yield NodeVector(entry.key, entry.value, own_metadata(entry.metadata))


def _key(entry: Entry) -> str:
    return entry.key


def own_metadata(kept: dict[str, Any]) -> dict[str, Any]:
    """What the caller stored beside a vector."""
    return dict(kept.get("metadata") or {})
