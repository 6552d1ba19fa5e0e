-- Facts about tables and types that neither rows nor commands tell.

-- The values that columns have for rows from before they were added, where
-- running the command again could give others: those whose default is not made
-- of immutable functions only. Whether this command added the column, or only
-- changed it, nothing here tells: replay knows.
CREATE FUNCTION scribe.missing_values(rels oid[], command text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog
SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET extra_float_digits = 3 SET TimeZone = 'UTC'
SET bytea_output = 'hex' SET lc_monetary = 'C' AS $fn$
BEGIN
  RETURN (SELECT jsonb_agg(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'column', a.attname,
      'value', array_to_string(a.attmissingval, '')))
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = ANY (rels) AND NOT a.attisdropped
    AND (a.atthasmissing OR d.adbin IS NOT NULL AND a.attgenerated = '' AND coalesce(current_setting('scribe.rewritten', true), '') = '') -- NULL is not kept
    AND scribe.is_new(a.xmin) AND c.relpersistence <> 't'
    AND (d.adbin IS NULL -- the default of its domain
      OR d.adbin::text ~ 'SQLVALUEFUNCTION|COERCEVIAIO' OR command ~* 'now|today|tomorrow|yesterday'
      OR EXISTS (SELECT FROM regexp_matches(d.adbin::text, E':(?:op)?funcid (\\d+)', 'g') m
                 JOIN pg_proc p ON p.oid = m[1]::oid WHERE p.provolatile <> 'i')));
END $fn$;
REVOKE ALL ON FUNCTION scribe.missing_values(oid[], text) FROM PUBLIC;

-- Whether values of a type hash by OIDs, which are others in a restored
-- database: enums, names of objects, and what is made of them.
CREATE FUNCTION scribe.hashes_by_oid(type oid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH RECURSIVE part (oid) AS (
    SELECT type
    UNION
    SELECT z.oid FROM part p JOIN pg_type y ON y.oid = p.oid, LATERAL (
      SELECT y.typbasetype UNION ALL SELECT y.typelem
      UNION ALL SELECT atttypid FROM pg_attribute WHERE attrelid = y.typrelid AND attnum > 0 AND NOT attisdropped
      UNION ALL SELECT rngsubtype FROM pg_range WHERE y.oid IN (rngtypid, rngmultitypid)) z (oid) WHERE z.oid <> 0)
  SELECT EXISTS (SELECT FROM part JOIN pg_type t USING (oid) WHERE t.typtype = 'e' OR t.oid < 16384 AND t.typname ~ '^reg')
$fn$;
REVOKE ALL ON FUNCTION scribe.hashes_by_oid(oid) FROM PUBLIC;

-- The table through which the rows of a hash partition have to be written,
-- where it depends on OIDs which partition they belong to.
CREATE FUNCTION scribe.hash_root(rel oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = pg_partition_root(rel) AND c.oid <> rel AND EXISTS (
    SELECT FROM pg_partition_ancestors(rel) a JOIN pg_partitioned_table p ON p.partrelid = a.relid
    WHERE p.partstrat = 'h' AND (
      EXISTS (SELECT FROM pg_attribute k WHERE k.attrelid = p.partrelid AND k.attnum = ANY (p.partattrs) AND scribe.hashes_by_oid(k.atttypid))
      OR p.partexprs IS NOT NULL AND EXISTS (SELECT FROM pg_opclass o WHERE o.oid = ANY (p.partclass)
        AND o.opcintype IN ('anyenum'::regtype, 'anyarray'::regtype, 'record'::regtype, 'anyrange'::regtype, 'anymultirange'::regtype))))
$fn$;
REVOKE ALL ON FUNCTION scribe.hash_root(oid) FROM PUBLIC;

-- Tables whose rows no dump has, because they belong to an extension that does
-- not mark them with pg_extension_config_dump, and since which transaction.
CREATE VIEW scribe.unsaved AS
  SELECT d.objid AS relid, e.extname AS extension, d.xmin AS since
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid JOIN pg_catalog.pg_class c ON c.oid = d.objid
  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
    AND d.deptype = 'e' AND c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid <> ALL (coalesce(e.extconfig, '{}'));
REVOKE ALL ON scribe.unsaved FROM PUBLIC;

-- How to compare values of a type that is not built in, where that takes more
-- than =: composite types need their name, extensions' operators their schema.
CREATE FUNCTION scribe.type_facts(type oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH RECURSIVE base AS (
    SELECT t.* FROM pg_type t WHERE t.oid = type
    UNION ALL SELECT t.* FROM base b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd')
  SELECT jsonb_strip_nulls(jsonb_build_object('oid', type::int8,
    'cast', CASE WHEN b.typtype = 'c' THEN format('%I.%I', n.nspname, b.typname) END,
    'equal', (SELECT format('OPERATOR(%I.%s)', on_.nspname, op.oprname)
      FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
        JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amopstrategy = 3 AND a.amoplefttype = b.oid AND a.amoprighttype = b.oid
        JOIN pg_operator op ON op.oid = a.amopopr JOIN pg_namespace on_ ON on_.oid = op.oprnamespace
      WHERE c.opcdefault AND c.opcintype = b.oid AND on_.nspname <> 'pg_catalog' LIMIT 1)))
  FROM base b JOIN pg_namespace n ON n.oid = b.typnamespace
  WHERE b.typtype <> 'd' AND (b.typtype = 'c' OR b.typtype = 'b' AND b.oid >= 16384)
$fn$;
REVOKE ALL ON FUNCTION scribe.type_facts(oid) FROM PUBLIC;

-- The domains that have a constraint which is NOT VALID, and all types that may
-- hold values of these. There are none, mostly.
CREATE FUNCTION scribe.loose_types() RETURNS SETOF oid
LANGUAGE plpgsql STABLE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN QUERY WITH RECURSIVE l (type) AS (
    SELECT contypid FROM pg_constraint WHERE conrelid = 0 AND contype = 'c' AND NOT convalidated
    UNION SELECT CASE d.classid WHEN 'pg_type'::regclass THEN d.objid ELSE c.reltype END
      FROM l JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = l.type AND d.classid IN ('pg_type'::regclass, 'pg_class'::regclass)
        LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid)
  SELECT type FROM l WHERE type <> 0;
END $fn$;
REVOKE ALL ON FUNCTION scribe.loose_types() FROM PUBLIC;

-- Facts about a table that neither its rows in the stream nor the command's
-- text tell.
CREATE FUNCTION scribe.table_facts(rels oid[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  leaves jsonb := scribe.noted('leaves');
  before text[] := string_to_array(scribe.noted('unsaved'), ' ');
BEGIN
  RETURN (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
    'oid', c.oid::int8, 'schema', n.nspname, 'table', c.relname, 'kind', c.relkind, 'persistence', c.relpersistence,
    'root', r.root,
    'was', leaves ->> c.oid::text,
    'unsaved', x.unsaved, 'freed', CASE WHEN c.oid::text = ANY (before) AND x.unsaved IS NULL THEN true END,
    'filled', CASE WHEN c.relkind = 'r' AND (r.root IS NULL) <> (leaves ->> c.oid::text IS NULL) THEN scribe.filled(c.oid) END, -- attached or detached
    'always', (SELECT jsonb_agg(attname ORDER BY attnum) FROM pg_attribute
               WHERE attrelid = CASE WHEN r.root IS NOT NULL THEN pg_partition_root(c.oid) ELSE c.oid END
                 AND attidentity = 'a' AND NOT attisdropped),
    'types', (SELECT jsonb_agg(f) FROM (SELECT DISTINCT atttypid FROM pg_attribute
                WHERE attrelid = c.oid AND atttypid >= 16384 AND NOT attisdropped) a, scribe.type_facts(a.atttypid) f WHERE f IS NOT NULL))))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
    LATERAL (SELECT CASE WHEN EXISTS (SELECT FROM scribe.unsaved u WHERE u.relid = c.oid) THEN true END AS unsaved) x,
    LATERAL (SELECT CASE WHEN c.relispartition AND c.relkind = 'r' THEN scribe.hash_root(c.oid) END AS root) r
  WHERE c.oid = ANY (rels) AND c.relkind IN ('r', 'p'));
END $fn$;
REVOKE ALL ON FUNCTION scribe.table_facts(oid[]) FROM PUBLIC;

-- The same of types of columns whose name the command may have changed, or that
-- of their schema.
CREATE FUNCTION scribe.renamed_types(tag text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN (WITH RECURSIVE command AS MATERIALIZED (SELECT classid, objid FROM pg_event_trigger_ddl_commands()),
  moved (oid) AS (
    SELECT objid FROM command WHERE classid = 'pg_type'::regclass
    UNION SELECT t.oid FROM pg_type t WHERE tag = 'ALTER SCHEMA' AND t.typnamespace IN (SELECT objid FROM command WHERE classid = 'pg_namespace'::regclass)
    UNION SELECT d.objid FROM pg_depend d WHERE tag = 'ALTER EXTENSION' AND d.refclassid = 'pg_extension'::regclass
      AND d.refobjid IN (SELECT objid FROM command WHERE classid = 'pg_extension'::regclass) AND d.classid = 'pg_type'::regclass
    UNION SELECT c.reltype FROM pg_class c WHERE tag = 'ALTER TABLE' AND c.reltype <> 0
      AND c.oid IN (SELECT objid FROM command WHERE classid = 'pg_class'::regclass)
    UNION SELECT t.oid FROM moved m JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = m.oid AND d.classid = 'pg_type'::regclass
      JOIN pg_type t ON t.oid = d.objid AND t.typtype = 'd')
  SELECT jsonb_agg(f) FROM moved m, scribe.type_facts(m.oid) f WHERE f IS NOT NULL AND EXISTS (
    SELECT FROM pg_depend d WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = m.oid AND d.classid = 'pg_class'::regclass AND d.objsubid > 0));
END $fn$;
REVOKE ALL ON FUNCTION scribe.renamed_types(text) FROM PUBLIC;

-- Bounds of the partitions that this transaction made or attached, as they
-- were computed: an expression among them could give another value later. They
-- hold no columns, so that the table's OID is of no use but to lock it.
CREATE FUNCTION scribe.new_bounds(rels oid[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog
SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET extra_float_digits = 3 SET TimeZone = 'UTC'
SET bytea_output = 'hex' SET lc_monetary = 'C' AS $fn$
BEGIN
  RETURN (SELECT jsonb_agg(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'text', pg_get_expr(c.relpartbound, 0)))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = ANY (rels) AND c.relispartition
    AND scribe.is_new(c.xmin));
END $fn$;
REVOKE ALL ON FUNCTION scribe.new_bounds(oid[]) FROM PUBLIC;

-- The constraints of a table that was detached concurrently: the server adds
-- one that says what its bounds said.
CREATE FUNCTION scribe.detached_checks(command text, path text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  rel oid;
BEGIN
  PERFORM set_config('search_path', path, true);
  rel := pg_catalog.to_regclass((pg_catalog.regexp_match(command, E'\\mpartition\\s+(("([^"]|"")*"|[^\\s".]+)(\\.("([^"]|"")*"|[^\\s".]+))?)\\s+(concurrently|finalize)', 'i'))[1]);
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
  RETURN (SELECT jsonb_agg(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'name', k.conname, 'text', pg_get_constraintdef(k.oid)))
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.conrelid = rel AND k.contype = 'c');
END $fn$;
REVOKE ALL ON FUNCTION scribe.detached_checks(text, text) FROM PUBLIC;
