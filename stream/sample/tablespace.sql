-- Owner, options, privileges and comment of tablespaces.
SELECT spcname, format('DO %L', format('DECLARE g record; BEGIN IF NOT EXISTS (SELECT FROM pg_tablespace WHERE spcname = %L) THEN RAISE WARNING ''the target has no tablespace %%, which is in %% on the source'', %L, %L; RETURN; END IF; ALTER TABLESPACE %I OWNER TO %I;%s COMMENT ON TABLESPACE %I IS %L; %s EXCEPTION WHEN OTHERS THEN RAISE WARNING ''%%'', SQLERRM; END',
    spcname, spcname, pg_tablespace_location(oid), spcname, pg_get_userbyid(spcowner),
    ' ALTER TABLESPACE ' || quote_ident(spcname) || ' SET (' || array_to_string(spcoptions, ', ') || ');', spcname, shobj_description(oid, 'pg_tablespace'),
    scribe.acl_sql('TABLESPACE ' || quote_ident(spcname), coalesce(spcacl, acldefault('t', spcowner)), spcowner,
      format('(SELECT coalesce(spcacl, acldefault(''t'', spcowner)) FROM pg_tablespace WHERE spcname = %L)', spcname))))
FROM pg_tablespace WHERE oid >= 16384
