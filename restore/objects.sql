-- Objects that make a database not empty: the first three, and how many there are.
WITH mine AS (
	SELECT oid, nspname FROM pg_catalog.pg_namespace
	WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'scribe_restore')
), standard AS (
	SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e
		ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
	WHERE d.deptype = 'e' AND e.extname = 'plpgsql'
), found AS (
	SELECT 1 AS rank, 'schema ' || pg_catalog.quote_ident(nspname) AS what FROM mine WHERE nspname <> 'public'
	UNION ALL
	SELECT 2, CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'S' THEN 'sequence '
			WHEN 'f' THEN 'foreign table ' WHEN 'c' THEN 'type ' ELSE 'table ' END
		|| pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
	FROM pg_catalog.pg_class c JOIN mine n ON n.oid = c.relnamespace
	WHERE c.relkind NOT IN ('i', 'I', 't')
	UNION ALL
	SELECT 3, 'function ' || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)
	FROM pg_catalog.pg_proc p JOIN mine n ON n.oid = p.pronamespace
	WHERE NOT EXISTS (SELECT FROM standard s WHERE s.objid = p.oid
		AND s.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
	UNION ALL
	SELECT 4, 'type ' || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname)
	FROM pg_catalog.pg_type t JOIN mine n ON n.oid = t.typnamespace
	WHERE t.typtype IN ('d', 'e', 'r')
	UNION ALL
	SELECT 5, 'large object ' || oid::pg_catalog.text FROM pg_catalog.pg_largeobject_metadata
)
SELECT what, pg_catalog.count(*) OVER () FROM found ORDER BY rank, what LIMIT 3
