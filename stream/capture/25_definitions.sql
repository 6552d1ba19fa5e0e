-- Definitions in the server's own words, for what a command's text does not tell.

-- The commands that make a table as the catalogs say it is, where its own text
-- cannot be run again: what a query returned, a copy of a temporary table, a
-- foreign table that another server described. What vanishes with the session
-- is left out.
CREATE FUNCTION scribe.table_definition(rel oid) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET extra_float_digits = 3 AS $fn$
  WITH gone AS MATERIALIZED (SELECT class, object FROM scribe.transient()),
  t AS (SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name, format('ALTER %sTABLE ONLY %I.%I',
      CASE c.relkind WHEN 'f' THEN 'FOREIGN ' END, n.nspname, c.relname) AS change
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel),
  s AS (SELECT q.seqrelid, d.refobjsubid AS attnum, d.deptype, c.relpersistence, format('%I.%I', n.nspname, c.relname) AS name,
      format('AS %s START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s', format_type(q.seqtypid, NULL),
        q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN ' CYCLE' END) AS options
    FROM pg_depend d JOIN pg_sequence q ON q.seqrelid = d.objid JOIN pg_class c ON c.oid = q.seqrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = rel AND d.deptype IN ('a', 'i')),
  a AS (SELECT a.*, concat(quote_ident(a.attname), ' ', format_type(a.atttypid, a.atttypmod),
      CASE a.attcompression WHEN 'p' THEN ' COMPRESSION pglz' WHEN 'l' THEN ' COMPRESSION lz4' END,
      (SELECT format(' OPTIONS (%s)', string_agg(quote_ident(option_name) || ' ' || quote_literal(option_value), ', '))
        FROM pg_options_to_table(a.attfdwoptions) HAVING count(*) > 0),
      (SELECT format(' COLLATE %I.%I', cn.nspname, co.collname)
        FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace
        WHERE co.oid = a.attcollation AND a.attcollation <> ty.typcollation),
      CASE WHEN a.attnotnull THEN coalesce((SELECT format(' CONSTRAINT %I NOT NULL', conname) || CASE WHEN connoinherit THEN ' NO INHERIT' ELSE '' END
        FROM pg_constraint WHERE conrelid = rel AND contype = 'n' AND conkey = ARRAY[a.attnum]), ' NOT NULL') END, -- with a name since 18
      CASE a.attidentity WHEN '' THEN NULL ELSE (SELECT format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %s %s)',
          CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, name, regexp_replace(options, '^AS [a-z]+ ', ''))
        FROM s WHERE s.attnum = a.attnum AND deptype = 'i') END,
      (SELECT format(CASE a.attgenerated WHEN '' THEN ' DEFAULT %s' WHEN 's' THEN ' GENERATED ALWAYS AS (%s) STORED'
          ELSE ' GENERATED ALWAYS AS (%s) VIRTUAL' END, pg_get_expr(d.adbin, rel))
        FROM pg_attrdef d WHERE d.adrelid = rel AND d.adnum = a.attnum
          AND ('pg_attrdef'::regclass, d.oid) NOT IN (SELECT class, object FROM gone))) AS definition
    FROM pg_attribute a JOIN pg_type ty ON ty.oid = a.atttypid WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped),
  k AS (SELECT * FROM pg_constraint WHERE conrelid = rel AND conislocal AND contype IN ('c', 'p', 'u', 'x', 'f')
      AND ('pg_constraint'::regclass, oid) NOT IN (SELECT class, object FROM gone)),
  i AS (SELECT indexrelid FROM pg_index WHERE indrelid = rel AND indexrelid NOT IN (SELECT conindid FROM k)
      AND ('pg_class'::regclass, indexrelid) NOT IN (SELECT class, object FROM gone)),
  e AS (SELECT oid, stxname, stxnamespace FROM pg_statistic_ext WHERE stxrelid = rel
      AND ('pg_statistic_ext'::regclass, oid) NOT IN (SELECT class, object FROM gone))
  SELECT format('CREATE %sSEQUENCE %s %s', CASE relpersistence WHEN 'u' THEN 'UNLOGGED ' END, name, options) FROM s WHERE deptype = 'a'
  UNION ALL
  SELECT concat('CREATE ', CASE WHEN t.relpersistence = 'u' THEN 'UNLOGGED ' END, CASE WHEN t.relkind = 'f' THEN 'FOREIGN ' END,
    'TABLE ', name, ' (', (SELECT string_agg(definition, ', ' ORDER BY attnum) FROM a WHERE attislocal), ')',
    (SELECT format(' INHERITS (%s)', string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno)) FROM pg_inherits WHERE inhrelid = rel HAVING count(*) > 0),
    ' PARTITION BY ' || pg_get_partkeydef(rel),
    (SELECT format(' USING %I', amname) FROM pg_am WHERE oid = t.relam AND amname <> current_setting('default_table_access_method')),
    (SELECT format(' WITH (%s)', string_agg(o, ', ')) FROM (SELECT unnest(t.reloptions) UNION ALL
      SELECT 'toast.' || unnest(reloptions) FROM pg_class WHERE oid = t.reltoastrelid) x(o) HAVING count(*) > 0),
    (SELECT format(' TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = t.reltablespace),
    (SELECT format(' SERVER %I%s', srvname, (SELECT format(' OPTIONS (%s)', string_agg(quote_ident(option_name) || ' ' || quote_literal(option_value), ', '))
        FROM pg_options_to_table(f.ftoptions) HAVING count(*) > 0))
      FROM pg_foreign_table f JOIN pg_foreign_server v ON v.oid = f.ftserver WHERE f.ftrelid = rel)) FROM t
  UNION ALL
  SELECT format('ALTER SEQUENCE %s OWNED BY %s.%I', s.name, t.name, a.attname) FROM t, s JOIN a USING (attnum) WHERE s.deptype = 'a'
  UNION ALL
  (SELECT format('%s ALTER COLUMN %I SET STORAGE %s', t.change, a.attname, CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
    FROM t, a JOIN pg_type ty ON ty.oid = a.atttypid WHERE a.attstorage <> ty.typstorage ORDER BY a.attnum)
  UNION ALL
  (SELECT format('ALTER %sTABLE %s ADD CONSTRAINT %I %s', CASE relkind WHEN 'f' THEN 'FOREIGN ' END, name, conname, pg_get_constraintdef(k.oid)) FROM t, k
    ORDER BY strpos('cpuxf', contype::text), conname)
  UNION ALL
  (SELECT pg_get_indexdef(indexrelid) FROM i ORDER BY indexrelid)
  UNION ALL
  (SELECT pg_get_statisticsobjdef(oid) FROM e ORDER BY oid)
  UNION ALL
  SELECT format('COMMENT ON %s IS %L', x.what, d.description)
  FROM (SELECT 'pg_class'::regclass AS class, rel AS object, attnum::int AS sub, format('COLUMN %s.%I', name, attname) AS what FROM t, a
    UNION ALL SELECT 'pg_constraint'::regclass, k.oid, 0, format('CONSTRAINT %I ON %s', conname, name) FROM t, k
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, 0, 'INDEX ' || indexrelid::regclass FROM (SELECT indexrelid FROM i UNION SELECT conindid FROM k WHERE contype IN ('p', 'u', 'x')) y
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 0, format('STATISTICS %s.%I', stxnamespace::regnamespace, stxname) FROM e) x
    JOIN pg_description d ON d.classoid = x.class AND d.objoid = x.object AND d.objsubid = x.sub
$fn$;
REVOKE ALL ON FUNCTION scribe.table_definition(oid) FROM PUBLIC;

-- A materialized view that REFRESH fills: EXPLAIN ANALYZE can make one without
-- an event.
CREATE FUNCTION scribe.view_definition(rel oid, populated boolean) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN (SELECT format('CREATE MATERIALIZED VIEW IF NOT EXISTS %I.%I (%s)', n.nspname, c.relname,
      (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped))
    || coalesce((SELECT format(' USING %I', amname) FROM pg_am WHERE oid = c.relam AND amname <> 'heap'), '')
    || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')
    || coalesce((SELECT format(' TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = c.reltablespace), '')
    || ' AS ' || rtrim(pg_get_viewdef(rel), '; ') || CASE WHEN populated THEN ' WITH DATA' ELSE ' WITH NO DATA' END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel AND c.relkind = 'm');
END $fn$;
REVOKE ALL ON FUNCTION scribe.view_definition(oid, boolean) FROM PUBLIC;

-- The same where the command need not have locked what the view reads: WITH NO
-- DATA. Mostly the target has the view, so that there is nothing to wait for.
CREATE FUNCTION scribe.refreshed_view(rel oid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '1ms' AS $fn$
BEGIN
  RETURN scribe.view_definition(rel, false);
EXCEPTION WHEN lock_not_available THEN
  RETURN NULL;
END $fn$;
REVOKE ALL ON FUNCTION scribe.refreshed_view(oid) FROM PUBLIC;

-- An index on a partitioned table that did not become valid, because a
-- partition has one that is invalid (its CREATE INDEX CONCURRENTLY failed): the
-- commands that make all of it but the invalid ones, as pg_dump would.
-- pg_partition_tree would lock every index of the tree.
CREATE FUNCTION scribe.partial_index(root oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH RECURSIVE t (relid, parentrelid, level) AS (
    SELECT root, NULL::oid, 0 UNION ALL SELECT h.inhrelid, h.inhparent, t.level + 1 FROM t JOIN pg_inherits h ON h.inhparent = t.relid)
  SELECT jsonb_agg(cmd ORDER BY level, step) FROM t JOIN pg_index i ON i.indexrelid = t.relid
    JOIN pg_class c ON c.oid = t.relid AND (i.indisvalid OR c.relkind = 'I') JOIN pg_namespace n ON n.oid = c.relnamespace,
    LATERAL (VALUES (1, regexp_replace(pg_get_indexdef(t.relid), 'INDEX ', 'INDEX IF NOT EXISTS ')),
      (2, (SELECT format('ALTER INDEX %I.%I ATTACH PARTITION %I.%I', pn.nspname, pc.relname, n.nspname, c.relname)
           FROM pg_class pc JOIN pg_namespace pn ON pn.oid = pc.relnamespace WHERE pc.oid = t.parentrelid AND t.level > 0))) s (step, cmd)
  WHERE cmd IS NOT NULL
$fn$;
REVOKE ALL ON FUNCTION scribe.partial_index(oid) FROM PUBLIC;

-- The index that ALTER INDEX ... ATTACH PARTITION names: whether it is valid,
-- and its definition if it became so after it was made.
CREATE FUNCTION scribe.attached_index(command text, path text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  rel oid;
BEGIN
  PERFORM set_config('search_path', path, true);
  rel := pg_catalog.to_regclass((pg_catalog.regexp_match(command, E'\\mattach\\s+partition\\s+(("([^"]|"")*"|[^\\s".;]+)(\\.("([^"]|"")*"|[^\\s".;]+))?)', 'i'))[1]);
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
  RETURN (SELECT jsonb_build_object('valid', i.indisvalid OR c.relkind = 'I', 'text', CASE WHEN i.indisvalid AND c.relkind = 'i' AND i.xmin <> a.xmin
      THEN regexp_replace(pg_get_indexdef(rel), 'INDEX ', 'INDEX IF NOT EXISTS ') END)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = 1 WHERE i.indexrelid = rel);
END $fn$;
REVOKE ALL ON FUNCTION scribe.attached_index(text, text) FROM PUBLIC;

-- A literal such as 'today' becomes the date of the day where its type is one
-- of dates, and stays a word elsewhere. Which it was, the server's own text of
-- what this transaction made tells. An object that it only changed may name
-- tables which another session has locked: an error then.
CREATE FUNCTION scribe.folded() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog SET DateStyle = 'ISO' SET lock_timeout = '10ms' AS $fn$
  SELECT jsonb_build_object(
    'now', to_char(transaction_timestamp(), 'YYYY-MM-DD HH24:MI:SS.USTZH:TZM'),
    'today', to_char(transaction_timestamp(), 'YYYY-MM-DD'),
    'tomorrow', to_char(transaction_timestamp()::timestamp + interval '1 day', 'YYYY-MM-DD'),
    'yesterday', to_char(transaction_timestamp()::timestamp - interval '1 day', 'YYYY-MM-DD'),
    -- As a condition of the query, it would be asked of all there is.
    'texts', (SELECT jsonb_agg(t) FILTER (WHERE t ~* (E'\\m(now|today|tomorrow|yesterday)\\M|\\d\\d:\\d\\d:\\d\\d|' || (SELECT string_agg(to_char(transaction_timestamp()::timestamp + d * interval '1 day', 'YYYY-MM-DD'), '|') FROM generate_series(-1, 1) d))) FROM (
        SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND scribe.is_new(xmin)
      UNION ALL SELECT concat_ws(' ', pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_expr(typdefaultbin, 0) FROM pg_type WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE oid >= 16384 AND prokind IN ('f', 'p') AND scribe.is_new(xmin)
      UNION ALL SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_partkeydef(partrelid) FROM pg_partitioned_table WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_expr(relpartbound, 0) FROM pg_class WHERE relispartition AND scribe.is_new(xmin)
      UNION ALL SELECT quote_literal(o) FROM pg_attribute, unnest(attfdwoptions) o WHERE attfdwoptions IS NOT NULL AND scribe.is_new(pg_attribute.xmin)
      UNION ALL SELECT quote_literal(o) FROM pg_foreign_table, unnest(ftoptions) o WHERE scribe.is_new(pg_foreign_table.xmin)) x(t)))
$fn$;
REVOKE ALL ON FUNCTION scribe.folded() FROM PUBLIC;

-- A function's body may name tables that its ALTER does not lock: an error then.
CREATE FUNCTION scribe.function_definition(function oid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '10ms' AS $fn$
BEGIN
  RETURN pg_get_functiondef(function);
END $fn$;
REVOKE ALL ON FUNCTION scribe.function_definition(oid) FROM PUBLIC;
