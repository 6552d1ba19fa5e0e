package dump

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fixture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
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

func TestFilter(t *testing.T) {
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
				counts, err := Filter(&got, &pieces{dump, size}, dropScribe)
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

func TestFilterDropsCopyWithItsRows(t *testing.T) {
	var got bytes.Buffer
	counts, err := Filter(&got, strings.NewReader(fixture(t, "pg_dump-15.sql")), func(s []byte) []byte {
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
func TestFilterEdits(t *testing.T) {
	var got bytes.Buffer
	dump := fixture(t, "pg_dump-15.sql")
	_, err := Filter(&got, strings.NewReader(dump), func(s []byte) []byte {
		return bytes.Replace(s, []byte("SET row_security = off;"), []byte("SET row_security = on;"), 1)
	})
	must(t, err)
	if want := strings.Replace(dump, "SET row_security = off;", "SET row_security = on;", 1); got.String() != want || want == dump {
		t.Errorf("the text differs")
	}
}

// A dump that ends early, anywhere but between two statements, is an error.
func TestFilterNoticesTruncation(t *testing.T) {
	dump := fixture(t, "pg_dump-15.sql")
	_, statements := dumpItems(t, dump)
	for _, s := range statements {
		at := strings.Index(dump, s)
		cuts := []int{at + len(s)/2, at + len(s)}
		if strings.HasPrefix(s, "COPY ") {
			cuts = append(cuts, at+len(s)+1, at+len(s)+2)
		}
		for _, cut := range cuts {
			var format *segment.FormatError
			if _, err := Filter(io.Discard, strings.NewReader(dump[:cut]), dropScribe); !errors.As(err, &format) {
				t.Errorf("cut behind %q: error %v", dump[max(0, cut-40):cut], err)
			}
		}
	}
	boom := errors.New("boom")
	if _, err := Filter(failing{boom}, strings.NewReader(dump), dropScribe); !errors.Is(err, boom) {
		t.Errorf("an error of the writer comes back as %v", err)
	}
}

// dumpItems reads a dump as a base and returns what it is made of.
func dumpItems(t *testing.T, dump string) (list []segment.Item, statements []string) {
	t.Helper()
	text := "-- pg_scribe base\n-- format: 1\n-- start: 0/10\n--\n" + dump
	trailer := segment.Trailer{End: 0x10, Fence: 0x20}
	end := trailer.Append(nil)
	sum := sha256.Sum256([]byte(text + string(end)))
	trailer.TextBytes, trailer.TextSHA256 = int64(len(text)+len(end)), hex.EncodeToString(sum[:])
	r, err := NewReader(catalog.KindBase, "base", strings.NewReader(text+string(trailer.AppendSum(end))))
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

func TestReader(t *testing.T) {
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

func TestReaderKeepsLinesTogether(t *testing.T) {
	dump := "SELECT 1; SELECT 'a\n;b'; SELECT\n2; -- more\n/* why\n; */ SELECT 3;\n\n  SELECT 4;\nCOPY t (a) FROM stdin;\n1\n\\.\n"
	_, got := dumpItems(t, dump)
	want := []string{"SELECT 1; SELECT 'a\n;b'; SELECT\n2; -- more", "/* why\n; */ SELECT 3;", "  SELECT 4;", "COPY t (a) FROM stdin;"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// What a base says of the objects in it stands behind the dump; a malformed line is an error.
func TestReaderOfObjects(t *testing.T) {
	of := []segment.Fingerprint{segment.NewFingerprint("table", "public.t", []byte(`{"a": "it's"}`)), {Class: "view", Identity: "v", SHA256: segment.Gone}}
	lines := ""
	for _, f := range of {
		lines += string(segment.AppendObject(nil, f))
	}
	read := func(text string) (found []segment.Fingerprint, statements int, err error) {
		head := segment.Header{Kind: catalog.KindBase, Format: segment.FormatVersion, SystemID: "7", Timeline: 1, Database: "d", Start: 0x10}
		r, err := NewReader(catalog.KindBase, "base", strings.NewReader(string(head.Append(nil))+text))
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

// pieces hands out a text few bytes at a time.
type pieces struct {
	text string
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.text)
	p.text = p.text[n:]
	return n, nil
}

// failing takes half of what it is given.
type failing struct{ err error }

func (f failing) Write(p []byte) (int, error) { return len(p) / 2, f.err }

func BenchmarkFilter(b *testing.B) {
	dump := "COPY public.t (id, a, b) FROM stdin;\n" + strings.Repeat("4711\t4711\tsome text of a row that is as long as rows are\n", 100_000) + "\\.\n"
	b.SetBytes(int64(len(dump)))
	for b.Loop() {
		if _, err := Filter(struct{ io.Writer }{io.Discard}, strings.NewReader(dump), func(s []byte) []byte { return s }); err != nil {
			b.Fatal(err)
		}
	}
}
