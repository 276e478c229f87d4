"""The reads of the contract, written once over ``_rows`` and ``_stream``.

The storage runs them on the calling thread's reader, a transaction on the writer, a snapshot on its own connection.
Expiry is decided here, not by the sweep: every statement leaves expired entries out or brings ``expires_at`` along.
"""

from __future__ import annotations

import re
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, Final

import orjson

from ...contract import ChangePage, Entry, EntryList, Keys, NamespaceInfo, StorageBackend, check_page
from ...errors import KeyNotFound, StorageCorrupt
from ...filters import FilterInput, SortInput, match, parse_filter, parse_sort
from ...following import Ways, follow_by_scanning, follow_keys_by_scanning, read_parts
from ...indexes import Index, index_from_json
from ...names import DEFAULT_NAMESPACE, KeyPart, Namespace, check_key, check_keys, check_namespace
from ...patterns import check_pattern, compile_pattern, is_prefix_pattern, literal_prefix, prefix_end, to_like
from ...values import decode_metadata, decode_value
from . import change_log
from .filter_sql import compile_query

Row = tuple[Any, ...]
Rows = list[Row]
Values = list[Any]


def squeeze(sql: str) -> str:
    """The statement with no white space that it can spare: apsw hashes its text at every call, 1 ns a character."""
    return re.sub(r"\s*([(),=<>])\s*", r"\1", " ".join(sql.split()))


GET: Final = squeeze("SELECT value, expires_at FROM storage_entries WHERE namespace = ? AND key = ?")
# Answered from the unique index; the expiry index is empty below ``now`` until something has expired unswept.
HAS: Final = squeeze("""SELECT 1 FROM storage_entries WHERE namespace = ?1 AND key = ?2 AND NOT EXISTS (SELECT 1
FROM storage_entries INDEXED BY storage_entries_expiry WHERE expires_at <= ?3 AND namespace = ?1 AND key = ?2)""")
GET_ENTRY: Final = squeeze("""SELECT value, metadata, version, created_at, updated_at, expires_at
FROM storage_entries WHERE namespace = ? AND key = ?""")
GET_METADATA: Final = "SELECT metadata, expires_at FROM storage_entries WHERE namespace = ? AND key = ?"
GET_MANY: Final = """SELECT e.key, e.value, e.expires_at FROM json_each(?2) AS wanted
CROSS JOIN storage_entries AS e ON e.namespace = ?1 AND e.key = wanted.value"""

# Keys alone come from the unique index. As long as nothing has expired unswept they are all live; else LIST_LIVE asks
# each row. NONE_EXPIRED is evaluated once, and makes LIST give nothing at all when LIST_LIVE is needed.
NONE_EXPIRED: Final = """NOT EXISTS (SELECT 1 FROM storage_entries INDEXED BY storage_entries_expiry
WHERE expires_at <= ?2 AND namespace = ?1)"""
LIST: Final = f"SELECT key FROM storage_entries WHERE namespace = ?1 AND {NONE_EXPIRED}"
LIST_LIVE: Final = "SELECT key FROM storage_entries WHERE namespace = ?1 AND (expires_at IS NULL OR expires_at > ?2)"
COUNT: Final = """SELECT (SELECT count(*) FROM storage_entries WHERE namespace = ?1)
- (SELECT count(*) FROM storage_entries WHERE expires_at <= ?2 AND namespace = ?1)"""

_ENTRY_COLUMNS: Final = "key, value, metadata, version, created_at, updated_at, expires_at"
_LIVE: Final = "(expires_at IS NULL OR expires_at > ?)"

LIST_NAMESPACES: Final = "SELECT name FROM storage_namespaces ORDER BY name"
LIST_NAMESPACES_BELOW: Final = """SELECT name FROM storage_namespaces
WHERE name = ?1 OR (name > ?1 || '/' AND name < ?1 || '0') ORDER BY name"""
GET_NAMESPACE: Final = "SELECT name, metadata, created_at, track_changes & 1 FROM storage_namespaces WHERE name = ?"
LIST_INDEXES: Final = "SELECT name, declaration FROM storage_indexes WHERE namespace = ? ORDER BY name"

_FIRST_PAGE: Final = 64
_LARGEST_PAGE: Final = 256
_PAGE_CHARS: Final = 4_000_000
_KEYS_A_STATEMENT: Final = 5_000

# A longer LIKE pattern is over SQLite's limit or near it; the keys are then filtered here alone.
_LONGEST_LIKE: Final = 4_000

_loads = orjson.loads
_dumps = orjson.dumps
_new_entry = tuple.__new__


def now_ms() -> int:
    """UTC milliseconds."""
    return time.time_ns() // 1_000_000


def to_entry(namespace: str, row: Row) -> Entry:
    """An entry from a row of its columns in the order of :class:`Entry`. Raises StorageCorrupt."""
    key, value, metadata, *rest = row
    try:
        return Entry(namespace, key, decode_value(value), decode_metadata(metadata), *rest)
    except ValueError as error:
        raise damaged(namespace, key) from error


def decode_stored(value: Any, namespace: str, key: str) -> Any:
    """The value of an entry. Raises StorageCorrupt."""
    try:
        return value if value.__class__ is bytes else _loads(value)
    except ValueError:
        try:
            return decode_value(value)
        except ValueError as error:
            raise damaged(namespace, key) from error


def damaged(namespace: str, key: str) -> StorageCorrupt:
    """The error for a stored value or metadata that is no JSON."""
    return StorageCorrupt(f"what is stored under key {key!r} in namespace {namespace!r} is damaged")


def to_entries(namespace: str, rows: list[Row]) -> list[Entry]:
    """Entries from many rows, without a call for each."""
    try:
        return [
            _new_entry(
                Entry,
                (
                    namespace,
                    key,
                    _loads(value) if value.__class__ is str else value,
                    {} if metadata is None else _loads(metadata),
                    version,
                    created_at,
                    updated_at,
                    expires_at,
                ),
            )
            for key, value, metadata, version, created_at, updated_at, expires_at in rows
        ]
    except orjson.JSONDecodeError:
        return [to_entry(namespace, row) for row in rows]


class SQLiteReads(StorageBackend):
    """The reading half of a storage, a transaction or a snapshot."""

    @abstractmethod
    def _rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        """All rows of a statement. Raises our errors."""

    def _column(self, sql: str, parameters: tuple[Any, ...]) -> Values:
        """The values of a statement's one column."""
        return [value for (value,) in self._rows(sql, parameters)]

    @abstractmethod
    def _stream(self, sql: str, parameters: tuple[Any, ...]) -> Iterator[Row]:
        """The rows one by one. The caller draws them to the end or closes the iterator before anything else runs."""

    @abstractmethod
    def _one_state(self) -> AbstractContextManager[Callable[[str, tuple[Any, ...]], Rows]]:
        """Runs statements that all see one state: a function like :meth:`_rows`, for the calling thread."""

    def get(self, key: str, default: Any = None, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Any:
        for value, expires_at in self._rows(GET, (check_namespace(namespace), check_key(key))):
            if expires_at is None or expires_at > now_ms():
                return decode_stored(value, check_namespace(namespace), key)
        return default

    def get_entry(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Entry | None:
        name, key = check_namespace(namespace), check_key(key)
        for row in self._rows(GET_ENTRY, (name, key)):
            if row[5] is None or row[5] > now_ms():
                return to_entry(name, (key, *row))
        return None

    def has(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> bool:
        return bool(self._rows(HAS, (check_namespace(namespace), check_key(key), now_ms())))

    def get_metadata(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        name, key = check_namespace(namespace), check_key(key)
        for metadata, expires_at in self._rows(GET_METADATA, (name, key)):
            if expires_at is None or expires_at > now_ms():
                return {} if metadata is None else decode_stored(metadata, name, key)
        raise KeyNotFound(name, key)

    def get_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        name = check_namespace(namespace)
        wanted = check_keys(keys)
        found: dict[str, Any] = {}
        for start in range(0, len(wanted), _KEYS_A_STATEMENT):
            part = wanted if len(wanted) <= _KEYS_A_STATEMENT else wanted[start : start + _KEYS_A_STATEMENT]
            for key, value, expires_at in self._rows(GET_MANY, (name, _dumps(part).decode())):
                if expires_at is None or expires_at > now_ms():
                    found[key] = decode_stored(value, name, key)
        return found

    def list(
        self,
        pattern: str | None = None,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int | None = None,
        offset: int = 0,
        after: str | None = None,
    ) -> Keys:
        name = check_namespace(namespace)
        check_page(limit, offset)
        parameters: Values = [name, now_ms()]
        where, matches = "", None
        if pattern is not None:
            prefix, whole = _literal_range(check_pattern(pattern))
            where = _add_range(where, parameters, prefix, None, None)
            if not whole:
                matches = compile_pattern(pattern)
                like = to_like(pattern)
                if len(like) <= _LONGEST_LIKE:
                    where += " AND key LIKE ? ESCAPE '\\'"
                    parameters.append(like)
        if after is not None:
            where += " AND key > ?"
            parameters.append(check_key(after))
        where += " ORDER BY key"
        if limit == 0:
            return []
        if matches is None and (limit is not None or offset):
            where += " LIMIT ? OFFSET ?"
            parameters += (-1 if limit is None else limit, offset)
        bound = tuple(parameters)
        if matches is None:
            return self._column(LIST + where, bound) or self._column(LIST_LIVE + where, bound)
        keys: Keys = []
        rows = self._stream(LIST_LIVE + where, bound)
        try:
            for (key,) in rows:
                if matches(key):
                    if offset:
                        offset -= 1
                        continue
                    keys.append(key)
                    if len(keys) == limit:
                        break
        finally:
            rows.close()  # type: ignore[attr-defined]
        return keys

    def scan(
        self,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
        after: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        name = check_namespace(namespace)
        check_page(limit)
        if prefix:
            check_key(prefix)
        low: Values = []
        where = _add_range("", low, prefix, start and check_key(start), end and check_key(end))
        return self._scan(name, where, tuple(low), after and check_key(after), reverse, limit)

    def _scan(
        self, name: str, where: str, bounds: tuple[Any, ...], after: str | None, reverse: bool, limit: int | None
    ) -> Iterator[Entry]:
        onward, direction = ("<", "DESC") if reverse else (">", "ASC")
        fixed = f"SELECT {_ENTRY_COLUMNS} FROM storage_entries WHERE namespace = ?{where}"
        tail = f" AND {_LIVE} ORDER BY key {direction} LIMIT ?"
        first, later = fixed + tail, f"{fixed} AND key {onward} ?{tail}"
        size = _FIRST_PAGE
        while limit is None or limit > 0:
            page = size if limit is None else min(size, limit)
            parameters = (name, *bounds, now_ms(), page) if after is None else (name, *bounds, after, now_ms(), page)
            rows = self._rows(first if after is None else later, parameters)
            if rows:
                # Large values make the next pages shorter, so that a page stays within _PAGE_CHARS or so.
                chars = sum([len(row[1]) for row in rows])
                size = max(1, min(_LARGEST_PAGE, _PAGE_CHARS * len(rows) // (chars + 1)))
                after = rows[-1][0]
                yield from to_entries(name, rows)
            if len(rows) < page:
                return
            if limit is not None:
                limit -= len(rows)

    def scan_prefixes(
        self,
        prefixes: Iterable[str],
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        parts: Mapping[int, Collection[KeyPart]] | None = None,
    ) -> Iterator[Entry]:
        from .prefixes import scan_prefixes

        return scan_prefixes(self._rows, check_namespace(namespace), check_keys(prefixes), read_parts(parts))

    def follow(
        self,
        starts: Iterable[KeyPart],
        *,
        namespaces: Iterable[Namespace],
        part: int,
        second: Iterable[KeyPart] | None = None,
        filter: FilterInput | None = None,
        hops: int = 1,
        limit: int | None = None,
    ) -> dict[KeyPart, int]:
        from .following import follow_by_sql

        ways = Ways.read(starts, namespaces, part, second, filter, hops, limit)
        found = follow_by_sql(self._rows, ways)
        return follow_by_scanning(self, ways) if found is None else found

    def follow_keys(
        self,
        starts: Iterable[KeyPart],
        *,
        namespaces: Iterable[Namespace],
        part: int,
        second: Iterable[KeyPart] | None = None,
        filter: FilterInput | None = None,
        limit: int | None = None,
    ) -> dict[KeyPart, tuple[str, str]]:
        from .following import follow_keys_by_sql

        ways = Ways.read(starts, namespaces, part, second, filter, 1, limit)
        found = follow_keys_by_sql(self._rows, ways)
        return follow_keys_by_scanning(self, ways) if found is None else found

    def query(
        self,
        filter: FilterInput | None = None,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        sort: SortInput | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> EntryList:
        name = check_namespace(namespace)
        condition, order = parse_filter(filter), parse_sort(sort)
        check_page(limit, offset)
        if limit == 0:
            return []
        compiled = compile_query(condition, order, name)
        sql = (
            f"SELECT {_ENTRY_COLUMNS} FROM storage_entries WHERE {compiled.where_sql} AND {_LIVE}"
            f" ORDER BY {compiled.order_sql}"
        )
        parameters = (*compiled.params, now_ms())
        if compiled.exact and compiled.sort_exact:
            if limit is not None or offset:
                sql += " LIMIT ? OFFSET ?"
                parameters = (*parameters, -1 if limit is None else limit, offset)
            return to_entries(name, self._rows(sql, parameters))
        stop = None if limit is None or not compiled.sort_exact else offset + limit
        found: EntryList = []
        rows = self._stream(sql, parameters)
        try:
            for row in rows:
                entry = to_entry(name, row)
                if condition is None or compiled.exact or match(condition, entry):
                    found.append(entry)
                    if len(found) == stop:
                        break
        finally:
            rows.close()  # type: ignore[attr-defined]
        if not compiled.sort_exact:
            found = order.sorted(found)
        return found[offset:] if limit is None else found[offset : offset + limit]

    def count(self, *, namespace: Namespace = DEFAULT_NAMESPACE, filter: FilterInput | None = None) -> int:
        name = check_namespace(namespace)
        condition = parse_filter(filter)
        if condition is None:
            return int(self._rows(COUNT, (name, now_ms()))[0][0])
        compiled = compile_query(condition, parse_sort(None), name)
        parameters = (*compiled.params, now_ms())
        if compiled.exact:
            sql = f"SELECT count(*) FROM storage_entries WHERE {compiled.where_sql} AND {_LIVE}"
            return int(self._rows(sql, parameters)[0][0])
        sql = f"SELECT {_ENTRY_COLUMNS} FROM storage_entries WHERE {compiled.where_sql} AND {_LIVE}"
        return sum(match(condition, to_entry(name, row)) for row in self._stream(sql, parameters))

    def list_namespaces(self, *, prefix: Namespace | None = None) -> Keys:
        if prefix is None:
            rows = self._rows(LIST_NAMESPACES, ())
        else:
            rows = self._rows(LIST_NAMESPACES_BELOW, (check_namespace(prefix),))
        return [name for (name,) in rows]

    def get_namespace(self, name: Namespace) -> NamespaceInfo | None:
        name = check_namespace(name)
        for found, metadata, created_at, tracked in self._rows(GET_NAMESPACE, (name,)):
            return NamespaceInfo(
                found, decode_metadata(metadata), created_at, self.count(namespace=name), bool(tracked)
            )
        return None

    def list_indexes(self, namespace: Namespace) -> dict[str, Index]:
        rows = self._rows(LIST_INDEXES, (check_namespace(namespace),))
        return {name: index_from_json(orjson.loads(declaration)) for name, declaration in rows}

    def changes(
        self, *, namespace: Namespace | None = None, since: int | None = None, limit: int | None = None
    ) -> ChangePage:
        check_page(limit)
        name = None if namespace is None else check_namespace(namespace)
        return change_log.read_page(self._rows, name, since, change_log.PAGE if limit is None else limit)

    def _last_seq(self) -> int:
        return change_log.last_seq(self._rows)


@lru_cache(maxsize=512)
def _literal_range(pattern: str) -> tuple[str, bool]:
    """The literal prefix of a pattern, and whether the prefix is all that it asks for."""
    return literal_prefix(pattern), is_prefix_pattern(pattern)


def _add_range(sql: str, parameters: list[Any], prefix: str, start: str | None, end: str | None) -> str:
    """Add the bounds that a prefix, a start (inclusive) and an end (exclusive) put on ``key``."""
    if prefix:
        start = prefix if start is None else max(prefix, start)
        above = prefix_end(prefix)
        end = above if end is None else end if above is None else min(above, end)
    if start is not None:
        sql += " AND key >= ?"
        parameters.append(start)
    if end is not None:
        sql += " AND key < ?"
        parameters.append(end)
    return sql
