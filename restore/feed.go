package restore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// A feed turns files into batches, in a goroutine of its own: reading,
// decompressing and encoding go on while the server works.
type feed struct {
	ctx    context.Context // over when nobody takes batches any more
	cancel func()
	pipe   *pipe
	out    chan *batch
	cur    *batch
	err    error // why it ended; read behind the end of out
	net    bool  // net effects were applied since the last commit

	ahead  int64         // how many bytes may wait in out
	queued atomic.Int64  // … and do
	space  chan struct{} // some of them were taken

	textBytes atomic.Int64 // of SQL text read
	what      atomic.Pointer[string]
}

// errStopped ends a feed whose batches nobody takes any more.
var errStopped = errors.New("stopped")

// newFeed takes the connection over. It may be ahead of the server by so many
// bytes; 0: by a few batches.
func newFeed(ctx context.Context, conn *pgconn.PgConn, ahead int64, setUp func(*pipe)) (*feed, error) {
	ahead = max(ahead, inFlight*roomBytes)
	batches := int(ahead/roomBytes) + 2*inFlight
	p, err := newPipe(ctx, conn, batches)
	if err != nil {
		closeNow(conn)
		return nil, err
	}
	setUp(p)
	p.start()
	f := &feed{pipe: p, out: make(chan *batch, batches), cur: p.batch(), ahead: ahead, space: make(chan struct{}, 1)}
	f.ctx, f.cancel = context.WithCancel(ctx)
	return f, nil
}

// fill makes the batches by calling the function, and ends the feed behind it.
func (f *feed) fill(by func() error) {
	defer close(f.out)
	if f.err = by(); f.err == nil {
		f.err = f.wait(nil)
	}
}

// run sends the batches until the feed ends or something fails, and closes the
// connection. tick is called between batches.
func (f *feed) run(ctx context.Context, tick func()) error {
	var err error
	for b := range f.out {
		f.queued.Add(-int64(len(b.wire)))
		select {
		case f.space <- struct{}{}:
		default: // it knows already
		}
		if err != nil {
			continue // until the feed has noticed
		}
		if err = f.pipe.send(b); err != nil {
			f.cancel()
			continue
		}
		tick()
	}
	f.cancel()
	if f.err != nil && (err == nil || errors.Is(err, errStopped)) {
		err = f.err
	}
	f.pipe.close(err == nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// emit hands the current batch over.
func (f *feed) emit() error {
	f.cur.net = f.cur.net || f.net
	for f.queued.Load() >= f.ahead {
		select {
		case <-f.space:
		case <-f.ctx.Done():
			return errStopped
		}
	}
	f.queued.Add(int64(len(f.cur.wire)))
	select {
	case f.out <- f.cur:
		f.cur = f.pipe.batch()
		return nil
	case <-f.ctx.Done():
		return errStopped
	}
}

// flush sends what is there, and has the server answer it.
func (f *feed) flush() error {
	f.cur.wire = appendFlush(f.cur.wire)
	return f.emit()
}

// into and room make a feed a sink.
func (f *feed) into() *batch { return f.cur }

func (f *feed) room(inCopy bool) error {
	switch {
	case !f.cur.full():
		return nil
	case inCopy:
		return f.emit()
	}
	return f.flush()
}

// wait sends what is there and nothing more before every answer is right and
// after, if any, has run.
func (f *feed) wait(after func() error) error {
	f.cur.wait, f.cur.after = true, after
	return f.flush()
}

// query sends a simple query.
func (f *feed) query(sql []byte, a answer) error {
	f.cur.query(sql, a)
	return f.room(false)
}

// sink takes messages one after another.
type sink interface {
	into() *batch
	room(inCopy bool) error // called between two of them
}

// copying is a COPY block on its way.
type copying struct {
	sink    sink
	sent    *atomic.Int64 // rows
	started *atomic.Bool  // the server waits for rows
	midRow  bool          // what was sent ends within a row
}

// beginCopy sends the command; a is its answer but for the kind.
func beginCopy(s sink, sql []byte, a answer) *copying {
	c := &copying{sink: s, sent: new(atomic.Int64), started: new(atomic.Bool)}
	b := s.into()
	a.kind, a.started = answerCopyStart, c.started
	b.query(sql, a)
	a.kind, a.sent = answerCopyEnd, c.sent
	b.answers = append(b.answers, a)
	return c
}

// rows sends rows up to a number of bytes, counted in read. Behind the last
// row it returns io.EOF.
func (c *copying) rows(rows io.Reader, limit int, read *atomic.Int64) error {
	for done := 0; done < limit; {
		b := c.sink.into()
		lines, size, err := b.copyData(rows)
		c.sent.Add(lines)
		read.Add(int64(size))
		done += size
		if err != nil {
			return err
		}
		c.midRow = b.wire[len(b.wire)-1] != '\n'
		if err := c.sink.room(true); err != nil {
			return err
		}
	}
	return nil
}

// end ends the block.
func (c *copying) end() error {
	b := c.sink.into()
	b.wire = appendCopyDone(b.wire)
	return c.sink.room(false)
}

// copyBlock sends a whole block.
func copyBlock(s sink, sql []byte, a answer, rows io.Reader, read *atomic.Int64) error {
	c := beginCopy(s, sql, a)
	if err := c.rows(rows, math.MaxInt, read); !errors.Is(err, io.EOF) {
		return err
	}
	return c.end()
}

// copyChunk is how much of a COPY block goes into one message.
const copyChunk = 64 << 10

// copyData adds one message of rows.
func (b *batch) copyData(rows io.Reader) (lines int64, size int, err error) {
	b.grow(5 + copyChunk)
	wire := b.wire
	body := wire[len(wire)+5 : len(wire)+5+copyChunk]
	n, err := rows.Read(body)
	if n == 0 {
		return 0, 0, err
	}
	wire = append(wire, 'd')
	wire = binary.BigEndian.AppendUint32(wire, uint32(n+4))
	b.wire = wire[:len(wire)+n]
	return int64(bytes.Count(body[:n], []byte{'\n'})), n, nil
}

// grow makes room for n more bytes.
func (b *batch) grow(n int) {
	if cap(b.wire)-len(b.wire) < n {
		grown := make([]byte, len(b.wire), max(2*len(b.wire), roomBytes)+n)
		copy(grown, b.wire)
		b.wire = grown
	}
}
