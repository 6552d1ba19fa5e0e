package restore

import (
	"encoding/binary"
	"strconv"
	"sync/atomic"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
)

// The functions here write messages of the frontend/backend protocol
// (PostgreSQL documentation, "Message Formats") straight into a batch, so that
// a value is copied once on its way from the file to the socket.

// message begins one of the given type; seal writes its length.
func message(dst []byte, kind byte) ([]byte, int) {
	return append(dst, kind, 0, 0, 0, 0), len(dst) + 1
}

func seal(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

func appendQuery(dst, sql []byte) []byte {
	dst, at := message(dst, 'Q')
	return seal(append(append(dst, sql...), 0), at)
}

func appendParse(dst []byte, name int, sql []byte) []byte {
	dst, at := message(dst, 'P')
	dst = append(appendName(dst, name), sql...)
	return seal(append(dst, 0, 0, 0), at) // no parameter types: the server finds them
}

// appendRun binds the values of a statement and executes it.
func appendRun(dst []byte, name int, values []segment.Value) []byte {
	dst, at := message(dst, 'B')
	dst = appendName(append(dst, 0), name)
	dst = append(dst, 0, 0) // all values are text
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(values)))
	for _, v := range values {
		size := len(dst)
		dst = append(dst, 0xff, 0xff, 0xff, 0xff)
		if v.Form != segment.Null {
			dst = v.Decode(dst)
			binary.BigEndian.PutUint32(dst[size:], uint32(len(dst)-size-4))
		}
	}
	dst = seal(append(dst, 0, 0), at)
	return append(dst, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0)
}

func appendClose(dst []byte, name int) []byte {
	dst, at := message(dst, 'C')
	return seal(appendName(append(dst, 'S'), name), at)
}

func appendFlush(dst []byte) []byte { return append(dst, 'H', 0, 0, 0, 4) }

func appendCopyDone(dst []byte) []byte { return append(dst, 'c', 0, 0, 0, 4) }

// appendName writes the name of a prepared statement.
func appendName(dst []byte, name int) []byte {
	return append(strconv.AppendInt(append(dst, 's'), int64(name), 10), 0)
}

// answerKind says what the server has to answer to a part of a batch.
type answerKind byte

const (
	answerQuery     answerKind = iota // anything up to the end of a simple query
	answerCopyStart                   // the server waits for rows
	answerCopyEnd                     // it counted them
	answerParse
	answerRun // a row count
	answerClose
	answerCommit // COMMIT, and not ROLLBACK
)

// place is where a statement comes from, for errors.
type place struct {
	file string
	lsn  catalog.LSN
	xid  uint32
}

// answer is what the server has to say next.
type answer struct {
	kind answerKind
	rows int64 // answerRun, answerQuery: how many, or anyRows
	line int64
	at   *place
	sql  string // shortened, or empty: it can be read again at its line

	table   string        // of which net effects are applied; empty: it is no matter of theirs
	started *atomic.Bool  // answerCopyStart: to be set
	sent    *atomic.Int64 // answerCopyEnd: rows written, known at the end only
	done    *milestone    // answerCommit

	row func(values [][]byte) // answerQuery: takes a row of the result, valid until it returns

	// answerQuery: takes an error of the server as an answer, if it returns true.
	forgive func(error) bool
}

// milestone is what holds once a transaction of the target is committed.
type milestone struct {
	end          catalog.LSN // of the last source transaction in it
	transactions int64       // source transactions so far
	statements   int64
}

func (m *milestone) plus(n *milestone) *milestone {
	return &milestone{n.end, m.transactions + n.transactions, m.statements + n.statements}
}

// batch is a piece of the conversation: what to send and what must come back.
type batch struct {
	wire    []byte
	answers []answer
	wait    bool         // nothing is sent behind it before every answer is in
	after   func() error // with wait: runs when they are
	net     bool         // it belongs to a transaction that has net effects of changes

	holders atomic.Int32 // writer and reader: the last one to let go recycles it
}

// room is how much of a batch is filled before it is sent: enough to make the
// system calls cheap, little enough to keep the server busy meanwhile.
const (
	roomBytes   = 128 << 10
	roomAnswers = 1000
)

func (b *batch) full() bool { return len(b.wire) >= roomBytes || len(b.answers) >= roomAnswers }

func (b *batch) reset() {
	if cap(b.wire) > 8*roomBytes {
		b.wire = nil // one huge value must not stay
	}
	clear(b.answers) // lets go of what they point to
	*b = batch{wire: b.wire[:0], answers: b.answers[:0]}
}

// query adds a simple query.
func (b *batch) query(sql []byte, a answer) {
	b.wire = appendQuery(b.wire, sql)
	b.answers = append(b.answers, a)
}
