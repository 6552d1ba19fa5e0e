package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"pg_scribe/stream/source"
)

// The server sends values as text, which doubles a bytea: one of about 500 MB
// and more is then too large for it. A transaction that holds one is received
// with all its values in binary form.

// changeForm decides on the form of the next connection: binary for a
// transaction that the server cannot send as text, text again behind it.
func (s *streamer) changeForm(ctx context.Context, err error) bool {
	var large *source.LargeValueError
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &large) && s.binaryUntil == 0 && large.Commit != 0:
		s.binaryUntil = large.Commit
		s.opts.Notice(fmt.Sprintf("%v; receiving that transaction in binary form", err))
		return true
	case err == nil && s.binaryUntil != 0:
		at := s.binaryUntil
		s.binaryUntil = 0
		return s.opts.Endpos == 0 || s.opts.Endpos > at
	}
	return false
}

// awaitSlot returns when the walsender of the last connection is gone, or
// after a minute.
func (s *streamer) awaitSlot(ctx context.Context) {
	for began := time.Now(); ctx.Err() == nil && time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) {
		if slot, err := source.FindSlot(ctx, s.opts.ConnString, s.opts.Slot); err != nil || !slot.Active {
			return
		}
	}
}

// textConverter turns values from binary form to text by asking the server.
type textConverter struct {
	ctx  context.Context
	conn *pgx.Conn
}

func newTextConverter(ctx context.Context, connString, encoding string) (*textConverter, error) {
	ctx = context.WithoutCancel(ctx) // a stop lets the stream come to its end
	conn, err := source.Connect(ctx, connString)
	if err != nil {
		return nil, err
	}
	if _, err := conn.PgConn().Exec(ctx, "SET client_encoding = '"+encoding+"'").ReadAll(); err != nil {
		conn.Close(ctx)
		return nil, err
	}
	return &textConverter{ctx, conn}, nil
}

func (c *textConverter) close() { c.conn.Close(c.ctx) }

// Text asks for one value.
func (c *textConverter) Text(oid uint32, b []byte) ([]byte, error) {
	r := c.conn.PgConn().ExecParams(c.ctx, "SELECT $1", [][]byte{b}, []uint32{oid}, []int16{1}, []int16{0}).Read()
	if r.Err == nil && (len(r.Rows) != 1 || len(r.Rows[0]) != 1) {
		r.Err = errors.New("no value")
	}
	if r.Err != nil {
		return nil, fmt.Errorf("a value of %d bytes of type %d cannot be written as text: %w", len(b), oid, r.Err)
	}
	return r.Rows[0][0], nil
}
