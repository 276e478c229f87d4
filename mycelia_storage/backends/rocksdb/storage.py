"""The RocksDB storage: an open database, the caches of what each write needs, and the short ways of single calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from struct import Struct
from typing import Any, Final

from ...contract import Entry, Status, check_ttl, check_version
from ...errors import (
    InvalidInput,
    KeyExists,
    StorageClosed,
    StorageError,
    StorageReadOnly,
    VersionConflict,
)
from ...names import DEFAULT_NAMESPACE, Namespace, check_key, check_keys, check_namespace
from ...states.state import Row, State, now_ms
from ...states.storage import StateStorage
from ...states.turn import Claim, WriterTurn
from ...values import encode_metadata, encode_value
from . import folder, forks, layout
from .driver_errors import translate
from .engine import Database, Frozen
from .layout import EXPIRES, HEADER, HEADER_SIZE, JSON
from .settings import RocksDBSettings
from .space import RocksDBSpace
from .state import RocksDBState
from .view import View

_CLOSED: Final = "the storage is closed"
_IN_CHILD: Final = (
    "this storage was opened before a fork and stays the parent's: RocksDB serves one process, and not the child of one"
)

#: How far ahead of the newest version the stored bound for versions is set, in microseconds.
_CLOCK_AHEAD: Final = 10_000_000

#: What a set needs of the row before: kind, version, created_at.
_OF_THE_OLD: Final = Struct(">BQQ")

#: Namespaces whose counters are at hand for the short way of ``set``.
_MOST_PLAIN: Final = 4_096


class PlainSpace:
    """A namespace that tracks no changes and has no index: what a set there has to know."""

    __slots__ = ("counters", "entries", "log_length", "name", "stored")

    def __init__(self, space: RocksDBSpace) -> None:
        self.name = space.name
        self.entries = space.entries
        self.counters = layout.COUNTERS + space.name.encode()
        self.stored = space.stored
        self.log_length = space.log_length


class RocksDBStorageBackend(StateStorage):
    """Storage in a folder of one process, by RocksDB.

    ``config`` is a mapping of options or the folder's path; keyword options add to it
    (:class:`~mycelia_storage.backends.rocksdb.settings.RocksDBSettings` lists them all).

    Raises InvalidConfig, StorageBusy (open elsewhere, in this process or another), ForeignDatabase, SchemaTooNew,
    StorageCorrupt, StorageReadOnly.
    """

    backend_name = "rocksdb"
    settings: RocksDBSettings

    _log_slack = 1_000

    def __init__(self, config: Mapping[str, Any] | str | Path | None = None, **options: Any) -> None:
        settings = RocksDBSettings.open(config, options)
        self.path = settings.db_path
        self._start(settings)
        self._closed_text = _CLOSED
        self._lock = self._turn.lock
        self._plain: dict[str, PlainSpace] = {}
        folder.prepare_folder(self.path, settings.read_only)
        self._open_database()
        forks.watch(self)
        if not settings.read_only:
            self._start_sweeping()

    def _open_database(self) -> None:
        self._db = Database(self.settings)
        self._fetch, self._put = self._db.rdict.get, self._db.rdict.__setitem__
        try:
            self._adopt()
        except BaseException:
            self._db.close()
            raise

    def _open_again(self) -> None:
        """Go on after a failed write, when there is room again. Open snapshots end. Called in the writer's turn."""
        with self._turn.changed:
            folder.check_room(self.path)
            self._plain.clear()
            self._db.close()
            self._open_database()

    def _adopt(self) -> None:
        """Make a new database ready, or learn what an existing one holds."""
        if self._db.get(layout.VERSION) is None:
            if next(self._db.items(b"", b"\xff"), None) is not None:
                raise StorageError(f"the database in {self.path!r} has rows, yet not the row that says its layout")
            if self.settings.read_only:
                raise InvalidInput(f"the storage at {self.path!r} was never written; there is nothing to read")
            state = RocksDBState(View(self._db))
            state.new_space(DEFAULT_NAMESPACE)
            state.view.put(layout.VERSION, layout.NUMBER.pack(layout.FORMAT))
            self._db.write((), state.rows_to_write())
        clock = self._db.get(layout.CLOCK)
        self._versions_below = 0 if clock is None else int(layout.NUMBER.unpack(clock)[0])
        self.clock.observe(self._versions_below)
        state = RocksDBState(View(self._db))
        self._newest_seq, self._newest_lost = state.last_seq, state.lost_through

    # -- states ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        self.check_open()
        return RocksDBState(View(Frozen(self._db)))

    def _base(self) -> State:
        return RocksDBState(View(self._db), self._newest_seq, self._newest_lost)

    def _keep(self, state: State, touched: set[str]) -> None:
        assert isinstance(state, RocksDBState)
        for name in touched:
            self._plain.pop(name, None)
        rows = [*state.rows_to_write(), *self._clock_row()]
        if rows or state.view.wiped:
            self._db.write(((low, layout.after(low)) for low in state.view.wiped), rows)
            self._versions_below = self._next_bound()
            self._newest_seq, self._newest_lost = state.last_seq, state.lost_through

    def _clock_row(self) -> Iterable[tuple[bytes, bytes]]:
        """The row that keeps versions rising across a crash, when a version has passed the stored bound."""
        if self.clock.last > self._versions_below:
            yield layout.CLOCK, layout.NUMBER.pack(self._next_bound())

    def _next_bound(self) -> int:
        last = self.clock.last
        return last + _CLOCK_AHEAD if last > self._versions_below else self._versions_below

    def _claim(self, timeout: float) -> Claim:
        self.check_open()
        if self.settings.read_only:
            raise StorageReadOnly(f"the storage {self.path!r} was opened read-only")
        claim = super()._claim(timeout)
        if self._db.failure is not None:
            try:
                self._open_again()
            except BaseException:
                self._turn.give_up(claim)
                raise
        return claim

    def check_open(self) -> None:
        if self.is_closed:
            raise StorageClosed(self._closed_text)

    # -- the short ways: one call of the engine, no state ----------------------------------------------------------

    def _fetch_row(self, namespace: str, key: str) -> bytes | None:
        try:
            return self._fetch(f"e{namespace}\0{key}".encode())
        except Exception as error:
            raise self._failed(error, namespace, key) from error

    def _failed(self, error: Exception, namespace: str, key: str, *, committing: bool = False) -> StorageError:
        self.check_open()
        about = f"key {key!r} in namespace {namespace!r}"
        return self._db.failed(error, about) if committing else translate(error, about)

    def get(self, key: str, default: Any = None, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Any:
        name, key = check_namespace(namespace), check_key(key)
        try:
            data = self._fetch(f"e{name}\0{key}".encode())
            if data is None:
                return default
            if data[0] == JSON:
                return layout.loads(data[HEADER_SIZE:])
        except ValueError as error:
            raise layout.damaged(name, key) from error
        except Exception as error:
            raise self._failed(error, name, key) from error
        return layout.unpack_value(name, key, data, now_ms(), default)

    def get_entry(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Entry | None:
        name, key = check_namespace(namespace), check_key(key)
        data = self._fetch_row(name, key)
        return None if data is None else layout.unpack_entry(name, key, data, now_ms())

    def has(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> bool:
        name, key = check_namespace(namespace), check_key(key)
        data = self._fetch_row(name, key)
        return data is not None and (data[0] == JSON or layout.unpack_row(name, key, data).is_live(now_ms()))

    def get_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        name, wanted = check_namespace(namespace), check_keys(keys)
        self.check_open()
        try:
            # One call sees one state.
            rows: Any = self._fetch([f"e{name}\0{key}".encode() for key in wanted])
        except Exception as error:
            raise self._failed(error, name, "several") from error
        found, now = {}, now_ms()
        for key, data in zip(wanted, rows, strict=True):
            if data is not None:
                entry = layout.unpack_entry(name, key, data, now)
                if entry is not None:
                    found[key] = entry.value
        return found

    def set(
        self,
        key: str,
        value: Any,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        metadata: dict[str, Any] | None = None,
        overwrite: bool = True,
        ttl: float | None = None,
        if_version: int | None = None,
    ) -> int:
        name, key = check_namespace(namespace), check_key(key)
        stored, text = encode_value(value), encode_metadata(metadata)
        if ttl is None and self._lock.acquire(False):
            # Nobody writes, and nobody begins to while the lock is held, which is as long as this one write takes.
            try:
                space = self._plain_space(name)
                if space is not None:
                    full = space.entries + key.encode()
                    old = self._fetch(full)
                    now = time.time_ns() // 1_000_000
                    if old is None:
                        kind, actual, created_at = 0, 0, now
                    else:
                        kind, actual, created_at = _OF_THE_OLD.unpack_from(old)
                    if not kind & EXPIRES:  # else there is an expiry to mind
                        if old is not None and not overwrite:
                            raise KeyExists(name, key)
                        if if_version is not None and check_version(if_version) != actual:
                            raise VersionConflict(name, key, if_version, actual)
                        version = self.clock.tick()
                        if text is None and stored.__class__ is str:
                            row = HEADER.pack(JSON, version, created_at, now, 0, 0) + stored.encode()
                        else:
                            row = layout.pack_row(Row(stored, text, version, created_at, now, None))
                        if old is not None and version <= self._versions_below:
                            self._put(full, row)
                        else:
                            self._write_plainly(space, full, row, int(old is None))
                        return version
            except StorageError:
                raise
            except Exception as error:
                raise self._failed(error, name, key, committing=True) from error
            finally:
                self._lock.release()
        check_ttl(ttl)
        check_version(if_version)
        return self._write(
            lambda draft: draft.put(name, key, stored, text, overwrite=overwrite, ttl=ttl, if_version=if_version)
        )

    def delete(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE, if_version: int | None = None) -> bool:
        name, key = check_namespace(namespace), check_key(key)
        if if_version is None and self._lock.acquire(False):
            try:
                space = self._plain_space(name)
                if space is not None:
                    existed = self._delete_plainly(space, key)
                    if existed is not None:
                        return existed
            finally:
                self._lock.release()
        check_version(if_version)
        return self._write(lambda draft: draft.remove(name, key, if_version))

    def _plain_space(self, name: str) -> PlainSpace | None:
        """The namespace if the calling thread may write to it at once and there is no index or log to mind."""
        # A thread that has a transaction open finds its own turn taken; one whose transaction expired unnoticed, too.
        if not self._turn.is_free or self._db.failure is not None:
            return None
        return self._plain.get(name) or self._find_plain(name)

    def _delete_plainly(self, space: PlainSpace, key: str) -> bool | None:
        """Delete an entry; whether it existed, or None where it has an expiry to mind."""
        full = space.entries + key.encode()
        try:
            old = self._fetch(full)
        except Exception as error:
            raise self._failed(error, space.name, key) from error
        if old is None:
            return False
        if old[0] & EXPIRES:
            return None
        (version,) = layout.NUMBER.unpack_from(old, 1)
        self.clock.observe(version)
        self._write_plainly(space, full, None, -1)
        return True

    def _write_plainly(self, space: PlainSpace, full: bytes, row: bytes | None, more: int) -> None:
        counted = layout.COUNTS.pack(space.stored + more, space.log_length)
        self._db.write((), ((full, row), (space.counters, counted), *self._clock_row()))
        self._versions_below = self._next_bound()
        space.stored += more

    def _find_plain(self, name: str) -> PlainSpace | None:
        if self.is_closed or self.settings.read_only:
            return None
        space = RocksDBSpace.load(name, View(self._db))
        if space is None or space.tracked or space.indexes:
            return None
        if len(self._plain) >= _MOST_PLAIN:
            self._plain.clear()
        plain = self._plain[name] = PlainSpace(space)
        return plain

    # -- care ------------------------------------------------------------------------------------------------------

    def get_status(self) -> Status:
        status = super().get_status()
        settings, problem = self.settings, status.last_error
        if self._db.failure is not None:
            problem = str(self._db.failure)
        background = self._db.size_of("background-errors")
        if problem is None and background:
            problem = f"RocksDB met {background} errors in the background; its LOG file in {self.path!r} names them"
        tables = self._db.size_of("total-sst-files-size")
        logs = sum(_size(file) for file in Path(self.path).glob("*.log"))
        details = status.details | {
            "path": self.path,
            "synchronous": settings.synchronous.upper(),
            "read_only": settings.read_only,
            "memory_bytes": self._db.size_of("cur-size-all-mem-tables"),
        }
        return status._replace(
            healthy=problem is None,
            size_bytes=tables,
            wal_bytes=logs,
            schema_version=layout.FORMAT,
            last_error=problem,
            details=details,
        )

    def optimize(self) -> None:
        super().optimize()
        self._db.compact()

    def checkpoint(self, path: str | Path) -> None:
        """A copy of the storage as of now in a new folder, which opens as a storage; takes next to no time and space
        on the same file system, where tables are hard links.

        Raises InvalidInput (the path exists), StorageError.
        """
        self.check_open()
        target = Path(path)
        if target.exists():
            raise InvalidInput(f"{str(target)!r} exists")
        self._db.checkpoint(target)
        target.chmod(0o700)
        folder.write_mark(target)

    def _let_go(self) -> None:
        self._plain.clear()
        self._db.close()

    def abandon(self) -> list[object]:
        """In the child of a fork: refuse everything from now on. What must be kept for good."""
        held = self._db.inner()
        self._open.clear()
        self._turn, self._bound = WriterTurn(), threading.local()
        self._lock = self._turn.lock
        self.is_closed, self._closed_text = True, _IN_CHILD
        self._fetch = self._put = self._refuse  # type: ignore[assignment]
        return held

    def _refuse(self, *_: object) -> Any:
        raise StorageClosed(self._closed_text)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
