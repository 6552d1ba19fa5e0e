// Package schema holds what the stream knows of tables, types, roles and strings
// of several statements beside its own descriptions, as of the place to which it
// has come, and how that is stored. It asks no server and writes no SQL: what the
// source says now, and what commands say, is told to it.
package schema

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"

	"pg_scribe/catalog"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
)

// State is what is known. What the source's catalogs say now may be of no use at
// the stream's place: a table that is dropped since has rows in the stream all
// the same. So the repository keeps the state of the position where it ends,
// commands in the stream change it, and what the catalogs said when the
// connection began counts from that moment on.
type State struct {
	tables map[uint32]Table // without those of which there is nothing to say
	types  map[uint32]event.Type
	loose  map[uint32]bool // types that hold, or held, values of a domain with a constraint that is NOT VALID

	moved   map[uint32]move   // tables whose schema was renamed
	strings *ddl.Strings      // of several statements that may go on
	names   map[uint32]string // of roles in the target, by their OIDs on the source
	named   map[string]uint32 // the other way round

	unshown unshown // transactions with commands

	defaults catalog.LSN // commit of the last transaction that changed default privileges

	made      map[uint32]uint32 // tables that were there at the connection's beginning, with the transaction that made each
	announced map[uint32]bool   // tables that a command told of since

	live  *Live // until the stream has come to it
	told  map[catalog.StateKey]bool
	dirty map[catalog.StateKey]bool // changed by the present transaction
	done  *catalog.StateChanges     // by complete ones; nil: nobody stores them
}

// Table is what is known of a table.
type Table struct {
	Always []string // GENERATED ALWAYS identity columns
	Root   string   // through which the rows of a hash partition are written

	// It belongs to an extension which does not mark it with
	// pg_extension_config_dump. pg_dump leaves its rows out, so that changes of
	// these rows would find nothing in a restored base.
	Unsaved bool
}

// Live is what the source's catalogs said when the connection began.
type Live struct {
	Tables  map[uint32]Table
	Types   map[uint32]event.Type
	Loose   map[uint32]bool
	Made    map[uint32]uint32 // tables that were there, with the transaction that made each
	From    catalog.LSN       // transactions that commit here or behind come later
	Xmin    uint64            // of the snapshot: earlier transactions have ended
	Xmax    uint32            // it does not show this transaction and later ones
	Running map[uint32]bool
	Next    uint64 // no transaction had this number or a later one before From; 0: not known
	At      int64  // the source's clock, in µs since 1970
}

// NewLive returns one that is to be filled.
func NewLive() *Live {
	return &Live{Tables: map[uint32]Table{}, Types: map[uint32]event.Type{}, Loose: map[uint32]bool{}, Made: map[uint32]uint32{}, Running: map[uint32]bool{}}
}

// shows says whether a transaction of the stream had ended for the snapshot.
func (l *Live) shows(xid uint32) bool { return int32(xid-l.Xmax) < 0 && !l.Running[xid] }

const (
	tableState  = "table"
	typeState   = "type"
	looseState  = "loose"
	moveState   = "move"
	stringState = "string"
	roleState   = "role"

	defaultsState = "defaults"
	unshownState  = "command"
)

// sinceKey is where the beginning of what is known of strings is stored: no
// process has the number 0.
var sinceKey = catalog.StateKey{Kind: stringState}

// defaultsKey is where the last change of default privileges is stored.
var defaultsKey = catalog.StateKey{Kind: defaultsState}

func roleKey(oid uint32) catalog.StateKey { return catalog.StateKey{Kind: roleState, OID: oid} }

// New returns a state of which nothing is known.
func New() *State {
	f := &State{tables: map[uint32]Table{}, types: map[uint32]event.Type{}, loose: map[uint32]bool{},
		moved: map[uint32]move{}, strings: ddl.NewStrings(), made: map[uint32]uint32{}, announced: map[uint32]bool{},
		names: map[uint32]string{}, named: map[string]uint32{}, unshown: unshown{xids: map[uint32]bool{}},
		told: map[catalog.StateKey]bool{}, dirty: map[catalog.StateKey]bool{}}
	f.strings.Changed = func(process uint32) { f.dirty[catalog.StateKey{Kind: stringState, OID: process}] = true }
	return f
}

// Now takes what the source has now for what it had where a slot begins. Only
// rows from before their table became one that no dump has must not get lost: of
// the tables in since, it counts from the moment of the snapshot on.
func Now(live *Live, since []uint32) *State {
	s := New()
	s.live, s.made = live, live.Made
	s.tables, s.types, s.loose = maps.Clone(live.Tables), maps.Clone(live.Types), live.Loose
	for _, oid := range since {
		t := s.tables[oid]
		t.Unsaved = false
		s.SetTable(oid, t)
	}
	return s
}

// At is what there is at the moment of a snapshot, as it is stored; names are
// those of the roles.
func At(live *Live, names map[string]string) map[catalog.StateKey]string {
	s := New()
	s.tables, s.types, s.loose, s.strings.Since = live.Tables, live.Types, live.Loose, live.At
	s.takeNames(names)
	return s.All()
}

// Table is what is known of a table.
func (s *State) Table(oid uint32) Table { return s.tables[oid] }

// Partitions are the tables whose rows are written through another one.
func (s *State) Partitions(root string) (oids []uint32) {
	for oid, t := range s.tables {
		if t.Root == root {
			oids = append(oids, oid)
		}
	}
	return oids
}

// Type is what is known of a type.
func (s *State) Type(oid uint32) event.Type { return s.types[oid] }

// IsLoose says whether a type may hold values that a domain's constraint does
// not allow.
func (s *State) IsLoose(oid uint32) bool { return s.loose[oid] }

// Strings are those of several statements that may go on.
func (s *State) Strings() *ddl.Strings { return s.strings }

// Announce notes that a command told of a table; Announced says whether one did.
func (s *State) Announce(oid uint32)       { s.announced[oid] = true }
func (s *State) Announced(oid uint32) bool { return s.announced[oid] }

// Made is the transaction that made a table which was there at the connection's
// beginning.
func (s *State) Made(oid uint32) (xid uint32, there bool) {
	xid, there = s.made[oid]
	return xid, there
}

// DefaultPrivileges is the commit of the last transaction that changed them.
func (s *State) DefaultPrivileges() catalog.LSN { return s.defaults }

// ChangeDefaultPrivileges notes at its end that a transaction changed them.
func (s *State) ChangeDefaultPrivileges(commit catalog.LSN) {
	s.defaults = commit
	s.dirty[defaultsKey] = true
}

// note marks a part as changed; xid is of the transaction whose command told it.
func (s *State) note(key catalog.StateKey, xid uint32) {
	s.dirty[key] = true
	if s.live != nil && !s.live.shows(xid) {
		s.told[key] = true
	}
}

// Add takes what a command's end tells of a table.
func (s *State) Add(t event.Table, xid uint32) {
	s.SetTable(t.OID, Table{Always: t.Always, Root: t.Root, Unsaved: t.Unsaved})
	s.note(catalog.StateKey{Kind: tableState, OID: t.OID}, xid)
	s.AddTypes(t.Types, xid)
}

// AddTypes takes what a command's end tells of types.
func (s *State) AddTypes(types []event.Type, xid uint32) {
	for _, t := range types {
		s.types[t.OID] = t
		s.note(catalog.StateKey{Kind: typeState, OID: t.OID}, xid)
	}
}

// Loosen takes types into loose for good: what is there once too often costs
// time only. It says whether any is new.
func (s *State) Loosen(types []uint32) bool {
	before := len(s.loose)
	for _, oid := range types {
		s.loose[oid] = true
		s.dirty[catalog.StateKey{Kind: looseState, OID: oid}] = true
	}
	return len(s.loose) > before
}

// Forget takes a table out that was dropped.
func (s *State) Forget(oid, xid uint32) {
	if _, known := s.tables[oid]; known {
		delete(s.tables, oid)
		s.note(catalog.StateKey{Kind: tableState, OID: oid}, xid)
	}
}

// SetTable notes what is known of a table.
func (s *State) SetTable(oid uint32, t Table) {
	if len(t.Always) == 0 && t.Root == "" && !t.Unsaved {
		delete(s.tables, oid)
	} else {
		s.tables[oid] = t
	}
}

// Reach takes the state of the source's catalogs when the stream has come to
// them, but for what it has brought that they did not show yet. changed are
// tables of which something is different now, types whether any type is.
func (s *State) Reach(commit catalog.LSN) (changed []uint32, types bool) {
	l := s.live
	if l == nil || commit < l.From {
		return nil, false
	}
	s.live = nil
	s.outlive(l.Xmin, l.Next)
	adopt := func(kind string, oid uint32, set func()) bool {
		key := catalog.StateKey{Kind: kind, OID: oid}
		before := s.value(key)
		if s.told[key] {
			return false
		}
		set()
		if s.value(key) == before {
			return false
		}
		s.dirty[key] = true
		return true
	}
	for _, list := range []map[uint32]Table{maps.Clone(s.tables), l.Tables} {
		for oid := range list {
			if adopt(tableState, oid, func() { s.SetTable(oid, l.Tables[oid]) }) {
				changed = append(changed, oid)
			}
		}
	}
	for oid := range maps.Clone(s.types) {
		if _, there := l.Types[oid]; !there {
			types = adopt(typeState, oid, func() { delete(s.types, oid) }) || types
		}
	}
	for oid, t := range l.Types {
		types = adopt(typeState, oid, func() { s.types[oid] = t }) || types
	}
	clear(s.told)
	return changed, types
}

// Settle ends a transaction.
func (s *State) Settle() {
	if s.done != nil && len(s.dirty) > 0 {
		if s.done.Set == nil {
			s.done.Set = map[catalog.StateKey]string{}
		}
		for key := range s.dirty {
			s.done.Set[key] = s.value(key)
		}
	}
	clear(s.dirty)
}

// HandOver returns what complete transactions changed since the last time.
func (s *State) HandOver() *catalog.StateChanges {
	done := s.done
	if done != nil {
		s.done = &catalog.StateChanges{}
	}
	return done
}

// value is a part as it is stored; empty: there is nothing to say. It is JSON
// in which each byte of a name, which may be in any encoding, is a rune.
func (s *State) value(key catalog.StateKey) string {
	var v any
	var known bool
	switch key.Kind {
	case tableState:
		var t Table
		t, known = s.tables[key.OID]
		t.Always = slices.Clone(t.Always)
		event.Widen(&t)
		v = t
	case typeState:
		var t event.Type
		t, known = s.types[key.OID]
		event.Widen(&t)
		v = t
	case looseState:
		v, known = true, s.loose[key.OID]
	case moveState:
		var m move
		m, known = s.moved[key.OID]
		m.From = slices.Clone(m.From)
		event.Widen(&m)
		v = m
	case stringState:
		if v, known = s.strings.At[key.OID]; key == sinceKey {
			v, known = s.strings.Since, s.strings.Since != 0
		}
	case defaultsState:
		v, known = s.defaults, s.defaults != 0
	case unshownState:
		v, known = s.unshown.value(key.OID)
	case roleState:
		var name string
		name, known = s.names[key.OID]
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

// All are the parts as they are stored.
func (s *State) All() map[catalog.StateKey]string {
	set := make(map[catalog.StateKey]string, len(s.tables)+len(s.types))
	add := func(kind string, oids iter.Seq[uint32]) {
		for oid := range oids {
			key := catalog.StateKey{Kind: kind, OID: oid}
			set[key] = s.value(key)
		}
	}
	add(tableState, maps.Keys(s.tables))
	add(typeState, maps.Keys(s.types))
	add(looseState, maps.Keys(s.loose))
	add(moveState, maps.Keys(s.moved))
	add(stringState, maps.Keys(s.strings.At))
	if s.defaults != 0 {
		set[defaultsKey] = s.value(defaultsKey)
	}
	add(unshownState, maps.Keys(s.unshown.xids))
	set[olderKey] = s.value(olderKey)
	if s.strings.Since != 0 {
		set[sinceKey] = s.value(sinceKey)
	}
	add(roleState, maps.Keys(s.names))
	return set
}

// recall replaces the state of tables by the stored one, which is all that there
// was to say. Of the types only those are stored that were met.
func (s *State) recall(stored map[catalog.StateKey]string) error {
	s.tables = map[uint32]Table{}
	for oid := range s.loose {
		s.dirty[catalog.StateKey{Kind: looseState, OID: oid}] = true
	}
	for key, text := range stored {
		if err := s.recallOne(key, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) recallOne(key catalog.StateKey, text []byte) error {
	switch key.Kind {
	case tableState:
		return recallInto(s.tables, key.OID, text)
	case typeState:
		return recallInto(s.types, key.OID, text)
	case looseState:
		s.loose[key.OID] = true
	case moveState:
		return recallInto(s.moved, key.OID, text)
	case defaultsState:
		return json.Unmarshal(text, &s.defaults)
	case unshownState:
		return s.unshown.recall(key.OID, text)
	case roleState:
		var name string
		if err := json.Unmarshal(text, &name); err != nil {
			return err
		}
		event.Narrow(&name)
		s.names[key.OID], s.named[name] = name, key.OID
	case stringState:
		if key == sinceKey {
			return json.Unmarshal(text, &s.strings.Since)
		}
		var p ddl.Position
		if err := json.Unmarshal(text, &p); err != nil {
			return err
		}
		s.strings.At[key.OID] = p
	}
	return nil
}

// recallInto reads what value wrote of one object.
func recallInto[T any](known map[uint32]T, oid uint32, text []byte) error {
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	event.Narrow(&v)
	known[oid] = v
	return nil
}

// Continue begins with what was known at a position of the stream, if that is
// where it goes on. Else what the source says now is the next best, with the
// names of roles that were sampled last.
func (s *State) Continue(at catalog.LSN, stored map[catalog.StateKey]string, from catalog.LSN, names map[string]string) error {
	if at == 0 || at != from {
		s.strings.Since = ddl.NotBegun
		s.forgetCommands()
		s.takeNames(names)
		s.done = &catalog.StateChanges{Anew: true, Set: s.All()}
		return nil
	}
	s.done = &catalog.StateChanges{}
	if stored[olderKey] == "" { // of a version that did not note them
		s.forgetCommands()
	}
	return s.recall(stored)
}
