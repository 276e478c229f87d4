-- Back to the plan's tables. Versions, expiry and changes are lost; bytes values stay as BLOBs.
-- What has expired goes, or it would come back to life.
-- Declared indexes are expression indexes on storage_entries and go with it.
DROP TABLE storage_state;
DROP TABLE storage_indexes;
DROP TABLE storage_changes;
ALTER TABLE storage_namespaces RENAME TO new_namespaces;
CREATE TABLE storage_namespaces (
  name TEXT PRIMARY KEY,
  metadata TEXT,
  created_at INTEGER NOT NULL
);
INSERT INTO storage_namespaces (name, metadata, created_at) SELECT name, metadata, created_at FROM new_namespaces;
DROP TABLE new_namespaces;
DROP INDEX storage_entries_expiry;
ALTER TABLE storage_entries RENAME TO new_entries;
CREATE TABLE storage_entries (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  namespace TEXT NOT NULL DEFAULT 'default',
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  metadata TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (namespace, key)
);
INSERT INTO storage_entries (id, namespace, key, value, metadata, created_at, updated_at)
  SELECT id, namespace, key, value, metadata, created_at, updated_at FROM new_entries
  WHERE expires_at IS NULL OR expires_at > unixepoch('subsec') * 1000;
DROP TABLE new_entries;
CREATE INDEX idx_storage_namespace_key ON storage_entries (namespace, key);
CREATE INDEX idx_storage_namespace ON storage_entries (namespace);
CREATE INDEX idx_storage_created_at ON storage_entries (created_at);
CREATE INDEX idx_storage_updated_at ON storage_entries (updated_at);
