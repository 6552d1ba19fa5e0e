package schema

import (
	"maps"
	"reflect"
	"testing"

	"pg_scribe/stream/ddl"
)

// Positions and moves come back as they were stored, names byte by byte.
func TestPositionsAndMovesAreStored(t *testing.T) {
	f := New()
	f.strings.Since = 1700000000123456
	f.moved = map[uint32]move{1: {From: []string{"caf\xe9", "b"}, To: "\xff", Until: 1 << 40}}
	f.strings.At = map[uint32]ddl.Position{77: {At: "1700000000.123456", Sum: "ab", Next: 3}}
	g := New()
	if err := g.recall(f.All()); err != nil {
		t.Fatal(err)
	}
	if g.strings.Since != f.strings.Since || !reflect.DeepEqual(g.moved, f.moved) || !maps.Equal(g.strings.At, f.strings.At) {
		t.Errorf("%+v, %+v, %d", g.moved, g.strings.At, g.strings.Since)
	}
}

// A former name counts until all have ended that were open when it was given up.
func TestMovesOutlive(t *testing.T) {
	f := New()
	f.Move(1, "a", "b")
	f.Move(1, "b", "a2")
	f.Move(2, "", "x")
	f.Move(3, "x", "x")
	f.outlive(90, 0) // it is not known what may be open
	f.outlive(90, 100)
	f.outlive(99, 200)
	if want := (map[uint32]move{1: {From: []string{"a", "b"}, To: "a2", Until: 100}}); !reflect.DeepEqual(f.moved, want) {
		t.Errorf("moves %v", f.moved)
	}
	f.Move(1, "a2", "c")
	f.outlive(100, 300)
	if f.moved[1].Until != 300 {
		t.Errorf("moved again: %v", f.moved)
	}
	f.outlive(300, 400)
	if len(f.moved) > 0 {
		t.Errorf("left: %v", f.moved)
	}
}
