-- Roles with their attributes, their settings and, where they may be read, their passwords.
SELECT r.rolname, format('DO %L', format('BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L) THEN CREATE ROLE %I; END IF; ALTER ROLE %I %s%s;%s ALTER ROLE %I RESET ALL;%s COMMENT ON ROLE %I IS %L; END',
  r.rolname, r.rolname, r.rolname, concat_ws(' ',
    CASE WHEN r.rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
    CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
    CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN r.rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
    CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, 'CONNECTION LIMIT ' || r.rolconnlimit::text,
    'VALID UNTIL ' || quote_literal(r.rolvaliduntil::text)),
  ' PASSWORD ' || {{password}},
  CASE WHEN r.rolvaliduntil IS NULL THEN format(
    ' IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L AND rolvaliduntil IS NOT NULL) THEN ALTER ROLE %I VALID UNTIL ''infinity''; END IF;',
    r.rolname, r.rolname) END,
  r.rolname, (SELECT string_agg(format(' ALTER ROLE %I SET %s = %s;', r.rolname, split_part(x, '=', 1), {{setting}}), '')
    FROM pg_db_role_setting g, unnest(g.setconfig) x WHERE g.setrole = r.oid AND g.setdatabase = 0),
  r.rolname, shobj_description(r.oid, 'pg_authid')))
FROM {{from}} r WHERE r.oid >= 16384
