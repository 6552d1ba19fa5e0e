package repo_test

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
	"pg_scribe/repo"
	"pg_scribe/repo/storage"
	"pg_scribe/repo/upload"
	"pg_scribe/repo/verify"
)

// expireAndDie is the child of TestExpireSurvivesKill: it removes what begins
// with the stream, here and on the storage, and is killed at a step.
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
	r, err := repo.Open(repo.Ctx, dir, func() time.Time { return repo.TestClock })
	if err != nil {
		return err
	}
	defer r.Close()
	n := 0
	r.SetFailpoint(func(string) error {
		if n++; n == at {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	})
	all, err := r.Catalog().Artifacts(repo.Ctx)
	if err != nil {
		return err
	}
	goes := slices.DeleteFunc(all, func(a catalog.Artifact) bool { return a.Start != 0x10 })
	if _, err := r.Remove(repo.Ctx, goes); err != nil {
		return err
	}
	tgt, err := storage.Parse(place, storage.Env{})
	if err != nil {
		return err
	}
	known, err := r.Catalog().Storages(repo.Ctx)
	if err != nil {
		return err
	}
	return upload.New(r, map[int64]storage.Storage{known[0].ID: tgt}, func(string) {}).Drain(repo.Ctx)
}

// kindsIn are the files of a repository in a directory, with their bytes.
func kindsIn(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, pattern := range []string{"*", "*/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		repo.Must(t, err)
		for _, path := range found {
			name, err := filepath.Rel(dir, path)
			repo.Must(t, err)
			top, _, _ := strings.Cut(name, "/")
			if _, _, ours := repo.KindOfName(top); !ours {
				continue
			}
			if info, err := os.Stat(path); err != nil || info.IsDir() {
				repo.Must(t, err)
				continue
			}
			files[name], err = os.ReadFile(path)
			repo.Must(t, err)
		}
	}
	return files
}

// Wherever an expire is killed, the catalogs, here and on the storage, know only
// what is there, and the next one ends its work.
func TestExpireSurvivesKill(t *testing.T) {
	if task := os.Getenv("PG_SCRIBE_TEST_EXPIRE"); task != "" { // it is the child
		expireAndDie(task)
		return
	}
	for step := 1; ; step++ {
		r := repo.Filled(t, "zstd")
		place := t.TempDir()
		tgt, err := storage.Parse(place, storage.Env{})
		repo.Must(t, err)
		bound, err := upload.Bind(repo.Ctx, "", []storage.Storage{tgt})
		repo.Must(t, err)
		repo.Must(t, bound.Record(repo.Ctx, r))
		known, err := r.Catalog().Storages(repo.Ctx)
		repo.Must(t, err)
		repo.Must(t, upload.New(r, map[int64]storage.Storage{known[0].ID: tgt}, func(string) {}).Drain(repo.Ctx))
		before := len(kindsIn(t, place))
		dir := r.Dir()
		repo.Must(t, r.Close())

		child := exec.Command(os.Args[0], "-test.run=^TestExpireSurvivesKill$")
		child.Env = append(os.Environ(), fmt.Sprintf("PG_SCRIBE_TEST_EXPIRE=%s\n%s\n%d", dir, place, step))
		out, err := child.CombinedOutput()
		killed := child.ProcessState.Sys().(syscall.WaitStatus).Signaled()
		if err != nil && !killed {
			t.Fatalf("step %d: %v: %s", step, err, out)
		}
		for what, open := range map[string]func() (*repo.Repository, error){
			"the directory": func() (*repo.Repository, error) { return repo.OpenReadOnly(repo.Ctx, dir) },
			"the storage":   func() (*repo.Repository, error) { return repo.OpenStorage(repo.Ctx, tgt, nil) },
		} {
			r, err := open()
			repo.Must(t, err)
			all, err := r.Catalog().Artifacts(repo.Ctx)
			repo.Must(t, err)
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
			repo.Must(t, r.Close())
		}
		repo.Must(t, expireFirst(dir, place, 0))
		here, there := kindsIn(t, dir), kindsIn(t, place)
		for name, text := range there {
			if !bytes.Equal(here[name], text) {
				t.Errorf("step %d: the storage has %s, which is another or none here", step, name)
			}
		}
		r = repo.MustOpen(t, dir)
		copies, err := r.Catalog().Copies(repo.Ctx, known[0].ID)
		repo.Must(t, err)
		all, err := r.Catalog().Artifacts(repo.Ctx)
		repo.Must(t, err)
		all = slices.DeleteFunc(all, func(a catalog.Artifact) bool { return a.State != catalog.StateSealed })
		if len(copies) != len(all) || len(there) >= before {
			t.Errorf("step %d: %d copies of %d artifacts; %d files on the storage, %d before", step, len(copies), len(all), len(there), before)
		}
		for _, a := range all {
			if a.Start == 0x10 {
				t.Errorf("step %d: %s is still known", step, a.Name)
			}
		}
		await, err := r.Catalog().RemovalsAwait(repo.Ctx)
		repo.Must(t, err)
		if left, err := r.Catalog().Removals(repo.Ctx); await || len(left) > 0 || err != nil {
			t.Errorf("step %d: still to remove: %q, on the storage %v, %v", step, left, await, err)
		}
		if v := verified(t, r, verify.Options{Storages: map[int64]storage.Storage{known[0].ID: tgt}}); v.Outcome != catalog.OutcomeOK ||
			len(v.Strays) > 0 {
			t.Errorf("step %d: %v, strays %v", step, findings(v), v.Strays)
		}
		repo.Must(t, r.Close())
		if !killed {
			if step < 9 {
				t.Errorf("only %d steps", step)
			}
			return
		}
	}
}

func inventoryOf(t *testing.T, r *repo.Repository) catalog.Inventory {
	t.Helper()
	inv, err := r.Catalog().Inventory(repo.Ctx)
	repo.Must(t, err)
	return inv
}
