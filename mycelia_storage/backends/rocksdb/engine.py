"""rocksdict: opened, read and written. No other module imports it.

What it does not do as it says (0.3.29): the iterators of a snapshot forget the snapshot and show what is newest;
``set_iterate_lower_bound`` sets the upper bound; an iterator outlives the ReadOptions whose bounds it points into and
then ends anywhere. So one state is read through an iterator made at its moment, which goes on showing that moment
wherever it is moved, without options, and the bounds are looked at here. ``items`` and its like never say whether they
ended at the end or at damage; ``iter`` does (``status``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol
from weakref import WeakSet

from ...errors import BackendUnavailable, StorageClosed, StorageError, StorageReadOnly, TransactionError
from . import forks
from .driver_errors import translate
from .settings import RocksDBSettings

try:
    import rocksdict
except ImportError as error:
    raise BackendUnavailable(
        "the rocksdb backend needs rocksdict; run: pip install 'mycelia-storage[rocksdb]'"
    ) from error

_NOT_FOUND: Final = "key not found"
_RELEASED: Final = "the transaction has ended, or its storage was closed"
_BLOOM_BITS: Final = 10

#: Rows that a cursor reads at a time, at first and in the end.
_FIRST_PAGE: Final = 4
_FULL_PAGE: Final = 256

Pairs = Iterator[tuple[bytes, bytes]]


def options_for(settings: RocksDBSettings) -> rocksdict.Options:
    """How a database is opened."""
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_keep_log_file_num(3)
    options.set_max_log_file_size(2**20)
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(rocksdict.Cache(settings.cache_size * 1024))
    blocks.set_bloom_filter(_BLOOM_BITS, False)
    options.set_block_based_table_factory(blocks)
    return options


class Reader(Protocol):
    """What is committed: as it stands, or as of a moment."""

    def get(self, key: bytes) -> bytes | None:
        """The row of a key."""

    def items(self, low: bytes, high: bytes, reverse: bool = False) -> Pairs:
        """Keys and rows from ``low`` (inclusive) to ``high`` (exclusive), as of one moment."""

    def release(self) -> None:
        """Hold nothing any longer, whoever still has this."""


class Database:
    """An open database; itself a Reader of what is newest.

    Opening raises StorageBusy (open elsewhere), StorageCorrupt, StorageReadOnly, StorageError.
    """

    def __init__(self, settings: RocksDBSettings) -> None:
        access = rocksdict.AccessType.read_only(False) if settings.read_only else rocksdict.AccessType.read_write()
        self._settings = settings
        self.is_read_only = settings.read_only
        forks.begin_use()
        #: Why a write failed. RocksDB refuses every later one until it is opened anew.
        self.failure: StorageError | None = None
        # A traceback that somebody keeps may hold any of these, and the folder is unlocked only when all are gone.
        self.readers: WeakSet[Frozen | Cursor] = WeakSet()
        try:
            self.rdict = rocksdict.Rdict(settings.db_path, options_for(settings), access_type=access)
            write = rocksdict.WriteOptions()
            write.sync = settings.synchronous.upper() == "FULL"
            write.disable_wal = settings.synchronous.upper() == "OFF"  # type: ignore[method-assign, assignment]
            self.rdict.set_write_options(write)
        except Exception as error:
            raise translate(error, settings.db_path) from error

    def get(self, key: bytes) -> bytes | None:
        try:
            return self.rdict.get(key)
        except Exception as error:
            raise translate(error) from error

    def items(self, low: bytes, high: bytes, reverse: bool = False) -> Pairs:
        return Cursor(self).items(low, high, reverse)

    def release(self) -> None:
        """Nothing: between two calls it holds nothing."""

    def write(self, ranges: Iterable[tuple[bytes, bytes]], rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Delete the ranges, then put the rows (None deletes one): all or nothing."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for low, high in ranges:
            batch.delete_range(low, high)
        for key, row in rows:
            if row is None:
                batch.delete(key)
            else:
                batch.put(key, row)
        try:
            self.rdict.write(batch)
        except Exception as error:
            raise self.failed(error) from error

    def failed(self, error: Exception, about: str = "") -> StorageError:
        """Our error for a write that failed."""
        translated = translate(error, about, committing=True)
        if not isinstance(translated, StorageReadOnly | StorageClosed):
            self.failure = translated
        return translated

    def checkpoint(self, path: Path) -> None:
        """A copy as of now in a new folder; files that never change are hard links."""
        try:
            rocksdict.Checkpoint(self.rdict).create_checkpoint(str(path))
        except Exception as error:
            raise translate(error, str(path)) from error

    def compact(self) -> None:
        """Rewrite the tree without what was deleted."""
        try:
            self.rdict.flush()
            self.rdict.compact_range(None, None)
        except Exception as error:
            raise translate(error) from error

    def size_of(self, name: str) -> int:
        """A number that RocksDB tells of itself, 0 where it does not."""
        try:
            return int(self.rdict.property_int_value(f"rocksdb.{name}") or 0)
        except Exception as error:
            raise translate(error) from error

    def inner(self) -> list[object]:
        """All of rocksdict's objects that are held: what must outlive everything in the child of a fork."""
        held: list[object] = [self.rdict]
        for reader in self._all_readers():
            held.append(reader._rows if isinstance(reader, Cursor) else reader._snapshot)
        return held

    def _all_readers(self) -> list[Frozen | Cursor]:
        while True:
            try:
                return list(self.readers)
            except RuntimeError:  # another thread began to read meanwhile
                continue

    def close(self) -> None:
        """Bring what was written to the disk, end all readers, and close."""
        try:
            if not (self._settings.read_only or self.failure):
                if self._settings.synchronous.upper() == "OFF":
                    self.rdict.flush()
                else:
                    self.rdict.flush_wal(True)
        except Exception as error:
            raise translate(error, self._settings.db_path) from error
        finally:
            for reader in self._all_readers():
                reader.release()
            try:
                self.rdict.close()
            except Exception as error:
                if self.failure is None:
                    raise translate(error, self._settings.db_path) from error


class Frozen:
    """The committed rows as of the call. It holds them, also on disk, until it is released or collected."""

    def __init__(self, database: Database) -> None:
        db = database.rdict
        try:
            while True:
                moment = db.latest_sequence_number()
                self._snapshot: rocksdict.Snapshot | None = db.snapshot()
                self._cursor = Cursor(database)
                if db.latest_sequence_number() == moment:  # nothing was written between the two
                    break
        except Exception as error:
            raise translate(error) from error
        database.readers.add(self)

    def get(self, key: bytes) -> bytes | None:
        try:
            return self._snapshot[key]  # type: ignore[index, no-any-return]
        except Exception as error:
            if str(error) == _NOT_FOUND:
                return None
            if self._snapshot is None:
                raise TransactionError(_RELEASED) from None
            raise translate(error) from error

    def items(self, low: bytes, high: bytes, reverse: bool = False) -> Pairs:
        return self._cursor.items(low, high, reverse)

    def release(self) -> None:
        self._snapshot = None
        self._cursor.release()


class Cursor:
    """The rows as of the call, in order. Several may read through it by turns, in any thread."""

    def __init__(self, database: Database) -> None:
        try:
            self._rows: rocksdict.RdictIter | None = database.rdict.iter()
        except Exception as error:
            raise translate(error) from error
        self._lock = threading.Lock()
        database.readers.add(self)

    def items(self, low: bytes, high: bytes, reverse: bool) -> Pairs:
        """Keys and rows from ``low`` (inclusive) to ``high`` (exclusive)."""
        size = _FIRST_PAGE
        while True:
            page = self._page(low, high, size, reverse)
            yield from page
            if len(page) < size:
                return
            if reverse:
                high = page[-1][0]
            else:
                low = page[-1][0] + b"\0"
            size = min(size * 4, _FULL_PAGE)

    def release(self) -> None:
        """Hold nothing any longer."""
        self._rows = None

    def _page(self, low: bytes, high: bytes, size: int, reverse: bool) -> list[tuple[bytes, bytes]]:
        rows = self._rows
        if rows is None:
            raise TransactionError(_RELEASED)
        page: list[tuple[bytes, bytes]] = []
        try:
            with self._lock:
                if reverse:
                    rows.seek_for_prev(high)
                    if rows.valid() and rows.key() == high:
                        rows.prev()
                    step = rows.prev
                else:
                    rows.seek(low)
                    step = rows.next
                valid, key_here, value_here = rows.valid, rows.key, rows.value
                for _ in range(size):
                    if not valid() or not low <= (key := key_here()) < high:
                        rows.status()
                        return page
                    page.append((key, value_here()))
                    step()
        except Exception as error:
            raise translate(error) from error
        return page
