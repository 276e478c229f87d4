"""What a graph is asked as a whole: walks from node to node, searches, SQL, how much there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...contract import StorageBackend, check_page
from ...similarity import VectorInput
from . import nodes, searching, walking, weighing
from .nodes import Kept
from .opened import OpenGraph
from .records import GraphPath, Neighbour, NeighbourPage, Node, NodeHit, QueryResult, StorageStats, Subgraph, VectorHit
from .sql_views import views
from .stepping import Steps, page

Types = str | Iterable[str] | None


class GraphQuestions(OpenGraph):
    """The questions that a :class:`.graph.Graph` answers beyond single nodes and relationships."""

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

        ``direction``: "out", "in" or "both". ``as_of``: only what held at that time. ``known_at``: only what had
        been recorded by then; an end that was recorded later was none to who asked then.
        ``cursor``: where the page before ended. A missing node has none.
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
        search = weighing.cheapest_path if weighted else walking.shortest_path
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


def _several(node_ids: str | Iterable[str]) -> list[str]:
    return [node_ids] if isinstance(node_ids, str) else list(node_ids)
