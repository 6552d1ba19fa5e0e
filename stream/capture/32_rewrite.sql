-- Tables that a command rewrote: their contents are sent again.

CREATE FUNCTION scribe.on_rewrite() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM set_config('scribe.rewritten', concat_ws(' ', nullif(current_setting('scribe.rewritten', true), ''),
    pg_event_trigger_table_rewrite_oid()), true);
END $fn$;

-- Which tables of scribe.rewritten to send. Only of a table that this
-- transaction has locked are the contents what they are at its commit.
CREATE FUNCTION scribe.rewritten() RETURNS SETOF oid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF coalesce(current_setting('scribe.rewritten', true), '') <> '' THEN
    RETURN QUERY SELECT c.oid FROM pg_class c
      JOIN pg_locks l ON l.relation = c.oid AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      WHERE l.pid = pg_backend_pid() AND l.granted AND l.mode = 'AccessExclusiveLock' AND c.relkind = 'r' AND c.relpersistence = 'p'
        AND c.oid::text = ANY (string_to_array(current_setting('scribe.rewritten'), ' '));
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.rewritten() FROM PUBLIC;

-- The contents of a rewritten table, set-based because a loop is a hundred
-- times slower. The command's lock keeps them still.
CREATE FUNCTION scribe.emit_contents(rel oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET extra_float_digits = 3 SET TimeZone = 'UTC'
SET bytea_output = 'hex' SET lc_monetary = 'C' AS $fn$
DECLARE
  columns text;
  row_json text;
BEGIN
  -- A function takes a hundred arguments at most.
  SELECT string_agg(names, ',' ORDER BY part), string_agg(format('jsonb_build_array(%s)', texts), ' || ' ORDER BY part) INTO columns, row_json
    FROM (SELECT attnum / 100 AS part, string_agg(quote_ident(attname), ',' ORDER BY attnum) AS names,
        string_agg(format('CASE WHEN %1$I IS NOT DISTINCT FROM NULL THEN NULL ELSE format(''%%s'', %1$I) END', attname), ', ' ORDER BY attnum) AS texts
      FROM pg_attribute WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped AND attgenerated = '' GROUP BY 1) x;
  PERFORM scribe.send(scribe.signed(jsonb_build_object('ev', 'refill', 'oid', rel::int8,
    'schema', (SELECT nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid WHERE c.oid = rel),
    'table', (SELECT relname FROM pg_class WHERE oid = rel),
    'columns', (SELECT coalesce(jsonb_agg(attname ORDER BY attnum), '[]') FROM pg_attribute
                WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped AND attgenerated = ''))::text));
  IF columns IS NULL THEN
    RETURN;
  END IF;
  EXECUTE format($q$SELECT count(scribe.send(scribe.signed(jsonb_build_object('ev', 'rows', 'oid', %s, 'rows', rows)::text)))
    FROM (SELECT jsonb_agg(r) AS rows FROM (SELECT r, sum(octet_length(r::text)) OVER (ROWS UNBOUNDED PRECEDING) / 1000000 AS g
        FROM (SELECT %s AS r FROM ONLY %s) z) x GROUP BY g) y$q$,
    rel, row_json, rel::regclass);
END $fn$;
REVOKE ALL ON FUNCTION scribe.emit_contents(oid) FROM PUBLIC;
