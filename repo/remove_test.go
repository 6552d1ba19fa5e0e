package repo_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"pg_scribe/catalog"
	. "pg_scribe/repo"
	"pg_scribe/repo/verify"
)

// Whenever removing is interrupted, the catalog knows only what is there, and
// the next one to come takes what is left.
func TestRemoveIsCrashSafe(t *testing.T) {
	halted := errors.New("halted")
	for step := 0; ; step++ {
		r := filled(t, "zstd")
		var goes []catalog.Artifact
		all, err := r.Catalog().Artifacts(ctx)
		must(t, err)
		for _, a := range all {
			if a.Start == 0x10 {
				goes = append(goes, a)
			}
		}
		if len(goes) != 3 {
			t.Fatalf("%+v", goes)
		}
		n := 0
		r.SetFailpoint(func(string) error {
			if n++; n == step {
				return halted
			}
			return nil
		})
		done, err := r.Remove(ctx, goes)
		if step > 0 && n >= step && !errors.Is(err, halted) {
			t.Fatalf("step %d: %v", step, err)
		}
		r.SetFailpoint(nil)
		if v := verified(t, r, verify.Options{}); v.Outcome != catalog.OutcomeOK || len(v.Strays) > 0 {
			t.Errorf("step %d: %v, strays %v", step, findings(v), v.Strays)
		}
		must(t, r.Close())
		r = mended(t, r.Dir())
		for _, a := range goes {
			known, err := r.Knows(a.Name)
			must(t, err)
			if _, err := os.Stat(r.Path(a.Name)); known || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("step %d: %s: known %v, %v", step, a.Name, known, err)
			}
		}
		if left, err := r.Catalog().Removals(ctx); len(left) > 0 || err != nil {
			t.Errorf("step %d: still to remove %v, %v", step, left, err)
		}
		must(t, r.Close())
		if step > n {
			if len(done.Removed) != 3 || n < 4 {
				t.Errorf("removed %+v in %d steps", done, n)
			}
			return
		}
	}
}

func TestRemoveLeavesWhatIsRead(t *testing.T) {
	r := filled(t, "zstd")
	all, err := r.Catalog().Artifacts(ctx, catalog.KindSegment)
	must(t, err)
	release, err := r.Hold(all[1])
	must(t, err)
	done, err := r.Remove(ctx, all[:3])
	must(t, err)
	if len(done.Removed) != 1 || done.Removed[0].ID != all[0].ID || len(done.InUse) != 2 {
		t.Errorf("%+v", done)
	}
	later := all[2] // the chain may lead on to another timeline
	later.Timeline++
	if done, err = r.Remove(ctx, []catalog.Artifact{all[1], later}); err != nil || len(done.InUse) != 2 {
		t.Errorf("across timelines: %+v, %v", done, err)
	}
	release()
	base := artifact(t, r, func(a catalog.Artifact) bool { return a.Format == "directory" })
	globals := artifact(t, r, func(a catalog.Artifact) bool { return a.Pair == base.ID })
	for _, held := range []catalog.Artifact{base, globals} {
		release, err := r.Hold(held)
		must(t, err)
		if done, err := r.Remove(ctx, []catalog.Artifact{base, globals}); err != nil || len(done.InUse) != 2 {
			t.Errorf("%s held: %+v, %v", held.Name, done, err)
		}
		release()
	}
	done, err = r.Remove(ctx, append(all[1:3], base, globals))
	if err != nil || len(done.Removed) != 4 || len(done.InUse) != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := r.Hold(all[1]); !errors.As(err, new(*MissingFileError)) {
		t.Errorf("held after it was removed: %v", err)
	}
	if v := verified(t, r, verify.Options{}); v.Outcome != catalog.OutcomeOK {
		t.Errorf("%v", findings(v))
	}
	text, err := os.ReadFile(r.Path(MetadataName))
	if err != nil || strings.Contains(string(text), base.Name) || !strings.Contains(string(text), "  base-20261121-015759.sql.zst  point 0/10") {
		t.Errorf("%v, the metadata file says\n%s", err, text)
	}
}
