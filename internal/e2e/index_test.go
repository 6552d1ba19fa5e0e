package e2e

import (
	"context"
	"strings"
	"testing"
	"time"
)

// CREATE INDEX CONCURRENTLY that fails leaves an index that is there by name
// only. It becomes a real one without an event.
func TestIndexThatBecomesValid(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int); INSERT INTO t VALUES (1, 1, 1, 1), (2, 1, 1, 1);
	  CREATE MATERIALIZED VIEW m AS SELECT 1 AS x; CREATE UNIQUE INDEX ON m (x)`)
	fails := func(sql string) {
		t.Helper()
		if out, err := tr.source.Command("psql", "-X", "-q", "-d", tr.db, "-c", sql).CombinedOutput(); err == nil || !strings.Contains(string(out),
			"could not create unique index") {
			t.Fatalf("%s: %s", sql, out)
		}
	}
	fails(`CREATE UNIQUE INDEX CONCURRENTLY reindexed ON t (a) WHERE id < 5`)
	fails(`CREATE UNIQUE INDEX CONCURRENTLY "By truncate" ON t (b)`)
	fails(`CREATE UNIQUE INDEX CONCURRENTLY t_c_idx ON t (c)`)
	tr.run(`CREATE INDEX ON t (c); /* a word */ CREATE INDEX ON t (c)`) // named otherwise, since that name is taken
	tr.capture()
	tr.run(`CREATE TABLE l (LIKE t INCLUDING ALL, x int); CREATE FUNCTION lf() RETURNS void LANGUAGE sql AS 'CREATE TABLE l2 (LIKE t INCLUDING INDEXES)';
	  SELECT lf()`) // has no duplicates
	tr.run(`REFRESH MATERIALIZED VIEW m`) // explains nothing
	tr.run(`ALTER INDEX reindexed RENAME TO re; COMMENT ON INDEX re IS 'it''s one';
	  ALTER INDEX re SET (fillfactor = 70)`, `DELETE FROM t WHERE id = 2`, `REINDEX INDEX re; REFRESH MATERIALIZED VIEW CONCURRENTLY m`)
	tr.capture()
	tr.run(`COMMENT ON INDEX re IS 'it''s two'; TRUNCATE t; INSERT INTO t VALUES (3, 3, 3, 3)`, `DROP INDEX t_c_idx`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// DROP INDEX CONCURRENTLY that is interrupted leaves the name only, also of an
// index that no sample has seen before.
func TestIndexThatBecomesInvalid(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1); CREATE INDEX t_a ON t (a);
	  CREATE MATERIALIZED VIEW m AS SELECT a FROM t`)
	tr.run(`CREATE INDEX t_b ON t (a); CREATE INDEX m_a ON m (a)`)
	ctx := context.Background()
	reader := tr.source.Conn(t, tr.db)
	holding := func(act func()) {
		t.Helper()
		tx, err := reader.Begin(ctx)
		must(t, err)
		_, err = tx.Exec(ctx, "SELECT * FROM t, m")
		must(t, err)
		act()
		must(t, tx.Rollback(ctx))
	}
	holding(func() {
		for _, index := range []string{"t_a", "t_b", "m_a"} {
			if out, err := tr.source.Command("psql", "-X", "-q", "-d", tr.db, "-c", "SET statement_timeout = '300ms'", "-c", "DROP INDEX CONCURRENTLY "+
				index).CombinedOutput(); err == nil {
				t.Fatalf("it was not interrupted: %s", out)
			}
		}
	})
	const left = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
	if got := tr.source.Query(t, tr.db, left); got != "3" {
		t.Fatalf("%s indexes are invalid", got)
	}
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()

	tr.run(`DROP INDEX t_a; CREATE INDEX t_a ON t (a DESC); REINDEX INDEX t_b`)
	done := make(chan error, 1)
	holding(func() {
		go func() {
			done <- tr.source.Command("psql", "-X", "-q", "-d", tr.db, "-c", "DROP INDEX CONCURRENTLY t_a").Run()
		}()
		for tr.source.Query(t, tr.db, left) != "2" {
			time.Sleep(10 * time.Millisecond)
		}
		tr.capture()
	})
	must(t, <-done)
	tr.run(`CREATE INDEX t_a ON t (a NULLS FIRST)`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// Commands that rebuild indexes, or make others of them, change nothing.
func TestIndexesRebuilt(t *testing.T) {
	roundTrip(t, `CREATE TABLE t (id int, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 20) g; CREATE UNIQUE INDEX t_id ON t (id);
	  CREATE INDEX t_a ON t (a) WHERE a > 3; CREATE INDEX t_a2 ON t (a) WHERE a > 3;
	  CREATE TABLE p (id int, a int) PARTITION BY LIST (id); CREATE TABLE p1 (id int, a int); CREATE INDEX p1_a ON p1 (a)`,
		`ALTER TABLE t ALTER a TYPE bigint; REINDEX TABLE CONCURRENTLY t`,
		`ALTER TABLE t ALTER id SET NOT NULL; ALTER TABLE t ADD PRIMARY KEY USING INDEX t_id`,
		`CREATE INDEX p_a ON p (a); ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)`,
		`CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); ALTER TABLE p DETACH PARTITION p2; ALTER INDEX t_a RENAME TO t_b; CREATE TABLE l (LIKE t INCLUDING ALL);
		  DROP INDEX t_a2`,
		`CREATE EXTENSION IF NOT EXISTS citext; CREATE MATERIALIZED VIEW m AS SELECT a FROM t; CREATE INDEX ON m (a)`)
}
