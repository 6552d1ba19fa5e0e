DECLARE was CONSTANT name := {{was}}; now CONSTANT name := {{now}}; old oid; here oid; o record; i record; steps text[]; step text; BEGIN
SELECT oid INTO old FROM pg_roles WHERE rolname = was;
SELECT oid INTO here FROM pg_database WHERE datname = current_database();
IF old IS NULL THEN RETURN; END IF;
IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = now) THEN
  IF current_setting('{{keep}}', true) IS DISTINCT FROM 'on' THEN
    BEGIN EXECUTE format('ALTER ROLE %I RENAME TO %I', was, now); RETURN; EXCEPTION WHEN feature_not_supported THEN NULL; /* the session's own */ END;
  END IF;
  EXECUTE format('CREATE ROLE %I', now);
END IF;
FOR o IN SELECT a.what FROM pg_shdepend s, LATERAL {{alterable}} a WHERE s.deptype = 'o' AND s.objsubid = 0 AND s.dbid = here AND s.refobjid = old
  AND s.classid NOT IN ('pg_extension'::regclass, 'pg_user_mapping'::regclass, 'pg_default_acl'::regclass)
  AND NOT (s.classid = 'pg_class'::regclass AND s.objid IN (SELECT oid FROM pg_class WHERE relkind NOT IN ('r', 'p', 'v', 'm', 'f', 'S') OR relpersistence = 't'))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = s.classid AND d.objid = s.objid AND d.objsubid = 0
    AND (d.deptype = 'i' AND NOT (s.classid = 'pg_type'::regclass AND s.objid IN (SELECT oid FROM pg_type WHERE typtype = 'm')) OR d.deptype = 'a' AND s.classid = 'pg_class'::regclass AND s.objid IN (SELECT oid FROM pg_class WHERE relkind = 'S')))
LOOP BEGIN EXECUTE format('ALTER %s OWNER TO %I', o.what, now); EXCEPTION WHEN OTHERS THEN RAISE WARNING 'role % is % now: %', was, now, SQLERRM; END;
END LOOP;
SELECT array_agg(revokes ORDER BY class = 'pg_namespace'::regclass) || array_agg(grants ORDER BY class <> 'pg_namespace'::regclass) INTO steps FROM (SELECT class,
    string_agg(format('%s REVOKE %s%s ON %s FROM %s CASCADE; SET LOCAL ROLE NONE;', CASE WHEN grantor <> owner THEN 'SET LOCAL ROLE ' || quote_ident(pg_get_userbyid(grantor)) || ';' END, privilege, columns, what, coalesce(quote_ident(pg_get_userbyid(nullif(grantee, 0))), 'PUBLIC')),
      ' ' ORDER BY grantor = owner, sub DESC, n DESC) AS revokes,
    string_agg(format('%s GRANT %s%s ON %s TO %s%s; SET LOCAL ROLE NONE;', CASE WHEN grantor <> owner THEN 'SET LOCAL ROLE ' || quote_ident(CASE grantor WHEN old THEN now ELSE pg_get_userbyid(grantor) END) || ';' END, privilege, columns, what,
      CASE grantee WHEN old THEN quote_ident(now) ELSE coalesce(quote_ident(pg_get_userbyid(nullif(grantee, 0))), 'PUBLIC') END, CASE WHEN grantable THEN ' WITH GRANT OPTION' END),
      ' ' ORDER BY grantor <> owner, sub, n) AS grants
  FROM (SELECT c.*, CASE class WHEN 'pg_class'::regclass THEN CASE (SELECT relkind FROM pg_class WHERE oid = object) WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END WHEN 'pg_proc'::regclass THEN 'ROUTINE '
      WHEN 'pg_type'::regclass THEN 'TYPE ' WHEN 'pg_foreign_server'::regclass THEN 'FOREIGN SERVER ' ELSE replace(upper(k.type), '-', ' ') || ' ' END || k.identity AS what
    FROM (SELECT 'pg_class'::regclass::oid AS class, oid AS object, relacl AS acl, relowner AS owner FROM pg_class UNION ALL SELECT 'pg_proc'::regclass, oid, proacl, proowner FROM pg_proc
      UNION ALL SELECT 'pg_namespace'::regclass, oid, nspacl, nspowner FROM pg_namespace UNION ALL SELECT 'pg_type'::regclass, oid, typacl, typowner FROM pg_type
      UNION ALL SELECT 'pg_language'::regclass, oid, lanacl, lanowner FROM pg_language UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwacl, fdwowner FROM pg_foreign_data_wrapper
      UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvacl, srvowner FROM pg_foreign_server UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomacl, lomowner FROM pg_largeobject_metadata) c, pg_identify_object(class, object, 0) k
    WHERE (class, object) IN (SELECT classid, objid FROM pg_shdepend WHERE deptype = 'a' AND dbid = here AND refobjid = old)) x, LATERAL (SELECT 0 AS sub, '' AS columns, a.* FROM aclexplode(acl) WITH ORDINALITY a(grantor, grantee, privilege, grantable, n)
    UNION ALL SELECT attnum, format(' (%I)', attname), a.* FROM pg_attribute, aclexplode(attacl) WITH ORDINALITY a WHERE class = 'pg_class'::regclass AND attrelid = object AND attacl IS NOT NULL) i
  WHERE grantee <> owner GROUP BY class, object) y;
FOREACH step IN ARRAY coalesce(steps, '{}') LOOP BEGIN EXECUTE step; EXCEPTION WHEN OTHERS THEN RAISE WARNING 'role % is % now: %', was, now, SQLERRM; END;
END LOOP;
FOR o IN SELECT defaclrole AS owner, defaclacl AS acl, defaclnamespace = 0 AS whole, 'ALTER DEFAULT PRIVILEGES FOR ROLE %I' || CASE WHEN defaclnamespace = 0 THEN '' ELSE format(' IN SCHEMA %I', replace(nspname, '%', '%%')) END || ' ' AS head,
    ' ON ' || CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS what
  FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace WHERE defaclrole = old OR EXISTS (SELECT FROM aclexplode(defaclacl) WHERE grantee = old)
LOOP BEGIN IF o.owner = old AND o.whole THEN EXECUTE format(o.head || 'REVOKE ALL%s FROM PUBLIC, %I', now, o.what, now); END IF;
FOR i IN SELECT a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' WHEN old THEN quote_ident(now) ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS receiver,
    a.is_grantable FROM aclexplode(o.acl) a WHERE old IN (o.owner, a.grantee) LOOP
  EXECUTE format(o.head || 'GRANT %s%s TO %s%s', CASE o.owner WHEN old THEN now ELSE pg_get_userbyid(o.owner) END, i.privilege_type, o.what, i.receiver, CASE WHEN i.is_grantable THEN ' WITH GRANT OPTION' END);
END LOOP;
FOR i IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS receiver FROM aclexplode(o.acl) WHERE old IN (o.owner, grantee) LOOP
  EXECUTE format(o.head || 'REVOKE ALL%s FROM %s', pg_get_userbyid(o.owner), o.what, i.receiver);
END LOOP;
IF o.owner = old AND o.whole THEN
  EXECUTE format(o.head || 'GRANT ALL%s TO %I%s', was, o.what, was, CASE WHEN o.what IN (' ON FUNCTIONS', ' ON TYPES') THEN ', PUBLIC' END);
END IF; EXCEPTION WHEN OTHERS THEN RAISE WARNING 'role % is % now: %', was, now, SQLERRM; END;
END LOOP;
FOR o IN SELECT polname, polrelid::regclass AS rel, (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' WHEN old THEN quote_ident(now) ELSE quote_ident(pg_get_userbyid(r)) END, ', ') FROM unnest(polroles) r) AS roles
  FROM pg_policy WHERE old = ANY (polroles)
LOOP BEGIN EXECUTE format('ALTER POLICY %I ON %s TO %s', o.polname, o.rel, o.roles); EXCEPTION WHEN OTHERS THEN RAISE WARNING 'role % is % now: %', was, now, SQLERRM; END;
END LOOP;
FOR o IN SELECT srvname, (SELECT ' OPTIONS (' || string_agg(format('%I %L', split_part(x, '=', 1), substr(x, strpos(x, '=') + 1)), ', ') || ')' FROM unnest(umoptions) x) AS options
  FROM pg_user_mapping m JOIN pg_foreign_server s ON s.oid = m.umserver WHERE umuser = old
LOOP BEGIN EXECUTE format('CREATE USER MAPPING IF NOT EXISTS FOR %I SERVER %I%s', now, o.srvname, o.options); EXECUTE format('DROP USER MAPPING FOR %I SERVER %I', was, o.srvname); EXCEPTION WHEN OTHERS THEN RAISE WARNING 'role % is % now: %', was, now, SQLERRM; END;
END LOOP;
{{drop}}END
