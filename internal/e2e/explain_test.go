package e2e

import (
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/restore"
)

// EXPLAIN ANALYZE makes a table and fires no event: it is made from its rows'
// description, and marked.
func TestTablesByExplain(t *testing.T) {
	tr := begin(t, `CREATE TABLE src (id int PRIMARY KEY, v varchar(20) COLLATE "C", n numeric(8, 2)[]);
	  INSERT INTO src SELECT g, 'v' || g, ARRAY[g] FROM generate_series(1, 20) g; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE SCHEMA "S s"`)
	role := tr.db + "_owner"
	tr.run(`CREATE ROLE `+role+`; GRANT CREATE ON SCHEMA public TO `+role+`; GRANT SELECT ON src TO `+role+`; SET ROLE `+role+`; EXPLAIN (ANALYZE, COSTS off) `+
		`CREATE TABLE by_explain AS SELECT *, 'ok'::mood AS m FROM src`,
		`BEGIN; INSERT INTO src VALUES (50); SAVEPOINT s; EXPLAIN ANALYZE SELECT 1 AS one INTO "S s"."in, sub"; RELEASE s; COMMIT;
		  DO $$BEGIN EXECUTE 'EXPLAIN ANALYZE CREATE TABLE nested AS SELECT 1 AS x'; EXCEPTION WHEN division_by_zero THEN NULL; END$$`,
		`EXPLAIN ANALYZE CREATE TABLE gone AS SELECT 'ok'::mood AS m; DROP TABLE gone; CREATE TABLE known AS SELECT 1 AS x; CREATE TABLE known2 (i int);
		  INSERT INTO known2 VALUES (1)`)
	tr.capture()
	if n := strings.Count(tr.text(), "\n-- pg_scribe gap "); n < 1 || strings.Contains(tr.text(), "known2\\\" came about") {
		t.Errorf("%d marks:\n%s", n, tr.text())
	}
	tr.restored = tr.db + "_explained"
	if _, err := tr.restoreTo(tr.restored, catalog.Request{AcceptGaps: true}, restore.Options{}); err != nil {
		t.Fatalf("%v\n%s", err, tr.text())
	}
	defer tr.target.Exec(t, "postgres", "DROP DATABASE "+tr.restored)
	tr.equal()
}

// A table that nothing told of is marked, though it is gone before the stream
// comes to its rows, and though a savepoint made it.
func TestUnknownTableIsMarked(t *testing.T) {
	for name, sql := range map[string]string{
		"gone":             `EXPLAIN ANALYZE CREATE TABLE made AS SELECT 1 AS x; DROP TABLE made`,
		"gone, by another": `EXPLAIN ANALYZE CREATE TABLE made AS SELECT 1 AS x; DROP TABLE made; EXPLAIN ANALYZE CREATE TABLE made AS SELECT 2 AS x`,
		"savepoint":        `BEGIN; SAVEPOINT s; EXPLAIN ANALYZE CREATE TABLE made AS SELECT 1 AS x; RELEASE s; COMMIT`,
		"later rows": `BEGIN; SAVEPOINT s; EXPLAIN ANALYZE CREATE TABLE made AS SELECT 1 AS x WHERE false; RELEASE s; COMMIT; INSERT INTO made VALUES (1);
		  DROP TABLE made`,
	} {
		t.Run(name, func(t *testing.T) {
			tr := begin(t)
			tr.run(sql)
			tr.captureUntil(false)
			if gaps := tr.gaps(); len(gaps) == 0 || !strings.Contains(gaps[0], "made") || !strings.Contains(gaps[0], "came about without an event") {
				t.Errorf("%q:\n%s", gaps, tr.text())
			}
		})
	}
}

// A table that was there before is not marked, though it is gone before the
// stream comes to its rows, and its transaction is the later one.
func TestKnownTableIsNotMarked(t *testing.T) {
	const early, late = `CREATE TABLE early AS SELECT 1 AS x`, `CREATE TABLE late (x int)`
	for name, c := range map[string]struct {
		base, before string
		between      func(tr *trip)
	}{
		"in the base": {early, late, func(*trip) {}},
		"sampled":     {``, early + ";" + late, func(tr *trip) { tr.capture() }},
		"streamed":    {``, early + ";" + late, func(tr *trip) { tr.captureUntil(false) }},
		"meanwhile":   {``, early + ";" + late, func(*trip) {}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := begin(t, c.base)
			conn := tr.source.Conn(t, tr.db)
			tx, err := conn.Begin(t.Context())
			must(t, err)
			_, err = tx.Exec(t.Context(), "SELECT pg_current_xact_id()")
			must(t, err)
			tr.run(c.before)
			c.between(tr)
			_, err = tx.Exec(t.Context(), "INSERT INTO late VALUES (1)") // whose transaction is the earlier one
			must(t, err)
			must(t, tx.Commit(t.Context()))
			tr.run(`INSERT INTO early VALUES (2); INSERT INTO late VALUES (3); DROP TABLE early`)
			tr.capture()
			tr.marks(0)
			tr.back()
			tr.equal()
		})
	}
}
