"""Status and check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from ...contract import CheckReport, Status
from ...errors import StorageClosed, StorageError
from ...indexes import FieldIndex, TextIndex, VectorIndex, index_from_json
from ...names import check_namespace
from .change_log import Rows
from .kept_indexes import KeptVector, keep_text
from .reading import PostgresReads
from .search_check import check_text, check_vectors
from .uniques import fingerprint, parse_index

if TYPE_CHECKING:
    from .backend import PostgresStorageBackend

_COUNTS: Final = """SELECT (SELECT count(*) FROM {s}.storage_entries WHERE tenant = {t})
- (SELECT count(*) FROM {s}.storage_entries WHERE tenant = {t} AND expires_at IS NOT NULL AND expires_at <= {now}),
(SELECT count(*) FROM {s}.storage_namespaces WHERE tenant = {t})"""
_SIZE: Final = """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint, current_setting('server_version'),
pg_is_in_recovery() FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = 'r'"""
_HOMELESS: Final = """SELECT DISTINCT namespace FROM {s}.storage_entries AS e WHERE tenant = {t} AND NOT EXISTS
(SELECT 1 FROM {s}.storage_namespaces AS n WHERE n.tenant = {t} AND n.namespace = e.namespace) LIMIT 20"""
_BAD: Final = """SELECT namespace, key FROM {s}.storage_entries WHERE tenant = {t} AND (version < 1
OR (is_json AND document IS NULL) OR (NOT is_json AND document IS NOT NULL)
OR (metadata IS NULL) <> (metadata_document IS NULL)) LIMIT 20"""
_NAMESPACES: Final = "SELECT namespace FROM {s}.storage_namespaces WHERE tenant = {t} ORDER BY namespace"
_INDEXES: Final = """SELECT namespace, name, declaration, index_id, sql_name FROM {s}.storage_indexes
WHERE tenant = {t} ORDER BY namespace, name"""
_LOST: Final = """SELECT namespace, name FROM {s}.storage_indexes WHERE tenant = {t} AND sql_name <> ''
AND NOT EXISTS (SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_index AS i ON i.indexrelid = c.oid WHERE n.nspname = %s AND c.relname = sql_name AND i.indisvalid)"""
_PRINTS: Final = "SELECT key, print FROM {s}.storage_unique WHERE tenant = {t} AND index_id = %s"
_LAST_SEQ: Final = """SELECT (SELECT max(seq) FROM {s}.storage_changes WHERE tenant = {t}),
(SELECT value FROM {s}.storage_state WHERE tenant = {t} AND name = 'seq')"""


def status(storage: PostgresStorageBackend, rows: Rows) -> Status:
    """The storage at a glance, counted through ``rows``; raises only StorageClosed."""
    problem = storage._last_error
    entries = namespaces = size = 0
    version, standby = "", False
    try:
        entries, namespaces = rows(_COUNTS, ())[0]
        size, version, standby = rows(_SIZE, (storage._place.schema,))[0]
        if storage.settings.tenant is not None:
            size = 0  # how much the others have is not this tenant's to know
    except StorageError as error:
        if storage._closed:
            raise
        problem = str(error)
    details: dict[str, Any] = {
        "address": storage.address,
        "schema": storage.settings.schema,
        "tenant": storage.settings.tenant,
        "server_version": version,
        "standby": standby,
        "read_only": storage.settings.read_only,
        "connections": storage._pool.size,
        "replicas": [] if storage._replicas is None else storage._replicas.status(),
        "listening": storage._listener.listening,
        "open_transactions": len(storage._transactions),
    }
    return Status(
        healthy=problem is None,
        backend="postgres",
        entries=entries,
        namespaces=namespaces,
        size_bytes=size,
        wal_bytes=0,
        schema_version=storage.schema_version,
        last_error=problem,
        details=details,
    )


def check(storage: PostgresStorageBackend, reads: PostgresReads) -> CheckReport:
    """Read every entry: that it decodes, has its documents and its namespace, and that the indexes are there and right.

    ``reads`` is a snapshot or a transaction. The server's own pages are its checksums' and pg_amcheck's business.
    """
    problems: list[str] = []
    rows = reads._rows
    try:
        problems += [f"namespace {name!r} is not registered" for (name,) in rows(_HOMELESS, ())]
        problems += [f"the entry {key!r} in namespace {name!r} is damaged" for name, key in rows(_BAD, ())]
        problems += [
            f"index {name!r} of namespace {space!r} is gone" for space, name in rows(_LOST, (storage._place.schema,))
        ]
        written, given = rows(_LAST_SEQ, ())[0] if rows(_LAST_SEQ, ()) else (0, 0)
        if (written or 0) > (given or 0):
            problems.append("the change log is ahead of its counter")
        for (name,) in rows(_NAMESPACES, ()):
            problems += _check_entries(reads, name)
        for space, name, declaration, index_id, _ in rows(_INDEXES, ()):
            index = index_from_json(orjson.loads(declaration))
            if isinstance(index, FieldIndex) and index.unique:
                problems += _check_unique(reads, space, name, index, index_id)
            elif isinstance(index, TextIndex):
                problems += check_text(reads, space, name, keep_text(index_id, index))
            elif isinstance(index, VectorIndex):
                problems += check_vectors(reads, space, name, KeptVector(index_id, name, index))
    except StorageClosed:
        raise
    except StorageError as error:
        if storage._closed:
            raise
        problems.append(str(error))
    return CheckReport(not problems, problems)


def _check_entries(reads: PostgresReads, name: str) -> list[str]:
    try:
        for _ in reads.scan(namespace=check_namespace(name)):
            pass
    except StorageError as error:
        return [str(error)]
    return []


def _check_unique(reads: PostgresReads, space: str, name: str, index: FieldIndex, index_id: int) -> list[str]:
    held = {key: bytes(print) for key, print in reads._rows(_PRINTS, (index_id,))}
    paths = parse_index(index)
    for entry in reads.scan(namespace=space):
        if held.pop(entry.key, None) != fingerprint(paths, entry):
            return [f"index {name!r} of namespace {space!r} disagrees with the entry {entry.key!r}"]
    return []
