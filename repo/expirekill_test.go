package repo

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/storage"
)

// expireAndDie is the child of TestExpireSurvivesKill: it removes what begins
// with the stream, here and on the target, and is killed at a step.
func expireAndDie(task string) {
	words := strings.Split(task, "\n")
	dir, place := words[0], words[1]
	at, err := strconv.Atoi(words[2])
	if err == nil {
		err = expireFirst(dir, place, at)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func expireFirst(dir, place string, at int) error {
	r, err := Open(ctx, dir, func() time.Time { return testClock })
	if err != nil {
		return err
	}
	defer r.Close()
	n := 0
	r.hook = func(string) error {
		if n++; n == at {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	all, err := r.cat.Artifacts(ctx)
	if err != nil {
		return err
	}
	goes := slices.DeleteFunc(all, func(a catalog.Artifact) bool { return a.Start != 0x10 })
	if _, err := r.Remove(ctx, goes); err != nil {
		return err
	}
	tgt, err := storage.Parse(place, storage.Env{})
	if err != nil {
		return err
	}
	known, err := r.cat.Storages(ctx)
	if err != nil {
		return err
	}
	return r.NewShipper(map[int64]storage.Storage{known[0].ID: tgt}, func(string) {}).Drain(ctx)
}

// kindsIn are the files of a repository in a directory, with their bytes.
func kindsIn(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, pattern := range []string{"*", "*/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		must(t, err)
		for _, path := range found {
			name, err := filepath.Rel(dir, path)
			must(t, err)
			top, _, _ := strings.Cut(name, "/")
			if _, _, ours := kindOfName(top); !ours {
				continue
			}
			if info, err := os.Stat(path); err != nil || info.IsDir() {
				must(t, err)
				continue
			}
			files[name], err = os.ReadFile(path)
			must(t, err)
		}
	}
	return files
}

// Wherever an expire is killed, the catalogs, here and on the target, know only
// what is there, and the next one ends its work.
func TestExpireSurvivesKill(t *testing.T) {
	for step := 1; ; step++ {
		r := filled(t, "zstd")
		place := t.TempDir()
		tgt, err := storage.Parse(place, storage.Env{})
		must(t, err)
		bound, err := Bind(ctx, "", []storage.Storage{tgt})
		must(t, err)
		must(t, bound.Record(ctx, r))
		known, err := r.cat.Storages(ctx)
		must(t, err)
		must(t, r.NewShipper(map[int64]storage.Storage{known[0].ID: tgt}, func(string) {}).Drain(ctx))
		before := len(kindsIn(t, place))
		dir := r.dir
		must(t, r.Close())

		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), fmt.Sprintf("PG_SCRIBE_TEST_EXPIRE=%s\n%s\n%d", dir, place, step))
		out, err := child.CombinedOutput()
		killed := child.ProcessState.Sys().(syscall.WaitStatus).Signaled()
		if err != nil && !killed {
			t.Fatalf("step %d: %v: %s", step, err, out)
		}
		for what, open := range map[string]func() (*Repository, error){
			"the directory": func() (*Repository, error) { return OpenReadOnly(ctx, dir) },
			"the target":    func() (*Repository, error) { return OpenStorage(ctx, tgt, nil) },
		} {
			r, err := open()
			must(t, err)
			all, err := r.cat.Artifacts(ctx)
			must(t, err)
			if len(catalog.Windows(inventoryOf(t, r))) == 0 {
				t.Errorf("step %d: %s restores nothing", step, what)
			}
			for _, a := range all {
				if a.State != catalog.StateSealed {
					continue
				}
				if err := r.Check(a); err != nil {
					t.Errorf("step %d: %s: %v", step, what, err)
				}
			}
			must(t, r.Close())
		}
		must(t, expireFirst(dir, place, 0))
		here, there := kindsIn(t, dir), kindsIn(t, place)
		for name, text := range there {
			if !bytes.Equal(here[name], text) {
				t.Errorf("step %d: the target has %s, which is another or none here", step, name)
			}
		}
		r = mustOpen(t, dir)
		copies, err := r.cat.Copies(ctx, known[0].ID)
		must(t, err)
		all, err := r.cat.Artifacts(ctx)
		must(t, err)
		all = slices.DeleteFunc(all, func(a catalog.Artifact) bool { return a.State != catalog.StateSealed })
		if len(copies) != len(all) || len(there) >= before {
			t.Errorf("step %d: %d copies of %d artifacts; %d files on the target, %d before", step, len(copies), len(all), len(there), before)
		}
		for _, a := range all {
			if a.Start == 0x10 {
				t.Errorf("step %d: %s is still known", step, a.Name)
			}
		}
		await, err := r.cat.RemovalsAwait(ctx)
		must(t, err)
		if left, err := r.cat.Removals(ctx); await || len(left) > 0 || err != nil {
			t.Errorf("step %d: still to remove: %q, on the target %v, %v", step, left, await, err)
		}
		if v := verify(t, r, VerifyOptions{Storages: map[int64]storage.Storage{known[0].ID: tgt}}); v.Outcome != catalog.OutcomeOK || len(v.Strays) > 0 {
			t.Errorf("step %d: %v, strays %v", step, findings(v), v.Strays)
		}
		must(t, r.Close())
		if !killed {
			if step < 9 {
				t.Errorf("only %d steps", step)
			}
			return
		}
	}
}

func inventoryOf(t *testing.T, r *Repository) catalog.Inventory {
	t.Helper()
	inv, err := r.cat.Inventory(ctx)
	must(t, err)
	return inv
}
