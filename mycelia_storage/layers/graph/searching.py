"""Nodes by words and by meaning, of a type, with a tag, within some hops of another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ...contract import SearchHit, SearchHits, StorageBackend
from ...errors import InvalidInput
from ...filters import Filter, where
from ...similarity import VectorInput, to_vector
from . import nodes as node_store
from .errors import GraphTooLarge, NodeNotFound
from .layout import Batch, check_id, check_tag, check_type
from .nodes import Kept, labels
from .records import NodeHit, VectorHit
from .settings import VectorConfig
from .stepping import Steps
from .walking import reach

#: Nodes within the given hops that a search may be confined to.
MOST_WITHIN: Final = 20_000


def _condition(
    storage: StorageBackend, kept: Kept, node_type: str | None, tag: str | None, within: tuple[str, int] | None
) -> Filter | None:
    parts: list[Filter] = []
    if node_type is not None:
        parts.append(where("$metadata.node_type") == check_type(node_type, "a node"))
    if tag is not None:
        parts.append(where("$metadata.tags").contains(check_tag(tag)))
    if within is not None:
        start, hops = within
        near, cut = reach(storage, kept, [start], hops, Steps("both"), MOST_WITHIN)
        if cut:
            raise GraphTooLarge(f"more than {MOST_WITHIN} nodes lie within {hops} hops of {start!r}")
        parts.append(where("$key").is_in(list(near)))
    condition: Filter | None = None
    for part in parts:
        condition = part if condition is None else condition & part
    return condition


def by_text(
    storage: StorageBackend,
    kept: Kept,
    text: str,
    limit: int,
    node_type: str | None,
    tag: str | None,
    within: tuple[str, int] | None,
) -> list[NodeHit]:
    """The nodes whose texts fit the words best."""
    condition = _condition(storage, kept, node_type, tag, within)
    return as_nodes(
        storage, kept, storage.search_text(text, namespace=kept.places.texts, limit=limit, filter=condition)
    )


def by_vector(
    storage: StorageBackend,
    kept: Kept,
    vector: VectorInput,
    limit: int,
    node_type: str | None,
    tag: str | None,
    within: tuple[str, int] | None,
    exact: bool | None,
) -> SearchHits:
    """The vectors nearest to ``vector``; keys are nodes."""
    condition = _condition(storage, kept, node_type, tag, within)
    return storage.search_vectors(vector, namespace=kept.places.vectors, limit=limit, filter=condition, exact=exact)


def as_nodes(storage: StorageBackend, kept: Kept, hits: Iterable[SearchHit]) -> list[NodeHit]:
    """The nodes that were found, best first."""
    scores = {hit.key: hit.score for hit in hits}
    return [NodeHit(node, scores[id]) for id, node in node_store.load_many(storage, kept, scores).items()]


def as_vectors(hits: SearchHits) -> list[VectorHit]:
    """The vectors that were found, best first."""
    return [VectorHit(hit.key, hit.score, own_metadata(hit.metadata)) for hit in hits]


def own_metadata(kept: dict[str, Any]) -> dict[str, Any]:
    """What the caller stored beside a vector."""
    return dict(kept.get("metadata") or {})


def store_vectors(
    tx: StorageBackend, kept: Kept, config: VectorConfig, given: list[tuple[str, VectorInput, dict[str, Any]]]
) -> int:
    """Give nodes their vectors, each with metadata. Raises NodeNotFound, InvalidValue, IndexFull."""
    places = kept.places
    found = node_store.load_many(tx, kept, dict.fromkeys(check_id(node_id) for node_id, _, _ in given))
    batch = Batch()
    for node_id, vector, metadata in given:
        node = found.get(node_id)
        if node is None:
            raise NodeNotFound(places.root, node_id)
        if not isinstance(metadata, dict):
            raise InvalidInput("the metadata of a vector is a dict")
        held = to_vector(vector, config.index).astype("<f4").tobytes()
        batch.put(places.vectors, node_id, held, {"metadata": metadata, **labels(node)})
    batch.apply(tx)
    return len(given)
