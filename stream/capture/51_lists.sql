-- The no-harm mode, which lists the tables that have a usable key.

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
  IF doubt AND NOT fresh AND scribe.active() THEN
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
