-- Text and vector indexes go; the entries stay.
DROP TABLE storage_text_postings;
DROP TABLE storage_text_indexes;
DROP TABLE storage_vector_codes;
DROP TABLE storage_vector_log;
DELETE FROM storage_indexes WHERE sql_name NOT IN (SELECT name FROM sqlite_schema WHERE type = 'index');
UPDATE storage_namespaces SET track_changes = track_changes & 1;
DELETE FROM storage_state WHERE name = 'last_index';
