"""Graph: the original's StorageEngine on any storage, and walks through what it holds."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from ...contract import StorageBackend, Transaction, check_page
from ...errors import InvalidInput, StorageBusy, StorageClosed, TransactionError
from ...indexes import TextIndex
from ...names import Namespace
from ...similarity import VectorInput
from . import merging, nodes, relationships, searching, walking
from .errors import RelationshipNotFound
from .layout import Places, check_id
from .merging import Merged
from .nodes import Edges, Kept
from .records import (
    GraphPath,
    Neighbour,
    NeighbourPage,
    Node,
    NodeHit,
    QueryResult,
    Relationship,
    StorageStats,
    Subgraph,
    VectorHit,
)
from .settings import StorageConfig
from .sql_views import views
from .stepping import Steps, page

P = ParamSpec("P")
R = TypeVar("R")

Types = str | Iterable[str] | None

#: How often a write is tried beside others before it asks to be alone.
_ATTEMPTS: Final = 4


class Graph:
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

    def __init__(
        self,
        storage: StorageBackend,
        config: StorageConfig | None = None,
        *,
        name: Namespace = "graph",
        owns_storage: bool = False,
    ) -> None:
        """``name``: the namespace below which it is kept. ``owns_storage``: ``close`` closes the storage too.

        Of ``config`` the graph reads ``enable_foreign_keys`` and ``vector_config``; the rest opens the storage.
        Raises InvalidInput.
        """
        self.config = config or StorageConfig()
        self._storage = storage
        self._kept = Kept(Places.below(name), self.config.enable_foreign_keys)
        self._vector_index = self.config.vector_config.index
        self._owns_storage = owns_storage
        self._closed = False

    # -- life ----------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The namespace below which it is kept."""
        return self._kept.places.root

    @property
    def storage(self) -> StorageBackend:
        """What it is kept in. Raises StorageClosed after :meth:`close`."""
        if self._closed:
            raise StorageClosed("the graph is closed")
        return self._storage

    def initialize(self) -> None:
        """Make its namespaces and indexes, any number of times. Raises InvalidInput for vectors declared otherwise."""
        places = self._kept.places

        def make(tx: StorageBackend) -> None:
            for namespace in places.all():
                tx.create_namespace(namespace, exist_ok=True)
            tx.create_index(places.texts, TextIndex(), name="words")
            tx.create_index(places.vectors, self._vector_index, name="nearest")

        if self.storage.list_indexes(places.vectors).get("nearest") != self._vector_index:
            self.storage.run_transaction(make)

    def close(self) -> None:
        """Nothing can be called any more; a storage of its own is closed. Twice is no error."""
        if not self._closed:
            self._closed = True
            if self._owns_storage:
                self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin_transaction(self) -> GraphTransaction:
        """The graph inside a transaction of its storage, for ``with`` or explicit commit and rollback."""
        return GraphTransaction(self)

    def _write(self, work: Callable[Concatenate[StorageBackend, Kept, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        def attempt(tx: StorageBackend) -> R:
            return work(tx, self._kept, *args, **kwargs)

        try:
            return self.storage.run_transaction(attempt, attempts=_ATTEMPTS)
        except StorageBusy:
            if isinstance(self.storage, Transaction):
                raise
        # Others got in between each time, where such transactions run side by side: now alone.
        with self.storage.transaction() as tx:
            return attempt(tx)

    def _snapshot(
        self, work: Callable[Concatenate[StorageBackend, Kept, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Several reads of one state; in a transaction that is its own."""
        with self.storage.transaction(read_only=True) as state:
            return work(state, self._kept, *args, **kwargs)

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
        to_deleted: bool = False,
    ) -> tuple[list[Node], list[Relationship]]:
        """Insert or replace nodes and relationships in one transaction. Raises as storing one does.

        ``to_deleted``: a relationship may lead to a soft-deleted node; it shows when the node is restored.
        """
        new_nodes = [_checked(node, Node) for node in given]
        edges = [_checked(one, Relationship) for one in relationships_given]

        def store(tx: StorageBackend, kept: Kept) -> tuple[list[Node], list[Relationship]]:
            return nodes.store(tx, kept, new_nodes), relationships.store(tx, kept, edges, to_deleted=to_deleted)

        return self._write(store)

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
        """Say that a relationship held until ``at``: ``as_of`` before, it stays. Raises RelationshipNotFound."""

        def end(tx: StorageBackend, kept: Kept) -> Relationship:
            found = relationships.load(tx, kept, relationship_id)
            if found is None:
                raise RelationshipNotFound(kept.places.root, relationship_id)
            return relationships.store(tx, kept, [replace(found, valid_to=at)], to_deleted=True)[0]

        return self._write(end)

    def relationships(self) -> Iterator[Relationship]:
        """Every relationship in order of id, hidden ones too, read in pages as it is drawn."""
        return relationships.load_all(self.storage, self._kept)

    # -- walks ---------------------------------------------------------------------------------------------------------

    def neighbours(
        self,
        node_id: str,
        *,
        direction: str = "out",
        types: Types = None,
        as_of: int | None = None,
        known_at: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> NeighbourPage:
        """A page of a node's neighbours, once for each relationship; outward ones first, then by type and id.

        ``direction``: "out", "in" or "both". ``as_of``: only what held at that time; ``known_at``: only what was
        recorded by then. ``cursor``: where the page before ended. A missing node has none.
        """
        check_page(limit)
        steps = Steps.read(direction, types, as_of, known_at)
        found, onward = page(self.storage, self._kept.places, node_id, steps, limit, cursor)
        ends = {id: None for link, side in found for id in [link.to_node if side == "out" else link.from_node]}
        held = nodes.load_many(self.storage, self._kept, ends)
        neighbours = []
        for link, side in found:
            node = held.get(link.to_node if side == "out" else link.from_node)
            if node is not None:
                neighbours.append(Neighbour(node, link, side))
        return NeighbourPage(neighbours, onward)

    def reach(
        self,
        node_ids: str | Iterable[str],
        *,
        hops: int = 2,
        direction: str = "out",
        types: Types = None,
        as_of: int | None = None,
        known_at: int | None = None,
        limit: int | None = 10_000,
    ) -> dict[str, int]:
        """The ids within ``hops`` steps, each with its steps; nearest first, then by id; ``limit`` at most."""
        steps = Steps.read(direction, types, as_of, known_at)
        return self._snapshot(walking.reach, _several(node_ids), hops, steps, limit)[0]

    def subgraph(
        self,
        node_ids: str | Iterable[str],
        *,
        hops: int = 2,
        direction: str = "both",
        types: Types = None,
        as_of: int | None = None,
        known_at: int | None = None,
        max_nodes: int = 1_000,
        max_relationships: int = 10_000,
    ) -> Subgraph:
        """The nodes within ``hops`` steps and every allowed relationship between two of them, within the limits."""
        steps = Steps.read(direction, types, as_of, known_at)
        return self._snapshot(walking.subgraph, _several(node_ids), hops, steps, max_nodes, max_relationships)

    def shortest_path(
        self,
        start: str,
        goal: str,
        *,
        weighted: bool = False,
        direction: str = "out",
        types: Types = None,
        as_of: int | None = None,
        known_at: int | None = None,
        max_hops: int | None = None,
        max_visited: int = walking.MOST_VISITED,
    ) -> GraphPath | None:
        """A way from ``start`` to ``goal`` with the fewest steps, or with the least sum of weights; None without one.

        Raises GraphTooLarge when ``max_visited`` nodes were not enough.
        """
        steps = Steps.read(direction, types, as_of, known_at)
        search = walking.cheapest_path if weighted else walking.shortest_path
        return self._snapshot(search, start, goal, steps, max_hops, max_visited)

    # -- search --------------------------------------------------------------------------------------------------------

    def search_nodes(
        self,
        query: str,
        *,
        limit: int = 10,
        node_type: str | None = None,
        tag: str | None = None,
        within: tuple[str, int] | None = None,
    ) -> list[Node]:
        """The nodes whose data and tags fit the words best, best first; ``find_by_text`` tells the scores."""
        return [hit.node for hit in self.find_by_text(query, limit=limit, node_type=node_type, tag=tag, within=within)]

    def find_by_text(
        self,
        query: str,
        *,
        limit: int = 10,
        node_type: str | None = None,
        tag: str | None = None,
        within: tuple[str, int] | None = None,
    ) -> list[NodeHit]:
        """The same with scores. ``within=("ada", 2)``: only nodes within two hops of that one, in either direction.

        Raises GraphTooLarge when too many lie there.
        """
        return searching.by_text(self.storage, self._kept, query, limit, node_type, tag, within)

    def find_by_vector(
        self,
        vector: VectorInput,
        *,
        limit: int = 10,
        node_type: str | None = None,
        tag: str | None = None,
        within: tuple[str, int] | None = None,
        exact: bool | None = None,
    ) -> list[NodeHit]:
        """The nodes nearest in meaning, with the same conditions. Raises InvalidValue, GraphTooLarge."""
        hits = searching.by_vector(self.storage, self._kept, vector, limit, node_type, tag, within, exact)
        return searching.as_nodes(self.storage, self._kept, hits)

    # -- vectors -------------------------------------------------------------------------------------------------------

    def store_vector(self, node_id: str, vector: VectorInput, metadata: dict[str, Any] | None = None) -> None:
        """Give a node its vector. Raises NodeNotFound, InvalidValue, IndexFull."""
        self.store_vectors([(node_id, vector, metadata or {})])

    def store_vectors(self, vectors: Iterable[tuple[str, VectorInput, dict[str, Any]]]) -> int:
        """Give nodes their vectors, each with metadata, in one transaction; how many."""
        return self._write(searching.store_vectors, self.config.vector_config, list(vectors))

    def load_vector(self, node_id: str) -> list[float] | None:
        """A node's vector, or None."""
        held = self.storage.get(check_id(node_id), namespace=self._kept.places.vectors)
        if held is None:
            return None
        numbers = array("f", held)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tolist()

    def delete_vector(self, node_id: str) -> bool:
        """Take a node's vector away; whether it had one."""
        return self.storage.delete(check_id(node_id), namespace=self._kept.places.vectors)

    def search_vectors(self, vector: VectorInput, limit: int = 10) -> list[VectorHit]:
        """Ids, scores and metadata of the nearest vectors, as the original's vector engine has them."""
        found = searching.by_vector(self.storage, self._kept, vector, limit, None, None, None, None)
        return searching.as_vectors(found)

    # -- SQL and numbers -----------------------------------------------------------------------------------------------

    def execute_query(
        self, sql: str, params: Sequence[Any] = (), *, limit: int = 1_000, timeout: float = 5.0
    ) -> QueryResult:
        """Read-only SQL over the views ``nodes``, ``relationships``, ``node_tags`` and ``vectors`` (:mod:`.sql_views`).

        One SELECT; each ``?`` is bound to the next of ``params``. At most ``limit`` rows, within ``timeout`` seconds.
        Raises SqlRefused, SqlTimeout, SqlUnavailable on a backend without SQL, TransactionError in a transaction.
        """
        rows = self.storage.query_sql(sql, params, views=views(self._kept.places), limit=limit, timeout=timeout)
        return QueryResult(rows.columns, rows.rows, rows.truncated)

    def get_stats(self) -> StorageStats:
        """How much there is, of one state."""

        def count(state: StorageBackend, kept: Kept) -> list[int]:
            places = kept.places
            tables = (places.nodes, places.live, places.edges, places.tags, places.vectors, places.resting)
            return [state.count(namespace=table) for table in tables]

        every, live, edges, tags, held, resting = self._snapshot(count)
        status = self.storage.get_status()
        return StorageStats(live, every - live, edges, tags, held + resting, status.size_bytes, status.backend)


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


def _several(node_ids: str | Iterable[str]) -> list[str]:
    return [node_ids] if isinstance(node_ids, str) else list(node_ids)
