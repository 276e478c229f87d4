"""A sorted map that is copied in no time: what states in memory are made of.

A map is a list of blocks, each a sorted run of at most ``MAX_BLOCK`` keys with their values. :meth:`SortedMap.fork`
copies only the list; the blocks are shared until one side writes to one and takes a copy of that block. So a state
that nobody writes to any more stays as it was for whoever still holds it.

Invariants: no block is empty; ``_firsts[i] == _blocks[i].keys[0]``; keys rise through a block and from block to
block; a block is changed in place only by the map whose mark it carries.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, Generic, TypeVar

K = TypeVar("K", str, int, bytes, "tuple[int, str]")
V = TypeVar("V")

MAX_BLOCK: Final = 512


class _Block(Generic[K, V]):
    __slots__ = ("keys", "mark", "values")

    keys: list[K]
    values: list[V]
    mark: object

    def __init__(self, keys: list[K], values: list[V], mark: object) -> None:
        self.keys = keys
        self.values = values
        self.mark = mark


class SortedMap(Generic[K, V]):
    """A map in the order of its keys. Reading is safe beside other readers; writing needs the map for oneself."""

    __slots__ = ("_blocks", "_firsts", "_mark", "_size")

    def __init__(self) -> None:
        self._blocks: list[_Block[K, V]] = []
        self._firsts: list[K] = []
        self._mark = object()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def fork(self) -> SortedMap[K, V]:
        """A copy. Writing to either changes nothing in the other."""
        copy: SortedMap[K, V] = SortedMap()
        copy._blocks = self._blocks.copy()
        copy._firsts = self._firsts.copy()
        copy._size = self._size
        self._mark = object()  # disowns every block
        return copy

    def get(self, key: K) -> V | None:
        """The value of ``key``, or None."""
        at = bisect_right(self._firsts, key) - 1
        if at < 0:
            return None
        block = self._blocks[at]
        place = bisect_left(block.keys, key)
        if place < len(block.keys) and block.keys[place] == key:
            return block.values[place]
        return None

    def holds(self, key: K) -> bool:
        """Whether ``key`` is there, if only with None."""
        at = bisect_right(self._firsts, key) - 1
        if at < 0:
            return False
        keys = self._blocks[at].keys
        place = bisect_left(keys, key)
        return place < len(keys) and keys[place] == key

    def put(self, key: K, value: V) -> None:
        """Add or replace."""
        if not self._blocks:
            self._blocks.append(_Block([key], [value], self._mark))
            self._firsts.append(key)
            self._size = 1
            return
        at = max(bisect_right(self._firsts, key) - 1, 0)
        block = self._own(at)
        place = bisect_left(block.keys, key)
        if place < len(block.keys) and block.keys[place] == key:
            block.values[place] = value
            return
        block.keys.insert(place, key)
        block.values.insert(place, value)
        self._firsts[at] = block.keys[0]
        self._size += 1
        if len(block.keys) > MAX_BLOCK:
            self._split(at, block)

    def pop(self, key: K) -> V | None:
        """Remove ``key``; its value, or None if it was not there."""
        at = bisect_right(self._firsts, key) - 1
        if at < 0:
            return None
        keys = self._blocks[at].keys
        place = bisect_left(keys, key)
        if place == len(keys) or keys[place] != key:
            return None
        block = self._own(at)
        del block.keys[place]
        value = block.values.pop(place)
        if block.keys:
            self._firsts[at] = block.keys[0]
        else:
            del self._blocks[at], self._firsts[at]
        self._size -= 1
        return value

    def items(self, low: K | None = None, high: K | None = None, *, reverse: bool = False) -> Iterator[tuple[K, V]]:
        """Pairs from ``low`` (inclusive) to ``high`` (exclusive), lazily. The map must not change meanwhile."""
        if not self._blocks:
            return
        first = 0 if low is None else max(bisect_right(self._firsts, low) - 1, 0)
        last = len(self._blocks) if high is None else bisect_left(self._firsts, high)
        order = range(first, last)
        for at in reversed(order) if reverse else order:
            block = self._blocks[at]
            begin = 0 if low is None or at > first else bisect_left(block.keys, low)
            end = len(block.keys) if high is None or at < last - 1 else bisect_left(block.keys, high)
            places = range(begin, end)
            for place in reversed(places) if reverse else places:
                yield block.keys[place], block.values[place]

    def values(self) -> Iterator[V]:
        """All values in the order of their keys. The map must not change meanwhile."""
        for block in self._blocks:
            yield from block.values

    def problems(self) -> list[str]:
        """Broken invariants, each in a sentence."""
        keys: list[Any] = [key for block in self._blocks for key in block.keys]
        found = []
        if any(left >= right for left, right in pairwise(keys)):
            found.append("keys are out of order")
        if len(keys) != self._size or self._firsts != [block.keys[0] for block in self._blocks]:
            found.append("the blocks of a map do not add up")
        return found

    def _own(self, at: int) -> _Block[K, V]:
        block = self._blocks[at]
        if block.mark is not self._mark:
            block = _Block(block.keys.copy(), block.values.copy(), self._mark)
            self._blocks[at] = block
        return block

    def _split(self, at: int, block: _Block[K, V]) -> None:
        # Keys that come in rising order leave full blocks behind; others get two halves.
        half = MAX_BLOCK if block is self._blocks[-1] else MAX_BLOCK // 2
        rest = _Block(block.keys[half:], block.values[half:], self._mark)
        del block.keys[half:], block.values[half:]
        self._blocks.insert(at + 1, rest)
        self._firsts.insert(at + 1, rest.keys[0])
