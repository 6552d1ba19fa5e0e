CREATE SCHEMA scribe_restore;
GRANT USAGE ON SCHEMA scribe_restore TO PUBLIC;
CREATE TABLE scribe_restore.progress (
	system_id text NOT NULL, database text NOT NULL, base text NOT NULL, base_point pg_catalog.pg_lsn NOT NULL,
	applied pg_catalog.pg_lsn NOT NULL, transactions bigint NOT NULL);
CREATE TABLE scribe_restore.roles (name text NOT NULL);
CREATE TABLE scribe_restore.left_out (what text NOT NULL, sql text NOT NULL);
CREATE TABLE scribe_restore.quiet (
	rank int NOT NULL, kind text NOT NULL, object oid NOT NULL, relation oid NOT NULL, state text NOT NULL);
-- A publication FOR ALL TABLES is for these, too.
ALTER TABLE scribe_restore.progress REPLICA IDENTITY FULL;
ALTER TABLE scribe_restore.quiet REPLICA IDENTITY FULL;

-- silence disables whatever would fire: event triggers first, because they
-- would fire for the rest.
CREATE FUNCTION scribe_restore.silence() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = '' AS $f$
DECLARE
	r record;
BEGIN
	FOR r IN
		SELECT 0 AS rank, 'EVENT TRIGGER' AS kind, e.oid, 0::oid AS relation, e.evtname AS name, e.evtenabled::text AS state
		FROM pg_catalog.pg_event_trigger e WHERE e.evtenabled IN ('A', 'R')
		AND (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)
		UNION ALL
		SELECT 1, 'TRIGGER', t.oid, t.tgrelid, t.tgname, t.tgenabled::text
		FROM pg_catalog.pg_trigger t WHERE t.tgenabled IN ('A', 'R')
		UNION ALL
		SELECT 1, 'RULE', w.oid, w.ev_class, w.rulename, w.ev_enabled::text
		FROM pg_catalog.pg_rewrite w WHERE w.ev_enabled IN ('A', 'R')
		UNION ALL
		SELECT 2, 'PUBLICATION', p.oid, 0, p.pubname, pg_catalog.concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END,
			CASE WHEN p.pubupdate THEN 'update' END, CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END)
		FROM pg_catalog.pg_publication p WHERE p.pubupdate OR p.pubdelete
		ORDER BY 1
	LOOP
		INSERT INTO scribe_restore.quiet VALUES (r.rank, r.kind, r.oid, r.relation, r.state);
		IF r.rank = 0 THEN
			EXECUTE pg_catalog.format('ALTER EVENT TRIGGER %I DISABLE', r.name);
		ELSIF r.rank = 2 THEN
			EXECUTE pg_catalog.format('ALTER PUBLICATION %I SET (publish = %L)', r.name, '');
		ELSE
			EXECUTE pg_catalog.format('ALTER TABLE ONLY %s DISABLE %s %I', r.relation::pg_catalog.regclass, r.kind, r.name);
		END IF;
	END LOOP;
END $f$;
GRANT EXECUTE ON FUNCTION scribe_restore.silence() TO PUBLIC;

-- revive takes back what silence did, as far as it is still there.
CREATE FUNCTION scribe_restore.revive(events boolean) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = '' AS $f$
DECLARE
	r record;
BEGIN
	FOR r IN
		SELECT q.rank, q.kind, q.relation, CASE q.state WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE q.state END AS state,
			COALESCE(t.tgname, w.rulename, e.evtname, p.pubname) AS name
		FROM scribe_restore.quiet q
		LEFT JOIN pg_catalog.pg_trigger t ON q.kind = 'TRIGGER' AND t.oid = q.object AND t.tgenabled = 'D'
		LEFT JOIN pg_catalog.pg_rewrite w ON q.kind = 'RULE' AND w.oid = q.object AND w.ev_enabled = 'D'
		LEFT JOIN pg_catalog.pg_event_trigger e ON q.rank = 0 AND e.oid = q.object AND e.evtenabled = 'D'
		LEFT JOIN pg_catalog.pg_publication p ON q.rank = 2 AND p.oid = q.object
		WHERE COALESCE(t.tgname, w.rulename, e.evtname, p.pubname) IS NOT NULL AND (q.rank > 0 OR events)
		ORDER BY q.rank DESC
	LOOP
		IF r.rank = 0 THEN
			EXECUTE pg_catalog.format('ALTER EVENT TRIGGER %I ENABLE %s', r.name, r.state);
		ELSIF r.rank = 2 THEN
			EXECUTE pg_catalog.format('ALTER PUBLICATION %I SET (publish = %L)', r.name, r.state);
		ELSE
			EXECUTE pg_catalog.format('ALTER TABLE ONLY %s ENABLE %s %s %I',
				r.relation::pg_catalog.regclass, r.state, r.kind, r.name);
		END IF;
	END LOOP;
	DELETE FROM scribe_restore.quiet WHERE rank > 0 OR events;
END $f$;
GRANT EXECUTE ON FUNCTION scribe_restore.revive(boolean) TO PUBLIC;
