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
)

// chunkBytes is how much a chunk of received messages may hold before it is
// handed on; chunksAhead how many may wait for the renderer. Together they
// bound what the receive loop keeps in memory.
const (
	chunkBytes  = 128 << 10
	chunksAhead = 32
)

// silence is how long the server may say nothing although it was asked.
const silence = 90 * time.Second

// keepaliveKind marks a keepalive in a chunk; pgoutput has no such message.
const keepaliveKind = 0

// receiver reads the replication stream of one connection. It does nothing
// else: what it reads goes into chunks, so that the server's walsender is
// never kept waiting by rendering, compression or disks.
type receiver struct {
	conn     net.Conn
	frontend *pgproto3.Frontend
	chunks   chan []byte
	free     chan []byte
	err      error // why it ended; read after chunks is closed

	writes    sync.Mutex
	confirmed atomic.Uint64 // what the server may forget
	asked     atomic.Bool   // the server wants to hear of progress
	received  atomic.Uint64 // messages so far, to tell progress
	position  atomic.Uint64 // LSN of the last message
	stopping  atomic.Bool
}

// startReplication begins to stream from a slot. The server starts at the
// given LSN or the slot's confirmed position, whichever is later.
func startReplication(ctx context.Context, conn *pgconn.PgConn, slot, publication string, from catalog.LSN) (*receiver, error) {
	err := pglogrepl.StartReplication(ctx, conn, quoteName(slot), pglogrepl.LSN(from), pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication,
		PluginArgs: []string{"proto_version '1'", "messages 'true'",
			// The replication grammar knows no escape strings.
			"publication_names '" + strings.ReplaceAll(quoteName(publication), "'", "''") + "'"},
	})
	if err != nil {
		return nil, err
	}
	hijacked, err := conn.Hijack()
	if err != nil {
		return nil, err
	}
	r := &receiver{conn: hijacked.Conn, frontend: hijacked.Frontend,
		chunks: make(chan []byte, chunksAhead), free: make(chan []byte, chunksAhead+4)}
	r.confirmed.Store(uint64(from))
	return r, nil
}

// quoteName quotes a name where the replication grammar wants an identifier.
func quoteName(name string) string {
	b := []byte{'"'}
	for i := 0; i < len(name); i++ {
		if name[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, name[i])
	}
	return string(append(b, '"'))
}

// run reads until the connection ends or stop is called, then closes chunks.
func (r *receiver) run() {
	defer close(r.chunks)
	r.err = r.read()
	if r.stopping.Load() {
		r.err = nil
	}
}

func (r *receiver) read() error {
	chunk := make([]byte, 0, chunkBytes+chunkBytes/4)
	for {
		msg, err := r.frontend.Receive()
		if err != nil {
			if len(chunk) > 0 {
				r.chunks <- chunk
			}
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.CopyData:
			chunk, err = r.copyData(chunk, m.Data)
			if err != nil {
				return err
			}
		case *pgproto3.ErrorResponse:
			if len(chunk) > 0 {
				r.chunks <- chunk
			}
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone, *pgproto3.CommandComplete, *pgproto3.ReadyForQuery:
			if len(chunk) > 0 {
				r.chunks <- chunk
			}
			return io.ErrUnexpectedEOF // the server ended the stream
		}
		// A renderer that waits gets what there is; a busy one gets full
		// chunks.
		if len(chunk) >= chunkBytes || len(chunk) > 0 && len(r.chunks) == 0 {
			r.chunks <- chunk
			chunk = r.buffer()
		}
	}
}

func (r *receiver) buffer() []byte {
	select {
	case b := <-r.free:
		return b[:0]
	default:
		return make([]byte, 0, chunkBytes+chunkBytes/4)
	}
}

// recycle gives a chunk back, unless a large message made it large.
func (r *receiver) recycle(chunk []byte) {
	if cap(chunk) > 4*chunkBytes {
		return
	}
	select {
	case r.free <- chunk:
	default:
	}
}

// copyData takes one message of the streaming replication protocol
// (PostgreSQL documentation, "Streaming Replication Protocol").
func (r *receiver) copyData(chunk, data []byte) ([]byte, error) {
	if len(data) == 0 {
		return chunk, errShort
	}
	r.received.Add(1)
	switch data[0] {
	case pglogrepl.XLogDataByteID:
		if len(data) < 25 {
			return chunk, errShort
		}
		if lsn := binary.BigEndian.Uint64(data[1:]); lsn != 0 {
			r.position.Store(lsn)
		}
		chunk = binary.LittleEndian.AppendUint32(chunk, uint32(len(data)-25))
		return append(chunk, data[25:]...), nil
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		if len(data) < 18 {
			return chunk, errShort
		}
		end := binary.BigEndian.Uint64(data[1:])
		chunk = binary.LittleEndian.AppendUint32(chunk, 9)
		chunk = append(chunk, keepaliveKind)
		chunk = binary.LittleEndian.AppendUint64(chunk, end)
		if data[17] == 1 {
			r.asked.Store(true)
			return chunk, r.status(false)
		}
		return chunk, nil
	}
	return chunk, fmt.Errorf("replication stream: unknown message %q", data[0])
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
	msg = binary.BigEndian.AppendUint64(msg, uint64(time.Since(pgEpoch).Microseconds()))
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

// watch makes a server that says nothing for too long an error. It is called
// at every status interval, which asks for an answer.
func (r *receiver) watch(last *uint64) {
	n := r.received.Load()
	if n != *last || len(r.chunks) == cap(r.chunks) {
		r.conn.SetReadDeadline(time.Now().Add(silence))
	}
	*last = n
}

// stop ends run.
func (r *receiver) stop() {
	r.stopping.Store(true)
	r.conn.SetReadDeadline(time.Unix(1, 0))
}

// close ends the connection, politely if it still lives.
func (r *receiver) close() {
	r.conn.SetWriteDeadline(time.Now().Add(time.Second))
	r.conn.Write([]byte{'c', 0, 0, 0, 4}) // CopyDone
	r.conn.Write([]byte{'X', 0, 0, 0, 4}) // Terminate
	r.conn.Close()
}

// errEndpos says that the wanted end was reached.
var errEndpos = errors.New("end position reached")

// renderChunk feeds a chunk to the renderer. emit is called whenever enough
// text is there. With endpos, a transaction that commits behind it ends it.
func renderChunk(r *renderer, chunk []byte, endpos catalog.LSN, emit func()) error {
	for len(chunk) > 0 {
		n := binary.LittleEndian.Uint32(chunk)
		msg := chunk[4 : 4+n]
		chunk = chunk[4+n:]
		if len(msg) > 0 && msg[0] == keepaliveKind {
			end := catalog.LSN(binary.LittleEndian.Uint64(msg[1:]))
			r.keepalive(end)
			if endpos != 0 && !r.inTx && end >= endpos {
				return errEndpos
			}
			continue
		}
		if endpos != 0 && len(msg) > 0 && msg[0] == 'B' {
			m, err := r.dec.begin(msg[1:])
			if err != nil {
				return err
			}
			if m.Commit > endpos {
				r.keepalive(endpos)
				return errEndpos
			}
		}
		if err := r.message(msg); err != nil {
			return err
		}
		if r.ready() {
			emit()
		}
	}
	return nil
}
