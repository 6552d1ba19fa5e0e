package replication

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/stream/pgoutput/pgoutputtest"
	"pg_scribe/stream/render"
)

// The server's word that it came to the end position, where a commit record
// begins, does not end the stream before that transaction is there.
func TestEndposAtACommit(t *testing.T) {
	keepalive := pgoutputtest.Message(keepaliveKind, uint64(100))
	begin := pgoutputtest.Message('B', uint64(100), uint64(0), uint32(7))
	relation := pgoutputtest.Message('R', uint32(1), "public", "t", byte('d'), uint16(1), byte(1), "id", uint32(23), uint32(0xFFFFFFFF))
	insert := pgoutputtest.Message('I', uint32(1), byte('N'), uint16(1), byte('t'), uint32(1), []byte("5"))
	commit := pgoutputtest.Message('C', byte(0), uint64(100), uint64(110), uint64(0))
	later := pgoutputtest.Message('B', uint64(120), uint64(0), uint32(8))
	var chunk []byte
	for _, m := range [][]byte{keepalive, begin, relation, insert, commit, later} {
		chunk = append(binary.LittleEndian.AppendUint32(chunk, uint32(len(m))), m...)
	}
	for proof, want := range map[catalog.LSN]bool{100: false, 101: true} {
		r := render.New(render.Options{})
		deliver := Delivery{Endpos: 100, Proof: proof}
		err := deliver.Chunk(chunk, r, func() {})
		if !errors.Is(err, ErrEnd) {
			t.Errorf("proof %s: %v", proof, err)
		}
		if got := strings.Contains(string(r.Take(nil).Text), "'5'"); got != want {
			t.Errorf("proof %s: transaction there: %t", proof, got)
		}
	}
}
