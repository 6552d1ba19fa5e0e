-- Security labels of the database, of roles and tablespaces.
SELECT provider || chr(31) || object, {{forgiving}}format('EXECUTE format(%L, current_database())', format('SECURITY LABEL FOR %I ON %s IS %L', provider, object, replace(label, '%', '%%')))))
FROM (SELECT provider, label, CASE l.classoid WHEN 'pg_authid'::regclass THEN 'ROLE ' || quote_ident(replace(pg_get_userbyid(objoid), '%', '%%'))
    WHEN 'pg_tablespace'::regclass THEN 'TABLESPACE ' || (SELECT quote_ident(replace(spcname, '%', '%%')) FROM pg_tablespace WHERE oid = objoid)
    WHEN 'pg_database'::regclass THEN 'DATABASE %I' END AS object
  FROM pg_shseclabel l WHERE l.classoid <> 'pg_database'::regclass OR l.objoid = (SELECT oid FROM pg_database WHERE datname = current_database())) x
WHERE object IS NOT NULL
