package catalog

import (
	"errors"
	"maps"
	"path/filepath"
	"testing"
)

func facts(t *testing.T, c *Catalog, at LSN, want map[FactKey]string) {
	t.Helper()
	got, known, err := c.StreamFacts(ctx)
	must(t, err)
	if got != at || !maps.Equal(known, want) {
		t.Errorf("at %d: %v\nwant at %d: %v", got, known, at, want)
	}
}

// Facts move with the end of the stream, in one transaction, or stay behind
// and so no longer count.
func TestStreamFacts(t *testing.T) {
	c, path := create(t)
	facts(t, c, 0, nil)
	one, two, kind := FactKey{"table", 1}, FactKey{"table", 4294967295}, FactKey{"type", 1}
	must(t, c.SetStreamFacts(ctx, 100, map[FactKey]string{one: "a", kind: "b"}))
	id := openSegment(t, c, "incremental-64.open", 100)
	must(t, c.Checkpoint(ctx, id, Progress{End: 110, Facts: &FactChanges{Set: map[FactKey]string{one: "", two: "c\xff"}}}))
	facts(t, c, 110, map[FactKey]string{two: "c\xff", kind: "b"})
	err := c.Checkpoint(ctx, id, Progress{End: 105, Facts: &FactChanges{Anew: true}})
	if !errors.Is(err, ErrBackwards) {
		t.Errorf("error %v", err)
	}
	if err := c.Checkpoint(ctx, id, Progress{End: 120, Gaps: []Gap{{Kind: "other"}}, Facts: &FactChanges{Anew: true}}); err == nil {
		t.Error("a gap of no kind was recorded")
	}
	facts(t, c, 110, map[FactKey]string{two: "c\xff", kind: "b"})
	must(t, c.Checkpoint(ctx, id, Progress{End: 120, Facts: &FactChanges{}}))
	must(t, c.Checkpoint(ctx, id, Progress{End: 130})) // of a writer that follows no facts
	facts(t, c, 120, map[FactKey]string{two: "c\xff", kind: "b"})
	must(t, c.SealSegment(ctx, id, "incremental-64", "", Progress{End: 140, Facts: &FactChanges{Anew: true, Set: map[FactKey]string{one: "d"}}}, "", "", at(1)))
	facts(t, c, 140, map[FactKey]string{one: "d"})

	again, _ := create(t)
	_, err = again.Salvage(ctx, path)
	must(t, err)
	facts(t, again, 140, map[FactKey]string{one: "d"})
	target, err := c.AddStorage(ctx, "file:/x", at(1))
	must(t, err)
	snapshot := filepath.Join(t.TempDir(), "snapshot.db")
	must(t, c.Snapshot(ctx, snapshot, target))
	s, err := OpenReadOnly(snapshot)
	must(t, err)
	defer s.Close()
	facts(t, s, 0, nil)
}

func TestFactChangesAdd(t *testing.T) {
	one, two := FactKey{"table", 1}, FactKey{"table", 2}
	var sum *FactChanges
	for _, next := range []*FactChanges{nil, {}, {Set: map[FactKey]string{one: "a"}}, nil, {Set: map[FactKey]string{one: "", two: "b"}}} {
		sum = sum.Add(next)
	}
	if sum.Anew || !maps.Equal(sum.Set, map[FactKey]string{one: "", two: "b"}) {
		t.Errorf("%+v", sum)
	}
	sum = sum.Add(&FactChanges{Anew: true, Set: map[FactKey]string{one: "c"}}).Add(&FactChanges{Set: map[FactKey]string{two: "d"}})
	if !sum.Anew || !maps.Equal(sum.Set, map[FactKey]string{one: "c", two: "d"}) {
		t.Errorf("%+v", sum)
	}
}
