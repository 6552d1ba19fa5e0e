package e2e

import (
	"context"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/stream"
	"pg_scribe/stream/source"
)

// streaming streams, with a sample each interval, until stop is called.
func (tr *trip) streaming(interval time.Duration) (r *repo.Repository, stop func()) {
	tr.t.Helper()
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	must(tr.t, err)
	must(tr.t, r.Recover(context.Background()))
	done := tr.inBackground(r, stream.RunOptions{NoLoop: true, StateInterval: interval})
	return r, func() {
		tr.t.Helper()
		defer r.Close()
		must(tr.t, done())
	}
}

// slotState is where a slot stands.
func (tr *trip) slotState() (confirmed, restart catalog.LSN) {
	tr.t.Helper()
	s, err := source.FindSlot(context.Background(), tr.conn(), tr.slot)
	must(tr.t, err)
	return s.ConfirmedFlush, s.RestartLSN
}

// Two databases of one cluster are streamed into two repositories. While only
// one of them changes, the other's slot goes on as well and lets go of WAL,
// and never beyond what its repository is known to cover.
func TestIdleDatabaseBesideABusyOne(t *testing.T) {
	_, target := clusters(t)
	source := pgtest.New(t)
	busy := beginOn(t, source, target, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	idle := beginOn(t, source, target, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	_, stopBusy := busy.streaming(time.Minute)
	repository, stopIdle := idle.streaming(time.Minute)
	idle.run("INSERT INTO t VALUES (1, 'idle')")
	busy.run("INSERT INTO t VALUES (1, 'busy')")
	before := idle.lsn()
	busy.run("INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(2, 40000) g", "UPDATE t SET v = v || 'y' WHERE id % 3 = 0", "CHECKPOINT")
	at, err := catalog.ParseLSN(source.Query(t, "postgres", "SELECT pg_current_wal_flush_lsn()"))
	must(t, err)
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		confirmed, restart := idle.slotState()
		end, err := repository.End(context.Background())
		must(t, err)
		if end < confirmed {
			t.Fatalf("confirmed up to %s, stored up to %s", confirmed, end)
		}
		if confirmed >= at && restart > before {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("confirmed %s and kept from %s; the other database went from %s to %s", confirmed, restart, before, at)
		}
		source.Exec(t, "postgres", "CHECKPOINT")
	}
	idle.run("INSERT INTO t VALUES (2, 'awake')")
	stopBusy()
	stopIdle()
	for _, tr := range []*trip{busy, idle} {
		tr.noGap()
		tr.back()
		tr.equal()
	}
}

// A database and a server where nothing happens at all: the repository is
// proven to be complete for later and later moments.
func TestNothingHappens(t *testing.T) {
	_, target := clusters(t)
	tr := beginOn(t, pgtest.New(t), target, "CREATE TABLE t (id int PRIMARY KEY)")
	r, stop := tr.streaming(time.Minute)
	reached := func() (at time.Time) {
		segments, err := r.Catalog().Artifacts(context.Background(), catalog.KindSegment)
		must(t, err)
		for _, a := range segments {
			if a.ReachedAt.After(at) {
				at = a.ReachedAt
			}
		}
		return at
	}
	began := time.Now()
	for deadline := time.Now().Add(5 * time.Minute); !reached().After(began.Add(time.Second)); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("begun at %s, the repository is complete for %s", began, reached())
		}
	}
	stop()
}
