-- What pg_scribe installs in the source database: schema scribe, six event
-- triggers and a publication. `pg_scribe drop` removes all of it.
--
-- The event triggers describe every DDL command in signed logical decoding
-- messages, so that the stream has each command at its place among the row
-- changes. They are written so that they never make a user's command fail: an
-- error inside them becomes a "gap" message instead.
--
-- Order of the triggers (PostgreSQL fires them by name):
--   scribe_a  command start, as the user: notes role and search_path
--   scribe_b  command start, as owner: emits the command's text
--   scribe_d  dropped objects
--   scribe_r  table rewrite: notes which table
--   scribe_y  command end: emits the facts that are known only now
--   scribe_z  command end: gives new tables a usable replica identity

CREATE SCHEMA scribe;
REVOKE ALL ON SCHEMA scribe FROM PUBLIC;
COMMENT ON SCHEMA scribe IS 'pg_scribe: capture of DDL for continuous backup';

CREATE TABLE scribe.config (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE scribe.identity (relid oid PRIMARY KEY, original "char" NOT NULL, index oid);
REVOKE ALL ON scribe.config, scribe.identity FROM PUBLIC;
COMMENT ON TABLE scribe.config IS 'pg_scribe: version of the capture and the secret that signs its messages';
COMMENT ON TABLE scribe.identity IS 'pg_scribe: replica identities as they were before it changed them';

-- The signature keeps messages of others who may call
-- pg_logical_emit_message from passing as captured DDL (the shape of HMAC).
CREATE FUNCTION scribe.emit(payload text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  secret bytea;
  body bytea := convert_to(payload, pg_catalog.getdatabaseencoding());
BEGIN
  SELECT decode(value, 'hex') INTO STRICT secret FROM scribe.config WHERE key = 'secret';
  PERFORM pg_logical_emit_message(true, 'pg_scribe',
    convert_to(encode(sha256(secret || sha256(secret || body)), 'hex') || ' ', 'SQL_ASCII') || body);
END $fn$;
REVOKE ALL ON FUNCTION scribe.emit(text) FROM PUBLIC;

-- While pg_scribe itself runs DDL, this session setting holds the secret,
-- which no other session can know.
CREATE FUNCTION scribe.quiet() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT coalesce(current_setting('scribe.quiet', true), '') <> ''
    AND current_setting('scribe.quiet', true) = (SELECT value FROM scribe.config WHERE key = 'secret')
$fn$;
REVOKE ALL ON FUNCTION scribe.quiet() FROM PUBLIC;

CREATE FUNCTION scribe.emit_gap(reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM scribe.emit(jsonb_build_object('ev', 'gap', 'reason', reason)::text);
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'pg_scribe could not capture a DDL command: take a new base with "pg_scribe full-backup" (%)', reason;
END $fn$;
REVOKE ALL ON FUNCTION scribe.emit_gap(text) FROM PUBLIC;

CREATE FUNCTION scribe.mark(name text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT scribe.emit(jsonb_build_object('ev', 'mark', 'name', name)::text)
$fn$;
REVOKE ALL ON FUNCTION scribe.mark(text) FROM PUBLIC;

-- A command with CONCURRENTLY ends in another transaction than it began in,
-- so what is noted for it has to outlive the first.
CREATE FUNCTION scribe.on_start_user() RETURNS event_trigger
LANGUAGE plpgsql AS $fn$
DECLARE
  transient boolean := pg_catalog.current_query() OPERATOR(pg_catalog.!~*) E'\\mconcurrently\\M';
BEGIN
  PERFORM pg_catalog.set_config('scribe.role', current_user, transient),
          pg_catalog.set_config('scribe.path', pg_catalog.current_setting('search_path'), transient);
END $fn$;

-- Commands that run in several transactions, and must come first in theirs: a
-- message at their start would take a transaction id and so break them.
CREATE FUNCTION scribe.concurrent(tag text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog AS $fn$
  SELECT tag IN ('DROP INDEX', 'CREATE INDEX', 'REINDEX') AND current_query() ~* E'\\mconcurrently\\M'
    OR tag = 'ALTER TABLE' AND current_query() ~* E'\\mdetach\\M.*\\mpartition\\M.*\\mconcurrently\\M'
$fn$;
REVOKE ALL ON FUNCTION scribe.concurrent(text) FROM PUBLIC;

-- Columns that were added with a default and without a rewrite.
CREATE FUNCTION scribe.missing_columns() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT coalesce(string_agg(attrelid::text || '.' || attnum, ' '), '') FROM pg_attribute WHERE atthasmissing
$fn$;
REVOKE ALL ON FUNCTION scribe.missing_columns() FROM PUBLIC;

-- The values of such columns, where running the command again could give
-- others: those that are new since command start and whose default is not
-- made of immutable functions only.
CREATE FUNCTION scribe.missing_values(before text, command text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET extra_float_digits = 3 SET TimeZone = 'UTC'
SET bytea_output = 'hex' SET lc_monetary = 'C' AS $fn$
  SELECT jsonb_agg(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'column', a.attname,
      'value', (a.attmissingval::text::text[])[1]))
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.atthasmissing AND NOT a.attisdropped AND c.relpersistence <> 't'
    AND a.attrelid::text || '.' || a.attnum <> ALL (string_to_array(before, ' '))
    AND (d.adbin::text ~ 'SQLVALUEFUNCTION|COERCEVIAIO' OR command ~* 'now|today|tomorrow|yesterday'
      OR EXISTS (SELECT FROM regexp_matches(d.adbin::text, E':(?:op)?funcid (\\d+)', 'g') m
                 JOIN pg_proc p ON p.oid = m[1]::oid WHERE p.provolatile <> 'i'))
$fn$;
REVOKE ALL ON FUNCTION scribe.missing_values(text, text) FROM PUBLIC;

-- What a role is a member of, directly or not: its commands may rest on that.
CREATE FUNCTION scribe.memberships(name text) RETURNS TABLE (roleid oid, member oid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH RECURSIVE m AS (
    SELECT a.roleid, a.member FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.member WHERE r.rolname = name AND NOT r.rolsuper
    UNION SELECT a.roleid, a.member FROM m JOIN pg_auth_members a ON a.member = m.roleid)
  SELECT roleid, member FROM m WHERE roleid >= 16384
$fn$;
REVOKE ALL ON FUNCTION scribe.memberships(text) FROM PUBLIC;

-- The text of the command, with what decides how it reads, and the roles that
-- it may name: their own commands fire no event.
CREATE FUNCTION scribe.command(context text) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT jsonb_build_object(
    'role', current_setting('scribe.role', true), 'session', session_user,
    'super', (SELECT rolsuper FROM pg_roles WHERE rolname = current_setting('scribe.role', true)),
    'path', current_setting('scribe.path', true),
    'sql', current_query(), 'ctx', context,
    'sources', (SELECT jsonb_agg(DISTINCT p.prosrc) FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
      WHERE l.lanname = 'sql' AND context ~ E'^[^\\n]*\\nSQL function "'
        AND p.proname = substring(context FROM E'^[^\\n]*\\nSQL function "([^\\n]*)" statement \\d+')),
    'roles', (SELECT jsonb_agg(jsonb_build_object('name', rolname, 'super', rolsuper, 'inherit', rolinherit,
        'createrole', rolcreaterole, 'createdb', rolcreatedb, 'login', rolcanlogin, 'replication', rolreplication, 'bypassrls', rolbypassrls))
      FROM pg_roles WHERE oid >= 16384 AND (position(lower(rolname) IN lower(current_query() || context)) > 0
        OR oid IN (SELECT member FROM scribe.memberships(current_setting('scribe.role', true))
          UNION SELECT roleid FROM scribe.memberships(current_setting('scribe.role', true)))
        OR rolname = current_setting('scribe.role', true))),
    'members', (SELECT jsonb_agg(jsonb_build_object('role', r.rolname, 'member', u.rolname))
      FROM scribe.memberships(current_setting('scribe.role', true)) m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member),
    'at', extract(epoch FROM statement_timestamp())::text, 'pid', pg_backend_pid(),
    'set', (SELECT jsonb_object_agg(name, current_setting(name)) FROM unnest(ARRAY[
      'DateStyle', 'IntervalStyle', 'TimeZone', 'default_tablespace', 'default_table_access_method',
      'default_toast_compression', 'standard_conforming_strings', 'xmloption', 'array_nulls',
      'transform_null_equals', 'backslash_quote', 'lc_monetary', 'bytea_output']) AS name))
$fn$;
REVOKE ALL ON FUNCTION scribe.command(text) FROM PUBLIC;

CREATE FUNCTION scribe.on_start() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lc_messages = 'C' AS $fn$
DECLARE
  context text;
BEGIN
  IF scribe.quiet() OR scribe.concurrent(tg_tag) THEN
    RETURN;
  END IF;
  GET DIAGNOSTICS context = PG_CONTEXT;
  IF tg_tag = 'ALTER TABLE' THEN
    PERFORM set_config('scribe.missing', scribe.missing_columns(), true);
  END IF;
  PERFORM scribe.emit((jsonb_build_object('ev', 'start', 'tag', tg_tag) || scribe.command(context))::text);
EXCEPTION WHEN OTHERS THEN
  PERFORM scribe.emit_gap(format('start of %s: %s', tg_tag, SQLERRM));
END $fn$;

-- Without the publication, decoding fails at the first change and for good:
-- dropping it by mistake is refused.
CREATE FUNCTION scribe.on_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF scribe.quiet() THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() o JOIN scribe.config c ON c.key = 'publication ' || o.object_name
      WHERE o.object_type = 'publication') THEN
    RAISE EXCEPTION 'this publication carries the backup of pg_scribe' USING ERRCODE = 'object_in_use',
      HINT = 'To end the backup, use: pg_scribe drop';
  END IF;
  PERFORM scribe.emit_dropped(tg_tag);
END $fn$;

CREATE FUNCTION scribe.emit_dropped(tg_tag text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM scribe.emit(jsonb_build_object('ev', 'drop', 'tag', tg_tag, 'objects',
    (SELECT jsonb_agg(jsonb_build_object('class', classid::int8, 'oid', objid::int8, 'type', object_type,
       'schema', schema_name, 'identity', object_identity, 'temp', is_temporary, 'original', original))
     FROM pg_event_trigger_dropped_objects()))::text);
EXCEPTION WHEN OTHERS THEN
  PERFORM scribe.emit_gap(format('objects dropped by %s: %s', tg_tag, SQLERRM));
END $fn$;
REVOKE ALL ON FUNCTION scribe.emit_dropped(text) FROM PUBLIC;

CREATE FUNCTION scribe.on_rewrite() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM set_config('scribe.rewritten', concat_ws(' ', nullif(current_setting('scribe.rewritten', true), ''),
    pg_event_trigger_table_rewrite_oid() || ':' || pg_event_trigger_table_rewrite_reason()), true);
END $fn$;

-- CREATE TABLE AS and SELECT INTO: what the query returned is in the stream;
-- the table itself has nothing but what the catalogs say here.
CREATE FUNCTION scribe.table_definition(rel oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT format('CREATE %sTABLE %I.%I (%s)', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, n.nspname, c.relname,
      (SELECT string_agg(format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
                     THEN (SELECT format(' COLLATE %I.%I', cn.nspname, co.collname)
                           FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace
                           WHERE co.oid = a.attcollation) END), ', ' ORDER BY a.attnum)
       FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
    || coalesce((SELECT format(' USING %I', amname) FROM pg_am WHERE oid = c.relam AND amname <> 'heap'), '')
    || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')
    || coalesce((SELECT format(' TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = c.reltablespace), '')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel
$fn$;
REVOKE ALL ON FUNCTION scribe.table_definition(oid) FROM PUBLIC;

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
  SELECT string_agg(quote_ident(attname), ',' ORDER BY attnum),
         string_agg(format('CASE WHEN %1$I IS NOT DISTINCT FROM NULL THEN NULL ELSE format(''%%s'', %1$I) END', attname), ', ' ORDER BY attnum)
    INTO columns, row_json
    FROM pg_attribute WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
  PERFORM scribe.emit(jsonb_build_object('ev', 'refill', 'oid', rel::int8,
    'schema', (SELECT nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid WHERE c.oid = rel),
    'table', (SELECT relname FROM pg_class WHERE oid = rel),
    'columns', (SELECT coalesce(jsonb_agg(attname ORDER BY attnum), '[]') FROM pg_attribute
                WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped AND attgenerated = ''))::text);
  IF columns IS NULL THEN
    RETURN;
  END IF;
  EXECUTE format($q$SELECT count(scribe.emit(jsonb_build_object('ev', 'rows', 'oid', %s, 'rows', rows)::text))
    FROM (SELECT jsonb_agg(r) AS rows FROM (SELECT r, sum(octet_length(r::text)) OVER (ROWS UNBOUNDED PRECEDING) / 1000000 AS g
        FROM (SELECT jsonb_build_array(%s) AS r FROM ONLY %s) z) x GROUP BY g) y$q$,
    rel, row_json, rel::regclass);
END $fn$;
REVOKE ALL ON FUNCTION scribe.emit_contents(oid) FROM PUBLIC;

-- How to compare values of a type that is not built in, where that takes more
-- than =: composite types need their name, extensions' operators their schema.
CREATE FUNCTION scribe.type_facts(type oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH RECURSIVE base AS (
    SELECT t.* FROM pg_type t WHERE t.oid = type
    UNION ALL SELECT t.* FROM base b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd')
  SELECT jsonb_strip_nulls(jsonb_build_object('oid', type::int8,
    'cast', CASE WHEN b.typtype = 'c' THEN format('%I.%I', n.nspname, b.typname) END,
    'equal', (SELECT format('OPERATOR(%I.%s)', on_.nspname, op.oprname)
      FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
        JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amopstrategy = 3 AND a.amoplefttype = b.oid AND a.amoprighttype = b.oid
        JOIN pg_operator op ON op.oid = a.amopopr JOIN pg_namespace on_ ON on_.oid = op.oprnamespace
      WHERE c.opcdefault AND c.opcintype = b.oid AND on_.nspname <> 'pg_catalog' LIMIT 1)))
  FROM base b JOIN pg_namespace n ON n.oid = b.typnamespace
  WHERE b.typtype <> 'd' AND (b.typtype = 'c' OR b.typtype = 'b' AND b.oid >= 16384)
$fn$;
REVOKE ALL ON FUNCTION scribe.type_facts(oid) FROM PUBLIC;

-- Facts about a table that neither its rows in the stream nor the command's
-- text tell.
CREATE FUNCTION scribe.table_facts(rel oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT jsonb_strip_nulls(jsonb_build_object(
    'oid', c.oid::int8, 'schema', n.nspname, 'table', c.relname, 'kind', c.relkind, 'persistence', c.relpersistence,
    'always', (SELECT jsonb_agg(attname ORDER BY attnum) FROM pg_attribute
               WHERE attrelid = c.oid AND attidentity = 'a' AND NOT attisdropped)))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel
$fn$;
REVOKE ALL ON FUNCTION scribe.table_facts(oid) FROM PUBLIC;

-- Bounds of the partitions that this transaction made or attached, as they
-- were computed: an expression among them could give another value later.
CREATE FUNCTION scribe.new_bounds() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET extra_float_digits = 3 SET TimeZone = 'UTC'
SET bytea_output = 'hex' SET lc_monetary = 'C' AS $fn$
  SELECT jsonb_agg(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'text', pg_get_expr(c.relpartbound, c.oid)))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relispartition AND c.xmin::text::bigint >= pg_current_xact_id_if_assigned()::text::bigint % 4294967296
$fn$;
REVOKE ALL ON FUNCTION scribe.new_bounds() FROM PUBLIC;

-- The constraints of a table that was detached concurrently: the server adds
-- one that says what its bounds said.
CREATE FUNCTION scribe.detached_checks(command text, path text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  rel oid;
BEGIN
  PERFORM set_config('search_path', path, true);
  rel := pg_catalog.to_regclass((pg_catalog.regexp_match(command, E'\\mpartition\\s+(("([^"]|"")*"|[^\\s".]+)(\\.("([^"]|"")*"|[^\\s".]+))?)\\s+concurrently', 'i'))[1]);
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
  RETURN (SELECT jsonb_agg(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'name', k.conname, 'text', pg_get_constraintdef(k.oid)))
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.conrelid = rel AND k.contype = 'c');
END $fn$;
REVOKE ALL ON FUNCTION scribe.detached_checks(text, text) FROM PUBLIC;

-- An index on a partitioned table that did not become valid, because a
-- partition has one that is invalid (its CREATE INDEX CONCURRENTLY failed): the
-- commands that make all of it but the invalid ones, as pg_dump would.
CREATE FUNCTION scribe.partial_index(root oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT jsonb_agg(cmd ORDER BY level, step) FROM pg_partition_tree(root) t
    JOIN pg_index i ON i.indexrelid = t.relid AND (i.indisvalid OR NOT t.isleaf)
    JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace,
    LATERAL (VALUES (1, regexp_replace(pg_get_indexdef(t.relid), 'INDEX ', 'INDEX IF NOT EXISTS ')),
      (2, (SELECT format('ALTER INDEX %I.%I ATTACH PARTITION %I.%I', pn.nspname, pc.relname, n.nspname, c.relname)
           FROM pg_class pc JOIN pg_namespace pn ON pn.oid = pc.relnamespace WHERE pc.oid = t.parentrelid AND t.level > 0))) s (step, cmd)
  WHERE cmd IS NOT NULL
$fn$;
REVOKE ALL ON FUNCTION scribe.partial_index(oid) FROM PUBLIC;

-- The index that ALTER INDEX … ATTACH PARTITION names: whether it is valid,
-- and its definition if it became so after it was made.
CREATE FUNCTION scribe.attached_index(command text, path text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  rel oid;
BEGIN
  PERFORM set_config('search_path', path, true);
  rel := pg_catalog.to_regclass((pg_catalog.regexp_match(command, E'\\mattach\\s+partition\\s+(("([^"]|"")*"|[^\\s".;]+)(\\.("([^"]|"")*"|[^\\s".;]+))?)', 'i'))[1]);
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
  RETURN (SELECT jsonb_build_object('valid', i.indisvalid OR c.relkind = 'I', 'text', CASE WHEN i.indisvalid AND c.relkind = 'i' AND i.xmin <> a.xmin
      THEN regexp_replace(pg_get_indexdef(rel), 'INDEX ', 'INDEX IF NOT EXISTS ') END)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = 1 WHERE i.indexrelid = rel);
END $fn$;
REVOKE ALL ON FUNCTION scribe.attached_index(text, text) FROM PUBLIC;

CREATE FUNCTION scribe.on_end() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lc_messages = 'C' AS $fn$
DECLARE
  message jsonb := jsonb_build_object('ev', 'end', 'tag', tg_tag);
  context text;
  rewritten text;
BEGIN
  IF scribe.quiet() THEN
    RETURN;
  END IF;
  IF scribe.concurrent(tg_tag) THEN
    GET DIAGNOSTICS context = PG_CONTEXT;
    message := message || scribe.command(context) || '{"late": true}';
    IF tg_tag = 'ALTER TABLE' THEN
      message := message || jsonb_build_object('checks',
        scribe.detached_checks(current_query(), current_setting('scribe.path', true)));
    END IF;
  END IF;
  message := message || jsonb_build_object(
    'objects', (SELECT jsonb_agg(jsonb_build_object('class', classid::int8, 'oid', objid::int8, 'tag', command_tag,
        'type', object_type, 'schema', schema_name, 'identity', object_identity, 'ext', in_extension,
        'own', EXISTS (SELECT FROM pg_publication p JOIN scribe.config c ON c.key = 'publication ' || p.pubname
          WHERE object_type = 'publication' AND p.oid = objid)))
      FROM pg_event_trigger_ddl_commands()),
    'tables', (SELECT jsonb_agg(scribe.table_facts(objid)) FROM
        (SELECT DISTINCT objid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_class'::regclass) d
      WHERE EXISTS (SELECT FROM pg_class WHERE oid = objid AND relkind IN ('r', 'p'))),
    'creates', (SELECT jsonb_agg(scribe.table_definition(objid)) FROM pg_event_trigger_ddl_commands()
      WHERE command_tag IN ('CREATE TABLE AS', 'SELECT INTO') AND object_type = 'table'));
  IF tg_tag IN ('CREATE TABLE', 'ALTER TABLE') THEN
    message := message || jsonb_build_object('bounds', scribe.new_bounds());
  ELSIF tg_tag = 'CREATE INDEX' AND current_query() !~* E'\\mon\\s+only\\M' THEN
    message := message || jsonb_build_object('instead', (SELECT scribe.partial_index(objid) FROM pg_event_trigger_ddl_commands()
      JOIN pg_index ON indexrelid = objid JOIN pg_class c ON c.oid = objid WHERE c.relkind = 'I' AND NOT indisvalid LIMIT 1));
  ELSIF tg_tag = 'ALTER INDEX' AND current_query() ~* E'\\mattach\\s+partition\\M' THEN
    message := message || jsonb_build_object('attached',
      scribe.attached_index(current_query(), current_setting('scribe.path', true)));
  ELSIF tg_tag ~ 'SUBSCRIPTION' THEN
    message := message || jsonb_build_object('subscriptions',
      (SELECT jsonb_agg(jsonb_build_object('name', subname, 'connection', subconninfo, 'publications', subpublications))
       FROM pg_subscription WHERE oid IN (SELECT objid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_subscription'::regclass)));
  END IF;
  IF tg_tag = 'ALTER TABLE' THEN
    message := message || jsonb_build_object('missing',
      scribe.missing_values(coalesce(current_setting('scribe.missing', true), ''), current_query()));
  END IF;
  PERFORM scribe.emit(message::text);
  FOR rewritten IN SELECT DISTINCT split_part(x, ':', 1) FROM
      unnest(string_to_array(coalesce(current_setting('scribe.rewritten', true), ''), ' ')) x WHERE x <> '' LOOP
    IF EXISTS (SELECT FROM pg_class WHERE oid = rewritten::oid AND relkind = 'r' AND relpersistence = 'p') THEN
      PERFORM scribe.emit_contents(rewritten::oid);
    END IF;
  END LOOP;
  PERFORM set_config('scribe.rewritten', '', true);
EXCEPTION WHEN OTHERS THEN
  PERFORM set_config('scribe.rewritten', '', true);
  PERFORM scribe.emit_gap(format('end of %s: %s', tg_tag, SQLERRM));
END $fn$;

-- Sequences do not appear in logical decoding; `start` samples them.
CREATE FUNCTION scribe.sequence_values() RETURNS TABLE (schema text, name text, last_value bigint, is_called boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname <> 'scribe' LOOP
    schema := r.nspname;
    name := r.relname;
    BEGIN
      EXECUTE format('SELECT last_value, is_called FROM %I.%I', r.nspname, r.relname) INTO last_value, is_called;
      RETURN NEXT;
    EXCEPTION WHEN undefined_table OR lock_not_available THEN
      NULL; -- dropped, or being altered: the next sample has it
    END;
  END LOOP;
END $fn$;
REVOKE ALL ON FUNCTION scribe.sequence_values() FROM PUBLIC;

-- Tables whose UPDATE or DELETE would fail, or would not be sent, because a
-- publication covers them and they have no usable replica identity.
CREATE VIEW scribe.unguarded AS
  SELECT c.oid AS relid, n.nspname AS schema, c.relname AS "table", c.relreplident AS identity,
         (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisreplident) AS index
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname NOT IN ('scribe', 'information_schema')
    AND (c.relreplident = 'n'
      OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
        AND i.indisprimary AND i.indimmediate AND i.indisvalid AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND a.attgenerated <> ''))
      OR c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
        AND i.indisreplident AND i.indisvalid AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND a.attgenerated <> '')));
REVOKE ALL ON scribe.unguarded FROM PUBLIC;

-- Gives one table REPLICA IDENTITY FULL and remembers what it had.
CREATE FUNCTION scribe.guard_table(rel oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM set_config('scribe.quiet', (SELECT value FROM scribe.config WHERE key = 'secret'), true);
  INSERT INTO scribe.identity SELECT relid, identity, index FROM scribe.unguarded WHERE relid = rel
    ON CONFLICT (relid) DO NOTHING;
  EXECUTE format('ALTER TABLE ONLY %s REPLICA IDENTITY FULL', rel::regclass);
  PERFORM set_config('scribe.quiet', '', true);
EXCEPTION WHEN OTHERS THEN
  PERFORM set_config('scribe.quiet', '', true);
  RAISE;
END $fn$;
REVOKE ALL ON FUNCTION scribe.guard_table(oid) FROM PUBLIC;

CREATE FUNCTION scribe.on_end_guard() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  rel oid;
BEGIN
  IF scribe.quiet() OR tg_tag !~ '^(CREATE (TABLE|SCHEMA|EXTENSION)|SELECT INTO|ALTER |DROP )' THEN
    RETURN;
  END IF;
  FOR rel IN SELECT relid FROM scribe.unguarded LOOP
    BEGIN
      PERFORM scribe.guard_table(rel);
    EXCEPTION WHEN OTHERS THEN
      -- The table may be in use by this very session: `start` tries again.
      RAISE LOG 'pg_scribe: no replica identity for %: %', rel::regclass, SQLERRM;
    END;
  END LOOP;
EXCEPTION WHEN OTHERS THEN
  RAISE LOG 'pg_scribe: replica identities after %: %', tg_tag, SQLERRM;
END $fn$;

CREATE EVENT TRIGGER scribe_a ON ddl_command_start EXECUTE FUNCTION scribe.on_start_user();
CREATE EVENT TRIGGER scribe_b ON ddl_command_start EXECUTE FUNCTION scribe.on_start();
CREATE EVENT TRIGGER scribe_d ON sql_drop EXECUTE FUNCTION scribe.on_drop();
CREATE EVENT TRIGGER scribe_r ON table_rewrite EXECUTE FUNCTION scribe.on_rewrite();
CREATE EVENT TRIGGER scribe_y ON ddl_command_end EXECUTE FUNCTION scribe.on_end();
CREATE EVENT TRIGGER scribe_z ON ddl_command_end EXECUTE FUNCTION scribe.on_end_guard();
ALTER EVENT TRIGGER scribe_a ENABLE ALWAYS;
ALTER EVENT TRIGGER scribe_b ENABLE ALWAYS;
ALTER EVENT TRIGGER scribe_d ENABLE ALWAYS;
ALTER EVENT TRIGGER scribe_r ENABLE ALWAYS;
ALTER EVENT TRIGGER scribe_y ENABLE ALWAYS;
ALTER EVENT TRIGGER scribe_z ENABLE ALWAYS;
