package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// EXPLAIN ANALYZE makes what it explains, and no event tells.
func TestExplainAnalyzeCreate(t *testing.T) {
	tr := begin(t, `CREATE TABLE src (id int PRIMARY KEY, v text COLLATE "C"); INSERT INTO src SELECT g, 'v' || g FROM generate_series(1, 50) g`)
	owner := tr.db + "_owner"
	tr.run(`CREATE ROLE `+owner+`; GRANT ALL ON SCHEMA public TO `+owner+`; GRANT SELECT ON src TO `+owner,
		`SET ROLE `+owner+`; EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) CREATE TABLE "Empty one" AS SELECT *, 1.5::numeric(5, 2) AS n FROM src WHERE `+
			`false; EXPLAIN ANALYZE CREATE MATERIALIZED VIEW mv AS SELECT v, count(*) AS "how many" FROM src GROUP BY v`,
		`EXPLAIN ANALYZE SELECT * INTO other FROM src WHERE id < 0`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	tr.owners()
	if got := tr.target.Query(t, tr.restored, "SELECT count(*) FROM mv"); got != "50" {
		t.Errorf("the materialized view has %s rows", got)
	}
}

// What came or went without an event is named, or made again; everything else is explained by its event.
func TestInventory(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE FUNCTION lost() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE e AS ENUM ('a')`)
	everyKind := `CREATE SCHEMA s CREATE TABLE st (id serial PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY) CREATE VIEW sv AS SELECT 1 AS x; CREATE SEQUENCE q;
	  CREATE TYPE c AS (x int); CREATE TYPE r AS RANGE (SUBTYPE = float8); CREATE DOMAIN d AS int;
	  CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE agg (int4) (SFUNC = int4pl, STYPE = int4);
	  CREATE OPERATOR ### (LEFTARG = int4, RIGHTARG = int4, FUNCTION = int4pl, COMMUTATOR = ####);
	  CREATE OPERATOR CLASS oc FOR TYPE int4 USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int4, int4); CREATE COLLATION co FROM "C";
	  CREATE TEXT SEARCH DICTIONARY td (TEMPLATE = simple);
	  CREATE TABLE p (id int, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
	  CREATE TABLE lk (LIKE s.st INCLUDING ALL); CREATE STATISTICS stx ON id, v FROM p1; ALTER TABLE p ALTER v TYPE varchar;
	  CREATE TEMP TABLE tmp (id serial); CREATE TABLE cta AS SELECT 1 AS x; CREATE EXTENSION citext; ALTER EXTENSION citext DROP FUNCTION citext_hash(citext);
	  ALTER EXTENSION citext ADD FUNCTION citext_hash(citext); CREATE MATERIALIZED VIEW mv AS SELECT 1 AS x; CREATE UNIQUE INDEX ON mv (x);
	  REFRESH MATERIALIZED VIEW CONCURRENTLY mv`
	tr.run(everyKind)
	tr.capture()
	tr.noGap()
	tr.run(`DROP SCHEMA s CASCADE; DROP TABLE p, cta; ALTER SEQUENCE q OWNED BY t.id; DROP EXTENSION citext; DROP TYPE r; DROP OPERATOR CLASS oc USING btree;
	  DROP OPERATOR FAMILY oc USING btree; ALTER TABLE t RENAME TO t2; BEGIN; CREATE TABLE both_ (x int); DROP TABLE both_; COMMIT; BEGIN;
	  CREATE TABLE never (x int); ROLLBACK`)
	tr.capture()
	tr.noGap()
	tr.run(`EXPLAIN ANALYZE CREATE TABLE "by stealth" AS SELECT 1 AS id WHERE false; UPDATE pg_class SET relacl = '{=r/postgres}' WHERE relname = 'by stealth';
	  INSERT INTO pg_namespace (oid, nspname, nspowner) VALUES (900001, 'stealthy', 10);
	  DELETE FROM pg_proc WHERE proname = 'lost'; EXPLAIN ANALYZE CREATE TABLE plain AS SELECT 1 AS x WHERE false`, `CREATE TABLE seen (x int)`)
	tr.capture()
	var gaps string
	for line := range strings.Lines(tr.text()) {
		if strings.HasPrefix(line, "-- pg_scribe gap") {
			gaps += line
		}
	}
	for _, want := range []string{`table public.\"by stealth\" came about`, "schema stealthy came about", "function public.lost() is gone", "full-backup"} {
		if !strings.Contains(gaps, want) {
			t.Errorf("no gap tells that %s:\n%s", want, gaps)
		}
	}
	if strings.Contains(gaps, "seen") || strings.Contains(gaps, "plain") {
		t.Errorf("gaps tell too much: %s", gaps)
	}
	tr.fullBackup()
	tr.run(`INSERT INTO "by stealth" VALUES (1); INSERT INTO plain VALUES (1); CREATE TABLE after (x int)`)
	tr.capture()
	tr.back()
	tr.equal()
}

// The first base meets DDL and is taken again at a later point. What the commands
// in between made and dropped was captured, and so is no gap.
func TestInventoryOfAFirstBaseTakenAgain(t *testing.T) {
	source, target := clusters(t)
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), dir: filepath.Join(t.TempDir(), "repo")}
	tr.slot = tr.db
	again := false
	tr.dumping = func() {
		again = true
		tr.run(`DROP TABLE early CASCADE; DROP FUNCTION f(); CREATE TABLE late (id int PRIMARY KEY); CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1';
		  CREATE SCHEMA s`)
	}
	tr.begin(`CREATE TABLE early (id int PRIMARY KEY); CREATE VIEW v AS SELECT * FROM early; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'`)
	if !again {
		t.Fatal("the first dump was not disturbed")
	}
	tr.run(`CREATE TABLE last (id int PRIMARY KEY); INSERT INTO late VALUES (1)`)
	for range 2 { // the sample of one start, and what the stream has brought by the next one
		tr.capture()
	}
	tr.marks(0)
	tr.noGap()
	tr.back()
	tr.equal()
}
