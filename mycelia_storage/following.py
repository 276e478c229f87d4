"""What following composite keys means, whatever stores them: ``StorageBackend.follow`` in terms of single steps.

A composite key (:func:`mycelia_storage.names.join_key`) is read as a way from its first part to a later one. With
``part=2``, ``join_key("ada", "knows", "bob", 7)`` leads from "ada" to "bob". Parts stay in their encoding here: it is
what keys and their ranges are made of, it sorts as the parts do, and few of those met are in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .arguments import check_page
from .errors import InvalidInput
from .filters import Filter, FilterInput, match, parse_filter
from .names import KeyPart, Namespace, check_namespace, is_key, join_key, split_key

if TYPE_CHECKING:
    from .contract import Entry, StorageBackend

#: What separates the parts of a key.
SEPARATOR: Final = "\x01"

#: What is right above :data:`SEPARATOR`, so that a prefix ending in the one ends at the other.
ABOVE: Final = "\x02"

#: No key has more parts: each takes two bytes at least.
_MOST_PARTS: Final = 512

#: Hops of one call of a backend's recursive statement. It meets a point again in each later hop that leads there, and
#: goes on from there again: within three hops that is little, without a bound it grows with each.
HOPS_TOGETHER: Final = 3

#: Under a limit that many hops are tried together for this part of it only: where one hop fills the limit, all that a
#: statement does beyond it is in vain.
_CAUTION: Final = 16

#: ``(points, hops, most)``: points met within ``hops`` of ``points``, each with its hops, in rising order of hops; it
#: may come again with more. At most ``most`` rows.
Advance = Callable[[list[str], int, int | None], Sequence[tuple[str, int]]]


@dataclass(frozen=True)
class Ways:
    """Which keys are followed, and how far: the checked arguments of ``follow``."""

    starts: list[str]
    namespaces: list[str]
    part: int
    second: list[str] | None
    condition: Filter | None
    hops: int
    limit: int | None

    @classmethod
    def read(
        cls,
        starts: Iterable[KeyPart],
        namespaces: Iterable[Namespace],
        part: int,
        second: Iterable[KeyPart] | None,
        filter: FilterInput | None,
        hops: int,
        limit: int | None,
    ) -> Ways:
        """The ways as a caller says them. Raises InvalidInput."""
        if isinstance(starts, str) or isinstance(second, str) or isinstance(namespaces, str):
            raise InvalidInput("starts, namespaces and second are several: give a list, not a string")
        check_part_number(part)
        if part == 0 or (part == 1 and second is not None):
            raise InvalidInput("a key leads on to its part 1 or a later one, after the second if that is given")
        if hops is None:
            raise InvalidInput("hops is a whole number of at least 0")
        check_page(hops)
        check_page(limit)
        return cls(
            sorted({join_key(start) for start in starts}),
            list(dict.fromkeys(map(check_namespace, namespaces))),
            part,
            None if second is None else sorted({join_key(one) for one in second}),
            parse_filter(filter),
            hops,
            limit,
        )

    @property
    def ranges(self) -> list[tuple[str, str]]:
        """What follows a point in the keys that lead on from it: at least the first, below the other."""
        if self.second is None:
            return [(SEPARATOR, ABOVE)]
        return [(f"{SEPARATOR}{one}{SEPARATOR}", f"{SEPARATOR}{one}{ABOVE}") for one in self.second]


def follow(ways: Ways, advance: Advance, hops_together: int) -> dict[KeyPart, int]:
    """Each point within the hops and the limit, nearest first, then in order of the points."""
    found = dict.fromkeys(ways.starts, 0)
    level, hop = ways.starts, 0
    while level and hop < ways.hops:
        room = None
        if ways.limit is not None:
            room = ways.limit - len(found)
            if room <= 0:
                break
        span = min(hops_together, ways.hops - hop)
        most = None if room is None or span == 1 else len(level) + room // _CAUTION + 1
        rows = advance(level, span, most)
        # Cut off, the last hop may be incomplete: on from the one before, a hop at a time.
        whole = span if most is None or len(rows) < most else rows[-1][1] - 1
        if whole < span:
            hops_together = 1
        if whole > 0:
            level = []
        for point, hops in rows:
            if hops <= whole and point and point not in found:
                found[point] = hop + hops
                if hops == whole:
                    level.append(point)
        hop += whole
    order = sorted(sorted(found), key=found.__getitem__)[: ways.limit]
    return {_read(point): found[point] for point in order}


def _read(point: str) -> KeyPart:
    # Most are text without anything to decode, after its letter.
    return point[1:] if point[0] == "s" and ABOVE not in point else split_key(point)[0]


def in_order(keys: Mapping[str, tuple[str, str]], limit: int | None) -> dict[KeyPart, tuple[str, str]]:
    """What ``follow_keys`` answers, from the points met."""
    return {_read(point): keys[point] for point in sorted(keys)[:limit]}


def follow_by_scanning(storage: StorageBackend, ways: Ways) -> dict[KeyPart, int]:
    """:func:`follow` for a storage that has nothing but ranges."""
    return follow(ways, lambda points, _hops, _most: [(point, 1) for point in _first_keys(storage, ways, points)], 1)


def follow_keys_by_scanning(storage: StorageBackend, ways: Ways) -> dict[KeyPart, tuple[str, str]]:
    """``follow_keys`` for such a storage."""
    return in_order(_first_keys(storage, ways, ways.starts), ways.limit)


def _first_keys(storage: StorageBackend, ways: Ways, points: list[str]) -> dict[str, tuple[str, str]]:
    prefixes = [prefix for point in sorted(points) for low, _ in ways.ranges if is_key(prefix := point + low)]
    met: dict[str, tuple[str, str]] = {}
    for namespace in ways.namespaces:
        for entry in storage.scan_prefixes(prefixes, namespace=namespace):
            if ways.condition is None or match(ways.condition, entry):
                point = part_of(entry.key, ways.part)
                if point:
                    met.setdefault(point, (namespace, entry.key))
    return met


# -- parts of keys -----------------------------------------------------------------------------------------------------


def part_of(key: str, number: int) -> str:
    """A key's part as it is written, "" if it has none of that number."""
    parts = key.split(SEPARATOR, number + 1)
    return parts[number] if len(parts) > number else ""


def check_part_number(number: int) -> None:
    """Raise InvalidInput unless a key can have a part of that number."""
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < _MOST_PARTS:
        raise InvalidInput(f"the number of a key's part is a whole number from 0 to {_MOST_PARTS - 1}")


def read_parts(parts: Mapping[int, Collection[KeyPart]] | None) -> dict[int, list[str]]:
    """A condition on parts, with the parts as they are written. Raises InvalidInput."""
    checked = {}
    for number, among in (parts or {}).items():
        check_part_number(number)
        if isinstance(among, str):
            raise InvalidInput("the parts to choose among are several: give a list, not a string")
        checked[number] = list({join_key(one): None for one in among})
    return checked


def with_parts(entries: Iterable[Entry], parts: Mapping[int, Iterable[str]]) -> Iterator[Entry]:
    """The entries whose keys have one of the parts at each of the numbers."""
    wanted = {number: frozenset(among) for number, among in parts.items()}
    return (entry for entry in entries if all(part_of(entry.key, at) in among for at, among in wanted.items()))
