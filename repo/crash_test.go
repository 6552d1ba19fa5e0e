package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
)

// snapshots copies the directory of a repository each time a step is reached,
// as if the machine stopped there. It returns the copies by step; a step that
// is reached several times gets a number.
func snapshots(t *testing.T, r *Repository) map[string]string {
	copies := map[string]string{}
	r.hook = func(step string) error {
		name := step
		for n := 2; copies[name] != ""; n++ {
			name = fmt.Sprintf("%s %d", step, n)
		}
		copies[name] = copyDir(t, r.dir)
		return nil
	}
	return copies
}

// workDirOf is where a repository that is not open has its working files.
func workDirOf(t testing.TB, dir string) string {
	t.Helper()
	spool, err := spoolOf(dir)
	must(t, err)
	if spool != "" {
		return spool
	}
	return dir
}

func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(to, os.DirFS(dir)))
	spool, err := spoolOf(dir)
	must(t, err)
	if spool != "" {
		there := filepath.Join(t.TempDir(), "spool")
		must(t, os.CopyFS(there, os.DirFS(spool)))
		must(t, os.WriteFile(filepath.Join(to, SpoolName), spoolPointer(there), 0o600))
	}
	return to
}

// recovered opens a copy, recovers it, and returns the transactions that its
// segments hold.
func recovered(t *testing.T, dir string) (*Repository, []string) {
	t.Helper()
	r := reopen(t, dir)
	segments, err := r.Catalog().Artifacts(ctx, catalog.KindSegment)
	must(t, err)
	if holes := catalog.Holes(segments); len(holes) > 0 {
		t.Errorf("holes %v", holes)
	}
	var all []string
	names := map[string]bool{}
	for _, a := range segments {
		checkSealed(t, r, a)
		list, err := readItems(t, r, a)
		must(t, err)
		all = append(all, xids(list)...)
		names[a.Name] = true
	}
	there, err := r.Names()
	must(t, err)
	for _, name := range there {
		if strings.HasPrefix(name, segmentPrefix) && !names[name] {
			t.Errorf("stray file %s", name)
		}
	}
	if lost, err := r.Misplaced(); err != nil || len(lost) > 0 {
		t.Errorf("in the wrong place: %q %v", lost, err)
	}
	return r, all
}

// goOn streams into a recovered repository from where it ends.
func goOn(t *testing.T, r *Repository, start catalog.LSN, n int) {
	t.Helper()
	w := createSegment(t, r, start)
	addTx(t, w, n, "SELECT 1;")
	must(t, w.Seal(ctx))
	segments, err := r.Catalog().Artifacts(ctx, catalog.KindSegment)
	must(t, err)
	if holes := catalog.Holes(segments); len(holes) > 0 {
		t.Errorf("the next segment does not join: %v", holes)
	}
	for _, a := range segments {
		checkSealed(t, r, a)
	}
}

// A streamer is stopped at each step of its life. Everything that a
// checkpoint reported as stored is there, nothing else, and the next segment
// joins.
func TestCrashOfStreamer(t *testing.T) {
	for _, spec := range append(slices.Sorted(maps.Keys(chains)), allCodecs...) {
		for _, spec := range []string{spec, spec + apart} {
			t.Run(spec, func(t *testing.T) { crashOfStreamer(t, spec) })
		}
	}
}

func crashOfStreamer(t *testing.T, spec string) {
	r := testRepository(t, spec)
	copies := snapshots(t, r)
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1, "SELECT 1;")
	copies["written"] = copyDir(t, r.dir)
	must(t, w.Checkpoint(ctx))
	addTx(t, w, 2, "SELECT '"+strings.Repeat("x", 1<<20)+"';")
	must(t, w.Write(segment.AppendBegin(nil, 3, txLSN(3), testClock)))
	copies["in a transaction"] = copyDir(t, r.dir)
	must(t, w.Rollback())
	copies["rolled back"] = copyDir(t, r.dir)
	addTx(t, w, 2, "SELECT 2;")
	w, err := w.Next(ctx) // seals without a checkpoint before
	must(t, err)
	defer w.Close()
	addTx(t, w, 3, "SELECT 3;")
	must(t, w.Seal(ctx))
	r.hook = nil

	one, two, three := []string{"1"}, []string{"1", "2"}, []string{"1", "2", "3"}
	want := map[string][]string{
		"fsync": nil, "segment begun": nil, "segment open": nil, "written": nil,
		"fsync 2": nil, "checkpoint written": nil,
		"checkpoint": one, "in a transaction": one, "rolled back": one,
		"fsync 3": one, "trailer": one, "renamed": one,
		"sealed": two, "fsync 4": two, "segment begun 2": two, "segment open 2": two,
		"fsync 5": two, "trailer 2": two, "renamed 2": two, "sealed 2": three,
	}
	if _, chained := chains[spec]; chained || strings.HasSuffix(spec, apart) {
		want["filtered"], want["open file removed"] = one, two
		want["filtered 2"], want["open file removed 2"] = two, three
	}
	for step := range copies {
		if _, known := want[step]; !known {
			t.Errorf("step %q was reached", step)
		}
	}
	for step, stored := range want {
		t.Run(step, func(t *testing.T) {
			if copies[step] == "" {
				t.Fatal("this step was not reached")
			}
			r, all := recovered(t, copies[step])
			if !slices.Equal(all, stored) {
				t.Errorf("transactions %v, want %v", all, stored)
			}
			start := txLSN(1)
			if len(stored) > 0 {
				end, err := r.End(ctx)
				must(t, err)
				start = end
				if end != txLSN(len(stored))+8 {
					t.Errorf("End() = %s", end)
				}
			}
			goOn(t, r, start, len(stored)+1)
		})
	}
}

// Recover itself is stopped at each step and runs again.
func TestCrashOfRecover(t *testing.T) {
	for _, at := range []string{"zstd written", "zstd renamed", "lz4+age written", "lz4+age filtered", "lz4+age renamed",
		"zstd apart written", "zstd apart filtered", "zstd apart renamed", "lz4+age apart written", "lz4+age apart filtered", "lz4+age apart renamed"} {
		t.Run(at, func(t *testing.T) {
			i := strings.LastIndex(at, " ")
			spec, at := at[:i], at[i+1:]
			steps := 4
			if spec != "zstd" {
				steps = 6
			}
			r := testRepository(t, spec)
			w := createSegment(t, r, txLSN(1))
			addTx(t, w, 1, "SELECT 1;")
			must(t, w.Checkpoint(ctx))
			addTx(t, w, 2, "SELECT 2;")
			copies := snapshots(t, r)
			must(t, w.Seal(ctx))
			r.hook = nil
			dir := copies[at]
			if at == "written" {
				dir = copies["fsync"]
			}

			second, err := Open(ctx, dir, r.now)
			must(t, err)
			defer second.Close()
			copies = snapshots(t, second)
			must(t, second.Recover(ctx))
			second.hook = nil
			if len(copies) != steps {
				t.Errorf("steps %v", copies)
			}
			copies["done"] = dir
			for step, dir := range copies {
				if _, all := recovered(t, dir); !slices.Equal(all, []string{"1"}) {
					t.Errorf("%s: transactions %v", step, all)
				}
			}
		})
	}
}

// What power loss leaves behind the last checkpoint is anything at all.
func TestPowerLoss(t *testing.T) {
	eachPlace(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		addTx(t, w, 1, "SELECT 1;")
		must(t, w.Checkpoint(ctx))
		a := segmentAt(t, r, txLSN(1))
		stored, err := os.ReadFile(r.Path(a.Name))
		must(t, err)
		for name, tail := range map[string][]byte{"zeros": make([]byte, 5000), "garbage": bytes.Repeat([]byte("\xfe\x01x\n"), 3000),
			"text": []byte(textBegin + "DROP TABLE t;\n" + textCommit + segment.TrailerLine), "frames again": stored} {
			t.Run(name, func(t *testing.T) {
				dir := copyDir(t, r.dir)
				must(t, os.WriteFile(filepath.Join(workDirOf(t, dir), a.Name), append(bytes.Clone(stored), tail...), 0o600))
				r, all := recovered(t, dir)
				if !slices.Equal(all, []string{"1"}) {
					t.Errorf("transactions %v", all)
				}
				goOn(t, r, txLSN(1)+8, 2)
			})
		}
	})
}

// A checkpointed segment that is damaged or gone is an error, never less.
func TestRecoverRefusesLoss(t *testing.T) {
	eachPlace(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		addTx(t, w, 1, "SELECT 1;")
		must(t, w.Checkpoint(ctx))
		a := segmentAt(t, r, txLSN(1))
		stored, err := os.ReadFile(r.Path(a.Name))
		must(t, err)
		contents := map[string][]byte{"short": stored[:len(stored)-1], "empty": {}, "gone": nil}
		for at := 0; at < len(stored); at += len(stored)/32 + 1 {
			damaged := bytes.Clone(stored)
			damaged[at] ^= 1
			contents[fmt.Sprintf("damaged at %d of %d", at, len(stored))] = damaged
		}
		for name, content := range contents {
			dir := copyDir(t, r.dir)
			path := filepath.Join(workDirOf(t, dir), a.Name)
			must(t, os.Remove(path))
			if content != nil {
				must(t, os.WriteFile(path, content, 0o600))
			}
			again, err := Open(ctx, dir, r.now)
			must(t, err)
			defer again.Close()
			err = again.Recover(ctx)
			var format *FormatError
			var missing *MissingFileError
			if !errors.As(err, &format) && !errors.As(err, &missing) || (content == nil) != (missing != nil) {
				t.Errorf("%s: Recover gives %v", name, err)
			}
			if a := segmentAt(t, again, txLSN(1)); a.State != catalog.StateOpen {
				t.Errorf("%s: the catalog has %+v", name, a)
			}
		}
	})
}

// A row without a file, before anything was checkpointed, stands for nothing.
func TestRecoverForgetsEmptySegmentWithoutFile(t *testing.T) {
	for _, spec := range []string{"zstd", "zstd" + apart} {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		must(t, w.Close())
		must(t, os.Remove(r.Path(w.name)))
		must(t, r.Recover(ctx))
		goOn(t, r, txLSN(1), 1)
	}
}

// CreateSegment that fails in the catalog leaves nothing that stands in the
// way of another try.
func TestCreateSegmentTakesBack(t *testing.T) {
	for _, spec := range []string{"zstd", "zstd" + apart} {
		r := testRepository(t, spec)
		cancelled, cancel := context.WithCancel(ctx)
		r.hook = func(step string) error {
			if step == "segment begun" {
				cancel()
			}
			return nil
		}
		if _, err := r.CreateSegment(cancelled, segmentHeader(txLSN(1))); !errors.Is(err, context.Canceled) {
			t.Fatalf("CreateSegment gives %v", err)
		}
		r.hook = nil
		goOn(t, r, txLSN(1), 1)
	}
}

// A crash between the catalog and the removal of an empty segment.
func TestCrashOfDiscard(t *testing.T) {
	for _, spec := range []string{"zstd", "zstd" + apart} {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		copies := snapshots(t, r)
		must(t, w.Seal(ctx))
		r.hook = nil
		again, all := recovered(t, copies["discarded"])
		if len(all) != 0 {
			t.Errorf("transactions %v", all)
		}
		goOn(t, again, txLSN(1), 1)
	}
}
