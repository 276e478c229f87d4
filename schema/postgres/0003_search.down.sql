-- Text and vector indexes go, their declarations too. Each namespace without a unique index is one without any again.
DELETE FROM storage_indexes WHERE declaration::json ->> 'kind' <> 'field';
UPDATE storage_namespaces AS n SET uniques = 0 WHERE searched AND NOT EXISTS (
  SELECT 1 FROM storage_indexes AS i WHERE i.tenant = n.tenant AND i.namespace = n.namespace
    AND (i.declaration::json ->> 'unique')::boolean
);
DROP FUNCTION storage_fold(bigint, text, text);
DROP FUNCTION storage_set_metadata_kept(
  bigint, text, text, text, text, text, text, bigint, bigint, bigint[], bytea[], bigint[], integer[], text[], text[]
);
DROP FUNCTION storage_set_kept(
  bigint, text, text, text, text, bytea, boolean, text, text, text, bigint, boolean, bigint, bigint, bigint[], bytea[],
  bigint[], integer[], text[], text[], bigint[], bigint[], smallint[], real[]
);
DROP FUNCTION storage_is_full(text, text, text, bigint, bigint);
DROP FUNCTION storage_make_room(text, text);
DROP FUNCTION storage_keep(
  text, text, text, bigint[], integer[], text[], text[], bigint[], smallint[], real[]
);
DROP FUNCTION storage_drop_kept(text, text, text[]);
DROP FUNCTION storage_add(text, bigint, bigint, bigint);
DROP FUNCTION storage_make_vectors();
DROP FUNCTION storage_guard(text);
DROP TABLE IF EXISTS storage_vectors;
DROP TABLE storage_sums, storage_postings, storage_texts;
ALTER TABLE storage_namespaces DROP COLUMN searched;

CREATE OR REPLACE FUNCTION storage_remove(p_tenant text, p_namespace text, p_key text, p_if_version bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  tracked boolean;
  generation bigint;
  now_us bigint := storage_micros();
  gone bigint;
  ended bigint;
  new_version bigint;
BEGIN
  SELECT track_changes, uniques INTO tracked, generation FROM storage_namespaces
    WHERE tenant = p_tenant AND namespace = p_namespace;
  IF p_if_version IS NULL THEN
    DELETE FROM storage_entries WHERE namespace = p_namespace AND tenant = p_tenant AND key = p_key
      RETURNING version, expires_at INTO gone, ended;
  ELSE
    DELETE FROM storage_entries WHERE namespace = p_namespace AND tenant = p_tenant AND key = p_key
      AND version = p_if_version AND (expires_at IS NULL OR expires_at > now_us / 1000)
      RETURNING version, expires_at INTO gone, ended;
    IF gone IS NULL THEN
      SELECT version INTO gone FROM storage_entries WHERE namespace = p_namespace AND tenant = p_tenant AND key = p_key
        AND (expires_at IS NULL OR expires_at > now_us / 1000);
      RETURN CASE WHEN coalesce(gone, 0) = p_if_version THEN 0 ELSE -10 - coalesce(gone, 0) END;
    END IF;
  END IF;
  IF gone IS NULL THEN
    RETURN 0;
  END IF;
  new_version := greatest(now_us, gone + 1);
  IF gone >= now_us THEN
    PERFORM storage_raise_floor(p_tenant, p_namespace, new_version);
  END IF;
  IF generation <> 0 THEN
    DELETE FROM storage_unique WHERE tenant = p_tenant AND namespace = p_namespace AND key = p_key;
  END IF;
  IF tracked THEN
    PERFORM storage_append(p_tenant, p_namespace, p_key,
      CASE WHEN ended <= now_us / 1000 THEN 'expire' ELSE 'delete' END, new_version, now_us / 1000);
  END IF;
  RETURN CASE WHEN ended <= now_us / 1000 THEN 0 ELSE 1 END;
END $$;

CREATE OR REPLACE FUNCTION storage_delete_many(p_lock bigint, p_wait text, p_tenant text, p_namespace text, p_keys text[])
RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  tracked boolean;
  generation bigint;
  now_us bigint;
  highest bigint;
  wanted text;
  live bigint := 0;
BEGIN
  PERFORM storage_lock(p_lock, p_wait);
  SELECT track_changes, uniques INTO tracked, generation FROM storage_namespaces
    WHERE tenant = p_tenant AND namespace = p_namespace;
  IF tracked THEN
    FOREACH wanted IN ARRAY p_keys LOOP
      live := live + storage_remove(p_tenant, p_namespace, wanted, NULL);
    END LOOP;
    RETURN live;
  END IF;
  PERFORM 1 FROM storage_entries WHERE namespace = p_namespace AND tenant = p_tenant AND key = ANY (p_keys)
    ORDER BY key FOR UPDATE;
  now_us := storage_micros();
  WITH gone AS (
    DELETE FROM storage_entries WHERE namespace = p_namespace AND tenant = p_tenant AND key = ANY (p_keys)
      RETURNING version, expires_at
  )
  SELECT count(*) FILTER (WHERE expires_at IS NULL OR expires_at > now_us / 1000), max(version) INTO live, highest
    FROM gone;
  IF highest >= now_us THEN
    PERFORM storage_raise_floor(p_tenant, p_namespace, highest + 1);
  END IF;
  IF generation <> 0 THEN
    DELETE FROM storage_unique WHERE tenant = p_tenant AND namespace = p_namespace AND key = ANY (p_keys);
  END IF;
  RETURN live;
END $$;

CREATE OR REPLACE FUNCTION storage_clear_one(p_tenant text, p_namespace text, p_tracked boolean) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  now_us bigint := storage_micros();
  highest bigint;
  live bigint;
BEGIN
  WITH gone AS (
    DELETE FROM storage_entries WHERE namespace = p_namespace AND tenant = p_tenant RETURNING version, expires_at
  )
  SELECT count(*) FILTER (WHERE expires_at IS NULL OR expires_at > now_us / 1000), max(version) INTO live, highest
    FROM gone;
  IF highest >= now_us THEN
    PERFORM storage_raise_floor(p_tenant, p_namespace, highest + 1);
  END IF;
  DELETE FROM storage_unique WHERE tenant = p_tenant AND namespace = p_namespace;
  IF p_tracked AND live > 0 THEN
    PERFORM storage_append(p_tenant, p_namespace, NULL, 'clear', greatest(now_us, highest + 1), now_us / 1000);
  END IF;
  RETURN live;
END $$;
