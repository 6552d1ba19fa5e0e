-- Guards new tables behind each command.

-- Guards the tables among these, and what inherits from them, or brings the
-- list up to date in the no-harm mode. It never waits: a command that touched a table's key has locked it, and `start` guards others.
CREATE FUNCTION scribe.guard(rels oid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  rel oid;
BEGIN
  IF coalesce(cardinality(rels), 0) = 0 THEN
    RETURN;
  ELSIF scribe.mode() = 'no-harm' THEN
    PERFORM scribe.relist(ARRAY(SELECT scribe.family(rels)));
    RETURN;
  END IF;
  FOR rel IN SELECT relid FROM scribe.unguarded WHERE relid = ANY (ARRAY(SELECT scribe.family(rels))) LOOP
    BEGIN
      EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE NOWAIT', rel::regclass);
      PERFORM scribe.guard_table(rel);
    EXCEPTION WHEN OTHERS THEN
      -- The table may be in use by this very session: `start` tries again.
      RAISE LOG 'pg_scribe: no replica identity for %: %', rel::regclass, SQLERRM;
    END;
  END LOOP;
END $fn$;
REVOKE ALL ON FUNCTION scribe.guard(oid[]) FROM PUBLIC;

CREATE FUNCTION scribe.on_end_guard() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lc_messages = 'C'
SET plan_cache_mode = force_generic_plan AS $fn$
DECLARE
  context text;
  touched oid[];
BEGIN
  IF tg_tag !~ '^(CREATE (TABLE|SCHEMA|EXTENSION)|SELECT INTO|ALTER |DROP )' OR scribe.quiet() THEN
    RETURN;
  END IF;
  IF tg_tag = 'ALTER TABLE' THEN
    GET DIAGNOSTICS context = PG_CONTEXT;
    PERFORM scribe.relist(scribe.named_unlogged(current_query() || context));
  END IF;
  touched := ARRAY(SELECT DISTINCT objid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_class'::regclass AND object_type = 'table');
  FOR attempt IN 1..2 LOOP
    BEGIN
      PERFORM scribe.guard(touched);
      EXIT;
    EXCEPTION WHEN query_canceled THEN
      PERFORM scribe.obey(SQLERRM);
    END;
  END LOOP;
EXCEPTION WHEN OTHERS THEN
  RAISE LOG 'pg_scribe: replica identities after %: %', tg_tag, SQLERRM;
END $fn$;
