"""Postings in blocks: which entries hold a term, how often by weight, and how long they are.

A block is a run of postings of one term, in order of entry id, as a row keeps it::

    first   base of the ids: no id in the block is below it, none in the block before is at or above it
    kind    which of twelve layouts the records have: the smallest that holds them all
    data    records without anything between:  id - first (2 or 4 bytes) | tf (1 byte, or float32) | length (1, 2 or 4)

Numbers are unsigned and little-endian. Most records take four bytes. :data:`LARGEST` keeps a row within a quarter of a
page, so that a change of a posting rewrites one page and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

#: Bytes of a block at most.
LARGEST: Final = 900

#: A block of fewer postings takes wider ids rather than ending where two bytes do.
_FEW: Final = 32

_FORMATS: Final = [(d, t, n) for d in "HI" for t in "Bf" for n in "BHI"]
LAYOUTS: Final = [Struct("<" + d + t + n) for d, t, n in _FORMATS]
_NUMPY: Final = {"B": "u1", "H": "<u2", "I": "<u4", "f": "<f4"}
#: The same for numpy.
FIELDS: Final = [[("id", _NUMPY[d]), ("tf", _NUMPY[t]), ("length", _NUMPY[n])] for d, t, n in _FORMATS]
WIDTHS: Final = [layout.size for layout in LAYOUTS]
_SPANS: Final = [0xFFFF if d == "H" else 0xFFFFFFFF for d, _, _ in _FORMATS]
_WHOLE: Final = [t == "B" for _, t, _ in _FORMATS]
_LENGTHS: Final = [{"B": 0xFF, "H": 0xFFFF, "I": 0xFFFFFFFF}[n] for _, _, n in _FORMATS]

#: What is kept of a term in an entry: tf and the entry's length. None in a change: nothing any more.
Posting = tuple[float, int]
Change = tuple[int, Posting | None]


class Block(NamedTuple):
    """A row of a term."""

    first: int
    kind: int
    data: bytes


def base_of(id: int) -> int:
    """The ``first`` of a term's first block: round, so that older entries that come to hold the term have a place."""
    return id & ~0xFFFF


def postings(block: Block) -> list[tuple[int, float, int]]:
    """The records of a block: entry id, tf, length."""
    first = block.first
    return [(first + delta, tf, length) for delta, tf, length in LAYOUTS[block.kind].iter_unpack(block.data)]


def encode(first: int, records: Sequence[tuple[int, float, int]]) -> Iterator[Block]:
    """Blocks of records in order of id, as full as can be; the first of them begins at ``first``."""
    at, end = 0, len(records)
    while at < end:
        if at:
            first = records[at][0]
        stop = min(end, at + LARGEST // WIDTHS[0])
        if records[stop - 1][0] - first > 0xFFFF:
            near = next(place for place in range(at, stop) if records[place][0] - first > 0xFFFF)
            if near - at >= _FEW:
                stop = near
            elif records[stop - 1][0] - first > 0xFFFFFFFF:
                stop = next(place for place in range(at, stop) if records[place][0] - first > 0xFFFFFFFF)
                if stop == at:  # only where the base is far below
                    first, stop = records[at][0], at + 1
        kind = _kind(first, records[at:stop])
        stop = min(stop, at + LARGEST // WIDTHS[kind])
        pack = LAYOUTS[kind].pack
        if _WHOLE[kind]:
            data = b"".join([pack(id - first, int(tf), length) for id, tf, length in records[at:stop]])
        else:
            data = b"".join([pack(id - first, tf, length) for id, tf, length in records[at:stop]])
        yield Block(first, kind, data)
        at = stop


def _kind(first: int, records: Sequence[tuple[int, float, int]]) -> int:
    wide = records[-1][0] - first > 0xFFFF
    longest = max([length for _, _, length in records])
    whole = all(tf <= 0xFF and tf == int(tf) for _, tf, _ in records)
    return 6 * wide + 3 * (not whole) + (longest > 0xFF) + (longest > 0xFFFF)


def change(block: Block, changes: Sequence[Change]) -> list[Block]:
    """What a block becomes, in blocks, by changes in order of id; nothing where no posting is left."""
    first, kind, data = block
    width, layout, whole = WIDTHS[kind], LAYOUTS[kind], _WHOLE[kind]
    if changes and changes[0][0] - first > layout.unpack_from(data, len(data) - width)[0]:
        if len(changes) == 1 and len(data) + width <= LARGEST:
            # What a new entry does to nearly all of its terms.
            id, posting = changes[0]
            if posting is None:
                return [block]
            tf, length = posting
            if _fits(kind, id - first, tf, length):
                return [Block(first, kind, data + layout.pack(id - first, int(tf) if whole else tf, length))]
        return _longer(block, [(id, *posting) for id, posting in changes if posting is not None])
    for number, (id, posting) in enumerate(changes):
        delta = id - first
        place, there = _find(layout, width, data, delta)
        if posting is None:
            data = data[:place] + data[place + width :] if there else data
            continue
        tf, length = posting
        if not _fits(kind, delta, tf, length):
            return _renewed(Block(first, kind, data), changes[number:])
        if not there and len(data) + width > LARGEST:
            half = len(data) // width // 2 * width
            left, right = Block(first, kind, data[:half]), _rebased(Block(first, kind, data[half:]))
            stay = number
            while stay < len(changes) and changes[stay][0] < right.first:
                stay += 1
            return [*change(left, changes[number:stay]), *change(right, changes[stay:])]
        record = layout.pack(delta, int(tf) if whole else tf, length)
        data = data[:place] + record + data[place + width * there :]
    return [Block(first, kind, data)] if data else []


def _longer(block: Block, added: list[tuple[int, float, int]]) -> list[Block]:
    """A block with records that come after all it has. What it has no room for begins the next."""
    first, kind, data = block
    width, whole, pack = WIDTHS[kind], _WHOLE[kind], LAYOUTS[kind].pack
    room = (LARGEST - len(data)) // width
    fitting = 0
    for id, tf, length in added[:room]:
        if not _fits(kind, id - first, tf, length):
            if len(data) // width + fitting < _FEW:
                return list(encode(first, [*postings(block), *added]))
            break
        fitting += 1
    data += b"".join([pack(id - first, int(tf) if whole else tf, length) for id, tf, length in added[:fitting]])
    rest = added[fitting:]
    return [Block(first, kind, data), *(encode(rest[0][0], rest) if rest else ())]


def _rebased(block: Block) -> Block:
    """The same records in a block that begins at the first of them."""
    layout, by = LAYOUTS[block.kind], LAYOUTS[block.kind].unpack_from(block.data)[0]
    pack = layout.pack
    data = b"".join([pack(delta - by, tf, length) for delta, tf, length in layout.iter_unpack(block.data)])
    return Block(block.first + by, block.kind, data)


def _renewed(block: Block, changes: Sequence[Change]) -> list[Block]:
    """The same as :func:`change`, with a layout that holds what the block's does not."""
    held: dict[int, Posting | None] = {id: (tf, length) for id, tf, length in postings(block)}
    held.update(changes)
    return list(encode(block.first, [(id, *posting) for id, posting in sorted(held.items()) if posting is not None]))


def _fits(kind: int, delta: int, tf: float, length: int) -> bool:
    return delta <= _SPANS[kind] and length <= _LENGTHS[kind] and (not _WHOLE[kind] or (tf <= 0xFF and tf == int(tf)))


def _find(layout: Struct, width: int, data: bytes, delta: int) -> tuple[int, bool]:
    """Where the record of that id is or belongs, in bytes, and whether it is there."""
    low, high = 0, len(data) // width
    while low < high:
        middle = (low + high) // 2
        here = layout.unpack_from(data, middle * width)[0]
        if here == delta:
            return middle * width, True
        if here < delta:
            low = middle + 1
        else:
            high = middle
    return low * width, False


def disorder(blocks: Sequence[Block]) -> bool:
    """Whether the blocks of a term, in order of ``first``, break the rules of their layout."""
    last: Any = -1
    for block in blocks:
        if not 0 <= block.kind < len(LAYOUTS) or not block.data or len(block.data) % WIDTHS[block.kind]:
            return True
        if block.first <= last:
            return True
        for id, _, _ in postings(block):
            if id <= last:
                return True
            last = id
    return False
