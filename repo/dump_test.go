package repo

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pg_scribe/catalog"
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

// dropScribe chooses what stream keeps out of a base.
func dropScribe(statement []byte) []byte {
	for _, verb := range []string{"CREATE EVENT TRIGGER ", "ALTER EVENT TRIGGER ", "COMMENT ON EVENT TRIGGER "} {
		if bytes.HasPrefix(statement, []byte(verb+"scribe_")) {
			return nil
		}
	}
	return statement
}

// nonConforming is the text as pg_dump writes it for a database whose
// standard_conforming_strings is off.
func nonConforming(dump string) string {
	return strings.NewReplacer("SET standard_conforming_strings = on;", "SET standard_conforming_strings = off;",
		"\n\\. and \\\\';", "\n\\\\. and \\\\\\\\ it\\'s;';", `'^\d+;$'`, `'^\\d+;\';$'`).Replace(dump)
}

var fixtureCounts = []catalog.TableCount{
	{Table: "\"a \"\"b\"\" (c) d;\".\"two\nlines;\"", Inserted: 2}, {Table: "public.empty"}, {Table: "public.lines", Inserted: 11},
	{Table: "public.nothing", Inserted: 2}, {Table: "public.plain", Inserted: 7},
}

func TestFilterDump(t *testing.T) {
	source := fixture(t, "pg_dump-15.sql")
	for name, dump := range map[string]string{"conforming": source, "not conforming": nonConforming(source)} {
		t.Run(name, func(t *testing.T) {
			want := dump
			for _, block := range []string{
				"CREATE EVENT TRIGGER scribe_a ON ddl_command_start\n   EXECUTE FUNCTION public.on_ddl();\n",
				"CREATE EVENT TRIGGER scribe_z ON ddl_command_end\n   EXECUTE FUNCTION public.on_ddl();\n",
				"ALTER EVENT TRIGGER scribe_a ENABLE ALWAYS;\n", "ALTER EVENT TRIGGER scribe_a OWNER TO postgres;\n",
				"ALTER EVENT TRIGGER scribe_z OWNER TO postgres;\n", "COMMENT ON EVENT TRIGGER scribe_a IS 'not the application''s';\n",
			} {
				if strings.Count(want, block) != 1 {
					t.Fatalf("the dump does not hold %q once", block)
				}
				want = strings.Replace(want, block, "", 1)
			}
			for _, size := range []int{1, 7, 1 << 20} {
				var got bytes.Buffer
				counts, err := FilterDump(&got, &pieces{dump, size}, dropScribe)
				if err != nil || got.String() != want {
					t.Errorf("pieces of %d: error %v; the text differs: %v", size, err, got.String() != want)
				}
				if !slices.Equal(counts, fixtureCounts) {
					t.Errorf("counts %+v\nwant %+v", counts, fixtureCounts)
				}
			}
		})
	}
}

func TestFilterDumpDropsCopyWithItsRows(t *testing.T) {
	var got bytes.Buffer
	counts, err := FilterDump(&got, strings.NewReader(fixture(t, "pg_dump-15.sql")), func(s []byte) []byte {
		if bytes.HasPrefix(s, []byte("COPY public.lines ")) {
			return nil
		}
		return s
	})
	must(t, err)
	if len(counts) != len(fixtureCounts)-1 || strings.Contains(got.String(), "SELECT 'open") || !strings.Contains(got.String(), "\nCOPY public.plain ") {
		t.Errorf("counts %v", counts)
	}
}

// A statement may come out otherwise than it was; rows and the rest stay.
func TestFilterDumpEdits(t *testing.T) {
	var got bytes.Buffer
	dump := fixture(t, "pg_dump-15.sql")
	_, err := FilterDump(&got, strings.NewReader(dump), func(s []byte) []byte {
		return bytes.Replace(s, []byte("SET row_security = off;"), []byte("SET row_security = on;"), 1)
	})
	must(t, err)
	if want := strings.Replace(dump, "SET row_security = off;", "SET row_security = on;", 1); got.String() != want || want == dump {
		t.Errorf("the text differs")
	}
}

// A dump that ends early, anywhere but between two statements, is an error.
func TestFilterDumpNoticesTruncation(t *testing.T) {
	dump := fixture(t, "pg_dump-15.sql")
	_, statements := dumpItems(t, dump)
	for _, s := range statements {
		at := strings.Index(dump, s)
		cuts := []int{at + len(s)/2, at + len(s)}
		if strings.HasPrefix(s, "COPY ") {
			cuts = append(cuts, at+len(s)+1, at+len(s)+2)
		}
		for _, cut := range cuts {
			var format *FormatError
			if _, err := FilterDump(io.Discard, strings.NewReader(dump[:cut]), dropScribe); !errors.As(err, &format) {
				t.Errorf("cut behind %q: error %v", dump[max(0, cut-40):cut], err)
			}
		}
	}
	boom := errors.New("boom")
	if _, err := FilterDump(failing{boom}, strings.NewReader(dump), dropScribe); !errors.Is(err, boom) {
		t.Errorf("an error of the writer comes back as %v", err)
	}
}

// dumpItems reads a dump as a base and returns what it is made of.
func dumpItems(t *testing.T, dump string) (list []segment.Item, statements []string) {
	t.Helper()
	text := "-- pg_scribe base\n-- format: 1\n-- start: 0/10\n--\n" + dump
	end, _ := sealed(text, segment.Trailer{End: 0x10, Fence: 0x20})
	r, err := NewDumpReader(catalog.KindBase, "base", strings.NewReader(text+end))
	must(t, err)
	for {
		item, err := r.Next()
		must(t, err)
		if item.Kind == segment.End {
			break
		}
		list = append(list, item)
		statements = append(statements, string(item.SQL))
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("behind the end: %v", err)
	}
	if r.Trailer.End != 0x10 || r.Trailer.Fence != 0x20 || r.Header.Start != 0x10 {
		t.Errorf("header %+v, trailer %+v", r.Header, r.Trailer)
	}
	return list, statements
}

func TestDumpReader(t *testing.T) {
	source := fixture(t, "pg_dump-15.sql")
	for name, dump := range map[string]string{"conforming": source, "not conforming": nonConforming(source)} {
		t.Run(name, func(t *testing.T) {
			list, statements := dumpItems(t, dump)
			// The statements are there in order; between them stands nothing
			// but comments, empty lines, psql's commands and the rows of COPY.
			rest := dump
			kinds := map[segment.Kind]int{}
			for i, s := range statements {
				before, after, found := strings.Cut(rest, s+"\n")
				if !found {
					t.Fatalf("statement %q is not in the dump", s)
				}
				for line := range strings.Lines(before) {
					if line != "\n" && !strings.HasPrefix(line, "--") && !strings.HasPrefix(line, "\\") {
						t.Fatalf("line %q was passed over before %q", line, s)
					}
				}
				if want := int64(4 + strings.Count(dump[:len(dump)-len(rest)+len(before)], "\n") + 1); list[i].Line != want {
					t.Errorf("%q stands in line %d, got %d", s, want, list[i].Line)
				}
				kinds[list[i].Kind]++
				if rest = after; list[i].Kind == segment.CopyBlock {
					_, rest, _ = strings.Cut("\n"+rest, "\n\\.\n")
				}
			}
			if kinds[segment.CopyBlock] != len(fixtureCounts) || kinds[segment.Statement] != len(statements)-len(fixtureCounts) || len(statements) != 55 {
				t.Errorf("%d statements, kinds %v", len(statements), kinds)
			}
		})
	}
}

func TestDumpReaderKeepsLinesTogether(t *testing.T) {
	dump := "SELECT 1; SELECT 'a\n;b'; SELECT\n2; -- more\n/* why\n; */ SELECT 3;\n\n  SELECT 4;\nCOPY t (a) FROM stdin;\n1\n\\.\n"
	_, got := dumpItems(t, dump)
	want := []string{"SELECT 1; SELECT 'a\n;b'; SELECT\n2; -- more", "/* why\n; */ SELECT 3;", "  SELECT 4;", "COPY t (a) FROM stdin;"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// What a base says of the objects in it stands behind the dump; a malformed line is an error.
func TestDumpReaderOfObjects(t *testing.T) {
	of := []segment.Fingerprint{segment.NewFingerprint("table", "public.t", []byte(`{"a": "it's"}`)), {Class: "view", Identity: "v", SHA256: segment.Gone}}
	lines := ""
	for _, f := range of {
		lines += string(segment.AppendObject(nil, f))
	}
	read := func(text string) (found []segment.Fingerprint, statements int, err error) {
		head := baseHeader(catalog.KindBase)
		head.Format = segment.FormatVersion
		r, err := NewDumpReader(catalog.KindBase, "base", strings.NewReader(string(head.Append(nil))+text))
		must(t, err)
		r.Described = func(f segment.Fingerprint) error { found = append(found, f); return nil }
		for err == nil {
			if _, err = r.Next(); err == nil {
				statements++
			}
		}
		return found, statements, err
	}
	found, statements, err := read("COPY t (a) FROM stdin;\n-- pg_scribe object\n\\.\nSELECT 1;\n" + lines)
	if !slices.Equal(found, of) || statements != 2 || !strings.Contains(err.Error(), "ends too early") {
		t.Errorf("%v, %d statements, %v", found, statements, err)
	}
	if _, _, err := read(strings.Replace(lines, "sha256 ", "sha256 7", 1)); !strings.Contains(err.Error(), `malformed line "object"`) {
		t.Error(err)
	}
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
	counts, err := FilterDump(w, strings.NewReader(fixture(t, "pg_dump-15.sql")), dropScribe)
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
			if a.Kind == catalog.KindBase && (statements != 49 || !slices.Equal(d.Trailer.Tables, fixtureCounts) || d.Trailer.Fence != 0x20) {
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
