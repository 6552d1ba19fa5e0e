package restore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// A feed turns files into batches, in a goroutine of its own: reading,
// decompressing and encoding go on while the server works.
type feed struct {
	ctx  context.Context
	pipe *pipe
	out  chan *batch
	cur  *batch
	err  error // why it ended; read behind the end of out

	textBytes atomic.Int64 // of SQL text read
	what      atomic.Pointer[string]
}

// errStopped ends a feed whose batches nobody takes any more.
var errStopped = errors.New("stopped")

// feeding lets fill make batches and sends them over the connection, which it
// takes over and closes. tick is called between batches.
func feeding(ctx context.Context, conn *pgconn.PgConn, setUp func(*pipe), fill func(*feed) error, tick func(*feed)) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	p, err := newPipe(ctx, conn)
	if err != nil {
		closeNow(conn)
		return err
	}
	setUp(p)
	p.start()
	f := &feed{ctx: inner, pipe: p, out: make(chan *batch, inFlight), cur: p.batch()}
	go func() {
		defer close(f.out)
		if f.err = fill(f); f.err == nil {
			f.err = f.wait(nil)
		}
	}()
	for b := range f.out {
		if err == nil {
			if err = p.send(b); err != nil {
				cancel()
			}
			tick(f)
		}
	}
	if err == nil {
		err = f.err
	}
	p.close(err == nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// emit hands the current batch over.
func (f *feed) emit() error {
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

// copyBlock sends a COPY block: a is its answer but for the kind, rows the
// text that follows it.
func copyBlock(s sink, sql []byte, a answer, rows io.Reader, read *atomic.Int64) (int64, error) {
	sent := new(atomic.Int64)
	b := s.into()
	a.kind = answerCopyStart
	b.query(sql, a)
	a.kind, a.sent = answerCopyEnd, sent
	b.answers = append(b.answers, a)
	for {
		lines, size, err := s.into().copyData(rows)
		sent.Add(lines)
		read.Add(int64(size))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		if err := s.room(true); err != nil {
			return 0, err
		}
	}
	b = s.into()
	b.wire = appendCopyDone(b.wire)
	return sent.Load(), s.room(false)
}

// copyChunk is how much of a COPY block goes into one message.
const copyChunk = 64 << 10

// copyData adds one message of rows.
func (b *batch) copyData(rows io.Reader) (lines int64, size int, err error) {
	start := len(b.wire)
	wire := append(b.wire, 'd', 0, 0, 0, 0)
	if cap(wire)-len(wire) < copyChunk {
		grown := make([]byte, len(wire), len(wire)+roomBytes+copyChunk)
		copy(grown, wire)
		wire = grown
	}
	body := wire[len(wire) : len(wire)+copyChunk]
	n, err := rows.Read(body)
	if n == 0 {
		b.wire = wire[:start]
		return 0, 0, err
	}
	binary.BigEndian.PutUint32(wire[start+1:], uint32(n+4))
	b.wire = wire[:len(wire)+n]
	return int64(bytes.Count(body[:n], []byte{'\n'})), n, err
}
