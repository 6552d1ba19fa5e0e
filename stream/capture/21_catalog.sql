-- Questions about the system catalogs that several triggers ask.

-- The relations and all that inherit from them or are their partitions: what
-- a command does to a parent it does to them, without naming them.
CREATE FUNCTION scribe.family(rels oid[]) RETURNS SETOF oid
LANGUAGE plpgsql STABLE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN QUERY WITH RECURSIVE f AS (
    SELECT unnest(rels) AS relid UNION SELECT i.inhrelid FROM f JOIN pg_inherits i ON i.inhparent = f.relid)
  SELECT relid FROM f;
END $fn$;
REVOKE ALL ON FUNCTION scribe.family(oid[]) FROM PUBLIC;

-- What a role is a member of, directly or not: its commands may rest on that.
CREATE FUNCTION scribe.memberships(name text) RETURNS TABLE (roleid oid, member oid, options jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
#variable_conflict use_column
BEGIN
  RETURN QUERY WITH RECURSIVE m AS (
    SELECT a.roleid, a.member, to_jsonb(a) AS a FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.member WHERE r.rolname = name AND NOT r.rolsuper
    UNION SELECT a.roleid, a.member, to_jsonb(a) FROM m JOIN pg_auth_members a ON a.member = m.roleid)
  SELECT m.roleid, m.member, jsonb_build_object('inherit', m.a -> 'inherit_option', 'set', m.a -> 'set_option') FROM m; -- from version 16 on
END $fn$;
REVOKE ALL ON FUNCTION scribe.memberships(text) FROM PUBLIC;

-- Whether this transaction wrote a row, or a subtransaction of it: its number
-- is not below ours, and it is in progress, which nobody else sees a row of.
CREATE FUNCTION scribe.is_new(row_xmin xid) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $fn$
DECLARE
  mine int8 := pg_current_xact_id_if_assigned()::text;
  ahead int8 := (row_xmin::text::int8 - mine % 4294967296 + 4294967296) % 4294967296;
BEGIN
  RETURN ahead = 0 OR ahead < 2147483648 AND pg_xact_status((mine + ahead)::text::xid8) = 'in progress';
END $fn$;
REVOKE ALL ON FUNCTION scribe.is_new(xid) FROM PUBLIC;

-- The names that a text may hold, as the catalogs have them. Quotes do not tell
-- where one begins, because PG_CONTEXT quotes statements, too: whatever stands
-- between two is taken for one.
CREATE FUNCTION scribe.names(body text) RETURNS name[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $fn$
DECLARE
  words text[] := string_to_array(translate(lower(body), E'(),.;:=<>+-*/\'"\n\t\r[]|\\!', repeat(' ', 30)), ' ');
BEGIN
  IF position('"' IN body) > 0 THEN
    words := words || string_to_array(body, '"') || string_to_array(replace(replace(translate(body, chr(1), ' '), '""', chr(1)), '"', chr(2)), chr(2));
  END IF;
  RETURN ARRAY(SELECT DISTINCT replace(w, chr(1), '"')::name FROM unnest(words) w WHERE w <> '' AND octet_length(w) < 64);
END $fn$;
REVOKE ALL ON FUNCTION scribe.names(text) FROM PUBLIC;

-- Whether a table may hold rows: one that is locked by another session may.
CREATE FUNCTION scribe.filled(rel oid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '1ms' AS $fn$
BEGIN
  RETURN pg_relation_size(rel) > 0;
EXCEPTION WHEN lock_not_available THEN
  RETURN true;
END $fn$;
REVOKE ALL ON FUNCTION scribe.filled(oid) FROM PUBLIC;
