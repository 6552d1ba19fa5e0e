package e2e

import (
	"strings"
	"testing"
)

// Event triggers run under the session's settings, and so do patterns in them.
func TestNonstandardStrings(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, a int); CREATE INDEX t_a ON t (a)`)
	tr.run(`SET standard_conforming_strings = off; SET escape_string_warning = off;
DROP INDEX CONCURRENTLY t_a;
CREATE INDEX CONCURRENTLY t_b ON t (a);
COMMENT ON TABLE t IS 'a\tb\\c';
ALTER TABLE t ADD COLUMN at text DEFAULT 'x\ny'`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// What PostgreSQL prints but does not read is left out, and said.
func TestUnreadableTypes(t *testing.T) {
	tr := begin(t, `CREATE TABLE plain (id int PRIMARY KEY)`)
	tr.run(`CREATE TABLE trees AS SELECT oid, relname, relpartbound FROM pg_class WHERE relname LIKE 'pg_c%' LIMIT 30;
INSERT INTO plain SELECT generate_series(1, 20); UPDATE trees SET relname = 'x'; DELETE FROM trees`)
	tr.capture()
	if text := tr.text(); strings.Count(text, "-- pg_scribe gap") != 3 || !strings.Contains(text, "pg_node_tree") {
		t.Errorf("the marks of three transactions are not there:\n%.3000s", text)
	}
}

// A published table without key takes no UPDATE. On the source the capture
// gave it a replica identity; the restored one must not need it.
func TestPublishedTableWithoutKey(t *testing.T) {
	tr := begin(t, `CREATE TABLE old (a int); INSERT INTO old VALUES (1); CREATE PUBLICATION p0 FOR TABLE old`)
	tr.run(`UPDATE old SET a = 2; CREATE TABLE new (a int); CREATE PUBLICATION p FOR TABLE new WITH (publish = 'insert, update');
INSERT INTO new VALUES (1), (2); UPDATE new SET a = a + 1; ALTER PUBLICATION p SET (publish = 'delete, insert'); DELETE FROM new WHERE a = 2;
CREATE PUBLICATION q FOR ALL TABLES; UPDATE old SET a = 3; ALTER PUBLICATION q RENAME TO r; DROP PUBLICATION p0`)
	const published = `SELECT pubname, pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication WHERE pubname <> 'pg_scribe' ORDER BY 1`
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	want := tr.source.Query(t, tr.db, published)
	if got := tr.target.Query(t, tr.restored, published); got != want || want == "" {
		t.Errorf("publications are\n%s\nwant\n%s", got, want)
	}
}

// A failed CREATE INDEX CONCURRENTLY leaves an index that no dump holds, and
// what is built upon it.
func TestInvalidIndexes(t *testing.T) {
	tr := begin(t, `CREATE TABLE p (a int, b int) PARTITION BY RANGE (a);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (a);
CREATE TABLE p11 PARTITION OF p1 FOR VALUES FROM (0) TO (5);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
INSERT INTO p VALUES (1, 0), (12, 1)`)
	cmd := func(sql string) { // may fail
		_ = tr.source.Command("psql", "-X", "-q", "-d", tr.db, "-c", sql).Run()
	}
	tr.run(`CREATE INDEX p_x ON ONLY p ((a / b)); CREATE INDEX p1_x ON ONLY p1 ((a / b))`)
	cmd(`CREATE INDEX CONCURRENTLY p11_x ON p11 ((a / b))`)
	tr.run(`ALTER INDEX p1_x ATTACH PARTITION p11_x; ALTER INDEX p_x ATTACH PARTITION p1_x; CREATE INDEX p2_x ON p2 ((a / b));
	  ALTER INDEX p_x ATTACH PARTITION p2_x`)
	tr.run(`CREATE TABLE q (a int, b int) PARTITION BY RANGE (a); CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (a);
CREATE TABLE q11 PARTITION OF q1 FOR VALUES FROM (0) TO (5); CREATE TABLE q12 PARTITION OF q1 FOR VALUES FROM (5) TO (10); INSERT INTO q VALUES (1, 0)`)
	cmd(`CREATE INDEX CONCURRENTLY q11_x ON q11 ((a / b))`)
	tr.run(`CREATE INDEX q_x ON q ((a / b))`, `UPDATE p11 SET b = 1`, `REINDEX INDEX p11_x; ALTER INDEX p1_x ATTACH PARTITION p11_x`)
	cmd(`CREATE UNIQUE INDEX CONCURRENTLY never ON p2 ((a / (b - 1)))`)
	tr.run(`DROP INDEX never`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// What a session's default tablespace may be, no table can be made in.
func TestSharedTablespace(t *testing.T) {
	tr := begin(t, `CREATE TABLE p (a int) PARTITION BY LIST (a)`)
	tr.run(`SET allow_in_place_tablespaces = on; CREATE TABLESPACE scribe_test_space LOCATION '';
ALTER TABLE p SET TABLESPACE scribe_test_space; SET default_tablespace = pg_global; CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
ALTER TABLE ALL IN TABLESPACE scribe_test_space SET TABLESPACE pg_default; ALTER TABLE p SET TABLESPACE pg_default; RESET default_tablespace;
DROP TABLESPACE scribe_test_space`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// Roles that came and went between two samples, and what they were while they
// gave commands, leave nothing behind and stop nothing.
func TestRolesBetweenSamples(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	names := strings.NewReplacer("visitor", tr.db+"_visitor", "keeper", tr.db+"_keeper", "DB", tr.db)
	tr.t.Cleanup(func() { tr.source.Exec(t, "postgres", names.Replace("DROP ROLE IF EXISTS keeper")) })
	tr.run(names.Replace(`CREATE ROLE keeper`))
	tr.capture() // keeper is sampled without attributes
	tr.run(names.Replace(`CREATE ROLE visitor LOGIN; GRANT CREATE ON DATABASE "DB" TO visitor; GRANT keeper TO visitor;
SET ROLE visitor; CREATE SCHEMA s; CREATE TABLE s.t (a int); GRANT CREATE ON SCHEMA s TO keeper; ALTER TABLE s.t OWNER TO keeper; RESET ROLE;
ALTER ROLE keeper SUPERUSER; SET ROLE keeper; CREATE FUNCTION public.f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.f(); RESET ROLE;
DROP EVENT TRIGGER e; ALTER ROLE keeper NOSUPERUSER; DROP SCHEMA s CASCADE; REVOKE CREATE ON DATABASE "DB" FROM visitor; DROP ROLE visitor`))
	tr.capture()
	tr.run(`CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()`)
	tr.capture()
	tr.run(`DROP EVENT TRIGGER e; DROP FUNCTION f()`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	roles := names.Replace(`SELECT rolname, rolsuper FROM pg_roles WHERE rolname IN ('keeper', 'visitor') ORDER BY 1`)
	want := tr.source.Query(t, "postgres", roles)
	if got := tr.target.Query(t, "postgres", roles); got != want || want == "" {
		t.Errorf("roles of the target:\n%s\nof the source:\n%s", got, want)
	}
	acl := `SELECT count(*) FROM pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) a WHERE datname = current_database()`
	if got, want := tr.target.Query(t, tr.restored, acl), tr.source.Query(t, tr.db, acl); got != want {
		t.Errorf("%s privileges on the database, want %s", got, want)
	}
}

// A role whose name holds quotes is named with them doubled.
func TestRoleWithQuotes(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	role := `"` + tr.db + `'s ""x"" ä"`
	tr.run(`CREATE ROLE ` + role + `; GRANT SELECT ON t TO ` + role + `; REVOKE SELECT ON t FROM ` + role + `; DROP ROLE ` + role)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// EXPLAIN ANALYZE makes a materialized view without an event. Its first
// REFRESH tells of it.
func TestExplainedMaterializedView(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'x' || g FROM generate_series(1, 20) g`)
	tr.run(`EXPLAIN (ANALYZE, COSTS off, SUMMARY off) CREATE MATERIALIZED VIEW "My View" AS SELECT id AS "a b", v AS y FROM t WITH DATA;
CREATE MATERIALIZED VIEW other AS SELECT count(*) FROM t; INSERT INTO t VALUES (21, 'z');
REFRESH MATERIALIZED VIEW "My View"; REFRESH MATERIALIZED VIEW other; CREATE UNIQUE INDEX ON "My View" ("a b");
REFRESH MATERIALIZED VIEW CONCURRENTLY "My View"`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	if got := tr.target.Query(t, tr.restored, `SELECT count(*), max(y) FROM "My View"`); got != "21|z" {
		t.Errorf("the view holds %s", got)
	}
}

// CREATE SCHEMA makes tables too, and a bound may be an expression that runs
// commands of its own.
func TestBoundsWithinCreateSchema(t *testing.T) {
	tr := begin(t, `CREATE SEQUENCE calls; CREATE FUNCTION bound(i int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN EXECUTE format('CREATE TABLE public.made%s (a int)', nextval('public.calls')); RETURN i; END $$`)
	tr.run(`CREATE SCHEMA s CREATE TABLE t (i int) PARTITION BY RANGE (i) CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (1) TO (public.bound(2))
CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (5) TO (public.bound(9)) CREATE VIEW v AS SELECT 1 AS one`,
		`INSERT INTO s.t VALUES (1), (8); CREATE TABLE s.p3 PARTITION OF s.t FOR VALUES FROM (20) TO (public.bound(30))`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// DROP OWNED takes privileges too, whatever else it drops.
func TestDropOwnedWithTemporaryObjects(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	role := tr.db + "_leaver"
	tr.run(strings.ReplaceAll(`CREATE ROLE leaver; GRANT SELECT ON t TO leaver; GRANT CREATE ON SCHEMA public TO leaver; SET ROLE leaver;
CREATE TEMP TABLE gone (a int); CREATE TABLE mine (a int); RESET ROLE; DROP OWNED BY leaver; DROP ROLE leaver`, "leaver", role))
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
