package stream

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/stream/event"
	"pg_scribe/stream/render"
	"pg_scribe/stream/source"
)

// What a sample sees has a name though it is dropped before that is looked up:
// an index without one would be taken for something that went without an event.
func TestIdentifyWhatIsDroppedSince(t *testing.T) {
	c := pgtest.New(t)
	db := c.CreateDB(t, "names")
	c.Exec(t, db, "CREATE TABLE t (a int); CREATE INDEX i ON t (a); CREATE TABLE stays (a int)")
	key := func(name string) string {
		return c.Query(t, db, "SELECT 'pg_class'::regclass::oid || ' ' || '"+name+"'::regclass::oid")
	}
	keys := []string{key("i"), key("t"), key("stays"), "1255 1"}
	tx, err := c.Conn(t, db).BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if _, err := readKeys(t.Context(), tx, "SELECT oid::text FROM pg_class"); err != nil {
		t.Fatal(err)
	}
	c.Exec(t, db, "DROP TABLE t")
	names, err := identify(t.Context(), tx, keys)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 3 || !strings.HasPrefix(names[keys[0]], "index ") || names[keys[1]] == "" || names[keys[2]] != "table public.stays" {
		t.Errorf("%q", names)
	}
}

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
	if err := baselineInventory(ctx, conn, r.Catalog(), slot.Snapshot); err != nil {
		t.Fatal(err)
	}
	sample, err := keptSample(ctx, r.Catalog(), inventorySample)
	if err != nil || sample[key] == "" || strings.Contains(strings.Join(slices.Collect(maps.Values(sample)), "\n"), "later") {
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
	open := func(from catalog.LSN) *inventory {
		v, err := openInventory(ctx, r.Catalog())
		if err != nil {
			t.Fatal(err)
		}
		v.connected(from)
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
	check := func(v *inventory) {
		if err := v.check(ctx, conn, s.slot, 1); err != nil {
			t.Fatal(err)
		}
	}
	begin := position()
	early := oid("early")
	s.exec("CREATE TABLE made (id int)")
	made, xid := oid("made"), s.cluster.Query(t, s.db, "SELECT xmin FROM pg_class WHERE relname = 'made'")
	v := open(begin)
	if err := v.note(ctx, []render.Told{{XID: event.ParseOID(xid), Commit: begin + 1, Came: []string{event.Key(event.ClassRelation, made)}}}); err != nil {
		t.Fatal(err)
	}
	after := position()
	if v = open(after); !v.tables()[made] || !v.tables()[early] {
		t.Errorf("the stored stream told of a table: %v", v.tables())
	}
	if again := open(begin); again.tables()[made] {
		t.Errorf("the stream will tell again of a table: %v", again.tables())
	}
	v = open(after)
	s.exec("DROP TABLE early")
	s.exec("DELETE FROM pg_proc WHERE proname = 'lost'")
	check(v)
	if v = open(after); !v.tables()[early] || !v.tables()[made] || len(v.ledger.Came) != 0 || len(v.ledger.Went) != 2 {
		t.Errorf("tables %v, came %v, went %v", v.tables(), v.ledger.Came, v.ledger.Went)
	}
	check(v) // the stream has not come to it yet
	if !v.open() {
		t.Errorf("what went is forgotten: %v", v.ledger.Went)
	}
	v.reached(position())
	v.stored(position())
	check(v)
	check(v)
	if v = open(after); v.open() || v.tables()[early] {
		t.Errorf("what was marked stays: %v; tables %v", v.ledger.Went, v.tables())
	}
}
