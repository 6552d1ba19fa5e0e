-- What pg_scribe installs in the source database: schema scribe, six event
-- triggers and a publication, or two in the no-harm mode. `pg_scribe drop` removes all of it.
--
-- The event triggers describe every DDL command in signed logical decoding
-- messages, so that the stream has each command at its place among the row
-- changes. They are written so that they never make a user's command fail: an
-- error inside them becomes a "gap" message instead.
--
-- A message is put together where errors are caught, and emitted outside:
-- emitted inside, it would take a subtransaction id for each command, and many
-- of those slow down the snapshots of every other session.
--
-- Functions that run for every command are PL/pgSQL, because a session keeps
-- their plans (which are generic: to plan for each list of tables costs more
-- than it gains), and look only at what the command touched.
--
-- The bodies are read under the session's standard_conforming_strings: a
-- literal with a backslash has to be an escape string.
--
-- A statement_timeout that strikes in them behind the command would have spared
-- it without them. It strikes once: they begin again. Who cancels by hand is obeyed.
--
-- They never wait for another session either. Functions that describe an object
-- (pg_get_viewdef and the like) or measure a relation lock what they read: they
-- are used on what the command has locked itself, else with a lock_timeout.
--
-- Settings named scribe.* pass notes between the triggers. Anyone may change
-- them, so each is either set again before it is read, or signed, or harmless.
--
-- Order of the triggers (PostgreSQL fires them by name):
--   scribe_a  command start, as the user: notes role and search_path
--   scribe_b  command start, as owner: emits the command's text
--   scribe_d  dropped objects
--   scribe_r  table rewrite: notes which table
--   scribe_y  command end: emits the facts that are known only now
--   scribe_z  command end: gives new tables a usable replica identity, or
--             lists those that have one

CREATE SCHEMA scribe;
REVOKE ALL ON SCHEMA scribe FROM PUBLIC;
COMMENT ON SCHEMA scribe IS 'pg_scribe: capture of DDL for continuous backup';

-- Nothing of this is a table: those would be in every publication FOR ALL TABLES
-- of others, and pg_dump needs rights on each. What init sets is in a
-- materialized view, whose contents are in no publication and no dump;
-- REFRESH takes them from a setting, or leaves them as they are. A copy that
-- pg_dump made has what stands in place of SETTINGS: all but the secret.
--
-- It is to be filled by REFRESH alone, which logical decoding leaves out:
-- other slots would be shown what CREATE ... WITH DATA writes.
CREATE FUNCTION scribe.config_values() RETURNS TABLE (key text, value text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $fn$
DECLARE
  wanted jsonb := nullif(current_setting('scribe.new_config', true), '')::jsonb;
  present jsonb;
BEGIN
  IF (SELECT relispopulated FROM pg_class WHERE oid = to_regclass('scribe.config')) THEN -- or about to be
    EXECUTE 'SELECT jsonb_object_agg(key, value) FROM scribe.config' INTO present;
  END IF;
  IF present IS NULL OR present ->> 'secret' = wanted ->> 'secret' THEN -- not for anyone who can set it
    present := coalesce(wanted, present);
  END IF;
  IF present IS NOT NULL THEN
    RETURN QUERY SELECT j.key, j.value FROM jsonb_each_text(present) j;
  ELSE
    RETURN QUERY SELECT * FROM (VALUES (NULL::text, NULL::text)) x (key, value) WHERE false; -- SETTINGS
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.config_values() FROM PUBLIC;

CREATE MATERIALIZED VIEW scribe.config AS SELECT key, value FROM scribe.config_values() WITH NO DATA;
REVOKE ALL ON scribe.config FROM PUBLIC;
COMMENT ON MATERIALIZED VIEW scribe.config IS 'pg_scribe: version and mode of the capture, and the secret that signs its messages';

-- Whether this is the database that init was run in, and none that was made
-- from it: by pg_dump, which leaves out the secret, CREATE DATABASE ... TEMPLATE, or pg_upgrade.
CREATE FUNCTION scribe.here() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF NOT (SELECT relispopulated FROM pg_class WHERE oid = 'scribe.config'::regclass) THEN
    RETURN false; -- pg_restore is at work
  END IF;
  RETURN (SELECT count(*) FROM scribe.config WHERE value = CASE key WHEN 'database' THEN (SELECT oid::text FROM pg_database WHERE datname = current_database())
    WHEN 'system' THEN (SELECT system_identifier::text FROM pg_control_system()) END) = 2;
END $fn$;
REVOKE ALL ON FUNCTION scribe.here() FROM PUBLIC;

-- Whether to emit what this transaction does: here, and where a slot may be read.
-- A copy of the server's files by pg_basebackup has none. A slot that is being made begins
-- behind the end of every transaction that had an id when it appeared: with an
-- id taken first, what is not emitted for want of a slot is in the slot's
-- snapshot. Not for commands that must not have an id.
CREATE FUNCTION scribe.active() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF NOT scribe.here() THEN
    RETURN false;
  END IF;
  PERFORM pg_current_xact_id();
  RETURN EXISTS (SELECT FROM pg_get_replication_slots() s
    WHERE s.slot_type = 'logical' AND s.datoid = (SELECT oid FROM pg_database WHERE datname = current_database()));
END $fn$;
REVOKE ALL ON FUNCTION scribe.active() FROM PUBLIC;

-- The signature keeps messages of others who may call
-- pg_logical_emit_message from passing as captured DDL (the shape of HMAC).
CREATE FUNCTION scribe.signature(body bytea) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  secret bytea;
BEGIN
  SELECT decode(value, 'hex') INTO STRICT secret FROM scribe.config WHERE key = 'secret';
  RETURN encode(sha256(secret || sha256(secret || body)), 'hex');
END $fn$;
REVOKE ALL ON FUNCTION scribe.signature(bytea) FROM PUBLIC;

-- A message as it is to be emitted. Decoding needs several times its size, and
-- cannot handle 1 GB.
CREATE FUNCTION scribe.signed(payload text) RETURNS bytea
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  body bytea := convert_to(payload, getdatabaseencoding());
BEGIN
  IF octet_length(body) > 400000000 THEN
    RAISE EXCEPTION 'its description takes % bytes', octet_length(body);
  END IF;
  RETURN convert_to(scribe.signature(body) || ' ', 'SQL_ASCII') || body;
END $fn$;
REVOKE ALL ON FUNCTION scribe.signed(text) FROM PUBLIC;

CREATE FUNCTION scribe.emit(payload text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF scribe.active() THEN
    PERFORM pg_logical_emit_message(true, 'pg_scribe', scribe.signed(payload));
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.emit(text) FROM PUBLIC;

-- While pg_scribe itself runs DDL, this session setting holds the secret,
-- which no other session can know.
CREATE FUNCTION scribe.quiet() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF coalesce(current_setting('scribe.quiet', true), '') = '' THEN
    RETURN false;
  END IF;
  RETURN current_setting('scribe.quiet') = (SELECT value FROM scribe.config WHERE key = 'secret');
END $fn$;
REVOKE ALL ON FUNCTION scribe.quiet() FROM PUBLIC;

-- The message that something could not be captured; NULL, which is never
-- emitted, when not even that can be made.
CREATE FUNCTION scribe.gap(reason text) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN scribe.signed(jsonb_build_object('ev', 'gap', 'reason', reason)::text);
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'pg_scribe could not capture a DDL command: take a new base with "pg_scribe full-backup" (%)', reason;
  RETURN NULL;
END $fn$;
REVOKE ALL ON FUNCTION scribe.gap(text) FROM PUBLIC;

-- Ends the command that somebody cancelled, but not for a statement_timeout.
CREATE FUNCTION scribe.obey(problem text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $fn$
BEGIN
  IF problem <> 'canceling statement due to statement timeout' THEN
    RAISE EXCEPTION '%', problem USING ERRCODE = 'query_canceled';
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.obey(text) FROM PUBLIC;

CREATE FUNCTION scribe.mark(name text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT scribe.emit(jsonb_build_object('ev', 'mark', 'name', name)::text)
$fn$;
REVOKE ALL ON FUNCTION scribe.mark(text) FROM PUBLIC;

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

-- Notes of this statement that only the capture can have made. A seal is
-- shorter than the signature of a message, so that it cannot pass as one.
CREATE FUNCTION scribe.seal(note text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN left(scribe.signature(convert_to(concat_ws(chr(31), note, statement_timestamp(), pg_backend_pid()), getdatabaseencoding())), 32);
END $fn$;
REVOKE ALL ON FUNCTION scribe.seal(text) FROM PUBLIC;

-- What the start of such a command leaves for its end: role and path, which
-- commands inside it, such as those of other event triggers, set anew.
CREATE FUNCTION scribe.late_note() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  note text := concat_ws(chr(31), current_setting('scribe.role', true), current_setting('scribe.path', true));
BEGIN
  RETURN concat_ws(chr(31), scribe.seal('late ' || note), note);
END $fn$;
REVOKE ALL ON FUNCTION scribe.late_note() FROM PUBLIC;

-- Tells whether this statement is such a command, and puts its notes back.
CREATE FUNCTION scribe.is_late() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  note text[];
BEGIN
  IF coalesce(current_setting('scribe.late', true), '') = '' THEN
    RETURN false;
  END IF;
  note := string_to_array(current_setting('scribe.late'), chr(31));
  IF note[1] = scribe.seal('late ' || array_to_string(note[2:], chr(31))) THEN
    PERFORM set_config('scribe.role', note[2], false), set_config('scribe.path', array_to_string(note[3:], chr(31)), false);
    RETURN true;
  END IF;
  RETURN false;
END $fn$;
REVOKE ALL ON FUNCTION scribe.is_late() FROM PUBLIC;

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

-- The values that columns have for rows from before they were added, where
-- running the command again could give others: those whose default is not made
-- of immutable functions only. Whether this command added the column, or only
-- changed it, nothing here tells: replay knows.
CREATE FUNCTION scribe.missing_values(rels oid[], command text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog
SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET extra_float_digits = 3 SET TimeZone = 'UTC'
SET bytea_output = 'hex' SET lc_monetary = 'C' AS $fn$
BEGIN
  RETURN (SELECT jsonb_agg(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'column', a.attname,
      'value', (a.attmissingval::text::text[])[1]))
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = ANY (rels) AND a.atthasmissing AND NOT a.attisdropped AND scribe.is_new(a.xmin) AND c.relpersistence <> 't'
    AND (d.adbin IS NULL -- the default of its domain
      OR d.adbin::text ~ 'SQLVALUEFUNCTION|COERCEVIAIO' OR command ~* 'now|today|tomorrow|yesterday'
      OR EXISTS (SELECT FROM regexp_matches(d.adbin::text, E':(?:op)?funcid (\\d+)', 'g') m
                 JOIN pg_proc p ON p.oid = m[1]::oid WHERE p.provolatile <> 'i')));
END $fn$;
REVOKE ALL ON FUNCTION scribe.missing_values(oid[], text) FROM PUBLIC;

-- What a role is a member of, directly or not: its commands may rest on that.
CREATE FUNCTION scribe.memberships(name text) RETURNS TABLE (roleid oid, member oid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
#variable_conflict use_column
BEGIN
  RETURN QUERY WITH RECURSIVE m AS (
    SELECT a.roleid, a.member FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.member WHERE r.rolname = name AND NOT r.rolsuper
    UNION SELECT a.roleid, a.member FROM m JOIN pg_auth_members a ON a.member = m.roleid)
  SELECT m.roleid, m.member FROM m WHERE m.roleid >= 16384;
END $fn$;
REVOKE ALL ON FUNCTION scribe.memberships(text) FROM PUBLIC;

-- Long texts are sent once: a string of thousands of commands would otherwise
-- be in the WAL thousands of times. scribe.text notes, until the end of the
-- transaction or of the savepoint that the message belongs to, that this
-- statement's text was sent, and what the greatest role was then: the result.
CREATE FUNCTION scribe.text_sent() RETURNS oid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  note text[] := string_to_array(left(current_setting('scribe.text', true), 100), ' ');
BEGIN
  IF note[2] IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN CASE WHEN note[2] = scribe.seal('text ' || note[1]) THEN note[1]::oid END;
END $fn$;
REVOKE ALL ON FUNCTION scribe.text_sent() FROM PUBLIC;

CREATE FUNCTION scribe.send_text(id text, body text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM scribe.emit(jsonb_build_object('ev', 'text', 'id', id, 'text', body)::text);
END $fn$;
REVOKE ALL ON FUNCTION scribe.send_text(text, text) FROM PUBLIC;

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

-- The objects that vanish without an event when the session ends: the temporary
-- ones, and permanent ones that depend on them. It costs nothing in a session
-- that has no temporary schema.
CREATE FUNCTION scribe.transient() RETURNS TABLE (class oid, object oid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH RECURSIVE gone (class, object) AS (
    SELECT 'pg_namespace'::regclass::oid, pg_my_temp_schema() WHERE pg_my_temp_schema() <> 0
    UNION
    SELECT x.class, x.object FROM gone g, LATERAL (
      SELECT d.classid AS class, d.objid AS object FROM pg_depend d
        WHERE d.refclassid = g.class AND d.refobjid = g.object AND d.objsubid = 0 AND d.deptype IN ('n', 'a', 'i')
      UNION ALL -- a view goes with its rule
      SELECT 'pg_class'::regclass, r.ev_class FROM pg_rewrite r
        WHERE g.class = 'pg_rewrite'::regclass AND r.oid = g.object AND r.rulename = '_RETURN') x)
  SELECT class, object FROM gone
$fn$;
REVOKE ALL ON FUNCTION scribe.transient() FROM PUBLIC;

-- The names that mean such objects: GRANT and REVOKE do not tell the event
-- triggers what they are about. bare: also without a schema; alone: no other
-- routine has that name.
CREATE FUNCTION scribe.transient_names(path text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  names jsonb;
BEGIN
  PERFORM set_config('search_path', path, true);
  WITH gone AS MATERIALIZED (SELECT class, object FROM scribe.transient())
  SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('kind', kind, 'schema', nspname, 'name', name, 'bare', bare, 'alone', alone)) INTO names
  FROM (SELECT 'relation' AS kind, relnamespace AS schema, relname AS name, pg_catalog.pg_table_is_visible(oid) AS bare, true AS alone
        FROM gone JOIN pg_catalog.pg_class ON oid = object WHERE class = 'pg_catalog.pg_class'::pg_catalog.regclass AND relkind <> 'i'
      UNION ALL
        SELECT 'type', typnamespace, typname, pg_catalog.pg_type_is_visible(oid), true
        FROM gone JOIN pg_catalog.pg_type ON oid = object WHERE class = 'pg_catalog.pg_type'::pg_catalog.regclass
      UNION ALL
        SELECT 'routine', p.pronamespace, p.proname, pg_catalog.pg_function_is_visible(p.oid),
          NOT EXISTS (SELECT FROM pg_catalog.pg_proc o WHERE o.proname = p.proname AND o.oid <> p.oid
            AND (p.pronamespace = o.pronamespace OR pg_catalog.pg_function_is_visible(o.oid)))
        FROM gone JOIN pg_catalog.pg_proc p ON p.oid = object WHERE class = 'pg_catalog.pg_proc'::pg_catalog.regclass) x
    JOIN pg_catalog.pg_namespace n ON n.oid = x.schema;
  RETURN names;
END $fn$;
REVOKE ALL ON FUNCTION scribe.transient_names(text) FROM PUBLIC;

-- What this transaction gave permanent tables that will vanish with the
-- session: a column, or else no more than a default or a constraint.
CREATE FUNCTION scribe.transient_parts() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH gone AS MATERIALIZED (SELECT class, object FROM scribe.transient()),
  part AS (
    SELECT 'column' AS what, d.objid AS rel FROM pg_depend d JOIN gone g ON d.refclassid = g.class AND d.refobjid = g.object
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid > 0 AND scribe.is_new(d.xmin)
    UNION ALL
    SELECT 'expression', adrelid FROM pg_attrdef d JOIN gone g ON g.class = 'pg_attrdef'::regclass AND g.object = d.oid
    WHERE scribe.is_new(d.xmin)
    UNION ALL
    SELECT 'expression', conrelid FROM pg_constraint c JOIN gone g ON g.class = 'pg_constraint'::regclass AND g.object = c.oid
    WHERE scribe.is_new(c.xmin))
  SELECT min(what) FROM part WHERE ('pg_class'::regclass, rel) NOT IN (SELECT class, object FROM gone)
$fn$;
REVOKE ALL ON FUNCTION scribe.transient_parts() FROM PUBLIC;

-- Whether values of a type hash by OIDs, which are others in a restored
-- database: enums, names of objects, and what is made of them.
CREATE FUNCTION scribe.hashes_by_oid(type oid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH RECURSIVE part (oid) AS (
    SELECT type
    UNION
    SELECT z.oid FROM part p JOIN pg_type y ON y.oid = p.oid, LATERAL (
      SELECT y.typbasetype UNION ALL SELECT y.typelem
      UNION ALL SELECT atttypid FROM pg_attribute WHERE attrelid = y.typrelid AND attnum > 0 AND NOT attisdropped
      UNION ALL SELECT rngsubtype FROM pg_range WHERE y.oid IN (rngtypid, rngmultitypid)) z (oid) WHERE z.oid <> 0)
  SELECT EXISTS (SELECT FROM part JOIN pg_type t USING (oid) WHERE t.typtype = 'e' OR t.oid < 16384 AND t.typname ~ '^reg')
$fn$;
REVOKE ALL ON FUNCTION scribe.hashes_by_oid(oid) FROM PUBLIC;

-- The table through which the rows of a hash partition have to be written,
-- where it depends on OIDs which partition they belong to.
CREATE FUNCTION scribe.hash_root(rel oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = pg_partition_root(rel) AND c.oid <> rel AND EXISTS (
    SELECT FROM pg_partition_ancestors(rel) a JOIN pg_partitioned_table p ON p.partrelid = a.relid
    WHERE p.partstrat = 'h' AND (
      EXISTS (SELECT FROM pg_attribute k WHERE k.attrelid = p.partrelid AND k.attnum = ANY (p.partattrs) AND scribe.hashes_by_oid(k.atttypid))
      OR p.partexprs IS NOT NULL AND EXISTS (SELECT FROM pg_opclass o WHERE o.oid = ANY (p.partclass)
        AND o.opcintype IN ('anyenum'::regtype, 'anyarray'::regtype, 'record'::regtype, 'anyrange'::regtype, 'anymultirange'::regtype))))
$fn$;
REVOKE ALL ON FUNCTION scribe.hash_root(oid) FROM PUBLIC;

-- Tables whose rows no dump has, because they belong to an extension that does
-- not mark them with pg_extension_config_dump, and since which transaction.
CREATE VIEW scribe.unsaved AS
  SELECT d.objid AS relid, e.extname AS extension, d.xmin AS since
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid JOIN pg_catalog.pg_class c ON c.oid = d.objid
  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
    AND d.deptype = 'e' AND c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid <> ALL (coalesce(e.extconfig, '{}'));
REVOKE ALL ON scribe.unsaved FROM PUBLIC;

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
  IF tag ~ '^(ALTER|DROP) ' AND EXISTS (SELECT FROM pg_partitioned_table WHERE partstrat = 'h') THEN
    note := (SELECT coalesce(jsonb_object_agg(oid, scribe.hash_root(oid)), '{}') FROM pg_class WHERE relispartition AND relkind = 'r')::text;
    PERFORM scribe.note('leaves', note);
  END IF;
  IF tag = 'ALTER EXTENSION' THEN
    note := concat_ws(' ', scribe.noted('unsaved'), (SELECT string_agg(relid::text, ' ') FROM scribe.unsaved));
    PERFORM scribe.note('unsaved', note);
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.note_before(text) FROM PUBLIC;

-- Leaves a note for the triggers that follow in the transaction; scribe.noted
-- reads it.
CREATE FUNCTION scribe.note(name text, body text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM set_config('scribe.' || name, scribe.seal(name || ' ' || body) || ' ' || body, true);
END $fn$;
REVOKE ALL ON FUNCTION scribe.note(text, text) FROM PUBLIC;

CREATE FUNCTION scribe.noted(name text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  note text := current_setting('scribe.' || name, true);
  body text := substr(note, strpos(note, ' ') + 1);
BEGIN
  IF coalesce(note, '') = '' THEN
    RETURN NULL;
  END IF;
  RETURN CASE WHEN split_part(note, ' ', 1) = scribe.seal(name || ' ' || body) THEN body END;
END $fn$;
REVOKE ALL ON FUNCTION scribe.noted(text) FROM PUBLIC;

-- Runs a command of our own, which the capture leaves out. Event triggers of
-- others do not fire for it, where that can be helped: one that fails would
-- keep us from it. What the user's command noted stays as it is.
CREATE FUNCTION scribe.run(command text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  origin text := current_setting('session_replication_role');
  quiet text := coalesce(current_setting('scribe.quiet', true), '');
  role text := coalesce(current_setting('scribe.role', true), '');
  path text := coalesce(current_setting('scribe.path', true), '');
BEGIN
  PERFORM set_config('session_replication_role', 'replica', true) FROM pg_roles WHERE rolname = current_user AND rolsuper;
  PERFORM set_config('scribe.quiet', (SELECT value FROM scribe.config WHERE key = 'secret'), true);
  EXECUTE command;
  PERFORM set_config('scribe.quiet', quiet, true), set_config('scribe.role', role, false), set_config('scribe.path', path, false);
  PERFORM set_config('session_replication_role', origin, true) WHERE origin <> current_setting('session_replication_role');
END $fn$;
REVOKE ALL ON FUNCTION scribe.run(text) FROM PUBLIC;

-- Notes about tables that outlast the transaction, a crash and a failover. Each
-- is a function that returns it, named by kind and table: two transactions never
-- wait for each other, and nobody needs rights on it to run pg_dump, whose copies have other OIDs
-- for the table: its name is in the note. A dollar sign would end the body.
CREATE FUNCTION scribe.keep(kind text, rel oid, note jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  note := note || jsonb_build_object('table', (SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel));
  PERFORM scribe.run(format('CREATE OR REPLACE FUNCTION scribe.%I() RETURNS pg_catalog.text LANGUAGE sql IMMUTABLE AS %L', kind || '_' || rel,
    'SELECT $$' || replace(note::text, '$', E'\\u0024') || '$$'));
END $fn$;
REVOKE ALL ON FUNCTION scribe.keep(text, oid, jsonb) FROM PUBLIC;

CREATE FUNCTION scribe.kept_note(kind text, rel oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN (SELECT substr(prosrc, 10, length(prosrc) - 11)::jsonb FROM pg_proc
    WHERE proname = (kind || '_' || rel)::name AND pronamespace = 'scribe'::regnamespace);
END $fn$;
REVOKE ALL ON FUNCTION scribe.kept_note(text, oid) FROM PUBLIC;

CREATE VIEW scribe.kept AS
  SELECT m[1] AS kind, m[2]::pg_catalog.oid AS written, substr(prosrc, 10, length(prosrc) - 11)::pg_catalog.jsonb AS note
  FROM (SELECT prosrc, pg_catalog.regexp_match(proname, '^(identity|unlisted)_([0-9]+)$') AS m
    FROM pg_catalog.pg_proc WHERE pronamespace = 'scribe'::pg_catalog.regnamespace OFFSET 0) p WHERE m IS NOT NULL;
REVOKE ALL ON scribe.kept FROM PUBLIC;

CREATE FUNCTION scribe.forget(kind text, rel oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM scribe.run(format('DROP FUNCTION IF EXISTS scribe.%I()', kind || '_' || rel));
END $fn$;
REVOKE ALL ON FUNCTION scribe.forget(text, oid) FROM PUBLIC;

-- Replica identities as they were before the capture changed them.
CREATE VIEW scribe.identity AS
  SELECT c.oid AS relid, (note ->> 'original')::"char" AS original, CASE WHEN d.dumped
      THEN (SELECT i.oid FROM pg_catalog.pg_class i WHERE i.relname = note ->> 'index_name' AND i.relnamespace = c.relnamespace)
      ELSE (note ->> 'index')::pg_catalog.oid END AS index
  FROM (SELECT NOT EXISTS (SELECT FROM scribe.config WHERE key = 'secret') AS dumped) d CROSS JOIN scribe.kept k
    JOIN pg_catalog.pg_class c ON c.oid = CASE WHEN d.dumped THEN pg_catalog.to_regclass(note ->> 'table') ELSE k.written END
  WHERE kind = 'identity';
REVOKE ALL ON scribe.identity FROM PUBLIC;

-- Removes the notes of tables that are gone, and gives the others the names that
-- their tables have now. OIDs mean others in a copy.
CREATE FUNCTION scribe.tidy() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF scribe.here() THEN
    PERFORM scribe.keep(kind, written, note)
      FROM (SELECT * FROM scribe.kept JOIN pg_class c ON c.oid = written JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE note ->> 'table' <> format('%I.%I', n.nspname, c.relname) LIMIT 1000) moved;
    PERFORM scribe.forget(kind, written)
      FROM (SELECT kind, written FROM scribe.kept WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = written) LIMIT 1000) gone; -- each takes a lock
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.tidy() FROM PUBLIC;

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

-- Who owns an object. NULL: it is gone, or none of its kind has an owner.
CREATE FUNCTION scribe.owner_of(class oid, object oid) RETURNS oid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  "column" name := (SELECT attname FROM pg_attribute WHERE attrelid = class AND attname ~ 'owner$' AND atttypid = 'oid'::regtype);
  owner oid;
BEGIN
  IF "column" IS NOT NULL THEN
    EXECUTE format('SELECT %I FROM %s WHERE oid = $1', "column", class::regclass) INTO owner USING object;
  END IF;
  RETURN owner;
END $fn$;
REVOKE ALL ON FUNCTION scribe.owner_of(oid, oid) FROM PUBLIC;

-- Who owns an object, if it was noted after the object was made: REASSIGN OWNED
-- fires no event, and who owns an object decides who may change it and what
-- GRANT and REVOKE do. pg_shdepend has no owner that PostgreSQL brings along:
-- then an object counts that changed since, for GRANT and REVOKE alone.
CREATE FUNCTION scribe.owner_fact(class oid, object oid, owner oid, changed xid, grants boolean) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  noted record;
  made record;
  what record;
BEGIN
  SELECT xmin, cmin INTO noted FROM pg_shdepend WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = class AND objid = object AND objsubid = 0 AND deptype = 'o';
  IF NOT FOUND AND NOT (grants AND owner::int8 < 16384) THEN
    RETURN NULL;
  END IF;
  SELECT xmin, cmin INTO made FROM pg_depend WHERE classid = class AND objid = object AND objsubid = 0
    AND refclassid = 'pg_namespace'::regclass AND deptype = 'n' LIMIT 1;
  IF noted.xmin = made.xmin AND noted.cmin = made.cmin OR noted.xmin IS NULL AND changed = made.xmin THEN
    RETURN NULL;
  END IF;
  what := pg_identify_object(class, object, 0);
  IF what.schema IN ('scribe', 'pg_temp') OR what.identity = 'scribe'
      OR class = 'pg_publication'::regclass AND EXISTS (SELECT FROM scribe.config WHERE key LIKE 'publication %' AND value = object::text)
      OR EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = object AND objsubid = 0
        AND (deptype = 'e' OR deptype = 'a' AND what.type = 'sequence'
          OR deptype = 'i' AND class <> 'pg_proc'::regclass AND NOT EXISTS (SELECT FROM pg_type WHERE class = 'pg_type'::regclass AND oid = object AND typtype = 'm'))) THEN
    RETURN NULL;
  END IF;
  RETURN jsonb_build_object('class', class::int8, 'oid', object::int8, 'type', what.type, 'identity', what.identity, 'owner', pg_get_userbyid(owner));
END $fn$;
REVOKE ALL ON FUNCTION scribe.owner_fact(oid, oid, oid, xid, boolean) FROM PUBLIC;

-- The owners of the objects that a command may name, and of what inherits from
-- these. Only an index by name is of help: that of all OIDs of users is not.
CREATE FUNCTION scribe.owners(tag text, body text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  names name[] := scribe.names(body);
  grants boolean := tag IN ('GRANT', 'REVOKE');
  rels oid[];
  facts jsonb;
  more jsonb;
BEGIN
  rels := ARRAY(SELECT coalesce((SELECT indrelid FROM pg_index i WHERE i.indexrelid = c.oid),
      (SELECT refobjid FROM pg_depend d WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
        AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass LIMIT 1), c.oid)
    FROM pg_class c WHERE c.oid::int8 >= 16384 AND c.relname = ANY (names));
  IF rels <> '{}' THEN
    rels := ARRAY(SELECT scribe.family(rels));
    facts := (SELECT jsonb_agg(f) FROM (SELECT scribe.owner_fact('pg_class'::regclass, oid, relowner, xmin, grants) AS f FROM pg_class
      WHERE oid = ANY (rels) AND relpersistence <> 't' AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')) x WHERE f IS NOT NULL);
  END IF;
  more := (SELECT jsonb_agg(f) FROM (
      SELECT scribe.owner_fact('pg_proc'::regclass, oid, proowner, xmin, grants) AS f FROM pg_proc WHERE oid::int8 >= 16384 AND proname = ANY (names)
      UNION ALL SELECT scribe.owner_fact('pg_type'::regclass, oid, typowner, xmin, grants) FROM pg_type WHERE oid::int8 >= 16384 AND typname = ANY (names)
      UNION ALL SELECT scribe.owner_fact('pg_namespace'::regclass, oid, nspowner, xmin, grants) FROM pg_namespace WHERE oid::int8 >= 2200 AND nspname = ANY (names)) x
    WHERE f IS NOT NULL);
  facts := coalesce(facts || more, facts, more);
  IF grants AND body ~* E'\\mall\\s+\\w+\\s+in\\s+schema\\M' THEN
    more := (SELECT jsonb_agg(f) FROM (
        SELECT scribe.owner_fact('pg_class'::regclass, c.oid, relowner, c.xmin, true) AS f FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
          WHERE nspname = ANY (names) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL SELECT scribe.owner_fact('pg_proc'::regclass, p.oid, proowner, p.xmin, true) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
          WHERE nspname = ANY (names) AND nspname <> 'pg_catalog') x WHERE f IS NOT NULL);
    facts := coalesce(facts || more, facts, more);
  END IF;
  IF tag ~ '(OPERATOR|COLLATION|CONVERSION|TEXT SEARCH|STATISTICS|FOREIGN|SERVER|MAPPING|PUBLICATION|LANGUAGE|COMMENT)' OR grants AND body ~* E'\\m(foreign|language)\\M' THEN
    more := (SELECT jsonb_agg(f) FROM (
        SELECT scribe.owner_fact(classid, objid, refobjid, xmin, grants) AS f FROM pg_shdepend
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND deptype = 'o'
          AND classid IN ('pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_collation'::regclass, 'pg_conversion'::regclass,
            'pg_ts_dict'::regclass, 'pg_ts_config'::regclass, 'pg_statistic_ext'::regclass, 'pg_foreign_data_wrapper'::regclass,
            'pg_foreign_server'::regclass, 'pg_publication'::regclass, 'pg_language'::regclass)) x WHERE f IS NOT NULL);
    facts := coalesce(facts || more, facts, more);
  END IF;
  RETURN facts;
END $fn$;
REVOKE ALL ON FUNCTION scribe.owners(text, text) FROM PUBLIC;

-- The text of the command, with what decides how it reads, and the roles that
-- it may name: their own commands fire no event.
CREATE FUNCTION scribe.command(tag text, context text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  long CONSTANT int := 4000; -- bytes; shorter texts are not worth a message of their own
  moment text := extract(epoch FROM statement_timestamp())::text;
  current text := current_setting('scribe.role', true);
  is_super boolean;
  newest oid := scribe.text_sent(); -- roles beyond it are sent whatever the text says
  members oid[];
  haystack text := context;
  owners jsonb;
  command text;
  hash text;
  message jsonb := jsonb_build_object('role', current, 'session', session_user, 'path', current_setting('scribe.path', true),
    'at', moment, 'pid', pg_backend_pid());
BEGIN
  IF coalesce(current, '') = '' THEN
    RAISE EXCEPTION 'the role that runs it could not be noted';
  END IF;
  IF octet_length(context) > long THEN
    haystack := '';
    hash := hashtextextended(context, 0)::text;
    message := message || jsonb_build_object('ctx_id', hash);
    IF current_setting('scribe.context', true) IS DISTINCT FROM scribe.seal(hash) THEN
      PERFORM scribe.send_text(hash, context), set_config('scribe.context', scribe.seal(hash), true);
      haystack := context;
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
  SELECT rolsuper INTO is_super FROM pg_roles WHERE rolname = current;
  IF NOT is_super THEN
    SELECT array_agg(DISTINCT x), jsonb_agg(DISTINCT jsonb_build_object('role', pg_get_userbyid(m.roleid), 'member', pg_get_userbyid(m.member)))
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
    PERFORM set_config('scribe.refilled', '', true) WHERE current_setting('scribe.refilled', true) <> '';
    message := scribe.signed((jsonb_build_object('ev', 'start', 'tag', tg_tag) || scribe.command(tg_tag, context))::text);
  EXCEPTION WHEN OTHERS THEN
    message := scribe.gap(format('start of %s: %s', tg_tag, SQLERRM));
  END;
  PERFORM pg_logical_emit_message(true, 'pg_scribe', message);
END $fn$;

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
  PERFORM scribe.keep_publications(array_agg(objid)) FROM pg_event_trigger_dropped_objects()
    WHERE object_type = 'publication' HAVING count(*) > 0;
  IF tg_tag = 'ALTER PUBLICATION' THEN
    PERFORM scribe.keep_list();
  END IF;
  PERFORM pg_logical_emit_message(true, 'pg_scribe', message);
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
BEGIN
  SELECT array_agg(relid) INTO rels FROM (
    SELECT to_regclass(format('%I.%I', address_names[1], address_names[2]))::oid AS relid FROM pg_event_trigger_dropped_objects()
      WHERE object_type = 'table constraint' AND NOT is_temporary
    UNION SELECT objid FROM pg_event_trigger_dropped_objects() WHERE object_type = 'table column' AND NOT is_temporary
    UNION SELECT c.oid FROM pg_class c WHERE c.relreplident = 'i' AND c.oid >= 16384
      AND EXISTS (SELECT FROM pg_event_trigger_dropped_objects() WHERE object_type = 'index')
      AND NOT EXISTS (SELECT FROM pg_event_trigger_dropped_objects() WHERE object_type IN ('table constraint', 'table'))) x;
  PERFORM scribe.guard(rels);
EXCEPTION WHEN OTHERS THEN
  RAISE LOG 'pg_scribe: after a drop: %', SQLERRM; -- start looks after the tables, too
END $fn$;
REVOKE ALL ON FUNCTION scribe.after_drop() FROM PUBLIC;

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

-- The commands that make a table as the catalogs say it is, where its own text
-- cannot be run again: what a query returned, a copy of a temporary table, a
-- foreign table that another server described. What vanishes with the session
-- is left out.
CREATE FUNCTION scribe.table_definition(rel oid) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET extra_float_digits = 3 AS $fn$
  WITH gone AS MATERIALIZED (SELECT class, object FROM scribe.transient()),
  t AS (SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name, format('ALTER %sTABLE ONLY %I.%I',
      CASE c.relkind WHEN 'f' THEN 'FOREIGN ' END, n.nspname, c.relname) AS change
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel),
  s AS (SELECT q.seqrelid, d.refobjsubid AS attnum, d.deptype, c.relpersistence, format('%I.%I', n.nspname, c.relname) AS name,
      format('AS %s START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s', format_type(q.seqtypid, NULL),
        q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN ' CYCLE' END) AS options
    FROM pg_depend d JOIN pg_sequence q ON q.seqrelid = d.objid JOIN pg_class c ON c.oid = q.seqrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = rel AND d.deptype IN ('a', 'i')),
  a AS (SELECT a.*, concat(quote_ident(a.attname), ' ', format_type(a.atttypid, a.atttypmod),
      CASE a.attcompression WHEN 'p' THEN ' COMPRESSION pglz' WHEN 'l' THEN ' COMPRESSION lz4' END,
      (SELECT format(' OPTIONS (%s)', string_agg(quote_ident(option_name) || ' ' || quote_literal(option_value), ', '))
        FROM pg_options_to_table(a.attfdwoptions) HAVING count(*) > 0),
      (SELECT format(' COLLATE %I.%I', cn.nspname, co.collname)
        FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace
        WHERE co.oid = a.attcollation AND a.attcollation <> ty.typcollation),
      CASE WHEN a.attnotnull THEN coalesce((SELECT format(' CONSTRAINT %I NOT NULL', conname) || CASE WHEN connoinherit THEN ' NO INHERIT' ELSE '' END
        FROM pg_constraint WHERE conrelid = rel AND contype = 'n' AND conkey = ARRAY[a.attnum]), ' NOT NULL') END, -- with a name since 18
      CASE a.attidentity WHEN '' THEN NULL ELSE (SELECT format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %s %s)',
          CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, name, regexp_replace(options, '^AS [a-z]+ ', ''))
        FROM s WHERE s.attnum = a.attnum AND deptype = 'i') END,
      (SELECT format(CASE a.attgenerated WHEN '' THEN ' DEFAULT %s' WHEN 's' THEN ' GENERATED ALWAYS AS (%s) STORED'
          ELSE ' GENERATED ALWAYS AS (%s) VIRTUAL' END, pg_get_expr(d.adbin, rel))
        FROM pg_attrdef d WHERE d.adrelid = rel AND d.adnum = a.attnum
          AND ('pg_attrdef'::regclass, d.oid) NOT IN (SELECT class, object FROM gone))) AS definition
    FROM pg_attribute a JOIN pg_type ty ON ty.oid = a.atttypid WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped),
  k AS (SELECT * FROM pg_constraint WHERE conrelid = rel AND conislocal AND contype IN ('c', 'p', 'u', 'x', 'f')
      AND ('pg_constraint'::regclass, oid) NOT IN (SELECT class, object FROM gone)),
  i AS (SELECT indexrelid FROM pg_index WHERE indrelid = rel AND indexrelid NOT IN (SELECT conindid FROM k)
      AND ('pg_class'::regclass, indexrelid) NOT IN (SELECT class, object FROM gone)),
  e AS (SELECT oid, stxname, stxnamespace FROM pg_statistic_ext WHERE stxrelid = rel
      AND ('pg_statistic_ext'::regclass, oid) NOT IN (SELECT class, object FROM gone))
  SELECT format('CREATE %sSEQUENCE %s %s', CASE relpersistence WHEN 'u' THEN 'UNLOGGED ' END, name, options) FROM s WHERE deptype = 'a'
  UNION ALL
  SELECT concat('CREATE ', CASE WHEN t.relpersistence = 'u' THEN 'UNLOGGED ' END, CASE WHEN t.relkind = 'f' THEN 'FOREIGN ' END,
    'TABLE ', name, ' (', (SELECT string_agg(definition, ', ' ORDER BY attnum) FROM a WHERE attislocal), ')',
    (SELECT format(' INHERITS (%s)', string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno)) FROM pg_inherits WHERE inhrelid = rel HAVING count(*) > 0),
    ' PARTITION BY ' || pg_get_partkeydef(rel),
    (SELECT format(' USING %I', amname) FROM pg_am WHERE oid = t.relam AND amname <> current_setting('default_table_access_method')),
    (SELECT format(' WITH (%s)', string_agg(o, ', ')) FROM (SELECT unnest(t.reloptions) UNION ALL
      SELECT 'toast.' || unnest(reloptions) FROM pg_class WHERE oid = t.reltoastrelid) x(o) HAVING count(*) > 0),
    (SELECT format(' TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = t.reltablespace),
    (SELECT format(' SERVER %I%s', srvname, (SELECT format(' OPTIONS (%s)', string_agg(quote_ident(option_name) || ' ' || quote_literal(option_value), ', '))
        FROM pg_options_to_table(f.ftoptions) HAVING count(*) > 0))
      FROM pg_foreign_table f JOIN pg_foreign_server v ON v.oid = f.ftserver WHERE f.ftrelid = rel)) FROM t
  UNION ALL
  SELECT format('ALTER SEQUENCE %s OWNED BY %s.%I', s.name, t.name, a.attname) FROM t, s JOIN a USING (attnum) WHERE s.deptype = 'a'
  UNION ALL
  (SELECT format('%s ALTER COLUMN %I SET STORAGE %s', t.change, a.attname, CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
    FROM t, a JOIN pg_type ty ON ty.oid = a.atttypid WHERE a.attstorage <> ty.typstorage ORDER BY a.attnum)
  UNION ALL
  (SELECT format('ALTER %sTABLE %s ADD CONSTRAINT %I %s', CASE relkind WHEN 'f' THEN 'FOREIGN ' END, name, conname, pg_get_constraintdef(k.oid)) FROM t, k
    ORDER BY strpos('cpuxf', contype::text), conname)
  UNION ALL
  (SELECT pg_get_indexdef(indexrelid) FROM i ORDER BY indexrelid)
  UNION ALL
  (SELECT pg_get_statisticsobjdef(oid) FROM e ORDER BY oid)
  UNION ALL
  SELECT format('COMMENT ON %s IS %L', x.what, d.description)
  FROM (SELECT 'pg_class'::regclass AS class, rel AS object, attnum::int AS sub, format('COLUMN %s.%I', name, attname) AS what FROM t, a
    UNION ALL SELECT 'pg_constraint'::regclass, k.oid, 0, format('CONSTRAINT %I ON %s', conname, name) FROM t, k
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, 0, 'INDEX ' || indexrelid::regclass FROM (SELECT indexrelid FROM i UNION SELECT conindid FROM k WHERE contype IN ('p', 'u', 'x')) y
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 0, format('STATISTICS %s.%I', stxnamespace::regnamespace, stxname) FROM e) x
    JOIN pg_description d ON d.classoid = x.class AND d.objoid = x.object AND d.objsubid = x.sub
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

-- The domains that have a constraint which is NOT VALID, and all types that may
-- hold values of these. There are none, mostly.
CREATE FUNCTION scribe.loose_types() RETURNS SETOF oid
LANGUAGE plpgsql STABLE ROWS 10 SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN QUERY WITH RECURSIVE l (type) AS (
    SELECT contypid FROM pg_constraint WHERE conrelid = 0 AND contype = 'c' AND NOT convalidated
    UNION SELECT CASE d.classid WHEN 'pg_type'::regclass THEN d.objid ELSE c.reltype END
      FROM l JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = l.type AND d.classid IN ('pg_type'::regclass, 'pg_class'::regclass)
        LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid)
  SELECT type FROM l WHERE type <> 0;
END $fn$;
REVOKE ALL ON FUNCTION scribe.loose_types() FROM PUBLIC;

-- Whether a table may hold rows: one that is locked by another session may.
CREATE FUNCTION scribe.filled(rel oid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '1ms' AS $fn$
BEGIN
  RETURN pg_relation_size(rel) > 0;
EXCEPTION WHEN lock_not_available THEN
  RETURN true;
END $fn$;
REVOKE ALL ON FUNCTION scribe.filled(oid) FROM PUBLIC;

-- Facts about a table that neither its rows in the stream nor the command's
-- text tell.
CREATE FUNCTION scribe.table_facts(rels oid[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  leaves jsonb := scribe.noted('leaves');
  before text[] := string_to_array(scribe.noted('unsaved'), ' ');
BEGIN
  RETURN (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
    'oid', c.oid::int8, 'schema', n.nspname, 'table', c.relname, 'kind', c.relkind, 'persistence', c.relpersistence,
    'root', r.root,
    'was', leaves ->> c.oid::text,
    'unsaved', x.unsaved, 'freed', CASE WHEN c.oid::text = ANY (before) AND x.unsaved IS NULL THEN true END,
    'filled', CASE WHEN c.relkind = 'r' AND (r.root IS NULL) <> (leaves ->> c.oid::text IS NULL) THEN scribe.filled(c.oid) END, -- attached or detached
    'always', (SELECT jsonb_agg(attname ORDER BY attnum) FROM pg_attribute
               WHERE attrelid = CASE WHEN r.root IS NOT NULL THEN pg_partition_root(c.oid) ELSE c.oid END
                 AND attidentity = 'a' AND NOT attisdropped),
    'types', (SELECT jsonb_agg(f) FROM (SELECT DISTINCT atttypid FROM pg_attribute
                WHERE attrelid = c.oid AND atttypid >= 16384 AND NOT attisdropped) a, scribe.type_facts(a.atttypid) f WHERE f IS NOT NULL))))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
    LATERAL (SELECT CASE WHEN EXISTS (SELECT FROM scribe.unsaved u WHERE u.relid = c.oid) THEN true END AS unsaved) x,
    LATERAL (SELECT CASE WHEN c.relispartition AND c.relkind = 'r' THEN scribe.hash_root(c.oid) END AS root) r
  WHERE c.oid = ANY (rels) AND c.relkind IN ('r', 'p'));
END $fn$;
REVOKE ALL ON FUNCTION scribe.table_facts(oid[]) FROM PUBLIC;

-- The same of types of columns whose name the command may have changed, or that
-- of their schema.
CREATE FUNCTION scribe.renamed_types(tag text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN (WITH RECURSIVE command AS MATERIALIZED (SELECT classid, objid FROM pg_event_trigger_ddl_commands()),
  moved (oid) AS (
    SELECT objid FROM command WHERE classid = 'pg_type'::regclass
    UNION SELECT t.oid FROM pg_type t WHERE tag = 'ALTER SCHEMA' AND t.typnamespace IN (SELECT objid FROM command WHERE classid = 'pg_namespace'::regclass)
    UNION SELECT d.objid FROM pg_depend d WHERE tag = 'ALTER EXTENSION' AND d.refclassid = 'pg_extension'::regclass
      AND d.refobjid IN (SELECT objid FROM command WHERE classid = 'pg_extension'::regclass) AND d.classid = 'pg_type'::regclass
    UNION SELECT c.reltype FROM pg_class c WHERE tag = 'ALTER TABLE' AND c.reltype <> 0
      AND c.oid IN (SELECT objid FROM command WHERE classid = 'pg_class'::regclass)
    UNION SELECT t.oid FROM moved m JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = m.oid AND d.classid = 'pg_type'::regclass
      JOIN pg_type t ON t.oid = d.objid AND t.typtype = 'd')
  SELECT jsonb_agg(f) FROM moved m, scribe.type_facts(m.oid) f WHERE f IS NOT NULL AND EXISTS (
    SELECT FROM pg_depend d WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = m.oid AND d.classid = 'pg_class'::regclass AND d.objsubid > 0));
END $fn$;
REVOKE ALL ON FUNCTION scribe.renamed_types(text) FROM PUBLIC;

-- Bounds of the partitions that this transaction made or attached, as they
-- were computed: an expression among them could give another value later. They
-- hold no columns, so that the table's OID is of no use but to lock it.
CREATE FUNCTION scribe.new_bounds(rels oid[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog
SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET extra_float_digits = 3 SET TimeZone = 'UTC'
SET bytea_output = 'hex' SET lc_monetary = 'C' AS $fn$
BEGIN
  RETURN (SELECT jsonb_agg(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'text', pg_get_expr(c.relpartbound, 0)))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = ANY (rels) AND c.relispartition
    AND scribe.is_new(c.xmin));
END $fn$;
REVOKE ALL ON FUNCTION scribe.new_bounds(oid[]) FROM PUBLIC;

-- The constraints of a table that was detached concurrently: the server adds
-- one that says what its bounds said.
CREATE FUNCTION scribe.detached_checks(command text, path text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  rel oid;
BEGIN
  PERFORM set_config('search_path', path, true);
  rel := pg_catalog.to_regclass((pg_catalog.regexp_match(command, E'\\mpartition\\s+(("([^"]|"")*"|[^\\s".]+)(\\.("([^"]|"")*"|[^\\s".]+))?)\\s+(concurrently|finalize)', 'i'))[1]);
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
  RETURN (SELECT jsonb_agg(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'name', k.conname, 'text', pg_get_constraintdef(k.oid)))
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.conrelid = rel AND k.contype = 'c');
END $fn$;
REVOKE ALL ON FUNCTION scribe.detached_checks(text, text) FROM PUBLIC;

-- A materialized view that REFRESH fills: EXPLAIN ANALYZE can make one without
-- an event.
CREATE FUNCTION scribe.view_definition(rel oid, populated boolean) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN (SELECT format('CREATE MATERIALIZED VIEW IF NOT EXISTS %I.%I (%s)', n.nspname, c.relname,
      (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped))
    || coalesce((SELECT format(' USING %I', amname) FROM pg_am WHERE oid = c.relam AND amname <> 'heap'), '')
    || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')
    || coalesce((SELECT format(' TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = c.reltablespace), '')
    || ' AS ' || rtrim(pg_get_viewdef(rel), '; ') || CASE WHEN populated THEN ' WITH DATA' ELSE ' WITH NO DATA' END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel AND c.relkind = 'm');
END $fn$;
REVOKE ALL ON FUNCTION scribe.view_definition(oid, boolean) FROM PUBLIC;

-- The same where the command need not have locked what the view reads: WITH NO
-- DATA. Mostly the target has the view, so that there is nothing to wait for.
CREATE FUNCTION scribe.refreshed_view(rel oid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '1ms' AS $fn$
BEGIN
  RETURN scribe.view_definition(rel, false);
EXCEPTION WHEN lock_not_available THEN
  RETURN NULL;
END $fn$;
REVOKE ALL ON FUNCTION scribe.refreshed_view(oid) FROM PUBLIC;

-- An index on a partitioned table that did not become valid, because a
-- partition has one that is invalid (its CREATE INDEX CONCURRENTLY failed): the
-- commands that make all of it but the invalid ones, as pg_dump would.
-- pg_partition_tree would lock every index of the tree.
CREATE FUNCTION scribe.partial_index(root oid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  WITH RECURSIVE t (relid, parentrelid, level) AS (
    SELECT root, NULL::oid, 0 UNION ALL SELECT h.inhrelid, h.inhparent, t.level + 1 FROM t JOIN pg_inherits h ON h.inhparent = t.relid)
  SELECT jsonb_agg(cmd ORDER BY level, step) FROM t JOIN pg_index i ON i.indexrelid = t.relid
    JOIN pg_class c ON c.oid = t.relid AND (i.indisvalid OR c.relkind = 'I') JOIN pg_namespace n ON n.oid = c.relnamespace,
    LATERAL (VALUES (1, regexp_replace(pg_get_indexdef(t.relid), 'INDEX ', 'INDEX IF NOT EXISTS ')),
      (2, (SELECT format('ALTER INDEX %I.%I ATTACH PARTITION %I.%I', pn.nspname, pc.relname, n.nspname, c.relname)
           FROM pg_class pc JOIN pg_namespace pn ON pn.oid = pc.relnamespace WHERE pc.oid = t.parentrelid AND t.level > 0))) s (step, cmd)
  WHERE cmd IS NOT NULL
$fn$;
REVOKE ALL ON FUNCTION scribe.partial_index(oid) FROM PUBLIC;

-- The index that ALTER INDEX ... ATTACH PARTITION names: whether it is valid,
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

-- A literal such as 'today' becomes the date of the day where its type is one
-- of dates, and stays a word elsewhere. Which it was, the server's own text of
-- what this transaction made tells. An object that it only changed may name
-- tables which another session has locked: an error then.
CREATE FUNCTION scribe.folded() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog SET DateStyle = 'ISO' SET lock_timeout = '10ms' AS $fn$
  SELECT jsonb_build_object(
    'now', to_char(transaction_timestamp(), 'YYYY-MM-DD HH24:MI:SS.USTZH:TZM'),
    'today', to_char(transaction_timestamp(), 'YYYY-MM-DD'),
    'tomorrow', to_char(transaction_timestamp()::timestamp + interval '1 day', 'YYYY-MM-DD'),
    'yesterday', to_char(transaction_timestamp()::timestamp - interval '1 day', 'YYYY-MM-DD'),
    -- As a condition of the query, it would be asked of all there is.
    'texts', (SELECT jsonb_agg(t) FILTER (WHERE t ~* (E'\\m(now|today|tomorrow|yesterday)\\M|\\d\\d:\\d\\d:\\d\\d|' || (SELECT string_agg(to_char(transaction_timestamp()::timestamp + d * interval '1 day', 'YYYY-MM-DD'), '|') FROM generate_series(-1, 1) d))) FROM (
        SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND scribe.is_new(xmin)
      UNION ALL SELECT concat_ws(' ', pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_expr(typdefaultbin, 0) FROM pg_type WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE oid >= 16384 AND prokind IN ('f', 'p') AND scribe.is_new(xmin)
      UNION ALL SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_partkeydef(partrelid) FROM pg_partitioned_table WHERE scribe.is_new(xmin)
      UNION ALL SELECT pg_get_expr(relpartbound, 0) FROM pg_class WHERE relispartition AND scribe.is_new(xmin)
      UNION ALL SELECT quote_literal(o) FROM pg_attribute, unnest(attfdwoptions) o WHERE attfdwoptions IS NOT NULL AND scribe.is_new(pg_attribute.xmin)
      UNION ALL SELECT quote_literal(o) FROM pg_foreign_table, unnest(ftoptions) o WHERE scribe.is_new(pg_foreign_table.xmin)) x(t)))
$fn$;
REVOKE ALL ON FUNCTION scribe.folded() FROM PUBLIC;

-- A function's body may name tables that its ALTER does not lock: an error then.
CREATE FUNCTION scribe.function_definition(function oid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '10ms' AS $fn$
BEGIN
  RETURN pg_get_functiondef(function);
END $fn$;
REVOKE ALL ON FUNCTION scribe.function_definition(oid) FROM PUBLIC;

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
  IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN -- which name none of the tables that their script made
    touched := array_cat(touched, ARRAY(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e'
      UNION SELECT unnest(string_to_array(nullif(scribe.noted('unsaved'), ''), ' '))::oid));
  END IF;
  IF tg_tag = 'ALTER SCHEMA' AND EXISTS (SELECT FROM pg_partitioned_table WHERE partstrat = 'h') THEN -- whose name is part of their root's
    touched := ARRAY(SELECT oid FROM pg_class WHERE relispartition AND relkind = 'r');
  END IF;
  IF tg_tag IN ('ALTER TYPE', 'ALTER SCHEMA', 'ALTER EXTENSION') OR tg_tag = 'ALTER TABLE' AND touched IS NOT NULL AND EXISTS (
      SELECT FROM pg_class c JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = c.reltype AND d.deptype = 'n'
      WHERE c.oid = ANY (touched) AND c.reltype <> 0) THEN
    message := message || jsonb_build_object('types', scribe.renamed_types(tg_tag));
  END IF;
  IF tg_tag = 'ALTER SCHEMA' THEN
    message := message || jsonb_build_object('moved', (SELECT jsonb_agg(jsonb_build_object('oid', c.oid::int8, 'schema', n.nspname))
      FROM pg_event_trigger_ddl_commands() o JOIN pg_namespace n ON n.oid = o.objid JOIN pg_class c ON c.relnamespace = n.oid
      WHERE o.classid = 'pg_namespace'::regclass AND c.relkind = 'r' AND c.relpersistence = 'p'));
  END IF;
  IF touched IS NOT NULL THEN
    IF tg_tag = 'ALTER TABLE' AND EXISTS (SELECT FROM pg_partitioned_table WHERE partstrat = 'h') THEN -- attached and detached ones
      touched := touched || ARRAY(SELECT scribe.family(ARRAY(SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND scribe.is_new(xmin))));
    END IF;
    IF tg_tag IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA') THEN
      relatives := ARRAY(SELECT scribe.family(touched));
      message := message || jsonb_build_object('bounds', scribe.new_bounds(relatives));
    END IF;
    IF tg_tag = 'ALTER TABLE' AND relatives <> touched THEN -- a partition has its parent's identity column, and their names
      touched := touched || ARRAY(SELECT attrelid FROM pg_attribute WHERE attrelid = ANY (relatives) AND attidentity = 'a' AND NOT attisdropped);
    END IF;
    message := message || jsonb_build_object('tables', scribe.table_facts(touched));
    IF tg_tag = 'ALTER TABLE' THEN -- a long text is not searched each time
      message := message || jsonb_build_object('missing', scribe.missing_values(relatives,
        CASE WHEN scribe.text_sent() IS NULL THEN current_query() ELSE 'now' END));
    END IF;
  END IF;
  IF tg_tag ~ '^(CREATE|ALTER) (DOMAIN|TYPE|TABLE|TABLE AS|SCHEMA|EXTENSION)$|^SELECT INTO$'
      AND EXISTS (SELECT FROM pg_constraint WHERE conrelid = 0 AND contype = 'c' AND NOT convalidated) THEN
    message := message || (SELECT jsonb_build_object('loose', jsonb_agg(x::int8)) FROM scribe.loose_types() x);
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
  ELSIF tg_tag = 'ALTER INDEX' AND EXISTS (SELECT FROM pg_class WHERE oid = ANY (indexes) AND relkind = 'I')
      AND current_query() ~* E'\\mattach\\s+partition\\M' THEN
    message := message || jsonb_build_object('attached',
      scribe.attached_index(current_query(), current_setting('scribe.path', true)));
  ELSIF tg_tag ~ 'SUBSCRIPTION' THEN
    message := message || jsonb_build_object('subscriptions',
      (SELECT jsonb_agg(jsonb_build_object('name', subname, 'connection', subconninfo, 'publications', subpublications,
        'options', (SELECT jsonb_object_agg(o.name, o.value) FROM (VALUES ('binary', to_jsonb(s) ->> 'subbinary'), ('synchronous_commit', subsynccommit),
          ('streaming', CASE to_jsonb(s) ->> 'substream' WHEN 't' THEN 'on' WHEN 'f' THEN 'off' WHEN 'p' THEN 'parallel' ELSE to_jsonb(s) ->> 'substream' END),
          ('disable_on_error', to_jsonb(s) ->> 'subdisableonerr'), ('password_required', to_jsonb(s) ->> 'subpasswordrequired'),
          ('run_as_owner', to_jsonb(s) ->> 'subrunasowner'), ('origin', to_jsonb(s) ->> 'suborigin')) o (name, value) WHERE o.value IS NOT NULL)))
       FROM pg_subscription s WHERE oid IN (SELECT objid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_subscription'::regclass)));
  END IF;
  IF tg_tag IN ('GRANT', 'REVOKE', 'CREATE TABLE', 'ALTER TABLE') AND pg_my_temp_schema() <> 0 THEN
    message := message || jsonb_build_object('transient', scribe.transient_names(current_setting('scribe.path', true)),
      'parts', scribe.transient_parts());
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
  PERFORM pg_logical_emit_message(true, 'pg_scribe', message);
  IF coalesce(current_setting('scribe.rewritten', true), '') = '' THEN
    RETURN;
  END IF;
  message := NULL;
  FOR attempt IN 1..2 LOOP
    BEGIN
      PERFORM scribe.emit_contents(x) FROM scribe.rewritten() x;
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
  PERFORM pg_logical_emit_message(true, 'pg_scribe', message), set_config('scribe.rewritten', '', true);
END $fn$;

-- Sequences do not appear in logical decoding; `start` samples them.
CREATE FUNCTION scribe.sequence_values() RETURNS TABLE (oid oid, schema text, name text, last_value bigint, is_called boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname <> 'scribe' LOOP
    oid := r.oid;
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

-- What a table's identity is to be: FULL, except that since version 18 a
-- published table with generated columns cannot have that. It needs a unique
-- index on columns that are NOT NULL; NULL when there is none.
CREATE FUNCTION scribe.identity_for(rel oid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF current_setting('server_version_num')::int < 180000
      OR NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = rel AND attgenerated <> '' AND NOT attisdropped) THEN
    RETURN 'FULL';
  END IF;
  RETURN (SELECT format('USING INDEX %I', c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = rel AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
        AND (NOT a.attnotnull OR a.attgenerated <> ''))
    ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1);
END $fn$;
REVOKE ALL ON FUNCTION scribe.identity_for(oid) FROM PUBLIC;

-- Privileges of an object as text that compares, and the commands that bring
-- them about in the restored database whatever they are there. present is an
-- expression for the object's aclitem[] there.
CREATE FUNCTION scribe.acl_text(acl aclitem[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $fn$
  SELECT coalesce(string_agg(x, ', ' ORDER BY x COLLATE "C"), '') FROM (SELECT format('%s %s %s %s',
    grantor::regrole, grantee::regrole, privilege_type, is_grantable) AS x FROM aclexplode(acl)) a
$fn$;
REVOKE ALL ON FUNCTION scribe.acl_text(aclitem[]) FROM PUBLIC;

CREATE FUNCTION scribe.acl_sql(what text, acl aclitem[], owner oid, present text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $fn$
  SELECT format('IF (SELECT coalesce(string_agg(x, '', '' ORDER BY x COLLATE "C"), '''') FROM (SELECT format(''%%s %%s %%s %%s'', grantor::regrole, grantee::regrole, privilege_type, is_grantable) AS x FROM aclexplode(%s)) a) <> %L THEN'
      ' FOR g IN SELECT DISTINCT CASE grantee WHEN 0 THEN ''PUBLIC'' ELSE quote_ident(pg_get_userbyid(grantee)) END AS name FROM aclexplode(%s) LOOP'
      ' EXECUTE %L || g.name || '' CASCADE''; END LOOP;%s END IF;',
    present, scribe.acl_text(acl), present, format('REVOKE ALL ON %s FROM ', what),
    (SELECT string_agg(CASE WHEN a.grantor = owner THEN s ELSE format(' SET LOCAL ROLE %I;%s SET LOCAL ROLE NONE;', r.rolname, s) END,
        '' ORDER BY a.grantor <> owner, n)
      FROM aclexplode(acl) WITH ORDINALITY a(grantor, grantee, privilege, grantable, n)
        JOIN pg_roles r ON r.oid = a.grantor LEFT JOIN pg_roles e ON e.oid = a.grantee,
        format(' GRANT %s ON %s TO %s%s;', a.privilege, what, coalesce(quote_ident(e.rolname), 'PUBLIC'),
          CASE WHEN a.grantable THEN ' WITH GRANT OPTION' END) s
      WHERE e.oid IS NOT NULL OR a.grantee = 0))
$fn$;
REVOKE ALL ON FUNCTION scribe.acl_sql(text, aclitem[], oid, text) FROM PUBLIC;

-- Large objects do not appear in logical decoding; `start` samples them. What
-- changed since a sample is told by the row's xmin, which outlives freezing: a
-- row was not there if its xmin is at or above the oldest transaction that ran
-- then, and is none of those that the sample saw ("seen"). Snapshots alone
-- cannot tell, because they do not list subtransactions.
CREATE FUNCTION scribe.since(x xid, low bigint, high bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $fn$
  SELECT pg_catalog.mod(x::pg_catalog.text::bigint - pg_catalog.mod(low, 4294967296) + 4294967296, 4294967296) < high - low
$fn$;
REVOKE ALL ON FUNCTION scribe.since(xid, bigint, bigint) FROM PUBLIC;

-- The sample that follows before, and the large objects that differ. Those
-- that are gone are told by range of 256 OIDs: their number and a hash of them.
CREATE FUNCTION scribe.large_object_sample(before jsonb) RETURNS TABLE (sample jsonb, touched oid[], ranges bigint[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  oldest bigint := pg_snapshot_xmin(pg_current_snapshot())::text;
  high bigint := pg_snapshot_xmax(pg_current_snapshot())::text;
  low bigint := coalesce((before->>'xmin')::bigint, high - 4294967296);
  seen text[] := ARRAY(SELECT jsonb_array_elements_text(before->'seen'));
  now_seen jsonb;
  now_ranges jsonb;
BEGIN
  WITH recent AS (
    SELECT loid, xmin AS x FROM pg_largeobject WHERE scribe.since(xmin, low, high) GROUP BY 1, 2
    UNION SELECT oid, xmin FROM pg_largeobject_metadata WHERE scribe.since(xmin, low, high))
  SELECT array_agg(DISTINCT loid) FILTER (WHERE x::text <> ALL (seen)),
      coalesce(jsonb_agg(DISTINCT x::text) FILTER (WHERE scribe.since(x, oldest, high)), '[]')
    INTO touched, now_seen FROM recent;
  SELECT coalesce(jsonb_object_agg(range, sum), '{}') INTO now_ranges FROM (
    SELECT oid::bigint / 256 AS range, format('%s %s', count(*), sum(hashoid(oid)::bigint)) AS sum
    FROM pg_largeobject_metadata GROUP BY 1) r;
  ranges := ARRAY(SELECT coalesce(o.key, n.key)::bigint FROM jsonb_each_text(coalesce(before->'ranges', '{}')) o
    FULL JOIN jsonb_each_text(now_ranges) n ON n.key = o.key WHERE o.value IS DISTINCT FROM n.value ORDER BY 1);
  sample := jsonb_build_object('xmin', oldest::text, 'xmax', high::text, 'seen', now_seen, 'ranges', now_ranges);
  RETURN NEXT;
END $fn$;
REVOKE ALL ON FUNCTION scribe.large_object_sample(jsonb) FROM PUBLIC;

CREATE FUNCTION scribe.truncate_sql(lo oid, size bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $fn$
  SELECT format(' PERFORM pg_catalog.lo_truncate64(pg_catalog.lo_open(%s, 131072), %s);', lo, size)
$fn$;
REVOKE ALL ON FUNCTION scribe.truncate_sql(oid, bigint) FROM PUBLIC;

CREATE FUNCTION scribe.emit_state(tag text, body text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT scribe.emit(jsonb_build_object('ev', 'state', 'states',
    jsonb_build_array(jsonb_build_object('tag', tag, 'sql', format('DO %L', body))))::text)
$fn$;
REVOKE ALL ON FUNCTION scribe.emit_state(text, text) FROM PUBLIC;

-- Emits large objects as they are in the sample now: the pages that are not in
-- the sample before, in pieces of 128 and filled up where a later page follows,
-- then size, owner, privileges and comment. One with a hole is sent whole.
CREATE FUNCTION scribe.emit_large_objects(list oid[], before jsonb, now jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  block int := current_setting('block_size')::int / 4;
  high bigint := now->>'xmax';
  low bigint := coalesce((before->>'xmin')::bigint, high - 4294967296);
  seen text[] := ARRAY(SELECT jsonb_array_elements_text(before->'seen'));
  lo record;
  pages record;
  whole boolean;
  size bigint;
  piece int;
BEGIN
  FOR lo IN SELECT m.oid, lomowner AS owner, coalesce(lomacl, acldefault('L', lomowner)) AS acl, obj_description(m.oid, 'pg_largeobject') AS comment
      FROM pg_largeobject_metadata m WHERE m.oid = ANY (list) ORDER BY 1 LOOP
    SELECT count(*) AS number, coalesce(max(pageno), -1) AS last INTO pages FROM pg_largeobject WHERE loid = lo.oid;
    whole := before IS NULL OR pages.number <= pages.last;
    SELECT pages.last::bigint * block + octet_length(data) INTO size FROM pg_largeobject WHERE loid = lo.oid AND pageno = pages.last;
    PERFORM scribe.emit_state('LARGE OBJECT ' || lo.oid,
      format('BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE oid = %s) THEN PERFORM pg_catalog.lo_create(%s); END IF;%s END',
        lo.oid, lo.oid, CASE WHEN whole THEN scribe.truncate_sql(lo.oid, 0) END));
    FOR piece IN SELECT DISTINCT pageno / 128 FROM pg_largeobject
        WHERE loid = lo.oid AND (whole OR scribe.since(xmin, low, high) AND xmin::text <> ALL (seen)) ORDER BY 1 LOOP
      PERFORM scribe.emit(jsonb_build_object('ev', 'lo', 'oid', lo.oid::bigint, 'offset', run.first::bigint * block,
          'data', translate(encode(run.bytes, 'base64'), E'\n', ''))::text)
        FROM (SELECT min(pageno) AS first, string_agg(CASE WHEN pageno = pages.last THEN data
              ELSE data || decode(repeat('00', block - octet_length(data)), 'hex') END, '' ORDER BY pageno) AS bytes
            FROM (SELECT pageno, data, pageno - row_number() OVER (ORDER BY pageno) AS island FROM pg_largeobject
              WHERE loid = lo.oid AND pageno BETWEEN piece * 128 AND piece * 128 + 127
                AND (whole OR scribe.since(xmin, low, high) AND xmin::text <> ALL (seen))) p
            GROUP BY island ORDER BY 1) run;
    END LOOP;
    PERFORM scribe.emit_state('LARGE OBJECT ' || lo.oid,
      format('DECLARE g record; BEGIN%s ALTER LARGE OBJECT %s OWNER TO %I; %s COMMENT ON LARGE OBJECT %s IS %L; END',
        scribe.truncate_sql(lo.oid, coalesce(size, 0)), lo.oid, (SELECT rolname FROM pg_roles WHERE oid = lo.owner),
        scribe.acl_sql('LARGE OBJECT ' || lo.oid, lo.acl, lo.owner,
          format('(SELECT coalesce(lomacl, acldefault(''L'', lomowner)) FROM pg_largeobject_metadata WHERE oid = %s)', lo.oid)),
        lo.oid, lo.comment));
  END LOOP;
END $fn$;
REVOKE ALL ON FUNCTION scribe.emit_large_objects(oid[], jsonb, jsonb) FROM PUBLIC;

-- Emits which large objects there are in ranges of OIDs; others are removed.
CREATE FUNCTION scribe.emit_large_object_ranges(ranges bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT scribe.emit_state('LARGE OBJECT', format(
      'BEGIN PERFORM pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid BETWEEN %s AND %s AND oid <> ALL (%L::oid[]); END',
      range * 256, range * 256 + 255, ARRAY(SELECT oid FROM pg_largeobject_metadata
        WHERE oid BETWEEN (range * 256)::text::oid AND (range * 256 + 255)::text::oid ORDER BY 1)))
  FROM unnest(ranges) range
$fn$;
REVOKE ALL ON FUNCTION scribe.emit_large_object_ranges(bigint[]) FROM PUBLIC;

-- What a schema is made of, but for what comes and goes with something else.
-- An index that CREATE INDEX CONCURRENTLY left behind invalid is not there,
-- until a REINDEX, a TRUNCATE or a rewrite of its table makes it valid.
CREATE VIEW scribe.inventory AS
  SELECT o.class, o.oid FROM (
      SELECT 'pg_catalog.pg_class'::regclass::oid AS class, oid, relnamespace AS schema FROM pg_catalog.pg_class
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'
      UNION ALL SELECT 'pg_catalog.pg_class'::regclass, c.oid, c.relnamespace FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        WHERE i.indisvalid AND c.relkind = 'i' AND NOT c.relispartition AND c.relpersistence <> 't'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indrelid AND d.deptype = 'e')
      UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid, pronamespace FROM pg_catalog.pg_proc
      UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid, typnamespace FROM pg_catalog.pg_type t WHERE typisdefined
        AND (typtype IN ('b', 'e', 'd', 'r') OR typtype = 'c' AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
      UNION ALL SELECT 'pg_catalog.pg_operator'::regclass, oid, oprnamespace FROM pg_catalog.pg_operator WHERE oprcode <> 0
      UNION ALL SELECT 'pg_catalog.pg_opclass'::regclass, oid, opcnamespace FROM pg_catalog.pg_opclass
      UNION ALL SELECT 'pg_catalog.pg_opfamily'::regclass, oid, opfnamespace FROM pg_catalog.pg_opfamily
      UNION ALL SELECT 'pg_catalog.pg_collation'::regclass, oid, collnamespace FROM pg_catalog.pg_collation
      UNION ALL SELECT 'pg_catalog.pg_conversion'::regclass, oid, connamespace FROM pg_catalog.pg_conversion
      UNION ALL SELECT 'pg_catalog.pg_ts_config'::regclass, oid, cfgnamespace FROM pg_catalog.pg_ts_config
      UNION ALL SELECT 'pg_catalog.pg_ts_dict'::regclass, oid, dictnamespace FROM pg_catalog.pg_ts_dict
      UNION ALL SELECT 'pg_catalog.pg_namespace'::regclass, oid, oid FROM pg_catalog.pg_namespace
      UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid, 0 FROM pg_catalog.pg_foreign_data_wrapper
      UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, oid, 0 FROM pg_catalog.pg_foreign_server) o
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = o.schema
  WHERE o.oid >= 16384 AND (n.nspname IS NULL OR n.nspname !~ '^pg_' AND n.nspname NOT IN ('scribe', 'information_schema'))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.objsubid = 0
      AND (d.deptype IN ('i', 'e') OR d.deptype = 'a' AND d.classid = 'pg_catalog.pg_class'::regclass
        AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = o.oid AND c.relkind = 'S')));
REVOKE ALL ON scribe.inventory FROM PUBLIC;

-- The SQL that drops an index which is left behind invalid, as by a DROP INDEX
-- CONCURRENTLY that was interrupted. NULL: it is none, or a command is at work
-- on it. Nobody can drop it and give its name to another one until the
-- transaction ends, which has to be READ COMMITTED to see it as it is.
CREATE FUNCTION scribe.drop_invalid(index oid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '10ms' AS $fn$
DECLARE
  rel oid := (SELECT indrelid FROM pg_index WHERE indexrelid = index);
BEGIN
  EXECUTE format('SELECT FROM ONLY %s LIMIT 0', rel::regclass); -- unlike LOCK, for materialized views too
  RETURN (SELECT format('DROP INDEX IF EXISTS %I.%I', n.nspname, c.relname)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE i.indexrelid = index AND NOT i.indisvalid AND c.relkind = 'i' AND NOT c.relispartition
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = index) AND NOT EXISTS (SELECT FROM pg_locks
      WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND relation = rel AND mode = 'ShareUpdateExclusiveLock'));
EXCEPTION WHEN lock_not_available OR undefined_table OR syntax_error OR object_not_in_prerequisite_state THEN
  RETURN NULL;
END $fn$;
REVOKE ALL ON FUNCTION scribe.drop_invalid(oid) FROM PUBLIC;

-- The SQL that makes an index which became valid without an event, unless the
-- table has as many like it already. NULL: it is no index, or is gone.
CREATE FUNCTION scribe.repair_index(index oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT format('DO %L', format('BEGIN IF pg_catalog.to_regclass(%L) IS NULL AND pg_catalog.to_regclass(%L) IS NOT NULL'
        ' AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index WHERE indrelid = pg_catalog.to_regclass(%2$L)'
        ' AND pg_catalog.regexp_replace(pg_catalog.pg_get_indexdef(indexrelid), %L, ''\1'') = %L) < %s THEN %s; END IF; END',
      format('%I.%I', n.nspname, c.relname), format('%I.%I', tn.nspname, t.relname), x.head, x.rest,
      (SELECT count(*) FROM pg_index o WHERE o.indrelid = t.oid AND o.indisvalid AND regexp_replace(pg_get_indexdef(o.indexrelid), x.head, '\1') = x.rest),
      concat(pg_get_indexdef(index), (SELECT format('; ALTER INDEX %I.%I SET TABLESPACE %I', n.nspname, c.relname, spcname) FROM pg_tablespace WHERE oid = c.reltablespace),
        '; COMMENT ON INDEX ' || format('%I.%I IS ', n.nspname, c.relname) || quote_literal(obj_description(index, 'pg_class')))))
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace,
    LATERAL (SELECT head, regexp_replace(pg_get_indexdef(index), head, '\1') AS rest
      FROM (VALUES ('^CREATE (UNIQUE )?INDEX ("([^"]|"")*"|[^ "]+) ')) v(head)) x
  WHERE i.indexrelid = index AND c.relkind = 'i'
$fn$;
REVOKE ALL ON FUNCTION scribe.repair_index(oid) FROM PUBLIC;

-- The SQL that makes a table or materialized view which came about without an
-- event, if it has nothing but columns, as EXPLAIN ANALYZE CREATE ... AS leaves
-- it; else NULL.
CREATE FUNCTION scribe.repair_sql(rel oid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT format('DO %L', format('BEGIN IF pg_catalog.to_regclass(%L) IS NULL THEN %s; ALTER %s %I.%I OWNER TO %I; END IF; END',
      format('%I.%I', n.nspname, c.relname),
      CASE c.relkind WHEN 'r' THEN (SELECT string_agg(d, '; ') FROM scribe.table_definition(rel) d)
        ELSE scribe.view_definition(rel, c.relispopulated) END,
      CASE c.relkind WHEN 'r' THEN 'TABLE' ELSE 'MATERIALIZED VIEW' END, n.nspname, c.relname, pg_get_userbyid(c.relowner)))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = rel AND c.relkind IN ('r', 'm') AND c.relacl IS NULL AND NOT c.relispartition AND c.reloftype = 0 AND NOT c.relrowsecurity
    AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = rel) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = rel)
    AND NOT EXISTS (SELECT FROM pg_attrdef WHERE adrelid = rel) AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = rel)
    AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = rel AND c.relkind = 'r') AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = rel)
    AND NOT EXISTS (SELECT FROM pg_inherits WHERE rel IN (inhrelid, inhparent)) AND NOT EXISTS (SELECT FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid = rel)
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = rel AND attnum > 0 AND (attisdropped OR attnotnull OR attidentity <> '' OR attacl IS NOT NULL))
$fn$;
REVOKE ALL ON FUNCTION scribe.repair_sql(oid) FROM PUBLIC;

-- Tables whose UPDATE or DELETE would fail, or would not be sent, because a
-- publication covers them and they have no usable replica identity.
CREATE VIEW scribe.unguarded AS
  SELECT c.oid AS relid, n.nspname AS schema, c.relname AS "table", c.relreplident AS identity,
         (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisreplident) AS index,
         scribe.identity_for(c.oid) AS remedy
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname NOT IN ('scribe', 'information_schema')
    AND (c.relreplident = 'n'
      OR c.relreplident = 'f' AND scribe.identity_for(c.oid) IS DISTINCT FROM 'FULL'
      OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
        AND i.indisprimary AND i.indimmediate AND i.indisvalid AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND a.attgenerated <> ''))
      OR c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
        AND i.indisreplident AND i.indisvalid AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND a.attgenerated <> '')));
REVOKE ALL ON scribe.unguarded FROM PUBLIC;

-- Gives one table its replica identity and remembers what it had.
CREATE FUNCTION scribe.guard_table(rel oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  remedy text := scribe.identity_for(rel);
BEGIN
  IF remedy IS NULL THEN
    RAISE WARNING 'pg_scribe: UPDATE and DELETE of table % will fail: it has generated columns and no usable key', rel::regclass
      USING HINT = 'Add a primary key or a unique index, on columns that are NOT NULL and not generated.';
    RETURN;
  END IF;
  IF NOT EXISTS (SELECT FROM scribe.unguarded WHERE relid = rel) THEN
    RETURN;
  END IF;
  IF scribe.kept_note('identity', rel) IS NULL THEN
    PERFORM scribe.keep('identity', rel, jsonb_build_object('original', identity, 'index', index::int8,
      'index_name', (SELECT relname FROM pg_class WHERE oid = index))) FROM scribe.unguarded WHERE relid = rel;
  END IF;
  PERFORM scribe.run(format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', rel::regclass, remedy));
END $fn$;
REVOKE ALL ON FUNCTION scribe.guard_table(oid) FROM PUBLIC;

-- How the capture treats tables without a usable replica identity: guarded,
-- it gives them one; no-harm, it leaves them alone and lists the others in a
-- publication of its own, which alone publishes UPDATE and DELETE.
CREATE FUNCTION scribe.mode() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  RETURN (SELECT value FROM scribe.config WHERE key = 'mode');
END $fn$;
REVOKE ALL ON FUNCTION scribe.mode() FROM PUBLIC;

-- The publications that list tables.
CREATE VIEW scribe.lists AS
  SELECT p.oid AS list, p.pubname AS name FROM pg_catalog.pg_publication p
    JOIN scribe.config c ON c.key = 'publication ' || p.pubname
  WHERE NOT p.puballtables AND EXISTS (SELECT FROM scribe.config WHERE key = 'mode' AND value = 'no-harm');
REVOKE ALL ON scribe.lists FROM PUBLIC;

-- Tables that a list lacks though they are safe, or has though they are not.
CREATE VIEW scribe.mislisted AS
  SELECT l.list, l.name, c.oid AS relid, n.nspname AS schema, c.relname AS "table", u.safe
  FROM scribe.lists l CROSS JOIN pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
    LATERAL (SELECT NOT EXISTS (SELECT FROM scribe.unguarded g WHERE g.relid = c.oid) AS safe) u
  WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname NOT IN ('scribe', 'information_schema')
    AND u.safe <> EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = l.list AND r.prrelid = c.oid);
REVOKE ALL ON scribe.mislisted FROM PUBLIC;

-- How many rows of a table were updated or deleted, as far as the statistics
-- know; they lag behind.
CREATE FUNCTION scribe.changes(rel oid) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT coalesce(pg_stat_get_tuples_updated(rel), 0) + coalesce(pg_stat_get_tuples_deleted(rel), 0)
$fn$;
REVOKE ALL ON FUNCTION scribe.changes(oid) FROM PUBLIC;

-- Remembers that a table left the list. When it comes back, rows may have been
-- updated or deleted meanwhile; the statistics of other sessions lag behind, so
-- that only what nobody else could write is known to be unchanged.
CREATE FUNCTION scribe.note_listing(rel oid, listed boolean, fresh boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  mine bigint := coalesce(pg_stat_get_xact_tuples_updated(rel), 0) + coalesce(pg_stat_get_xact_tuples_deleted(rel), 0);
  before jsonb := scribe.kept_note('unlisted', rel);
  doubt boolean;
BEGIN
  IF NOT listed THEN
    IF before IS NULL THEN
      PERFORM scribe.keep('unlisted', rel, jsonb_build_object('since', pg_current_xact_id(), 'changes', scribe.changes(rel), 'mine', mine));
    END IF;
  ELSIF before IS NOT NULL THEN
    PERFORM scribe.forget('unlisted', rel);
  END IF;
  IF NOT listed THEN
    RETURN;
  END IF;
  doubt := current_setting('track_counts') = 'off' OR CASE
    WHEN rel::text = ANY (string_to_array(scribe.noted('refilled'), ' ')) THEN false -- this command sent its contents
    WHEN before ->> 'since' = pg_current_xact_id()::text THEN mine <> (before ->> 'mine')::bigint
    -- A system column's row is as old as the table.
    WHEN scribe.is_new((SELECT xmin FROM pg_attribute WHERE attrelid = rel AND attnum = -6)) THEN mine > 0
    ELSE pg_relation_size(rel) > 0 OR pg_stat_get_vacuum_count(rel) + pg_stat_get_autovacuum_count(rel) > 0 END;
  IF doubt AND NOT fresh THEN
    PERFORM scribe.emit(jsonb_build_object('ev', 'gap', 'reason',
      format('rows of %s may have been updated or deleted while it was without a replica identity', rel::regclass))::text);
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.note_listing(oid, boolean, boolean) FROM PUBLIC;

CREATE FUNCTION scribe.set_listed(list oid, rel oid, listed boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM scribe.run(format('ALTER PUBLICATION %I %s TABLE ONLY %s', (SELECT pubname FROM pg_publication WHERE oid = list),
    CASE WHEN listed THEN 'ADD' ELSE 'DROP' END, rel::regclass));
END $fn$;
REVOKE ALL ON FUNCTION scribe.set_listed(oid, oid, boolean) FROM PUBLIC;

-- Takes a table off a list whatever happens: left there without a key, its
-- UPDATE would fail. ALTER PUBLICATION has to wait for other transactions that
-- changed the list; its row can be deleted regardless, as long as this session
-- changes the table itself, which makes the others read anew what is published.
CREATE FUNCTION scribe.strike(list oid, rel oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  BEGIN
    PERFORM scribe.set_listed(list, rel, false);
  EXCEPTION WHEN OTHERS THEN
    DELETE FROM pg_depend d USING pg_publication_rel r WHERE r.prpubid = list AND r.prrelid = rel
      AND d.classid = 'pg_publication_rel'::regclass AND d.objid = r.oid;
    DELETE FROM pg_publication_rel r WHERE r.prpubid = list AND r.prrelid = rel;
  END;
  PERFORM scribe.note_listing(rel, false, false);
END $fn$;
REVOKE ALL ON FUNCTION scribe.strike(oid, oid) FROM PUBLIC;

-- Puts one table on a list or takes it off, whichever is due. fresh: nobody
-- relies on the list yet.
CREATE FUNCTION scribe.list_table(list oid, rel oid, fresh boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  listed boolean := (SELECT m.safe FROM scribe.mislisted m WHERE m.list = list_table.list AND m.relid = rel);
BEGIN
  IF listed IS NULL THEN
    RETURN;
  END IF;
  PERFORM scribe.set_listed(list, rel, listed);
  -- With the table's lock nobody changes its key: what holds now, stays.
  IF EXISTS (SELECT FROM scribe.unguarded WHERE relid = rel) = listed THEN
    RAISE EXCEPTION 'the key of % changed meanwhile', rel::regclass USING ERRCODE = 'lock_not_available';
  END IF;
  PERFORM scribe.note_listing(rel, listed, fresh);
END $fn$;
REVOKE ALL ON FUNCTION scribe.list_table(oid, oid, boolean) FROM PUBLIC;

-- Brings the lists up to date for these tables, as far as that needs no
-- waiting; start does the rest.
CREATE FUNCTION scribe.relist(rels oid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '10ms' AS $fn$
DECLARE
  m record;
BEGIN
  IF rels IS NULL THEN
    RETURN;
  END IF;
  FOR m IN SELECT * FROM scribe.mislisted WHERE relid = ANY (rels) LOOP
    BEGIN
      IF m.safe THEN
        PERFORM scribe.list_table(m.list, m.relid, false);
      ELSE
        PERFORM scribe.strike(m.list, m.relid);
      END IF;
    EXCEPTION WHEN OTHERS THEN
      RAISE LOG 'pg_scribe: publication %, table %: %', m.name, m.relid::regclass, SQLERRM;
    END;
  END LOOP;
END $fn$;
REVOKE ALL ON FUNCTION scribe.relist(oid[]) FROM PUBLIC;

-- A listed table cannot be made unlogged. Which one is to be, only the text
-- says: these are all that it may mean.
CREATE FUNCTION scribe.named_unlogged(command text) RETURNS oid[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF command !~* E'\\munlogged\\M' OR scribe.mode() <> 'no-harm' THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY(SELECT oid FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p' AND oid >= 16384
    AND position(lower(replace(relname, '"', '""')) IN lower(command)) > 0);
END $fn$;
REVOKE ALL ON FUNCTION scribe.named_unlogged(text) FROM PUBLIC;

CREATE FUNCTION scribe.unlist(rels oid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '10ms' AS $fn$
DECLARE
  m record;
BEGIN
  IF rels IS NULL THEN
    RETURN;
  END IF;
  FOR m IN SELECT l.list, r.prrelid AS relid FROM scribe.lists l JOIN pg_publication_rel r ON r.prpubid = l.list AND r.prrelid = ANY (rels) LOOP
    BEGIN
      PERFORM scribe.strike(m.list, m.relid);
    EXCEPTION WHEN OTHERS THEN
      RAISE LOG 'pg_scribe: table %: %', m.relid::regclass, SQLERRM;
    END;
  END LOOP;
END $fn$;
REVOKE ALL ON FUNCTION scribe.unlist(oid[]) FROM PUBLIC;

-- Gives a role what start, mark, status and full-backup need, for a superuser
-- to call. The role can then read everything in the database, and forge the
-- capture's messages: it has to be trusted like the backup itself.
CREATE FUNCTION scribe.grant_to(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM set_config('scribe.quiet', (SELECT value FROM scribe.config WHERE key = 'secret'), true);
  EXECUTE format('ALTER ROLE %I REPLICATION BYPASSRLS', role);
  EXECUTE format('GRANT pg_read_all_data, pg_read_all_stats TO %I', role);
  -- pg_read_all_data does not cover large objects.
  EXECUTE format('ALTER ROLE %I IN DATABASE %I SET lo_compat_privileges = on', role, current_database());
  EXECUTE format('GRANT USAGE ON SCHEMA scribe TO %I', role);
  EXECUTE format('GRANT SELECT ON scribe.config, scribe.identity, scribe.unguarded, scribe.unsaved, scribe.inventory, scribe.lists, scribe.mislisted TO %I', role);
  EXECUTE format('GRANT EXECUTE ON FUNCTION scribe.here(), scribe.active(), scribe.kept_note(text, oid), scribe.tidy(), scribe.emit(text), scribe.mark(text), scribe.sequence_values(), '
    'scribe.owner_of(oid, oid), scribe.acl_text(aclitem[]), scribe.acl_sql(text, aclitem[], oid, text), scribe.guard_table(oid), scribe.list_table(oid, oid, boolean), scribe.changes(oid), scribe.identity_for(oid), scribe.type_facts(oid), scribe.loose_types(), scribe.hash_root(oid), scribe.repair_sql(oid), scribe.repair_index(oid), scribe.drop_invalid(oid), scribe.large_object_sample(jsonb), '
    'scribe.emit_large_objects(oid[], jsonb, jsonb), scribe.emit_large_object_ranges(bigint[]) TO %I', role);
  PERFORM set_config('scribe.quiet', '', true);
END $fn$;
REVOKE ALL ON FUNCTION scribe.grant_to(name) FROM PUBLIC;

-- Guards the tables among these, and what inherits from them, or brings the
-- list up to date in the no-harm mode. It never waits: a command that touched a table's key has locked it, and `start` guards others.
CREATE FUNCTION scribe.guard(rels oid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  rel oid;
BEGIN
  IF rels IS NULL THEN
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
