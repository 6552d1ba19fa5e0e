package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pg_scribe/internal/pgtest"
)

// An older catalog, in the directory or on a storage, must not make a restore
// of all that there is silently one of less. A damaged one is not stepped over.
func TestCatalogOfAnOlderTime(t *testing.T) {
	c := pgtest.Shared(t)
	place := t.TempDir()
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", place)
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (1, 'a')")
	s.catchUp()
	if o := s.must("restore", "-f", s.dir, "--dry-run"); o.errors != "" {
		t.Errorf("of a whole repository: %s", o.errors)
	}
	local, older := filepath.Join(t.TempDir(), "repo"), t.TempDir()
	for from, to := range map[string]string{s.dir: local, place: older} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (2, 'b')")
	s.catchUp()
	copyOver := func(from, to, pattern string) {
		t.Helper()
		found, _ := filepath.Glob(filepath.Join(from, pattern))
		if len(found) == 0 {
			t.Fatalf("%s has no %s", from, pattern)
		}
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(filepath.Join(to, filepath.Base(path)), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	copyOver(s.dir, local, "incremental-*")
	copyOver(place, older, "incremental-*")
	newest, _ := filepath.Glob(filepath.Join(older, "incremental-*"))
	for spec, fix := range map[string]string{
		local:           "pg_scribe catalog rebuild --force -f " + local,
		"file:" + older: "pg_scribe catalog rebuild -f NEW_DIRECTORY --storage file:" + older,
	} {
		o := s.must("restore", "-f", spec, "--dry-run")
		if !strings.Contains(o.errors, "does not know newer segments") || !strings.Contains(o.errors, filepath.Base(newest[len(newest)-1])) ||
			!strings.Contains(o.errors, fix) {
			t.Errorf("%s: %s", spec, o.errors)
		}
	}
	if o := s.run("status", "-f", local); o.code != exitWarnings || !strings.Contains(o.errors, "does not know newer segments") {
		t.Errorf("status: %d %s", o.code, o.errors)
	}
	s.must("catalog", "rebuild", "--force", "-f", local)
	if got, want := s.restoredFrom(local), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	catalogs, _ := filepath.Glob(filepath.Join(older, "catalog-*"))
	for name, text := range map[string]string{"nothing": "", "noise": "foo", "no catalog": "(\xb5/\xfd\x04\x00\x19\x00\x00foo\x00\x00\x00\x00"} {
		if err := os.WriteFile(catalogs[len(catalogs)-1], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := s.run("restore", "-f", "file:"+older, "--dry-run")
		t.Log(name, o.errors)
		o.refused(t, exitBackup, "is damaged", "pg_scribe catalog rebuild -f NEW_DIRECTORY --storage "+older)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	s.must("catalog", "rebuild", "-f", fresh, "--storage", "file:"+older)
	if got, want := s.restoredFrom(fresh), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// An empty filter, as of a variable that is not set, must not mean: in clear.
// A secret key that was given in place of a public one is not repeated.
func TestFiltersThatMeanNothing(t *testing.T) {
	b := newBench(t, noServer())
	dir := filepath.Join(t.TempDir(), "repo")
	for _, args := range [][]string{{"--filter", ""}, {"--filter", " "}, {"-Z", "zstd", "--filter", ""}} {
		b.run(append([]string{"init", "-d", "x", "-f", dir}, args...)...).refused(t, exitUsage, `there is no filter ""`, "NAME KEY=VALUE")
	}
	o := b.run("init", "-d", "x", "-f", dir, "--filter", "age recipient=AGE-SECRET-KEY-1SZ25L4EDF5EJ3THDJE4")
	o.refused(t, exitUsage, "that is a secret key", "age recipient=age1")
	if strings.Contains(o.errors, "1SZ25") {
		t.Errorf("the key is repeated: %s", o.errors)
	}
}

func TestKeepHintsAtBases(t *testing.T) {
	b := newBench(t, noServer())
	dir := frozen(t)
	for _, command := range []string{"keep", "unkeep"} {
		b.run(command, "nothing", "-f", dir).refused(t, exitUsage, "no base backup", "pg_scribe "+command+" -f "+dir+" base-")
	}
}

// The newest base is lost or damaged: expire keeps the one before it, whatever
// the policy says.
func TestExpireDoesNotRelyOnDamage(t *testing.T) {
	first, second := "base-20261121-070155.sql.zst", "base-20261121-070156.dir"
	policy := []string{"--keep-last", "1", "--keep-incremental", "0", "--confirm"}
	for name, harm := range map[string]func(b *bench, dir string) error{
		"missing": func(_ *bench, dir string) error { return os.RemoveAll(filepath.Join(dir, second)) },
		"found by verify": func(b *bench, dir string) error {
			err := os.Truncate(filepath.Join(dir, second, "toc.dat"), 100)
			b.run("verify", "-f", dir)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, noServer())
			dir := frozen(t)
			b.must("verify", "-f", dir)
			if err := harm(b, dir); err != nil {
				t.Fatal(err)
			}
			o := b.must(append([]string{"expire", "-f", dir}, policy...)...)
			if _, err := os.Stat(filepath.Join(dir, first)); err != nil {
				t.Error(err)
			}
			if !strings.Contains(o.errors, "missing or damaged, and not relied on: "+second) || !strings.Contains(o.out, "the newest base with an unbroken chain") {
				t.Errorf("%s%s", o.out, o.errors)
			}
			b.must("restore", "-f", dir, "--base-backup", first, "--dry-run")
		})
	}
}

func TestTargetInItsRepository(t *testing.T) {
	b := newBench(t, noServer())
	dir := frozen(t)
	inside := filepath.Join(dir, "copy")
	link := filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.Mkdir(inside, 0o700), os.Symlink(inside, link)); err != nil {
		t.Fatal(err)
	}
	for _, spec := range []string{dir, inside, "file:" + link} {
		b.run("copy", "-f", dir, "--storage", spec).refused(t, exitUsage, "the repository's own directory", "another disk")
	}
}
