"""The floor on PostgreSQL: bare psycopg, one connection, prepared statements, the same JSON codec. No checks.

``PostgresFloor`` runs the very statements of the backend, its functions included. ``PostgresPlain`` writes with the
plain upserts that one would write instead: no lock, no metadata, no expiry, no change log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import psycopg

NAMESPACE = "bench"

GET = """SELECT value, is_json FROM {s}.storage_entries WHERE namespace = %s AND tenant = '' AND key = %s
AND (expires_at IS NULL OR expires_at > floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint)"""
GET_MANY = """SELECT key, value, is_json FROM {s}.storage_entries WHERE namespace = %s AND tenant = ''
AND key = ANY (%s::text[])
AND (expires_at IS NULL OR expires_at > floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint)"""
SET = "SELECT {s}.storage_set({lock}::bigint, '5000', '', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
DELETE = "SELECT {s}.storage_delete({lock}::bigint, '5000', '', %s, %s, %s)"
PLAIN = """INSERT INTO {s}.storage_entries AS e
(namespace, key, value, is_json, document, version, created_at, updated_at)
SELECT %s, %s, v, true, convert_from(v, 'UTF8')::jsonb, us, us / 1000, us / 1000
FROM (SELECT %s::bytea AS v, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS given
ON CONFLICT (namespace, tenant, key) DO UPDATE SET value = excluded.value, document = excluded.document,
version = greatest(e.version + 1, excluded.version), updated_at = excluded.updated_at RETURNING version"""
STAGE = """CREATE TEMP TABLE stage (namespace text COLLATE "C", key text COLLATE "C", value bytea, is_json boolean,
document text, metadata text, metadata_document text, ends bigint) ON COMMIT DROP"""
COPY = "COPY pg_temp.stage (namespace, key, value, is_json) FROM STDIN (FORMAT BINARY)"
UPSERT = """WITH clock AS MATERIALIZED (SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint AS us,
floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint AS ms)
INSERT INTO {s}.storage_entries AS e (tenant, namespace, key, value, is_json, document, metadata,
metadata_document, version, created_at, updated_at, expires_at)
SELECT '', b.namespace, b.key, b.value, b.is_json,
CASE WHEN b.is_json THEN coalesce(b.document, convert_from(b.value, 'UTF8'))::jsonb END,
b.metadata, coalesce(b.metadata_document, b.metadata)::jsonb,
greatest(clock.us, 1), clock.ms, clock.ms, clock.ms + b.ends FROM clock, pg_temp.stage AS b
ON CONFLICT (namespace, tenant, key) DO UPDATE SET value = excluded.value, is_json = excluded.is_json,
document = excluded.document, metadata = excluded.metadata, metadata_document = excluded.metadata_document,
version = greatest(e.version + 1, excluded.version), updated_at = excluded.updated_at,
expires_at = excluded.expires_at, created_at =
CASE WHEN e.expires_at <= excluded.updated_at THEN excluded.created_at ELSE e.created_at END"""
PLAIN_UPSERT = """INSERT INTO {s}.storage_entries AS e
(namespace, key, value, is_json, document, version, created_at, updated_at)
SELECT namespace, key, value, is_json, convert_from(value, 'UTF8')::jsonb, us, us / 1000, us / 1000
FROM pg_temp.stage, (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS clock
ON CONFLICT (namespace, tenant, key) DO UPDATE SET value = excluded.value, document = excluded.document,
version = greatest(e.version + 1, excluded.version), updated_at = excluded.updated_at"""
# The index and the query that one would write for a number known to be one.
INDEX = """CREATE INDEX plain_id ON {s}.storage_entries (((document ->> 'id')::bigint))
WHERE namespace = 'bench' AND tenant = ''"""
BETWEEN = """SELECT key, value, metadata, version, created_at, updated_at, expires_at FROM {s}.storage_entries
WHERE namespace = 'bench' AND tenant = '' AND (document ->> 'id')::bigint >= %s AND (document ->> 'id')::bigint < %s
ORDER BY key"""


class PostgresFloor:
    """The statements of the backend."""

    name = "floor"
    upsert = UPSERT

    def __init__(self, url: str, schema: str, lock: int) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self._cursor = self.connection.cursor(binary=True)
        names = {"s": f'"{schema}"', "lock": lock}
        self._get, self._get_many, self._set, self._delete = (
            sql.format_map(names) for sql in (GET, GET_MANY, SET, DELETE)
        )
        self._upsert, self._plain = self.upsert.format_map(names), PLAIN.format_map(names)
        self._index, self._between = INDEX.format_map(names), BETWEEN.format_map(names)

    def get(self, key: str) -> Any:
        row = self._cursor.execute(self._get, (NAMESPACE, key), prepare=True).fetchone()
        return None if row is None else orjson.loads(row[0])

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        rows = self._cursor.execute(self._get_many, (NAMESPACE, list(keys)), prepare=True).fetchall()
        return {key: orjson.loads(value) for key, value, _ in rows}

    def set(self, key: str, value: dict[str, Any]) -> Any:
        parameters = (NAMESPACE, key, orjson.dumps(value), True, None, None, None, None, True, None)
        row = self._cursor.execute(self._set, parameters, prepare=True).fetchone()
        return None if row is None else row[0]

    def delete(self, key: str) -> Any:
        row = self._cursor.execute(self._delete, (NAMESPACE, key, None), prepare=True).fetchone()
        return None if row is None else bool(row[0])

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        with self.connection.transaction():
            self.connection.execute(STAGE)
            with self._cursor.copy(COPY) as copy:
                copy.set_types(("text", "text", "bytea", "bool"))
                for key, value in pairs:
                    copy.write_row((NAMESPACE, key, orjson.dumps(value), True))
            self.connection.execute(self._upsert)

    def index(self) -> None:
        self.connection.execute(self._index)
        self.connection.execute("ANALYZE")

    def between(self, low: int, high: int) -> Sequence[Any]:
        rows = self._cursor.execute(self._between, (low, high), prepare=True).fetchall()
        return [(key, orjson.loads(value), *rest) for key, value, *rest in rows]

    def close(self) -> None:
        self.connection.close()


class PostgresPlain(PostgresFloor):
    """A plain upsert instead of the function."""

    name = "plain"
    upsert = PLAIN_UPSERT

    def set(self, key: str, value: dict[str, Any]) -> Any:
        row = self._cursor.execute(self._plain, (NAMESPACE, key, orjson.dumps(value)), prepare=True).fetchone()
        return None if row is None else row[0]
