"""Calls for single keys, which take one or two calls of the engine and make no state.

A set or delete goes this way if its namespace has no index and tracks no changes, and the entry has no expiry: then
nothing but the entry and a counter is written. What does not fit goes the long way, with the rules of states.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from struct import Struct
from typing import Any, Final

from ...contract import Entry, check_ttl, check_version
from ...errors import KeyExists, StorageError, VersionConflict
from ...names import DEFAULT_NAMESPACE, Namespace, check_key, check_keys, check_namespace
from ...states.state import Row, now_ms
from ...states.storage import StateStorage
from ...values import encode_metadata, encode_value
from . import layout
from .driver_errors import translate
from .engine import Database
from .layout import EXPIRES, HEADER, HEADER_SIZE, JSON
from .space import RocksDBSpace
from .state import RocksDBState
from .view import View

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


class SingleCalls(StateStorage):
    """The part of the storage that answers calls for single keys."""

    _db: Database
    _fetch: Any
    _put: Any
    _plain: dict[str, PlainSpace | None]
    """Namespaces by name, with None for those that are not plain."""
    _lock: Any
    _versions_below: int
    """The stored bound: what keeps versions rising after a crash, should the system's clock be set back meanwhile."""

    def _write_rows(self, wiped: Iterable[bytes], rows: list[tuple[bytes, bytes | None]]) -> None:
        """One batch: delete what begins with a prefix, then put the rows. A version beyond the bound moves that."""
        bound, last = self._versions_below, self.clock.last
        if last > bound:
            bound = last + _CLOCK_AHEAD
            rows.append((layout.CLOCK, layout.NUMBER.pack(bound)))
        try:
            self._db.write(((prefix, layout.after(prefix)) for prefix in wiped), rows)
        except StorageError:
            self._plain.clear()  # the next write goes the long way, which opens the database anew
            raise
        self._versions_below = bound

    def _fetch_row(self, namespace: str, key: str) -> bytes | None:
        try:
            return self._fetch(f"e{namespace}\0{key}".encode())  # type: ignore[no-any-return]
        except Exception as error:
            raise self._failed(error, namespace, key) from error

    def _failed(self, error: Exception, namespace: str, key: str, *, committing: bool = False) -> StorageError:
        self.check_open()
        about = f"key {key!r} in namespace {namespace!r}"
        self._plain.clear()
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
            # While the lock is held, which is as long as this one write takes, nobody begins to write. A thread that
            # has a transaction open finds the turn taken, by itself.
            try:
                space = self._plain.get(name) or self._find_plain(name)
                if space is not None and self._turn.is_free:
                    full = space.entries + key.encode()
                    old = self._fetch(full)
                    clock = time.time_ns() // 1_000
                    now = clock // 1_000
                    if old is None:
                        kind, actual, created_at = 0, 0, now
                    else:
                        kind, actual, created_at = _OF_THE_OLD.unpack_from(old)
                    if not kind & EXPIRES:  # else there is an expiry to mind
                        if old is not None and not overwrite:
                            raise KeyExists(name, key)
                        if if_version is not None and check_version(if_version) != actual:
                            raise VersionConflict(name, key, if_version, actual)
                        version = self.clock.tick(clock)
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
                space = self._plain.get(name) or self._find_plain(name)
                if space is not None and self._turn.is_free:
                    existed = self._delete_plainly(space, key)
                    if existed is not None:
                        return existed
            finally:
                self._lock.release()
        check_version(if_version)
        return self._write(lambda draft: draft.remove(name, key, if_version))

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
        self._write_rows((), [(full, row), (space.counters, counted)])
        space.stored += more

    def _find_plain(self, name: str) -> PlainSpace | None:
        if self.is_closed or self._db.is_read_only or self._db.failure is not None:
            return None
        if name in self._plain:
            return None
        space = RocksDBSpace.load(name, View(self._db))
        if space is None:
            return None
        if len(self._plain) >= _MOST_PLAIN:
            self._plain.clear()
        plain = self._plain[name] = None if space.tracked or space.indexes else PlainSpace(space)
        return plain

    def _forget_plain(self, state: RocksDBState, touched: Iterable[str]) -> None:
        """Before a state is kept: what is known of the namespaces that it changes."""
        for name in touched:
            space = state.changed.get(name)
            if space is None or self._plain.get(name) or not (space.tracked or space.indexes):
                self._plain.pop(name, None)
