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
--   !scribe_y command end, before those of others: emits the facts that are known only now
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
  -- A session stays where it is. Whoever sets this in a copy only has messages sent that nobody reads.
  IF current_setting('scribe.here', true) = 'yes' THEN
    RETURN true;
  END IF;
  IF (SELECT count(*) FROM scribe.config WHERE value = CASE key WHEN 'database' THEN (SELECT oid::text FROM pg_database WHERE datname = current_database())
      WHEN 'system' THEN (SELECT system_identifier::text FROM pg_control_system()) END) < 2 THEN
    RETURN false;
  END IF;
  PERFORM set_config('scribe.here', 'yes', false);
  RETURN true;
END $fn$;
REVOKE ALL ON FUNCTION scribe.here() FROM PUBLIC;

-- Whether to emit what this transaction does: here, and where a slot may be read.
-- A copy of the server's files by pg_basebackup has none. A slot that is being made begins
-- behind the end of every transaction that had an id when it appeared: with an
-- id taken first, what is not emitted for want of a slot is in the slot's
-- snapshot. Not for commands that must not have an id.
CREATE FUNCTION scribe.active() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  id xid8;
BEGIN
  IF current_setting('scribe.here', true) IS DISTINCT FROM 'yes' AND NOT scribe.here() THEN
    RETURN false;
  END IF;
  id := pg_current_xact_id();
  RETURN (SELECT relispopulated FROM pg_class WHERE oid = 'scribe.config'::regclass) AND EXISTS (SELECT FROM pg_get_replication_slots() s
    WHERE s.slot_type = 'logical' AND s.datoid = (SELECT oid FROM pg_database WHERE datname = current_database()));
END $fn$;
REVOKE ALL ON FUNCTION scribe.active() FROM PUBLIC;
