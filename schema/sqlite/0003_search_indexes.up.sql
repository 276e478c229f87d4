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

-- The codes of a vector index as they stood at seq, in parts: derived, and made again where missing. Without part 0 they
-- are incomplete.
CREATE TABLE storage_vector_codes (
  id INTEGER PRIMARY KEY,
  index_number INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  part INTEGER NOT NULL,
  data BLOB NOT NULL,
  UNIQUE (index_number, seq, part)
);

-- Text indexes: the statistics of each, and its postings in blocks. data holds records of the layout kind, of entries from
-- the id first on; a block is small enough for several to share a page.
CREATE TABLE storage_text_indexes (
  index_number INTEGER PRIMARY KEY,
  entries INTEGER NOT NULL,
  length INTEGER NOT NULL
);
CREATE TABLE storage_text_postings (
  index_number INTEGER NOT NULL,
  term TEXT NOT NULL,
  first INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (index_number, term, first)
) WITHOUT ROWID;
