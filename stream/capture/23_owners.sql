-- Who owns what a command may name.

-- Who owns an object. NULL: it is gone, or none of its kind has an owner.
CREATE FUNCTION scribe.owner_of(class oid, object oid) RETURNS oid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  "column" name := (SELECT attname FROM pg_attribute WHERE attrelid = class AND attname ~ 'owner$' AND atttypid = 'oid'::regtype);
  owner oid;
BEGIN
  IF "column" IS NOT NULL THEN
    EXECUTE format('SELECT %I FROM %s WHERE oid = $1', "column", class::regclass) INTO owner USING object;
  END IF;
  RETURN owner;
END $fn$;
REVOKE ALL ON FUNCTION scribe.owner_of(oid, oid) FROM PUBLIC;

-- Who owns each object that a command may name, and what inherits from these, if the
-- owner was noted after the object was made: REASSIGN OWNED fires no event, and who
-- owns an object decides who may change it and what GRANT and REVOKE do. pg_shdepend
-- has no owner that PostgreSQL brings along: then an object counts that changed
-- since, for GRANT and REVOKE alone. What PostgreSQL brings along keeps its owner, but for schemas.
--
-- It is one query, as each has its price in every command, and describes only the
-- objects that are left in the end. Only an index by name is of help (that of all
-- OIDs of users is not). It is used in small databases too: the plan is kept, and else
-- compares each row of the catalogs with each name.
CREATE FUNCTION scribe.owners(tag text, body text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET enable_seqscan = off SET jit = off AS $fn$
DECLARE
  names name[] := scribe.names(body);
  grants boolean := tag IN ('GRANT', 'REVOKE');
  schemas name[] := CASE WHEN grants AND body ~* E'\\mall\\s+\\w+\\s+in\\s+schema\\M' THEN names END; -- all of these
  others boolean := tag ~ '(OPERATOR|COLLATION|CONVERSION|TEXT SEARCH|STATISTICS|FOREIGN|SERVER|MAPPING|PUBLICATION|LANGUAGE|COMMENT)'
    OR grants AND body ~* E'\\m(foreign|language)\\M'; -- kinds that have no index by name alone
BEGIN
  RETURN (WITH RECURSIVE db AS (SELECT oid FROM pg_database WHERE datname = current_database()),
  family (relid) AS (
    SELECT coalesce((SELECT indrelid FROM pg_index i WHERE i.indexrelid = c.oid),
      (SELECT refobjid FROM pg_depend d WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
        AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass LIMIT 1), c.oid)
    FROM pg_class c WHERE c.oid::int8 >= 16384 AND c.relname = ANY (names)
    UNION SELECT i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.relid),
  object (class, oid, owner, changed) AS (
    SELECT 'pg_class'::regclass::oid, c.oid, relowner, c.xmin FROM family JOIN pg_class c ON c.oid = relid
      WHERE relpersistence <> 't' AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL SELECT 'pg_proc'::regclass, oid, proowner, xmin FROM pg_proc WHERE proname = ANY (names)
    UNION ALL SELECT 'pg_type'::regclass, oid, typowner, xmin FROM pg_type t WHERE typname = ANY (names)
      AND (typrelid = 0 OR (SELECT relkind FROM pg_class WHERE oid = t.typrelid) = 'c') -- others are their table's
    UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner, xmin FROM pg_namespace WHERE oid::int8 >= 2200 AND nspname = ANY (names)
    UNION ALL SELECT 'pg_class'::regclass, c.oid, relowner, c.xmin FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
      WHERE schemas IS NOT NULL AND nspname = ANY (schemas) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL SELECT 'pg_proc'::regclass, p.oid, proowner, p.xmin FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
      WHERE schemas IS NOT NULL AND nspname = ANY (schemas) AND nspname <> 'pg_catalog'
    UNION ALL SELECT classid, objid, refobjid, xmin FROM pg_shdepend WHERE others AND dbid = (SELECT oid FROM db) AND deptype = 'o'
      AND classid IN ('pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_collation'::regclass, 'pg_conversion'::regclass,
        'pg_ts_dict'::regclass, 'pg_ts_config'::regclass, 'pg_statistic_ext'::regclass, 'pg_foreign_data_wrapper'::regclass,
        'pg_foreign_server'::regclass, 'pg_publication'::regclass, 'pg_language'::regclass)),
  late AS MATERIALIZED (
    SELECT o.* FROM object o
      LEFT JOIN LATERAL (SELECT xmin, cmin FROM pg_shdepend WHERE dbid = (SELECT oid FROM db) AND classid = o.class AND objid = o.oid AND objsubid = 0
        AND deptype = 'o' LIMIT 1) noted ON true
      LEFT JOIN LATERAL (SELECT xmin, cmin FROM pg_depend WHERE classid = o.class AND objid = o.oid AND objsubid = 0
        AND refclassid = 'pg_namespace'::regclass AND deptype = 'n' LIMIT 1) made ON true
    WHERE (o.oid::int8 >= 16384 OR o.class = 'pg_namespace'::regclass)
      AND (noted.xmin IS NOT NULL OR grants AND o.owner::int8 < 16384)
      AND (noted.xmin = made.xmin AND noted.cmin = made.cmin OR noted.xmin IS NULL AND o.changed = made.xmin) IS NOT TRUE)
  SELECT jsonb_agg(jsonb_build_object('class', o.class::int8, 'oid', o.oid::int8, 'type', what.type, 'identity', what.identity,
    'owner', pg_get_userbyid(o.owner)))
  FROM late o, pg_identify_object(o.class, o.oid, 0) what
  WHERE (what.schema IN ('scribe', 'pg_temp') OR what.identity = 'scribe'
    OR o.class = 'pg_publication'::regclass AND EXISTS (SELECT FROM scribe.config WHERE key LIKE 'publication %' AND value = o.oid::text)
    OR EXISTS (SELECT FROM pg_depend WHERE classid = o.class AND objid = o.oid AND objsubid = 0
      AND (deptype = 'e' OR deptype = 'a' AND what.type = 'sequence'
        OR deptype = 'i' AND o.class <> 'pg_proc'::regclass AND NOT EXISTS (
          SELECT FROM pg_type t WHERE o.class = 'pg_type'::regclass AND t.oid = o.oid AND typtype = 'm')))
  ) IS NOT TRUE);
END $fn$;
REVOKE ALL ON FUNCTION scribe.owners(text, text) FROM PUBLIC;
