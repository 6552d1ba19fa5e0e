package repo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

var testInfo = catalog.Repository{Format: segment.FormatVersion, SystemID: "7", Timeline: 1, Database: "customers_db", Compression: "zstd"}

func clock() time.Time { return testClock }

func TestCreateRefusesWhatIsInUse(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "letters.txt"), nil, 0o600))
	var e *NotEmptyError
	if _, err := Create(ctx, dir, testInfo, clock); !errors.As(err, &e) || e.Initialised {
		t.Errorf("a directory with a file: %v", err)
	}
	r := testRepository(t, "zstd")
	if _, err := Create(ctx, r.dir, testInfo, clock); !errors.As(err, &e) || !e.Initialised {
		t.Errorf("a repository: %v", err)
	}
	if _, err := Create(ctx, filepath.Join(dir, "letters.txt"), testInfo, clock); err == nil {
		t.Error("a file")
	}
	info := testInfo
	info.Compression = "xz"
	var c *filter.CodecError
	if _, err := Create(ctx, filepath.Join(dir, "new"), info, clock); !errors.As(err, &c) {
		t.Errorf("a bad method: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it left a directory: %v", err)
	}
}

func TestUndo(t *testing.T) {
	parent := t.TempDir()
	there, made := filepath.Join(parent, "there"), filepath.Join(parent, "made")
	must(t, os.Mkdir(there, 0o755))
	for _, dir := range []string{there, made} {
		r, err := Create(ctx, dir, testInfo, clock)
		must(t, err)
		writeBase(t, r, filter.Default)
		must(t, r.Undo())
	}
	if entries, err := os.ReadDir(there); err != nil || len(entries) != 0 {
		t.Errorf("the directory that was there: %v, %v", entries, err)
	}
	if _, err := os.Stat(made); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory that was made: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	broken := t.TempDir()
	must(t, os.WriteFile(filepath.Join(broken, CatalogName), []byte("no catalog"), 0o600))
	newer := testRepository(t, "zstd")
	info := testInfo
	info.Format = segment.FormatVersion + 1
	must(t, newer.cat.SetRepository(ctx, info))
	cases := []struct{ name, dir, want string }{
		{"absent", filepath.Join(broken, "absent"), "has no catalog.db"}, {"empty", t.TempDir(), "has no catalog.db"}, {"file", file, "has no catalog.db"},
		{"broken catalog", broken, "cannot be read"}, {"newer format", newer.dir, "it has format 3; this version of pg_scribe is too old for it: it reads formats " +
			"1 to 2"},
	}
	for _, c := range cases {
		for name, open := range map[string]func() (*Repository, error){
			"Open":         func() (*Repository, error) { return Open(ctx, c.dir, clock) },
			"OpenReadOnly": func() (*Repository, error) { return OpenReadOnly(ctx, c.dir) },
		} {
			var e *NotRepositoryError
			if _, err := open(); !errors.As(err, &e) || e.Dir != c.dir || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: error %v, want a NotRepositoryError with %q", c.name, name, err, c.want)
			}
		}
	}
}

func TestReadOnlyWhileOthersWrite(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1, "SELECT 1;")
	must(t, w.Checkpoint(ctx))
	reader, err := OpenReadOnly(ctx, r.dir)
	must(t, err)
	defer reader.Close()
	a := segmentAt(t, reader, txLSN(1))
	addTx(t, w, 2, "SELECT 2;")
	must(t, w.Seal(ctx))
	if list, err := readItems(t, reader, a); err != nil || len(xids(list)) != 1 {
		t.Errorf("%v, error %v", list, err)
	}
	if _, err := reader.CreateSegment(ctx, segmentHeader(txLSN(9))); err == nil {
		t.Error("a segment of a repository that is read only")
	}
}

func TestEnd(t *testing.T) {
	r := testRepository(t, "zstd")
	end := func(want catalog.LSN, when string) {
		t.Helper()
		if got, err := r.End(ctx); err != nil || got != want {
			t.Errorf("%s: %s, error %v, want %s", when, got, err, want)
		}
	}
	var e *NotRepositoryError
	if _, err := r.End(ctx); !errors.As(err, &e) {
		t.Errorf("without a base: %v", err)
	}
	other := catalog.Artifact{Kind: catalog.KindBase, Name: "other", SystemID: "8", Timeline: 1, Start: 1, Filters: "zstd"}
	must(t, r.AddBase(ctx, other, catalog.Artifact{}))
	if _, err := r.End(ctx); !errors.As(err, &e) {
		t.Errorf("with a base of another system: %v", err)
	}
	writeBase(t, r, filter.Default)
	end(0x10, "with a base")
	w := createSegment(t, r, 0x10)
	end(0x10, "with an empty segment")
	addTx(t, w, 1)
	must(t, w.Checkpoint(ctx))
	end(0x18, "with an open segment")
	must(t, w.Seal(ctx))
	later := catalog.Artifact{Kind: catalog.KindBase, Name: "later", SystemID: "7", Timeline: 1, Start: 0x99, Filters: "zstd"}
	must(t, r.AddBase(ctx, later, catalog.Artifact{}))
	end(0x18, "with a later base")
	// A dead branch may reach further than the timeline that goes on.
	h := segmentHeader(0x50)
	h.Timeline = 9
	w, err := r.CreateSegment(ctx, h)
	must(t, err)
	addTx(t, w, 7)
	must(t, w.Seal(ctx))
	end(0x18, "with another timeline")
}

func TestWriteMetadata(t *testing.T) {
	r := testRepository(t, "zstd")
	base, _ := writeBase(t, r, filter.Default)
	// A process of the same number died here before.
	must(t, os.WriteFile(r.Path(fmt.Sprintf("%s.%d%s", MetadataName, os.Getpid(), partialSuffix)), []byte("half"), 0o600))
	for range 2 {
		must(t, r.WriteMetadata(ctx, Metadata{Server: "15.18", Encoding: "UTF8", Extensions: []string{"hstore 1.8", "evil\nname 1"}}))
	}
	b, err := os.ReadFile(r.Path(MetadataName))
	must(t, err)
	for _, want := range []string{"PostgreSQL 15.18", `"hstore 1.8"`, `"evil\nname 1"`, base.Name + "  point 0/10", "zstd -dc"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if left, _ := filepath.Glob(r.Path("*" + partialSuffix)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	info, err := os.Stat(r.Path(MetadataName))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
}
