r"""Which rows a RocksDB storage has and how they look. One column family; keys compare by their bytes.

===========================================  ============================================================
key                                          row
===========================================  ============================================================
``e`` namespace NUL key                      an entry, as drawn below
``x`` namespace NUL expires(8) key           nothing: the entry expires at that time (UTC ms)
``i`` namespace NUL index(4) values key      the key again; values as in :mod:`.index_keys`
``t`` namespace NUL index(4) term NUL key    a posting of a text index: tf(8, a double) length(4)
``s`` namespace NUL index(4)                 its statistics: entries(8) length(8)
``v`` namespace NUL seq(8)                   the key whose vector changed
``k`` namespace NUL index(4)                 codes of a vector index: the seq(8) that they cover, parts(4) crc(4)
``k`` namespace NUL index(4) seq(8) part(4)  a part of codes, or of codes whose saving was interrupted
``l`` namespace NUL seq(8)                   a change: operation(1) version(8) at(8) key
``o`` seq(8)                                 the namespace of that change: the order through the storage
``n`` namespace                              the namespace, as JSON: metadata, times, tracking, indexes
``c`` namespace                              entries(8) changes(8): the rows of ``e`` and of ``l``, counted; with
                                             vector indexes also the first(8) and the last(8) seq of ``v``
``d`` namespace                              seq(8): the last change that went with a deleted namespace
``m`` ``clock`` ``lost`` ``format``          number(8): no version is above it; last seq not kept; this layout
===========================================  ============================================================

Numbers are unsigned and big-endian, text is UTF-8. Neither namespaces nor keys hold NUL, so rows of one namespace
stand together and entries in the order of their keys. A unique index needs no rows of its own: its values are a prefix.

An entry::

    kind(1) version(8) created_at(8) updated_at(8) expires_at(8) size of metadata(4) | metadata | value

    kind: 1 the value is JSON text, else bytes; 2 there is metadata, which is JSON text; 4 expires_at is not 0
"""

from __future__ import annotations

from struct import Struct, error as StructError  # noqa: N812
from typing import Any, Final

import orjson

from ...contract import Change, Entry, Operation
from ...errors import StorageCorrupt
from ...states.state import Row
from ...values import decode_value

FORMAT: Final = 1

JSON: Final = 1
METADATA: Final = 2
EXPIRES: Final = 4

HEADER: Final = Struct(">BQQQQI")
HEADER_SIZE: Final = HEADER.size
NUMBER: Final = Struct(">Q")
COUNTS: Final = Struct(">QQ")
COUNTS_WITH_VECTORS: Final = Struct(">QQQQ")
CODES: Final = Struct(">QII")
CODES_PART: Final = Struct(">QI")
CHANGE: Final = Struct(">BQQ")
POSTING: Final = Struct(">dI")

NAMESPACES: Final = b"n"
COUNTERS: Final = b"c"
EXPIRIES: Final = b"x"
ENTRIES: Final = b"e"
ORDER: Final = b"o"

CLOCK: Final = b"mclock"
LOST: Final = b"mlost"
VERSION: Final = b"mformat"

_OPERATIONS: Final[tuple[Operation, ...]] = ("set", "delete", "expire", "clear")

loads = orjson.loads


def prefix(kind: str, namespace: str) -> bytes:
    """What the keys of a namespace's rows of that kind begin with."""
    return f"{kind}{namespace}\0".encode()


def after(key: bytes) -> bytes:
    """The smallest bytes above everything that begins with ``key``, which has a byte below 255."""
    kept = key.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,))


def pack_row(row: Row) -> bytes:
    """An entry's row."""
    value, metadata, version, created_at, updated_at, expires_at = row
    kind = 0
    if value.__class__ is str:
        kind, value = JSON, value.encode()
    text = b""
    if metadata is not None:
        kind, text = kind | METADATA, metadata.encode()
    if expires_at is not None:
        kind |= EXPIRES
    header = HEADER.pack(kind, version, created_at, updated_at, expires_at or 0, len(text))
    return header + text + value  # type: ignore[operator]


def unpack_row(namespace: str, key: str, data: bytes) -> Row:
    """An entry's row, still encoded. Raises StorageCorrupt."""
    try:
        kind, version, created_at, updated_at, expires_at, size = HEADER.unpack_from(data)
        start = HEADER_SIZE + size
        value: Any = data[start:].decode() if kind & JSON else data[start:]
        metadata = data[HEADER_SIZE:start].decode() if kind & METADATA else None
    except (StructError, ValueError) as error:
        raise damaged(namespace, key) from error
    return Row(value, metadata, version, created_at, updated_at, expires_at if kind & EXPIRES else None)


def unpack_entry(namespace: str, key: str, data: bytes, now: int) -> Entry | None:
    """The entry, decoded; None when it has expired at ``now`` (UTC ms). Raises StorageCorrupt."""
    try:
        kind, version, created_at, updated_at, expires_at, size = HEADER.unpack_from(data)
        if kind == JSON:
            return Entry(namespace, key, loads(data[HEADER_SIZE:]), {}, version, created_at, updated_at, None)
        if kind & EXPIRES and expires_at <= now:
            return None
        start = HEADER_SIZE + size
        value = loads(data[start:]) if kind & JSON else data[start:]
        metadata = loads(data[HEADER_SIZE:start]) if kind & METADATA else {}
    except (StructError, ValueError) as error:
        raise damaged(namespace, key) from error
    expiry = expires_at if kind & EXPIRES else None
    return Entry(namespace, key, value, metadata, version, created_at, updated_at, expiry)


def unpack_value(namespace: str, key: str, data: bytes, now: int, default: Any) -> Any:
    """The value of an entry alone; ``default`` when it has expired at ``now``. Raises StorageCorrupt."""
    row = unpack_row(namespace, key, data)
    if not row.is_live(now):
        return default
    try:
        return decode_value(row.value)
    except ValueError as error:
        raise damaged(namespace, key) from error


def damaged(namespace: str, key: str) -> StorageCorrupt:
    """The error for a row that cannot be read."""
    return StorageCorrupt(f"the entry {key!r} in namespace {namespace!r} is damaged")


def pack_change(change: Change) -> bytes:
    """The row of a change, without what its key says."""
    operation = _OPERATIONS.index(change.operation)
    return CHANGE.pack(operation, change.version, change.at) + (change.key or "").encode()


def unpack_change(namespace: str, seq: int, data: bytes) -> Change:
    """The change of a row. Raises StorageCorrupt."""
    try:
        operation, version, at = CHANGE.unpack_from(data)
        key = data[CHANGE.size :].decode() or None
        return Change(seq, namespace, key, _OPERATIONS[operation], version, at)
    except (StructError, ValueError, IndexError) as error:
        raise StorageCorrupt(f"change {seq} of namespace {namespace!r} is damaged") from error
