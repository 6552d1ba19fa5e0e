package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/stream"
)

// Transactions that came through replication carry commit times of another
// server, which say nothing of their place.
func TestOriginsAndTimeTargets(t *testing.T) {
	tr := begin(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	origin := tr.db + "_origin"
	foreign := func(sql, at string) string {
		return `SELECT pg_replication_origin_session_setup('` + origin + `'); BEGIN; ` + sql +
			`; SELECT pg_replication_origin_xact_setup('0/ABC', '` + at + `'); COMMIT; SELECT pg_replication_origin_session_reset()`
	}
	tr.run(`SELECT pg_replication_origin_create('` + origin + `')`)
	defer tr.source.Exec(t, tr.db, `SELECT pg_replication_origin_drop('`+origin+`')`)
	tr.run("INSERT INTO t VALUES (1, 'local')", foreign("INSERT INTO t VALUES (2, 'past')", "2001-01-01 00:00:00+00"),
		foreign("INSERT INTO t VALUES (3, 'future')", "2099-01-01 00:00:00+00"), "INSERT INTO t VALUES (4, 'near')")
	time.Sleep(50 * time.Millisecond)
	at := tr.source.Query(t, tr.db, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
	target, err := time.Parse(time.RFC3339, at)
	must(t, err)
	time.Sleep(50 * time.Millisecond)
	tr.run(foreign("INSERT INTO t VALUES (5, 'past again')", "2001-01-01 00:00:00+00"), "INSERT INTO t VALUES (6, 'later')",
		foreign("INSERT INTO t VALUES (7, 'last')", "2001-01-01 00:00:00+00"))
	tr.capture()
	tr.noGap()
	// The foreign one behind the moment cannot be told from one before it; the local one ends it.
	if got, err := tr.rows(catalog.Request{Target: catalog.Target{Kind: catalog.ByTime, Time: target}}); err != nil || got != "local past future near past again" {
		t.Errorf("%q, %v", got, err)
	}
	for _, a := range tr.inventory().Artifacts {
		if a.Kind == catalog.KindSegment && a.Transactions > 0 && (a.LastCommitAt.After(time.Now()) || a.FirstCommitAt.Year() < 2020) {
			t.Errorf("%s is said to go from %s to %s", a.Name, a.FirstCommitAt, a.LastCommitAt)
		}
	}
	tr.back()
	tr.equal()
}

// A stop in the middle of a large transaction leaves nothing of it, and no
// file half done. The next start gets it whole.
func TestStopWithinALargeTransaction(t *testing.T) {
	tr := begin(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	tr.run("INSERT INTO t VALUES (0, 'before')")
	for round := range 2 {
		r, err := repo.Open(context.Background(), tr.dir, time.Now)
		must(t, err)
		must(t, r.Recover(context.Background()))
		if round == 0 {
			tr.run("INSERT INTO t SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 300000) g")
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			for size, began := int64(0), time.Now(); size < 3<<20 && time.Since(began) < 30*time.Second; time.Sleep(time.Millisecond) {
				open, _ := filepath.Glob(filepath.Join(tr.dir, "*.open"))
				for _, name := range open {
					if info, err := os.Stat(name); err == nil {
						size = info.Size()
					}
				}
			}
			cancel()
		}()
		err = stream.Run(ctx, r, stream.RunOptions{ConnString: tr.conn(), Slot: tr.slot, Publication: stream.DefaultPublication, NoLoop: true,
			StatusInterval: 100 * time.Millisecond, FsyncInterval: 50 * time.Millisecond})
		cancel()
		must(t, err)
		must(t, r.Close())
		if left, _ := filepath.Glob(filepath.Join(tr.dir, "*.open")); len(left) > 0 {
			t.Errorf("left: %s", left)
		}
		text := tr.text()
		if n := strings.Count(text, "'before'"); n != 1 {
			t.Errorf("what was there before stands there %d times", n)
		}
		if begun, ended := strings.Count(text, "\nBEGIN; -- xid"), strings.Count(text, "\nCOMMIT; -- "); begun != ended {
			t.Errorf("%d transactions begin, %d end", begun, ended)
		}
	}
	tr.run("INSERT INTO t VALUES (-1, 'after')")
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
