-- Tables that a command rewrote: where the target cannot compute the new
-- contents from the old ones, they are sent again.

-- Whether an expression or query calls built-in immutable functions alone, so
-- that it has the same value in every database with the same rows.
CREATE FUNCTION scribe.is_settled(tree pg_node_tree) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN tree::text !~ E'\\{(SQLVALUEFUNCTION|NEXTVALUEEXPR|COERCEVIAIO|ARRAYCOERCEEXPR|COERCETODOMAIN|XMLEXPR|ROWCOMPAREEXPR|JSON|TABLESAMPLE)|:relkind f ' AND NOT EXISTS (
    SELECT FROM regexp_matches(tree::text, ':(funcid|opno|aggfnoid|winfnoid) (\d+)', 'g') m
      LEFT JOIN pg_operator o ON m[1] = 'opno' AND o.oid = m[2]::oid
      LEFT JOIN pg_proc p ON p.oid = coalesce(o.oprcode::oid, m[2]::oid)
    WHERE p.oid IS NULL OR p.oid::int8 >= 16384 OR p.provolatile <> 'i');
END $fn$;
REVOKE ALL ON FUNCTION scribe.is_settled(pg_node_tree) FROM PUBLIC;

-- Whether values of one type become those of another by built-in immutable
-- functions that no setting changes. A command without USING takes these casts.
CREATE FUNCTION scribe.is_settled_cast(old oid, new oid, typmod int) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $fn$
DECLARE
  plain oid[] := ARRAY(SELECT oid FROM pg_type WHERE oid IN (old, new) AND oid::int8 < 16384 AND typtype = 'b' AND typcategory <> 'A'
    AND typname !~ '^reg' AND typname <> ALL ('{char,money,xml,json,jsonb}'));
BEGIN
  IF NOT plain @> ARRAY[old, new] OR EXISTS (SELECT FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc
      WHERE c.castsource = new AND c.casttarget = new AND typmod >= 0 AND (p.oid::int8 >= 16384 OR p.provolatile <> 'i')) THEN
    RETURN false;
  END IF;
  RETURN old = new OR EXISTS (SELECT FROM pg_cast c LEFT JOIN pg_proc p ON p.oid = c.castfunc
      WHERE c.castsource = old AND c.casttarget = new AND c.castcontext <> 'e' AND (c.castmethod = 'b' OR p.oid::int8 < 16384 AND p.provolatile = 'i'))
    OR new IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) AND old IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype,
      'uuid'::regtype);
END $fn$;
REVOKE ALL ON FUNCTION scribe.is_settled_cast(oid, oid, int) FROM PUBLIC;

-- The columns of a table as its caller's snapshot has them.
CREATE FUNCTION scribe.columns_before(rel oid, OUT num smallint, OUT type oid, OUT typmod int, OUT generated "char", OUT expression pg_node_tree)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN QUERY SELECT a.attnum, a.atttypid, a.atttypmod, a.attgenerated, d.adbin
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped;
END $fn$;
REVOKE ALL ON FUNCTION scribe.columns_before(oid) FROM PUBLIC;

-- The same as they are now: being volatile, it sees what the command did.
CREATE FUNCTION scribe.columns_now(rel oid, OUT num smallint, OUT type oid, OUT typmod int, OUT generated "char", OUT expression pg_node_tree)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN QUERY SELECT * FROM scribe.columns_before(rel);
END $fn$;
REVOKE ALL ON FUNCTION scribe.columns_now(oid) FROM PUBLIC;

-- Whether nothing that the rewrite evaluates on the way can come out otherwise
-- in another database: constraints, and expressions and classes of indexes.
CREATE FUNCTION scribe.is_settled_table(rel oid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = rel AND contype = 'c' AND NOT scribe.is_settled(conbin))
    AND NOT EXISTS (SELECT FROM pg_index i WHERE indrelid = rel AND (NOT scribe.is_settled(indexprs) OR NOT scribe.is_settled(indpred)
      OR EXISTS (SELECT FROM unnest(indclass) c WHERE c::int8 >= 16384)));
END $fn$;
REVOKE ALL ON FUNCTION scribe.is_settled_table(oid) FROM PUBLIC;

-- Whether the target can compute what a rewrite makes of a table: the command's
-- text has no USING, each changed type is cast the same way everywhere, and new
-- values are those of generated columns. why: as
-- pg_event_trigger_table_rewrite_reason() has it; 2 are new values, 4 is
-- another type, 8 another access method. It is STABLE because the snapshot of
-- the statement shows the table as it was before.
CREATE FUNCTION scribe.recomputed(rel oid, why int, command text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $fn$
DECLARE
  changes int;
  unsettled int;
BEGIN
  IF why & ~14 <> 0 OR command ~* E'\\musing\\M|\nSQL function "' OR coalesce(scribe.noted('scripts'), '0') <> '0'
      OR NOT scribe.is_settled_table(rel) THEN
    RETURN false;
  ELSIF why = 8 THEN
    RETURN true;
  END IF;
  SELECT count(*), count(*) FILTER (WHERE NOT coalesce(CASE
      WHEN b.num IS NULL OR b.expression::text IS DISTINCT FROM n.expression::text AND n.generated <> '' THEN n.generated = 's' AND scribe.is_settled(n.expression)
      ELSE scribe.is_settled_cast(b.type, n.type, n.typmod) END, false)) INTO changes, unsettled
    FROM scribe.columns_before(rel) b RIGHT JOIN scribe.columns_now(rel) n ON n.num = b.num
    WHERE b.num IS NULL OR b.type <> n.type OR b.typmod <> n.typmod OR b.expression::text IS DISTINCT FROM n.expression::text AND n.generated <> '';
  RETURN changes > 0 AND unsettled = 0;
END $fn$;
REVOKE ALL ON FUNCTION scribe.recomputed(oid, int, text) FROM PUBLIC;

-- STABLE for scribe.recomputed, which needs the snapshot of the statement.
CREATE FUNCTION scribe.on_rewrite() RETURNS event_trigger
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET lc_messages = 'C' AS $fn$
DECLARE
  context text;
BEGIN
  BEGIN
    GET DIAGNOSTICS context = PG_CONTEXT;
    IF scribe.recomputed(pg_event_trigger_table_rewrite_oid(), pg_event_trigger_table_rewrite_reason(), concat(current_query(), context)) THEN
      RETURN;
    END IF;
  EXCEPTION WHEN OTHERS THEN -- then it is sent
  END;
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

-- The contents of a rewritten table or filled view, as text of rows in pieces of a megabyte or
-- so. Pages come one range after the other, so that memory does not grow with
-- the table; where values lie outside of the pages, what they take is counted.
-- The command's lock keeps the table still.
CREATE FUNCTION scribe.emit_contents(rel oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET enable_tidscan = on SET enable_seqscan = off SET jit = off
SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET extra_float_digits = 3 SET TimeZone = 'UTC'
SET bytea_output = 'hex' SET lc_monetary = 'C' AS $fn$
DECLARE
  columns name[] := ARRAY(SELECT attname FROM pg_attribute
    WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum);
  pages int8 := pg_relation_size(rel) / current_setting('block_size')::int;
  page int8 := 0;
  step int8 := 128;
  pieces text := format('SELECT ROW(%s)::text AS r FROM ONLY %s WHERE ctid >= $1 AND ctid < $2',
    (SELECT string_agg(quote_ident(c), ', ' ORDER BY n) FROM unnest(columns) WITH ORDINALITY u (c, n)), rel::regclass);
BEGIN
  PERFORM scribe.send(scribe.signed(jsonb_build_object('ev', 'refill', 'oid', rel::int8,
    'schema', (SELECT nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid WHERE c.oid = rel),
    'table', (SELECT relname FROM pg_class WHERE oid = rel), 'kind', (SELECT relkind FROM pg_class WHERE oid = rel), 'columns', to_jsonb(columns))::text));
  IF EXISTS (SELECT FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam
      WHERE c.oid = rel AND (a.amhandler <> 'heap_tableam_handler'::regproc OR reltoastrelid <> 0 AND pg_relation_size(reltoastrelid) > 0)) THEN
    step := 8;
    pieces := format('SELECT r, sum(octet_length(r)) OVER (ROWS UNBOUNDED PRECEDING) / 1000000 AS g FROM (%s) x', pieces);
  END IF;
  pieces := format('SELECT count(scribe.send(scribe.signed(%L || piece))) FROM (SELECT string_agg(r, %L) AS piece FROM (%s) y%s) z',
    format(E'rows %s\n', rel), '', pieces, CASE step WHEN 8 THEN ' GROUP BY g' END);
  WHILE page < pages LOOP
    EXECUTE pieces USING format('(%s,0)', page)::tid, format('(%s,0)', CASE WHEN page + step < pages THEN page + step ELSE 4294967295 END)::tid;
    page := page + step;
  END LOOP;
END $fn$;
REVOKE ALL ON FUNCTION scribe.emit_contents(oid) FROM PUBLIC;
