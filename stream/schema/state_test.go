package schema

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/stream/event"
)

// The catalogs of the source count from the moment on at which they were read,
// but for what commands told that they did not show.
func TestStateReachTheLiveOnes(t *testing.T) {
	id := []string{"id"}
	f := New()
	f.done = &catalog.StateChanges{}
	f.tables = map[uint32]Table{1: {Always: id}, 2: {Root: "h"}, 6: {Always: id}}
	f.types = map[uint32]event.Type{10: {OID: 10, Cast: "old"}, 11: {OID: 11, Cast: "gone"}}
	f.live = &Live{From: 100, Xmax: 50, Running: map[uint32]bool{40: true},
		Tables: map[uint32]Table{2: {Root: "h"}, 5: {Unsaved: true}, 6: {Always: id}}, Types: map[uint32]event.Type{10: {OID: 10, Cast: "new"}}}
	f.Add(event.Table{OID: 3, Always: id}, 40) // not shown
	f.Add(event.Table{OID: 4, Always: id}, 49) // shown, and ended by a later one
	f.Forget(6, 50)
	f.Settle()
	if changed, types := f.Reach(99); changed != nil || types || f.live == nil {
		t.Errorf("before: %v, %v", changed, types)
	}
	f.HandOver()
	changed, types := f.Reach(100)
	slices.Sort(changed)
	if !slices.Equal(changed, []uint32{1, 4, 5}) || !types {
		t.Errorf("changed %v, types %v", changed, types)
	}
	if want := (map[uint32]Table{2: {Root: "h"}, 3: {Always: id}, 5: {Unsaved: true}}); !reflect.DeepEqual(f.tables, want) {
		t.Errorf("tables %+v", f.tables)
	}
	if want := (map[uint32]event.Type{10: {OID: 10, Cast: "new"}}); !maps.Equal(f.types, want) {
		t.Errorf("types %+v", f.types)
	}
	f.Settle()
	set := f.HandOver().Set
	if len(set) != 5 || set[catalog.StateKey{Kind: tableState, OID: 1}] != "" || set[catalog.StateKey{Kind: typeState, OID: 10}] == "" {
		t.Errorf("handed over %v", set)
	}
}

// Names are in the source's encoding, which JSON is not.
func TestStateAreStoredByteByByte(t *testing.T) {
	f := New()
	f.tables = map[uint32]Table{1: {Always: []string{"caf\xe9", "ä\xff"}, Root: "\"\xe9\""}, 2: {Unsaved: true}}
	f.types = map[uint32]event.Type{9: {OID: 9, Cast: "s.\xe9", Equal: "OPERATOR(\xfc.=)"}}
	g := New()
	if err := g.recall(f.All()); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g.tables, f.tables) || !maps.Equal(g.types, f.types) {
		t.Errorf("%+v, %+v", g.tables, g.types)
	}
}

// Names of a database that is not in UTF-8 are stored byte for byte.
func TestStateKeepTheirBytes(t *testing.T) {
	f := New()
	f.tables[1] = Table{Always: []string{"\xe9"}, Root: "\xe9"}
	stored := f.value(catalog.StateKey{Kind: tableState, OID: 1})
	if got := f.tables[1]; got.Always[0] != "\xe9" {
		t.Errorf("storing made it %+v", got)
	}
	if err := f.recallOne(catalog.StateKey{Kind: tableState, OID: 2}, []byte(stored)); err != nil {
		t.Fatal(err)
	}
	if got := f.tables[2]; got.Always[0] != "\xe9" || got.Root != "\xe9" {
		t.Errorf("recalled as %+v", got)
	}
}
