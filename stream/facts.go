package stream

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
	"pg_scribe/stream/source"
)

// facts are what is known of tables and types beside what the stream's own
// descriptions say, as of the place to which the stream has come. What the
// source's catalogs say now may be of no use there: a table that is dropped
// since has rows in the stream all the same. So the repository keeps the facts
// of the position where it ends, commands in the stream change them, and what
// the catalogs said when the connection began counts from that moment on.
type facts struct {
	tables map[uint32]knownTable // without those of which there is nothing to say
	types  map[uint32]event.Type
	loose  map[uint32]bool // types that hold, or held, values of a domain with a constraint that is NOT VALID

	moved   map[uint32]move   // tables whose schema was renamed
	strings *ddl.Strings      // of several statements that may go on
	names   map[uint32]string // of roles in the target, by their OIDs on the source
	named   map[string]uint32 // the other way round

	defaults catalog.LSN // commit of the last transaction that changed default privileges

	made      map[uint32]uint32 // tables that were there at the connection's beginning, with the transaction that made each
	announced map[uint32]bool   // tables that a command told of since

	live  *liveFacts // until the stream has come to it
	told  map[catalog.FactKey]bool
	dirty map[catalog.FactKey]bool // changed by the present transaction
	done  *catalog.FactChanges     // by complete ones; nil: nobody stores them
}

// knownTable is what is known of a table.
type knownTable struct {
	Always []string // GENERATED ALWAYS identity columns
	Root   string   // through which the rows of a hash partition are written

	// It belongs to an extension which does not mark it with
	// pg_extension_config_dump. pg_dump leaves its rows out, so that changes of
	// these rows would find nothing in a restored base.
	Unsaved bool
}

// liveFacts are those of the source's catalogs when the connection began.
type liveFacts struct {
	tables map[uint32]knownTable
	types  map[uint32]event.Type
	loose  map[uint32]bool
	from   catalog.LSN // transactions that commit here or behind come later
	xmin   uint64      // of the snapshot: earlier transactions have ended
	xmax   uint32      // it does not show this transaction and later ones
	xip    map[uint32]bool
	next   uint64 // no transaction had this number or a later one before from; 0: not known
	at     int64  // the source's clock, in µs since 1970
}

// shows tells whether a transaction of the stream had ended for the snapshot.
func (l *liveFacts) shows(xid uint32) bool { return int32(xid-l.xmax) < 0 && !l.xip[xid] }

const (
	tableFact  = "table"
	typeFact   = "type"
	looseFact  = "loose"
	moveFact   = "move"
	stringFact = "string"
	roleFact   = "role"
)

// sinceKey is where the beginning of what is known of strings is stored: no
// process has the number 0.
var sinceKey = catalog.FactKey{Kind: stringFact}

func roleKey(oid uint32) catalog.FactKey { return catalog.FactKey{Kind: roleFact, OID: oid} }

func newFacts() *facts {
	f := &facts{tables: map[uint32]knownTable{}, types: map[uint32]event.Type{}, loose: map[uint32]bool{},
		moved: map[uint32]move{}, strings: ddl.NewStrings(), made: map[uint32]uint32{}, announced: map[uint32]bool{},
		names: map[uint32]string{}, named: map[string]uint32{},
		told: map[catalog.FactKey]bool{}, dirty: map[catalog.FactKey]bool{}}
	f.strings.Changed = func(process uint32) { f.dirty[catalog.FactKey{Kind: stringFact, OID: process}] = true }
	return f
}

// note marks a fact as changed; xid is of the transaction whose command told it.
func (f *facts) note(key catalog.FactKey, xid uint32) {
	f.dirty[key] = true
	if f.live != nil && !f.live.shows(xid) {
		f.told[key] = true
	}
}

// add takes what a command's end tells of a table.
func (f *facts) add(t event.Table, xid uint32) {
	f.setTable(t.OID, knownTable{Always: t.Always, Root: t.Root, Unsaved: t.Unsaved})
	f.note(catalog.FactKey{Kind: tableFact, OID: t.OID}, xid)
	f.addTypes(t.Types, xid)
}

func (f *facts) addTypes(types []event.Type, xid uint32) {
	for _, t := range types {
		f.types[t.OID] = t
		f.note(catalog.FactKey{Kind: typeFact, OID: t.OID}, xid)
	}
}

// loosen takes types into loose for good: what is there once too often costs
// time only. It tells whether any is new.
func (f *facts) loosen(types []uint32) bool {
	before := len(f.loose)
	for _, oid := range types {
		f.loose[oid] = true
		f.dirty[catalog.FactKey{Kind: looseFact, OID: oid}] = true
	}
	return len(f.loose) > before
}

// forget takes a table out that was dropped.
func (f *facts) forget(oid, xid uint32) {
	if _, known := f.tables[oid]; known {
		delete(f.tables, oid)
		f.note(catalog.FactKey{Kind: tableFact, OID: oid}, xid)
	}
}

func (f *facts) setTable(oid uint32, t knownTable) {
	if len(t.Always) == 0 && t.Root == "" && !t.Unsaved {
		delete(f.tables, oid)
	} else {
		f.tables[oid] = t
	}
}

// reach takes the facts of the source's catalogs when the stream has come to
// them, but for what it has brought that they did not show yet. changed are
// tables of which something is different now, types whether any type is.
func (f *facts) reach(commit catalog.LSN) (changed []uint32, types bool) {
	l := f.live
	if l == nil || commit < l.from {
		return nil, false
	}
	f.live = nil
	f.outlive(l.xmin, l.next)
	adopt := func(kind string, oid uint32, set func()) bool {
		key := catalog.FactKey{Kind: kind, OID: oid}
		before := f.value(key)
		if f.told[key] {
			return false
		}
		set()
		if f.value(key) == before {
			return false
		}
		f.dirty[key] = true
		return true
	}
	for _, list := range []map[uint32]knownTable{maps.Clone(f.tables), l.tables} {
		for oid := range list {
			if adopt(tableFact, oid, func() { f.setTable(oid, l.tables[oid]) }) {
				changed = append(changed, oid)
			}
		}
	}
	for oid := range maps.Clone(f.types) {
		if _, there := l.types[oid]; !there {
			types = adopt(typeFact, oid, func() { delete(f.types, oid) }) || types
		}
	}
	for oid, t := range l.types {
		types = adopt(typeFact, oid, func() { f.types[oid] = t }) || types
	}
	clear(f.told)
	return changed, types
}

// settle ends a transaction.
func (f *facts) settle() {
	if f.done != nil && len(f.dirty) > 0 {
		if f.done.Set == nil {
			f.done.Set = map[catalog.FactKey]string{}
		}
		for key := range f.dirty {
			f.done.Set[key] = f.value(key)
		}
	}
	clear(f.dirty)
}

// handOver returns what complete transactions changed since the last time.
func (f *facts) handOver() *catalog.FactChanges {
	done := f.done
	if done != nil {
		f.done = &catalog.FactChanges{}
	}
	return done
}

// value is a fact as it is stored; empty: there is nothing to say. It is JSON
// in which each byte of a name, which may be in any encoding, is a rune.
func (f *facts) value(key catalog.FactKey) string {
	var v any
	var known bool
	switch key.Kind {
	case tableFact:
		var t knownTable
		t, known = f.tables[key.OID]
		t.Always = slices.Clone(t.Always)
		event.Widen(&t)
		v = t
	case typeFact:
		var t event.Type
		t, known = f.types[key.OID]
		event.Widen(&t)
		v = t
	case looseFact:
		v, known = true, f.loose[key.OID]
	case moveFact:
		var m move
		m, known = f.moved[key.OID]
		m.From = slices.Clone(m.From)
		event.Widen(&m)
		v = m
	case stringFact:
		if v, known = f.strings.At[key.OID]; key == sinceKey {
			v, known = f.strings.Since, f.strings.Since != 0
		}
	case defaultsFact:
		v, known = f.defaults, f.defaults != 0
	case roleFact:
		var name string
		name, known = f.names[key.OID]
		event.Widen(&name)
		v = name
	}
	if !known {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(text)
}

// all are the facts as they are stored.
func (f *facts) all() map[catalog.FactKey]string {
	set := make(map[catalog.FactKey]string, len(f.tables)+len(f.types))
	add := func(kind string, oids iter.Seq[uint32]) {
		for oid := range oids {
			key := catalog.FactKey{Kind: kind, OID: oid}
			set[key] = f.value(key)
		}
	}
	add(tableFact, maps.Keys(f.tables))
	add(typeFact, maps.Keys(f.types))
	add(looseFact, maps.Keys(f.loose))
	add(moveFact, maps.Keys(f.moved))
	add(stringFact, maps.Keys(f.strings.At))
	if f.defaults != 0 {
		set[defaultsKey] = f.value(defaultsKey)
	}
	if f.strings.Since != 0 {
		set[sinceKey] = f.value(sinceKey)
	}
	add(roleFact, maps.Keys(f.names))
	return set
}

// recall replaces the facts of tables by stored ones, which are all that there
// was to say. Of the types only those are stored that were met.
func (f *facts) recall(stored map[catalog.FactKey]string) error {
	f.tables = map[uint32]knownTable{}
	for oid := range f.loose {
		f.dirty[catalog.FactKey{Kind: looseFact, OID: oid}] = true
	}
	for key, text := range stored {
		if err := f.recallOne(key, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

func (f *facts) recallOne(key catalog.FactKey, text []byte) error {
	switch key.Kind {
	case tableFact:
		var t knownTable
		if err := json.Unmarshal(text, &t); err != nil {
			return err
		}
		event.Narrow(&t)
		f.tables[key.OID] = t
	case typeFact:
		var t event.Type
		if err := json.Unmarshal(text, &t); err != nil {
			return err
		}
		event.Narrow(&t)
		f.types[key.OID] = t
	case looseFact:
		f.loose[key.OID] = true
	case moveFact:
		var m move
		if err := json.Unmarshal(text, &m); err != nil {
			return err
		}
		event.Narrow(&m)
		f.moved[key.OID] = m
	case defaultsFact:
		return json.Unmarshal(text, &f.defaults)
	case roleFact:
		var name string
		if err := json.Unmarshal(text, &name); err != nil {
			return err
		}
		event.Narrow(&name)
		f.names[key.OID], f.named[name] = name, key.OID
	case stringFact:
		if key == sinceKey {
			return json.Unmarshal(text, &f.strings.Since)
		}
		var p ddl.Position
		if err := json.Unmarshal(text, &p); err != nil {
			return err
		}
		f.strings.At[key.OID] = p
	}
	return nil
}

// follow begins with what was known at a position of the stream, if that is
// where it goes on. Else what the source says now is the next best, with the
// names of roles that were sampled last.
func (f *facts) follow(at catalog.LSN, stored map[catalog.FactKey]string, from catalog.LSN, names map[string]string) error {
	if at == 0 || at != from {
		f.strings.Since = ddl.NotBegun
		f.takeNames(names)
		f.done = &catalog.FactChanges{Anew: true, Set: f.all()}
		return nil
	}
	f.done = &catalog.FactChanges{}
	return f.recall(stored)
}

// hashLeaves are the partitions whose rows are written through another table.
const hashLeaves = `SELECT c.oid, scribe.hash_root(c.oid) AS root FROM pg_class c
  WHERE c.relispartition AND c.relkind = 'r' AND EXISTS (SELECT FROM pg_partitioned_table WHERE partstrat = 'h')`

// readFacts asks the source what it has now, and takes it for what it had
// where the slot begins. Only rows from before their table became one that no
// dump has must not get lost: it is taken for one at once only if it was that
// before everything that the slot still sends.
func readFacts(ctx context.Context, conn *pgx.Conn, slot string) (*facts, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	f := newFacts()
	if f.live, err = readLive(ctx, tx); err != nil {
		return nil, err
	}
	// A snapshot does not tell what runs beyond it.
	if err := tx.QueryRow(ctx, "SELECT pg_current_xact_id()::text::int8").Scan(&f.live.next); err != nil {
		return nil, err
	}
	f.tables, f.types, f.loose = maps.Clone(f.live.tables), maps.Clone(f.live.types), f.live.loose
	var oid uint32
	rows, err := tx.Query(ctx, `SELECT u.relid FROM scribe.unsaved u LEFT JOIN pg_replication_slots s ON s.slot_name = $1
	    WHERE coalesce(age(u.since) BETWEEN 0 AND age(s.catalog_xmin), true) -- below 0 it is frozen long since`, slot)
	if err != nil {
		return nil, err
	}
	_, err = pgx.ForEachRow(rows, []any{&oid}, func() error {
		t := f.tables[oid]
		t.Unsaved = false
		f.setTable(oid, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	rows, err = tx.Query(ctx, `SELECT a.attrelid, a.xmin::text::int8 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	    WHERE a.attnum = -6 AND c.relkind = 'r' AND c.oid >= 16384`) // a system column, which nothing ever changes
	if err != nil {
		return nil, err
	}
	var xid int64
	_, err = pgx.ForEachRow(rows, []any{&oid, &xid}, func() error { f.made[oid] = uint32(xid); return nil })
	return f, err
}

// readLive reads facts in the snapshot of a transaction that has begun.
func readLive(ctx context.Context, tx source.Querier) (*liveFacts, error) {
	l := &liveFacts{tables: map[uint32]knownTable{}, types: map[uint32]event.Type{}, loose: map[uint32]bool{}, xip: map[uint32]bool{}}
	var oid uint32
	var name string
	each := func(sql string, into []any, take func(t *knownTable)) error {
		rows, err := tx.Query(ctx, sql)
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, into, func() error {
			t := l.tables[oid]
			take(&t)
			l.tables[oid] = t
			return nil
		})
		return err
	}
	err := each("SELECT attrelid, attname FROM (SELECT attrelid, attname, attnum FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "+
		"WHERE attidentity = 'a' AND NOT attisdropped AND c.relkind IN ('r', 'p') UNION "+
		"SELECT x.oid, a.attname, a.attnum FROM ("+hashLeaves+") x JOIN pg_attribute a ON a.attrelid = pg_partition_root(x.oid) "+
		"WHERE x.root IS NOT NULL AND a.attidentity = 'a' AND NOT a.attisdropped) y ORDER BY attrelid, attnum",
		[]any{&oid, &name}, func(t *knownTable) { t.Always = append(t.Always, name) })
	if err != nil {
		return nil, err
	}
	if err := each("SELECT * FROM ("+hashLeaves+") x WHERE root IS NOT NULL", []any{&oid, &name}, func(t *knownTable) { t.Root = name }); err != nil {
		return nil, err
	}
	if err := each("SELECT relid FROM scribe.unsaved", []any{&oid}, func(t *knownTable) { t.Unsaved = true }); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT f FROM (SELECT DISTINCT atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	    WHERE c.relkind = 'r' AND a.atttypid >= 16384 AND NOT a.attisdropped) a, scribe.type_facts(a.atttypid) f WHERE f IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	types, err := pgx.CollectRows(rows, pgx.RowTo[event.Type])
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		l.types[t.OID] = t
	}
	if rows, err = tx.Query(ctx, "SELECT scribe.loose_types()"); err != nil {
		return nil, err
	}
	if _, err = pgx.ForEachRow(rows, []any{&oid}, func() error { l.loose[oid] = true; return nil }); err != nil {
		return nil, err
	}
	var snapshot string
	if err := tx.QueryRow(ctx, "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, (extract(epoch FROM clock_timestamp()) * 1000000)::int8").Scan(&snapshot, &name, &l.at); err != nil {
		return nil, err
	}
	for i, part := range strings.FieldsFunc(snapshot, func(r rune) bool { return r == ':' || r == ',' }) {
		xid, err := strconv.ParseUint(part, 10, 64)
		switch {
		case err != nil:
			return nil, err
		case i == 0:
			l.xmin = xid
		case i == 1:
			l.xmax = uint32(xid)
		case i > 1:
			l.xip[uint32(xid)] = true
		}
	}
	l.from, err = catalog.ParseLSN(name)
	return l, err
}

// keepFacts stores what there is at the point where the stream begins.
func (d *dumper) keepFacts(ctx context.Context, keeper *pgx.Conn, names map[string]string) error {
	live, err := readLive(ctx, keeper)
	if err != nil {
		return err
	}
	f := newFacts()
	f.tables, f.types, f.loose, f.strings.Since = live.tables, live.types, live.loose, live.at
	f.takeNames(names)
	return d.repo.Catalog().SetStreamFacts(ctx, d.created.Point, f.all())
}
