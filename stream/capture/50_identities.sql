-- Replica identities of published tables.

-- What a table's identity is to be: FULL, except that since version 18 a
-- published table with generated columns cannot have that. It needs a unique
-- index on columns that are NOT NULL; NULL when there is none.
CREATE FUNCTION scribe.identity_for(rel oid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF current_setting('server_version_num')::int < 180000
      OR NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = rel AND attgenerated <> '' AND NOT attisdropped) THEN
    RETURN 'FULL';
  END IF;
  RETURN (SELECT format('USING INDEX %I', c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = rel AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
        AND (NOT a.attnotnull OR a.attgenerated <> ''))
    ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1);
END $fn$;
REVOKE ALL ON FUNCTION scribe.identity_for(oid) FROM PUBLIC;

-- Tables whose UPDATE or DELETE would fail, or would not be sent, because a
-- publication covers them and they have no usable replica identity.
CREATE VIEW scribe.unguarded AS
  SELECT c.oid AS relid, n.nspname AS schema, c.relname AS "table", c.relreplident AS identity,
         (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisreplident) AS index,
         scribe.identity_for(c.oid) AS remedy
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname NOT IN ('scribe', 'information_schema')
    AND (c.relreplident = 'n'
      OR c.relreplident = 'f' AND scribe.identity_for(c.oid) IS DISTINCT FROM 'FULL'
      OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
        AND i.indisprimary AND i.indimmediate AND i.indisvalid AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND a.attgenerated <> ''))
      OR c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
        AND i.indisreplident AND i.indisvalid AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND a.attgenerated <> '')));
REVOKE ALL ON scribe.unguarded FROM PUBLIC;

-- Gives one table its replica identity and remembers what it had.
CREATE FUNCTION scribe.guard_table(rel oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  remedy text := scribe.identity_for(rel);
BEGIN
  IF remedy IS NULL THEN
    RAISE WARNING 'pg_scribe: UPDATE and DELETE of table % will fail: it has generated columns and no usable key', rel::regclass
      USING HINT = 'Add a primary key or a unique index, on columns that are NOT NULL and not generated.';
    RETURN;
  END IF;
  IF NOT EXISTS (SELECT FROM scribe.unguarded WHERE relid = rel) THEN
    RETURN;
  END IF;
  IF scribe.kept_note('identity', rel) IS NULL THEN
    PERFORM scribe.keep('identity', rel, jsonb_build_object('original', identity, 'index', index::int8,
      'index_name', (SELECT relname FROM pg_class WHERE oid = index))) FROM scribe.unguarded WHERE relid = rel;
  END IF;
  PERFORM scribe.run(format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', rel::regclass, remedy));
END $fn$;
REVOKE ALL ON FUNCTION scribe.guard_table(oid) FROM PUBLIC;
