package render

import (
	"reflect"
	"strings"
	"testing"

	"pg_scribe/stream/ddl"
	"pg_scribe/stream/pgoutput/pgoutputtest"
)

// Messages of modes that are not in use do not disturb a transaction, or are
// an error that says what they are.
func TestStrayMessages(t *testing.T) {
	begin := pgoutputtest.Message('B', uint64(100), uint64(0), uint32(7))
	relation := pgoutputtest.Message('R', uint32(1), "public", "t", byte('d'), uint16(1), byte(1), "id", uint32(23), uint32(0xFFFFFFFF))
	insert := pgoutputtest.Message('I', uint32(1), byte('N'), uint16(1), byte('t'), uint32(1), []byte("5"))
	commit := pgoutputtest.Message('C', byte(0), uint64(100), uint64(110), uint64(0))
	abort := pgoutputtest.Message('A', uint32(99), uint32(98))
	outside := pgoutputtest.Message('M', byte(0), uint64(50), "heartbeat", uint32(2), []byte("hi"))
	plain := func(messages ...[]byte) (string, error) {
		r := New(Options{})
		for _, m := range messages {
			if err := r.Message(m); err != nil {
				return "", err
			}
		}
		b := r.Take(nil)
		if !b.Boundary {
			t.Error("the text does not end between transactions")
		}
		return string(b.Text), nil
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
		if _, err := plain(begin, relation, insert, pgoutputtest.Message(kind, uint32(7), uint64(1))); err == nil || !strings.Contains(err.Error(), word) {
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

// One Renderer appends changes without an allocation for each row.
func TestRowsDoNotAllocate(t *testing.T) {
	relation := pgoutputtest.Message('R', uint32(1), "public", "t", byte('d'), uint16(2), byte(1), "id", uint32(23), uint32(0xFFFFFFFF), byte(0), "v", uint32(25),
		uint32(0xFFFFFFFF))
	row := []any{byte('N'), uint16(2), byte('t'), uint32(1), []byte("5"), byte('t'), uint32(3), []byte("a\nb")}
	insert := pgoutputtest.Message('I', append([]any{uint32(1)}, row...)...)
	update := pgoutputtest.Message('U', append([]any{uint32(1)}, row...)...)
	remove := pgoutputtest.Message('D', uint32(1), byte('K'), uint16(2), byte('t'), uint32(1), []byte("5"), byte('n'))
	for what, messages := range map[string][][]byte{
		"INSERT": {insert, update}, "COPY": {insert}, "UPDATE": {update}, "DELETE": {remove},
	} {
		r := New(Options{})
		send := func(messages ...[]byte) {
			for _, m := range messages {
				if err := r.Message(m); err != nil {
					t.Fatal(err)
				}
			}
		}
		buffer := make([]byte, 0, 1<<20)
		send(pgoutputtest.Message('B', uint64(100), uint64(0), uint32(7)), relation)
		for range 20 { // buffers grow
			send(messages...)
		}
		n := testing.AllocsPerRun(100, func() {
			r.out.text = buffer
			for range 100 {
				send(messages...)
			}
		})
		if n > 1 {
			t.Errorf("%s: %.0f allocations for 100 rows", what, n)
		}
	}
}

// What a command rests on is brought once, and to be sampled again; what it made
// and dropped is told. A sample of the same state has it brought again.
func TestBatchSaysWhatElseChanged(t *testing.T) {
	secret := []byte("secret")
	r := New(Options{Secret: secret, Slot: "mine"})
	xid := uint32(7)
	transaction := func(payloads ...string) Batch {
		t.Helper()
		messages := [][]byte{pgoutputtest.Message('B', uint64(100), uint64(0), xid)}
		xid++
		for _, p := range payloads {
			messages = append(messages, pgoutputtest.Captured(secret, p))
		}
		for _, m := range append(messages, pgoutputtest.Message('C', byte(0), uint64(100), uint64(110), uint64(0))) {
			if err := r.Message(m); err != nil {
				t.Fatal(err)
			}
		}
		return r.Take(nil)
	}
	start := func(tag, sql string) string {
		return `{"ev": "start", "tag": "` + tag + `", "sql": "` + sql + `", "role": "ann", "roles": [{"name": "ann", "oid": 20000, "login": true}]}`
	}
	made := `{"ev": "end", "tag": "CREATE TABLE", "objects": [{"class": 1259, "oid": 30000, "tag": "CREATE TABLE", "type": "table", "schema": "s", ` +
		`"identity": "s.t"}]}`
	altered := `{"ev": "end", "tag": "ALTER TABLE", "objects": [{"class": 1259, "oid": 30000, "tag": "ALTER TABLE", "type": "table", "schema": "s", ` +
		`"identity": "s.t"}]}`
	dropped := `{"ev": "drop", "tag": "DROP TABLE", "objects": [{"class": 1259, "oid": 30000, "type": "table", "schema": "s", "identity": "s.t", "original": ` +
		`true}]}`
	for _, c := range []struct {
		name     string
		payloads []string
		told     []Told
		stale    []ddl.State
		has, not string
	}{
		{"first", []string{start("CREATE TABLE", "CREATE TABLE s.t ()"), made}, []Told{{XID: 7, Commit: 100, Came: []string{"1259 30000"}}},
			[]ddl.State{{Kind: ddl.StateRole, Key: "ann"}}, "CREATE ROLE \"ann\"", "gap"},
		{"again", []string{start("ALTER TABLE", "ALTER TABLE s.t ADD i int"), altered}, nil, nil, "ADD i int", "CREATE ROLE"},
		{"a sample of another slot", []string{`{"ev": "state", "slot": "theirs", "states": [{"tag": "ROLE \"ann\"", "sql": "SELECT 1"}]}`}, nil, nil, "", "SELECT"},
		{"a sample", []string{`{"ev": "state", "slot": "mine", "states": [{"tag": "ROLE \"ann\"", "sql": "SELECT 1"}]}`}, nil, nil, "SELECT 1", "CREATE ROLE"},
		{"once more", []string{start("ALTER TABLE", "ALTER TABLE s.t OWNER TO ann"), altered}, nil,
			[]ddl.State{{Kind: ddl.StateOwner, Key: "1259 30000"}, {Kind: ddl.StateRole, Key: "ann"}}, "CREATE ROLE", ""},
		{"dropped", []string{start("DROP TABLE", "DROP TABLE s.t"), dropped, `{"ev": "end", "tag": "DROP TABLE"}`}, []Told{{XID: 12, Commit: 100,
			Went: []string{"1259 30000"}}}, nil, "IF EXISTS", ""},
		{"a gap", []string{`{"ev": "gap", "reason": "no reason"}`}, []Told{{XID: 13, Commit: 100, Unknown: true}}, nil, "no reason", ""},
		{"no end", []string{start("DROP TABLE", "DROP TABLE s.t")}, []Told{{XID: 14, Commit: 100, Unknown: true}}, nil, "its end was not captured", "IF EXISTS"},
		{"forged", []string{`{"ev": "rows", "oid": 1}`}, []Told{{XID: 15, Commit: 100, Unknown: true}}, nil, "without its description", ""},
	} {
		b := transaction(c.payloads...)
		text := string(b.Text)
		if !reflect.DeepEqual(b.Told, c.told) || !reflect.DeepEqual(b.Stale, c.stale) || !strings.Contains(text, c.has) || c.not != "" && strings.Contains(text,
			c.not) || !b.Boundary {
			t.Errorf("%s: told %+v, stale %v, text\n%s", c.name, b.Told, b.Stale, text)
		}
	}
}
