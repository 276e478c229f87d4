"""The graph layer: nodes, tags, typed relationships with validity in time, vectors and words, on any storage.

Start with :class:`Graph`; :mod:`.layout` draws the keys. Its words come from Rusty Gun's storage engine.
"""

from .errors import GraphTooLarge, NodeHasRelationships, NodeNotFound, RelationshipNotFound
from .graph import Graph, GraphTransaction
from .layout import Link
from .merging import Merged
from .records import (
    GraphPath,
    Neighbour,
    NeighbourPage,
    Node,
    NodeHit,
    NodeVector,
    QueryResult,
    Relationship,
    StorageStats,
    Subgraph,
    VectorHit,
)
from .settings import StorageConfig, VectorConfig

__all__ = [
    "Graph",
    "GraphPath",
    "GraphTooLarge",
    "GraphTransaction",
    "Link",
    "Merged",
    "Neighbour",
    "NeighbourPage",
    "Node",
    "NodeHasRelationships",
    "NodeHit",
    "NodeNotFound",
    "NodeVector",
    "QueryResult",
    "Relationship",
    "RelationshipNotFound",
    "StorageConfig",
    "StorageStats",
    "Subgraph",
    "VectorConfig",
    "VectorHit",
]
