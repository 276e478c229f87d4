"""Ways with the least sum of weights."""

from __future__ import annotations

import heapq
from typing import Final

from ...contract import StorageBackend, check_page
from ...errors import InvalidInput
from .layout import Link
from .nodes import Kept
from .records import GraphPath
from .stepping import Steps, far_end, links_of_many
from .walking import are_there, as_path, too_large

#: Nodes whose links are read at a time: twice as many each time, up to these.
_MOST_AHEAD: Final = 64

#: A sum of weights and the number of steps: what a way costs.
_Cost = tuple[float, int]


class _Side:
    """Dijkstra's algorithm from one end."""

    def __init__(self, storage: StorageBackend, kept: Kept, end: str, steps: Steps) -> None:
        self._storage = storage
        self._kept = kept
        self._steps = steps
        self._read: dict[str, list[Link]] = {}
        self._ahead = 1
        self._waiting: list[tuple[float, int, str]] = [(0, 0, end)]
        self.best: dict[str, _Cost] = {end: (0, 0)}
        self.came: dict[str, Link | None] = {end: None}
        self.done: set[str] = set()

    def next(self) -> _Cost | None:
        """What the next node costs; None if all are done."""
        while self._waiting:
            cost, hops, node = self._waiting[0]
            if node not in self.done:
                return cost, hops
            heapq.heappop(self._waiting)
        return None

    def advance(self) -> list[str]:
        """Be done with the next node; the nodes to which it gave a better way."""
        cost, hops, node = heapq.heappop(self._waiting)
        self.done.add(node)
        bettered = []
        for link in self._links(node):
            other = far_end(link, node)
            way = (cost + link.weight, hops + 1)
            if other not in self.done and (other not in self.best or way < self.best[other]):
                self.best[other], self.came[other] = way, link
                heapq.heappush(self._waiting, (*way, other))
                bettered.append(other)
        return bettered

    def _links(self, node: str) -> list[Link]:
        if node not in self._read:
            # Along with those that come soon: the front of the heap is about the cheapest.
            soon = [other for _, _, other in self._waiting[: self._ahead - 1]]
            self._ahead = min(2 * self._ahead, _MOST_AHEAD)
            wanted = {other for other in soon if other not in self.done and other not in self._read} | {node}
            self._read.update((other, []) for other in wanted)
            for near, link in links_of_many(self._storage, self._kept.places, sorted(wanted), self._steps):
                self._read[near].append(link)
        return self._read.pop(node)

    def way_to(self, node: str) -> list[Link]:
        """The links of the best way, from ``node`` back to the end."""
        way = []
        while (link := self.came[node]) is not None:
            way.append(link)
            node = far_end(link, node)
        return way


def cheapest_path(
    storage: StorageBackend, kept: Kept, start: str, goal: str, steps: Steps, max_hops: int | None, most_visited: int
) -> GraphPath | None:
    """A way with the least sum of weights, by searching from both ends; None if there is none.

    Of equal sums one with the fewest steps. Raises GraphTooLarge after ``most_visited`` nodes.
    """
    if max_hops is not None:
        raise InvalidInput("max_hops bounds paths by steps, not by weight")
    check_page(most_visited)
    if not are_there(storage, kept, start, goal):
        return None
    if start == goal:
        return GraphPath([start], [], 0)
    sides = _Side(storage, kept, start, steps), _Side(storage, kept, goal, steps.reversed)
    found: tuple[_Cost, str] | None = None
    while (first := sides[0].next()) is not None and (second := sides[1].next()) is not None:
        if found is not None and _sum(first, second) >= found[0]:
            break
        mine, theirs = sides if first <= second else sides[::-1]
        for node in mine.advance():
            if node in theirs.best:
                through = _sum(mine.best[node], theirs.best[node]), node
                found = through if found is None else min(found, through)
        if len(mine.done) + len(theirs.done) > most_visited:
            raise too_large(kept, most_visited)
    if found is None:
        return None
    middle = found[1]
    return as_path(start, [*sides[0].way_to(middle)[::-1], *sides[1].way_to(middle)], weighted=True)


def _sum(one: _Cost, other: _Cost) -> _Cost:
    return one[0] + other[0], one[1] + other[1]
