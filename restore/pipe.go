package restore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// inFlight is how many batches may wait for their answers. The server works on
// one while the next is on its way.
const inFlight = 3

// A pipe sends batches to a server without waiting for each answer, and checks
// every answer against what is expected. The first answer that is wrong ends
// it: the connection is closed, which rolls back what was not committed.
type pipe struct {
	conn     net.Conn
	frontend *pgproto3.Frontend
	cancel   func() // asks the server to stop what it does

	asked   chan *batch   // sent, unanswered
	ack     chan struct{} // a batch with wait is answered
	broken  chan struct{} // closed when writing failed
	over    chan struct{} // closed when the reader has ended
	free    chan *batch
	reading sync.WaitGroup
	stop    func() bool

	err       error                // why the reader ended; read behind over
	committed func(*milestone)     // called by the reader
	notice    func(*pgconn.Notice) // called by the reader
}

// newPipe takes the connection over. Cancelling the context ends the pipe. So
// many batches are kept for being used again.
func newPipe(ctx context.Context, pc *pgconn.PgConn, batches int) (*pipe, error) {
	hijacked, err := pc.Hijack()
	if err != nil {
		return nil, err
	}
	p := &pipe{
		conn: hijacked.Conn, frontend: hijacked.Frontend,
		asked: make(chan *batch, inFlight), ack: make(chan struct{}, 1),
		broken: make(chan struct{}), over: make(chan struct{}),
		free: make(chan *batch, batches),
	}
	p.cancel = func() {
		limit, done := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer done()
		// A server that cannot be reached any more stops by itself.
		_ = pc.CancelRequest(limit)
	}
	p.stop = context.AfterFunc(ctx, func() {
		p.cancel()
		p.conn.Close()
	})
	return p, nil
}

// start begins to read answers. The callbacks are set before.
func (p *pipe) start() {
	p.reading.Add(1)
	go func() {
		defer p.reading.Done()
		defer close(p.over)
		if p.err = p.read(); p.err != nil {
			p.conn.Close()
		}
	}()
}

// batch returns an empty one.
func (p *pipe) batch() *batch {
	select {
	case b := <-p.free:
		return b
	default:
		return &batch{}
	}
}

// release is called by each of a batch's holders when it is done with it.
func (p *pipe) release(b *batch) {
	if b.holders.Add(-1) > 0 {
		return
	}
	b.reset()
	select {
	case p.free <- b:
	default:
	}
}

// send sends a batch. It returns the pipe's error as soon as there is one,
// which may belong to an earlier batch. With b.wait it returns when every
// answer so far is right.
func (p *pipe) send(b *batch) error {
	wait, after := b.wait, b.after
	b.holders.Store(1)
	if len(b.answers) > 0 || wait { // else rows in the middle of a COPY block
		b.holders.Store(2)
		select {
		case p.asked <- b:
		case <-p.over:
			return p.err
		}
	}
	if len(b.wire) > 0 {
		if _, err := p.conn.Write(b.wire); err != nil {
			return p.failure(err)
		}
	}
	p.release(b)
	if wait {
		select {
		case <-p.ack:
		case <-p.over:
			return p.err
		}
	}
	if after != nil {
		return after()
	}
	return nil
}

// failure is why writing failed. What the server said before it hung up tells
// more than the failure itself.
func (p *pipe) failure(writeErr error) error {
	p.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	close(p.broken)
	<-p.over
	if p.err != nil {
		return p.err
	}
	return writeErr
}

// close ends the pipe: politely when all went well, else at once.
func (p *pipe) close(polite bool) {
	p.stop()
	close(p.asked)
	if polite {
		p.conn.Write([]byte{'X', 0, 0, 0, 4})
	}
	p.conn.Close()
	p.reading.Wait()
}

// read checks the answers of batch after batch.
func (p *pipe) read() error {
	for {
		var b *batch
		select {
		case b = <-p.asked:
		case <-p.broken:
			select {
			case b = <-p.asked:
			default: // nothing is expected, but there may be a last word
				_, err := p.receive(&answer{at: &place{}})
				return err
			}
		}
		if b == nil {
			return nil // closed
		}
		for i := range b.answers {
			if err := p.check(&b.answers[i]); err != nil {
				return b.failed(&b.answers[i], err)
			}
		}
		wait := b.wait
		p.release(b)
		if wait {
			p.ack <- struct{}{}
		}
	}
}

// check reads one answer.
func (p *pipe) check(a *answer) error {
	switch a.kind {
	case answerParse:
		msg, err := p.receive(a)
		if _, ok := msg.(*pgproto3.ParseComplete); err == nil && !ok {
			err = p.unexpected(msg)
		}
		return err
	case answerClose:
		msg, err := p.receive(a)
		if _, ok := msg.(*pgproto3.CloseComplete); err == nil && !ok {
			err = p.unexpected(msg)
		}
		return err
	case answerCopyStart:
		msg, err := p.receive(a)
		if err != nil {
			return err
		}
		if _, ok := msg.(*pgproto3.CopyInResponse); !ok {
			return p.unexpected(msg)
		}
		a.started.Store(true)
		return nil
	case answerRun:
		return p.checkRun(a)
	}
	return p.checkQuery(a)
}

func (p *pipe) checkRun(a *answer) error {
	for {
		msg, err := p.receive(a)
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.BindComplete, *pgproto3.DataRow:
		case *pgproto3.CommandComplete:
			return a.count(msg.CommandTag)
		default:
			return p.unexpected(msg)
		}
	}
}

func (p *pipe) checkQuery(a *answer) error {
	for {
		msg, err := p.receive(a)
		if err != nil {
			if a.forgive != nil && a.forgive(err) {
				continue
			}
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.ReadyForQuery:
			return nil
		case *pgproto3.CommandComplete:
			if err := p.complete(a, msg.CommandTag); err != nil {
				return err
			}
		case *pgproto3.DataRow:
			if a.row != nil {
				a.row(msg.Values)
			}
		case *pgproto3.CopyInResponse:
			return a.fail(errors.New("the server waits for rows that the file does not have"))
		}
	}
}

// complete checks the tag of a simple query.
func (p *pipe) complete(a *answer, tag []byte) error {
	switch a.kind {
	case answerCommit:
		if string(tag) != "COMMIT" {
			return a.fail(fmt.Errorf("the server answered %s to COMMIT", tag))
		}
		if p.committed != nil && a.done != nil {
			p.committed(a.done)
		}
		return nil
	case answerCopyEnd:
		a.rows = a.sent.Load()
	}
	return a.count(tag)
}

// receive returns the next message that answers something.
func (p *pipe) receive(a *answer) (pgproto3.BackendMessage, error) {
	for {
		msg, err := p.frontend.Receive()
		if err != nil {
			return nil, a.fail(err)
		}
		switch msg := msg.(type) {
		case *pgproto3.ErrorResponse:
			err := pgconn.ErrorResponseToPgError(msg)
			if a.kind == answerParse {
				return nil, &parseError{sql: a.sql, err: a.fail(err)}
			}
			return nil, a.fail(err)
		case *pgproto3.NoticeResponse:
			if p.notice != nil {
				n := pgconn.Notice(*pgconn.ErrorResponseToPgError((*pgproto3.ErrorResponse)(msg)))
				p.notice(&n)
			}
		case *pgproto3.ParameterStatus, *pgproto3.NotificationResponse:
		default:
			return msg, nil
		}
	}
}

func (p *pipe) unexpected(msg pgproto3.BackendMessage) error {
	return fmt.Errorf("the server sent %s out of turn", strings.TrimPrefix(fmt.Sprintf("%T", msg), "*pgproto3."))
}

// count compares the rows that a command affected with those it had to.
func (a *answer) count(tag []byte) error {
	if a.rows == anyRows {
		return nil
	}
	if n := pgconn.NewCommandTag(string(tag)).RowsAffected(); n != a.rows {
		return &RowCountError{File: a.at.file, Line: a.line, LSN: a.at.lsn, XID: a.at.xid, SQL: a.sql, Rows: n, Want: a.rows}
	}
	return nil
}

func (a *answer) fail(err error) error {
	return &StatementError{File: a.at.file, Line: a.line, LSN: a.at.lsn, XID: a.at.xid, SQL: a.sql, Err: err}
}

// parseError says that a statement without its values could not be prepared.
type parseError struct {
	sql string // with placeholders
	err error
}

func (e *parseError) Error() string { return e.err.Error() }
func (e *parseError) Unwrap() error { return e.err }
