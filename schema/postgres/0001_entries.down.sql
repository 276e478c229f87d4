DROP TABLE storage_gate, storage_state, storage_unique, storage_indexes, storage_changes, storage_namespaces, storage_entries;
DROP SEQUENCE storage_index_ids;
