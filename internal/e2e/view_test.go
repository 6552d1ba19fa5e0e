package e2e

import (
	"strings"
	"testing"
	"time"
)

// The contents of materialized views are those of the source, whatever their
// query gives elsewhere or later, and a query that writes writes once.
func TestContentsOfMaterializedViews(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT g, g FROM generate_series(1, 100) g;
	  CREATE TABLE log (id int GENERATED ALWAYS AS IDENTITY, what text);
	  CREATE FUNCTION writes(i int) RETURNS int LANGUAGE sql AS $$INSERT INTO log (what) VALUES ('seen ' || i) RETURNING i$$;
	  CREATE MATERIALIZED VIEW before AS SELECT id, n FROM t; CREATE UNIQUE INDEX ON before (id)`)
	tr.run(`CREATE MATERIALIZED VIEW luck AS SELECT id, random() AS r, clock_timestamp() AS at FROM t WITH DATA -- as it is`,
		`CREATE MATERIALIZED VIEW writing AS SELECT writes(id) AS id FROM t WHERE id < 4`, `REFRESH MATERIALIZED VIEW writing`,
		`CREATE INDEX ON luck (r); CREATE MATERIALIZED VIEW none AS SELECT * FROM t WITH NO DATA`,
		`REFRESH MATERIALIZED VIEW none; REFRESH MATERIALIZED VIEW none WITH NO DATA`,
		`REFRESH MATERIALIZED VIEW luck; DELETE FROM t WHERE id > 90; REFRESH MATERIALIZED VIEW CONCURRENTLY before`,
		`CREATE MATERIALIZED VIEW empty AS SELECT * FROM t WHERE false;
		  CREATE MATERIALIZED VIEW "odd ""view""" ("a ""b""") AS SELECT E'x\ty\\' || id FROM t;
		  GRANT SELECT ON luck TO PUBLIC`,
		`CREATE VIEW over AS SELECT * FROM luck; CREATE MATERIALIZED VIEW more AS SELECT count(*) FROM over;
		  REFRESH MATERIALIZED VIEW luck; REFRESH MATERIALIZED VIEW more`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	if got := tr.target.Query(t, tr.restored, "SELECT string_agg(relkind::text || relhasrules::text || relispopulated::text, ' ' ORDER BY relname) FROM pg_class "+
		"WHERE relname IN ('luck', 'writing', 'none', 'empty')"); got != "mtruetrue mtruetrue mtruefalse mtruetrue" {
		t.Errorf("the views are %s", got)
	}
	tr.target.Exec(t, tr.restored, "REFRESH MATERIALIZED VIEW luck; REFRESH MATERIALIZED VIEW CONCURRENTLY before")
}

// A view that takes long shows what its snapshot showed, though others commit
// before it does.
func TestViewsOlderThanTheirCommit(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT g, g FROM generate_series(1, 100) g;
	  CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.02); RETURN i; END';
	  CREATE MATERIALIZED VIEW quick AS SELECT id, n FROM t`)
	done := make(chan struct{}, 2)
	for _, sql := range []string{`CREATE MATERIALIZED VIEW long AS SELECT slow(id) AS id FROM t`,
		`BEGIN; REFRESH MATERIALIZED VIEW quick; SELECT pg_sleep(2); COMMIT`} {
		go func() {
			defer func() { done <- struct{}{} }()
			cmd := tr.source.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", tr.db, "-f", "-")
			cmd.Stdin = strings.NewReader(sql)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}()
	}
	tr.await("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slow(id)%' AND state = 'active' AND pid <> pg_backend_pid()", "1")
	tr.await("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%pg_sleep(2)%' AND pid <> pg_backend_pid()", "1")
	time.Sleep(300 * time.Millisecond)
	tr.run(`INSERT INTO t SELECT g, g FROM generate_series(101, 120) g; UPDATE t SET n = -1 WHERE id < 10; DELETE FROM t WHERE id = 50`)
	<-done
	<-done
	if got := tr.source.Query(t, tr.db, "SELECT (SELECT count(*) FROM quick) || ' ' || (SELECT count(*) FROM long)"); got != "100 100" {
		t.Fatalf("the views have %s rows: nothing committed in between", got)
	}
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
