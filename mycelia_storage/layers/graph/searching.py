"""Nodes by words and by meaning, of a type, with a tag, within some hops of another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...contract import SearchHit, SearchHits, StorageBackend
from ...errors import InvalidInput
from ...filters import Filter, where
from ...similarity import VectorInput
from . import nodes as node_store
from .errors import GraphTooLarge
from .layout import check_tag, check_type
from .nodes import Kept
from .records import NodeHit, VectorHit
from .stepping import Steps
from .vectors import own_metadata
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
        if not isinstance(within, tuple) or len(within) != 2:
            raise InvalidInput("within is a node and a number of hops")
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
