package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/pgoutput"
)

// aheadBytes is how much may wait for the renderer: it bounds what the receive
// loop keeps in memory, beside one message.
const aheadBytes = 4 << 20

// silence is how long the server may say nothing although it was asked.
const silence = 90 * time.Second

// keepaliveKind marks a keepalive in a chunk; pgoutput has no such message.
const keepaliveKind = 0

// receiver reads the replication stream of one connection. It does nothing
// else: what it reads goes into a buffer that the renderer swaps for an empty
// one, so that the server's walsender is never kept waiting by rendering,
// compression or disks, and no message waits for the next.
type receiver struct {
	conn     net.Conn
	frontend *pgproto3.Frontend

	mu      sync.Mutex
	changed sync.Cond // of buffer and ended
	buffer  []byte    // messages, each behind its length
	ended   bool
	err     error // why; read after take returned false

	writes    sync.Mutex
	deadlines sync.Mutex
	confirmed atomic.Uint64 // what the server may forget
	asked     atomic.Bool   // the server wants to hear of progress
	received  atomic.Uint64 // messages so far, to tell progress
	position  atomic.Uint64 // LSN of the last message
	stopping  atomic.Bool
}

// startReplication begins to stream from a slot. The server starts at the
// given LSN or the slot's confirmed position, whichever is later. More options
// of the plugin may be given.
func startReplication(ctx context.Context, conn *pgconn.PgConn, slot string, publications []string, from catalog.LSN, more ...string) (*receiver, error) {
	names := make([]string, len(publications))
	for i, name := range publications {
		names[i] = sqltext.Quoted(name)
	}
	err := pglogrepl.StartReplication(ctx, conn, sqltext.Quoted(slot), pglogrepl.LSN(from), pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication,
		PluginArgs: append(more, "proto_version '1'", "messages 'true'",
			// The replication grammar knows no escape strings.
			"publication_names '"+strings.ReplaceAll(strings.Join(names, ", "), "'", "''")+"'"),
	})
	if err != nil {
		return nil, err
	}
	hijacked, err := conn.Hijack()
	if err != nil {
		return nil, err
	}
	r := &receiver{conn: hijacked.Conn, frontend: hijacked.Frontend}
	r.changed.L = &r.mu
	r.confirmed.Store(uint64(from))
	return r, nil
}

// run reads until the connection ends or stop is called.
func (r *receiver) run() {
	err := r.read()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopping.Load() {
		r.err = err
	}
	r.ended = true
	r.changed.Broadcast()
}

func (r *receiver) read() error {
	for {
		msg, err := r.frontend.Receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.CopyData:
			if err := r.copyData(m.Data); err != nil {
				return err
			}
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone, *pgproto3.CommandComplete, *pgproto3.ReadyForQuery:
			return io.ErrUnexpectedEOF // the server ended the stream
		}
	}
}

// put hands a message to the renderer. It waits while too much waits there.
func (r *receiver) put(message ...[]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.buffer) >= aheadBytes && !r.stopping.Load() {
		r.changed.Wait()
	}
	size := 0
	for _, part := range message {
		size += len(part)
	}
	if len(r.buffer) == 0 {
		r.changed.Broadcast()
	}
	r.buffer = binary.LittleEndian.AppendUint32(r.buffer, uint32(size))
	for _, part := range message {
		r.buffer = append(r.buffer, part...)
	}
}

// take returns what was received, waiting for it, and leaves a buffer to go on
// with. ok is false once everything was taken and nothing more will come.
func (r *receiver) take(next []byte) (messages []byte, ok bool) {
	if cap(next) > 2*aheadBytes {
		next = nil // one large message made it large
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.buffer) == 0 && !r.ended {
		r.changed.Wait()
	}
	if len(r.buffer) >= aheadBytes {
		r.changed.Broadcast()
	}
	messages, r.buffer = r.buffer, next[:0]
	return messages, len(messages) > 0
}

// waiting is how many bytes wait for the renderer.
func (r *receiver) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.buffer)
}

// copyData takes one message of the streaming replication protocol
// (PostgreSQL documentation, "Streaming Replication Protocol").
func (r *receiver) copyData(data []byte) error {
	if len(data) == 0 {
		return pgoutput.ErrShort
	}
	r.received.Add(1)
	switch data[0] {
	case pglogrepl.XLogDataByteID:
		if len(data) < 25 {
			return pgoutput.ErrShort
		}
		if lsn := binary.BigEndian.Uint64(data[1:]); lsn != 0 {
			r.position.Store(lsn)
		}
		r.put(data[25:])
		return nil
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		if len(data) < 18 {
			return pgoutput.ErrShort
		}
		r.put([]byte{keepaliveKind}, data[1:9])
		if data[17] == 1 {
			r.asked.Store(true)
			return r.status(false)
		}
		return nil
	}
	return fmt.Errorf("replication stream: unknown message %q", data[0])
}

// confirm tells the server that everything before lsn is stored for good.
func (r *receiver) confirm(lsn catalog.LSN) error {
	r.confirmed.Store(max(r.confirmed.Load(), uint64(lsn)))
	return r.status(false)
}

// status sends a standby status update. Written, flushed and applied are the
// same here: what is stored for good. ask makes the server answer with its
// position.
func (r *receiver) status(ask bool) error {
	lsn := r.confirmed.Load()
	msg := make([]byte, 0, 39)
	msg = append(msg, 'd', 0, 0, 0, 38, pglogrepl.StandbyStatusUpdateByteID)
	for range 3 {
		msg = binary.BigEndian.AppendUint64(msg, lsn)
	}
	msg = binary.BigEndian.AppendUint64(msg, uint64(time.Since(pgoutput.Epoch).Microseconds()))
	if ask {
		msg = append(msg, 1)
	} else {
		msg = append(msg, 0)
	}
	r.writes.Lock()
	defer r.writes.Unlock()
	r.conn.SetWriteDeadline(time.Now().Add(silence))
	_, err := r.conn.Write(msg)
	return err
}

// ask makes the server tell its position at an interval, until done is closed.
// It also tells the server that this side lives, whatever the later stages
// wait for: the server ends a connection that is silent for wal_sender_timeout.
func (r *receiver) ask(interval time.Duration, done <-chan struct{}) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var seen uint64
	for r.status(true) == nil {
		r.watch(&seen)
		select {
		case <-done:
			return
		case <-ticker.C:
		}
	}
}

// watch makes a server that says nothing for too long an error, though it was
// asked.
func (r *receiver) watch(last *uint64) {
	n := r.received.Load()
	if n != *last || r.waiting() >= aheadBytes {
		r.deadlines.Lock()
		defer r.deadlines.Unlock()
		if !r.stopping.Load() { // stop's deadline is the last
			r.conn.SetReadDeadline(time.Now().Add(silence))
		}
	}
	*last = n
}

// stop ends run.
func (r *receiver) stop() {
	r.deadlines.Lock()
	r.stopping.Store(true)
	r.conn.SetReadDeadline(time.Unix(1, 0))
	r.deadlines.Unlock()
	r.mu.Lock()
	r.changed.Broadcast()
	r.mu.Unlock()
}

// close ends the connection, politely if it still lives: the server closes its
// side when the slot is free for the next one.
func (r *receiver) close() {
	r.deadlines.Lock()
	r.stopping.Store(true)
	r.conn.SetDeadline(time.Now().Add(2 * time.Second))
	r.deadlines.Unlock()
	_, err := r.conn.Write([]byte{'c', 0, 0, 0, 4, 'X', 0, 0, 0, 4}) // CopyDone, Terminate
	if err == nil {
		_, _ = io.Copy(io.Discard, r.conn)
	}
	r.conn.Close()
}

// errEndpos says that the wanted end was reached.
var errEndpos = errors.New("end position reached")

// delivery hands received messages on. With endpos, a transaction that commits
// behind it ends it, or the server's word that it came to an LSN of at least proof.
type delivery struct {
	endpos, proof catalog.LSN
	dec           pgoutput.Decoder
	inTx          bool
}

// recipient takes messages in their order.
type recipient interface {
	Message(b []byte) error
	Keepalive(end catalog.LSN) // nothing else happened up to there
}

// chunk hands on what take returned. after is called behind each message.
func (d *delivery) chunk(chunk []byte, to recipient, after func()) error {
	for len(chunk) > 0 {
		n := binary.LittleEndian.Uint32(chunk)
		msg := chunk[4 : 4+n]
		chunk = chunk[4+n:]
		kind := byte('?')
		if len(msg) > 0 {
			kind = msg[0]
		}
		switch kind {
		case keepaliveKind:
			end := catalog.LSN(binary.BigEndian.Uint64(msg[1:]))
			to.Keepalive(end)
			if d.endpos != 0 && !d.inTx && end >= d.proof {
				return errEndpos
			}
			continue
		case 'B':
			m, err := d.dec.Begin(msg[1:])
			if err != nil {
				return err
			}
			if d.endpos != 0 && m.Commit > d.endpos {
				to.Keepalive(d.endpos)
				return errEndpos
			}
			d.inTx = true
		case 'C':
			d.inTx = false
		}
		if err := to.Message(msg); err != nil {
			return err
		}
		after()
	}
	return nil
}
