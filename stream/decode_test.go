package stream

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"pg_scribe/catalog"
)

// pgMessage builds a message of pgoutput; numbers are big-endian.
func pgMessage(kind byte, parts ...any) []byte {
	b := []byte{kind}
	for _, p := range parts {
		switch v := p.(type) {
		case byte:
			b = append(b, v)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, v)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, v)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, v)
		case string: // as the protocol ends it
			b = append(append(b, v...), 0)
		case []byte:
			b = append(b, v...)
		}
	}
	return b
}

// Messages of modes that are not in use do not disturb a transaction, or are
// an error that says what they are.
func TestStrayMessages(t *testing.T) {
	begin := pgMessage('B', uint64(100), uint64(0), uint32(7))
	relation := pgMessage('R', uint32(1), "public", "t", byte('d'), uint16(1), byte(1), "id", uint32(23), uint32(0xFFFFFFFF))
	insert := pgMessage('I', uint32(1), byte('N'), uint16(1), byte('t'), uint32(1), []byte("5"))
	commit := pgMessage('C', byte(0), uint64(100), uint64(110), uint64(0))
	abort := pgMessage('A', uint32(99), uint32(98))
	outside := pgMessage('M', byte(0), uint64(50), "heartbeat", uint32(2), []byte("hi"))
	plain := func(messages ...[]byte) (string, error) {
		r := newRenderer(0, nil, newFacts())
		for _, m := range messages {
			if err := r.message(m); err != nil {
				return "", err
			}
		}
		b := r.take(nil)
		if !b.boundary {
			t.Error("the text does not end between transactions")
		}
		return string(b.text), nil
	}
	want, err := plain(begin, relation, insert, commit)
	if err != nil || !strings.Contains(want, `"public"."t"`) || !strings.Contains(want, "'5'") {
		t.Fatalf("%q, %v", want, err)
	}
	got, err := plain(outside, abort, begin, abort, relation, outside, insert, abort, commit, abort, outside)
	if err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for kind, word := range map[byte]string{'b': "two-phase", 'P': "two-phase", 'K': "two-phase", 'r': "two-phase", 'p': "two-phase",
		'S': "in progress", 'E': "in progress", 'c': "in progress", 'x': "unknown message"} {
		if _, err := plain(begin, relation, insert, pgMessage(kind, uint32(7), uint64(1))); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%c: %v", kind, err)
		}
	}
	for _, whole := range [][]byte{begin, relation, insert, commit} {
		for n := 1; n < len(whole); n++ {
			messages := [][]byte{begin, relation, insert, whole[:n]}
			if whole[0] == 'I' {
				messages = append(messages, commit) // single rows are decoded when their run ends
			}
			if _, err := plain(messages...); err == nil {
				t.Errorf("%c cut after %d bytes was accepted", whole[0], n)
			}
		}
	}
}

// The server's word that it came to the end position, where a commit record
// begins, does not end the stream before that transaction is there.
func TestEndposAtACommit(t *testing.T) {
	keepalive := pgMessage(keepaliveKind, uint64(100))
	begin := pgMessage('B', uint64(100), uint64(0), uint32(7))
	relation := pgMessage('R', uint32(1), "public", "t", byte('d'), uint16(1), byte(1), "id", uint32(23), uint32(0xFFFFFFFF))
	insert := pgMessage('I', uint32(1), byte('N'), uint16(1), byte('t'), uint32(1), []byte("5"))
	commit := pgMessage('C', byte(0), uint64(100), uint64(110), uint64(0))
	later := pgMessage('B', uint64(120), uint64(0), uint32(8))
	var chunk []byte
	for _, m := range [][]byte{keepalive, begin, relation, insert, commit, later} {
		chunk = append(binary.LittleEndian.AppendUint32(chunk, uint32(len(m))), m...)
	}
	for proof, want := range map[catalog.LSN]bool{100: false, 101: true} {
		r := newRenderer(0, nil, newFacts())
		err := renderChunk(r, chunk, 100, proof, func() {})
		if !errors.Is(err, errEndpos) {
			t.Errorf("proof %s: %v", proof, err)
		}
		if got := strings.Contains(string(r.take(nil).text), "'5'"); got != want {
			t.Errorf("proof %s: transaction there: %t", proof, got)
		}
	}
}
