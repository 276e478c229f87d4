"""Walks: what lies within some hops, the part of the graph around nodes, shortest ways by steps or by weight.

Each reads one state of the graph and visits nodes in a fixed order, so that equal graphs give equal answers on every
backend: levels by distance, within a level by id.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

from ...contract import StorageBackend, check_page
from ...errors import InvalidInput
from . import nodes as node_store, relationships
from .errors import GraphTooLarge
from .layout import Link, check_id
from .nodes import Kept
from .records import GraphPath, Subgraph
from .stepping import Steps, far_end, links, links_of_many

#: Nodes that a search for a way may visit unless it says otherwise.
MOST_VISITED: Final = 100_000


def reach(
    storage: StorageBackend, kept: Kept, starts: Iterable[str], hops: int, steps: Steps, limit: int | None
) -> tuple[dict[str, int], bool]:
    """Each node within ``hops`` steps of the starts with the number of steps, and whether ``limit`` cut it off."""
    check_page(hops)
    check_page(limit)
    places = kept.places
    level = list(dict.fromkeys(sorted(check_id(start) for start in starts)))
    live = storage.get_many(level, namespace=places.live)
    level = [node for node in level if node in live or not kept.checked]
    if limit is not None and len(level) > limit:
        return dict.fromkeys(level[:limit], 0), True
    found = dict.fromkeys(level, 0)
    for depth in range(1, hops + 1):
        met: set[str] = set()
        for node, link in links_of_many(storage, places, level, steps):
            other = far_end(link, node)
            if other not in found:
                met.add(other)
        # Beyond the limit the rest is cut off, but only a whole level knows which come first by id.
        level = sorted(met)
        if limit is not None and len(found) + len(level) > limit:
            for node in level[: limit - len(found)]:
                found[node] = depth
            return found, True
        found.update(dict.fromkeys(level, depth))
        if not level:
            break
    return found, False


def subgraph(
    storage: StorageBackend,
    kept: Kept,
    starts: Iterable[str],
    hops: int,
    steps: Steps,
    most_nodes: int,
    most_edges: int,
) -> Subgraph:
    """The nodes within ``hops`` of the starts and every allowed relationship between them."""
    check_page(most_edges)
    depths, truncated = reach(storage, kept, starts, hops, steps, most_nodes)
    outward = Steps("out", steps.types, steps.as_of, steps.known_at)
    ids: list[str] = []
    for _, link in links_of_many(storage, kept.places, depths, outward):
        if link.to_node in depths:
            if len(ids) == most_edges:
                truncated = True
                break
            ids.append(link.relationship_id)
    nodes = node_store.load_many(storage, kept, depths)
    return Subgraph(nodes, relationships.load_many(storage, kept, ids), depths, truncated)


def shortest_path(
    storage: StorageBackend, kept: Kept, start: str, goal: str, steps: Steps, max_hops: int | None, most_visited: int
) -> GraphPath | None:
    """A way with the fewest steps, by searching from both ends; None if there is none.

    Raises GraphTooLarge after ``most_visited`` nodes.
    """
    check_page(max_hops)
    places = kept.places
    live = storage.get_many([check_id(start), check_id(goal)], namespace=places.live)
    if kept.checked and (start not in live or goal not in live):
        return None
    if start == goal:
        return GraphPath([start], [], 0)
    came: tuple[dict[str, Link | None], dict[str, Link | None]] = ({start: None}, {goal: None})
    edges = ([start], [goal])
    ways = (steps, steps.reversed)
    hops = 0
    while edges[0] and edges[1] and (max_hops is None or hops < max_hops):
        side = 0 if len(edges[0]) <= len(edges[1]) else 1
        mine, theirs = came[side], came[1 - side]
        nearest: list[str] = []
        meeting: list[str] = []
        for node, link in links_of_many(storage, places, edges[side], ways[side]):
            other = far_end(link, node)
            if other not in mine:
                mine[other] = link
                nearest.append(other)
                if other in theirs:
                    meeting.append(other)
                elif len(came[0]) + len(came[1]) > most_visited:
                    raise GraphTooLarge(f"more than {most_visited} nodes of graph {places.root!r} were visited")
        hops += 1
        if meeting:
            return _joined(came, min(meeting))
        nearest.sort()
        edges = (nearest, edges[1]) if side == 0 else (edges[0], nearest)
    return None


def _joined(came: tuple[dict[str, Link | None], dict[str, Link | None]], middle: str) -> GraphPath:
    before, after = _trace(came[0], middle), _trace(came[1], middle)
    path = [*reversed(before), *after]
    nodes = [middle]
    for link in before:
        nodes.insert(0, far_end(link, nodes[0]))
    for link in after:
        nodes.append(far_end(link, nodes[-1]))
    return GraphPath(nodes, path, len(path))


def _trace(came: dict[str, Link | None], node: str) -> list[Link]:
    """The links from ``node`` back to where the search began."""
    path = []
    while (link := came[node]) is not None:
        path.append(link)
        node = far_end(link, node)
    return path


def cheapest_path(
    storage: StorageBackend, kept: Kept, start: str, goal: str, steps: Steps, max_hops: int | None, most_visited: int
) -> GraphPath | None:
    """A way with the least sum of weights, by Dijkstra's algorithm; None if there is none.

    Of equal sums the one with fewer steps. Raises GraphTooLarge after ``most_visited`` nodes.
    """
    if max_hops is not None:
        raise InvalidInput("max_hops bounds paths by steps, not by weight")
    places = kept.places
    live = storage.get_many([check_id(start), check_id(goal)], namespace=places.live)
    if kept.checked and (start not in live or goal not in live):
        return None
    best: dict[str, tuple[float, int]] = {start: (0, 0)}
    came: dict[str, Link | None] = {start: None}
    done: set[str] = set()
    waiting: list[tuple[float, int, str]] = [(0, 0, start)]
    while waiting:
        cost, hops, node = heapq.heappop(waiting)
        if node in done:
            continue
        done.add(node)
        if node == goal:
            path = _trace(came, goal)[::-1]
            nodes = [start]
            for link in path:
                nodes.append(far_end(link, nodes[-1]))
            return GraphPath(nodes, path, cost)
        if len(done) > most_visited:
            raise GraphTooLarge(f"more than {most_visited} nodes of graph {places.root!r} were visited")
        for link in links(storage, places, node, steps):
            other = far_end(link, node)
            way = (cost + link.weight, hops + 1)
            if other not in done and (other not in best or way < best[other]):
                best[other], came[other] = way, link
                heapq.heappush(waiting, (*way, other))
    return None
