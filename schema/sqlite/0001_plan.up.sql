-- The original plan's schema, version 1: what its JavaScript backend created, and so what an adopted file has.
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
CREATE INDEX idx_storage_namespace_key ON storage_entries (namespace, key);
CREATE INDEX idx_storage_namespace ON storage_entries (namespace);
CREATE INDEX idx_storage_created_at ON storage_entries (created_at);
CREATE INDEX idx_storage_updated_at ON storage_entries (updated_at);
CREATE TABLE storage_namespaces (
  name TEXT PRIMARY KEY,
  metadata TEXT,
  created_at INTEGER NOT NULL
);
