package catalog

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func TestBaseAndGlobals(t *testing.T) {
	c, _ := create(t)
	base := Artifact{Name: "base-1", SystemID: "7", Timeline: 2, Database: "db", Start: 500, End: 500, CreatedAt: at(1),
		FinishedAt: at(2), ReachedAt: at(0), Bytes: 10, TextBytes: 100, SHA256: "aa", TextSHA256: "bb", Filters: "zstd:3",
		ServerVersion: "15.14", Format: "directory", PinnedReason: "audit"}
	globals := Artifact{Name: "globals-1", SystemID: "7", Timeline: 2, Start: 500}
	id, err := c.AddBase(ctx, base, globals)
	must(t, err)
	all, err := c.Artifacts(ctx)
	must(t, err)
	base.ID, base.Kind, base.State = id, KindBase, StateSealed
	globals.ID, globals.Kind, globals.State, globals.End = all[1].ID, KindGlobals, StateSealed, 500
	globals.Pair, globals.Format = id, "plain"
	if want := []Artifact{base, globals}; !reflect.DeepEqual(all, want) {
		t.Errorf("got  %+v\nwant %+v", all, want)
	}
	if only, err := c.Artifacts(ctx, KindGlobals, KindSegment); err != nil || !reflect.DeepEqual(only, all[1:]) {
		t.Errorf("globals and segments: %+v, %v", only, err)
	}

	// Both or neither: the name of the globals is taken.
	if _, err := c.AddBase(ctx, Artifact{Name: "base-2"}, Artifact{Name: "globals-1"}); err == nil {
		t.Error("a name was given twice")
	}
	if all, _ := c.Artifacts(ctx); len(all) != 2 {
		t.Errorf("a failed AddBase left %+v", all)
	}
	if err := c.DeleteArtifact(ctx, globals.ID); err == nil {
		t.Error("globals were deleted without their base")
	}
	must(t, c.DeleteArtifact(ctx, id))
	if all, _ := c.Artifacts(ctx); len(all) != 0 {
		t.Errorf("after the base was deleted: %+v", all)
	}
	if err := c.DeleteArtifact(ctx, id); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := c.AddBase(ctx, Artifact{Name: "lonely"}, Artifact{}); err != nil {
		t.Errorf("a base without globals: %v", err)
	}
	if all, _ := c.Artifacts(ctx); len(all) != 1 || all[0].ID == id {
		t.Errorf("want one artifact with a new ID: %+v", all)
	}
}

func TestSegmentLife(t *testing.T) {
	c, path := create(t)
	id := openSegment(t, c, "incremental-64.open", 100)
	if _, err := c.OpenSegment(ctx, Artifact{Name: "second", Start: 200}); err == nil {
		t.Error("two segments are open")
	}
	p := Progress{End: 150, ReachedAt: at(5), Commits: Commits{at(1), at(4), 3, 7, 4294967295}, Bytes: 20, TextBytes: 200,
		Tables: []TableCount{{"public.a", 1, 2, 3, 4}, {"public.b", 1, 0, 0, 0}}}
	must(t, c.Checkpoint(ctx, id, p))

	// Another handle sees a committed checkpoint at once.
	r, err := OpenReadOnly(path)
	must(t, err)
	defer r.Close()
	want := Artifact{ID: id, Kind: KindSegment, State: StateOpen, Name: "incremental-64.open", SystemID: "7", Timeline: 1,
		Start: 100, End: 150, Commits: p.Commits, ReachedAt: at(5), Bytes: 20, TextBytes: 200, Format: "plain"}
	if got, err := r.Artifacts(ctx); err != nil || !reflect.DeepEqual(got, []Artifact{want}) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	if err := c.Checkpoint(ctx, id, Progress{End: 149}); !errors.Is(err, ErrBackwards) {
		t.Errorf("backwards: %v", err)
	}

	p.End, p.Tables = 160, []TableCount{{"public.b", 5, 0, 0, 0}, {"public.c", 0, 0, 0, 1}}
	must(t, c.SealSegment(ctx, id, "incremental-64.sql.zst", "zstd", p, "aa", "bb", at(9)))
	want.State, want.Name, want.End, want.SHA256, want.TextSHA256 = StateSealed, "incremental-64.sql.zst", 160, "aa", "bb"
	want.FinishedAt, want.Filters = at(9), "zstd"
	if got, err := r.Artifacts(ctx, KindSegment); err != nil || !reflect.DeepEqual(got, []Artifact{want}) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	counts := []TableCount{{"public.a", 1, 2, 3, 4}, {"public.b", 5, 0, 0, 0}, {"public.c", 0, 0, 0, 1}}
	if got, err := r.Tables(ctx, id); err != nil || !reflect.DeepEqual(got, counts) {
		t.Errorf("counts %+v, %v", got, err)
	}
	for name, err := range map[string]error{
		"checkpoint": c.Checkpoint(ctx, id, Progress{End: 170}),
		"seal":       c.SealSegment(ctx, id, "x", "zstd", Progress{End: 170}, "", "", at(9)),
	} {
		if !errors.Is(err, ErrNotOpen) {
			t.Errorf("%s of a sealed segment: %v", name, err)
		}
	}
	if err := c.Checkpoint(ctx, 99, p); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown segment: %v", err)
	}
}

func TestFailedSealChangesNothing(t *testing.T) {
	c, _ := create(t)
	_, err := c.AddBase(ctx, Artifact{Name: "taken"}, Artifact{})
	must(t, err)
	id := openSegment(t, c, "open", 100)
	before, err := c.Artifacts(ctx)
	must(t, err)
	p := Progress{End: 200, Tables: []TableCount{{Table: "t", Inserted: 1}}, Points: []RestorePoint{{Name: "r", LSN: 150}}}
	if err := c.SealSegment(ctx, id, "taken", "zstd", p, "", "", at(1)); err == nil {
		t.Fatal("sealed under a name that is taken")
	}
	if after, err := c.Artifacts(ctx); err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("artifacts changed: %+v, %v", after, err)
	}
	if counts, _ := c.Tables(ctx); len(counts) != 0 {
		t.Errorf("counts stayed: %+v", counts)
	}
	if points, _ := c.RestorePoints(ctx); len(points) != 0 {
		t.Errorf("restore points stayed: %+v", points)
	}
}

func TestTablesAreSummed(t *testing.T) {
	c, _ := create(t)
	var ids []int64
	for i, name := range []string{"one", "two", "three"} {
		id := openSegment(t, c, name, LSN(i*100))
		must(t, c.SealSegment(ctx, id, name, "zstd", Progress{End: LSN(i*100 + 100), Tables: []TableCount{{"t", 1, 10, 100, int64(i)}}},
			"", "", at(i)))
		ids = append(ids, id)
	}
	cases := []struct {
		ids  []int64
		want []TableCount
	}{
		{nil, []TableCount{{"t", 3, 30, 300, 3}}},
		{ids[:2], []TableCount{{"t", 2, 20, 200, 1}}},
		{[]int64{ids[2], ids[2]}, []TableCount{{"t", 1, 10, 100, 2}}},
		{[]int64{99}, nil},
	}
	for _, k := range cases {
		if got, err := c.Tables(ctx, k.ids...); err != nil || !reflect.DeepEqual(got, k.want) {
			t.Errorf("Tables(%v) = %+v, %v, want %+v", k.ids, got, err, k.want)
		}
	}
	must(t, c.DeleteArtifact(ctx, ids[0]))
	if got, _ := c.Tables(ctx); len(got) != 1 || got[0].Inserted != 2 {
		t.Errorf("after a segment was deleted: %+v", got)
	}
}

func TestRestorePointsAndGapsComeAgain(t *testing.T) {
	c, _ := create(t)
	id := openSegment(t, c, "one", 100)
	point := RestorePoint{Name: "it's \n it", LSN: 120, XID: 9, At: at(2)}
	gap := Gap{Kind: GapSchema, From: 130, To: 140, DetectedAt: at(3), Reason: "no privilege"}
	p := Progress{End: 150, Points: []RestorePoint{point}, Gaps: []Gap{gap, gap}}
	must(t, c.Checkpoint(ctx, id, p))
	gaps, err := c.Gaps(ctx)
	must(t, err)
	if len(gaps) != 1 {
		t.Fatalf("gaps %+v", gaps)
	}
	must(t, c.AcknowledgeGap(ctx, gaps[0].ID, at(8)))
	must(t, c.Checkpoint(ctx, id, p))
	p.Points = []RestorePoint{{Name: point.Name, LSN: 110, XID: 1, At: at(1)}}
	must(t, c.SealSegment(ctx, id, "one", "zstd", p, "", "", at(9)))

	point.Timeline = 1
	if got, err := c.RestorePoints(ctx); err != nil || !reflect.DeepEqual(got, []RestorePoint{point}) {
		t.Errorf("restore points %+v, %v, want %+v", got, err, point)
	}
	gap.ID, gap.Timeline, gap.AcknowledgedAt = gaps[0].ID, 1, at(8)
	if got, err := c.Gaps(ctx); err != nil || !reflect.DeepEqual(got, []Gap{gap}) {
		t.Errorf("gaps %+v, %v, want %+v", got, err, gap)
	}

	// The same name again, later: it moves, also out of the way of deleting the older segment.
	two := openSegment(t, c, "two", 150)
	must(t, c.Checkpoint(ctx, two, Progress{End: 200, Points: []RestorePoint{{Name: point.Name, LSN: 160}, {Name: "b", LSN: 155}}}))
	must(t, c.DeleteArtifact(ctx, id))
	want := []RestorePoint{{Name: "b", LSN: 155, Timeline: 1}, {Name: point.Name, LSN: 160, Timeline: 1}}
	if got, err := c.RestorePoints(ctx); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("restore points %+v, %v, want %+v", got, err, want)
	}
	must(t, c.DeleteArtifact(ctx, two))
	if got, _ := c.RestorePoints(ctx); len(got) != 0 {
		t.Errorf("restore points of a deleted segment: %+v", got)
	}
}

func TestGaps(t *testing.T) {
	c, _ := create(t)
	g := Gap{Kind: GapMissing, From: 300, To: 400, DetectedAt: at(1), Reason: "slot lost"}
	id, err := c.AddGap(ctx, g)
	must(t, err)
	again, err := c.AddGap(ctx, g)
	must(t, err)
	if again != id {
		t.Errorf("a known gap got the new ID %d", again)
	}
	g.Reason = "another"
	if other, err := c.AddGap(ctx, g); err != nil || other == id {
		t.Errorf("another gap: %d, %v", other, err)
	}
	if _, err := c.AddGap(ctx, Gap{Kind: "unheard of"}); err == nil {
		t.Error("an unknown kind was accepted")
	}
	if err := c.AcknowledgeGap(ctx, 99, at(2)); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown gap: %v", err)
	}
}

func TestLimitsOfStoredValues(t *testing.T) {
	c, _ := create(t)
	big := LSN(1<<63 - 1)
	if _, err := c.AddBase(ctx, Artifact{Name: "big", Start: big}, Artifact{}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Artifacts(ctx); err != nil || got[0].Start != big {
		t.Errorf("read %+v, %v", got, err)
	}
	if _, err := c.AddBase(ctx, Artifact{Name: "too big", Start: big + 1}, Artifact{}); err == nil {
		t.Error("an LSN that would read back as another one was accepted")
	}
}

func TestReplaceArtifact(t *testing.T) {
	c, _ := create(t)
	id, err := c.OpenSegment(ctx, Artifact{Name: "a.open", SystemID: "7", Timeline: 1, Start: 1, Filters: "none"})
	must(t, err)
	if err := c.ReplaceArtifact(ctx, id, Artifact{Name: "b"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("of an open segment: %v", err)
	}
	must(t, c.SealSegment(ctx, id, "a", "zstd", Progress{End: 2, Bytes: 5, TextBytes: 9}, "aa", "bb", at(1)))
	must(t, c.MarkObsolete(ctx, "b"))
	must(t, c.ReplaceArtifact(ctx, id, Artifact{Name: "b", Filters: "zstd+age@1", Bytes: 7, SHA256: "cc"}))
	a, err := c.Artifact(ctx, id)
	must(t, err)
	if a.Name != "b" || a.Filters != "zstd+age@1" || a.Bytes != 7 || a.SHA256 != "cc" || a.TextBytes != 9 || a.TextSHA256 != "bb" || a.End != 2 {
		t.Errorf("the artifact is %+v", a)
	}
	if list, err := c.Obsolete(ctx); err != nil || !reflect.DeepEqual(list, []string{"a"}) {
		t.Errorf("obsolete %v, %v", list, err)
	}
	must(t, c.Forget(ctx, "a"))
	if list, err := c.Obsolete(ctx); err != nil || len(list) != 0 {
		t.Errorf("obsolete %v, %v", list, err)
	}
	if _, err := c.Artifact(ctx, id+1); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown one: %v", err)
	}
}

// A file that was written anew has to get to the targets under its new name,
// and what was on its way there under the old one has to go.
func TestReplacedArtifactOnTargets(t *testing.T) {
	c, _ := create(t)
	id, err := c.OpenSegment(ctx, Artifact{Name: "a.open", SystemID: "7", Timeline: 1, Start: 1, Filters: "none"})
	must(t, err)
	must(t, c.SealSegment(ctx, id, "a", "zstd", Progress{End: 2, Bytes: 5, TextBytes: 9}, "aa", "bb", at(1)))
	old, err := c.Artifact(ctx, id)
	must(t, err)
	one, err := c.AddStorage(ctx, "/one", at(1))
	must(t, err)
	two, err := c.AddStorage(ctx, "/two", at(1))
	must(t, err)
	must(t, c.AddCopy(ctx, old, one, at(2)))
	must(t, c.ReplaceArtifact(ctx, id, Artifact{Name: "b", Filters: "zstd+age@1", Bytes: 7, SHA256: "cc"}))
	if err := c.AddCopy(ctx, old, two, at(3)); !errors.Is(err, ErrNotFound) {
		t.Errorf("the old file arrived: %v", err)
	}
	for target, gone := range map[int64][]string{one: {"a"}, two: nil} {
		pending, err := c.Pending(ctx, target)
		if err != nil || len(pending) != 1 || pending[0].Name != "b" {
			t.Errorf("target %d lacks %+v, %v", target, pending, err)
		}
		if names, err := c.CopyRemovals(ctx, target); err != nil || !slices.Equal(names, gone) {
			t.Errorf("target %d is to lose %q, %v", target, names, err)
		}
	}
	for name, want := range map[string]bool{"a": true, "b": false} {
		if held, err := c.AwaitsRemoval(ctx, name); err != nil || held != want {
			t.Errorf("%s: %v, %v", name, held, err)
		}
	}
	// All of it outlives a rebuild of the catalog.
	must(t, c.AddCopy(ctx, Artifact{ID: id, Name: "b"}, two, at(4)))
	path := filepath.Join(t.TempDir(), "copy.db")
	_, err = c.db.ExecContext(ctx, "VACUUM INTO ?", path)
	must(t, err)
	again, _ := create(t)
	now, err := c.Artifact(ctx, id)
	must(t, err)
	must(t, again.Fill(ctx, Repository{Format: 1, SystemID: "7", Timeline: 1, Compression: "zstd"}, []Record{{Artifact: now}}))
	found, err := again.Salvage(ctx, path)
	if err != nil || found["targets"] != 2 || found["copies"] != 1 || found["removals"] != 1 {
		t.Errorf("salvaged %v, %v", found, err)
	}
	if pending, err := again.Pending(ctx, two); err != nil || len(pending) != 0 {
		t.Errorf("the second target lacks %+v, %v", pending, err)
	}
	if names, err := again.CopyRemovals(ctx, one); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Errorf("the first target is to lose %q, %v", names, err)
	}
}
