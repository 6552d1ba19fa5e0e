package render

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput/pgoutputtest"
	"pg_scribe/stream/schema"
)

// described feeds transactions to a renderer.
type described struct {
	t     *testing.T
	r     *Renderer
	state map[catalog.StateKey]string // as a repository stores them
	at    uint64                      // commit of the last transaction
}

var describedSecret = []byte("secret")

// connect goes on where the stream was stored; next is the first transaction that
// comes later.
func (d *described) connect(next uint64) {
	live := schema.NewLive()
	live.Next = next
	known := schema.Now(live, nil)
	at := catalog.LSN(d.at + 1)
	if d.state == nil {
		at = 0
	}
	if err := known.Continue(at, d.state, catalog.LSN(d.at+1), nil); err != nil {
		d.t.Fatal(err)
	}
	d.r = New(Options{Secret: describedSecret, Slot: "mine", Schema: known, From: catalog.LSN(d.at + 1)})
}

func (d *described) transaction(xid uint32, payloads ...string) Batch {
	d.t.Helper()
	d.at += 10
	messages := [][]byte{pgoutputtest.Message('B', d.at, uint64(0), xid)}
	for _, p := range payloads {
		messages = append(messages, pgoutputtest.Captured(describedSecret, p))
	}
	for _, m := range append(messages, pgoutputtest.Message('C', byte(0), d.at, d.at+1, uint64(0))) {
		if err := d.r.Message(m); err != nil {
			d.t.Fatal(err)
		}
	}
	b := d.r.Take(nil)
	if f := b.Stats.State; f != nil {
		if d.state == nil || f.Anew {
			d.state = map[catalog.StateKey]string{}
		}
		for key, value := range f.Set {
			if d.state[key] = value; value == "" {
				delete(d.state, key)
			}
		}
	}
	return b
}

const (
	startOf = `{"ev": "start", "tag": "ALTER TABLE", "sql": "ALTER TABLE s.t ADD i int"}`
	endOf   = `{"ev": "end", "tag": "ALTER TABLE", "objects": [{"class": 1259, "oid": 30000, "tag": "ALTER TABLE", "type": "table", "schema": "s", ` +
		`"identity": "s.t"}]}`
)

func objectsOf(slot, snapshot string) string {
	return fmt.Sprintf(`{"ev": "objects", "slot": %q, "snapshot": %q, "objects": [{"class": "table", "identity": "s.t", "description": {"class": "table"}},`+
		` {"class": "view", "identity": "s.v"}]}`, slot, snapshot)
}

// Descriptions are written only where every command before them was shown to
// whoever read them, also across connections; else they are to be read again.
func TestDescriptionsAreTrueWhereTheyStand(t *testing.T) {
	want := []segment.Fingerprint{segment.NewFingerprint("table", "s.t", []byte(`{"class": "table"}`)), {Class: "view", Identity: "s.v", SHA256: segment.Gone}}
	lines := ""
	for _, f := range want {
		lines += string(segment.AppendObject(nil, f))
	}
	d := &described{t: t}
	d.connect(101)
	check := func(what string, b Batch, written bool) {
		t.Helper()
		switch text := string(b.Text); {
		case written && (!strings.Contains(text, lines) || len(b.Undescribed) > 0):
			t.Errorf("%s: not written: %v\n%s", what, b.Undescribed, text)
		case !written && (strings.Contains(text, "-- pg_scribe object") || !slices.Equal(b.Undescribed, want)):
			t.Errorf("%s: written, to be read again %v\n%s", what, b.Undescribed, text)
		}
	}
	// What had commands before the first connection is not known: a snapshot in
	// which one of that time still runs may not show it.
	check("an old one runs", d.transaction(102, objectsOf("mine", "99:102:99")), false)
	check("none runs", d.transaction(103, objectsOf("mine", "101:103:")), true)
	if b := d.transaction(104, objectsOf("theirs", "103:104:")); len(b.Text) > 0 || len(b.Undescribed) > 0 {
		t.Errorf("another slot's: %s %v", b.Text, b.Undescribed)
	}

	b := d.transaction(105, startOf, endOf)
	if len(b.Touched.Changed) != 1 || b.Touched.Changed[0].OID != 30000 || b.Touched.Others != 0 || len(b.Touched.Dropped) != 0 {
		t.Errorf("touched %+v", b.Touched)
	}
	check("the command is later", d.transaction(106, objectsOf("mine", "105:105:")), false)
	check("the command still runs", d.transaction(107, objectsOf("mine", "105:107:105")), false)
	check("the command ended, one before it runs", d.transaction(108, objectsOf("mine", "104:107:104")), true)
	d.connect(200) // goes on with what was stored
	check("the command still runs, after a connection", d.transaction(109, objectsOf("mine", "105:109:105")), false)
	check("a command in the same transaction", d.transaction(111, startOf, endOf, objectsOf("mine", "110:110:")), false)
	check("both ended", d.transaction(112, objectsOf("mine", "112:112:")), true)
	for key := range d.state {
		if key.Kind == "command" && key.OID != 0 {
			t.Errorf("kept although later snapshots show it: %v", key)
		}
	}
	check("a gap may be a command", d.transaction(113, `{"ev": "gap", "reason": "x"}`, objectsOf("mine", "113:113:")), false)
	for xid := uint32(1000); xid < 11500; xid++ {
		d.transaction(xid, startOf, endOf)
	}
	check("too many to keep, one runs", d.transaction(20000, objectsOf("mine", "1500:20000:1500")), false)
	check("too many to keep", d.transaction(20001, objectsOf("mine", "20001:20001:")), true)
}

// Commands tell what they touched; GRANT does not say what.
func TestTouched(t *testing.T) {
	d := &described{t: t}
	d.connect(0)
	b := d.transaction(7, `{"ev": "start", "tag": "GRANT", "sql": "GRANT SELECT ON s.t TO a"}`,
		`{"ev": "end", "tag": "GRANT", "objects": [{"class": null, "oid": null, "tag": "GRANT", "type": "TABLE"}]}`)
	if b.Touched.Others != 7 || len(b.Touched.Changed) > 0 {
		t.Errorf("%+v", b.Touched)
	}
	b = d.transaction(8, `{"ev": "start", "tag": "DROP TABLE", "sql": "DROP TABLE s.t, pg_temp.x"}`,
		`{"ev": "drop", "tag": "DROP TABLE", "objects": [{"class": 1259, "oid": 5, "type": "table", "schema": "s", "identity": "s.t", "original": true},`+
			` {"class": 1259, "oid": 6, "type": "table", "schema": "pg_temp", "identity": "pg_temp.x", "temp": true, "original": true}]}`,
		`{"ev": "end", "tag": "DROP TABLE"}`)
	if len(b.Touched.Dropped) != 1 || b.Touched.Dropped[0] != (event.Object{Class: 1259, OID: 5, Type: "table", Schema: "s", Identity: "s.t", Original: true}) {
		t.Errorf("%+v", b.Touched)
	}
}
