package sqltext

import (
	"slices"
	"strings"
	"testing"
)

const atomicBody = `CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO t VALUES (1); -- a comment; with a semicolon
  SELECT CASE WHEN a > 1 THEN (CASE a WHEN 2 THEN 3 END) ELSE 4 END;
END`

var splitCases = []struct {
	name string
	text string
	want []string
}{
	{"nothing", "", nil},
	{"space", " \n\t", nil},
	{"only semicolons", ";; ;\n;", nil},
	{"only a comment", "-- a; b", nil},
	{"only a block comment", "/* a; b */", nil},
	{"one", "SELECT 1", []string{"SELECT 1"}},
	{"one ended", "SELECT 1;", []string{"SELECT 1"}},
	{"ended often", "SELECT 1;;;", []string{"SELECT 1"}},
	{"two", "SELECT 1; SELECT 2", []string{"SELECT 1", "SELECT 2"}},
	{"lines", "SELECT\n1\n;\n\nSELECT\n2;\n", []string{"SELECT\n1", "SELECT\n2"}},
	{"comment behind", "SELECT 1; -- done; really", []string{"SELECT 1"}},
	{"comment behind without semicolon", "SELECT 1 -- done", []string{"SELECT 1"}},
	{"comment before", "-- why\nSELECT 1;", []string{"-- why\nSELECT 1"}},
	{"comment within", "SELECT -- a; b'\n1;", []string{"SELECT -- a; b'\n1"}},
	{"comment ends at a carriage return", "SELECT 1 -- a\r; SELECT 2", []string{"SELECT 1", "SELECT 2"}},
	{"block comment", "SELECT /* ; ' */ 1;", []string{"SELECT /* ; ' */ 1"}},
	{"nested comment", "SELECT /* a /* ; */ ; ' */ 1; SELECT 2", []string{"SELECT /* a /* ; */ ; ' */ 1", "SELECT 2"}},
	{"star slash", "SELECT 2 */* x */ 3; SELECT 4", []string{"SELECT 2 */* x */ 3", "SELECT 4"}},
	{"slashes", "SELECT 4/-2; SELECT 1", []string{"SELECT 4/-2", "SELECT 1"}},
	{"string", "SELECT ';', 'a''b;'; SELECT 2", []string{"SELECT ';', 'a''b;'", "SELECT 2"}},
	{"string over lines", "SELECT 'a\n; b'; SELECT 2", []string{"SELECT 'a\n; b'", "SELECT 2"}},
	{"backslash in a plain string", `SELECT 'a\'; SELECT 2`, []string{`SELECT 'a\'`, "SELECT 2"}},
	{"escape string", `SELECT E'a\';'; SELECT 2`, []string{`SELECT E'a\';'`, "SELECT 2"}},
	{"escape string, small e", `SELECT e'\\'; SELECT 2`, []string{`SELECT e'\\'`, "SELECT 2"}},
	{"escape string, doubled quote", `SELECT E'''\';'; SELECT 2`, []string{`SELECT E'''\';'`, "SELECT 2"}},
	{"escape string goes on", "SELECT E'a'\n  '\\';'; SELECT 2", []string{"SELECT E'a'\n  '\\';'", "SELECT 2"}},
	{"escape string goes on behind a comment", "SELECT E'a' -- c\n '\\';'; SELECT 2", []string{"SELECT E'a' -- c\n '\\';'", "SELECT 2"}},
	{"escape string does not go on", "SELECT E'a', '\\'; SELECT 2", []string{"SELECT E'a', '\\'", "SELECT 2"}},
	{"string goes on", "SELECT 'a'\n'\\'; SELECT 2", []string{"SELECT 'a'\n'\\'", "SELECT 2"}},
	{"word that ends in e", `SELECT name'\'; SELECT 2`, []string{`SELECT name'\'`, "SELECT 2"}},
	{"bit and national strings", `SELECT b'1', x'F', n'a\', U&'\0041'; SELECT 2`, []string{`SELECT b'1', x'F', n'a\', U&'\0041'`, "SELECT 2"}},
	{"identifier", `SELECT 1 AS "a;""b'"; SELECT 2`, []string{`SELECT 1 AS "a;""b'"`, "SELECT 2"}},
	{"identifier over lines", "SELECT 1 AS \"a\n;b\"; SELECT 2", []string{"SELECT 1 AS \"a\n;b\"", "SELECT 2"}},
	{"identifier with backslash", `SELECT 1 AS "\"; SELECT 2`, []string{`SELECT 1 AS "\"`, "SELECT 2"}},
	{"Unicode identifier", `SELECT 1 AS U&"\003b;"; SELECT 2`, []string{`SELECT 1 AS U&"\003b;"`, "SELECT 2"}},
	{"dollar quote", "SELECT $$a;'b$$; SELECT 2", []string{"SELECT $$a;'b$$", "SELECT 2"}},
	{"tagged dollar quote", "SELECT $x$ $$ ; $y$ $x$; SELECT 2", []string{"SELECT $x$ $$ ; $y$ $x$", "SELECT 2"}},
	{"dollar quote ends at once", "SELECT $x$$x$; SELECT 2", []string{"SELECT $x$$x$", "SELECT 2"}},
	{"dollar before the end of a quote", "SELECT $x$a;$$x$; SELECT 2", []string{"SELECT $x$a;$$x$", "SELECT 2"}},
	{"tag of other letters", "SELECT $é1$;$é1$; SELECT 2", []string{"SELECT $é1$;$é1$", "SELECT 2"}},
	{"parameter", "SELECT $1; SELECT $2", []string{"SELECT $1", "SELECT $2"}},
	{"dollar in a word", "SELECT a$b$; SELECT $1", []string{"SELECT a$b$", "SELECT $1"}},
	{"rule", "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO a VALUES (1); DELETE FROM b;); SELECT 2",
		[]string{"CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO a VALUES (1); DELETE FROM b;)", "SELECT 2"}},
	{"parenthesis too many", "SELECT 1); SELECT 2", []string{"SELECT 1)", "SELECT 2"}},
	{"array", "SELECT (ARRAY[1,2])[1:2]; SELECT 2", []string{"SELECT (ARRAY[1,2])[1:2]", "SELECT 2"}},
	{"atomic body", atomicBody + "; SELECT 2", []string{atomicBody, "SELECT 2"}},
	{"atomic body in capitals and comments", "create procedure p() begin/* x */ -- y\n atomic; select 1; end; SELECT 2",
		[]string{"create procedure p() begin/* x */ -- y\n atomic; select 1; end", "SELECT 2"}},
	{"atomic body with names", `CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; SELECT x.case FROM x; SELECT "end"; END; SELECT 2`,
		[]string{`CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; SELECT x.case FROM x; SELECT "end"; END`, "SELECT 2"}},
	{"empty atomic body", "CREATE PROCEDURE p() BEGIN ATOMIC END; SELECT 2", []string{"CREATE PROCEDURE p() BEGIN ATOMIC END", "SELECT 2"}},
	{"transaction", "BEGIN; CREATE TABLE t (); END;", []string{"BEGIN", "CREATE TABLE t ()", "END"}},
	{"case outside of a body", "SELECT CASE WHEN true THEN 1 END; SELECT 2", []string{"SELECT CASE WHEN true THEN 1 END", "SELECT 2"}},
	{"column named begin", "CREATE TABLE t (begin int, atomic int); SELECT 2", []string{"CREATE TABLE t (begin int, atomic int)", "SELECT 2"}},
	{"semicolon by itself", "SELECT 1\n;\n-- x\n;SELECT 2", []string{"SELECT 1", "SELECT 2"}},
	{"other letters", "CREATE TABLE tëst (); SELECT 'ü;'", []string{"CREATE TABLE tëst ()", "SELECT 'ü;'"}},
	{"no-break space belongs to a word", "SELECT a\u00a0; SELECT 2", []string{"SELECT a\u00a0", "SELECT 2"}},
	{"carriage returns", "SELECT 1;\r\nSELECT 2;\r\n", []string{"SELECT 1", "SELECT 2"}},
	{"psql variable", "SELECT :x; SELECT a::int", []string{"SELECT :x", "SELECT a::int"}},
}

func TestSplit(t *testing.T) {
	for _, c := range splitCases {
		t.Run(c.name, func(t *testing.T) {
			got, ok := Split(c.text, true)
			if !ok || !slices.Equal(got, c.want) {
				t.Errorf("got %q, %v\nwant %q", got, ok, c.want)
			}
		})
	}
}

func TestSplitNonConforming(t *testing.T) {
	cases := []struct {
		text string
		want []string
	}{
		{`SELECT 'it\'s; x'; SELECT 2`, []string{`SELECT 'it\'s; x'`, "SELECT 2"}},
		{`SELECT '\\'; SELECT 2`, []string{`SELECT '\\'`, "SELECT 2"}},
		{"SELECT 'a'\n'\\';'; SELECT 2", []string{"SELECT 'a'\n'\\';'", "SELECT 2"}},
		{`SELECT "\"; SELECT 2`, []string{`SELECT "\"`, "SELECT 2"}},
		{`SELECT $$\$$; SELECT 2`, []string{`SELECT $$\$$`, "SELECT 2"}},
	}
	for _, c := range cases {
		if got, ok := Split(c.text, false); !ok || !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, %v, want %q", c.text, got, ok, c.want)
		}
	}
}

func TestSplitOfIncompleteText(t *testing.T) {
	for _, text := range []string{"SELECT 'a", "SELECT E'a\\'", `SELECT "a`, "SELECT $$a", "SELECT $x$ $y$", "SELECT /* a", "SELECT /* /* */",
		"SELECT (1; SELECT 2", "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;", "SELECT (1 -- x", "'", `SELECT 1; SELECT '`} {
		if got, ok := Split(text, true); ok {
			t.Errorf("%q: taken for whole: %q", text, got)
		}
	}
}

// The scanner keeps its state across pieces that end with a line: it must not
// matter where a text is cut.
func TestScannerInPieces(t *testing.T) {
	for _, c := range splitCases {
		whole, ok := Split(c.text, true)
		if !ok {
			continue
		}
		count := 0
		l := NewScanner(true)
		for line := range strings.SplitAfterSeq(c.text, "\n") {
			for i := 0; i < len(line); {
				next, ended := l.Scan([]byte(line), i)
				if ended {
					if l.Content() {
						count++
					}
					l.Restart()
				}
				i = next
			}
		}
		if l.Content() {
			count++
		}
		if count != len(whole) {
			t.Errorf("%s: %d statements in pieces, %d as a whole", c.name, count, len(whole))
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, c := range splitCases {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, conforming := range []bool{true, false} {
			parts, ok := Split(text, conforming)
			if !ok {
				continue
			}
			// What was split off stays in one piece, and so does all of it
			// when it is put together again.
			for _, p := range parts {
				if again, ok := Split(p, conforming); !ok || len(again) != 1 || again[0] != p {
					t.Fatalf("%q of %q splits into %q, %v", p, text, again, ok)
				}
			}
			joined := strings.Join(parts, ";\n")
			if again, ok := Split(joined, conforming); !ok || !slices.Equal(again, parts) {
				t.Fatalf("%q splits into %q, joined again into %q", text, parts, again)
			}
		}
	})
}

// A view is made without its rows, whatever its statement says of them.
func TestWithNoData(t *testing.T) {
	want := "CREATE MATERIALIZED VIEW v AS SELECT 'with data' AS a WITH NO DATA"
	for _, end := range []string{"", ";", " WITH DATA", "\nwith data ;", " WITH NO DATA", " with /* x */ no data; -- all"} {
		if got := WithNoData("CREATE MATERIALIZED VIEW v AS SELECT 'with data' AS a"+end, true); got != want {
			t.Errorf("%q: %q", end, got)
		}
	}
	if got := WithNoData(" -- nothing", true); got != " -- nothing" {
		t.Errorf("%q", got)
	}
}
