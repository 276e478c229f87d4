"""Which positions have keys that begin in one way, for the beginnings that filters asked for last.

The database finds a range of keys in order, but all of it anew for every search. A range is kept here from then on, and
follows the changes. Positions of entries that have changed or gone since stay in it: who asks leaves the dead ones out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .resident import Mask

#: Ranges kept at most, and positions in all of them; those not used for longest go.
MOST_RANGES: Final = 32
MOST_POSITIONS: Final = 1_000_000


class KeyRanges:
    """The ranges of one index, each by the beginning of its keys."""

    def __init__(self) -> None:
        self._positions: dict[str, array[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._positions)

    def mask(self, beginning: str, count: int) -> Mask | None:
        """A mask of ``count`` positions, or None if the range is not kept; it has become the newest."""
        import numpy

        held = self._positions.pop(beginning, None)
        if held is None:
            return None
        self._positions[beginning] = held
        found = numpy.zeros(count, dtype=bool)
        found[numpy.array(held, dtype=numpy.int64)] = True
        return found

    def keep(self, beginning: str, positions: Iterable[int]) -> None:
        """Keep a range."""
        self._positions[beginning] = array("q", positions)
        self._shrink()

    def append(self, position: int, key: str) -> None:
        """An entry has taken a position."""
        for beginning, held in self._positions.items():
            if key.startswith(beginning):
                held.append(position)

    def _shrink(self) -> None:
        total = sum(map(len, self._positions.values()))
        while self._positions and (len(self._positions) > MOST_RANGES or total > MOST_POSITIONS):
            total -= len(self._positions.pop(next(iter(self._positions))))
