"""Cursors of several change logs in one int.

A cursor says for each shard through which seq of its log everything has been seen. As an int it rises whenever any of
them does:

===========================  ===================================================================
seen                         int
===========================  ===================================================================
nothing                      0
one shard, number i          ``seq << 8 | i`` (below 2**63)
several                      ``seq << 64 * (i + 1)``, all of them added up
===========================  ===================================================================

So a cursor of one namespace fits into 64 bits until the namespace moves; one of all namespaces is longer and is kept
as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...errors import InvalidInput

#: Shards that cursors can tell apart.
MAX_SHARDS: Final = 256

_SEQ_BITS: Final = 55


def encode(seen: Mapping[int, int]) -> int:
    """The cursor for ``seen``: number of a shard -> seq."""
    given = {number: seq for number, seq in seen.items() if seq}
    if len(given) == 1:
        ((number, seq),) = given.items()
        if seq >> _SEQ_BITS == 0:
            return seq << 8 | number
    return sum(seq << 64 * (number + 1) for number, seq in given.items())


def decode(cursor: object) -> dict[int, int]:
    """What a cursor says was seen. Raises InvalidInput."""
    if not isinstance(cursor, int) or isinstance(cursor, bool) or cursor < 0:
        raise InvalidInput("a cursor is a whole number of at least 0")
    if cursor >> 64 == 0:
        return {cursor & 0xFF: cursor >> 8} if cursor >> 8 else {}
    seen = {}
    for number in range(MAX_SHARDS):
        cursor >>= 64
        if not cursor:
            break
        if seq := cursor & (2**64 - 1):
            seen[number] = seq
    return seen
