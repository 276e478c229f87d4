-- Run with search_path at the storage's schema; mycelia.partitions is the number of hash partitions, 0 for none.
--
-- value holds canonical bytes: JSON text as UTF-8, or with is_json false the bytes themselves; metadata is JSON text,
-- NULL for {}. The documents are what filters see of both (mycelia_storage/backends/postgres/documents.py).
-- tenant is '' without tenants.
DO $$
DECLARE
  parts integer := coalesce(nullif(current_setting('mycelia.partitions', true), ''), '0')::integer;
BEGIN
  EXECUTE $table$CREATE TABLE storage_entries (
    tenant text COLLATE "C" NOT NULL DEFAULT '',
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    is_json boolean NOT NULL,
    document jsonb,
    metadata text,
    metadata_document jsonb,
    version bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    expires_at bigint,
    PRIMARY KEY (namespace, tenant, key)
  )$table$ || CASE WHEN parts > 0 THEN ' PARTITION BY HASH (namespace)' ELSE '' END;
  FOR part IN 0 .. parts - 1 LOOP
    EXECUTE format(
      'CREATE TABLE storage_entries_p%s PARTITION OF storage_entries FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
      part, parts, part
    );
  END LOOP;
END $$;
-- Serves the sweep, and counts that must leave expired entries out.
CREATE INDEX storage_entries_expiry ON storage_entries (tenant, expires_at) WHERE expires_at IS NOT NULL;

-- uniques: 0 where the namespace has no unique index, else a number that changes with every one made or dropped.
-- version_floor: no new version may fall below; the highest version removed, if it ran ahead of the clock.
-- pruned_through: the last seq that retention removed for this namespace.
CREATE TABLE storage_namespaces (
  tenant text COLLATE "C" NOT NULL DEFAULT '',
  namespace text COLLATE "C" NOT NULL,
  metadata text,
  created_at bigint NOT NULL,
  track_changes boolean NOT NULL DEFAULT false,
  uniques bigint NOT NULL DEFAULT 0,
  version_floor bigint NOT NULL DEFAULT 0,
  pruned_through bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, namespace)
);

-- seq is unique for the tenant and rises in commit order: its counter in storage_state stays locked until the commit.
CREATE TABLE storage_changes (
  tenant text COLLATE "C" NOT NULL DEFAULT '',
  seq bigint NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  key text COLLATE "C",
  operation text NOT NULL,
  version bigint NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (tenant, seq)
);
CREATE INDEX storage_changes_namespace ON storage_changes (tenant, namespace, seq);

-- Declarations as JSON; sql_name is the index in PostgreSQL's catalogue, numbered by index_id. A dropped index leaves
-- this table at once and the catalogue later, since DROP INDEX would wait for every reader.
CREATE TABLE storage_indexes (
  tenant text COLLATE "C" NOT NULL DEFAULT '',
  namespace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  declaration text NOT NULL,
  index_id bigint NOT NULL,
  sql_name text NOT NULL,
  PRIMARY KEY (tenant, namespace, name)
);
CREATE SEQUENCE storage_index_ids;

-- Who holds which values of a unique index; print is a digest of them.
CREATE TABLE storage_unique (
  tenant text COLLATE "C" NOT NULL DEFAULT '',
  index_id bigint NOT NULL,
  print bytea NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant, index_id, print)
);
CREATE INDEX storage_unique_holder ON storage_unique (tenant, namespace, key);

-- seq: the last one given. version_floor and pruned_through: of namespaces that were deleted.
CREATE TABLE storage_state (
  tenant text COLLATE "C" NOT NULL DEFAULT '',
  name text COLLATE "C" NOT NULL,
  value bigint NOT NULL,
  PRIMARY KEY (tenant, name)
);

-- Never holds a row. Exclusive transactions lock it in mode SHARE, those of a weaker isolation in ROW EXCLUSIVE: unlike
-- an advisory lock, LOCK TABLE is taken before the snapshot of a REPEATABLE READ transaction, which then is not stale.
CREATE TABLE storage_gate (closed boolean);

-- Row level security is dormant until a storage is opened with a tenant, which enables and forces it. A setting that
-- was once local to a transaction reads '' afterwards, not NULL.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['storage_entries', 'storage_namespaces', 'storage_changes', 'storage_indexes',
    'storage_unique', 'storage_state'] LOOP
    EXECUTE format('CREATE POLICY tenant_isolation ON %I USING (tenant = nullif(current_setting(%L, true), %L))
      WITH CHECK (tenant = nullif(current_setting(%L, true), %L))', name, 'mycelia.tenant', '', 'mycelia.tenant', '');
  END LOOP;
END $$;
