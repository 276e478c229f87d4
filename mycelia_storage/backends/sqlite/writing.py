"""The writes of the contract, on one connection to which the caller holds the lock.

The usual case is one statement, alone or in an open transaction, that does nothing where there is more to do than touch
one row: the namespace is new or tracks changes, or the entry's version is not below the clock's. ``changes()`` tells,
and the careful form follows in a transaction. (RETURNING would tell as well, at 1.1-1.2x of the whole write.)

The clock is read after the write lock was taken, in SQL where the statement stands alone, so versions rise in commit
order. A version is max(the entry's + 1, the clock, the namespace's floor + 1). The floor is raised whenever a version
at or above the clock is removed, so that not even a key deleted while its version ran ahead of the clock can come back
with a lower one.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import Any, Final

import apsw
import orjson

from ...clock import HybridClock
from ...contract import BatchResult, Entries, Entry, Operation
from ...errors import (
    BatchError,
    IndexFull,
    InvalidInput,
    InvalidNamespace,
    InvalidValue,
    KeyExists,
    KeyNotFound,
    NamespaceExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    StorageError,
    UniqueViolation,
    VersionConflict,
)
from ...indexes import FieldIndex, Index, index_from_json, index_to_json
from ...names import DEFAULT_NAMESPACE, check_key, check_namespace
from ...values import decode_metadata, encode_metadata, encode_value
from . import change_log, statements as sql
from .driver_errors import translate
from .filter_sql import create_index_sql
from .reading import now_ms
from .search_upkeep import SEARCHED, TRACKED, SearchUpkeep, StoredRow, Touched, is_searched, read_declaration
from .set_rows import CHUNK_CHARS, Row, set_chunks

# Entries removed or restored before text and vector indexes are told, all at once.
_CHANGED_TOGETHER: Final = 500
_PRUNE_EVERY: Final = 1_000


class EntryWriter:
    """Writes on ``connection``, whose use the caller has to itself, inside an open transaction.

    Keys, namespaces and options arrive checked.
    """

    def __init__(self, connection: apsw.Connection, clock: HybridClock, retention: int, max_age: float | None) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._clock = clock
        self._retention = retention
        self._max_age = max_age
        self._appended: dict[str, int] = {}
        self._searched: set[str] = set()
        self._seen: Any = None
        self._seen_of_others: Any = None
        self._logged = False
        self._last_seq = 0
        self._search = SearchUpkeep(self.rows)
        connection.create_scalar_function("mycelia_clock", clock.tick, 0)  # type: ignore[arg-type]

    def rows(self, sql: str, parameters: tuple[Any, ...] = (), about: str = "") -> list[Row]:
        """All rows of a statement. Raises our errors."""
        try:
            return self._cursor.execute(sql, parameters).fetchall()
        except apsw.Error as error:
            raise translate(error, about, self._connection) from error

    # -- one entry -------------------------------------------------------------------------------------------------

    def set_alone(self, row: Row) -> int | None:
        """The usual ``set`` with no transaction open: the new version, or None, and nothing done, for :meth:`put`."""
        if row[0] in self._appended or row[0] in self._searched:
            return None
        try:
            self._cursor.execute(sql.SET_ALONE, row)
        except apsw.ConstraintError:
            return None
        except apsw.Error as error:
            raise translate(error, _about(row[0], row[1]), self._connection) from error
        return self._clock.last if self._connection.changes() else None

    def delete_alone(self, namespace: str, key: str) -> bool:
        """The usual ``delete`` with no transaction open; False, and nothing done, for :meth:`remove`."""
        if namespace in self._appended or namespace in self._searched:
            return False
        self.rows(sql.DELETE_ALONE, (namespace, key), _about(namespace, key))
        return bool(self._connection.changes())

    def put(self, row: Row, overwrite: bool = True, if_version: int | None = None) -> int:
        """Store an entry with every rule of ``set``; its new version. ``row``: the first six parameters of SET_ROW."""
        try:
            return self._put(row, overwrite, if_version)
        except UniqueViolation:
            # An expired entry is as good as gone, so it is in nobody's way.
            if not self._sweep_namespace(row[0]):
                raise
            return self._put(row, overwrite, if_version)

    def _put(self, row: Row, overwrite: bool, if_version: int | None) -> int:
        namespace, key, now = row[0], row[1], row[4]
        version = self._clock.tick()
        if not overwrite or if_version is not None:
            self._check_existing(namespace, key, now, overwrite, if_version)
        try:
            if namespace not in self._searched:
                tracked = namespace in self._appended
                self._cursor.execute(sql.QUICK_SET_TRACKED if tracked else sql.QUICK_SET, (*row, version))
                if self._connection.changes():
                    if tracked:
                        self._append(namespace, key, "set", version, now)
                    return version
            found = self.rows(sql.FIND_TO_SET, (namespace, key))
            if found:
                flags, floor, existing = found[0]
                version = max(version, floor + 1, (existing or 0) + 1)
            else:
                self.rows(sql.ADD_NAMESPACE, (namespace, None, now, 0))
                flags = 0
                version = max(version, self._floor(namespace) + 1)
            if flags & SEARCHED:
                self._searched.add(namespace)
                touched = self._about_to_set(namespace, [row])
                self._cursor.execute(sql.SET_ROW, (*row, version))
                id = touched.rows[0].id if touched.rows else self._connection.last_insert_rowid()
                self._search.after(touched, [StoredRow(id, key, row[2], row[3])])
            else:
                self._searched.discard(namespace)
                self._cursor.execute(sql.SET_ROW, (*row, version))
        except apsw.Error as error:
            raise translate(error, _about(namespace, key), self._connection) from error
        if flags & TRACKED:
            self._append(namespace, key, "set", version, now)
        return version

    def _check_existing(self, namespace: str, key: str, now: int, overwrite: bool, if_version: int | None) -> None:
        actual = 0
        for version, expires_at in self.rows(sql.FIND, (namespace, key)):
            if expires_at is None or expires_at > now:
                actual = version
        if if_version is not None and actual != if_version:
            raise VersionConflict(namespace, key, if_version, actual)
        if actual and not overwrite:
            raise KeyExists(namespace, key)

    def remove(
        self,
        namespace: str,
        key: str,
        if_version: int | None = None,
        operation: Operation = "delete",
        *,
        alone: bool = True,
    ) -> bool:
        """Delete an entry with every rule of ``delete``; whether a live one existed.

        Unless it is ``alone``, the caller sees to the text and vector indexes.
        """
        tick = self._clock.tick()
        if if_version is None:
            self.rows(sql.QUICK_DELETE, (namespace, key, tick), _about(namespace, key))
            if self._connection.changes():
                return True
        now = now_ms()
        found = self.rows(sql.FIND, (namespace, key))
        live = bool(found) and (found[0][1] is None or found[0][1] > now)
        actual = found[0][0] if live else 0
        if if_version is not None and actual != if_version:
            raise VersionConflict(namespace, key, if_version, actual)
        if not found:
            return False
        version = max(tick, found[0][0] + 1)
        flags = self._flags(namespace)
        touched = self._search.before(namespace, (key,)) if alone and flags & SEARCHED else None
        self.rows(sql.DELETE, (namespace, key), _about(namespace, key))
        if touched is not None:
            self._search.after(touched)
        if version > tick:
            self.rows(sql.RAISE_FLOOR, (namespace, version))
        if flags & TRACKED:
            self._append(namespace, key, operation if live else "expire", version, now)
        return live

    def remove_many(self, namespace: str, keys: Iterable[str], operation: Operation = "delete") -> int:
        """Delete entries; how many live ones existed."""
        if not self._flags(namespace) & SEARCHED:
            return sum(self.remove(namespace, key, None, operation) for key in keys)
        removed = 0
        waiting = iter(keys)
        while part := list(dict.fromkeys(islice(waiting, _CHANGED_TOGETHER))):
            touched = self._search.before(namespace, part)
            removed += sum([self.remove(namespace, key, None, operation, alone=False) for key in part])
            self._search.after(touched)
        return removed

    def set_metadata(self, namespace: str, key: str, metadata: dict[str, Any], given: str | None, merge: bool) -> int:
        """Merge into or replace the metadata, ``given`` in its stored form; the new version. Raises KeyNotFound."""
        now = now_ms()
        for stored, expires_at, existing, flags in self.rows(sql.FIND_METADATA, (namespace, key)):
            if expires_at is not None and expires_at <= now:
                break
            if merge and stored is not None:
                given = encode_metadata(decode_metadata(stored) | metadata)
            version: int = max(existing + 1, self._clock.tick())
            touched = self._search.before(namespace, (key,)) if flags & SEARCHED else None
            self.rows(sql.SET_METADATA, (namespace, key, given, now, version), _about(namespace, key))
            if touched is not None:
                self._search.after(touched)
            if flags & TRACKED:
                self._append(namespace, key, "set", version, now)
            return version
        raise KeyNotFound(namespace, key)

    # -- many entries ----------------------------------------------------------------------------------------------

    def put_many(
        self,
        entries: Entries,
        namespace: str,
        metadata: dict[str, Any] | None,
        ttl: float | None,
        overwrite: bool,
        atomic: bool,
    ) -> BatchResult:
        """``set_many``, in chunks of bounded size. An atomic batch is written whole or not at all; one with an error
        goes on, so that every bad key comes to light, and ends in BatchError.
        """
        # A savepoint makes SQLite put each page aside before its first change: in a load into a large file a quarter
        # more system time. A batch that has been read to its end, and has no index to refuse anything, does without.
        # What may still fail then, such as the disk, ends the transaction.
        errors: dict[tuple[str, str], StorageError] = {}
        saved = begun = False
        written = 0
        try:
            for chunk, alike, is_all in set_chunks(entries, namespace, metadata, ttl, self._clock.tick(), errors):
                indexed = any(self.rows(sql.INDEXES_OF, (name,)) for name in {row[0] for row in chunk})
                if not saved and (indexed or not is_all or not overwrite):
                    self.rows("SAVEPOINT batch")
                    saved = True
                if errors and atomic and not saved:
                    break
                begun = True
                written += self._put_chunk(chunk, errors, overwrite, alike, indexed)
            if errors and atomic:
                raise BatchError(errors)
            if saved:
                self.rows("RELEASE batch")
        except BaseException:
            if self._connection.in_transaction:
                if saved:
                    self.rows("ROLLBACK TO batch")
                    self.rows("RELEASE batch")
                elif begun:
                    self.rows("ROLLBACK")
            raise
        return BatchResult(written, errors)

    def _set_rows(self, rows: list[Row], alike: bool) -> None:
        execute, rest = self._cursor.execute, len(rows) % sql.ROWS_A_STATEMENT
        for at in range(0, len(rows) - rest, sql.ROWS_A_STATEMENT):
            part = rows[at : at + sql.ROWS_A_STATEMENT]
            if alike:
                namespace, _, _, metadata, now, expires_at, version = part[0]
                pairs = [member for row in part for member in row[1:3]]
                execute(sql.SET_PAIRS, (namespace, metadata, now, expires_at, version, *pairs))
            else:
                execute(sql.SET_ROWS, tuple(chain.from_iterable(part)))
        self._cursor.executemany(sql.SET_ROW, rows[len(rows) - rest :])

    def _put_chunk(
        self,
        chunk: list[Row],
        errors: dict[tuple[str, str], StorageError],
        overwrite: bool,
        alike: bool,
        indexed: bool,
    ) -> int:
        """Write the rows; how many were written. ``alike``: they differ in key and value alone; ``indexed``: an index
        may refuse one.
        """
        if overwrite:
            flags = {name: self._ensure_namespace(name) for name in {row[0] for row in chunk}}
            floor = max(self._floor(name) for name in flags)
            if floor >= chunk[0][6]:
                chunk = [(*row[:6], floor + 1) for row in chunk]
            if indexed:
                self.rows("SAVEPOINT chunk")
            try:
                touched = [
                    self._about_to_set(name, [row for row in chunk if row[0] == name])
                    for name in flags
                    if flags[name] & SEARCHED
                ]
                self._set_rows(chunk, alike)
            except (InvalidValue, IndexFull, apsw.Error) as error:
                if isinstance(error, apsw.Error) and not (indexed and isinstance(error, apsw.ConstraintError)):
                    raise translate(error, connection=self._connection) from error
                self.rows("ROLLBACK TO chunk")
                self.rows("RELEASE chunk")
            else:
                for keys in touched:
                    self._search.after(keys)
                if any(found & TRACKED for found in flags.values()):
                    changed = {(row[0], row[1]): row[4] for row in chunk if flags[row[0]] & TRACKED}
                    for (name, key), now in changed.items():
                        self.rows(change_log.APPEND_STORED, (name, key, self._next_seq(), now))
                        self._count_change(name)
                if indexed:
                    self.rows("RELEASE chunk")
                return len(chunk)
        written = 0
        for row in chunk:
            try:
                self.put(row[:6], overwrite)
                written += 1
            except (InvalidValue, KeyExists, UniqueViolation, IndexFull) as error:
                errors[row[0], row[1]] = error
        return written

    def _about_to_set(self, namespace: str, rows: list[Row]) -> Touched:
        """Look at what the indexes of a namespace say to these rows. Raises InvalidValue, IndexFull."""
        touched = self._search.before(namespace, dict.fromkeys(row[1] for row in rows))
        for keeper in touched.keepers:
            keeper.check([(row[1], row[2]) for row in rows])
        if touched.full() is not None and self._sweep_namespace(namespace):
            touched = self._search.before(namespace, touched.keys)
        full = touched.full()
        if full is not None:
            raise full
        return touched

    def restore(self, entries: Iterable[Entry]) -> int:
        """Store entries with their version, times and expiry; how many."""
        stored = room = 0
        flags: dict[str, int] = {}
        waiting: list[Row] = []
        for entry in entries:
            namespace, key = check_namespace(entry.namespace), check_key(entry.key)
            if entry.expires_at is not None and entry.expires_at <= now_ms():
                continue
            value, metadata = encode_value(entry.value), encode_metadata(entry.metadata)
            if namespace not in flags:
                flags[namespace] = self._ensure_namespace(namespace)
            times = (entry.version, entry.created_at, entry.updated_at, entry.expires_at)
            if not all(isinstance(number, int) for number in times[:3]) or entry.version < 1:
                raise InvalidInput(f"a restored entry has a version and times ({_about(namespace, key)})")
            if waiting and (room < 0 or len(waiting) == _CHANGED_TOGETHER or waiting[0][0] != namespace):
                self._restore_rows(waiting, flags[waiting[0][0]])
                waiting.clear()
            room = room - len(value) if waiting else CHUNK_CHARS
            waiting.append((namespace, key, value, metadata, *times))
            stored += 1
        if waiting:
            self._restore_rows(waiting, flags[waiting[0][0]])
        return stored

    def _restore_rows(self, rows: list[Row], flags: int) -> None:
        """Restore entries of one namespace."""
        namespace = rows[0][0]
        touched = self._about_to_set(namespace, rows) if flags & SEARCHED else None
        for row in rows:
            about = _about(namespace, row[1])
            try:
                self.rows(sql.RESTORE, row, about)
            except UniqueViolation:
                # As in put: an expired entry is in nobody's way.
                if touched is not None:
                    self._search.after(touched)
                if not self._sweep_namespace(namespace):
                    raise
                if touched is not None:
                    touched = self._about_to_set(namespace, rows)
                self.rows(sql.RESTORE, row, about)
            if flags & TRACKED:
                self.rows(change_log.APPEND_STORED, (namespace, row[1], self._next_seq(), now_ms()))
                self._count_change(namespace)
        if touched is not None:
            self._search.after(touched)

    def clear(self, namespace: str | None) -> int:
        """Delete the entries of a namespace, or of all; how many live ones went."""
        named = self.rows(sql.ALL_NAMESPACES)
        return sum(self._clear_one(name, flags) for name, flags in named if namespace is None or name == namespace)

    def _clear_one(self, namespace: str, flags: int) -> int:
        now = now_ms()
        live, highest = self.rows(sql.SIZE_UP, (namespace, now))[0]
        tick = self._clock.tick()
        version = max(tick, (highest or 0) + 1)
        if highest is not None:
            self.rows(sql.EMPTY, (namespace,))
            if flags & SEARCHED:
                self._search.emptied(namespace)
            if version > tick:
                self.rows(sql.RAISE_FLOOR, (namespace, version))
        if flags & TRACKED and live:
            self._append(namespace, None, "clear", version, now)
        return int(live)

    def _sweep_namespace(self, namespace: str) -> int:
        expired = self.rows(sql.EXPIRED_IN, (now_ms(), namespace))
        if expired:
            self.remove_many(namespace, [key for (key,) in expired], "expire")
        return len(expired)

    def sweep(self, limit: int) -> int:
        """Remove up to ``limit`` expired entries; how many."""
        expired = self.rows(sql.EXPIRED, (now_ms(), limit))
        by_namespace: dict[str, list[str]] = {}
        for namespace, key, _version in expired:
            by_namespace.setdefault(namespace, []).append(key)
        for namespace, keys in by_namespace.items():
            self.remove_many(namespace, keys, "expire")
        return len(expired)

    def raise_floors(self, version: int) -> None:
        """Give no version at or below this one from now on."""
        self.rows("UPDATE storage_namespaces SET version_floor = max(version_floor, ?)", (version,))
        self.rows("UPDATE storage_state SET value = max(value, ?) WHERE name = 'version_floor'", (version,))

    # -- namespaces and indexes ------------------------------------------------------------------------------------

    def create_namespace(self, name: str, metadata: str | None, exist_ok: bool, track_changes: bool) -> None:
        """Create or, with ``exist_ok``, change a namespace. ``metadata`` is JSON text."""
        if not self.rows(sql.FIND_NAMESPACE, (name,)):
            self.rows(sql.ADD_NAMESPACE, (name, metadata, now_ms(), int(track_changes)))
        elif not exist_ok:
            raise NamespaceExists(f"namespace {name!r} already exists")
        else:
            self.rows(sql.CHANGE_NAMESPACE, (name, metadata, int(track_changes)))

    def delete_namespace(self, name: str, recursive: bool) -> int:
        """Delete a namespace, with ``recursive`` all below it; how many live entries went."""
        if name == DEFAULT_NAMESPACE:
            raise InvalidNamespace("namespace 'default' always exists")
        family = [found for (found,) in self.rows(sql.FAMILY, (name,))]
        if not family or (name not in family and not recursive):
            raise NamespaceNotFound(f"no namespace {name!r}" + (", only some below it" if family else ""))
        now = now_ms()
        if not recursive and (len(family) > 1 or self.rows(sql.SIZE_UP, (name, now))[0][0]):
            raise NamespaceNotEmpty(f"namespace {name!r} has entries or namespaces below it")
        deleted = 0
        for member in family:
            live, highest = self.rows(sql.SIZE_UP, (member, now))[0]
            deleted += int(live)
            tick = self._clock.tick()
            for index, _ in self.rows(sql.INDEXES_OF, (member,)):
                self.drop_index(member, index)
            self.rows(sql.EMPTY, (member,))
            for step in sql.FORGET:
                self.rows(step, (member, highest + 1 if highest is not None and highest >= tick else 0))
        return deleted

    def create_index(self, namespace: str, index: Index, name: str | None) -> str:
        """Build an index; its name. Raises UniqueViolation, InvalidInput."""
        if not isinstance(index, Index):
            raise InvalidInput(f"{type(index).__name__} is no declaration of an index")
        name = index.default_name if name is None else name
        if not isinstance(name, str) or not name or "\0" in name:
            raise InvalidInput("the name of an index is a non-empty string without NUL")
        declaration = orjson.dumps(index_to_json(index)).decode()
        for stored, _ in self.rows(sql.FIND_INDEX, (namespace, name)):
            if index_from_json(orjson.loads(stored)) == index:
                return name
            raise InvalidInput(f"index {name!r} of namespace {namespace!r} has another declaration")
        sql_name = f"mycelia_ix_{self.rows(sql.NEXT_INDEX)[0][0]:d}"
        if isinstance(index, FieldIndex):
            built = create_index_sql(sql_name, namespace, index)
            self._ensure_namespace(namespace)
            if index.unique:
                self._sweep_namespace(namespace)
            for step in built:
                self.rows(step, (), f"index {name!r} of namespace {namespace!r}")
        else:
            self._ensure_namespace(namespace)
            self._sweep_namespace(namespace)
            self._search.keeper(namespace, name, index, sql_name).build()
            self.rows(sql.SET_SEARCHED, (namespace, 1))
        self.rows(sql.ADD_INDEX, (namespace, name, declaration, sql_name))
        return name

    def drop_index(self, namespace: str, name: str) -> bool:
        """Remove an index; whether it existed."""
        found = self.rows(sql.FIND_INDEX, (namespace, name))
        for declaration, sql_name in found:
            index = read_declaration(declaration)
            if is_searched(index):
                self._search.keeper(namespace, name, index, sql_name).drop()
            for (built,) in self.rows(sql.SQL_INDEXES, (sql_name,)):
                self.rows(f'DROP INDEX "{built}"')
            self.rows(sql.DROP_INDEX, (namespace, name))
            self.rows(sql.SET_SEARCHED, (namespace, bool(self._search.keepers(namespace))))
        return bool(found)

    def _ensure_namespace(self, name: str) -> int:
        """Create the namespace if it is new; its flags."""
        found = self.rows(sql.FIND_NAMESPACE, (name,))
        if found:
            return int(found[0][0])
        self.rows(sql.ADD_NAMESPACE, (name, None, now_ms(), 0))
        return 0

    def _flags(self, name: str) -> int:
        found = self.rows(sql.FIND_NAMESPACE, (name,))
        return int(found[0][0]) if found else 0

    def _floor(self, name: str) -> int:
        return int(self.rows("SELECT version_floor FROM storage_namespaces WHERE name = ?", (name,))[0][0])

    # -- changes ---------------------------------------------------------------------------------------------------

    def _append(self, namespace: str, key: str | None, operation: Operation, version: int, at: int) -> None:
        try:
            self._cursor.execute(change_log.APPEND, (namespace, self._next_seq(), key, operation, version, at))
        except apsw.Error as error:
            raise translate(error, f"change log of namespace {namespace!r}", self._connection) from error
        self._count_change(namespace)

    def _next_seq(self) -> int:
        """The next seq. The last one is remembered for as long as no other connection has committed."""
        seen = self._connection.data_version()
        if seen != self._seen:
            # Anybody's commit changes the one number, only those of other connections the other, which costs more.
            others = self._cursor.execute("PRAGMA data_version").get
            if others != self._seen_of_others:
                self._seen_of_others = others
                self._last_seq = change_log.last_seq(self.rows)
            self._seen = seen
        self._logged = True
        self._last_seq += 1
        return self._last_seq

    def begun(self) -> None:
        """A transaction has begun."""
        self._logged = False

    def committed(self) -> None:
        """The transaction has been committed, and nothing was done on the connection since."""
        if self._logged:  # so everybody else's commits were seen to
            self._seen = self._connection.data_version()

    def _count_change(self, namespace: str) -> None:
        appended = self._appended.get(namespace, 0) + 1
        if appended >= min(_PRUNE_EVERY, max(1, self._retention // 10)):
            appended = 0
            self.prune(namespace)
        self._appended[namespace] = appended

    def prune(self, namespace: str | None = None) -> None:
        """Drop changes past the limits of count and age, of that namespace or of every tracked one."""
        older_than = None if self._max_age is None else now_ms() - int(self._max_age * 1000)
        tracked = self.rows(sql.ALL_NAMESPACES) if namespace is None else [(namespace, 1)]
        names = [name for name, flags in tracked if flags & TRACKED]
        for name in names:
            change_log.prune(self.rows, name, self._retention, older_than)


def _about(namespace: str, key: str) -> str:
    return f"namespace {namespace!r}, key {key!r}"
