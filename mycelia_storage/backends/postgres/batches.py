"""Several entries at once: set_many and restore, in chunks of bounded size.

A large chunk goes into a temporary table by COPY, a small one along with the statement as arrays; one upsert then
takes it over, and what text and vector indexes want is kept after that (:mod:`.keeping`). A chunk with a unique index,
with existing keys that may not be overwritten, or with more vectors than there is room for, is written entry by entry.

Within a transaction a small batch is one round trip: what was learned of its namespaces before is sent along, and the
upsert writes nothing where it no longer holds. What makes or drops namespaces and indexes outside a transaction has
``storage_gate`` for itself, which every transaction shares, so what the upsert has seen holds for what is kept after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...contract import BatchResult, Entries, Entry, batch_pairs, check_ttl, read_batch_item
from ...errors import BatchError, IndexFull, InvalidInput, InvalidValue, KeyExists, StorageError, UniqueViolation
from ...names import SAFE_KEY_CHARS, check_key, check_namespace
from ...values import encode_value
from . import keeping
from .documents import document_text
from .rows import about, decode, decode_extra, encode
from .upserts import COLUMNS, FEW, FEWEST_COLUMNS, NOTHING, RESTORE, SET_COLUMNS, UPSERT, UPSERT_NEW, Source

if TYPE_CHECKING:
    from .kept_indexes import KeptIndexes
    from .transactions import PostgresTransaction

PREPARE: Final = "SELECT name, tracked, generation, lowest FROM {s}.storage_prepare_batch({w}, %s::text[])"

#: Namespaces that are remembered.
MOST_SPACES: Final = 10_000
#: One chunk is made while the server takes the one before.
_CHUNK_ITEMS: Final = 2_500
_CHUNK_BYTES: Final = 8_000_000

_Row = tuple[Any, ...]
_Chunk = dict[tuple[str, str], _Row]


class Space(NamedTuple):
    """What a batch must know of a namespace."""

    tracked: bool
    generation: int
    lowest: int


class Batch:
    """``set_many``: the items as they come, in chunks.

    An atomic batch with an error goes on, so that every bad key comes to light, and ends in BatchError; the caller
    then undoes what was written.
    """

    def __init__(
        self,
        entries: Entries,
        namespace: str,
        metadata: dict[str, Any] | None,
        ttl: float | None,
        overwrite: bool,
        atomic: bool,
    ) -> None:
        check_ttl(ttl)
        encode(None, metadata)
        self._pairs = enumerate(batch_pairs(entries))
        self._namespace = namespace
        self._metadata = metadata
        self._ttl = ttl
        self._overwrite = overwrite
        self._atomic = atomic
        self._spaces: dict[str, Space] = {}
        self.errors: dict[tuple[str, str], StorageError] = {}

    def write(self, steps: PostgresTransaction) -> BatchResult:
        """Write everything through ``steps``."""
        written = 0
        for chunk, count, is_all in self.chunks():
            is_simple = is_all and self._overwrite and not self.errors and not steps.private and len(chunk) <= FEW
            if is_simple and self._write_known(steps, chunk):
                written += count
                continue
            steps.guard()
            written += count - self._write_chunk(steps, chunk)
        steps.settle()
        if self.errors and self._atomic:
            raise BatchError(self.errors)
        return BatchResult(written, self.errors)

    def chunks(self) -> Iterator[tuple[_Chunk, int, bool]]:
        """Rows by namespace and key, the last of each; how many items they were; whether they are the whole batch."""
        chunk: _Chunk = {}
        count = room = 0
        is_first = True
        own, extra, overwrite = self._namespace, self._metadata, self._overwrite
        plain = extra is None and self._ttl is None
        row: _Row
        for position, given in self._pairs:
            name, key = own, None
            try:
                if plain and given.__class__ is tuple and len(given) == 2:
                    key, value = given
                    if (
                        key.__class__ is not str
                        or not 0 < len(key) <= SAFE_KEY_CHARS
                        or not key.isascii()
                        or "\0" in key
                    ):
                        key = check_key(key)
                    stored = encode_value(value)
                    if isinstance(stored, str):
                        row = (own, key, stored.encode(), True, document_text(stored), None, None, None)
                    else:
                        row = (own, key, stored, False, None, None, None, None)
                else:
                    read = read_batch_item(given, position, own, extra, self._ttl, self.errors)
                    if read is None:
                        continue
                    name, key, value, metadata, ttl = read
                    row = (name, key, *encode(value, metadata), None if ttl is None else int(ttl * 1000))
            except InvalidInput as error:
                self.errors[name, key if isinstance(key, str) else f"item {position}"] = error
                continue
            place = (name, key)
            if not overwrite and place in chunk:
                self.errors[place] = KeyExists(*place)
                continue
            chunk[place] = row
            count += 1
            room += len(row[2])
            if count >= _CHUNK_ITEMS or room >= _CHUNK_BYTES:
                yield chunk, count, False
                chunk, count, room, is_first = {}, 0, 0, False
        if chunk:
            yield chunk, count, is_first

    def _write_chunk(self, steps: PostgresTransaction, chunk: _Chunk) -> int:
        """Write a chunk; how many of its entries were refused."""
        names = {name for name, _ in chunk}
        if not steps.private or not names <= self._spaces.keys():
            # In a transaction that only the batch knows they stay so: who would change them waits for the lock.
            self._spaces.update(prepare(steps, names))
            steps.learn(self._spaces)
        spaces = {name: self._spaces[name] for name in names}
        kept = {name: steps.kept(name, space.generation) for name, space in spaces.items() if space.generation}
        refused = 0
        careful = any(known.uniques for known in kept.values())
        for name, known in kept.items():
            if known.vectors:
                refused += self._refuse_no_vectors(chunk, name, known)
                careful = careful or _may_fill(steps, known, chunk, name)
        tracked = 0
        if any(space.tracked for space in spaces.values()):
            tracked = sum(spaces[name].tracked for name, _ in chunk)
        if careful or (tracked and not self._overwrite):
            return refused + self._write_one_by_one(steps, chunk)
        if not chunk:
            return refused
        rows = list(chunk.values())
        width = SET_COLUMNS if any(row[4:8] != NOTHING for row in rows) else FEWEST_COLUMNS
        source = Source(steps, rows, width)
        lowest = max(space.lowest for space in spaces.values())
        if self._overwrite:
            if tracked or kept:
                source.run(UPSERT, lowest)
                if tracked:
                    source.log(tracked)
                keep_rows(steps, kept, chunk)
            else:
                source.start(UPSERT, lowest)
            return refused
        new = {(name, key) for name, key in source.run(UPSERT_NEW, lowest)}
        existing = [place for place in chunk if place not in new]
        self.errors.update({place: KeyExists(*place) for place in existing})
        keep_rows(steps, kept, {place: row for place, row in chunk.items() if place in new})
        return refused + len(existing)

    def _write_known(self, steps: PostgresTransaction, chunk: _Chunk) -> bool:
        """Write a chunk by what is remembered of its namespaces; False, and nothing is written, where that is not
        enough or no longer true."""
        names = {name for name, _ in chunk}
        spaces = {name: steps.spaces[name] for name in names if name in steps.spaces}
        if len(spaces) < len(names):
            return False
        kept: dict[str, KeptIndexes] = {}
        rooms: list[tuple[int, int]] = []
        for name, space in spaces.items():
            if space.generation:
                known = steps.remembered(name, space.generation)
                if known is None or known.uniques:
                    return False
                kept[name] = known
        for name, known in kept.items():
            if known.vectors:
                if not all(known.takes(_entry(row)) for (own, _), row in chunk.items() if own == name):
                    return False
                coming = sum(place[0] == name for place in chunk)
                rooms += [(vector.index_id, vector.declared.max_vectors - coming) for vector in known.vectors]
        lowest = max(space.lowest for space in spaces.values())
        generations = [space.generation for space in spaces.values()]
        source = Source(steps, list(chunk.values()), SET_COLUMNS)
        if not source.run_known(lowest, list(spaces), generations, rooms):
            for name in names:
                steps.spaces.pop(name, None)
            return False
        with steps.all_or_nothing():
            keep_rows(steps, kept, chunk)
        return True

    def _refuse_no_vectors(self, chunk: _Chunk, name: str, known: KeptIndexes) -> int:
        """Take what is no vector out of a chunk; how many."""
        refused = 0
        for place, row in [item for item in chunk.items() if item[0][0] == name]:
            try:
                known.check(_entry(row))
            except InvalidValue as error:
                self.errors[place] = error
                del chunk[place]
                refused += 1
        return refused

    def _write_one_by_one(self, steps: PostgresTransaction, chunk: _Chunk) -> int:
        refused = 0
        for (name, key), row in chunk.items():
            try:
                steps.set(
                    key,
                    decode(row[2], row[3], name, key),
                    namespace=name,
                    metadata=decode_extra(row[5], name, key),
                    overwrite=self._overwrite,
                    ttl=None if row[7] is None else max(row[7], 1) / 1000,
                )
            except (KeyExists, UniqueViolation, IndexFull) as error:
                self.errors[name, key] = error
                refused += 1
        return refused


def prepare(steps: PostgresTransaction, names: Iterable[str]) -> dict[str, Space]:
    """Make the namespaces that are missing, and tell about each."""
    return {name: Space(*rest) for name, *rest in steps.run(PREPARE, (sorted(names),), None)}


def keep_rows(steps: PostgresTransaction, kept: dict[str, KeptIndexes], chunk: _Chunk) -> None:
    """Keep of the entries of a chunk, just written, what text and vector indexes want."""
    for name, known in kept.items():
        if known.searched:
            entries = [_entry(row) for (own, _), row in chunk.items() if own == name]
            if entries:
                keeping.keep_entries(steps, name, known, entries)


def _entry(row: _Row) -> Entry:
    """The entry of a row as indexes see it: its key, value and metadata."""
    name, key, value, is_json = row[:4]
    return Entry(name, key, decode(value, is_json, name, key), decode_extra(row[5], name, key), 0, 0, 0, None)


def _may_fill(steps: PostgresTransaction, known: KeptIndexes, chunk: _Chunk, name: str) -> bool:
    """Whether a chunk's entries of a namespace may be more than its vector indexes have room for."""
    return keeping.room_left(steps, known) < sum(place[0] == name for place in chunk)


def restore(steps: PostgresTransaction, entries: Iterable[Entry]) -> int:
    """Store entries with their version, times and expiry; how many."""
    stored = 0
    now = steps.now()
    chunk: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        place = check_namespace(entry.namespace), check_key(entry.key)
        numbers = (entry.version, entry.created_at, entry.updated_at)
        if entry.expires_at is not None and entry.expires_at <= now:
            continue
        if not all(isinstance(number, int) and number < 2**63 for number in numbers) or entry.version < 1:
            raise InvalidInput(f"a restored entry has a version and times ({about(*place)})")
        if place in chunk or len(chunk) >= _CHUNK_ITEMS:
            _restore_chunk(steps, chunk)
            chunk, now = {}, steps.now()
        chunk[place] = entry
        stored += 1
    if chunk:
        _restore_chunk(steps, chunk)
    return stored


def _restore_chunk(steps: PostgresTransaction, chunk: dict[tuple[str, str], Entry]) -> None:
    rows: list[_Row] = []
    for (name, key), entry in chunk.items():
        times = (entry.expires_at, entry.version, entry.created_at, entry.updated_at)
        rows.append((name, key, *encode(entry.value, entry.metadata), *times))
    spaces = prepare(steps, {name for name, _ in chunk})
    kept = {name: steps.kept(name, space.generation) for name, space in spaces.items() if space.generation}
    for (name, _), entry in chunk.items():
        if name in kept:
            kept[name].check(entry)
    source = Source(steps, rows, len(COLUMNS))
    source.run(RESTORE)
    tracked = sum(spaces[name].tracked for name, _ in chunk)
    if tracked:
        source.log(tracked)
    for (name, key), entry in chunk.items():
        if name in kept and kept[name].uniques:
            steps.claim(name, key, entry)
    keep_rows(steps, kept, {(row[0], row[1]): row for row in rows})
    for name, known in kept.items():
        if known.vectors and keeping.room_left(steps, known) < 0:
            keeping.sweep_namespace(steps, name)
            if keeping.room_left(steps, known) < 0:
                raise known.full(name)
