package catalog

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"testing"
)

func TestVerifications(t *testing.T) {
	c, _ := create(t)
	if _, err := c.LastVerification(ctx); !errors.Is(err, ErrNotFound) {
		t.Errorf("before the first: %v", err)
	}
	id, err := c.AddBase(ctx, Artifact{Name: "base-1", Start: 5}, Artifact{Name: "globals-1", Start: 5})
	must(t, err)
	first := Verification{StartedAt: at(1), FinishedAt: at(2), Outcome: OutcomeFailed, Subset: "5%", Files: 3, FilesRead: 2, BytesRead: 77,
		Failed: 1, Inconclusive: 1, Detail: "base-1 is damaged"}
	must(t, c.AddVerification(ctx, first, []ReadOutcome{{id, at(2), OutcomeFailed, "damaged"}, {999, at(2), OutcomeOK, ""}}))
	second := Verification{StartedAt: at(3), FinishedAt: at(4), Outcome: OutcomeOK, Files: 3}
	must(t, c.AddVerification(ctx, second, []ReadOutcome{{id, at(4), OutcomeOK, ""}}))
	got, err := c.LastVerification(ctx)
	second.ID = 2
	if err != nil || got != second {
		t.Errorf("last %+v, %v", got, err)
	}
	reads, err := c.LastReads(ctx)
	if err != nil || !reflect.DeepEqual(reads, map[int64]ReadOutcome{id: {id, at(4), OutcomeOK, ""}}) {
		t.Errorf("reads %+v, %v", reads, err)
	}
	must(t, c.DeleteArtifact(ctx, id))
	if reads, err := c.LastReads(ctx); err != nil || len(reads) != 0 {
		t.Errorf("reads of what is gone: %+v, %v", reads, err)
	}
	if err := c.AddVerification(ctx, Verification{Outcome: "perhaps"}, nil); err == nil {
		t.Error("an outcome that there is not")
	}
}

func TestPins(t *testing.T) {
	c, _ := create(t)
	_, err := c.AddBase(ctx, Artifact{Name: "base-1"}, Artifact{Name: "globals-1"})
	must(t, err)
	for _, reason := range []string{"audit", ""} {
		must(t, c.SetPin(ctx, "base-1", reason))
		if all, err := c.Artifacts(ctx); err != nil || all[0].PinnedReason != reason || all[1].PinnedReason != "" {
			t.Errorf("%+v, %v", all, err)
		}
	}
	for _, name := range []string{"globals-1", "base-2"} {
		if err := c.SetPin(ctx, name, "x"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRemovals(t *testing.T) {
	c, _ := create(t)
	base, err := c.AddBase(ctx, Artifact{Name: "base-1"}, Artifact{Name: "globals-1"})
	must(t, err)
	seg := openSegment(t, c, "seg", 10)
	must(t, c.SealSegment(ctx, seg, "seg-sealed", "zstd", Progress{End: 20}, "", "", at(1)))
	must(t, c.RemoveArtifacts(ctx, base, seg, 999))
	if all, err := c.Artifacts(ctx); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	removals := func(want ...string) {
		t.Helper()
		if got, err := c.Removals(ctx); err != nil || !slices.Equal(got, want) {
			t.Errorf("removals %q, want %q, %v", got, want, err)
		}
	}
	removals("base-1", "globals-1", "seg-sealed")
	// A name that was given again is not to be removed.
	again, err := c.AddBase(ctx, Artifact{Name: "base-1"}, Artifact{})
	must(t, err)
	removals("globals-1", "seg-sealed")
	must(t, c.Removed(ctx, "globals-1", "seg-sealed"))
	removals()
	must(t, c.RemoveArtifacts(ctx, again))
	removals("base-1")
	other, err := c.AddBase(ctx, Artifact{Name: "base-2"}, Artifact{Name: "globals-2"})
	must(t, err)
	if err := c.RemoveArtifacts(ctx, other+1, other); err == nil {
		t.Error("globals were removed without their base")
	}
	if all, _ := c.Artifacts(ctx); len(all) != 2 {
		t.Errorf("not all or none: %+v", all)
	}
}

func TestIntegrityCheck(t *testing.T) {
	c, path := create(t)
	must(t, c.SetRepository(ctx, Repository{Slot: "s"}))
	for n := range 200 {
		must(t, c.SetSetting(ctx, moment(at(n)), moment(at(n))))
	}
	if faults, err := c.IntegrityCheck(ctx); err != nil || len(faults) != 0 {
		t.Errorf("%q, %v", faults, err)
	}
	must(t, c.Close())
	content, err := os.ReadFile(path)
	must(t, err)
	copy(content[len(content)-3000:], make([]byte, 2500))
	must(t, os.WriteFile(path, content, 0o600))
	c, err = Open(path)
	must(t, err)
	defer c.Close()
	if faults, err := c.IntegrityCheck(ctx); err != nil || len(faults) == 0 {
		t.Errorf("%q, %v", faults, err)
	}
}

// A snapshot for a target that was forgotten while it was made would hold nothing.
func TestSnapshotOfAForgottenTarget(t *testing.T) {
	c, _ := create(t)
	id, err := c.AddStorage(ctx, "/x", at(1))
	must(t, err)
	must(t, c.Snapshot(ctx, t.TempDir()+"/known.db", id))
	_, err = c.ForgetStorage(ctx, id, 0)
	must(t, err)
	if err := c.Snapshot(ctx, t.TempDir()+"/forgotten.db", id); !errors.Is(err, ErrNotFound) {
		t.Errorf("a forgotten target: %v", err)
	}
}
