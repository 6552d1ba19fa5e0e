-- What belongs to the database itself; the restored one may have another name.
-- The owner's key sorts before the privileges, which a new owner takes over.
SELECT '{{owner}}', format('DO %L', format('BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L) THEN EXECUTE format(''ALTER DATABASE %%I OWNER TO %%I'', current_database(), %L); END IF;
    EXECUTE format(''ALTER DATABASE %%I CONNECTION LIMIT %s'', current_database()); EXCEPTION WHEN insufficient_privilege THEN RAISE WARNING ''%%'', SQLERRM; END',
    pg_get_userbyid(datdba), pg_get_userbyid(datdba), datconnlimit))
FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT 'settings', format('DO %L', format('BEGIN EXECUTE format(''ALTER DATABASE %%I RESET ALL'', current_database());%s END',
  (SELECT string_agg(format(' EXECUTE format(''ALTER DATABASE %%I SET %s = %%s'', current_database(), %L);', split_part(x, '=', 1), {{setting}}), '')
    FROM pg_db_role_setting g, unnest(g.setconfig) x WHERE g.setrole = 0 AND g.setdatabase = d.oid)))
FROM pg_database d WHERE datname = current_database()
UNION ALL
SELECT '{{role}}' || r.rolname, format('DO %L', format('BEGIN EXECUTE format(''ALTER ROLE %%I IN DATABASE %%I RESET ALL'', %L, current_database());%s END', r.rolname,
  (SELECT string_agg(format(' EXECUTE format(''ALTER ROLE %%I IN DATABASE %%I SET %s = %%s'', %L, current_database(), %L);', split_part(x, '=', 1), r.rolname, {{setting}}), '')
    FROM unnest(g.setconfig) x)))
FROM pg_db_role_setting g JOIN pg_roles r ON r.oid = g.setrole WHERE g.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT 'comment', format('DO %L', format('BEGIN EXECUTE format(''COMMENT ON DATABASE %%I IS %%L'', current_database(), %L); END', shobj_description(oid, 'pg_database')))
FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT 'acl', format('DO %L', 'DECLARE g text; BEGIN FOR g IN SELECT DISTINCT CASE WHEN a.grantee = 0 THEN ''PUBLIC'' ELSE quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END
    FROM pg_catalog.pg_database d, pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault(''d'', d.datdba))) a
    WHERE d.datname = current_database() AND a.grantee <> d.datdba LOOP EXECUTE format(''REVOKE ALL ON DATABASE %I FROM %s CASCADE'', current_database(), g); END LOOP;'
  || coalesce((SELECT string_agg(format(' EXECUTE format(''GRANT %s ON DATABASE %%I TO %%s%s'', current_database(), %L);',
    a.privilege_type, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END,
    coalesce(quote_ident(g.rolname), 'PUBLIC')), '' ORDER BY a.grantee, a.privilege_type)
  FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a LEFT JOIN pg_roles g ON g.oid = a.grantee
  WHERE a.grantee <> d.datdba AND (g.oid IS NOT NULL OR a.grantee = 0)), '') || ' END')
FROM pg_database d WHERE datname = current_database()
