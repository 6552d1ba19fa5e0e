-- Objects that vanish with the session.

-- The objects that vanish without an event when the session ends: the temporary
-- ones, and permanent ones that depend on them. It costs nothing in a session
-- that has no temporary schema.
CREATE FUNCTION scribe.transient() RETURNS TABLE (class oid, object oid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH RECURSIVE gone (class, object) AS (
    SELECT 'pg_namespace'::regclass::oid, pg_my_temp_schema() WHERE pg_my_temp_schema() <> 0
    UNION
    SELECT x.class, x.object FROM gone g, LATERAL (
      SELECT d.classid AS class, d.objid AS object FROM pg_depend d
        WHERE d.refclassid = g.class AND d.refobjid = g.object AND d.objsubid = 0 AND d.deptype IN ('n', 'a', 'i')
      UNION ALL -- a view goes with its rule
      SELECT 'pg_class'::regclass, r.ev_class FROM pg_rewrite r
        WHERE g.class = 'pg_rewrite'::regclass AND r.oid = g.object AND r.rulename = '_RETURN') x)
  SELECT class, object FROM gone
$fn$;
REVOKE ALL ON FUNCTION scribe.transient() FROM PUBLIC;

-- The names that mean such objects: GRANT and REVOKE do not tell the event
-- triggers what they are about. bare: also without a schema; alone: no other
-- routine has that name.
CREATE FUNCTION scribe.transient_names(path text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  names jsonb;
BEGIN
  PERFORM set_config('search_path', path, true);
  WITH gone AS MATERIALIZED (SELECT class, object FROM scribe.transient())
  SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('kind', kind, 'schema', nspname, 'name', name, 'bare', bare, 'alone', alone)) INTO names
  FROM (SELECT 'relation' AS kind, relnamespace AS schema, relname AS name, pg_catalog.pg_table_is_visible(oid) AS bare, true AS alone
        FROM gone JOIN pg_catalog.pg_class ON oid = object WHERE class = 'pg_catalog.pg_class'::pg_catalog.regclass AND relkind <> 'i'
      UNION ALL
        SELECT 'type', typnamespace, typname, pg_catalog.pg_type_is_visible(oid), true
        FROM gone JOIN pg_catalog.pg_type ON oid = object WHERE class = 'pg_catalog.pg_type'::pg_catalog.regclass
      UNION ALL
        SELECT 'routine', p.pronamespace, p.proname, pg_catalog.pg_function_is_visible(p.oid),
          NOT EXISTS (SELECT FROM pg_catalog.pg_proc o WHERE o.proname = p.proname AND o.oid <> p.oid
            AND (p.pronamespace = o.pronamespace OR pg_catalog.pg_function_is_visible(o.oid)))
        FROM gone JOIN pg_catalog.pg_proc p ON p.oid = object WHERE class = 'pg_catalog.pg_proc'::pg_catalog.regclass) x
    JOIN pg_catalog.pg_namespace n ON n.oid = x.schema;
  RETURN names;
END $fn$;
REVOKE ALL ON FUNCTION scribe.transient_names(text) FROM PUBLIC;

-- What this transaction gave permanent tables that will vanish with the
-- session: a column, or else no more than a default or a constraint.
CREATE FUNCTION scribe.transient_parts() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH gone AS MATERIALIZED (SELECT class, object FROM scribe.transient()),
  part AS (
    SELECT 'column' AS what, d.objid AS rel FROM pg_depend d JOIN gone g ON d.refclassid = g.class AND d.refobjid = g.object
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid > 0 AND scribe.is_new(d.xmin)
    UNION ALL
    SELECT 'expression', adrelid FROM pg_attrdef d JOIN gone g ON g.class = 'pg_attrdef'::regclass AND g.object = d.oid
    WHERE scribe.is_new(d.xmin)
    UNION ALL
    SELECT 'expression', conrelid FROM pg_constraint c JOIN gone g ON g.class = 'pg_constraint'::regclass AND g.object = c.oid
    WHERE scribe.is_new(c.xmin))
  SELECT min(what) FROM part WHERE ('pg_class'::regclass, rel) NOT IN (SELECT class, object FROM gone)
$fn$;
REVOKE ALL ON FUNCTION scribe.transient_parts() FROM PUBLIC;
