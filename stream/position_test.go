package stream

import (
	"maps"
	"reflect"
	"testing"
	"time"

	"pg_scribe/catalog"
)

// Positions and moves come back as they were stored, names byte by byte.
func TestPositionsAndMovesAreStored(t *testing.T) {
	f := newFacts()
	f.since = 1700000000123456
	f.moved = map[uint32]move{1: {From: []string{"caf\xe9", "b"}, To: "\xff", Until: 1 << 40}}
	f.strings = map[uint32]position{77: {At: "1700000000.123456", Sum: "ab", Next: 3}}
	g := newFacts()
	if err := g.recall(f.all()); err != nil {
		t.Fatal(err)
	}
	if g.since != f.since || !reflect.DeepEqual(g.moved, f.moved) || !maps.Equal(g.strings, f.strings) {
		t.Errorf("%+v, %+v, %d", g.moved, g.strings, g.since)
	}
}

// Sessions that end without another command leave their positions behind.
func TestPositionsAreBounded(t *testing.T) {
	f := newFacts()
	f.done = &catalog.FactChanges{}
	for pid := 1; pid <= stringsAtMost+10; pid++ {
		at := "99.5" // older than all that follow, though its text is greater
		if pid != 5 {
			at = "1700000000." + string(rune('0'+pid%10))
		}
		f.setString(pid, position{At: at, Next: 1})
	}
	f.settle()
	if _, there := f.strings[5]; there || len(f.strings) != stringsAtMost {
		t.Errorf("%d positions, the oldest: %v", len(f.strings), there)
	}
	if len(f.all()) != stringsAtMost || f.handOver().Set[catalog.FactKey{Kind: stringFact, OID: 5}] != "" {
		t.Error("it is still stored")
	}
}

// What began before the facts, and only that, may have transactions before them.
func TestStringsBeforeTheFacts(t *testing.T) {
	f := newFacts()
	if f.mayHaveBegun("1") {
		t.Error("nothing was missed")
	}
	f.since = notBegun
	if !f.mayHaveBegun("1700000001.5") {
		t.Error("before the first commit")
	}
	f.begin(time.UnixMicro(1700000000500000))
	f.begin(time.UnixMicro(1800000000500000))
	if !f.mayHaveBegun("1700000000.499999") || f.mayHaveBegun("1700000000.500001") {
		t.Errorf("after it: %d", f.since)
	}
}

// A former name counts until all have ended that were open when it was given up.
func TestMovesOutlive(t *testing.T) {
	f := newFacts()
	f.move(1, "a", "b")
	f.move(1, "b", "a2")
	f.move(2, "", "x")
	f.move(3, "x", "x")
	f.outlive(90, 0) // it is not known what may be open
	f.outlive(90, 100)
	f.outlive(99, 200)
	if want := (map[uint32]move{1: {From: []string{"a", "b"}, To: "a2", Until: 100}}); !reflect.DeepEqual(f.moved, want) {
		t.Errorf("moves %v", f.moved)
	}
	f.move(1, "a2", "c")
	f.outlive(100, 300)
	if f.moved[1].Until != 300 {
		t.Errorf("moved again: %v", f.moved)
	}
	f.outlive(300, 400)
	if len(f.moved) > 0 {
		t.Errorf("left: %v", f.moved)
	}
}
