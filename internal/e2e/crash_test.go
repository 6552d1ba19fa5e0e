package e2e

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/stream"
)

// The source's server crashes and comes back, again and again, while a
// streamer runs: it connects again, and nothing is lost or doubled.
func TestServerCrashesWhileStreaming(t *testing.T) {
	_, target := clusters(t)
	source := pgtest.New(t, pgtest.Options{Settings: map[string]string{"fsync": "on"}})
	tr := beginOn(t, source, target, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var notices atomic.Int64
	done := make(chan error, 1)
	go func() {
		done <- stream.Run(ctx, r, stream.RunOptions{ConnString: tr.conn(), Slot: tr.slot, Publication: stream.DefaultPublication,
			StatusInterval: 100 * time.Millisecond, FsyncInterval: 200 * time.Millisecond, StateInterval: time.Minute,
			Notice: func(string) { notices.Add(1) }})
	}()
	for round := range 4 {
		tr.run(fmt.Sprintf("INSERT INTO t SELECT g + %d, repeat('x', 100) FROM generate_series(1, 20000) g", round*20000),
			fmt.Sprintf("CREATE TABLE made_%d AS SELECT * FROM t WHERE id %% 100 = 0; UPDATE t SET v = 'round %d' WHERE id %% 7 = 0", round, round))
		time.Sleep(time.Duration(round) * 150 * time.Millisecond)
		if err := source.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := source.StartAgain(); err != nil {
			t.Fatal(err)
		}
	}
	tr.run("INSERT INTO t VALUES (-1, 'last')")
	end := tr.lsn()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if at, err := r.End(ctx); err != nil || at >= end {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("the streamer gave up: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the streamer does not come back")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if notices.Load() == 0 {
		t.Error("the connection never broke")
	}
	tr.noGap()
	tr.back()
	tr.equal()
}
