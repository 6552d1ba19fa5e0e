package stream

import (
	"context"
	"strings"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
)

// slowWriter is a disk that hangs once.
type slowWriter struct {
	strings.Builder
	pause time.Duration
}

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(w.pause)
	w.pause = 0
	return w.Builder.Write(p)
}

// While later stages wait for a disk and no more is read, the server still
// hears that this side lives.
func TestServerHearsOfABusyStreamer(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Options{Settings: map[string]string{"wal_sender_timeout": "4s"}})
	s := newSourceOn(t, cluster, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	s.exec("INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 200000) g")
	s.exec("INSERT INTO t VALUES (0, 'last')")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out := &slowWriter{pause: 12 * time.Second}
	err := Run(ctx, nil, RunOptions{ConnString: s.conn(), Slot: s.slot, Publication: DefaultPublication, NoLoop: true,
		StatusInterval: 10 * time.Second, Endpos: s.lsn(), Text: out})
	if err != nil || ctx.Err() != nil || !strings.Contains(out.String(), "'last'") {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
}
