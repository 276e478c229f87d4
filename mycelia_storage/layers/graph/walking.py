"""Walks: what lies within some hops, the part of the graph around nodes, and ways with the fewest steps.

Each reads one state of the graph and gives nodes in a fixed order, so that equal graphs give equal answers on every
backend: by distance, then by id. Nodes are found by the storage's ``follow``: recursive SQL where there is SQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...contract import StorageBackend, check_page
from . import nodes as node_store, relationships
from .errors import GraphTooLarge
from .layout import Link, check_id
from .nodes import Kept
from .records import GraphPath, Subgraph
from .stepping import Steps, far_end, links_of_many, reached

#: Nodes that a search for a way may visit unless it says otherwise.
MOST_VISITED: Final = 100_000


def reach(
    storage: StorageBackend, kept: Kept, starts: Iterable[str], hops: int, steps: Steps, limit: int | None
) -> tuple[dict[str, int], bool]:
    """Each node within ``hops`` steps of the starts with the number of steps, and whether ``limit`` cut it off."""
    check_page(hops)
    check_page(limit)
    ids = dict.fromkeys(check_id(start) for start in starts)
    live = storage.get_many(ids, namespace=kept.places.live) if kept.checked else ids
    found = reached(storage, kept.places, live, steps, hops, None if limit is None else limit + 1)
    if limit is None or len(found) <= limit:
        return found, False
    found.popitem()
    return found, True


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
    for _, link in links_of_many(storage, kept.places, depths, outward, depths):
        if len(ids) == most_edges:
            truncated = True
            break
        ids.append(link.relationship_id)
    nodes = node_store.load_many(storage, kept, depths)
    return Subgraph(nodes, relationships.load_many(storage, kept, ids), depths, truncated)


def are_there(storage: StorageBackend, kept: Kept, start: str, goal: str) -> bool:
    """Whether there can be a way between two nodes. Raises InvalidInput."""
    ends = {check_id(start), check_id(goal)}
    return not kept.checked or len(storage.get_many(ends, namespace=kept.places.live)) == len(ends)


def too_large(kept: Kept, most_visited: int) -> GraphTooLarge:
    """The error for a search that has to visit more."""
    return GraphTooLarge(f"more than {most_visited} nodes of graph {kept.places.root!r} were visited")


def shortest_path(
    storage: StorageBackend, kept: Kept, start: str, goal: str, steps: Steps, max_hops: int | None, most_visited: int
) -> GraphPath | None:
    """A way with the fewest steps, by searching from both ends; None if there is none.

    Raises GraphTooLarge after ``most_visited`` nodes.
    """
    check_page(max_hops)
    check_page(most_visited)
    if not are_there(storage, kept, start, goal):
        return None
    if start == goal:
        return GraphPath([start], [], 0)
    ways = (steps, steps.reversed)
    # Of each end: the nodes by their number of steps from it, and all of them.
    levels: tuple[list[list[str]], list[list[str]]] = ([[start]], [[goal]])
    seen = ({start}, {goal})
    while max_hops is None or len(levels[0]) + len(levels[1]) - 2 < max_hops:
        side = 0 if len(levels[0][-1]) <= len(levels[1][-1]) else 1
        room = most_visited - len(seen[0]) - len(seen[1])
        # Some of what is met again is known already.
        most = len(seen[side]) + max(room, 0) + 1
        found = reached(storage, kept.places, levels[side][-1], ways[side], 1, most)
        nearest = [node for node in found if node not in seen[side]]
        if not nearest:
            return None
        levels[side].append(nearest)
        meeting = [node for node in nearest if node in seen[1 - side]]
        if meeting:
            back = _trace(storage, kept, min(meeting), levels[0], ways[1])[::-1]
            onward = _trace(storage, kept, min(meeting), levels[1], ways[0])
            return as_path(start, [*back, *onward])
        if len(nearest) > room:
            raise too_large(kept, most_visited)
        seen[side].update(nearest)
    return None


def _trace(storage: StorageBackend, kept: Kept, node: str, levels: list[list[str]], back: Steps) -> list[Link]:
    """The links of a way from ``node`` to the first level, through each level from its own on."""
    way = []
    own = next(number for number, level in enumerate(levels) if node in level)
    for level in reversed(levels[:own]):
        _, link = next(links_of_many(storage, kept.places, [node], back, level))
        way.append(link)
        node = far_end(link, node)
    return way


def as_path(start: str, links: list[Link], *, weighted: bool = False) -> GraphPath:
    """The path of links that follow one another."""
    nodes = [start]
    cost: float = 0
    for link in links:
        nodes.append(far_end(link, nodes[-1]))
        cost += link.weight if weighted else 1
    return GraphPath(nodes, links, cost)
