package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
	"pg_scribe/internal/s3test"
)

// gpgFilter is a filter of the shell with a key of its own.
func gpgFilter(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "gpg") // the path of its socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	gpg := "gpg --homedir " + home + " --batch --quiet --yes --trust-model always"
	if out, err := exec.Command("sh", "-c", gpg+" --pinentry-mode loopback --passphrase '' --quick-gen-key t@example.com default default "+
		"never").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return "shell write='" + gpg + " -e -r t@example.com' read='" + gpg + " -d'"
}

const combinationSQL = `
	CREATE SEQUENCE tickets START 201;
	CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('tickets'), v text NOT NULL, doc jsonb, raw bytea);
	CREATE TABLE parent (id int PRIMARY KEY, at timestamptz, CHECK (id > 0));
	CREATE TABLE child (id int REFERENCES parent, note text);
	ALTER TABLE child REPLICA IDENTITY FULL;
	CREATE INDEX ON child (id) WHERE note IS NOT NULL;
	CREATE VIEW v AS SELECT id, v FROM t;
	INSERT INTO t SELECT g, 'precious row ' || g, jsonb_build_object('g', g), sha256(g::text::bytea) FROM generate_series(1, 200) g;
	INSERT INTO parent SELECT g, '2026-11-21 02:00+01' FROM generate_series(1, 20) g`

// stored are the bases, globals and segments below a directory.
func stored(t *testing.T, dir string) (names []string) {
	t.Helper()
	for name := range filesIn(t, dir) {
		for _, kind := range []string{"base-", "globals-", "incremental-"} {
			if strings.HasPrefix(name, kind) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// equals restores from a place and compares schema and rows with the source.
func (s *sourceDB) equals(place string, flags ...string) {
	s.t.Helper()
	ctx := context.Background()
	db := s.db + "_r"
	s.must(append([]string{"restore", "-f", place, "-C", "-d", s.c.ConnString(db)}, flags...)...)
	defer s.c.Exec(s.t, "postgres", "DROP DATABASE "+db)
	var states [2]pgtest.State
	var schemas [2]string
	for i, name := range []string{s.db, db} {
		var err error
		if states[i], err = pgtest.Snapshot(ctx, s.c.ConnString(name), ""); err != nil {
			s.t.Fatal(err)
		}
		if schemas[i], err = s.c.SchemaDump(ctx, name, ""); err != nil {
			s.t.Fatal(err)
		}
	}
	if diff := pgtest.Diff(states[0], states[1]); diff != "" {
		s.t.Errorf("the rows differ:\n%s", diff)
	}
	if schemas[0] != schemas[1] {
		s.t.Errorf("the schemas differ: source\n%s\nrestored\n%s", schemas[0], schemas[1])
	}
	last := "SELECT last_value || ' ' || is_called FROM tickets"
	if want, got := s.c.Query(s.t, s.db, last), s.c.Query(s.t, db, last); got != want {
		s.t.Errorf("the sequence is at %s, want %s", got, want)
	}
}

// Every kind of storage with every kind of filter: from the storage alone comes
// what the source holds, also after expire, and what expire removed is gone.
func TestEveryTargetWithEveryFilter(t *testing.T) {
	c := pgtest.Shared(t)
	server := s3test.Start(t)
	recipient, key := newKey(t)
	type filtering struct {
		name, jobs  string
		flags, keys []string
		secret      bool
	}
	filterings := []filtering{
		{"none", "1", []string{"-Z", "none"}, nil, false},
		{"zstd", "2", []string{"-Z", "zstd"}, nil, false},
		{"lz4 and age", "1", []string{"-Z", "lz4", "--filter", recipient}, []string{"-i", key}, true},
		{"gpg", "2", []string{"--filter", gpgFilter(t)}, nil, true},
	}
	for _, kind := range []string{"directory", "shell", "s3"} {
		for i, f := range filterings {
			t.Run(kind+" "+f.name, func(t *testing.T) {
				place := t.TempDir()
				spec := "file:" + place
				switch kind {
				case "shell":
					spec = shellTarget(place)
				case "s3":
					prefix := fmt.Sprintf("hosts/db%d", i)
					place, spec = filepath.Join(server.Root, "backups", prefix), server.URL(prefix)
				}
				s := initSource(t, c, combinationSQL, append(slices.Clone(f.flags), "--storage", spec)...)
				for round := range 2 { // at least a segment each
					c.Exec(t, s.db, fmt.Sprintf(`INSERT INTO t SELECT nextval('tickets'), 'precious row ' || md5(g::text || %[1]d), NULL, sha256(g::text::bytea) FROM `+
						`generate_series(1, 300) g;
						UPDATE t SET v = v || '!' WHERE id %% 7 = %[1]d; INSERT INTO child SELECT g, 'note' FROM generate_series(1, 20) g`, round))
					c.Exec(t, s.db, fmt.Sprintf("ALTER TABLE child ADD COLUMN more%[1]d int DEFAULT 5; CREATE TABLE late%[1]d (id int PRIMARY KEY, v text); INSERT INTO "+
						"late%[1]d VALUES (1, 'a')", round))
					s.catchUp()
				}
				before := stored(t, place)
				first := slices.DeleteFunc(slices.Clone(before), func(name string) bool { return strings.HasPrefix(name, "incremental-") })
				s.must("full-backup", "-d", s.conn, "-f", s.dir, "-j", f.jobs)
				s.must("expire", "-f", s.dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm")
				here, there := stored(t, s.dir), stored(t, place)
				if !slices.Equal(here, there) {
					t.Errorf("after expire the directory has %q, the storage %q", here, there)
				}
				gone := slices.DeleteFunc(slices.Clone(before), func(name string) bool { return slices.Contains(there, name) })
				// The last segment stays: the stream goes on from its end.
				if len(first) != 2 || len(before) < 4 || len(gone) != len(before)-1 || slices.Contains(gone, before[len(before)-1]) {
					t.Errorf("the storage had %q, expire removed %q", before, gone)
				}
				c.Exec(t, s.db, "DELETE FROM t WHERE id % 3 = 0; INSERT INTO late1 SELECT g, md5(g::text) FROM generate_series(2, 50) g; ALTER TABLE late1 RENAME COLUMN "+
					"v TO w")
				s.catchUp()

				// A fresh machine: the directory is gone.
				if err := os.Rename(s.dir, s.dir+".gone"); err != nil {
					t.Fatal(err)
				}
				t.Setenv("TMPDIR", t.TempDir())
				s.equals(spec, f.keys...)
				s.run(append([]string{"restore", "-f", spec, "-C", "-d", c.ConnString(s.db + "_x"), "--base-backup", first[0]}, f.keys...)...).
					refused(t, exitUsage, "no base backup is named", "--base-backup")
				if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
					t.Errorf("left behind: %v %v", left, err)
				}
				for name, content := range filesIn(t, place) {
					if f.secret && bytes.Contains(content, []byte("precious row")) {
						t.Errorf("%s holds rows in clear", name)
					}
				}
			})
		}
	}
}

// A bucket that turns read-only delays what goes there, with words that say
// what is missing, and loses nothing.
func TestTargetTurnsReadOnly(t *testing.T) {
	c := pgtest.Shared(t)
	server := s3test.Start(t)
	spec := server.URL("p")
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')", spec)
	s.catchUp()
	early := s.content()
	server.Kill()
	server.StartAgain("--readonly")
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (2, 'b')")
	s.catchUp()
	later := func(o outcome) {
		t.Helper()
		if !strings.Contains(o.errors, "warning: not everything is on the storages yet") || !strings.Contains(o.errors, "it can be read, but not written") {
			t.Errorf("%q does not warn: %s", o.args, o.errors)
		}
	}
	later(s.must("full-backup", "-d", s.conn, "-f", s.dir))
	s.run("copy", "-f", s.dir).refused(t, exitBackup, "it can be read, but not written", "s3:PutObject")
	if o := s.run("status", "-f", s.dir); o.code != exitWarnings || !strings.Contains(o.errors, "it can be read, but not written") || !strings.Contains(o.errors,
		"pg_scribe copy -f") {
		t.Errorf("status: %d\n%s%s", o.code, o.out, o.errors)
	}
	later(s.must("expire", "-f", s.dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm"))
	if got := s.restoredFrom(spec); got != early {
		t.Errorf("restored %s, want %s", got, early)
	}
	server.Kill()
	server.StartAgain()
	s.must("copy", "-f", s.dir)
	if got, want := s.restoredFrom(spec), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	if here, there := stored(t, s.dir), stored(t, filepath.Join(server.Root, "backups", "p")); !slices.Equal(here, there) {
		t.Errorf("the directory has %q, the storage %q", here, there)
	}
}

// The way out of a compression that pg_dump lacks must not leave out what
// encrypts: the hint, followed to the letter, makes an encrypted base.
func TestArchiveCompressionHintKeepsEncryption(t *testing.T) {
	c := pgtest.Shared(t)
	if c.Major >= 16 {
		t.Skip("this pg_dump compresses archives with lz4 too")
	}
	recipient, key := newKey(t)
	place := t.TempDir()
	c.Exec(t, "postgres", "DROP ROLE IF EXISTS keeper_of_the_ledger")
	s := initSource(t, c, secretSQL, "-Z", "lz4", "--filter", recipient, "--storage", place)
	o := s.run("full-backup", "-d", s.conn, "-f", s.dir, "-j", "2")
	o.refused(t, exitUsage, "with gzip only", "-Z gzip --filter '"+recipient+"'")
	s.must("full-backup", "-d", s.conn, "-f", s.dir, "-j", "2", "-Z", "gzip", "--filter", recipient)
	s.nothingInClear(place)
	if got, want := s.restoredFrom(place, "-i", key), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// With credentials that may not delete, expire ends here and not there; what
// comes later still goes there.
func TestTargetThatNothingIsDeletedFrom(t *testing.T) {
	c := pgtest.Shared(t)
	place := t.TempDir()
	spec := strings.Replace(shellTarget(place), "remove=\"rm ", "remove=\"echo no deleting >&2; false ", 1)
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')", spec)
	s.catchUp()
	s.must("full-backup", "-d", s.conn, "-f", s.dir)
	before := stored(t, place)
	o := s.must("expire", "-f", s.dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm")
	if !strings.Contains(o.errors, "warning: not everything is on the storages yet") || !strings.Contains(o.errors, "no deleting") {
		t.Errorf("expire does not warn: %s", o.errors)
	}
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (2, 'b')")
	s.catchUp()
	s.run("copy", "-f", s.dir).refused(t, exitBackup, "no deleting", "look at the storage")
	if o := s.run("status", "-f", s.dir); o.code != exitWarnings || !strings.Contains(o.errors, "no deleting") {
		t.Errorf("status: %d\n%s%s", o.code, o.out, o.errors)
	}
	here := stored(t, s.dir)
	want := append(slices.Clone(here), before...)
	slices.Sort(want)
	if there := stored(t, place); len(here) != 4 || !slices.Equal(there, slices.Compact(want)) {
		t.Errorf("the directory has %q, the storage %q, before %q", here, there, before)
	}
	if l := s.must("list", "bases", "-f", spec).out; strings.Count(l, "base-") != 1 {
		t.Errorf("the storage's list shows %s", l)
	}
	if got, want := s.restoredFrom(spec), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// Trying to remove a file again and again must not fill a storage, from which
// no snapshot of the catalog can be removed either.
func TestRetriedRemovalSendsNoSnapshots(t *testing.T) {
	c := pgtest.Shared(t)
	place := t.TempDir()
	spec := strings.Replace(shellTarget(place), "remove=\"rm ", "remove=\"echo no deleting >&2; false ", 1)
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')", spec)
	s.must("full-backup", "-d", s.conn, "-f", s.dir)
	stop, said := s.background("--state-interval", "0")
	s.must("expire", "-f", s.dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm")
	waitFor(t, "the failure", func() bool { return strings.Contains(said(), "no deleting") })
	snapshots := func() []string {
		found, err := filepath.Glob(filepath.Join(place, "catalog-*"))
		if err != nil || len(found) == 0 {
			t.Fatal(found, err)
		}
		return found
	}
	before := snapshots()
	time.Sleep(4 * time.Second) // two more attempts
	if after := snapshots(); !slices.Equal(before, after) {
		t.Errorf("snapshots before: %q, after: %q", before, after)
	}
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (2, 'b')")
	if code, text := stop(); code != exitOK {
		t.Fatalf("start ended with %d\n%s", code, text)
	}
	s.catchUp()
	if got, want := s.restoredFrom(spec), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	if l := s.must("list", "bases", "-f", spec).out; strings.Count(l, "base-") != 1 {
		t.Errorf("the storage's list shows %s", l)
	}
}
