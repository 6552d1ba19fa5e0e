package base

import (
	"fmt"
	"testing"

	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput/pgoutputtest"
)

// The fence learns of what commands changed and dropped, at their end, and of
// tables that were emptied; what a script did inside is the script's.
func TestFenceReader(t *testing.T) {
	secret := []byte("secret")
	start := func(tag string) []byte {
		return pgoutputtest.Captured(secret, fmt.Sprintf(`{"ev": "start", "tag": %q}`, tag))
	}
	with := func(ev, tag string, oid int) []byte {
		return pgoutputtest.Captured(secret, fmt.Sprintf(`{"ev": %q, "tag": %q, "objects": [{"class": 1259, "oid": %d, "type": "table"}, {"class": 1259, "oid": `+
			`99, "invalid": true}]}`, ev, tag, oid))
	}
	relation := pgoutputtest.Message('R', uint32(7), "public", "t", byte('d'), uint16(0))
	own := pgoutputtest.Message('R', uint32(8), event.Schema, "t", byte('d'), uint16(0))
	truncate := pgoutputtest.Message('T', uint32(2), byte(0), uint32(7), uint32(8))
	commit := pgoutputtest.Message('C', byte(0), uint64(100), uint64(110), uint64(0))
	for _, c := range []struct {
		name     string
		messages [][]byte
		want     string
	}{
		{"a command", [][]byte{start("A"), with("drop", "A", 1), with("end", "A", 2)}, "[A 1 A 2]"},
		{"no end", [][]byte{start("A"), with("drop", "A", 1)}, "[]"},
		{"no end at the commit", [][]byte{start("A"), with("drop", "A", 1), start("B"), with("end", "B", 2), commit}, "[B 2 A 1]"},
		{"nested", [][]byte{start("A"), start("B"), with("end", "B", 1), with("end", "A", 2)}, "[B 1 A 2]"},
		{"late", [][]byte{with("drop", "DROP INDEX", 1), pgoutputtest.Captured(secret, `{"ev": "end", "tag": "DROP INDEX", "late": true}`)}, "[DROP INDEX 1]"},
		{"a script", [][]byte{start("CREATE EXTENSION"), start("B"), with("end", "B", 1), with("drop", "CREATE EXTENSION", 3), with("end", "CREATE EXTENSION", 2)},
			"[CREATE EXTENSION 3 CREATE EXTENSION 2]"},
		{"a script inside", [][]byte{start("A"), start("CREATE EXTENSION"), start("B"), with("end", "B", 1), with("end", "CREATE EXTENSION", 2), with("end", "A", 3)},
			"[CREATE EXTENSION 2 A 3]"},
		{"truncate", [][]byte{relation, own, truncate}, "[TRUNCATE 7]"},
		{"forged", [][]byte{pgoutputtest.Captured([]byte("guess"), `{"ev": "end", "tag": "A", "late": true, "objects": [{"class": 1259, "oid": 1}]}`)}, "[]"},
	} {
		f := newFenceReader(secret)
		for _, m := range c.messages {
			if err := f.Message(m); err != nil {
				t.Fatal(c.name, err)
			}
		}
		got := []string{}
		for _, x := range f.touched {
			got = append(got, fmt.Sprint(x.tag, " ", x.oid))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v; want %s", c.name, got, c.want)
		}
	}
	if err := newFenceReader(secret).Message(truncate); err == nil {
		t.Error("a table that was not described passes")
	}
}
