-- Objects that a command dropped.

-- Refuses a command that broke the publication of the capture, which init says
-- it will: without it, decoding fails at the next change for good, or leaves
-- changes out. The publications are those that the command was about.
CREATE FUNCTION scribe.keep_publications(publications oid[]) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  broken text;
BEGIN
  BEGIN
    SELECT substr(c.key, 13) INTO broken FROM scribe.config c
      WHERE c.key LIKE 'publication %' AND c.value = ANY (publications::text[])
        AND NOT EXISTS (SELECT FROM pg_publication p JOIN scribe.config m ON m.key = 'mode'
          WHERE p.pubname = substr(c.key, 13) AND NOT p.pubviaroot AND CASE
            WHEN m.value = 'guarded' THEN p.puballtables AND p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate
            WHEN p.puballtables THEN p.pubinsert AND p.pubtruncate AND NOT p.pubupdate AND NOT p.pubdelete
            ELSE p.pubupdate AND p.pubdelete AND NOT p.pubinsert AND NOT p.pubtruncate END) LIMIT 1;
  EXCEPTION WHEN OTHERS THEN
    RETURN; -- no longer ours to judge
  END;
  IF broken <> '' THEN
    RAISE EXCEPTION 'publication % carries the backup of pg_scribe', broken USING ERRCODE = 'object_in_use',
      HINT = 'To end the backup, use: pg_scribe drop';
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.keep_publications(oid[]) FROM PUBLIC;

-- Refuses a command that took tables off the list of the no-harm mode.
CREATE FUNCTION scribe.keep_list() RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() o JOIN scribe.lists l ON l.name = ANY (o.address_args)
      WHERE o.object_type = 'publication relation') THEN
    RAISE EXCEPTION 'the tables of this publication are kept by the backup of pg_scribe' USING ERRCODE = 'object_in_use',
      HINT = 'To end the backup, use: pg_scribe drop';
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.keep_list() FROM PUBLIC;

CREATE FUNCTION scribe.on_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lc_messages = 'C'
SET plan_cache_mode = force_generic_plan AS $fn$
DECLARE
  message bytea;
BEGIN
  FOR attempt IN 1..2 LOOP
    BEGIN
      IF scribe.quiet() THEN
        RETURN;
      ELSIF NOT scribe.active() THEN
        PERFORM scribe.after_drop();
        RETURN;
      END IF;
      message := scribe.drop_message(tg_tag);
      EXIT;
    EXCEPTION WHEN OTHERS THEN
      message := scribe.gap(format('objects dropped by %s: %s', tg_tag, SQLERRM));
      EXIT;
    WHEN query_canceled THEN
      PERFORM scribe.obey(SQLERRM);
    END;
  END LOOP;
  IF tg_tag NOT IN ('DROP TABLE', 'DROP INDEX', 'ALTER TABLE') THEN -- no publication depends on what these drop
    PERFORM scribe.keep_publications(array_agg(objid)) FROM pg_event_trigger_dropped_objects()
      WHERE object_type = 'publication' HAVING count(*) > 0;
  END IF;
  IF tg_tag = 'ALTER PUBLICATION' THEN
    PERFORM scribe.keep_list();
  END IF;
  PERFORM scribe.send(message);
  PERFORM scribe.after_drop();
END $fn$;

CREATE FUNCTION scribe.drop_message(tg_tag text) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  gone text := scribe.noted('transient');
  leaves jsonb := scribe.noted('leaves');
BEGIN
  RETURN scribe.signed(jsonb_build_object('ev', 'drop', 'tag', tg_tag, 'objects',
    (SELECT jsonb_agg(jsonb_build_object('class', classid::int8, 'oid', objid::int8, 'type', object_type,
       'schema', schema_name, 'identity', object_identity, 'original', original,
       'temp', is_temporary OR pg_my_temp_schema() <> 0 AND classid || '.' || objid = ANY (string_to_array(gone, ' ')),
       'root', CASE WHEN classid = 'pg_class'::regclass THEN leaves ->> objid::text END))
     FROM pg_event_trigger_dropped_objects()))::text);
END $fn$;
REVOKE ALL ON FUNCTION scribe.drop_message(text) FROM PUBLIC;

-- A table may have lost the key that identified its rows: with a constraint
-- or a column, which name it, or with an index alone, which does not.
CREATE FUNCTION scribe.after_drop() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  rels oid[];
  nameless boolean;
BEGIN
  SELECT array_agg(DISTINCT CASE object_type WHEN 'table column' THEN objid ELSE to_regclass(format('%I.%I', address_names[1], address_names[2]))::oid END)
        FILTER (WHERE object_type IN ('table constraint', 'table column') AND NOT is_temporary),
      bool_or(object_type = 'index') AND NOT bool_or(object_type IN ('table constraint', 'table'))
    INTO rels, nameless FROM pg_event_trigger_dropped_objects();
  IF nameless THEN
    rels := rels || ARRAY(SELECT oid FROM pg_class WHERE relreplident = 'i' AND oid >= 16384);
  END IF;
  PERFORM scribe.guard(array_remove(rels, NULL)); -- tables that went with their constraints
EXCEPTION WHEN OTHERS THEN
  RAISE LOG 'pg_scribe: after a drop: %', SQLERRM; -- start looks after the tables, too
END $fn$;
REVOKE ALL ON FUNCTION scribe.after_drop() FROM PUBLIC;
