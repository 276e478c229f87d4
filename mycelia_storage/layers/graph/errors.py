"""What a graph refuses, beside the storage's own errors.

StorageError
├── NodeNotFound (also KeyError)        a relationship or vector of a node that is not there
├── RelationshipNotFound (also KeyError)
├── NodeHasRelationships                delete_node(edges="refuse") met one
└── GraphTooLarge                       a search came to its limit before it had an answer
"""

from __future__ import annotations

from ...errors import StorageError


class NodeNotFound(StorageError, KeyError):
    """The node does not exist, or is soft-deleted. ``place``: where in a file it was named."""

    def __init__(self, graph: str, node_id: str, place: str = "") -> None:
        text = f"no node {node_id!r} in graph {graph!r}"
        super().__init__(f"{place}: {text}" if place else text)
        self.graph = graph
        self.node_id = node_id

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class RelationshipNotFound(StorageError, KeyError):
    """The relationship does not exist."""

    def __init__(self, graph: str, relationship_id: str) -> None:
        super().__init__(f"no relationship {relationship_id!r} in graph {graph!r}")
        self.graph = graph
        self.relationship_id = relationship_id

    def __str__(self) -> str:
        return str(self.args[0])


class NodeHasRelationships(StorageError):
    """The node was to be deleted only without relationships."""


class GraphTooLarge(StorageError):
    """A search visited as many nodes as it may and has no answer yet."""
