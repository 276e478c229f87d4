"""One namespace in RocksDB: its rows, counted, with those of its indexes, its expiries and its changes beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from struct import error as StructError  # noqa: N812
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from ...contract import Change, Entry
from ...errors import StorageCorrupt
from ...indexes import FieldIndex, Index, TextIndex, index_from_json, index_to_json
from ...states.state import Row, Space, now_ms
from ...states.texts import text_change
from ...states.unique import unique_text
from ...values import Stored
from . import layout
from .index_keys import encode_fields, takes_part
from .view import View


class IndexRows(NamedTuple):
    """An index and what the keys of its rows begin with."""

    declaration: FieldIndex
    prefix: bytes


class RocksDBSpace(Space):
    """One namespace, bound to the view of one state."""

    __slots__ = ("_log_length", "_numbers", "_saved", "_stored", "entries", "view")

    def __init__(self, name: str, view: View, pruned_through: int = 0) -> None:
        self.name = name
        self.metadata = None
        self.created_at = now_ms()
        self.tracked = False
        self.indexes = {}
        self.pruned_through = pruned_through
        self.view = view
        self.entries = layout.prefix("e", name)
        self._numbers: dict[str, int] = {}
        self._stored = self._log_length = 0
        self.vectors_from = self.vectors_through = 0
        self._saved: tuple[bytes | None, bytes | None] = (None, None)

    @classmethod
    def load(cls, name: str, view: View) -> RocksDBSpace | None:
        """The namespace as it is stored, or None. Raises StorageCorrupt."""
        encoded = name.encode()
        declared = view.get(layout.NAMESPACES + encoded)
        if declared is None:
            return None
        counted = view.get(layout.COUNTERS + encoded)
        try:
            metadata, created_at, tracked, pruned_through, declarations = _read_declaration(declared)
            stored, log_length, vectors_from, vectors_through = _read_counters(counted or b"")
        except (ValueError, TypeError, KeyError, StructError) as error:
            raise StorageCorrupt(f"the record of namespace {name!r} is damaged") from error
        space = cls.__new__(cls)
        space.name, space.view, space.entries = name, view, layout.prefix("e", name)
        space.metadata, space.created_at = metadata, created_at
        space.tracked, space.pruned_through = tracked, pruned_through
        space.indexes = {index: declaration for index, _, declaration in declarations}
        space._numbers = {index: number for index, number, _ in declarations}
        space._stored, space._log_length = stored, log_length
        space.vectors_from, space.vectors_through = vectors_from, vectors_through
        space._saved = (declared, counted)
        return space

    def changed_rows(self) -> Iterator[tuple[bytes, bytes]]:
        """The rows that tell of the namespace itself, as far as they differ from those it was loaded from."""
        encoded = self.name.encode()
        declared = orjson.dumps(
            {
                "metadata": self.metadata,
                "created_at": self.created_at,
                "tracked": self.tracked,
                "pruned_through": self.pruned_through,
                "indexes": [
                    {"name": name, "number": self._numbers[name], "index": index_to_json(index)}
                    for name, index in self.indexes.items()
                ],
            }
        )
        counted = layout.COUNTS.pack(self._stored, self._log_length)
        if self.vectors_through:
            counted += layout.COUNTS.pack(self.vectors_from, self.vectors_through)
        if declared != self._saved[0]:
            yield layout.NAMESPACES + encoded, declared
        if counted != self._saved[1]:
            yield layout.COUNTERS + encoded, counted

    def fork(self) -> RocksDBSpace:
        return self.bound_to(self.view.fork())

    def bound_to(self, view: View) -> RocksDBSpace:
        """A copy of what is known of the namespace, above another view."""
        copy = RocksDBSpace.__new__(RocksDBSpace)
        copy.name, copy.view, copy.entries = self.name, view, self.entries
        copy.metadata, copy.created_at = self.metadata, self.created_at
        copy.tracked, copy.pruned_through = self.tracked, self.pruned_through
        copy.indexes, copy._numbers = self.indexes.copy(), self._numbers.copy()
        copy._stored, copy._log_length, copy._saved = self._stored, self._log_length, self._saved
        copy.vectors_from, copy.vectors_through = self.vectors_from, self.vectors_through
        return copy

    # -- rows ------------------------------------------------------------------------------------------------------

    @property
    def stored(self) -> int:
        return self._stored

    def row(self, key: str) -> Row | None:
        data = self.view.get(self.entries + key.encode())
        return None if data is None else layout.unpack_row(self.name, key, data)

    def live_values(self, keys: Sequence[str], now: int) -> list[tuple[str, Stored]]:
        view, entries, unpack, start = self.view, self.entries, layout.HEADER.unpack_from, layout.HEADER_SIZE
        get = view.get if len(view.changes) or view.wiped else view.base.get
        found: list[tuple[str, Stored]] = []
        for key in keys:
            data = get(entries + key.encode())
            if data is None:
                continue
            try:
                kind, _, _, _, expires_at, size = unpack(data)
                value = data[start + size :]
                if not kind & layout.EXPIRES or expires_at > now:
                    found.append((key, value.decode() if kind & layout.JSON else value))
            except (StructError, ValueError) as error:
                raise layout.damaged(self.name, key) from error
        return found

    def rows(self) -> Iterator[tuple[str, Row]]:
        start = len(self.entries)
        for full, data in self.view.items(self.entries, layout.after(self.entries)):
            key = full[start:].decode()
            yield key, layout.unpack_row(self.name, key, data)

    def expired(self, now: int) -> Iterator[str]:
        prefix = layout.prefix("x", self.name)
        start = len(prefix) + layout.NUMBER.size
        for full, _ in self.view.items(prefix, prefix + layout.NUMBER.pack(now + 1)):
            yield full[start:].decode()

    def put(self, key: str, row: Row, old: Row | None) -> None:
        encoded = key.encode()
        self.view.put(self.entries + encoded, layout.pack_row(row))
        self._stored += old is None
        expiry, before = row.expires_at, None if old is None else old.expires_at
        if before is not None and before != expiry:
            self.view.delete(self._expiry_key(before, encoded))
        if expiry is not None and before != expiry:
            self.view.put(self._expiry_key(expiry, encoded), b"")
        if self.indexes:
            before_it = None if old is None else old.entry(self.name, key)
            entry = row.entry(self.name, key)
            stale = set() if before_it is None else self._index_keys(before_it)
            wanted = self._index_keys(entry)
            for full in stale - wanted:
                self.view.delete(full)
            for full in wanted - stale:
                self.view.put(full, encoded)
            self._keep_texts(key, before_it, entry)
            self.log_vector(key)

    def remove(self, key: str, old: Row) -> None:
        encoded = key.encode()
        self.view.delete(self.entries + encoded)
        self._stored -= 1
        if old.expires_at is not None:
            self.view.delete(self._expiry_key(old.expires_at, encoded))
        if self.indexes:
            entry = old.entry(self.name, key)
            for full in self._index_keys(entry):
                self.view.delete(full)
            self._keep_texts(key, entry, None)
            self.log_vector(key)

    def empty(self) -> None:
        for kind in "exitsk":
            self.view.wipe(layout.prefix(kind, self.name))
        self._stored = 0
        self.renew_vector_log()

    def _expiry_key(self, expires_at: int, key: bytes) -> bytes:
        return layout.prefix("x", self.name) + layout.NUMBER.pack(expires_at) + key

    # -- indexes ---------------------------------------------------------------------------------------------------

    def index_rows(self) -> dict[str, IndexRows]:
        """Every index by name, with the prefix of its rows."""
        return {name: IndexRows(index, self._index_prefix(name)) for name, index in self.field_indexes.items()}

    def index_keys(self, name: str, index: FieldIndex, entry: Entry) -> bytes:
        """The key of the row that an entry has in an index."""
        return self._index_prefix(name) + encode_fields(index, entry) + entry.key.encode()

    def add_index(self, name: str, index: Index) -> None:
        self.indexes[name] = index
        self._numbers[name] = max(self._numbers.values(), default=0) + 1
        self._wipe_index(name)

    def enter(self, name: str, entry: Entry) -> None:
        index = self.indexes[name]
        if isinstance(index, FieldIndex):
            self.view.put(self.index_keys(name, index, entry), entry.key.encode())
        elif isinstance(index, TextIndex):
            self._keep_text(name, index, entry.key, None, entry)

    def remove_index(self, name: str) -> None:
        self._wipe_index(name)
        del self.indexes[name], self._numbers[name]
        if not self.vector_indexes:
            self.end_vector_log()

    def holder(self, name: str, entry: Entry) -> str | None:
        index = self.indexes[name]
        if not isinstance(index, FieldIndex) or not takes_part(index, entry):
            return None
        prefix = self._index_prefix(name) + encode_fields(index, entry)
        for _, encoded in self.view.items(prefix, prefix + b"\xff"):
            key = encoded.decode()
            if key != entry.key and self._agree(index, entry, key):
                return key
        return None

    def _agree(self, index: FieldIndex, entry: Entry, key: str) -> bool:
        """Whether the entry of ``key`` has the same values, which equal encodings of long texts do not prove."""
        row = self.row(key)
        return row is not None and unique_text(index, row.entry(self.name, key)) == unique_text(index, entry)

    def text_statistics(self, name: str) -> tuple[int, int]:
        row = self.view.get(self.text_prefix("s", name))
        return (0, 0) if row is None else layout.COUNTS.unpack(row)

    def text_postings(self, name: str, term: str) -> Iterator[tuple[str, float, int]]:
        prefix = self.text_prefix("t", name) + term.encode() + b"\0"
        start = len(prefix)
        for full, row in self.view.items(prefix, layout.after(prefix)):
            tf, length = layout.POSTING.unpack(row)
            yield full[start:].decode(), tf, length

    def text_prefix(self, kind: str, name: str) -> bytes:
        """What the keys of a text index begin with: ``t`` for its postings, ``s`` for its statistics."""
        return layout.prefix(kind, self.name) + self._numbers[name].to_bytes(4)

    def _keep_texts(self, key: str, old: Entry | None, new: Entry | None) -> None:
        for name, index in self.indexes.items():
            if isinstance(index, TextIndex):
                self._keep_text(name, index, key, old, new)

    def _keep_text(self, name: str, index: TextIndex, key: str, old: Entry | None, new: Entry | None) -> None:
        change = text_change(index, old, new)
        if change is None:
            return
        prefix, end = self.text_prefix("t", name), b"\0" + key.encode()
        for term in change.gone:
            self.view.delete(prefix + term.encode() + end)
        for term, tf in change.put.items():
            self.view.put(prefix + term.encode() + end, layout.POSTING.pack(tf, change.length))
        entries, length = self.text_statistics(name)
        counted = layout.COUNTS.pack(entries + change.more_entries, length + change.more_length)
        self.view.put(self.text_prefix("s", name), counted)

    def _wipe_index(self, name: str) -> None:
        self.view.wipe(self._index_prefix(name))
        self.view.wipe(self.text_prefix("t", name))
        self.view.delete(self.text_prefix("s", name))
        self.view.wipe(self.codes_prefix(name))

    def _index_prefix(self, name: str) -> bytes:
        return layout.prefix("i", self.name) + self._numbers[name].to_bytes(4)

    def _index_keys(self, entry: Entry) -> set[bytes]:
        return {self.index_keys(name, index, entry) for name, index in self.field_indexes.items()}

    # -- the log of vectors ----------------------------------------------------------------------------------------

    def put_vector_change(self, seq: int, key: str) -> None:
        self.view.put(layout.prefix("v", self.name) + layout.NUMBER.pack(seq), key.encode())

    def forget_vector_changes(self, low: int, high: int) -> None:
        prefix = layout.prefix("v", self.name)
        if (low, high) == (self.vectors_from, self.vectors_through + 1):
            self.view.wipe(prefix)
            return
        for seq in range(low, high):
            self.view.delete(prefix + layout.NUMBER.pack(seq))

    def vector_changes(self, after: int) -> Iterator[tuple[int, str]]:
        prefix = layout.prefix("v", self.name)
        for full, key in self.view.items(prefix + layout.NUMBER.pack(after + 1), layout.after(prefix)):
            yield layout.NUMBER.unpack_from(full, len(prefix))[0], key.decode()

    def codes_prefix(self, name: str) -> bytes:
        """What the keys of the codes of a vector index begin with."""
        return layout.prefix("k", self.name) + self._numbers[name].to_bytes(4)

    def saved_through(self, name: str) -> int:
        """The seq that the codes kept of a vector index cover, 0 if there are none that the log leads on from."""
        row = self.view.get(self.codes_prefix(name))
        seq = 0 if row is None else int(layout.CODES.unpack(row)[0])
        return seq if self.vectors_from - 1 <= seq <= self.vectors_through else 0

    def saved_codes(self, name: str) -> tuple[int, bytes] | None:
        seq, prefix = self.saved_through(name), self.codes_prefix(name)
        row = self.view.get(prefix) if seq else None
        if row is None:
            return None
        _, parts, crc = layout.CODES.unpack(row)
        data = b"".join(self.view.get(prefix + layout.CODES_PART.pack(seq, part)) or b"" for part in range(parts))
        return (seq, data) if crc32(data) == crc else (seq, b"")

    # -- the change log --------------------------------------------------------------------------------------------

    @property
    def log_length(self) -> int:
        return self._log_length

    def changes(self, after: int = 0) -> Iterator[Change]:
        prefix = layout.prefix("l", self.name)
        for full, data in self.view.items(prefix + layout.NUMBER.pack(after + 1), layout.after(prefix)):
            (seq,) = layout.NUMBER.unpack_from(full, len(prefix))
            yield layout.unpack_change(self.name, seq, data)

    def last_change(self) -> int:
        prefix = layout.prefix("l", self.name)
        newest = next(self.view.items(prefix, layout.after(prefix), reverse=True), None)
        return 0 if newest is None else int(layout.NUMBER.unpack_from(newest[0], len(prefix))[0])

    def log(self, change: Change) -> None:
        seq = layout.NUMBER.pack(change.seq)
        self.view.put(layout.prefix("l", self.name) + seq, layout.pack_change(change))
        self.view.put(layout.ORDER + seq, self.name.encode())
        self._log_length += 1

    def forget_changes(self, seqs: list[int]) -> None:
        prefix = layout.prefix("l", self.name)
        for number in seqs:
            seq = layout.NUMBER.pack(number)
            self.view.delete(prefix + seq)
            self.view.delete(layout.ORDER + seq)
        self._log_length -= len(seqs)


def _read_counters(data: bytes) -> tuple[int, int, int, int]:
    if len(data) == layout.COUNTS.size:
        return (*layout.COUNTS.unpack(data), 0, 0)
    return layout.COUNTS_WITH_VECTORS.unpack(data)


@lru_cache(maxsize=1024)
def _read_declaration(data: bytes) -> tuple[str | None, int, bool, int, tuple[tuple[str, int, Index], ...]]:
    record: dict[str, Any] = orjson.loads(data)
    declarations = tuple(
        (declared["name"], declared["number"], index_from_json(declared["index"])) for declared in record["indexes"]
    )
    return record["metadata"], record["created_at"], record["tracked"], record["pruned_through"], declarations
