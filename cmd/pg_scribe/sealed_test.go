package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"pg_scribe/internal/pgtest"
)

// newKey makes an age key: the recipient, and the file with its secret.
func newKey(t *testing.T) (filterSpec, file string) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(identity.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "age recipient=" + identity.Recipient().String(), file
}

// filesIn are all files below a directory, by their names there.
func filesIn(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		found[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const secretSQL = `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'precious row ' || g FROM generate_series(1, 200) g;
	CREATE TABLE ledger_of_secrets (id int PRIMARY KEY); CREATE ROLE keeper_of_the_ledger`

// nothingInClear complains about a file that names anything of the source.
func (s *sourceDB) nothingInClear(place string) {
	s.t.Helper()
	names := regexp.MustCompile(`^(base|globals)-\d{8}-\d{6}|^incremental-[0-9A-F]{16}|` +
		`^catalog-[0-9A-F]{16}-[0-9A-F]{16}\.db|^pg_scribe_(metadata-[0-9A-F]{16}|repository)\.txt$`)
	for name, content := range filesIn(s.t, place) {
		if !names.MatchString(name) {
			s.t.Errorf("the storage has a file %q", name)
		}
		for _, word := range []string{s.db, s.slot, "precious row", "ledger_of_secrets", "keeper_of_the_ledger", "SQLite format", "CREATE TABLE", "PGDMP"} {
			if bytes.Contains(content, []byte(word)) {
				s.t.Errorf("%s holds %q in clear", name, word)
			}
		}
	}
}

// With encryption a storage says nothing of the database; with the key it
// restores alone, and without it nothing is touched.
func TestEncryptedTargetsTellNothing(t *testing.T) {
	c := pgtest.Shared(t)
	recipient, key := newKey(t)
	_, wrong := newKey(t)
	for name, flags := range map[string][]string{
		"age":             {"-Z", "zstd", "--filter", recipient},
		"age and a shell": {"--filter", recipient, "--filter", "shell write='tr A-Za-z N-ZA-Mn-za-m' read='tr A-Za-z N-ZA-Mn-za-m'", "-i", key},
	} {
		t.Run(name, func(t *testing.T) {
			c.Exec(t, "postgres", "DROP ROLE IF EXISTS keeper_of_the_ledger")
			place := t.TempDir()
			s := initSource(t, c, secretSQL, append(flags, "--storage", place)...)
			keys := flags[4:]
			s.c.Exec(t, s.db, "INSERT INTO t SELECT g, 'precious row ' || g FROM generate_series(201, 900) g; ALTER TABLE ledger_of_secrets ADD v text")
			s.catchUp(keys...)
			s.must(append([]string{"full-backup", "-d", s.conn, "-f", s.dir, "-j", "2"}, keys...)...)
			s.c.Exec(t, s.db, "DELETE FROM t WHERE id % 3 = 0")
			s.catchUp(keys...)
			s.nothingInClear(place)
			s.must("verify", "-f", s.dir, "-i", key)
			if err := os.Rename(s.dir, s.dir+".gone"); err != nil {
				t.Fatal(err)
			}
			if got, want := s.restoredFrom("file:"+place, "-i", key), s.content(); got != want {
				t.Errorf("restored %s, want %s", got, want)
			}
			if l := s.must("list", "-f", "file:"+place, "-i", key).out; strings.Count(l, "base-") != 2 {
				t.Errorf("the list shows %s", l)
			}
			if o := s.run("status", "-f", "file:"+place, "-i", key); o.code != exitOK {
				t.Errorf("status: %+v", o)
			}
			before := s.c.Query(t, "postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database")
			for hint, flags := range map[string][]string{"--identity FILE, or the passphrase": nil, "the key that was in use": {"-i", wrong}} {
				s.run(append([]string{"restore", "-f", "file:" + place, "-C", "-d", c.ConnString(s.db + "_x")}, flags...)...).
					refused(t, exitUsage, "encrypted with age", hint)
			}
			if after := s.c.Query(t, "postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database"); after != before {
				t.Errorf("databases before: %s, after: %s", before, after)
			}
		})
	}
}

// What lay on a storage in clear goes from it when the repository is encrypted,
// and names never come to mean other bytes.
func TestReencryptReachesTargets(t *testing.T) {
	c := pgtest.Shared(t)
	c.Exec(t, "postgres", "DROP ROLE IF EXISTS keeper_of_the_ledger")
	place := t.TempDir()
	s := initSource(t, c, secretSQL, "--storage", place)
	s.must("full-backup", "-d", s.conn, "-f", s.dir, "-j", "2")
	s.c.Exec(t, s.db, "UPDATE t SET v = v || '!'")
	s.catchUp()
	first, firstKey := newKey(t)
	second, secondKey := newKey(t)
	seen := filesIn(t, place)
	for _, step := range [][]string{{"-Z", "zstd", "--filter", first}, {"-Z", "zstd", "--filter", second, "-i", firstKey},
		{"-Z", "zstd", "--filter", first, "-i", secondKey}} {
		s.must(append([]string{"reencrypt", "-f", s.dir}, step...)...)
		s.nothingInClear(place)
		for name, content := range filesIn(t, place) {
			if old, known := seen[name]; known && !bytes.Equal(old, content) {
				t.Errorf("%v: %s is another file now", step, name)
			}
			seen[name] = content
		}
	}
	s.must("verify", "-f", s.dir, "-i", firstKey)
	if got, want := s.restoredFrom("file:"+place, "-i", firstKey), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// verify reads back what the storages hold.
func TestVerifyReadsTargets(t *testing.T) {
	c := pgtest.Shared(t)
	place, other := t.TempDir(), t.TempDir()
	recipient, key := newKey(t)
	s := initSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", "--filter", recipient, "--storage", place, "--storage", other)
	s.must("full-backup", "-d", s.conn, "-f", s.dir, "-j", "2")
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (1, 'a')")
	s.catchUp()
	type verdict struct {
		Outcome                     string
		Files, Failed, Inconclusive int
		FilesRead                   int `json:"files_read"`
		Findings                    []struct{ Name, Target, Reason string }
	}
	verify := func(code int, flags ...string) verdict {
		t.Helper()
		o := s.run(append([]string{"verify", "-f", s.dir, "--output", "json"}, flags...)...)
		if o.code != code {
			t.Errorf("verify %v: exit %d, want %d\n%s%s", flags, o.code, code, o.out, o.errors)
		}
		return decode[verdict](t, o)
	}
	// Two bases with globals and a segment in three places, the metadata, and
	// the catalogs of the targets.
	if v := verify(exitOK, "-i", key); v.Files != 18 || v.FilesRead != 18 {
		t.Errorf("all: %+v", v)
	}
	if v := verify(exitWarnings); v.Failed != 0 || v.Inconclusive == 0 {
		t.Errorf("without the key: %+v", v)
	}
	if a, b := verify(exitOK, "-i", key, "--read-data-subset", "1/2"), verify(exitOK, "-i", key, "--read-data-subset", "2/2"); a.FilesRead+b.FilesRead != 18+3 {
		t.Errorf("halves: %+v, %+v", a, b) // metadata and catalogs are read each time
	}
	for name, content := range filesIn(t, place) {
		if strings.HasPrefix(name, "pg_scribe_metadata") || name == "pg_scribe_repository.txt" {
			continue
		}
		path := filepath.Join(place, name)
		for what, spoil := range map[string]func() error{
			"bit":  func() error { b := slices.Clone(content); b[len(b)/2] ^= 4; return os.WriteFile(path, b, 0o600) },
			"end":  func() error { return os.Truncate(path, int64(len(content)-1)) },
			"gone": func() error { return os.Remove(path) },
		} {
			if strings.HasPrefix(name, "catalog-") && (name != newest(t, place) || what == "gone") {
				continue
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			top, _, _ := strings.Cut(name, "/")
			if v := verify(exitBackup, "-i", key); v.Failed != 1 || v.Findings[0].Name != top || !strings.Contains(v.Findings[0].Target, place) {
				t.Errorf("%s of %s: %+v", what, name, v)
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.RemoveAll(other); err != nil {
		t.Fatal(err)
	}
	if v := verify(exitBackup, "-i", key); v.Failed != 1 || !strings.Contains(v.Findings[0].Target, other) {
		t.Errorf("a storage that is gone: %+v", v)
	}
}

// newest is the name of the newest catalog on a target.
func newest(t *testing.T, place string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(place, "catalog-*"))
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	return filepath.Base(slices.Max(found))
}

// What expire removes goes from the storages in the same run.
func TestExpireReachesTargets(t *testing.T) {
	c := pgtest.Shared(t)
	place := t.TempDir()
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", place)
	for i, jobs := range []string{"2", "1"} {
		s.c.Exec(t, s.db, "INSERT INTO t SELECT coalesce(max(id), 0) + 1, 'a' FROM t")
		s.catchUp()
		if i == 1 {
			break
		}
		s.must("full-backup", "-d", s.conn, "-f", s.dir, "-j", jobs)
	}
	s.must("full-backup", "-d", s.conn, "-f", s.dir)
	if err := os.WriteFile(filepath.Join(place, "letter.txt"), []byte("Dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must("expire", "-f", s.dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm")
	if here, there := stored(t, s.dir), stored(t, place); len(here) > 4 || !slices.Equal(here, there) {
		t.Errorf("here %q, there %q", here, there)
	}
	if _, err := os.Stat(filepath.Join(place, "letter.txt")); err != nil {
		t.Error(err)
	}
	s.must("verify", "-f", s.dir)
	if got, want := s.restoredFrom("file:"+place), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// With nothing but a storage's files, also without its catalogs, the repository
// comes back, goes on, and is known there.
func TestRebuildFromATarget(t *testing.T) {
	c := pgtest.Shared(t)
	recipient, key := newKey(t)
	for name, flags := range map[string][]string{"clear": nil, "age": {"-Z", "zstd", "--filter", recipient}} {
		t.Run(name, func(t *testing.T) {
			place := t.TempDir()
			s := initSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", append(flags, "--storage", place)...)
			s.must("full-backup", "-d", s.conn, "-f", s.dir, "-j", "2")
			s.c.Exec(t, s.db, "INSERT INTO t VALUES (1, 'a')")
			s.catchUp()
			catalogs, _ := filepath.Glob(filepath.Join(place, "catalog-*"))
			for _, path := range catalogs {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.RemoveAll(s.dir); err != nil {
				t.Fatal(err)
			}
			var keys []string
			if flags != nil {
				keys = []string{"-i", key}
				s.run("catalog", "rebuild", "-f", s.dir, "--storage", place).refused(t, exitUsage, "no key was given", "--identity FILE")
			}
			s.must(append([]string{"catalog", "rebuild", "-f", s.dir, "--storage", place}, keys...)...)
			if got, want := s.restoredFrom(s.dir, keys...), s.content(); got != want {
				t.Errorf("restored %s, want %s", got, want)
			}
			s.must("copy", "-f", s.dir)
			s.c.Exec(t, s.db, "INSERT INTO t VALUES (2, 'b')")
			s.catchUp()
			s.must(append([]string{"verify", "-f", s.dir}, keys...)...)
			if got, want := s.restoredFrom("file:"+place, keys...), s.content(); got != want {
				t.Errorf("from the storage: %s, want %s", got, want)
			}
			segments, _ := filepath.Glob(filepath.Join(place, "incremental-*"))
			for _, path := range segments {
				if strings.HasSuffix(path, ".age") != (flags != nil) {
					t.Errorf("%s is not what the others are", path)
				}
			}
		})
	}
}
