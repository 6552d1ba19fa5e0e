-- The event triggers that are not the capture's nor an extension's.
SELECT evtname, format('DO %L', format('BEGIN DROP EVENT TRIGGER IF EXISTS %I; CREATE EVENT TRIGGER %I ON %s%s EXECUTE FUNCTION %s(); ALTER EVENT TRIGGER %I OWNER TO %I; ALTER EVENT TRIGGER %I %s;%s{{or_gone}} END',
    evtname, evtname, evtevent,
    (SELECT ' WHEN TAG IN (' || string_agg(quote_literal(t), ', ') || ')' FROM unnest(evttags) t),
    (SELECT format('%I.%I', n.nspname, p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = evtfoid),
    evtname, pg_get_userbyid(evtowner), evtname,
    CASE evtenabled WHEN 'O' THEN 'ENABLE' WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END,
    (SELECT format(' COMMENT ON EVENT TRIGGER %I IS %L;', evtname, d) FROM obj_description(e.oid, 'pg_event_trigger') d WHERE d IS NOT NULL)))
FROM pg_event_trigger e WHERE evtname !~ '^!?scribe_[a-z]$' AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_event_trigger'::regclass AND objid = e.oid AND deptype = 'e')
