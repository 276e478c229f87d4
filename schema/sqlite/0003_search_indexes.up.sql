-- Text and vector indexes. From here on storage_namespaces.track_changes is a set of bits: 1 the namespace tracks
-- changes, 2 it has a text or vector index. sql_name of an index is 'mycelia_ix_' and its number, which is never given
-- to another index again.
INSERT INTO storage_state (name, value)
  SELECT 'last_index', coalesce(max(CAST(substr(sql_name, 12) AS INTEGER)), 0) FROM storage_indexes;

-- What each process catches up with: an entry of the vector index was written or removed; entry_id null means that all
-- were removed. total is the number of vectors after it. The newest row of an index always stays.
CREATE TABLE storage_vector_log (
  index_number INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  entry_id INTEGER,
  total INTEGER NOT NULL,
  PRIMARY KEY (index_number, seq)
) WITHOUT ROWID;

-- The codes of a vector index as they stood at seq, in parts: derived, and made again where missing.
CREATE TABLE storage_vector_codes (
  id INTEGER PRIMARY KEY,
  index_number INTEGER NOT NULL,
  part INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  data BLOB NOT NULL,
  UNIQUE (index_number, part)
);
