"""A database file as the original JavaScript backend made it: the plan's schema, version 1."""

from __future__ import annotations

import json
from pathlib import Path

import apsw

_PLAN = """
CREATE TABLE IF NOT EXISTS storage_entries (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  namespace TEXT NOT NULL DEFAULT 'default',
  key TEXT NOT NULL,
  value TEXT NOT NULL,  -- JSON stringified value
  metadata TEXT,        -- JSON stringified metadata
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE(namespace, key)
);
CREATE INDEX IF NOT EXISTS idx_storage_namespace_key ON storage_entries(namespace, key);
CREATE INDEX IF NOT EXISTS idx_storage_namespace ON storage_entries(namespace);
CREATE INDEX IF NOT EXISTS idx_storage_created_at ON storage_entries(created_at);
CREATE INDEX IF NOT EXISTS idx_storage_updated_at ON storage_entries(updated_at);
CREATE TABLE IF NOT EXISTS storage_namespaces (
  name TEXT PRIMARY KEY,
  metadata TEXT,        -- JSON stringified metadata
  created_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS schema_version (
  version INTEGER PRIMARY KEY,
  applied_at INTEGER NOT NULL
);
INSERT INTO schema_version VALUES (1, 1700000000000);
"""


def make_plan_file(path: Path, entries: int) -> dict[str, tuple[object, dict[str, object], int, int]]:
    """Write one with entries in ``old``; returns key -> (value, metadata, created_at, updated_at)."""
    wanted: dict[str, tuple[object, dict[str, object], int, int]] = {}
    for number in range(entries):
        value = {"number": number, "text": "é" * (number % 50)}
        metadata: dict[str, object] = {"source": "plan"} if number % 3 == 0 else {}
        wanted[f"key-{number:05}"] = (value, metadata, 1_700_000_000_000 + number, 1_700_000_500_000 + number)
    connection = apsw.Connection(str(path))
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(_PLAN)
        connection.execute("BEGIN")
        connection.execute("INSERT INTO storage_namespaces VALUES ('old', '{\"kept\":true}', 1700000000000)")
        connection.executemany(
            "INSERT INTO storage_entries (namespace, key, value, metadata, created_at, updated_at) "
            "VALUES ('old', ?, ?, ?, ?, ?)",
            (
                (key, json.dumps(value), json.dumps(metadata) if metadata else None, created, updated)
                for key, (value, metadata, created, updated) in wanted.items()
            ),
        )
        connection.execute("COMMIT")
    finally:
        connection.close()
    return wanted
