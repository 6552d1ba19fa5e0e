package stream

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
)

// sourceClock pairs positions of the source's WAL with its clock, so that the
// stream can be said to be complete for a time even when nothing happens:
// every transaction that committed before the clock was read has its commit
// record before the position that was read with it.
type sourceClock struct {
	conn  *pgx.Conn
	tasks sync.WaitGroup

	mu      sync.Mutex
	busy    bool
	pairs   []clockPair // ascending, not yet passed
	current catalog.LSN
}

type clockPair struct {
	lsn catalog.LSN
	at  time.Time
}

func newSourceClock(conn *pgx.Conn) *sourceClock { return &sourceClock{conn: conn} }

// commitSlack is how long before its commit record is in the WAL buffers a
// transaction may have read its commit time.
const commitSlack = time.Second

// ask reads a pair in the background. A connection that fails is not an error
// of the stream: times are then proven by commits alone.
func (c *sourceClock) ask(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy || c.conn.IsClosed() {
		return
	}
	c.busy = true
	c.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		var text string
		var at time.Time
		err := c.conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text, clock_timestamp()").Scan(&text, &at)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.busy = false
		if err != nil {
			return
		}
		lsn, err := catalog.ParseLSN(text)
		if err != nil {
			return
		}
		c.current = lsn
		c.pairs = append(c.pairs, clockPair{pageStart(lsn), at.Add(-commitSlack)})
		if len(c.pairs) > 1000 { // far behind: a coarser grid does
			kept := c.pairs[:0]
			for i := 0; i < len(c.pairs); i += 2 {
				kept = append(kept, c.pairs[i])
			}
			c.pairs = kept
		}
	})
}

// wait returns when no question is under way, so that the connection is free.
func (c *sourceClock) wait() { c.tasks.Wait() }

// pageStart takes back the page header that the insert position skips when it
// stands at the start of a page; a flush position does not skip it.
func pageStart(lsn catalog.LSN) catalog.LSN {
	const page, header, longHeader = 8192, 24, 40
	if offset := lsn % page; offset == header || offset == longHeader {
		return lsn - offset
	}
	return lsn
}

// passed returns the latest time for which the stream is complete at end, or
// the zero time when there is no news.
func (c *sourceClock) passed(end catalog.LSN) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var at time.Time
	n := 0
	for n < len(c.pairs) && c.pairs[n].lsn <= end {
		at = c.pairs[n].at
		n++
	}
	c.pairs = c.pairs[n:]
	return at
}

// server is the end of the source's WAL when last asked.
func (c *sourceClock) server() catalog.LSN {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}
