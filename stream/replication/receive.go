package replication

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

// Receiver reads the replication stream of one connection. It does nothing
// else: what it reads goes into a buffer that the renderer swaps for an empty
// one, so that the server's walsender is never kept waiting by rendering,
// compression or disks, and no message waits for the next.
type Receiver struct {
	conn     net.Conn
	frontend *pgproto3.Frontend

	mu      sync.Mutex
	changed sync.Cond // of buffer and ended
	buffer  []byte    // messages, each behind its length
	ended   bool
	Err     error // why; read after take returned false

	writes    sync.Mutex
	deadlines sync.Mutex
	Confirmed atomic.Uint64 // what the server may forget
	Asked     atomic.Bool   // the server wants to hear of progress
	received  atomic.Uint64 // messages so far, to tell progress
	Position  atomic.Uint64 // LSN of the last message
	Stopping  atomic.Bool
}

// Start begins to stream from a slot. The server starts at the
// given LSN or the slot's confirmed position, whichever is later. More options
// of the plugin may be given.
func Start(ctx context.Context, conn *pgconn.PgConn, slot string, publications []string, from catalog.LSN, more ...string) (*Receiver, error) {
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
	r := &Receiver{conn: hijacked.Conn, frontend: hijacked.Frontend}
	r.changed.L = &r.mu
	r.Confirmed.Store(uint64(from))
	return r, nil
}

// Run reads until the connection ends or stop is called.
func (r *Receiver) Run() {
	err := r.read()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.Stopping.Load() {
		r.Err = err
	}
	r.ended = true
	r.changed.Broadcast()
}

func (r *Receiver) read() error {
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
func (r *Receiver) put(message ...[]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.buffer) >= aheadBytes && !r.Stopping.Load() {
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

// Take returns what was received, waiting for it, and leaves a buffer to go on
// with. ok is false once everything was taken and nothing more will come.
func (r *Receiver) Take(next []byte) (messages []byte, ok bool) {
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

// Waiting is how many bytes wait for the renderer.
func (r *Receiver) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.buffer)
}

// copyData takes one message of the streaming replication protocol
// (PostgreSQL documentation, "Streaming Replication Protocol").
func (r *Receiver) copyData(data []byte) error {
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
			r.Position.Store(lsn)
		}
		r.put(data[25:])
		return nil
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		if len(data) < 18 {
			return pgoutput.ErrShort
		}
		r.put([]byte{keepaliveKind}, data[1:9])
		if data[17] == 1 {
			r.Asked.Store(true)
			return r.Status(false)
		}
		return nil
	}
	return fmt.Errorf("replication stream: unknown message %q", data[0])
}

// Confirm tells the server that everything before lsn is stored for good.
func (r *Receiver) Confirm(lsn catalog.LSN) error {
	r.Confirmed.Store(max(r.Confirmed.Load(), uint64(lsn)))
	return r.Status(false)
}

// Status sends a standby status update. Written, flushed and applied are the
// same here: what is stored for good. ask makes the server answer with its
// position.
func (r *Receiver) Status(ask bool) error {
	lsn := r.Confirmed.Load()
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

// Ask makes the server tell its position at an interval, until done is closed.
// It also tells the server that this side lives, whatever the later stages
// wait for: the server ends a connection that is silent for wal_sender_timeout.
func (r *Receiver) Ask(interval time.Duration, done <-chan struct{}) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var seen uint64
	for r.Status(true) == nil {
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
func (r *Receiver) watch(last *uint64) {
	n := r.received.Load()
	if n != *last || r.Waiting() >= aheadBytes {
		r.deadlines.Lock()
		defer r.deadlines.Unlock()
		if !r.Stopping.Load() { // stop's deadline is the last
			r.conn.SetReadDeadline(time.Now().Add(silence))
		}
	}
	*last = n
}

// Stop ends run.
func (r *Receiver) Stop() {
	r.deadlines.Lock()
	r.Stopping.Store(true)
	r.conn.SetReadDeadline(time.Unix(1, 0))
	r.deadlines.Unlock()
	r.mu.Lock()
	r.changed.Broadcast()
	r.mu.Unlock()
}

// Close ends the connection, politely if it still lives: the server closes its
// side when the slot is free for the next one.
func (r *Receiver) Close() {
	r.deadlines.Lock()
	r.Stopping.Store(true)
	r.conn.SetDeadline(time.Now().Add(2 * time.Second))
	r.deadlines.Unlock()
	_, err := r.conn.Write([]byte{'c', 0, 0, 0, 4, 'X', 0, 0, 0, 4}) // CopyDone, Terminate
	if err == nil {
		_, _ = io.Copy(io.Discard, r.conn)
	}
	r.conn.Close()
}

// ErrEnd says that the wanted end was reached.
var ErrEnd = errors.New("end position reached")

// Delivery hands received messages on. With endpos, a transaction that commits
// behind it ends it, or the server's word that it came to an LSN of at least proof.
type Delivery struct {
	Endpos, Proof catalog.LSN
	dec           pgoutput.Decoder
	inTx          bool
}

// recipient takes messages in their order.
type recipient interface {
	Message(b []byte) error
	Keepalive(end catalog.LSN) // nothing else happened up to there
}

// Chunk hands on what take returned. after is called behind each message.
func (d *Delivery) Chunk(chunk []byte, to recipient, after func()) error {
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
			if d.Endpos != 0 && !d.inTx && end >= d.Proof {
				return ErrEnd
			}
			continue
		case 'B':
			m, err := d.dec.Begin(msg[1:])
			if err != nil {
				return err
			}
			if d.Endpos != 0 && m.Commit > d.Endpos {
				to.Keepalive(d.Endpos)
				return ErrEnd
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
