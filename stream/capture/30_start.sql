-- The start of a command: its text, and what decides how it reads.

-- Role and search_path outlive the transaction, because a command with
-- CONCURRENTLY ends in another than it began in. This function runs as the
-- user and under the user's search_path: nothing in it may be looked up there.
-- A user who may not call set_config leaves a role that scribe.command refuses.
CREATE FUNCTION scribe.on_start_user() RETURNS event_trigger
LANGUAGE plpgsql AS $fn$
BEGIN
  PERFORM pg_catalog.set_config('scribe.role', current_user, false),
          pg_catalog.set_config('scribe.path', pg_catalog.current_setting('search_path'), false);
EXCEPTION WHEN OTHERS THEN
  SET scribe.role = '';
END $fn$;

-- Commands that run in several transactions, and must come first in theirs: a
-- message at their start would take a transaction id and so break them. They
-- stand alone in their string, so a string that had a command before is none,
-- and never run inside another one, whose frame the context would show.
CREATE FUNCTION scribe.concurrent(tag text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $fn$
BEGIN
  IF scribe.text_sent() IS NOT NULL THEN
    RETURN false;
  ELSIF tag = 'ALTER TABLE' THEN
    RETURN current_query() ~* E'\\mdetach\\M.*\\mpartition\\M.*\\mconcurrently\\M';
  END IF;
  RETURN current_query() ~* E'\\mconcurrently\\M';
END $fn$;
REVOKE ALL ON FUNCTION scribe.concurrent(text) FROM PUBLIC;

-- What is known only before the command: the objects that vanish with the
-- session, the partitions that hash by OID, and the tables that no dump has. A
-- script may change those with several commands.
CREATE FUNCTION scribe.note_before(tag text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  note text;
BEGIN
  IF pg_my_temp_schema() <> 0 THEN
    note := (SELECT string_agg(class || '.' || object, ' ') FROM scribe.transient());
    PERFORM scribe.note('transient', note);
  END IF;
  IF left(tag, 6) = 'ALTER ' OR left(tag, 5) = 'DROP ' THEN
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partstrat = 'h') THEN
      note := (SELECT coalesce(jsonb_object_agg(oid, scribe.hash_root(oid)), '{}') FROM pg_class WHERE relispartition AND relkind = 'r')::text;
      PERFORM scribe.note('leaves', note);
    END IF;
  END IF;
  IF tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN
    -- Of a table that the outermost of them makes, no row is missing: its replay makes it again.
    IF coalesce(scribe.noted('scripts'), '0') = '0' THEN
      note := concat_ws(' ', scribe.noted('unsaved'), (SELECT string_agg(relid::text, ' ') FROM scribe.unsaved));
      PERFORM scribe.note('unsaved', note);
    END IF;
    PERFORM scribe.note('scripts', (coalesce(scribe.noted('scripts'), '0')::int + 1)::text);
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.note_before(text) FROM PUBLIC;

-- The query of a materialized view that a command may refresh.
CREATE FUNCTION scribe.view_queries(names name[]) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '1ms' AS $fn$
BEGIN
  RETURN (SELECT string_agg(pg_get_viewdef(oid), ' ') FROM pg_class WHERE oid::int8 >= 16384 AND relkind = 'm' AND relname = ANY (names));
EXCEPTION WHEN OTHERS THEN
  RETURN NULL; -- somebody has it locked, and the command waits for that
END $fn$;
REVOKE ALL ON FUNCTION scribe.view_queries(name[]) FROM PUBLIC;

-- The settings of the application, such as app.tenant, that a command may read:
-- in its own text, in that of functions which it names, in the query of a
-- materialized view. No list has those that nobody declared. For scribe.command
-- alone, whose search_path it has.
CREATE FUNCTION scribe.custom_settings(tag text, body text) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $fn$
DECLARE
  names name[];
  texts text;
BEGIN
  IF tag !~ '^DROP |^CREATE (TABLE|VIEW|FUNCTION|PROCEDURE|TYPE|SEQUENCE)$' OR strpos(lower(body), 'values') > 0 THEN -- these call no functions, but for bounds
    names := scribe.names(body);
    texts := (SELECT string_agg(prosrc, ' ') FROM pg_proc
      WHERE proname = ANY (names) AND oid::int8 >= 16384 AND pronamespace <> 'scribe'::regnamespace AND strpos(prosrc, 'current_setting') > 0);
  END IF;
  IF strpos(lower(body), 'current') > 0 THEN
    texts := concat_ws(' ', texts, body);
  END IF;
  IF tag = 'REFRESH MATERIALIZED VIEW' THEN
    texts := concat_ws(' ', texts, scribe.view_queries(names));
  END IF;
  IF texts IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT jsonb_object_agg(n, current_setting(n, true)) FROM (SELECT DISTINCT lower(m[1]) AS n FROM
      regexp_matches(texts, E'([a-z_][a-z0-9_$]*(?:\\.[a-z_][a-z0-9_$]*)+)', 'gi') m) x
    WHERE current_setting(n, true) IS NOT NULL AND n !~ '^scribe\.' AND NOT EXISTS (SELECT FROM pg_settings s WHERE lower(s.name) = n));
END $fn$;
REVOKE ALL ON FUNCTION scribe.custom_settings(text, text) FROM PUBLIC;

-- The text of the command, with what decides how it reads, and the roles that
-- it may name: their own commands fire no event.
CREATE FUNCTION scribe.command(tag text, context text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  long CONSTANT int := 4000; -- bytes; shorter texts are not worth a message of their own
  moment text := extract(epoch FROM statement_timestamp())::text;
  current text := current_setting('scribe.role', true);
  is_super boolean;
  record_user boolean;
  newest oid := scribe.text_sent(); -- roles beyond it are sent whatever the text says
  members oid[];
  haystack text := CASE WHEN strpos(context, chr(10)) > 0 THEN substr(context, strpos(context, chr(10)) + 1) ELSE '' END; -- the first frame is ours
  owners jsonb;
  command text;
  hash text;
  message jsonb := jsonb_build_object('role', current, 'session', session_user, 'path', current_setting('scribe.path', true),
    'at', moment, 'pid', pg_backend_pid());
BEGIN
  IF coalesce(current, '') = '' THEN
    RAISE EXCEPTION 'the role that runs it could not be noted';
  END IF;
  SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current), EXISTS (SELECT FROM scribe.config WHERE key = 'record-user' AND value = 'on')
    INTO is_super, record_user;
  IF record_user THEN
    message := message || jsonb_build_object('by', jsonb_build_object('application', current_setting('application_name'),
      'client', coalesce(host(inet_client_addr()), '')));
  END IF;
  IF octet_length(context) > long THEN
    hash := hashtextextended(context, 0)::text;
    message := message || jsonb_build_object('ctx_id', hash);
    IF current_setting('scribe.context', true) IS DISTINCT FROM scribe.seal(hash) THEN
      PERFORM scribe.send_text(hash, context), set_config('scribe.context', scribe.seal(hash), true);
    ELSE
      haystack := '';
    END IF;
  ELSE
    message := message || jsonb_build_object('ctx', context);
  END IF;
  IF newest IS NOT NULL THEN
    message := message || jsonb_build_object('sql_id', moment);
  ELSE
    command := current_query();
    haystack := haystack || command;
    IF octet_length(command) > long THEN
      message := message || jsonb_build_object('sql_id', moment);
      PERFORM scribe.send_text(moment, command),
        set_config('scribe.text', max(oid) || ' ' || scribe.seal('text ' || max(oid)), true) FROM pg_roles;
      PERFORM scribe.note('dates', 'yes') WHERE command ~* E'\\m(now|today|tomorrow|yesterday)\\M';
      PERFORM scribe.note('reassigns', 'yes') WHERE command ~* E'\\mreassign\\M|\\m(role|user|group)\\M[^;]*\\mrename\\M';
    ELSE
      message := message || jsonb_build_object('sql', command);
    END IF;
  END IF;
  IF context ~ E'^[^\\n]*\\nSQL function "' THEN
    message := message || jsonb_build_object('sources', (SELECT jsonb_agg(DISTINCT p.prosrc) FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
      WHERE l.lanname = 'sql' AND p.proname = substring(context FROM E'^[^\\n]*\\nSQL function "([^\\n]*)" statement \\d+')));
  END IF;
  IF NOT is_super THEN
    SELECT array_agg(DISTINCT x), jsonb_agg(DISTINCT jsonb_strip_nulls(m.options) || jsonb_build_object('role', pg_get_userbyid(m.roleid), 'member', pg_get_userbyid(m.member)))
      INTO members, hash FROM scribe.memberships(current) m, unnest(ARRAY[m.roleid, m.member]) x;
    message := message || jsonb_build_object('members', hash::jsonb,
      'create', has_database_privilege(current, current_database(), 'CREATE'));
  END IF;
  IF newest IS NOT NULL AND scribe.noted('reassigns') = 'yes' THEN
    haystack := haystack || ' ' || current_query();
  END IF;
  IF NOT is_super OR tag IN ('GRANT', 'REVOKE') OR haystack ~* E'\\mowner\\s+to\\M' THEN -- which also moves privileges
    owners := scribe.owners(tag, concat_ws(' ', haystack, current_setting('scribe.path', true), message -> 'sources'));
    message := message || jsonb_build_object('owners', owners);
  END IF;
  IF tag <> ALL (ARRAY['GRANT', 'REVOKE', 'COMMENT']) AND octet_length(haystack) < 100000 THEN
    message := message || jsonb_strip_nulls(jsonb_build_object('custom', scribe.custom_settings(tag, haystack)));
  END IF;
  haystack := lower(haystack);
  RETURN message || jsonb_build_object('super', is_super,
    'roles', (SELECT jsonb_agg(jsonb_build_object('name', rolname, 'oid', oid::int8, 'super', rolsuper, 'inherit', rolinherit,
        'createrole', rolcreaterole, 'createdb', rolcreatedb, 'login', rolcanlogin, 'replication', rolreplication, 'bypassrls', rolbypassrls))
      FROM pg_roles WHERE oid >= 16384
        AND (rolname = current OR oid > newest OR rolname = session_user AND position('session_user' IN haystack) > 0 OR oid = ANY (members) OR owners @> jsonb_build_array(jsonb_build_object('owner', rolname)) OR position(lower(replace(rolname, '"', '""')) IN haystack) > 0)), -- as a quoted name is written
    'set', (SELECT jsonb_object_agg(name, current_setting(name)) FROM unnest(ARRAY[
      'DateStyle', 'IntervalStyle', 'TimeZone', 'default_tablespace', 'default_table_access_method',
      'default_toast_compression', 'standard_conforming_strings', 'xmloption', 'array_nulls',
      'transform_null_equals', 'backslash_quote', 'lc_monetary', 'bytea_output']) AS name));
END $fn$;
REVOKE ALL ON FUNCTION scribe.command(text, text) FROM PUBLIC;

CREATE FUNCTION scribe.on_start() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lc_messages = 'C'
SET plan_cache_mode = force_generic_plan AS $fn$
DECLARE
  context text;
  message bytea;
BEGIN
  BEGIN
    IF scribe.quiet() THEN
      RETURN;
    END IF;
    GET DIAGNOSTICS context = PG_CONTEXT;
    IF tg_tag IN ('DROP INDEX', 'CREATE INDEX', 'REINDEX', 'ALTER TABLE') AND position(chr(10) IN context) = 0
        AND scribe.here() AND scribe.concurrent(tg_tag) THEN
      PERFORM set_config('scribe.late', scribe.late_note(), false);
      RETURN;
    END IF;
    IF tg_tag = 'ALTER TABLE' THEN
      PERFORM scribe.unlist(scribe.named_unlogged(current_query() || context));
    END IF;
    IF NOT scribe.active() THEN
      RETURN;
    END IF;
    PERFORM scribe.note_before(tg_tag);
    IF current_setting('scribe.refilled', true) <> '' THEN
      PERFORM set_config('scribe.refilled', '', true);
    END IF;
    message := scribe.signed((jsonb_build_object('ev', 'start', 'tag', tg_tag) || scribe.command(tg_tag, context))::text);
  EXCEPTION WHEN OTHERS THEN
    message := scribe.gap(format('start of %s: %s', tg_tag, SQLERRM));
  END;
  PERFORM scribe.send(message);
END $fn$;
