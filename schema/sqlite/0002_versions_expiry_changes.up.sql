-- Versions, expiry, change tracking and declared indexes; the plan's redundant indexes go, since UNIQUE (namespace, key)
-- already serves every one of their uses but ordering by time, which a declared index gives to those who want it.
-- value holds JSON as TEXT, bytes as BLOB. An adopted entry's version is its updated_at in microseconds.
ALTER TABLE storage_entries RENAME TO plan_entries;
CREATE TABLE storage_entries (
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
);
INSERT INTO storage_entries (id, namespace, key, value, metadata, created_at, updated_at, version)
  SELECT id, namespace, key, value, metadata, created_at, updated_at, max(updated_at * 1000, 1) FROM plan_entries;
DROP TABLE plan_entries;
-- Serves the sweep, and lets key-only reads leave expired keys out without touching the table.
CREATE INDEX storage_entries_expiry ON storage_entries (expires_at, namespace, key) WHERE expires_at IS NOT NULL;

-- version_floor is a clock value below which no new version may fall: the highest version ever removed, if it ran
-- ahead of the clock. pruned_through is the last seq that retention removed for this namespace.
-- The original created its tables one by one, so an adopted file may lack this one.
CREATE TABLE IF NOT EXISTS storage_namespaces (name TEXT PRIMARY KEY, metadata TEXT, created_at INTEGER NOT NULL);
ALTER TABLE storage_namespaces RENAME TO plan_namespaces;
CREATE TABLE storage_namespaces (
  name TEXT PRIMARY KEY NOT NULL,
  metadata TEXT,
  created_at INTEGER NOT NULL,
  track_changes INTEGER NOT NULL DEFAULT 0,
  version_floor INTEGER NOT NULL DEFAULT 0,
  pruned_through INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
INSERT INTO storage_namespaces (name, metadata, created_at)
  SELECT name, metadata, created_at FROM plan_namespaces WHERE name IS NOT NULL;
INSERT OR IGNORE INTO storage_namespaces (name, created_at)
  SELECT namespace, min(created_at) FROM storage_entries GROUP BY namespace;
INSERT OR IGNORE INTO storage_namespaces (name, created_at) VALUES ('default', unixepoch() * 1000);
DROP TABLE plan_namespaces;

-- seq is unique in the whole storage and rises in commit order. One tree, ordered as consumers read it: what a tracked
-- write costs is the number of pages it touches.
CREATE TABLE storage_changes (
  namespace TEXT NOT NULL,
  seq INTEGER NOT NULL,
  key TEXT,
  operation TEXT NOT NULL,
  version INTEGER NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (namespace, seq)
) WITHOUT ROWID;

-- Declarations as JSON; sql_name is the index in SQLite's own catalogue.
CREATE TABLE storage_indexes (
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  declaration TEXT NOT NULL,
  sql_name TEXT NOT NULL UNIQUE,
  PRIMARY KEY (namespace, name)
) WITHOUT ROWID;

-- Storage-wide numbers. version_floor: as above, of deleted namespaces. pruned_through: of deleted namespaces.
CREATE TABLE storage_state (
  name TEXT PRIMARY KEY NOT NULL,
  value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO storage_state (name, value) VALUES ('version_floor', 0), ('pruned_through', 0);
