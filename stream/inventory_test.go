package stream

import (
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/stream/event"
	"pg_scribe/stream/render"
	"pg_scribe/stream/sample"
	"pg_scribe/stream/source"
)

// The stream of a new slot tells of what went since, so that the samples have
// to begin with what was there.
func TestInventoryBeginsWithTheSlot(t *testing.T) {
	s := newSource(t, "CREATE TABLE early (id int)")
	ctx := t.Context()
	key := s.cluster.Query(t, s.db, "SELECT 'pg_class'::regclass::oid || ' ' || 'early'::regclass::oid")
	conn, err := source.Connect(ctx, s.conn())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	src, err := source.Inspect(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	slotConn, err := source.ConnectReplication(ctx, s.conn(), src.Encoding, source.SlotLockTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer slotConn.Close(ctx)
	slot, err := source.CreateSlot(ctx, slotConn, src, source.SlotOptions{Name: s.slot + "_new", Temporary: true})
	if err != nil {
		t.Fatal(err)
	}
	s.exec("DROP TABLE early; CREATE TABLE later (id int)")
	r := s.open()
	if err := sample.BaselineInventory(ctx, conn, r.Catalog(), slot.Snapshot); err != nil {
		t.Fatal(err)
	}
	sample, _, err := r.Catalog().Setting(ctx, "state inventory")
	if err != nil || !strings.Contains(sample, `"`+key+`":"`) || !strings.Contains(sample, "early") || strings.Contains(sample, "later") {
		t.Errorf("%v, %v", sample, err)
	}
}

// What was told and not stored yet outlives a kill, and so does what the stream may be
// yet to come to: the rows of a table that a sample saw to be gone.
func TestInventoryOutlivesAKill(t *testing.T) {
	s := newSource(t, "CREATE TABLE early (id int); CREATE FUNCTION lost() RETURNS int LANGUAGE sql AS 'SELECT 1'")
	ctx := t.Context()
	r := s.open()
	defer r.Close()
	conn, err := source.Connect(ctx, s.conn())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	open := func(from catalog.LSN) *sample.Inventory {
		v, err := sample.OpenInventory(ctx, r.Catalog())
		if err != nil {
			t.Fatal(err)
		}
		v.Connected(from)
		return v
	}
	oid := func(name string) uint32 {
		return event.ParseOID(s.cluster.Query(t, s.db, "SELECT '"+name+"'::regclass::oid"))
	}
	position := func() catalog.LSN {
		at, err := source.Inserted(ctx, conn)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	check := func(v *sample.Inventory) {
		if err := v.Check(ctx, conn, s.slot, 1); err != nil {
			t.Fatal(err)
		}
	}
	begin := position()
	early := oid("early")
	s.exec("CREATE TABLE made (id int)")
	made, xid := oid("made"), s.cluster.Query(t, s.db, "SELECT xmin FROM pg_class WHERE relname = 'made'")
	v := open(begin)
	if err := v.Note(ctx, []render.Told{{XID: event.ParseOID(xid), Commit: begin + 1, Came: []string{event.Key(event.ClassRelation, made)}}}); err != nil {
		t.Fatal(err)
	}
	after := position()
	if v = open(after); !v.Tables()[made] || !v.Tables()[early] {
		t.Errorf("the stored stream told of a table: %v", v.Tables())
	}
	if again := open(begin); again.Tables()[made] {
		t.Errorf("the stream will tell again of a table: %v", again.Tables())
	}
	v = open(after)
	s.exec("DROP TABLE early")
	s.exec("DELETE FROM pg_proc WHERE proname = 'lost'")
	check(v)
	v = open(after)
	if came, went := v.Unexplained(); !v.Tables()[early] || !v.Tables()[made] || came != 0 || went != 2 {
		t.Errorf("tables %v, %d came, %d went", v.Tables(), came, went)
	}
	check(v) // the stream has not come to it yet
	if _, went := v.Unexplained(); went != 2 {
		t.Errorf("what went is forgotten: %d", went)
	}
	v.Reached(position())
	v.Stored(position())
	check(v)
	check(v)
	v = open(after)
	if came, went := v.Unexplained(); came+went != 0 || v.Tables()[early] {
		t.Errorf("what was marked stays: %d, %d; tables %v", came, went, v.Tables())
	}
}
