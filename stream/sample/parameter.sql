-- Privileges on settings.
SELECT parname, format('DO %L', format('DECLARE g record; BEGIN %s EXCEPTION WHEN OTHERS THEN RAISE WARNING ''%%'', SQLERRM; END',
  scribe.acl_sql('PARAMETER ' || parname, paracl, 10, format('(SELECT coalesce((SELECT paracl FROM pg_parameter_acl WHERE parname = %L), acldefault(''p'', 10)))', parname))))
FROM pg_parameter_acl
