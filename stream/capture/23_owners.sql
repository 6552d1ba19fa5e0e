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

-- Who owns an object, if it was noted after the object was made: REASSIGN OWNED
-- fires no event, and who owns an object decides who may change it and what
-- GRANT and REVOKE do. pg_shdepend has no owner that PostgreSQL brings along:
-- then an object counts that changed since, for GRANT and REVOKE alone.
CREATE FUNCTION scribe.owner_fact(class oid, object oid, owner oid, changed xid, grants boolean) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  noted record;
  made record;
  what record;
BEGIN
  IF object::int8 < 16384 AND class <> 'pg_namespace'::regclass THEN -- no command of ours changes the owner of what PostgreSQL brings along
    RETURN NULL;
  END IF;
  SELECT xmin, cmin INTO noted FROM pg_shdepend WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = class AND objid = object AND objsubid = 0 AND deptype = 'o';
  IF NOT FOUND AND NOT (grants AND owner::int8 < 16384) THEN
    RETURN NULL;
  END IF;
  SELECT xmin, cmin INTO made FROM pg_depend WHERE classid = class AND objid = object AND objsubid = 0
    AND refclassid = 'pg_namespace'::regclass AND deptype = 'n' LIMIT 1;
  IF noted.xmin = made.xmin AND noted.cmin = made.cmin OR noted.xmin IS NULL AND changed = made.xmin THEN
    RETURN NULL;
  END IF;
  what := pg_identify_object(class, object, 0);
  IF what.schema IN ('scribe', 'pg_temp') OR what.identity = 'scribe'
      OR class = 'pg_publication'::regclass AND EXISTS (SELECT FROM scribe.config WHERE key LIKE 'publication %' AND value = object::text)
      OR EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = object AND objsubid = 0
        AND (deptype = 'e' OR deptype = 'a' AND what.type = 'sequence'
          OR deptype = 'i' AND class <> 'pg_proc'::regclass AND NOT EXISTS (SELECT FROM pg_type WHERE class = 'pg_type'::regclass AND oid = object AND typtype = 'm'))) THEN
    RETURN NULL;
  END IF;
  RETURN jsonb_build_object('class', class::int8, 'oid', object::int8, 'type', what.type, 'identity', what.identity, 'owner', pg_get_userbyid(owner));
END $fn$;
REVOKE ALL ON FUNCTION scribe.owner_fact(oid, oid, oid, xid, boolean) FROM PUBLIC;

-- The owners of the objects that a command may name, and of what inherits from
-- these. Only an index by name is of help: that of all OIDs of users is not. What
-- owner_fact returns is filtered by the aggregates, lest it is called twice a row.
CREATE FUNCTION scribe.owners(tag text, body text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  names name[] := scribe.names(body);
  grants boolean := tag IN ('GRANT', 'REVOKE');
  rels oid[];
  facts jsonb;
  more jsonb;
BEGIN
  rels := ARRAY(SELECT coalesce((SELECT indrelid FROM pg_index i WHERE i.indexrelid = c.oid),
      (SELECT refobjid FROM pg_depend d WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
        AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass LIMIT 1), c.oid)
    FROM pg_class c WHERE c.oid::int8 >= 16384 AND c.relname = ANY (names));
  IF rels <> '{}' THEN
    rels := ARRAY(SELECT scribe.family(rels));
    facts := (SELECT jsonb_agg(f) FILTER (WHERE f IS NOT NULL) FROM (SELECT scribe.owner_fact('pg_class'::regclass, oid, relowner, xmin, grants) AS f FROM pg_class
      WHERE oid = ANY (rels) AND relpersistence <> 't' AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')) x);
  END IF;
  more := (SELECT jsonb_agg(f) FILTER (WHERE f IS NOT NULL) FROM (
      SELECT scribe.owner_fact('pg_proc'::regclass, oid, proowner, xmin, grants) AS f FROM pg_proc WHERE oid::int8 >= 16384 AND proname = ANY (names)
      UNION ALL SELECT scribe.owner_fact('pg_type'::regclass, oid, typowner, xmin, grants) FROM pg_type t WHERE oid::int8 >= 16384 AND typname = ANY (names)
        AND (typrelid = 0 OR (SELECT relkind FROM pg_class WHERE oid = t.typrelid) = 'c') -- others are their table's
      UNION ALL SELECT scribe.owner_fact('pg_namespace'::regclass, oid, nspowner, xmin, grants) FROM pg_namespace WHERE oid::int8 >= 2200 AND nspname = ANY (names)) x);
  facts := coalesce(facts || more, facts, more);
  IF grants AND body ~* E'\\mall\\s+\\w+\\s+in\\s+schema\\M' THEN
    more := (SELECT jsonb_agg(f) FILTER (WHERE f IS NOT NULL) FROM (
        SELECT scribe.owner_fact('pg_class'::regclass, c.oid, relowner, c.xmin, true) AS f FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
          WHERE nspname = ANY (names) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL SELECT scribe.owner_fact('pg_proc'::regclass, p.oid, proowner, p.xmin, true) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
          WHERE nspname = ANY (names) AND nspname <> 'pg_catalog') x);
    facts := coalesce(facts || more, facts, more);
  END IF;
  IF tag ~ '(OPERATOR|COLLATION|CONVERSION|TEXT SEARCH|STATISTICS|FOREIGN|SERVER|MAPPING|PUBLICATION|LANGUAGE|COMMENT)' OR grants AND body ~* E'\\m(foreign|language)\\M' THEN
    more := (SELECT jsonb_agg(f) FILTER (WHERE f IS NOT NULL) FROM (
        SELECT scribe.owner_fact(classid, objid, refobjid, xmin, grants) AS f FROM pg_shdepend
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND deptype = 'o'
          AND classid IN ('pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_collation'::regclass, 'pg_conversion'::regclass,
            'pg_ts_dict'::regclass, 'pg_ts_config'::regclass, 'pg_statistic_ext'::regclass, 'pg_foreign_data_wrapper'::regclass,
            'pg_foreign_server'::regclass, 'pg_publication'::regclass, 'pg_language'::regclass)) x);
    facts := coalesce(facts || more, facts, more);
  END IF;
  RETURN facts;
END $fn$;
REVOKE ALL ON FUNCTION scribe.owners(text, text) FROM PUBLIC;
