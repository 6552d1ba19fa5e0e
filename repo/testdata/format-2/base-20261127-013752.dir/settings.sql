
-- Settings, comment and privileges of the database

DO 'BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ''postgres'') THEN EXECUTE format(''ALTER DATABASE %I OWNER TO postgres'', current_database()); END IF;
	      EXECUTE format(''ALTER DATABASE %I CONNECTION LIMIT -1'', current_database()); EXCEPTION WHEN insufficient_privilege THEN RAISE WARNING ''%'', SQLERRM; END';
DO 'DECLARE g text; BEGIN FOR g IN SELECT DISTINCT CASE WHEN a.grantee = 0 THEN ''PUBLIC'' ELSE quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END
	      FROM pg_catalog.pg_database d, pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault(''d'', d.datdba))) a
	      WHERE d.datname = current_database() AND a.grantee <> d.datdba LOOP EXECUTE format(''REVOKE ALL ON DATABASE %I FROM %s CASCADE'', current_database(), g); END LOOP; EXECUTE format(''GRANT CONNECT ON DATABASE %I TO %s'', current_database(), ''PUBLIC''); EXECUTE format(''GRANT TEMPORARY ON DATABASE %I TO %s'', current_database(), ''PUBLIC''); END';
DO 'BEGIN EXECUTE format(''COMMENT ON DATABASE %I IS %L'', current_database(), NULL); END';
DO 'BEGIN EXECUTE format(''ALTER DATABASE %I RESET ALL'', current_database()); END';
