"""The reads of the contract, written once over ``_rows`` and ``_stream``.

The storage runs them on a connection of its pool, a transaction on its own. Expiry is decided here, not by the sweep,
and by the server's clock: every statement leaves expired entries out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from ...contract import ChangePage, Entry, EntryList, Keys, NamespaceInfo, StorageBackend, check_page
from ...errors import KeyNotFound
from ...filters import FilterInput, SortInput, match, parse_filter, parse_sort
from ...following import Ways, follow_by_scanning, follow_keys_by_scanning, read_parts
from ...indexes import Index, index_from_json
from ...names import DEFAULT_NAMESPACE, KeyPart, Namespace, check_key, check_keys, check_namespace
from ...patterns import check_pattern, compile_pattern, is_prefix_pattern, literal_prefix, prefix_end, to_like
from ...values import decode_metadata
from . import change_log
from .filter_sql import compile_query
from .place import Place
from .rows import COLUMNS, Row, decode, decode_extra, to_entries, to_entry

Rows = list[Row]
Values = list[Any]

_AT: Final = "FROM {s}.storage_entries WHERE namespace = %s AND tenant = {t}"
_ONE: Final = _AT + " AND key = %s AND {live}"

GET: Final = f"SELECT value, is_json {_ONE}"
HAS: Final = f"SELECT 1 {_ONE}"
GET_ENTRY: Final = f"SELECT {COLUMNS} {_ONE}"
GET_METADATA: Final = f"SELECT metadata {_ONE}"
GET_MANY: Final = f"SELECT key, value, is_json {_AT} AND key = ANY (%s::text[]) AND {{live}}"
GET_ACROSS: Final = """SELECT e.namespace, e.key, e.value, e.is_json
FROM unnest(%s::text[], %s::text[]) AS b (space, name) CROSS JOIN LATERAL (
SELECT namespace, key, value, is_json FROM {s}.storage_entries
WHERE namespace = b.space COLLATE "C" AND tenant = {t} AND key = b.name COLLATE "C" AND {live} OFFSET 0) AS e"""
LIST: Final = f"SELECT key {_AT} AND {{live}}"
COUNT: Final = f"""SELECT (SELECT count(*) {_AT})
- (SELECT count(*) {_AT} AND expires_at IS NOT NULL AND expires_at <= {{now}})"""
SCAN: Final = f"SELECT {COLUMNS} {_AT} AND {{live}}"

# A compiled condition follows; it names the namespace and the tenant.
_QUERY: Final = f"SELECT {COLUMNS} FROM {{s}}.storage_entries WHERE {{live}} AND "
_COUNT_BY: Final = "SELECT count(*) FROM {s}.storage_entries WHERE {live} AND "

LIST_NAMESPACES: Final = "SELECT namespace FROM {s}.storage_namespaces WHERE tenant = {t} ORDER BY namespace"
LIST_NAMESPACES_BELOW: Final = """SELECT namespace FROM {s}.storage_namespaces WHERE tenant = {t}
AND (namespace = %s OR (namespace > %s AND namespace < %s)) ORDER BY namespace"""
GET_NAMESPACE: Final = """SELECT namespace, metadata, created_at, track_changes FROM {s}.storage_namespaces
WHERE tenant = {t} AND namespace = %s"""
LIST_INDEXES: Final = """SELECT name, declaration FROM {s}.storage_indexes
WHERE tenant = {t} AND namespace = %s ORDER BY name"""

_FIRST_PAGE: Final = 64
_LARGEST_PAGE: Final = 512
_PAGE_BYTES: Final = 4_000_000
_KEYS_A_STATEMENT: Final = 20_000
_MOST: Final = 2**62

# Inside the class ``list`` is its method.
_list = list


class PostgresReads(StorageBackend):
    """The reading half of a storage, a transaction or a snapshot."""

    _place: Place

    @abstractmethod
    def _rows(self, statement: str, parameters: tuple[Any, ...]) -> Rows:
        """All rows of a statement with ``{...}`` names (:mod:`.place`). Raises our errors."""

    @abstractmethod
    def _query_rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        """All rows of a statement made for one query, its names filled in."""

    @abstractmethod
    def _uncompiled_rows(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        """The same, of a statement whose cost the server overestimates so far that it would compile it."""

    @abstractmethod
    def _stream(self, sql: str, parameters: tuple[Any, ...]) -> Iterator[Row]:
        """The rows of such a statement one by one. The caller draws them to the end or closes the iterator before
        anything else runs."""

    def get(self, key: str, default: Any = None, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Any:
        name, key = check_namespace(namespace), check_key(key)
        for value, is_json in self._rows(GET, (name, key)):
            return decode(value, is_json, name, key)
        return default

    def get_entry(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Entry | None:
        for row in self._rows(GET_ENTRY, (check_namespace(namespace), check_key(key))):
            return to_entry(row)
        return None

    def has(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> bool:
        return bool(self._rows(HAS, (check_namespace(namespace), check_key(key))))

    def get_metadata(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        name, key = check_namespace(namespace), check_key(key)
        for (metadata,) in self._rows(GET_METADATA, (name, key)):
            return decode_extra(metadata, name, key)
        raise KeyNotFound(name, key)

    def get_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        name = check_namespace(namespace)
        wanted = check_keys(keys)
        found: dict[str, Any] = {}
        for start in range(0, len(wanted) or 1, _KEYS_A_STATEMENT):
            part = wanted if len(wanted) <= _KEYS_A_STATEMENT else wanted[start : start + _KEYS_A_STATEMENT]
            for key, value, is_json in self._rows(GET_MANY, (name, part)):
                found[key] = decode(value, is_json, name, key)
        return {key: found[key] for key in wanted if key in found}

    def get_across(
        self, wanted: Mapping[str, Iterable[str]] | Mapping[Namespace, Iterable[str]]
    ) -> dict[str, dict[str, Any]]:
        asked: dict[str, dict[str, None]] = {}
        for namespace, keys in wanted.items():
            asked.setdefault(check_namespace(namespace), {}).update(dict.fromkeys(check_keys(keys)))
        places = [(name, key) for name, keys in asked.items() for key in keys]
        if len(places) > _KEYS_A_STATEMENT:
            return super().get_across(asked)
        found: dict[tuple[str, str], Any] = {}
        if places:
            names, keys = map(_list, zip(*places, strict=True))
            for name, key, value, is_json in self._rows(GET_ACROSS, (names, keys)):
                found[name, key] = decode(value, is_json, name, key)
        return {name: {key: found[name, key] for key in keys if (name, key) in found} for name, keys in asked.items()}

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
        parameters: Values = [name]
        where = ""
        if pattern is not None:
            prefix, whole = _literal_range(check_pattern(pattern))
            where = _add_range(where, parameters, _storable(prefix), None, None)
            if "\0" in pattern or not _is_utf8(pattern):
                return self._list_here(pattern, name, limit, offset, after)
            if not whole:
                where += " AND key LIKE %s ESCAPE '\\'"
                parameters.append(to_like(pattern))
        if after is not None:
            where += " AND key > %s"
            parameters.append(check_key(after))
        where += " ORDER BY key"
        if limit == 0:
            return []
        if limit is not None or offset:
            where += " LIMIT %s OFFSET %s"
            parameters += (None if limit is None else min(limit, _MOST), min(offset, _MOST))
        return [key for (key,) in self._rows(LIST + where, tuple(parameters))]

    def _list_here(self, pattern: str, name: str, limit: int | None, offset: int, after: str | None) -> Keys:
        """For patterns that no text of PostgreSQL can hold; no key holds such characters either, but ``?`` may."""
        matches = compile_pattern(pattern)
        keys = [key for key in self.list(namespace=name, after=after) if matches(key)]
        return keys[offset:] if limit is None else keys[offset : offset + limit]

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
        tail = f" ORDER BY key {direction} LIMIT %s"
        first, later = SCAN + where + tail, f"{SCAN}{where} AND key {onward} %s{tail}"
        size = _FIRST_PAGE
        while limit is None or limit > 0:
            page = size if limit is None else min(size, limit)
            parameters = (name, *bounds, page) if after is None else (name, *bounds, after, page)
            rows = self._rows(first if after is None else later, parameters)
            if rows:
                # Large values make the next pages shorter, so that a page stays within _PAGE_BYTES or so.
                held = sum([len(row[2]) for row in rows])
                size = max(1, min(_LARGEST_PAGE, _PAGE_BYTES * len(rows) // (held + 1)))
                after = rows[-1][1]
                yield from to_entries(rows)
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
        found = follow_by_sql(self, ways)
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
        found = follow_keys_by_sql(self, ways)
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
        compiled = compile_query(condition, order, name, self._place.tenant or "")
        if limit == 0:
            return []
        sql = f"{self._place.sql(_QUERY)}{compiled.where_sql} ORDER BY {compiled.order_sql}"
        parameters = tuple(compiled.params)
        if compiled.exact and compiled.sort_exact:
            if limit is not None or offset:
                sql += " LIMIT %s OFFSET %s"
                parameters = (*parameters, None if limit is None else min(limit, _MOST), min(offset, _MOST))
            return to_entries(self._query_rows(sql, parameters))
        stop = None if limit is None or not compiled.sort_exact else offset + limit
        found: EntryList = []
        rows = self._stream(sql, parameters)
        try:
            for row in rows:
                entry = to_entry(row)
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
            return int(self._rows(COUNT, (name, name))[0][0])
        compiled = compile_query(condition, parse_sort(None), name, self._place.tenant or "")
        parameters = tuple(compiled.params)
        if compiled.exact:
            sql = self._place.sql(_COUNT_BY) + compiled.where_sql
            return int(self._query_rows(sql, parameters)[0][0])
        sql = self._place.sql(_QUERY) + compiled.where_sql
        return sum(match(condition, to_entry(row)) for row in self._stream(sql, parameters))

    def list_namespaces(self, *, prefix: Namespace | None = None) -> Keys:
        if prefix is None:
            rows = self._rows(LIST_NAMESPACES, ())
        else:
            name = check_namespace(prefix)
            rows = self._rows(LIST_NAMESPACES_BELOW, (name, name + "/", name + "0"))
        return [name for (name,) in rows]

    def get_namespace(self, name: Namespace) -> NamespaceInfo | None:
        name = check_namespace(name)
        for found, metadata, created_at, tracked in self._rows(GET_NAMESPACE, (name,)):
            return NamespaceInfo(found, decode_metadata(metadata), created_at, self.count(namespace=name), tracked)
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


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _storable(prefix: str) -> str:
    """The prefix, or nothing where no key can begin so."""
    return "" if "\0" in prefix or not _is_utf8(prefix) else prefix


def _add_range(sql: str, parameters: Values, prefix: str, start: str | None, end: str | None) -> str:
    """Add the bounds that a prefix, a start (inclusive) and an end (exclusive) put on ``key``."""
    if prefix:
        start = prefix if start is None else max(prefix, start)
        above = prefix_end(prefix)
        end = above if end is None else end if above is None else min(above, end)
    if start is not None:
        sql += " AND key >= %s"
        parameters.append(start)
    if end is not None:
        sql += " AND key < %s"
        parameters.append(end)
    return sql
