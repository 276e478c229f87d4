"""Graph: the original's StorageEngine on any storage.

:class:`.opened.OpenGraph` opens, reads and writes; :class:`.questions.GraphQuestions` walks and searches; here is what
is stored, loaded and deleted.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from ...contract import StorageBackend
from ...errors import InvalidInput, TransactionError
from ...similarity import VectorInput
from . import carrying, merging, nodes, relationships, vectors as node_vectors
from .carrying import Carried
from .errors import RelationshipNotFound
from .layout import check_id
from .lines import Item
from .merging import Merged
from .nodes import Edges, Kept
from .questions import GraphQuestions, Types
from .records import Node, NodeVector, Relationship
from .stepping import Steps, page

R = TypeVar("R")


class Graph(GraphQuestions):
    """Nodes, tags, typed relationships and vectors in one storage. Safe in many threads.

    >>> from mycelia_storage.backends.memory import MemoryStorageBackend
    >>> graph = Graph(MemoryStorageBackend())
    >>> graph.initialize()
    >>> ada = graph.store_node(Node.new("ada", {"name": "Ada"}, "person"))
    >>> bob = graph.store_node(Node.new("bob", {"name": "Bob"}, "person"))
    >>> edge = graph.store_relationship(Relationship("ada", "bob", "knows"))
    >>> [neighbour.node.data["name"] for neighbour in graph.neighbours("ada").neighbours]
    ['Bob']

    Every write is one transaction, vectors and texts with it. ``storage`` may be a transaction: then the graph is part
    of it. Several graphs may share a storage under names of their own. Soft-deleted nodes, with their relationships,
    tags, texts and vectors, are out of every answer unless it says otherwise.
    """

    def begin_transaction(self) -> GraphTransaction:
        """The graph inside a transaction of its storage, for ``with`` or explicit commit and rollback."""
        return GraphTransaction(self)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def store_node(self, node: Node) -> Node:
        """Insert or replace a node; as it is stored. ``deleted`` soft-deletes it, False brings it back.

        Raises InvalidValue.
        """
        return self._write(nodes.store, [_checked(node, Node)])[0]

    def store_many(
        self,
        given: Iterable[Node],
        relationships_given: Iterable[Relationship] = (),
        *,
        vectors: Iterable[tuple[str, VectorInput, dict[str, Any]]] = (),
        to_deleted: bool = False,
    ) -> tuple[list[Node], list[Relationship]]:
        """Insert or replace nodes, relationships and vectors in one transaction. Raises as storing one does.

        ``to_deleted``: relationships and vectors may be of soft-deleted nodes; they show when the node is restored.
        """
        new_nodes = [_checked(node, Node) for node in given]
        edges = [_checked(one, Relationship) for one in relationships_given]
        held = list(vectors)

        def store(tx: StorageBackend, kept: Kept) -> tuple[list[Node], list[Relationship]]:
            stored = nodes.store(tx, kept, new_nodes), relationships.store(tx, kept, edges, to_deleted=to_deleted)
            if held:
                node_vectors.store(tx, kept, self.config.vector_config, held, to_deleted=to_deleted)
            return stored

        return self._write(store)

    def store_all(self, items: Iterable[Item], *, batch: int | None = None) -> Carried:
        """Store any number of nodes, relationships and vectors, drawn as they are needed; how many there were of each.

        The way to load a graph. What relationships and vectors lead to comes before them. A ``batch``, 20,000 items
        unless given, or some 16 MB of data, is one transaction. Raises as :meth:`store_many`; the batches before stay.
        """
        return carrying.store_all(self, items, batch)

    def load_node(self, node_id: str, *, deleted: bool = False) -> Node | None:
        """The node or None; a soft-deleted one only with ``deleted``."""
        return nodes.load(self.storage, self._kept, node_id, deleted=deleted)

    def load_nodes(self, node_ids: Iterable[str]) -> dict[str, Node]:
        """Those that exist, in the order of ``node_ids``."""
        return nodes.load_many(self.storage, self._kept, node_ids)

    def delete_node(self, node_id: str, *, edges: Edges = "remove", soft: bool = False) -> bool:
        """Delete a node; whether it was there.

        ``edges="remove"`` takes its relationships along, ``"refuse"`` raises NodeHasRelationships if it has any.
        ``soft`` puts all of it out of sight instead, until :meth:`restore_node`; "remove" then hides them.
        """
        return self._write(nodes.delete, node_id, edges, soft)

    def restore_node(self, node_id: str) -> bool:
        """Bring a soft-deleted node back; whether there was one. Relationships to deleted nodes stay hidden."""

        def restore(tx: StorageBackend, kept: Kept) -> bool:
            node = nodes.load(tx, kept, node_id, deleted=True)
            if node is None or not node.deleted:
                return False
            nodes.store(tx, kept, [replace(node, deleted=False, updated_at=None)])
            return True

        return self._write(restore)

    def list_node_ids(self, *, limit: int | None = None, after: str | None = None) -> list[str]:
        """Ids in order, from after ``after`` on."""
        return nodes.ids(self.storage, self._kept, limit, after)

    def list_nodes_by_type(self, node_type: str, *, limit: int | None = None, after: str | None = None) -> list[Node]:
        """The nodes of a type in order of id, from after the id ``after`` on."""
        return nodes.by_type(self.storage, self._kept, node_type, limit, after)

    def list_nodes_by_tag(self, tag: str, *, limit: int | None = None, after: str | None = None) -> list[Node]:
        """The nodes with a tag in order of id, from after the id ``after`` on."""
        return nodes.by_tag(self.storage, self._kept, tag, limit, after)

    def list_node_types(self) -> list[str]:
        """The types that nodes have, in order."""
        return nodes.types(self.storage, self._kept)

    def nodes(self, *, deleted: bool = False) -> Iterator[Node]:
        """Every node in order of id, read in pages as it is drawn."""
        return nodes.load_all(self.storage, self._kept, deleted=deleted)

    def merge_nodes(self, keep: str, duplicates: Sequence[str], *, by: str = "") -> Merged:
        """Make one node of several: relationships lead to ``keep`` then, what it lacks it takes, the others go.

        Raises NodeNotFound, InvalidInput.
        """
        if isinstance(duplicates, str):
            raise InvalidInput("duplicates are a sequence of node ids")
        return self._write(merging.merge, keep, list(duplicates), by)

    # -- relationships -------------------------------------------------------------------------------------------------

    def store_relationship(self, relationship: Relationship) -> Relationship:
        """Insert a relationship, or replace the one of its id; as it is stored. Raises NodeNotFound, InvalidValue."""
        return self._write(relationships.store, [_checked(relationship, Relationship)])[0]

    def load_relationship(self, relationship_id: str) -> Relationship | None:
        """The relationship of that id, or None."""
        return relationships.load(self.storage, self._kept, relationship_id)

    def load_relationships(
        self, node_id: str, *, direction: str = "both", types: Types = None, as_of: int | None = None
    ) -> list[Relationship]:
        """All relationships of a node, outward ones first, each side in order of type, other end and id."""
        steps = Steps.read(direction, types, as_of)

        def load(state: StorageBackend, kept: Kept) -> list[Relationship]:
            found, _ = page(state, kept.places, node_id, steps, 2**62, None)
            return relationships.load_many(state, kept, [link.relationship_id for link, _ in found])

        return self._snapshot(load)

    def delete_relationship(self, from_node: str, to_node: str, relation_type: str) -> int:
        """Delete all relationships of that type from one node to the other; how many there were."""
        return self._write(relationships.delete_between, from_node, to_node, relation_type)

    def delete_relationship_by_id(self, relationship_id: str) -> bool:
        """Delete one relationship; whether it existed."""
        return self._write(relationships.delete, relationship_id)

    def end_relationship(self, relationship_id: str, at: int) -> Relationship:
        """Say that a relationship held until ``at``: ``as_of`` before, it stays. Raises RelationshipNotFound.

        For a ``known_at`` before this call it goes on. Ending it again forgets the first end.
        """

        def end(tx: StorageBackend, kept: Kept) -> Relationship:
            found = relationships.load(tx, kept, relationship_id)
            if found is None:
                raise RelationshipNotFound(kept.places.root, relationship_id)
            told = replace(found, valid_to=at, end_recorded_at=nodes.now_ms())
            return relationships.store(tx, kept, [told], to_deleted=True)[0]

        return self._write(end)

    def relationships(self) -> Iterator[Relationship]:
        """Every relationship in order of id, hidden ones too, read in pages as it is drawn."""
        return relationships.load_all(self.storage, self._kept)

    # -- vectors -------------------------------------------------------------------------------------------------------

    def store_vector(self, node_id: str, vector: VectorInput, metadata: dict[str, Any] | None = None) -> None:
        """Give a node its vector. Raises NodeNotFound, InvalidValue, IndexFull."""
        self.store_vectors([(node_id, vector, metadata or {})])

    def store_vectors(self, vectors: Iterable[tuple[str, VectorInput, dict[str, Any]]]) -> int:
        """Give nodes their vectors, each with metadata, in one transaction; how many."""
        return self._write(node_vectors.store, self.config.vector_config, list(vectors))

    def load_vector(self, node_id: str) -> list[float] | None:
        """A node's vector, or None."""
        held = self.storage.get(check_id(node_id), namespace=self._kept.places.vectors)
        if held is None:
            return None
        numbers = array("f", held)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tolist()

    def vectors(self, *, deleted: bool = False) -> Iterator[NodeVector]:
        """Every vector in order of its node's id, with ``deleted`` those of soft-deleted nodes too, read in pages."""
        return node_vectors.load_all(self.storage, self._kept, deleted=deleted)

    def delete_vector(self, node_id: str) -> bool:
        """Take a node's vector away; whether it had one."""
        return self.storage.delete(check_id(node_id), namespace=self._kept.places.vectors)


class GraphTransaction(Graph):
    """A graph inside a transaction: sees its own writes, which others see after :meth:`commit`."""

    def __init__(self, graph: Graph) -> None:
        self.transaction = graph.storage.begin_transaction()
        super().__init__(self.transaction, graph.config, name=graph.name)

    def commit(self) -> None:
        """Make the writes durable and visible, all at once. Raises CommitUnknown, TransactionExpired."""
        self.transaction.commit()

    def rollback(self) -> None:
        """Undo the writes."""
        self.transaction.rollback()

    def begin_transaction(self) -> GraphTransaction:
        raise TransactionError("this graph is in a transaction: it is one already")

    def close(self) -> None:
        """Undo the writes unless they were committed."""
        if self.transaction.is_active:
            self.transaction.rollback()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.transaction.__exit__(kind, error, trace)


def _checked(given: R, kind: type[R]) -> R:
    if not isinstance(given, kind):
        raise InvalidInput(f"a {kind.__name__} is stored, not {type(given).__name__}")
    return given
