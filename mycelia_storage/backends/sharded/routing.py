"""The routing table: which shard a top-level namespace belongs to, now and next.

Rendezvous hashing: of all shards in the ring, the one whose name hashes highest together with the namespace's. A shard
that joins a ring of n takes one in n + 1 of the names, evenly from the others, and nothing else moves. The hash is
BLAKE2b of ``SHARD NUL TOP`` in UTF-8, 8 bytes, big-endian: the same in every process and version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

from ...errors import SchemaTooNew, StorageCorrupt

FORMAT: Final = 1


def top_of(namespace: str) -> str:
    """The first level of a namespace."""
    return namespace.partition("/")[0]


def choose(ring: tuple[str, ...], top: str) -> str:
    """The shard of ``ring`` that ``top`` hashes to."""
    if len(ring) == 1:
        return ring[0]
    encoded = b"\0" + top.encode()
    return max(ring, key=lambda shard: (blake2b(shard.encode() + encoded, digest_size=8).digest(), shard))


@dataclass(frozen=True, kw_only=True)
class Table:
    """A routing table as a shard keeps it."""

    epoch: int
    cluster: str
    shards: tuple[str, ...]
    """All shards in the order in which they joined; the position is a shard's number in cursors."""
    ring: tuple[str, ...]
    """Those that take names by hash; the others hold pinned names only."""
    pins: dict[str, str]
    """Top-level namespace -> shard, for those that do not follow the hash."""
    next_ring: tuple[str, ...] | None = None
    """With ``next_pins``: what shall hold next; None while nothing is under way."""
    next_pins: dict[str, str] | None = None
    closed: bool = False
    """Whether this shard has nothing in transit left and takes no fresh name in transit."""
    lease: float = 1.0
    settle: float = 6.0
    addresses: dict[str, str]
    """Where shards that were added can be reached; without passwords."""

    @property
    def is_moving(self) -> bool:
        """Whether a change has been announced and not finished."""
        return self.next_ring is not None

    def owner(self, top: str) -> str:
        """The shard that has ``top`` now, or had it until it left."""
        return self.pins.get(top) or choose(self.ring, top)

    def heir(self, top: str) -> str:
        """The shard that shall have it."""
        if self.next_ring is None:
            return self.owner(top)
        return (self.next_pins or {}).get(top) or choose(self.next_ring, top)

    def sole_shard(self) -> str | None:
        """The one shard that every name belongs to, if there is one and nothing is under way."""
        homes = {*self.ring, *self.pins.values()}
        return self.ring[0] if len(homes) == 1 and not self.is_moving else None

    def announced(self, **changes: Any) -> Table:
        """The next epoch, with ``next_ring``, ``next_pins`` and what else changes."""
        return replace(self, epoch=self.epoch + 1, closed=False, **changes)

    def finished(self) -> Table:
        """The epoch in which what was next holds."""
        assert self.next_ring is not None
        return replace(
            self,
            epoch=self.epoch + 1,
            closed=False,
            ring=self.next_ring,
            pins=self.next_pins or {},
            next_ring=None,
            next_pins=None,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("shards", "ring", "next_ring"):
            data[name] = None if data[name] is None else [*data[name]]
        return {"format": FORMAT, **data}

    @classmethod
    def from_json(cls, data: Any) -> Table:
        """The table that :meth:`to_json` wrote. Raises SchemaTooNew, StorageCorrupt."""
        try:
            if data["format"] > FORMAT:
                raise SchemaTooNew(f"the routing table has format {data['format']}; this library knows {FORMAT}")
            fields = {name: data[name] for name in cls.__dataclass_fields__}
            for name in ("shards", "ring", "next_ring"):
                fields[name] = None if fields[name] is None else tuple(fields[name])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise StorageCorrupt("the routing table of a shard is damaged") from error
