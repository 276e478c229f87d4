"""Walks: what lies within some hops, the part of the graph around nodes, and ways with the fewest steps.

Each reads one state of the graph and gives nodes in a fixed order, so that equal graphs give equal answers on every
backend: by distance, then by id. Nodes are found by the storage's ``follow``: recursive SQL where there is SQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Final

from ...contract import StorageBackend, check_page
from . import nodes as node_store, relationships
from .errors import GraphTooLarge
from .layout import Link, check_id
from .nodes import Kept
from .records import GraphPath, Subgraph
from .stepping import Row, Steps, far_end, first_rows, links_of_many, reached, read_rows

#: Nodes that a search for a way may visit unless it says otherwise.
MOST_VISITED: Final = 100_000

_Came = dict[str, Row | None]


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
    # Of each end: the row by which each node was met, and the nodes met last.
    came: tuple[_Came, _Came] = ({start: None}, {goal: None})
    levels = [start], [goal]
    for _ in count() if max_hops is None else range(max_hops):
        side = 0 if len(levels[0]) <= len(levels[1]) else 1
        mine, theirs = came[side], came[1 - side]
        room = max(most_visited - len(mine) - len(theirs), 0)
        # Of what is met, only as much as is known can be met again.
        rows = first_rows(storage, kept.places, levels[side], ways[side], len(mine) + room + 1)
        nearest = [node for node in rows if node not in mine]
        if not nearest:
            return None
        mine.update((node, rows[node]) for node in nearest)
        meeting = next((node for node in nearest if node in theirs), None)
        if meeting is not None:
            way = [*_trace(came[0], meeting)[::-1], *_trace(came[1], meeting)]
            return as_path(start, read_rows(storage, kept.places, way))
        if len(nearest) > room:
            raise too_large(kept, most_visited)
        levels = (nearest, levels[1]) if side == 0 else (levels[0], nearest)
    return None


def _trace(came: _Came, node: str) -> list[Row]:
    """The rows of the way from ``node`` back to where the search began."""
    way = []
    while (row := came[node]) is not None:
        way.append(row)
        node = row.near
    return way


def as_path(start: str, links: list[Link], *, weighted: bool = False) -> GraphPath:
    """The path of links that follow one another."""
    nodes = [start]
    cost: float = 0
    for link in links:
        nodes.append(far_end(link, nodes[-1]))
        cost += link.weight if weighted else 1
    return GraphPath(nodes, links, cost)
