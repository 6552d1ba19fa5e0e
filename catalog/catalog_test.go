package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"pg_scribe/migrations"
)

var ctx = context.Background()

// at is a fixed moment plus n seconds.
func at(n int) time.Time {
	return time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second)
}

func create(t *testing.T) (*Catalog, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalog.db")
	c, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openSegment(t *testing.T, c *Catalog, name string, start LSN) int64 {
	t.Helper()
	id, err := c.OpenSegment(ctx, Artifact{Name: name, SystemID: "7", Timeline: 1, Start: start})
	must(t, err)
	return id
}

func TestCreateAndOpen(t *testing.T) {
	c, path := create(t)
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o, want 600", info.Mode().Perm())
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Create: %v, want fs.ErrExist", err)
	}
	must(t, c.Close())
	if c, err = Open(path); err != nil {
		t.Fatal(err)
	}
	must(t, c.Close())
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}

	missing := path + ".missing"
	for name, open := range map[string]func(string) (*Catalog, error){"Open": Open, "OpenReadOnly": OpenReadOnly} {
		if _, err := open(missing); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of a missing file: %v, want fs.ErrNotExist", name, err)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening a missing file created it: %v", err)
	}
	if _, err := Create(filepath.Join(path, "below-a-file")); err == nil {
		t.Error("Create below a file succeeded")
	}
}

func TestDurabilityPragmas(t *testing.T) {
	c, _ := create(t)
	for pragma, want := range map[string]string{
		"journal_mode": "delete", "synchronous": "3", "busy_timeout": "30000", "foreign_keys": "1",
		"application_id": fmt.Sprint(applicationID),
	} {
		var got string
		must(t, c.db.QueryRow("PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
}

func TestMigrationsTwiceChangeNothing(t *testing.T) {
	c, path := create(t)
	must(t, c.SetSetting(ctx, "k", "v"))
	before, err := os.ReadFile(path)
	must(t, err)
	must(t, c.migrate(ctx))
	must(t, c.Close())
	c, err = Open(path)
	must(t, err)
	must(t, c.Close())
	after, err := os.ReadFile(path)
	must(t, err)
	if !slices.Equal(before, after) {
		t.Error("a second migration changed the file")
	}
}

func TestSchemaVersions(t *testing.T) {
	c, path := create(t)
	all, err := migrations.All()
	must(t, err)
	want := len(all)

	_, err = c.db.Exec(fmt.Sprintf("PRAGMA user_version = %d", want+1))
	must(t, err)
	for _, open := range []func(string) (*Catalog, error){Open, OpenReadOnly} {
		_, err := open(path)
		e, ok := errors.AsType[SchemaVersionError](err)
		if !ok || e != (SchemaVersionError{Path: path, Have: want + 1, Want: want}) {
			t.Errorf("newer schema: %v", err)
		}
	}
}

// The catalog that the first version wrote is read on a medium that cannot be written, and left as it is.
func TestOlderCatalogReadOnly(t *testing.T) {
	content, err := os.ReadFile("../repo/testdata/format-1/catalog.db")
	must(t, err)
	t.Setenv("TMPDIR", t.TempDir())
	path := filepath.Join(t.TempDir(), "catalog.db")
	must(t, os.WriteFile(path, content, 0o400))
	c, err := OpenReadOnly(path)
	must(t, err)
	if inv, err := c.Inventory(ctx); err != nil || len(inv.Artifacts) != 7 || len(inv.Points) != 1 {
		t.Errorf("%+v, %v", inv, err)
	}
	if _, err := c.LastVerification(ctx); !errors.Is(err, ErrNotFound) {
		t.Errorf("what the old schema lacks: %v", err)
	}
	if err := c.SetSetting(ctx, "k", "v"); err == nil {
		t.Error("it can be written")
	}
	must(t, c.Close())
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if after, err := os.ReadFile(path); err != nil || !slices.Equal(after, content) {
		t.Errorf("the file was changed: %v", err)
	}
	w, err := Open(path)
	must(t, err)
	defer w.Close()
	must(t, w.SetSetting(ctx, "k", "v"))
}

func TestOpenMigratesAnOlderCatalog(t *testing.T) {
	c, path := create(t)
	rows, err := c.db.Query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
	must(t, err)
	drop := "PRAGMA foreign_keys = off; PRAGMA user_version = 0"
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		drop += "; DROP TABLE " + name
	}
	must(t, errors.Join(rows.Err(), rows.Close()))
	_, err = c.db.Exec(drop)
	must(t, err)
	must(t, c.Close())
	c, err = Open(path)
	must(t, err)
	defer c.Close()
	must(t, c.SetSetting(ctx, "k", "v"))
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	empty, noise := filepath.Join(dir, "empty"), filepath.Join(dir, "noise")
	must(t, os.WriteFile(empty, nil, 0o600))
	must(t, os.WriteFile(noise, []byte(fmt.Sprintf("%4096d", 7)), 0o600))
	c, foreign := create(t)
	_, err := c.db.Exec("PRAGMA application_id = 1")
	must(t, err)
	for _, path := range []string{empty, noise, foreign, dir} {
		for _, open := range []func(string) (*Catalog, error){Open, OpenReadOnly} {
			if _, err := open(path); !errors.Is(err, ErrNotCatalog) {
				t.Errorf("%s: %v, want ErrNotCatalog", path, err)
			}
		}
	}
}

func TestHostilePaths(t *testing.T) {
	for _, name := range []string{
		"a b", "a?mode=memory", "a#b", "a%20b", "a%00b", "100%", "it's", `say "hi"`, "line\nbreak", `back\slash`, ";x&y=z",
		":memory:", "file:x", "Ünïcode ☃", "\xff\xfe", "a+b", "?", "#", " ", "[x]", "?_pragma=user_version(9)",
	} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			must(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, name)
			c, err := Create(path)
			must(t, err)
			must(t, c.SetSetting(ctx, "name", name))
			must(t, c.Close())
			c, err = OpenReadOnly(path)
			must(t, err)
			defer c.Close()
			if v, found, err := c.Setting(ctx, "name"); v != name || !found || err != nil {
				t.Errorf("read back %q, %t, %v", v, found, err)
			}
			entries, err := os.ReadDir(dir)
			must(t, err)
			if len(entries) != 1 || entries[0].Name() != name {
				t.Errorf("the folder holds %v", entries)
			}
		})
	}
	t.Run("relative", func(t *testing.T) {
		t.Chdir(t.TempDir())
		c, err := Create("?x.db")
		must(t, err)
		must(t, c.Close())
		c, err = Open("./?x.db")
		must(t, err)
		must(t, c.Close())
	})
	if _, err := Create("a\x00b"); err == nil {
		t.Error("a path with NUL was accepted")
	}
}

func TestReadOnlyHandleRefusesWrites(t *testing.T) {
	_, path := create(t)
	c, err := OpenReadOnly(path)
	must(t, err)
	defer c.Close()
	if err := c.SetSetting(ctx, "k", "v"); err == nil {
		t.Error("a read-only handle wrote")
	}
	if _, err := c.AddGap(ctx, Gap{Kind: GapSchema}); err == nil {
		t.Error("a read-only handle wrote")
	}
	if _, err := c.Operations(ctx, 0); err != nil {
		t.Errorf("reading: %v", err)
	}
}

func TestTwoWritersTakeTurns(t *testing.T) {
	const each = 30
	a, path := create(t)
	b, err := Open(path)
	must(t, err)
	defer b.Close()
	r, err := OpenReadOnly(path)
	must(t, err)
	defer r.Close()
	must(t, a.SetRepository(ctx, Repository{}))
	id := openSegment(t, a, "open", 0)

	var wg sync.WaitGroup
	for i, work := range []func(n int) error{
		func(n int) error {
			return a.Checkpoint(ctx, id, Progress{End: LSN(n), Tables: []TableCount{{Table: "t", Inserted: int64(n)}}})
		},
		func(n int) error {
			_, err := b.AddBase(ctx, Artifact{Name: fmt.Sprint("b", n), Start: LSN(n)}, Artifact{Name: fmt.Sprint("g", n)})
			return err
		},
		func(int) error {
			inv, err := r.Inventory(ctx)
			if len(inv.Artifacts)%2 != 1 {
				err = errors.Join(err, fmt.Errorf("a snapshot with half a base: %d artifacts", len(inv.Artifacts)))
			}
			return err
		},
	} {
		wg.Go(func() {
			for n := range each {
				if err := work(n); err != nil {
					t.Errorf("worker %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()

	all, err := a.Artifacts(ctx)
	must(t, err)
	if len(all) != 1+2*each {
		t.Errorf("%d artifacts, want %d", len(all), 1+2*each)
	}
	if counts, _ := b.Tables(ctx, id); len(counts) != 1 || counts[0].Inserted != each-1 {
		t.Errorf("counts %v", counts)
	}
}

// A transaction that reads before it writes must hold the write lock while it reads: SQLite does not let it wait later.
func TestWritersLockFromTheStart(t *testing.T) {
	a, path := create(t)
	b, err := Open(path)
	must(t, err)
	defer b.Close()
	_, err = b.db.Exec("PRAGMA busy_timeout = 0")
	must(t, err)
	must(t, a.write(ctx, func(*sql.Tx) error {
		if err := b.write(ctx, func(*sql.Tx) error { return nil }); !isCode(err, sqlite3.SQLITE_BUSY) {
			t.Errorf("second writer: %v, want SQLITE_BUSY", err)
		}
		if err := b.read(ctx, func(*sql.Tx) error { return nil }); err != nil {
			t.Errorf("reader beside a writer: %v", err)
		}
		return nil
	}))
}

// deadWriter makes a catalog with the journal of a writer that was killed in the middle of a commit. Copying both files
// while a transaction is under way gives that picture.
func deadWriter(t *testing.T, dead string) {
	c, path := create(t)
	must(t, c.SetRepository(ctx, Repository{Slot: "committed"}))
	_, err := c.db.Exec("PRAGMA cache_size = 1") // makes SQLite write to the file before the commit
	must(t, err)
	must(t, c.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE repository SET slot = 'half done'")
		must(t, err)
		_, err = tx.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
			INSERT INTO setting SELECT 'filler' || i, hex(zeroblob(500)) FROM n`)
		must(t, err)
		for _, suffix := range []string{"", "-journal"} {
			b, err := os.ReadFile(path + suffix)
			must(t, err)
			must(t, os.WriteFile(dead+suffix, b, 0o600))
		}
		return nil
	}))
}

func TestJournalOfADeadWriter(t *testing.T) {
	dead := filepath.Join(t.TempDir(), "catalog.db")
	deadWriter(t, dead)
	c, err := OpenReadOnly(dead)
	must(t, err)
	defer c.Close()
	if inv, err := c.Inventory(ctx); inv.Repository.Slot != "committed" || err != nil {
		t.Errorf("read %+v, %v", inv, err)
	}
	if _, found, _ := c.Setting(ctx, "filler1"); found {
		t.Error("the half-done commit is visible")
	}
	if _, err := os.Stat(dead + "-journal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("journal: %v", err)
	}
}

func TestRepositoryAndSettings(t *testing.T) {
	c, _ := create(t)
	if _, err := c.Repository(ctx); !errors.Is(err, ErrNotFound) {
		t.Errorf("before SetRepository: %v", err)
	}
	if _, err := c.Inventory(ctx); !errors.Is(err, ErrNotFound) {
		t.Errorf("inventory before SetRepository: %v", err)
	}
	want := Repository{Format: 1, SystemID: "7412345678901234567", Timeline: 4294967295, Database: "we\"ird\n;--",
		DatabaseOID: 4294967294, Encoding: "UTF8", Collate: "C", CType: "de_DE", LocaleProvider: "icu", Locale: "und",
		ServerVersion: "15.14", Slot: "s", Publication: "p", Compression: "zstd:3", Mode: "guarded", CreatedAt: at(1), StreamStart: 77}
	must(t, c.SetRepository(ctx, Repository{Slot: "old"}))
	must(t, c.SetRepository(ctx, want))
	if got, err := c.Repository(ctx); got != want || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}

	if _, found, err := c.Setting(ctx, "k"); found || err != nil {
		t.Errorf("unset: %t, %v", found, err)
	}
	must(t, c.SetSetting(ctx, "k", "1"))
	must(t, c.SetSetting(ctx, "k", ""))
	if v, found, err := c.Setting(ctx, "k"); v != "" || !found || err != nil {
		t.Errorf("set: %q, %t, %v", v, found, err)
	}
}

func TestOperations(t *testing.T) {
	c, _ := create(t)
	first, err := c.BeginOperation(ctx, "init", 11, at(1))
	must(t, err)
	second, err := c.BeginOperation(ctx, "start", 12, at(2))
	must(t, err)
	must(t, c.EndOperation(ctx, first, at(3), OutcomeFailed, "disk full"))
	want := []Operation{
		{ID: second, Command: "start", StartedAt: at(2), Outcome: OutcomeRunning, PID: 12},
		{ID: first, Command: "init", StartedAt: at(1), FinishedAt: at(3), Outcome: OutcomeFailed, Detail: "disk full", PID: 11},
	}
	if got, err := c.Operations(ctx, 0); !reflect.DeepEqual(got, want) || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := c.Operations(ctx, 1); !reflect.DeepEqual(got, want[:1]) || err != nil {
		t.Errorf("limit 1: %+v, %v", got, err)
	}
	if err := c.EndOperation(ctx, 99, at(4), OutcomeOK, ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown operation: %v", err)
	}
	if err := c.EndOperation(ctx, second, at(4), "splendid", ""); err == nil {
		t.Error("an unknown outcome was accepted")
	}
}
