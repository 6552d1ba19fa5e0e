-- What one trigger leaves for the next, and what outlives them.

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
  PERFORM scribe.send(scribe.signed(jsonb_build_object('ev', 'text', 'id', id, 'text', body)::text));
END $fn$;
REVOKE ALL ON FUNCTION scribe.send_text(text, text) FROM PUBLIC;

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
DECLARE
  extension name;
BEGIN
  note := note || jsonb_build_object('table', (SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel));
  PERFORM scribe.run(format('CREATE OR REPLACE FUNCTION scribe.%I() RETURNS pg_catalog.text LANGUAGE sql IMMUTABLE AS %L', kind || '_' || rel,
    'SELECT $$' || replace(note::text, '$', E'\\u0024') || '$$'));
  -- What is made while an extension's script runs becomes a part of the extension.
  FOR extension IN SELECT e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_proc p ON p.oid = d.objid
      WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND p.proname = (kind || '_' || rel)::name AND p.pronamespace = 'scribe'::regnamespace LOOP
    PERFORM scribe.run(format('ALTER EXTENSION %I DROP FUNCTION scribe.%I()', extension, kind || '_' || rel));
  END LOOP;
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
