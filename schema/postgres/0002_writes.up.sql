-- The writes: one call each, so that a write is one round trip and one commit. In READ COMMITTED every statement inside
-- a function sees what was committed before it, so what stands behind the lock sees all that the lock was waited for.
--
-- p_lock names the storage's advisory lock: ordinary writes share it, an exclusive transaction has it to itself.
-- p_wait is lock_timeout in ms. p_document and p_extra_document are NULL where the value's, the metadata's own text is
-- its document.
-- Answers below 1 instead of a version: 0 the key exists; -1 p_uniques is not the namespace's; -2 a unique index holds
-- these values; -10 - v the entry has version v, not p_if_version.

CREATE FUNCTION storage_lock(p_lock bigint, p_wait text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('lock_timeout', p_wait, true);
  PERFORM pg_advisory_xact_lock_shared(p_lock);
END $$;

CREATE FUNCTION storage_lock_alone(p_lock bigint, p_wait text) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM set_config('lock_timeout', p_wait, true);
  LOCK TABLE storage_gate IN SHARE MODE;
  PERFORM pg_advisory_xact_lock(p_lock);
END $$;

CREATE FUNCTION storage_micros() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- A tenant's own rows; '' is the storage without tenants.
CREATE FUNCTION storage_enter(p_tenant text) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO storage_state (tenant, name, value)
    VALUES (p_tenant, 'pruned_through', 0), (p_tenant, 'seq', 0), (p_tenant, 'version_floor', 0) ON CONFLICT DO NOTHING;
  INSERT INTO storage_namespaces (tenant, namespace, created_at) VALUES (p_tenant, 'default', storage_micros() / 1000)
    ON CONFLICT DO NOTHING;
END $$;
SELECT storage_enter('');

CREATE FUNCTION storage_add_namespace(p_tenant text, p_namespace text, p_metadata text, p_tracked boolean)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO storage_namespaces (tenant, namespace, metadata, created_at, track_changes, version_floor, pruned_through)
    SELECT p_tenant, p_namespace, p_metadata, storage_micros() / 1000, p_tracked,
      (SELECT value FROM storage_state WHERE tenant = p_tenant AND name = 'version_floor'),
      (SELECT value FROM storage_state WHERE tenant = p_tenant AND name = 'pruned_through')
    ON CONFLICT DO NOTHING;
  RETURN FOUND;
END $$;

CREATE FUNCTION storage_wake(p_tenant text) RETURNS void LANGUAGE sql SET search_path FROM CURRENT AS
$$ SELECT pg_notify('mycelia_' || md5(current_schema() || '/' || p_tenant), '') $$;

CREATE FUNCTION storage_append(
  p_tenant text, p_namespace text, p_key text, p_operation text, p_version bigint, p_at bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  next_seq bigint;
BEGIN
  UPDATE storage_state SET value = value + 1 WHERE tenant = p_tenant AND name = 'seq' RETURNING value INTO next_seq;
  INSERT INTO storage_changes (tenant, seq, namespace, key, operation, version, at)
    VALUES (p_tenant, next_seq, p_namespace, p_key, p_operation, p_version, p_at);
  PERFORM storage_wake(p_tenant);
END $$;

CREATE FUNCTION storage_raise_floor(p_tenant text, p_namespace text, p_version bigint) RETURNS void LANGUAGE sql AS $$
  UPDATE storage_namespaces SET version_floor = greatest(version_floor, p_version)
    WHERE tenant = p_tenant AND namespace = p_namespace
$$;

-- 1 if a live entry went, 0 if there was none, -10 - v as above. An expired one goes too, and is logged as such.
CREATE FUNCTION storage_remove(p_tenant text, p_namespace text, p_key text, p_if_version bigint) RETURNS bigint
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

-- Give these values of the namespace's unique indexes to the key; false if another live entry has some. Expired
-- holders are removed.
CREATE FUNCTION storage_claim(p_tenant text, p_namespace text, p_key text, p_ids bigint[], p_prints bytea[])
RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  holder record;
  now_ms bigint := storage_micros() / 1000;
BEGIN
  FOR holder IN
    SELECT u.key FROM unnest(p_ids, p_prints) AS wanted (id, print)
      JOIN storage_unique AS u ON u.tenant = p_tenant AND u.index_id = wanted.id AND u.print = wanted.print
      JOIN storage_entries AS e ON e.namespace = u.namespace AND e.tenant = p_tenant AND e.key = u.key
      WHERE u.key <> p_key
  LOOP
    PERFORM 1 FROM storage_entries WHERE namespace = p_namespace AND tenant = p_tenant AND key = holder.key
      AND expires_at <= now_ms FOR UPDATE;
    IF NOT FOUND THEN
      RETURN false;
    END IF;
    PERFORM storage_remove(p_tenant, p_namespace, holder.key, NULL);
  END LOOP;
  DELETE FROM storage_unique WHERE tenant = p_tenant AND namespace = p_namespace AND key = p_key;
  INSERT INTO storage_unique (tenant, index_id, print, namespace, key)
    SELECT p_tenant, wanted.id, wanted.print, p_namespace, p_key FROM unnest(p_ids, p_prints) AS wanted (id, print);
  RETURN true;
END $$;

CREATE FUNCTION storage_set(
  p_lock bigint, p_wait text, p_tenant text, p_namespace text, p_key text, p_value bytea, p_is_json boolean,
  p_document text, p_metadata text, p_extra_document text, p_ttl bigint, p_overwrite boolean, p_if_version bigint,
  p_uniques bigint DEFAULT 0, p_ids bigint[] DEFAULT NULL, p_prints bytea[] DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  tracked boolean;
  lowest bigint;
  generation bigint;
  now_us bigint;
  now_ms bigint;
  new_version bigint;
  actual bigint;
BEGIN
  PERFORM set_config('lock_timeout', p_wait, true);
  PERFORM pg_advisory_xact_lock_shared(p_lock);
  SELECT track_changes, version_floor, uniques INTO tracked, lowest, generation FROM storage_namespaces
    WHERE tenant = p_tenant AND namespace = p_namespace;
  IF NOT FOUND THEN
    IF p_if_version > 0 THEN
      RETURN -10;
    END IF;
    PERFORM storage_add_namespace(p_tenant, p_namespace, NULL, false);
    SELECT track_changes, version_floor, uniques INTO tracked, lowest, generation FROM storage_namespaces
      WHERE tenant = p_tenant AND namespace = p_namespace;
  END IF;
  IF generation <> p_uniques THEN
    RETURN -1;
  END IF;
  now_us := storage_micros();
  now_ms := now_us / 1000;
  IF generation <> 0 THEN
    IF p_if_version IS NOT NULL OR NOT p_overwrite THEN
      SELECT version INTO actual FROM storage_entries
        WHERE namespace = p_namespace AND tenant = p_tenant AND key = p_key
        AND (expires_at IS NULL OR expires_at > now_ms);
      IF coalesce(actual, 0) <> p_if_version THEN
        RETURN -10 - coalesce(actual, 0);
      ELSIF actual IS NOT NULL AND NOT p_overwrite THEN
        RETURN 0;
      END IF;
    END IF;
    IF NOT storage_claim(p_tenant, p_namespace, p_key, p_ids, p_prints) THEN
      RETURN -2;
    END IF;
  END IF;
  IF p_if_version > 0 THEN
    UPDATE storage_entries SET value = p_value, is_json = p_is_json,
        document = CASE WHEN p_is_json THEN coalesce(p_document, convert_from(p_value, 'UTF8'))::jsonb END,
        metadata = p_metadata, metadata_document = coalesce(p_extra_document, p_metadata)::jsonb,
        version = greatest(version + 1, now_us), updated_at = now_ms, expires_at = now_ms + p_ttl
      WHERE namespace = p_namespace AND tenant = p_tenant AND key = p_key
        AND version = p_if_version AND (expires_at IS NULL OR expires_at > now_ms) AND p_overwrite
      RETURNING version INTO new_version;
  ELSE
    INSERT INTO storage_entries AS e (tenant, namespace, key, value, is_json, document, metadata, metadata_document,
        version, created_at, updated_at, expires_at)
      VALUES (p_tenant, p_namespace, p_key, p_value, p_is_json,
        CASE WHEN p_is_json THEN coalesce(p_document, convert_from(p_value, 'UTF8'))::jsonb END,
        p_metadata, coalesce(p_extra_document, p_metadata)::jsonb, greatest(now_us, lowest + 1), now_ms, now_ms, now_ms + p_ttl)
      ON CONFLICT (namespace, tenant, key) DO UPDATE SET value = excluded.value, is_json = excluded.is_json,
        document = excluded.document, metadata = excluded.metadata, metadata_document = excluded.metadata_document,
        version = greatest(e.version + 1, excluded.version),
        created_at = CASE WHEN e.expires_at <= now_ms THEN excluded.created_at ELSE e.created_at END,
        updated_at = excluded.updated_at, expires_at = excluded.expires_at
      WHERE (p_overwrite AND p_if_version IS NULL) OR e.expires_at <= now_ms
      RETURNING e.version INTO new_version;
    -- Waited for a transaction that deleted the key? Its version may be above the time before the wait.
    IF new_version <= now_us AND storage_micros() > now_us + 1000 THEN
      UPDATE storage_entries SET version = storage_micros()
        WHERE namespace = p_namespace AND tenant = p_tenant AND key = p_key
        RETURNING version INTO new_version;
    END IF;
  END IF;
  IF new_version IS NULL THEN
    IF generation <> 0 THEN  -- the claims must not stay
      RAISE EXCEPTION 'the entry changed meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    SELECT version INTO actual FROM storage_entries
      WHERE namespace = p_namespace AND tenant = p_tenant AND key = p_key
      AND (expires_at IS NULL OR expires_at > now_ms);
    IF coalesce(actual, 0) <> p_if_version THEN
      RETURN -10 - coalesce(actual, 0);
    ELSIF actual IS NULL THEN  -- deleted this moment
      RAISE EXCEPTION 'the entry changed meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN 0;
  END IF;
  IF tracked THEN
    PERFORM storage_append(p_tenant, p_namespace, p_key, 'set', new_version, now_ms);
  END IF;
  RETURN new_version;
END $$;

-- Replaces the metadata; 0 if there is no such entry.
CREATE FUNCTION storage_set_metadata(
  p_lock bigint, p_wait text, p_tenant text, p_namespace text, p_key text, p_metadata text, p_extra_document text,
  p_if_version bigint, p_uniques bigint DEFAULT 0, p_ids bigint[] DEFAULT NULL, p_prints bytea[] DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  tracked boolean;
  generation bigint;
  now_us bigint;
  actual bigint;
BEGIN
  PERFORM storage_lock(p_lock, p_wait);
  SELECT track_changes, uniques INTO tracked, generation FROM storage_namespaces
    WHERE tenant = p_tenant AND namespace = p_namespace;
  now_us := storage_micros();
  SELECT version INTO actual FROM storage_entries WHERE namespace = p_namespace AND tenant = p_tenant AND key = p_key
    AND (expires_at IS NULL OR expires_at > now_us / 1000) FOR UPDATE;
  IF actual IS NULL THEN
    RETURN 0;
  ELSIF actual <> p_if_version THEN
    RETURN -10 - actual;
  ELSIF generation <> p_uniques THEN
    RETURN -1;
  ELSIF generation <> 0 AND NOT storage_claim(p_tenant, p_namespace, p_key, p_ids, p_prints) THEN
    RETURN -2;
  END IF;
  UPDATE storage_entries SET metadata = p_metadata,
      metadata_document = coalesce(p_extra_document, p_metadata)::jsonb, updated_at = now_us / 1000, version = greatest(version + 1, now_us)
    WHERE namespace = p_namespace AND tenant = p_tenant AND key = p_key
    RETURNING version INTO actual;
  IF tracked THEN
    PERFORM storage_append(p_tenant, p_namespace, p_key, 'set', actual, now_us / 1000);
  END IF;
  RETURN actual;
END $$;

-- Makes what is missing of these namespaces and tells what a batch must know of each.
CREATE FUNCTION storage_prepare_batch(p_lock bigint, p_wait text, p_tenant text, p_namespaces text[])
RETURNS TABLE (name text, tracked boolean, generation bigint, lowest bigint) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM storage_lock(p_lock, p_wait);
  PERFORM storage_add_namespace(p_tenant, wanted, NULL, false) FROM unnest(p_namespaces) AS wanted
    WHERE NOT EXISTS (SELECT 1 FROM storage_namespaces WHERE tenant = p_tenant AND namespace = wanted)
    ORDER BY wanted COLLATE "C";
  RETURN QUERY SELECT n.namespace, n.track_changes, n.uniques, n.version_floor + 1 FROM storage_namespaces AS n
    WHERE n.tenant = p_tenant AND n.namespace = ANY (p_namespaces);
END $$;

CREATE FUNCTION storage_delete(
  p_lock bigint, p_wait text, p_tenant text, p_namespace text, p_key text, p_if_version bigint
) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM set_config('lock_timeout', p_wait, true);
  PERFORM pg_advisory_xact_lock_shared(p_lock);
  RETURN storage_remove(p_tenant, p_namespace, p_key, p_if_version);
END $$;

-- How many live entries went. Without tracking the rows are locked in one order, so that two of these never deadlock.
CREATE FUNCTION storage_delete_many(p_lock bigint, p_wait text, p_tenant text, p_namespace text, p_keys text[])
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

CREATE FUNCTION storage_clear_one(p_tenant text, p_namespace text, p_tracked boolean) RETURNS bigint
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

-- p_namespace NULL clears all.
CREATE FUNCTION storage_clear(p_lock bigint, p_wait text, p_tenant text, p_namespace text) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  space record;
  live bigint := 0;
BEGIN
  PERFORM storage_lock(p_lock, p_wait);
  FOR space IN
    SELECT namespace, track_changes FROM storage_namespaces
      WHERE tenant = p_tenant AND (p_namespace IS NULL OR namespace = p_namespace) ORDER BY namespace
  LOOP
    live := live + storage_clear_one(p_tenant, space.namespace, space.track_changes);
  END LOOP;
  RETURN live;
END $$;

-- False if it exists and may not. Turning tracking on needs every writer that has not seen it to have ended.
CREATE FUNCTION storage_create_namespace(
  p_lock bigint, p_wait text, p_tenant text, p_namespace text, p_metadata text, p_exist_ok boolean, p_tracked boolean
) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM storage_lock_alone(p_lock, p_wait);
  IF storage_add_namespace(p_tenant, p_namespace, p_metadata, p_tracked) THEN
    RETURN true;
  ELSIF NOT p_exist_ok THEN
    RETURN false;
  END IF;
  UPDATE storage_namespaces SET metadata = coalesce(p_metadata, metadata), track_changes = track_changes OR p_tracked
    WHERE tenant = p_tenant AND namespace = p_namespace;
  RETURN true;
END $$;

-- How many live entries went; -1 no such namespace, -2 only some below it, -3 not empty.
CREATE FUNCTION storage_delete_namespace(
  p_lock bigint, p_wait text, p_tenant text, p_namespace text, p_recursive boolean
) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  family text[];
  member text;
  live bigint := 0;
  floors bigint;
  pruned bigint;
  last_seq bigint;
BEGIN
  PERFORM storage_lock_alone(p_lock, p_wait);
  SELECT coalesce(array_agg(namespace ORDER BY namespace), '{}') INTO family FROM storage_namespaces
    WHERE tenant = p_tenant AND (namespace = p_namespace
      OR (namespace COLLATE "C" > p_namespace || '/' AND namespace COLLATE "C" < p_namespace || '0'));
  IF cardinality(family) = 0 THEN
    RETURN -1;
  ELSIF NOT p_recursive AND p_namespace <> ALL (family) THEN
    RETURN -2;
  ELSIF NOT p_recursive AND (cardinality(family) > 1 OR EXISTS (SELECT 1 FROM storage_entries
      WHERE namespace = p_namespace AND tenant = p_tenant
      AND (expires_at IS NULL OR expires_at > storage_micros() / 1000))) THEN
    RETURN -3;
  END IF;
  FOREACH member IN ARRAY family LOOP
    live := live + storage_clear_one(p_tenant, member, false);
    DELETE FROM storage_indexes WHERE tenant = p_tenant AND namespace = member;
    SELECT max(seq) INTO last_seq FROM storage_changes WHERE tenant = p_tenant AND namespace = member;
    DELETE FROM storage_changes WHERE tenant = p_tenant AND namespace = member;
    DELETE FROM storage_namespaces WHERE tenant = p_tenant AND namespace = member
      RETURNING version_floor, pruned_through INTO floors, pruned;
    UPDATE storage_state SET value = greatest(value, floors) WHERE tenant = p_tenant AND name = 'version_floor';
    UPDATE storage_state SET value = greatest(value, pruned, last_seq)
      WHERE tenant = p_tenant AND name = 'pruned_through';
  END LOOP;
  PERFORM storage_wake(p_tenant);
  RETURN live;
END $$;

-- Removes up to p_limit expired entries, leaving those that another sweep is at; how many.
CREATE FUNCTION storage_sweep(p_lock bigint, p_wait text, p_tenant text, p_limit integer) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  expired record;
  now_ms bigint;
  swept bigint := 0;
BEGIN
  PERFORM storage_lock(p_lock, p_wait);
  now_ms := storage_micros() / 1000;
  FOR expired IN
    SELECT namespace, key FROM storage_entries WHERE tenant = p_tenant AND expires_at <= now_ms
      LIMIT p_limit FOR UPDATE SKIP LOCKED
  LOOP
    PERFORM storage_remove(p_tenant, expired.namespace, expired.key, NULL);
    swept := swept + 1;
  END LOOP;
  RETURN swept;
END $$;

-- Drops all but the newest p_keep changes of each namespace, and those before p_older_than (UTC ms, NULL for none).
CREATE FUNCTION storage_prune(p_lock bigint, p_wait text, p_tenant text, p_keep bigint, p_older_than bigint)
RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  space text;
  surplus bigint;
  too_old bigint;
BEGIN
  PERFORM storage_lock(p_lock, p_wait);
  FOR space IN
    SELECT namespace FROM storage_namespaces WHERE tenant = p_tenant AND track_changes ORDER BY namespace FOR UPDATE
  LOOP
    SELECT seq INTO surplus FROM storage_changes WHERE tenant = p_tenant AND namespace = space
      ORDER BY seq DESC LIMIT 1 OFFSET p_keep;
    SELECT max(seq) INTO too_old FROM storage_changes
      WHERE tenant = p_tenant AND namespace = space AND at < p_older_than;
    surplus := greatest(surplus, too_old);
    IF surplus IS NOT NULL THEN
      DELETE FROM storage_changes WHERE tenant = p_tenant AND namespace = space AND seq <= surplus;
      UPDATE storage_namespaces SET pruned_through = greatest(pruned_through, surplus)
        WHERE tenant = p_tenant AND namespace = space;
    END IF;
  END LOOP;
END $$;
