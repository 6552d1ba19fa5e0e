package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/internal/s3test"
	"pg_scribe/repo"
	"pg_scribe/repo/storage"
	"pg_scribe/restore"
)

// What a restore was about to read from a storage may be removed meanwhile. It
// ends with an error that names the file, and says what to do.
func TestExpireBesideARestoreFromATarget(t *testing.T) {
	c := pgtest.Shared(t)
	server := s3test.Start(t)
	for name, spec := range map[string]func() string{
		"directory": func() string { return "file:" + t.TempDir() },
		"s3":        func() string { return server.URL("expired") },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			spec := spec()
			s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'base' FROM generate_series(1, 1000) g", spec)
			lookup := func(name string) (string, bool) {
				for _, pair := range s.env {
					if key, value, _ := strings.Cut(pair, "="); key == name {
						return value, true
					}
				}
				return "", false
			}
			place, err := storage.Parse(spec, storage.Env{Lookup: lookup, Home: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			for _, sql := range []string{"UPDATE t SET v = 'one'", "DELETE FROM t WHERE id % 2 = 0", "INSERT INTO t VALUES (0, 'three')"} {
				s.c.Exec(t, s.db, sql)
				s.catchUp()
			}
			s.must("full-backup", "-d", s.conn, "-f", s.dir, "-j", "2")
			bases := decode[struct{ Bases []struct{ Name string } }](t, s.must("list", "bases", "-f", spec, "--output", "json")).Bases
			prepare := func(base string) (*restore.Prepared, func()) {
				r, err := repo.OpenStorage(ctx, place, nil)
				if err != nil {
					t.Fatal(err)
				}
				p, err := restore.Prepare(ctx, r, catalog.Request{Base: base, Target: catalog.Target{}})
				if err != nil {
					t.Fatal(err)
				}
				return p, func() { p.Close(); r.Close() }
			}
			execute := func(p *restore.Prepared, db string, progress func(restore.Progress)) (int, string, string) {
				_, err := p.Execute(ctx, restore.Options{TargetConn: c.ConnString(db), MaintenanceConn: c.ConnString("postgres"), CreateDatabase: true, Progress: progress})
				if err == nil {
					return 0, "", ""
				}
				code, hint := remedyFor(err, false, hintContext{command: "restore", dir: spec})
				return code, problemOf(err, false), hint
			}
			// The end of the first base's chain, as the new base lies behind it.
			l := decode[struct {
				Segments []struct {
					Name string
				}
			}](t, s.must("list", "segments", "-f", spec, "--output", "json"))
			if len(l.Segments) != 3 || len(bases) != 2 {
				t.Fatalf("%+v %+v", l, bases)
			}
			s.catchUp() // the chain leads beyond the new base
			early, closeEarly := prepare(bases[0].Name)
			defer closeEarly()
			midway, closeMidway := prepare(bases[0].Name)
			defer closeMidway()
			expired := false
			expire := func() {
				if !expired {
					expired = true
					s.must("expire", "-f", s.dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm")
				}
			}
			db := s.db + "_midway"
			code, problem, hint := execute(midway, db, func(p restore.Progress) {
				if p.Phase == restore.PhaseReplay {
					expire()
				}
			})
			if !expired || code != exitBackup || !strings.Contains(problem, l.Segments[0].Name) && !strings.Contains(problem, l.Segments[1].Name) ||
				!strings.Contains(hint, "removed while the restore read it") || !strings.Contains(hint, "whole up to") || !strings.Contains(hint, "dropdb") {
				t.Errorf("midway: expired %v, exit code %d\n%s\n%s", expired, code, problem, hint)
			}
			db = s.db + "_early"
			code, problem, hint = execute(early, db, nil)
			if code != exitBackup || !strings.Contains(problem, bases[0].Name) && !strings.Contains(problem, "globals-") {
				t.Errorf("early: exit code %d\n%s\n%s", code, problem, hint)
			}
			s.run("restore", "-f", spec, "--base-backup", bases[0].Name, "--dry-run").refused(t, exitUsage, bases[0].Name, bases[1].Name)
			if got, want := s.restoredFrom(spec), s.content(); got != want {
				t.Errorf("restored %s, want %s", got, want)
			}
			for _, suffix := range []string{"_midway", "_early"} {
				s.c.Exec(t, "postgres", "DROP DATABASE IF EXISTS "+s.db+suffix)
			}
		})
	}
}

// Between the catalog and the files: a restore begins with a catalog whose
// files are gone.
func TestRestoreOfWhatIsGoneFromATarget(t *testing.T) {
	c := pgtest.Shared(t)
	dir := t.TempDir()
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", dir)
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (1, 'a')")
	s.catchUp()
	gone := segmentsOn(dir)[0]
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	s.run("restore", "-f", "file:"+dir, "-C", "-d", c.ConnString(s.db+"_x")).refused(t, exitBackup, gone[strings.LastIndex(gone, "/")+1:]+" is missing",
		"begin again with the newest catalog there: pg_scribe restore")
	if n := c.Query(t, "postgres", "SELECT count(*) FROM pg_database WHERE datname = '"+s.db+"_x'"); n != "0" {
		t.Error("the database was made")
	}
}

// A catalog that verify has found damaged on a storage is followed by a whole
// one with the next copy.
func TestCopyMendsADamagedCatalog(t *testing.T) {
	c := pgtest.Shared(t)
	for name, damage := range map[string]func(text []byte) []byte{
		"noise": func(text []byte) []byte {
			for i := range text[len(text)/3:] {
				text[len(text)/3+i] ^= 0x55
			}
			return text
		},
		"cut":   func(text []byte) []byte { return text[:len(text)/2] },
		"empty": func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", dir)
			s.c.Exec(t, s.db, "INSERT INTO t VALUES (1, 'a')")
			s.catchUp()
			s.must("verify", "-f", s.dir)
			s.must("copy", "-f", s.dir)
			catalogs, _ := filepath.Glob(filepath.Join(dir, "catalog-*"))
			newest := catalogs[len(catalogs)-1]
			text, err := os.ReadFile(newest)
			if err == nil {
				err = os.WriteFile(newest, damage(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			s.run("restore", "-f", "file:"+dir, "-C", "-d", c.ConnString(s.db+"_x")).refused(t, exitBackup, filepath.Base(newest)+", is damaged", "catalog rebuild")
			if o := s.run("verify", "-f", s.dir); o.code != exitBackup || !strings.Contains(o.errors+o.out, filepath.Base(newest)) {
				t.Errorf("verify: %d\n%s%s", o.code, o.out, o.errors)
			}
			s.must("copy", "-f", s.dir)
			s.must("verify", "-f", s.dir)
			s.must("copy", "-f", s.dir)
			if got, want := s.restoredFrom("file:"+dir), s.content(); got != want {
				t.Errorf("restored %s, want %s", got, want)
			}
		})
	}
}

// An expire that was interrupted behind the catalog is completed by the next
// one, though the policy has nothing more to remove.
func TestExpireCompletesAnInterruptedOne(t *testing.T) {
	c := pgtest.Shared(t)
	dir := t.TempDir()
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", dir)
	s.must("full-backup", "-d", s.conn, "-f", s.dir)
	ctx := context.Background()
	cat, err := catalog.Open(filepath.Join(s.dir, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	bases, err := cat.Artifacts(ctx, catalog.KindBase)
	if err == nil {
		err = cat.RemoveArtifacts(ctx, bases[0].ID) // and the process dies
	}
	if err = errors.Join(err, cat.Close()); err != nil {
		t.Fatal(err)
	}
	o := s.must("expire", "-f", s.dir, "--keep-last", "1", "--confirm")
	if !strings.Contains(o.out, "Nothing to remove") {
		t.Errorf("expire says\n%s", o.out)
	}
	for _, place := range []string{s.dir, dir} {
		if held(place, "base") != 1 || held(place, "globals") != 1 {
			left, _ := filepath.Glob(filepath.Join(place, "*"))
			t.Errorf("left: %q", left)
		}
	}
	s.must("expire", "-f", s.dir, "--keep-last", "1", "--confirm")
}

// Prefixes with spaces and signs, as somebody may have named them by hand.
func TestS3PrefixWithSpaces(t *testing.T) {
	c := pgtest.Shared(t)
	server := s3test.Start(t)
	for _, prefix := range []string{"our%20backups/db 1", "a+b/c%2Bd/100%25"} {
		t.Run(prefix, func(t *testing.T) {
			spec := server.URL(prefix)
			s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')", spec)
			s.c.Exec(t, s.db, "INSERT INTO t VALUES (2, 'b')")
			s.catchUp()
			s.must("full-backup", "-d", s.conn, "-f", s.dir, "-j", "2")
			s.must("verify", "-f", s.dir)
			if got, want := s.restoredFrom(spec), s.content(); got != want {
				t.Errorf("restored %s, want %s", got, want)
			}
			s.must("expire", "-f", s.dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm")
			if got, want := s.restoredFrom(spec), s.content(); got != want {
				t.Errorf("after expire: restored %s, want %s", got, want)
			}
			s.must("copy", "-f", s.dir)
			o := s.must("copy", "-f", s.dir, "--forget", spec)
			plain := map[string]string{"our%20backups/db 1": "'s3://backups/our backups/db 1/'", "a+b/c%2Bd/100%25": "s3://backups/a+b/c+d/100%/"}[prefix]
			if !strings.Contains(o.out, "aws s3 rm --recursive "+plain+" --endpoint-url http://") {
				t.Errorf("to remove it:\n%s", o.out)
			}
		})
	}
}
