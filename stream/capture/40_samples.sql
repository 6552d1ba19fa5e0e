-- What start samples, because no event tells it.

-- Sequences do not appear in logical decoding; `start` samples them.
CREATE FUNCTION scribe.sequence_values() RETURNS TABLE (oid oid, schema text, name text, last_value bigint, is_called boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname <> 'scribe' LOOP
    oid := r.oid;
    schema := r.nspname;
    name := r.relname;
    BEGIN
      EXECUTE format('SELECT last_value, is_called FROM %I.%I', r.nspname, r.relname) INTO last_value, is_called;
      RETURN NEXT;
    EXCEPTION WHEN undefined_table OR lock_not_available THEN
      NULL; -- dropped, or being altered: the next sample has it
    END;
  END LOOP;
END $fn$;
REVOKE ALL ON FUNCTION scribe.sequence_values() FROM PUBLIC;

-- Privileges of an object as text that compares, and the commands that bring
-- them about in the restored database whatever they are there. present is an
-- expression for the object's aclitem[] there.
CREATE FUNCTION scribe.acl_text(acl aclitem[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $fn$
  SELECT coalesce(string_agg(x, ', ' ORDER BY x COLLATE "C"), '') FROM (SELECT format('%s %s %s %s',
    grantor::regrole, grantee::regrole, privilege_type, is_grantable) AS x FROM aclexplode(acl)) a
$fn$;
REVOKE ALL ON FUNCTION scribe.acl_text(aclitem[]) FROM PUBLIC;

CREATE FUNCTION scribe.acl_sql(what text, acl aclitem[], owner oid, present text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $fn$
  SELECT format('IF (SELECT coalesce(string_agg(x, '', '' ORDER BY x COLLATE "C"), '''') FROM (SELECT format(''%%s %%s %%s %%s'', grantor::regrole, grantee::regrole, privilege_type, is_grantable) AS x FROM aclexplode(%s)) a) <> %L THEN'
      ' FOR g IN SELECT DISTINCT CASE grantee WHEN 0 THEN ''PUBLIC'' ELSE quote_ident(pg_get_userbyid(grantee)) END AS name FROM aclexplode(%s) LOOP'
      ' EXECUTE %L || g.name || '' CASCADE''; END LOOP;%s END IF;',
    present, scribe.acl_text(acl), present, format('REVOKE ALL ON %s FROM ', what),
    (SELECT string_agg(CASE WHEN a.grantor = owner THEN s ELSE format(' SET LOCAL ROLE %I;%s SET LOCAL ROLE NONE;', r.rolname, s) END,
        '' ORDER BY a.grantor <> owner, n)
      FROM aclexplode(acl) WITH ORDINALITY a(grantor, grantee, privilege, grantable, n)
        JOIN pg_roles r ON r.oid = a.grantor LEFT JOIN pg_roles e ON e.oid = a.grantee,
        format(' GRANT %s ON %s TO %s%s;', a.privilege, what, coalesce(quote_ident(e.rolname), 'PUBLIC'),
          CASE WHEN a.grantable THEN ' WITH GRANT OPTION' END) s
      WHERE e.oid IS NOT NULL OR a.grantee = 0))
$fn$;
REVOKE ALL ON FUNCTION scribe.acl_sql(text, aclitem[], oid, text) FROM PUBLIC;

-- What a schema is made of, but for what comes and goes with something else.
-- An index that CREATE INDEX CONCURRENTLY left behind invalid is not there,
-- until a REINDEX, a TRUNCATE or a rewrite of its table makes it valid.
CREATE VIEW scribe.inventory AS
  SELECT o.class, o.oid FROM (
      SELECT 'pg_catalog.pg_class'::regclass::oid AS class, oid, relnamespace AS schema FROM pg_catalog.pg_class
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'
      UNION ALL SELECT 'pg_catalog.pg_class'::regclass, c.oid, c.relnamespace FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        WHERE i.indisvalid AND c.relkind = 'i' AND NOT c.relispartition AND c.relpersistence <> 't'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indrelid AND d.deptype = 'e')
      UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid, pronamespace FROM pg_catalog.pg_proc
      UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid, typnamespace FROM pg_catalog.pg_type t WHERE typisdefined
        AND (typtype IN ('b', 'e', 'd', 'r') OR typtype = 'c' AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
      UNION ALL SELECT 'pg_catalog.pg_operator'::regclass, oid, oprnamespace FROM pg_catalog.pg_operator WHERE oprcode <> 0
      UNION ALL SELECT 'pg_catalog.pg_opclass'::regclass, oid, opcnamespace FROM pg_catalog.pg_opclass
      UNION ALL SELECT 'pg_catalog.pg_opfamily'::regclass, oid, opfnamespace FROM pg_catalog.pg_opfamily
      UNION ALL SELECT 'pg_catalog.pg_collation'::regclass, oid, collnamespace FROM pg_catalog.pg_collation
      UNION ALL SELECT 'pg_catalog.pg_conversion'::regclass, oid, connamespace FROM pg_catalog.pg_conversion
      UNION ALL SELECT 'pg_catalog.pg_ts_config'::regclass, oid, cfgnamespace FROM pg_catalog.pg_ts_config
      UNION ALL SELECT 'pg_catalog.pg_ts_dict'::regclass, oid, dictnamespace FROM pg_catalog.pg_ts_dict
      UNION ALL SELECT 'pg_catalog.pg_namespace'::regclass, oid, oid FROM pg_catalog.pg_namespace
      UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid, 0 FROM pg_catalog.pg_foreign_data_wrapper
      UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, oid, 0 FROM pg_catalog.pg_foreign_server) o
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = o.schema
  WHERE o.oid >= 16384 AND (n.nspname IS NULL OR n.nspname !~ '^pg_' AND n.nspname NOT IN ('scribe', 'information_schema'))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.objsubid = 0
      AND (d.deptype IN ('i', 'e') OR d.deptype = 'a' AND d.classid = 'pg_catalog.pg_class'::regclass
        AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = o.oid AND c.relkind = 'S')));
REVOKE ALL ON scribe.inventory FROM PUBLIC;

-- The SQL that drops an index which is left behind invalid, as by a DROP INDEX
-- CONCURRENTLY that was interrupted. NULL: it is none, or a command is at work
-- on it. Nobody can drop it and give its name to another one until the
-- transaction ends, which has to be READ COMMITTED to see it as it is.
CREATE FUNCTION scribe.drop_invalid(index oid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '10ms' AS $fn$
DECLARE
  rel oid := (SELECT indrelid FROM pg_index WHERE indexrelid = index);
BEGIN
  EXECUTE format('SELECT FROM ONLY %s LIMIT 0', rel::regclass); -- unlike LOCK, for materialized views too
  RETURN (SELECT format('DROP INDEX IF EXISTS %I.%I', n.nspname, c.relname)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE i.indexrelid = index AND NOT i.indisvalid AND c.relkind = 'i' AND NOT c.relispartition
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = index) AND NOT EXISTS (SELECT FROM pg_locks
      WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND relation = rel AND mode = 'ShareUpdateExclusiveLock'));
EXCEPTION WHEN lock_not_available OR undefined_table OR syntax_error OR object_not_in_prerequisite_state THEN
  RETURN NULL;
END $fn$;
REVOKE ALL ON FUNCTION scribe.drop_invalid(oid) FROM PUBLIC;

-- The SQL that makes an index which became valid without an event, unless the
-- table has as many like it already. NULL: it is no index, or is gone.
CREATE FUNCTION scribe.repair_index(index oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT format('DO %L', format('BEGIN IF pg_catalog.to_regclass(%L) IS NULL AND pg_catalog.to_regclass(%L) IS NOT NULL'
        ' AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index WHERE indrelid = pg_catalog.to_regclass(%2$L)'
        ' AND pg_catalog.regexp_replace(pg_catalog.pg_get_indexdef(indexrelid), %L, ''\1'') = %L) < %s THEN %s; END IF; END',
      format('%I.%I', n.nspname, c.relname), format('%I.%I', tn.nspname, t.relname), x.head, x.rest,
      (SELECT count(*) FROM pg_index o WHERE o.indrelid = t.oid AND o.indisvalid AND regexp_replace(pg_get_indexdef(o.indexrelid), x.head, '\1') = x.rest),
      concat(pg_get_indexdef(index), (SELECT format('; ALTER INDEX %I.%I SET TABLESPACE %I', n.nspname, c.relname, spcname) FROM pg_tablespace WHERE oid = c.reltablespace),
        '; COMMENT ON INDEX ' || format('%I.%I IS ', n.nspname, c.relname) || quote_literal(obj_description(index, 'pg_class')))))
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace,
    LATERAL (SELECT head, regexp_replace(pg_get_indexdef(index), head, '\1') AS rest
      FROM (VALUES ('^CREATE (UNIQUE )?INDEX ("([^"]|"")*"|[^ "]+) ')) v(head)) x
  WHERE i.indexrelid = index AND c.relkind = 'i'
$fn$;
REVOKE ALL ON FUNCTION scribe.repair_index(oid) FROM PUBLIC;

-- The SQL that makes a table or materialized view which came about without an
-- event, if it has nothing but columns, as EXPLAIN ANALYZE CREATE ... AS leaves
-- it; else NULL.
CREATE FUNCTION scribe.repair_sql(rel oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT format('DO %L', format('BEGIN IF pg_catalog.to_regclass(%L) IS NULL THEN %s; ALTER %s %I.%I OWNER TO %I; END IF; END',
      format('%I.%I', n.nspname, c.relname),
      CASE c.relkind WHEN 'r' THEN (SELECT string_agg(d, '; ') FROM scribe.table_definition(rel) d)
        ELSE scribe.view_definition(rel, c.relispopulated) END,
      CASE c.relkind WHEN 'r' THEN 'TABLE' ELSE 'MATERIALIZED VIEW' END, n.nspname, c.relname, pg_get_userbyid(c.relowner)))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = rel AND c.relkind IN ('r', 'm') AND c.relacl IS NULL AND NOT c.relispartition AND c.reloftype = 0 AND NOT c.relrowsecurity
    AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = rel) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = rel)
    AND NOT EXISTS (SELECT FROM pg_attrdef WHERE adrelid = rel) AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = rel)
    AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = rel AND c.relkind = 'r') AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = rel)
    AND NOT EXISTS (SELECT FROM pg_inherits WHERE rel IN (inhrelid, inhparent)) AND NOT EXISTS (SELECT FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid = rel)
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = rel AND attnum > 0 AND (attisdropped OR attnotnull OR attidentity <> '' OR attacl IS NOT NULL))
$fn$;
REVOKE ALL ON FUNCTION scribe.repair_sql(oid) FROM PUBLIC;
