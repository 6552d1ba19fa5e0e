package repo

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/repo/dump"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

func fixture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	must(t, err)
	if len(b) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return string(b)
}

func baseHeader(kind catalog.Kind) segment.Header {
	return segment.Header{Kind: kind, SystemID: "7", Timeline: 1, Database: "customers_db", Server: "15.18", Encoding: "UTF8", Collate: "C.UTF-8",
		CType:          "C.UTF-8",
		LocaleProvider: "libc", Start: 0x10, At: testClock, Created: testClock, Dump: "pg_dump (PostgreSQL) 15.18"}
}

// writeBase stores the fixtures as a base and its globals.
func writeBase(t testing.TB, r *Repository, codec filter.Chain) (base, globals catalog.Artifact) {
	t.Helper()
	stamp, err := r.Stamp()
	must(t, err)
	w, err := r.CreateDump(baseHeader(catalog.KindBase), stamp, codec)
	must(t, err)
	defer w.Close()
	counts, err := dump.Filter(w, strings.NewReader(fixture(t, "pg_dump-15.sql")), func(statement []byte) []byte {
		if bytes.Contains(statement, []byte("EVENT TRIGGER scribe_")) {
			return nil
		}
		return statement
	})
	must(t, err)
	base, err = w.Finish(segment.Trailer{Fence: 0x20, Tables: counts})
	must(t, err)
	g, err := r.CreateDump(baseHeader(catalog.KindGlobals), stamp, GlobalsChain(codec))
	must(t, err)
	defer g.Close()
	_, err = io.Copy(g, strings.NewReader(fixture(t, "pg_dumpall-15.sql")))
	must(t, err)
	globals, err = g.Finish(segment.Trailer{})
	must(t, err)
	must(t, r.AddBase(ctx, base, globals))
	return base, globals
}

func TestDumpRoundTrip(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, "zstd")
		codec, err := filter.ParseShorthand(spec)
		must(t, err)
		base, globals := writeBase(t, r, codec)
		if base.Name != "base-20261121-015758.sql"+codec.Extension() || globals.Name != "globals-20261121-015758.sql" {
			t.Errorf("names %s, %s", base.Name, globals.Name)
		}
		for _, a := range []catalog.Artifact{base, globals} {
			must(t, r.Check(a))
			info, err := os.Stat(r.Path(a.Name))
			must(t, err)
			if info.Mode().Perm() != 0o600 || info.Size() != a.Bytes {
				t.Errorf("%s: mode %o, %d bytes", a.Name, info.Mode().Perm(), info.Size())
			}
			d, err := r.OpenDump(a)
			must(t, err)
			defer d.Close()
			statements := 0
			for {
				item, err := d.Next()
				must(t, err)
				if item.Kind == segment.End {
					break
				}
				statements++
			}
			h := baseHeader(a.Kind)
			h.Format, h.Filters = segment.FormatVersion, a.Filters
			h.Repository = segment.About{Begun: testClock, Compression: "zstd"}
			if d.Header != h {
				t.Errorf("header %+v\nwant %+v", d.Header, h)
			}
			if d.Trailer.TextBytes != a.TextBytes || d.Trailer.TextSHA256 != a.TextSHA256 || d.Trailer.End != a.Start {
				t.Errorf("trailer %+v, artifact %+v", d.Trailer, a)
			}
			if a.Kind == catalog.KindBase && (statements != 49 || len(d.Trailer.Tables) != 5 || d.Trailer.Tables[4].Inserted != 7 || d.Trailer.Fence != 0x20) {
				t.Errorf("%d statements, trailer %+v", statements, d.Trailer)
			}
			if a.Kind == catalog.KindGlobals && statements != 5 {
				t.Errorf("%d statements in the globals", statements)
			}
		}
		if _, err := r.OpenDump(artifact(t, r, func(a catalog.Artifact) bool { return a.Kind == catalog.KindBase })); err != nil {
			t.Error(err)
		}
		wrong := base
		wrong.Kind = catalog.KindGlobals
		if _, err := r.OpenDump(wrong); err == nil || !strings.Contains(err.Error(), "not a globals") {
			t.Errorf("a base as globals: %v", err)
		}
		if left, _ := filepath.Glob(r.Path("*" + partialSuffix)); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestDumpWithoutFinalLineEnd(t *testing.T) {
	r := testRepository(t, "none")
	w, err := r.CreateDump(baseHeader(catalog.KindGlobals), "20260101-000000", filter.Chain{})
	must(t, err)
	defer w.Close()
	_, err = w.Write([]byte("CREATE ROLE a;"))
	must(t, err)
	a, err := w.Finish(segment.Trailer{})
	must(t, err)
	d, err := r.OpenDump(a)
	must(t, err)
	defer d.Close()
	item, err := d.Next()
	if err != nil || string(item.SQL) != "CREATE ROLE a;" {
		t.Errorf("%q, error %v", item.SQL, err)
	}
	if item, err = d.Next(); err != nil || item.Kind != segment.End {
		t.Errorf("%v, error %v", item.Kind, err)
	}
}

func TestAbort(t *testing.T) {
	r := testRepository(t, "zstd")
	files := func() []string {
		list, err := filepath.Glob(r.Path("*-2026*"))
		must(t, err)
		return list
	}
	begin := func() *DumpWriter {
		w, err := r.CreateDump(baseHeader(catalog.KindBase), "20261121-000000", filter.Default)
		must(t, err)
		return w
	}
	w := begin()
	if got := files(); len(got) != 1 || !strings.HasSuffix(got[0], partialSuffix) {
		t.Errorf("while it is written: %v", got)
	}
	w.Abort()
	if got := files(); len(got) != 0 {
		t.Errorf("aborted before the end: %v", got)
	}
	w = begin()
	_, err := w.Finish(segment.Trailer{})
	must(t, err)
	w.Close()
	w.Abort()
	if got := files(); len(got) != 0 {
		t.Errorf("aborted after the end: %v", got)
	}
	w = begin()
	a, err := w.Finish(segment.Trailer{})
	must(t, err)
	must(t, r.AddBase(ctx, a, catalog.Artifact{}))
	w.Abort()
	w.Close()
	if got := files(); len(got) != 1 {
		t.Errorf("aborted although the catalog has it: %v", got)
	}
	must(t, r.Check(a))
}

// A base never takes another one's name, and giving up does not remove what
// is somebody else's.
func TestDumpDoesNotOverwrite(t *testing.T) {
	r := testRepository(t, "zstd")
	base, _ := writeBase(t, r, filter.Default)
	if _, err := r.CreateDump(baseHeader(catalog.KindBase), "20261121-015758", filter.Default); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second base of the name: %v", err)
	}
	must(t, r.Check(base))
	w, err := r.CreateDump(baseHeader(catalog.KindBase), "20261122-000000", filter.Default)
	must(t, err)
	if _, err := r.CreateDump(baseHeader(catalog.KindBase), "20261122-000000", filter.Default); !errors.Is(err, fs.ErrExist) {
		t.Errorf("while it is written: %v", err)
	}
	must(t, os.WriteFile(r.Path("base-20261122-000000.sql.zst"), []byte("precious"), 0o600))
	if _, err := w.Finish(segment.Trailer{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Finish gives %v", err)
	}
	w.Abort()
	if b, err := os.ReadFile(r.Path("base-20261122-000000.sql.zst")); string(b) != "precious" {
		t.Errorf("the file now holds %q, error %v", b, err)
	}
}

func TestStamp(t *testing.T) {
	r := testRepository(t, "zstd")
	for i, want := range []string{"20261121-015758", "20261121-015759", "20261121-015800"} {
		stamp, err := r.Stamp()
		if err != nil || stamp != want {
			t.Fatalf("stamp %s, error %v, want %s", stamp, err, want)
		}
		name := []string{"base-", "globals-"}[i%2] + stamp + ".sql.zst" + []string{"", partialSuffix}[i%2]
		must(t, os.WriteFile(r.Path(name), nil, 0o600))
	}
}

// While the encoder works in the background, progress may be asked for.
func TestDumpProgress(t *testing.T) {
	r := testRepository(t, "zstd")
	w, err := r.CreateDump(baseHeader(catalog.KindBase), "20261121-000000", filter.Default)
	must(t, err)
	defer w.Abort()
	line := []byte("INSERT INTO t VALUES ('" + strings.Repeat("x", 1<<20) + "');\n")
	for range 20 {
		_, err := w.Write(line)
		must(t, err)
		if w.StoredBytes() > w.TextBytes() {
			t.Errorf("%d bytes stored of %d", w.StoredBytes(), w.TextBytes())
		}
	}
}
