-- Signed messages, which are what leaves the capture.

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

-- Decoding places a message by the end of its record and a row change by the
-- beginning of its own. Where a change of another subtransaction follows at once
-- the two are equal, and the change may come out first. So another message ends
-- each, which means nothing.
CREATE FUNCTION scribe.send(message bytea) RETURNS void
LANGUAGE plpgsql AS $fn$
DECLARE
  lsn pg_catalog.pg_lsn; -- of no use, but an assignment takes less than a query
BEGIN
  IF message IS NOT NULL THEN
    lsn := pg_catalog.pg_logical_emit_message(true, 'pg_scribe', message);
    lsn := pg_catalog.pg_logical_emit_message(true, 'pg_scribe.end', '');
  END IF;
END $fn$;
REVOKE ALL ON FUNCTION scribe.send(bytea) FROM PUBLIC;

-- Where nobody would read the message, nothing is sent. What belongs together, as
-- the contents of a table, is sent after one look at scribe.active().
CREATE FUNCTION scribe.emit(payload text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
BEGIN
  IF scribe.active() THEN
    PERFORM scribe.send(scribe.signed(payload));
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

CREATE FUNCTION scribe.emit_state(tag text, body text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT scribe.emit(jsonb_build_object('ev', 'state', 'states',
    jsonb_build_array(jsonb_build_object('tag', tag, 'sql', format('DO %L', body))))::text)
$fn$;
REVOKE ALL ON FUNCTION scribe.emit_state(text, text) FROM PUBLIC;
