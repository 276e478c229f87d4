"""The statements of the floor: what SQLite must do at the least for each operation, with this project's table.

The table is the project's own, with the one index that every entry pays for, UNIQUE (namespace, key). No TTL test, no
version arithmetic, no change log: what those cost is what the ratio shows. The settings are the backend's too.
"""

from __future__ import annotations

from typing import Final

SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA cache_size = -16384",
    "PRAGMA wal_autocheckpoint = 1000",
)

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS storage_entries (
  id INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  key TEXT NOT NULL,
  value NOT NULL,
  metadata TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  version INTEGER NOT NULL,
  expires_at INTEGER,
  UNIQUE (namespace, key)
)"""

GET: Final = "SELECT value FROM storage_entries WHERE namespace = ?1 AND key = ?2"
GET_ENTRY: Final = """SELECT key, value, metadata, version, created_at, updated_at, expires_at
FROM storage_entries WHERE namespace = ?1 AND key = ?2"""
HAS: Final = "SELECT 1 FROM storage_entries WHERE namespace = ?1 AND key = ?2"
SET: Final = """INSERT INTO storage_entries
(namespace, key, value, metadata, created_at, updated_at, version, expires_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, NULL)
ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, metadata = excluded.metadata,
updated_at = excluded.updated_at, version = excluded.version, expires_at = excluded.expires_at"""
DELETE: Final = "DELETE FROM storage_entries WHERE namespace = ?1 AND key = ?2"
GET_MANY: Final = """SELECT key, value FROM storage_entries
WHERE namespace = ?1 AND key IN (SELECT value FROM json_each(?2))"""
LIST: Final = "SELECT key FROM storage_entries WHERE namespace = ?1 AND key >= ?2 AND key < ?3 ORDER BY key"
SCAN: Final = """SELECT key, value, metadata, version, created_at, updated_at, expires_at
FROM storage_entries WHERE namespace = ?1 ORDER BY key"""
NEWEST: Final = """SELECT value FROM storage_entries WHERE namespace = ?1 AND key >= ?2 AND key < ?3
ORDER BY key DESC LIMIT ?4"""
GET_METADATA: Final = "SELECT metadata FROM storage_entries WHERE namespace = ?1 AND key = ?2"
SET_METADATA: Final = """UPDATE storage_entries SET metadata = ?3, updated_at = ?4, version = ?5
WHERE namespace = ?1 AND key = ?2"""

# The field comes from the bench's own two names. Only this form of the expression meets
# the index; the key at its end makes the order come for free.
CREATE_INDEX: Final = "CREATE INDEX field_{0} ON storage_entries (namespace, json_extract(value, '$.{0}'), key)"
QUERY: Final = """SELECT key, value, metadata, version, created_at, updated_at, expires_at FROM storage_entries
WHERE namespace = ?1 AND json_extract(value, '$.{0}') = ?2 ORDER BY key"""


def prefix_end(prefix: str) -> str:
    """The first string after every one with that prefix (prefixes here end in ASCII)."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
