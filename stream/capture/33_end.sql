-- The end of a command: what is known only now.

-- The objects whose privileges this transaction has changed: those that a GRANT
-- on all of a schema met, among which none is that another session made since.
CREATE FUNCTION scribe.granted() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  mine int8 := pg_current_xact_id()::text::int8 % 4294967296;
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'schema', nspname, 'identity', (pg_identify_object(x.class, x.oid, 0)).identity)), '[]') FROM (
      SELECT 'pg_class'::regclass AS class, oid, relnamespace AS schema, CASE relkind WHEN 'S' THEN 'sequences' ELSE 'tables' END AS kind FROM pg_class
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't' AND xmin::text::int8 >= mine AND scribe.is_new(xmin)
      UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, CASE prokind WHEN 'p' THEN 'procedures' ELSE 'functions' END FROM pg_proc
        WHERE xmin::text::int8 >= mine AND scribe.is_new(xmin)) x
    JOIN pg_namespace n ON n.oid = x.schema WHERE nspname <> 'scribe');
END $fn$;
REVOKE ALL ON FUNCTION scribe.granted() FROM PUBLIC;

-- The tables that a command rewrote with a function of users which may write
-- elsewhere: what it wrote is in the stream, so that it must not run again. They
-- are emptied before the command, as the contents follow; not those that foreign
-- keys of others refer to, which the command may check.
CREATE FUNCTION scribe.emptied(context text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  words name[] := scribe.names(concat(current_query(), context));
BEGIN
  IF context !~ E'\nSQL function "' AND NOT EXISTS (SELECT FROM pg_proc p WHERE p.proname = ANY (words) AND p.oid::int8 >= 16384 AND p.provolatile = 'v'
      AND p.pronamespace <> 'scribe'::regnamespace) THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT jsonb_agg(jsonb_build_object('oid', x::int8, 'schema', n.nspname, 'table', c.relname))
    FROM scribe.rewritten() x JOIN pg_class c ON c.oid = x JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = x AND conrelid <> x)
      AND NOT EXISTS (SELECT FROM scribe.unsaved u WHERE u.relid = x) AND scribe.hash_root(x) IS NULL);
END $fn$;
REVOKE ALL ON FUNCTION scribe.emptied(text) FROM PUBLIC;

-- The materialized views that a command filled, whose contents are to be sent:
-- small ones, which may be older than the transactions that committed
-- meanwhile, and those whose query has no fixed result or writes.
CREATE FUNCTION scribe.filled_views(tag text) RETURNS SETOF oid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF tag IN ('CREATE MATERIALIZED VIEW', 'REFRESH MATERIALIZED VIEW') THEN
    RETURN QUERY SELECT c.oid FROM pg_event_trigger_ddl_commands() o JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid
      WHERE o.command_tag = tag AND c.relkind = 'm' AND c.relispopulated AND c.relnamespace <> 'scribe'::regnamespace AND (pg_relation_size(c.oid) <= 8000000
        OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename = '_RETURN' AND NOT scribe.is_settled(r.ev_action)));
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.filled_views(text) FROM PUBLIC;

CREATE FUNCTION scribe.end_message(tg_tag text, late_context text) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  message jsonb := jsonb_build_object('ev', 'end', 'tag', tg_tag);
  objects jsonb;
  touched oid[];
  created oid[];
  relatives oid[];
  indexes oid[];
  index oid;
  context text;
  likes boolean := false;
  retyped boolean;
BEGIN
  IF late_context IS NOT NULL THEN
    message := message || scribe.command(tg_tag, late_context) || '{"late": true}';
    IF tg_tag = 'ALTER TABLE' THEN
      message := message || jsonb_build_object('checks',
        scribe.detached_checks(current_query(), current_setting('scribe.path', true)));
    END IF;
  END IF;
  IF late_context IS NULL AND tg_tag = 'ALTER TABLE' AND scribe.text_sent() IS NULL AND current_query() ~* E'\\mdetach\\M.*\\mpartition\\M.*\\mfinalize\\M' THEN
    message := message || jsonb_build_object('checks', scribe.detached_checks(current_query(), current_setting('scribe.path', true)));
  END IF;
  IF tg_tag = 'CREATE TABLE' THEN -- LIKE copies an invalid index as a valid one
    GET DIAGNOSTICS context = PG_CONTEXT;
    likes := (scribe.text_sent() IS NOT NULL OR concat(current_query(), context) ~* E'\\mlike\\M|\nSQL function "')
      AND EXISTS (SELECT FROM pg_index WHERE NOT indisvalid AND indrelid::int8 >= 16384);
    message := message || jsonb_strip_nulls(jsonb_build_object('like', nullif(likes, false)));
  END IF;
  SELECT jsonb_agg(jsonb_build_object('class', classid::int8, 'oid', objid::int8, 'tag', command_tag,
        'type', object_type, 'schema', schema_name, 'identity', object_identity, 'ext', in_extension,
        'temp', pg_my_temp_schema() <> 0 AND (classid, objid) IN (SELECT class, object FROM scribe.transient()))
      || CASE WHEN object_type = 'publication' AND EXISTS (SELECT FROM pg_publication p JOIN scribe.config c
           ON c.key = 'publication ' || p.pubname WHERE p.oid = objid) THEN '{"own": true}'
         WHEN object_type = 'index' AND EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
           WHERE c.oid = objid AND c.relkind = 'i' AND NOT i.indisvalid) THEN '{"invalid": true}' ELSE '{}' END::jsonb),
      array_agg(DISTINCT objid) FILTER (WHERE classid = 'pg_class'::regclass AND object_type IN ('table', 'table column')),
      array_agg(DISTINCT objid) FILTER (WHERE classid = 'pg_class'::regclass AND object_type = 'index'),
      array_agg(DISTINCT objid) FILTER (WHERE command_tag IN ('CREATE TABLE AS', 'SELECT INTO') AND object_type = 'table'
        OR tg_tag = 'IMPORT FOREIGN SCHEMA' AND object_type = 'foreign table'
        OR tg_tag = 'CREATE TABLE' AND command_tag = tg_tag AND (pg_my_temp_schema() <> 0 OR likes))
    INTO objects, touched, indexes, created FROM pg_event_trigger_ddl_commands();
  message := message || jsonb_build_object('objects', objects);
  IF tg_tag IN ('GRANT', 'REVOKE') THEN
    GET DIAGNOSTICS context = PG_CONTEXT;
    IF scribe.text_sent() IS NOT NULL OR concat(current_query(), context) ~* E'\\mall\\M.*\\min\\s+schema\\M|\nSQL function "' THEN
      message := message || jsonb_build_object('granted', scribe.granted());
    END IF;
  END IF;
  IF tg_tag IN ('GRANT', 'REVOKE', 'CREATE TABLE', 'ALTER TABLE') AND pg_my_temp_schema() <> 0 THEN
    message := message || jsonb_build_object('transient', scribe.transient_names(current_setting('scribe.path', true)),
      'parts', scribe.transient_parts());
  END IF;
  IF touched IS NULL AND tg_tag IN ('GRANT', 'REVOKE', 'DROP TABLE', 'DROP INDEX', 'DROP VIEW', 'DROP FUNCTION') THEN -- nothing else is of these
    RETURN scribe.signed(message::text);
  END IF;
  IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN -- which name none of the tables that their script made
    touched := array_cat(touched, ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e'
      UNION SELECT unnest(string_to_array(nullif(scribe.noted('unsaved'), ''), ' '))::oid));
    PERFORM scribe.note('scripts', greatest(coalesce(scribe.noted('scripts'), '0')::int - 1, 0)::text);
  END IF;
  IF tg_tag = 'ALTER SCHEMA' THEN
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partstrat = 'h') THEN -- whose name is part of their root's
      touched := ARRAY(SELECT oid FROM pg_class WHERE relispartition AND relkind = 'r');
    END IF;
  END IF;
  retyped := tg_tag IN ('ALTER TYPE', 'ALTER SCHEMA', 'ALTER EXTENSION');
  IF tg_tag = 'ALTER TABLE' AND touched IS NOT NULL THEN
    retyped := EXISTS (SELECT FROM pg_class c JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = c.reltype AND d.deptype = 'n'
      WHERE c.oid = ANY (touched) AND c.reltype <> 0);
  END IF;
  IF retyped THEN
    message := message || jsonb_build_object('types', scribe.renamed_types(tg_tag));
  END IF;
  IF tg_tag = 'ALTER SCHEMA' THEN
    message := message || jsonb_build_object('moved', (SELECT jsonb_agg(jsonb_build_object('oid', c.oid::int8, 'schema', n.nspname))
      FROM pg_event_trigger_ddl_commands() o JOIN pg_namespace n ON n.oid = o.objid JOIN pg_class c ON c.relnamespace = n.oid
      WHERE o.classid = 'pg_namespace'::regclass AND c.relkind = 'r' AND c.relpersistence = 'p'));
  END IF;
  IF touched IS NOT NULL THEN
    IF tg_tag = 'ALTER TABLE' THEN
      IF EXISTS (SELECT FROM pg_partitioned_table WHERE partstrat = 'h') THEN -- attached and detached ones
        touched := touched || ARRAY(SELECT scribe.family(ARRAY(SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND scribe.is_new(xmin))));
      END IF;
    END IF;
    IF tg_tag IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA') THEN
      relatives := ARRAY(SELECT scribe.family(touched));
      message := message || jsonb_build_object('bounds', scribe.new_bounds(relatives));
    END IF;
    IF tg_tag = 'ALTER TABLE' AND relatives <> touched THEN -- a partition has its parent's identity column, and their names
      touched := touched || ARRAY(SELECT attrelid FROM pg_attribute WHERE attrelid = ANY (relatives) AND attidentity = 'a' AND NOT attisdropped);
    END IF;
    message := message || jsonb_build_object('tables', scribe.table_facts(touched));
    IF tg_tag = 'ALTER TABLE' AND current_setting('scribe.rewritten', true) <> '' THEN
      GET DIAGNOSTICS context = PG_CONTEXT;
      message := message || jsonb_strip_nulls(jsonb_build_object('emptied', scribe.emptied(context)));
    END IF;
    IF tg_tag = 'ALTER TABLE' THEN -- a long text is not searched each time
      message := message || jsonb_build_object('missing', scribe.missing_values(relatives,
        CASE WHEN scribe.text_sent() IS NULL THEN current_query() ELSE 'now' END));
    END IF;
  END IF;
  IF tg_tag ~ '^(CREATE|ALTER) (DOMAIN|TYPE|TABLE|TABLE AS|SCHEMA|EXTENSION)$|^SELECT INTO$' THEN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 0 AND contype = 'c' AND NOT convalidated) THEN
      message := message || (SELECT jsonb_build_object('loose', jsonb_agg(x::int8)) FROM scribe.loose_types() x);
    END IF;
  END IF;
  IF created IS NOT NULL THEN
    message := message || jsonb_build_object('creates', (SELECT jsonb_agg(d ORDER BY x, n)
      FROM unnest(created) x, LATERAL scribe.table_definition(x) WITH ORDINALITY d (d, n)));
  END IF;
  IF tg_tag = 'CREATE INDEX' THEN
    SELECT i.indexrelid INTO index FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE i.indexrelid = ANY (indexes) AND c.relkind = 'I' AND NOT i.indisvalid LIMIT 1;
    IF index IS NOT NULL AND current_query() !~* E'\\mon\\s+only\\M' THEN
      message := message || jsonb_build_object('instead', scribe.partial_index(index));
    END IF;
  ELSIF tg_tag ~ '^(CREATE|ALTER) (FUNCTION|PROCEDURE|ROUTINE)$' THEN
    GET DIAGNOSTICS context = PG_CONTEXT;
    IF concat_ws(chr(10), CASE WHEN scribe.text_sent() IS NULL THEN current_query() ELSE 'from current' END, context) ~* E'\\mfrom\\s+current\\M|\nSQL function "' THEN -- a setting takes the session's value
      message := message || jsonb_build_object('instead', (SELECT jsonb_agg(scribe.function_definition(p.oid))
        FROM pg_event_trigger_ddl_commands() o JOIN pg_proc p ON p.oid = o.objid
        WHERE o.classid = 'pg_proc'::regclass AND p.proconfig IS NOT NULL AND o.command_tag = tg_tag));
    END IF;
  ELSIF tg_tag = 'REFRESH MATERIALIZED VIEW' THEN
    message := message || jsonb_build_object('view', (SELECT scribe.refreshed_view(max(objid)) FROM pg_event_trigger_ddl_commands()));
  ELSIF tg_tag = 'ALTER INDEX' THEN
    IF current_query() ~* E'\\mattach\\s+partition\\M' AND EXISTS (SELECT FROM pg_class WHERE oid = ANY (indexes) AND relkind = 'I') THEN
      message := message || jsonb_build_object('attached',
        scribe.attached_index(current_query(), current_setting('scribe.path', true)));
    END IF;
  ELSIF tg_tag ~ 'SUBSCRIPTION' THEN
    message := message || jsonb_build_object('subscriptions',
      (SELECT jsonb_agg(jsonb_build_object('name', subname, 'connection', subconninfo, 'publications', subpublications,
        'options', (SELECT jsonb_object_agg(o.name, o.value) FROM (VALUES ('binary', to_jsonb(s) ->> 'subbinary'), ('synchronous_commit', subsynccommit),
          ('streaming', CASE to_jsonb(s) ->> 'substream' WHEN 't' THEN 'on' WHEN 'f' THEN 'off' WHEN 'p' THEN 'parallel' ELSE to_jsonb(s) ->> 'substream' END),
          ('disable_on_error', to_jsonb(s) ->> 'subdisableonerr'), ('password_required', to_jsonb(s) ->> 'subpasswordrequired'),
          ('run_as_owner', to_jsonb(s) ->> 'subrunasowner'), ('origin', to_jsonb(s) ->> 'suborigin')) o (name, value) WHERE o.value IS NOT NULL)))
       FROM pg_subscription s WHERE oid IN (SELECT objid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_subscription'::regclass)));
  END IF;
  IF tg_tag LIKE '% MATERIALIZED VIEW' THEN
    IF EXISTS (SELECT FROM scribe.filled_views(tg_tag)) THEN
      message := message || '{"filled": true}';
    END IF;
  END IF;
  IF tg_tag ~ '^(CREATE|ALTER) (TABLE|VIEW|MATERIALIZED VIEW|INDEX|RULE|TRIGGER|POLICY|DOMAIN|FUNCTION|PROCEDURE|SCHEMA|STATISTICS|FOREIGN TABLE)$' THEN
    GET DIAGNOSTICS context = PG_CONTEXT;
    IF concat_ws(chr(10), CASE WHEN scribe.text_sent() IS NULL THEN current_query() WHEN scribe.noted('dates') = 'yes' THEN '''now' END, context)
        ~* E'''[^'']*\\m(now|today|tomorrow|yesterday)\\M|\nSQL function "' THEN -- whose text is not here
      message := message || jsonb_build_object('folded', scribe.folded());
    END IF;
  END IF;
  RETURN scribe.signed(message::text);
END $fn$;
REVOKE ALL ON FUNCTION scribe.end_message(text, text) FROM PUBLIC;

CREATE FUNCTION scribe.on_end() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lc_messages = 'C'
SET plan_cache_mode = force_generic_plan AS $fn$
DECLARE
  message bytea;
  context text;
BEGIN
  FOR attempt IN 1..2 LOOP
    BEGIN
      IF scribe.quiet() OR NOT scribe.active() THEN
        RETURN;
      END IF;
      GET DIAGNOSTICS context = PG_CONTEXT;
      IF position(chr(10) IN context) > 0 OR NOT scribe.is_late() THEN
        context := NULL;
      END IF;
      message := scribe.end_message(tg_tag, context);
      EXIT;
    EXCEPTION WHEN OTHERS THEN
      message := scribe.gap(format('end of %s: %s', tg_tag, SQLERRM));
      EXIT;
    WHEN query_canceled THEN
      PERFORM scribe.obey(SQLERRM);
    END;
  END LOOP;
  IF tg_tag = 'ALTER PUBLICATION' THEN
    PERFORM scribe.keep_publications(array_agg(objid)) FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_publication'::regclass;
  END IF;
  PERFORM scribe.send(message);
  IF coalesce(current_setting('scribe.rewritten', true), '') = '' AND tg_tag NOT LIKE '% MATERIALIZED VIEW' THEN
    RETURN;
  END IF;
  message := NULL;
  FOR attempt IN 1..2 LOOP
    BEGIN
      PERFORM scribe.emit_contents(x) FROM (SELECT * FROM scribe.rewritten() UNION SELECT * FROM scribe.filled_views(tg_tag)) y (x);
      PERFORM scribe.note('refilled', x)
        FROM (SELECT string_agg(oid::text, ' ') AS x FROM scribe.rewritten() oid) y;
      EXIT;
    EXCEPTION WHEN OTHERS THEN
      message := scribe.gap(format('contents after %s: %s', tg_tag, SQLERRM));
      EXIT;
    WHEN query_canceled THEN
      PERFORM scribe.obey(SQLERRM);
    END;
  END LOOP;
  PERFORM scribe.send(message), set_config('scribe.rewritten', '', true);
END $fn$;
