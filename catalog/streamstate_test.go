package catalog

import (
	"errors"
	"maps"
	"path/filepath"
	"testing"
)

func stateIs(t *testing.T, c *Catalog, at LSN, want map[StateKey]string) {
	t.Helper()
	got, known, err := c.StreamState(ctx)
	must(t, err)
	if got != at || !maps.Equal(known, want) {
		t.Errorf("at %d: %v\nwant at %d: %v", got, known, at, want)
	}
}

// The state moves with the end of the stream, in one transaction, or stay behind
// and so no longer count.
func TestStreamState(t *testing.T) {
	c, path := create(t)
	stateIs(t, c, 0, nil)
	one, two, kind := StateKey{"table", 1}, StateKey{"table", 4294967295}, StateKey{"type", 1}
	must(t, c.SetStreamState(ctx, 100, map[StateKey]string{one: "a", kind: "b"}))
	id := openSegment(t, c, "incremental-64.open", 100)
	must(t, c.Checkpoint(ctx, id, Progress{End: 110, State: &StateChanges{Set: map[StateKey]string{one: "", two: "c\xff"}}}))
	stateIs(t, c, 110, map[StateKey]string{two: "c\xff", kind: "b"})
	err := c.Checkpoint(ctx, id, Progress{End: 105, State: &StateChanges{Anew: true}})
	if !errors.Is(err, ErrBackwards) {
		t.Errorf("error %v", err)
	}
	if err := c.Checkpoint(ctx, id, Progress{End: 120, Gaps: []Gap{{Kind: "other"}}, State: &StateChanges{Anew: true}}); err == nil {
		t.Error("a gap of no kind was recorded")
	}
	stateIs(t, c, 110, map[StateKey]string{two: "c\xff", kind: "b"})
	must(t, c.Checkpoint(ctx, id, Progress{End: 120, State: &StateChanges{}}))
	must(t, c.Checkpoint(ctx, id, Progress{End: 130})) // of a writer that follows no state
	stateIs(t, c, 120, map[StateKey]string{two: "c\xff", kind: "b"})
	must(t, c.SealSegment(ctx, id, "incremental-64", "", Progress{End: 140, State: &StateChanges{Anew: true, Set: map[StateKey]string{one: "d"}}}, "", "", at(1)))
	stateIs(t, c, 140, map[StateKey]string{one: "d"})

	again, _ := create(t)
	_, err = again.Salvage(ctx, path)
	must(t, err)
	stateIs(t, again, 140, map[StateKey]string{one: "d"})
	target, err := c.AddStorage(ctx, "file:/x", at(1))
	must(t, err)
	snapshot := filepath.Join(t.TempDir(), "snapshot.db")
	must(t, c.Snapshot(ctx, snapshot, target))
	s, err := OpenReadOnly(snapshot)
	must(t, err)
	defer s.Close()
	stateIs(t, s, 0, nil)
}

func TestStateChangesAdd(t *testing.T) {
	one, two := StateKey{"table", 1}, StateKey{"table", 2}
	var sum *StateChanges
	for _, next := range []*StateChanges{nil, {}, {Set: map[StateKey]string{one: "a"}}, nil, {Set: map[StateKey]string{one: "", two: "b"}}} {
		sum = sum.Add(next)
	}
	if sum.Anew || !maps.Equal(sum.Set, map[StateKey]string{one: "", two: "b"}) {
		t.Errorf("%+v", sum)
	}
	sum = sum.Add(&StateChanges{Anew: true, Set: map[StateKey]string{one: "c"}}).Add(&StateChanges{Set: map[StateKey]string{two: "d"}})
	if !sum.Anew || !maps.Equal(sum.Set, map[StateKey]string{one: "c", two: "d"}) {
		t.Errorf("%+v", sum)
	}
}
