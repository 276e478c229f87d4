"""One step from a node or from many: which links count, and reading them in pages or for a whole frontier."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from ...contract import StorageBackend
from ...errors import InvalidInput
from ...filters import And, Filter, where
from ...names import join_key, key_prefix
from .layout import FAR_PART, Link, Places, check_id, check_type, read_link, split_link_key
from .records import Direction

_SIDES: Final[dict[str, tuple[bool, ...]]] = {"out": (True,), "in": (False,), "both": (True, False)}

Side = Literal["out", "in"]


@dataclass(frozen=True)
class Steps:
    """Which links a walk may take: by direction, type, and time.

    ``types`` None is every type. ``as_of``: only what held at that time; ``known_at``: only what had been recorded by
    then. None leaves time out of it.
    """

    direction: Direction = "out"
    types: tuple[str, ...] | None = None
    as_of: int | None = None
    known_at: int | None = None

    @classmethod
    def read(
        cls, direction: str, types: str | Iterable[str] | None, as_of: int | None = None, known_at: int | None = None
    ) -> Steps:
        """The steps as a caller gives them. Raises InvalidInput."""
        if direction not in get_args(Direction):
            raise InvalidInput('direction is "out", "in" or "both"')
        if types is not None:
            if not isinstance(types, Iterable):
                raise InvalidInput("types are a type or several")
            types = tuple(sorted({check_type(type) for type in ((types,) if isinstance(types, str) else types)}))
        for time in (as_of, known_at):
            if time is not None and (not isinstance(time, int) or isinstance(time, bool)):
                raise InvalidInput("as_of and known_at are times in whole milliseconds")
        return cls(direction, types, as_of, known_at)  # type: ignore[arg-type]

    @property
    def reversed(self) -> Steps:
        """The same walked the other way."""
        turned: dict[Direction, Direction] = {"out": "in", "in": "out", "both": "both"}
        return Steps(turned[self.direction], self.types, self.as_of, self.known_at)

    def allows(self, link: Link) -> bool:
        """Whether time lets the link be."""
        at, known = self.as_of, self.known_at
        if at is not None:
            if link.valid_from is not None and at < link.valid_from:
                return False
            if link.valid_to is not None and at >= link.valid_to:
                # An end that had not been recorded yet was no end to who asked then.
                return known is not None and link.recorded_at <= known < (link.end_recorded_at or link.recorded_at)
        return known is None or link.recorded_at <= known

    @property
    def condition(self) -> Filter | None:
        """What :meth:`allows` asks, of the rows of ``out`` and ``in``; None if a key alone decides."""
        parts: list[Filter] = []
        if self.as_of is not None:
            ended = where("$value[3]") <= self.as_of
            if self.known_at is not None:
                ended = ended & ~(where("$value[4]") > self.known_at)
            parts += [~(where("$value[2]") > self.as_of), ~ended]
        if self.known_at is not None:
            parts.append(where("$value[0]") <= self.known_at)
        return And(tuple(parts)) if parts else None

    def namespaces(self, places: Places) -> list[str]:
        """Those whose rows lead on from a node."""
        return [places.out if outward else places.into for outward in _SIDES[self.direction]]

    def ranges(self, places: Places, node_id: str) -> Iterator[tuple[bool, str, str]]:
        """The ranges that hold a node's links, in order: outward or not, namespace, prefix."""
        for outward in _SIDES[self.direction]:
            namespace = places.out if outward else places.into
            if self.types is None:
                yield outward, namespace, key_prefix(node_id)
            else:
                for type in self.types:
                    yield outward, namespace, key_prefix(node_id, type)


def page(
    storage: StorageBackend, places: Places, node_id: str, steps: Steps, limit: int, cursor: str | None
) -> tuple[list[tuple[Link, Side]], str | None]:
    """At most ``limit`` links after ``cursor``: outward ones first, each side in order of type, node, relationship.

    A loop comes once, as an outward link, where both sides are read. Raises InvalidInput for a cursor of another call.
    """
    check_id(node_id)
    side, after = _read_cursor(cursor)
    if after is not None and not any(
        outward == (side == "out") and after.startswith(prefix) for outward, _, prefix in steps.ranges(places, node_id)
    ):
        raise InvalidInput("a cursor goes on with the call that gave it: the same node, direction and types")
    found: list[tuple[Link, Side]] = []
    last = None
    for outward, namespace, prefix in steps.ranges(places, node_id):
        here: Side = "out" if outward else "in"
        if side == "in" and here == "out":
            continue
        resumed = after if side == here and after is not None else None
        if resumed is not None and not resumed.startswith(prefix) and resumed > prefix:
            continue
        start = resumed if resumed is not None and resumed.startswith(prefix) else None
        for entry in storage.scan(namespace=namespace, prefix=prefix, after=start):
            link = read_link(entry.key, entry.value, outward)
            if not steps.allows(link) or (not outward and steps.direction == "both" and link.from_node == link.to_node):
                continue
            if len(found) == limit:
                return found, last
            found.append((link, here))
            last = here[0] + entry.key
    return found, None


def _read_cursor(cursor: str | None) -> tuple[Side | None, str | None]:
    if cursor is None:
        return None, None
    if not isinstance(cursor, str) or len(cursor) < 2 or cursor[0] not in "oi":
        raise InvalidInput("a cursor is what a page of neighbours gave")
    return ("out" if cursor[0] == "o" else "in"), cursor[1:]


def reached(
    storage: StorageBackend,
    places: Places,
    node_ids: Iterable[str],
    steps: Steps,
    hops: int = 1,
    limit: int | None = None,
) -> dict[str, int]:
    """The nodes within ``hops`` steps, with the steps to each, nearest first, then by id; ``limit`` at most."""
    found = storage.follow(
        node_ids,
        namespaces=steps.namespaces(places),
        part=FAR_PART,
        second=steps.types,
        filter=steps.condition,
        hops=hops,
        limit=limit,
    )
    return {str(node): hop for node, hop in found.items()}


class Row(NamedTuple):
    """A row of ``out`` or ``in`` as its key alone tells it."""

    near: str
    out_key: str


def first_rows(
    storage: StorageBackend, places: Places, node_ids: Iterable[str], steps: Steps, limit: int
) -> dict[str, Row]:
    """The nodes one step away in order of id, each with the first row that leads there; ``limit`` at most."""
    found = storage.follow_keys(
        node_ids,
        namespaces=steps.namespaces(places),
        part=FAR_PART,
        second=steps.types,
        filter=steps.condition,
        limit=limit,
    )
    rows = {}
    for far, (namespace, key) in found.items():
        near, relation_type, _, relationship_id = split_link_key(key)
        out_key = key if namespace == places.out else join_key(str(far), relation_type, near, relationship_id)
        rows[str(far)] = Row(near, out_key)
    return rows


def read_rows(storage: StorageBackend, places: Places, rows: Iterable[Row]) -> list[Link]:
    """The links of rows."""
    values = storage.get_many([row.out_key for row in rows], namespace=places.out)
    return [read_link(key, value, True) for key, value in values.items()]


def links_of_many(
    storage: StorageBackend,
    places: Places,
    node_ids: Iterable[str],
    steps: Steps,
    ends: Collection[str] | None = None,
) -> Iterator[tuple[str, Link]]:
    """Every link that may be taken of many nodes, each with the node that it was met at: all outward ones first.

    ``ends``: only links whose other end is one of these.
    """
    waiting = list(node_ids)
    parts = None if ends is None else {FAR_PART: ends}
    for outward in _SIDES[steps.direction]:
        namespace = places.out if outward else places.into
        prefixes = [
            key_prefix(node) if type is None else key_prefix(node, type)
            for node in waiting
            for type in (steps.types if steps.types is not None else (None,))
        ]
        for entry in storage.scan_prefixes(prefixes, namespace=namespace, parts=parts):
            link = read_link(entry.key, entry.value, outward)
            if steps.allows(link):
                yield (link.from_node if outward else link.to_node), link


def far_end(link: Link, node_id: str) -> str:
    """The node at the other end; the node itself for a loop."""
    return link.to_node if link.from_node == node_id else link.from_node
