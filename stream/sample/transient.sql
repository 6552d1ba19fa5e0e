-- Those objects, by their keys, that depend on a temporary one.
WITH RECURSIVE up (key, class, oid) AS (
  SELECT k, split_part(k, ' ', 1)::oid, split_part(k, ' ', 2)::oid FROM unnest($1::text[]) k
  UNION SELECT up.key, x.class, x.oid FROM up, LATERAL (
    SELECT d.refclassid AS class, d.refobjid AS oid FROM pg_depend d WHERE d.classid = up.class AND d.objid = up.oid AND d.objsubid = 0
    UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r WHERE up.class = 'pg_class'::regclass AND r.ev_class = up.oid AND r.rulename = '_RETURN') x)
SELECT DISTINCT up.key FROM up JOIN pg_namespace n ON up.class = 'pg_namespace'::regclass AND n.oid = up.oid WHERE n.nspname ~ '^pg_temp_'
