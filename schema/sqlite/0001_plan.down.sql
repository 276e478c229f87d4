DROP TABLE storage_namespaces;
DROP TABLE storage_entries;
