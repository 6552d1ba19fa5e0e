-- The sequences that fill a column: sequence, table, column, direction, limits.
SELECT s.seqrelid::pg_catalog.regclass, c.oid::pg_catalog.regclass, pg_catalog.quote_ident(a.attname),
	s.seqincrement > 0, s.seqmin, s.seqmax
FROM pg_catalog.pg_sequence s
JOIN (SELECT objid AS sequence, refobjid AS relid, refobjsubid AS attnum FROM pg_catalog.pg_depend
		WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
		AND refobjsubid > 0 AND deptype IN ('a', 'i')
	UNION SELECT d.refobjid, f.adrelid, f.adnum FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid
		WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
		AND pg_catalog.pg_get_expr(f.adbin, f.adrelid) ~ '^nextval\(''[^()]*''::regclass\)$') d ON d.sequence = s.seqrelid
JOIN pg_catalog.pg_class c ON c.oid = d.relid
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.attnum
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
WHERE NOT s.seqcycle AND c.relkind IN ('r', 'p')
AND COALESCE(b.oid, t.oid) IN ('int2'::pg_catalog.regtype, 'int4'::pg_catalog.regtype, 'int8'::pg_catalog.regtype,
	'numeric'::pg_catalog.regtype)
ORDER BY 1
