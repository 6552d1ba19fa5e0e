package restore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"

	"pg_scribe/internal/simple"
)

// A server uses one core for a COPY. The rows of a large block are therefore
// dealt out to two sessions, in pieces that hold whole rows. Which of them
// writes which rows, and so their physical order, is left to who is free.

// spreadFrom is the size from which a block counts as large.
const spreadFrom = 4 << 20

// spreadPiece is about what one session gets at a time: much, so that rows
// that were close to each other mostly stay so.
const spreadPiece = 256 << 10

// helper is a session that takes part of the rows.
type helper struct {
	feed *feed
	done chan struct{} // closed when the session has ended
	err  error         // why; read behind done
}

// haveHelper makes the helper at its first use. A server that has no
// connection to spare is loaded by one session.
func (l *loader) haveHelper(ctx context.Context) bool {
	if l.helper != nil || l.alone || l.inBlock || l.x.o.sessions() < 2 {
		return l.helper != nil && !l.inBlock
	}
	l.alone = true
	conn, err := l.x.server.open(ctx, l.x.o.TargetConn)
	if err != nil {
		return false
	}
	for _, sql := range l.state.list() {
		if _, err := simple.Query(ctx, conn, sql); err != nil {
			closeNow(conn)
			return false
		}
	}
	f, err := newFeed(ctx, conn, 0, l.x.listen)
	if err != nil {
		return false
	}
	h := &helper{feed: f, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		h.err = f.run(ctx, func() {})
	}()
	l.helper = h
	return true
}

// endHelper ends the helper, and returns the error that explains err: the one
// of the session that failed.
func (l *loader) endHelper(err error) error {
	h := l.helper
	if h == nil {
		return err
	}
	h.feed.err = err
	close(h.feed.out)
	<-h.done
	if (err == nil || errors.Is(err, errStopped)) && h.err != nil {
		return h.err
	}
	return err
}

// spreadCopy is what the helper needs to know of a COPY block.
type spreadCopy struct {
	sql    string
	answer answer
}

// spread deals out the rest of a block that has begun, ends it, and returns
// how many rows the helper got. What is sent behind waits until all are in.
func (l *loader) spread(f *feed, c *copying, rows io.Reader, of spreadCopy) (int64, error) {
	h := l.helper
	if err := f.emit(); err != nil {
		return 0, err
	}
	theirs := beginCopy(h.feed, []byte(of.sql), of.answer)
	if err := h.feed.emit(); err != nil {
		return 0, err
	}
	if err := l.deal(f, c, theirs, &dealer{rows: rows, read: &f.textBytes}); !errors.Is(err, io.EOF) {
		return 0, err
	}
	landed := make(chan struct{})
	if err := theirs.end(); err != nil {
		return 0, err
	}
	if err := h.feed.wait(func() error { close(landed); return nil }); err != nil {
		return 0, err
	}
	if err := c.end(); err != nil {
		return 0, err
	}
	return theirs.sent.Load(), f.wait(func() error {
		select {
		case <-landed:
			return nil
		case <-h.feed.ctx.Done():
		}
		select {
		case <-landed: // and the helper has ended since
			return nil
		default:
			return errStopped // endHelper knows why
		}
	})
}

// deal gives each piece to the session that takes it first.
func (l *loader) deal(f *feed, ours, theirs *copying, d *dealer) error {
	h := l.helper.feed
	for {
		b := f.pipe.batch()
		lines, err := d.piece(b, ours.midRow)
		if err != nil {
			return err
		}
		if ours.midRow {
			ours.midRow = false
			select {
			case f.out <- b:
				ours.sent.Add(lines)
				continue
			case <-f.ctx.Done():
				return errStopped
			}
		}
		select {
		case f.out <- b:
			ours.sent.Add(lines)
		case h.out <- b:
			theirs.sent.Add(lines)
		case <-f.ctx.Done():
			return errStopped
		case <-h.ctx.Done():
			return errStopped
		}
	}
}

// dealer cuts a text of rows into pieces.
type dealer struct {
	rows io.Reader
	rest []byte // read, but behind the last whole row
	eof  bool
	read *atomic.Int64
}

// piece fills a batch with a message of whole rows, or, when the first is to
// end a row that was begun before, of that row's end.
func (d *dealer) piece(b *batch, firstOnly bool) (lines int64, err error) {
	b.wire = append(b.wire, 'd', 0, 0, 0, 0)
	b.wire = append(b.wire, d.rest...)
	d.rest = d.rest[:0]
	for !d.eof && (len(b.wire) < spreadPiece || bytes.IndexByte(b.wire[5:], '\n') < 0) {
		b.grow(copyChunk)
		n, err := d.rows.Read(b.wire[len(b.wire) : len(b.wire)+copyChunk])
		b.wire = b.wire[:len(b.wire)+n]
		d.read.Add(int64(n))
		if errors.Is(err, io.EOF) {
			d.eof = true
		} else if err != nil {
			return 0, err
		}
	}
	body := b.wire[5:]
	end := bytes.LastIndexByte(body, '\n') + 1
	if firstOnly {
		end = bytes.IndexByte(body, '\n') + 1
	}
	if end == 0 {
		return 0, io.EOF // every row ends with its line, so nothing is left
	}
	d.rest = append(d.rest, body[end:]...)
	b.wire = b.wire[:5+end]
	binary.BigEndian.PutUint32(b.wire[1:], uint32(end+4))
	return int64(bytes.Count(body[:end], []byte{'\n'})), nil
}
