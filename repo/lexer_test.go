package repo

import (
	"fmt"
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

func TestSplitSQL(t *testing.T) {
	for _, c := range splitCases {
		t.Run(c.name, func(t *testing.T) {
			got, ok := SplitSQL(c.text, true)
			if !ok || !slices.Equal(got, c.want) {
				t.Errorf("got %q, %v\nwant %q", got, ok, c.want)
			}
		})
	}
}

func TestSplitSQLNonConforming(t *testing.T) {
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
		if got, ok := SplitSQL(c.text, false); !ok || !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, %v, want %q", c.text, got, ok, c.want)
		}
	}
}

func TestSplitSQLOfIncompleteText(t *testing.T) {
	for _, text := range []string{"SELECT 'a", "SELECT E'a\\'", `SELECT "a`, "SELECT $$a", "SELECT $x$ $y$", "SELECT /* a", "SELECT /* /* */",
		"SELECT (1; SELECT 2", "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;", "SELECT (1 -- x", "'", `SELECT 1; SELECT '`} {
		if got, ok := SplitSQL(text, true); ok {
			t.Errorf("%q: taken for whole: %q", text, got)
		}
	}
}

// The lexer keeps its state across pieces that end with a line: it must not
// matter where a text is cut.
func TestLexerInPieces(t *testing.T) {
	for _, c := range splitCases {
		whole, ok := SplitSQL(c.text, true)
		if !ok {
			continue
		}
		count := 0
		var l lexer
		for line := range strings.SplitAfterSeq(c.text, "\n") {
			for i := 0; i < len(line); {
				next, ended := l.scan([]byte(line), i)
				if ended {
					if l.hasContent {
						count++
					}
					l.restart()
				}
				i = next
			}
		}
		if l.hasContent {
			count++
		}
		if count != len(whole) {
			t.Errorf("%s: %d statements in pieces, %d as a whole", c.name, count, len(whole))
		}
	}
}

func FuzzSplitSQL(f *testing.F) {
	for _, c := range splitCases {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, conforming := range []bool{true, false} {
			parts, ok := SplitSQL(text, conforming)
			if !ok {
				continue
			}
			// What was split off stays in one piece, and so does all of it
			// when it is put together again.
			for _, p := range parts {
				if again, ok := SplitSQL(p, conforming); !ok || len(again) != 1 || again[0] != p {
					t.Fatalf("%q of %q splits into %q, %v", p, text, again, ok)
				}
			}
			joined := strings.Join(parts, ";\n")
			if again, ok := SplitSQL(joined, conforming); !ok || !slices.Equal(again, parts) {
				t.Fatalf("%q splits into %q, joined again into %q", text, parts, again)
			}
		}
	})
}

func ddlOf(t *testing.T, text string) (statement string, lines int) {
	t.Helper()
	head, rest, found := strings.Cut(text, "\n")
	var n int
	if _, err := fmt.Sscanf(head, "-- pg_scribe ddl %d CREATE TABLE", &n); err != nil || !found || head != fmt.Sprintf("-- pg_scribe ddl %d CREATE TABLE", n) {
		t.Fatalf("first line %q", head)
	}
	statement, ended := strings.CutSuffix(rest, ";\n")
	if got := strings.Count(rest, "\n"); got != n || !ended {
		t.Fatalf("%d lines are announced, %d follow: %q", n, got, rest)
	}
	return statement, n
}

// unwrap reads the DO block of wrapStatement with the test's own decoder.
func unwrap(statement string) (string, bool) {
	rest, ok := strings.CutPrefix(statement, "DO ")
	if !ok {
		return "", false
	}
	body, behind, err := readLiteral(rest)
	if err != nil || behind != "" {
		return "", false
	}
	body, ok = strings.CutPrefix(body, "BEGIN EXECUTE ")
	sql, behind, err := readLiteral(body)
	return sql, ok && err == nil && behind == "; END"
}

func TestAppendDDL(t *testing.T) {
	asIs := []struct{ name, sql, want string }{
		{"simple", "CREATE TABLE t ()", "CREATE TABLE t ()"},
		{"semicolons", "CREATE TABLE t ();; ;\n", "CREATE TABLE t ()"},
		{"comment behind", "CREATE TABLE t (); -- done; 'x", "CREATE TABLE t ()"},
		{"comment behind without semicolon", "CREATE TABLE t () -- done", "CREATE TABLE t ()"},
		{"comment before", "-- why\nCREATE TABLE t ()", "-- why\nCREATE TABLE t ()"},
		{"lines", "CREATE TABLE t (\n\n  a int\n);", "CREATE TABLE t (\n\n  a int\n)"},
		{"carriage returns", "CREATE TABLE t (\r\n  a int\r\n);\r\n", "CREATE TABLE t (\r\n  a int\r\n)"},
		{"dollar quotes", "DO $$ BEGIN; :x \\q\n\\. END $$", "DO $$ BEGIN; :x \\q\n\\. END $$"},
		{"cast", "SELECT '1'::int", "SELECT '1'::int"},
		{"regular expression", `ALTER TABLE t ADD CHECK (a ~ '^\d+$')`, `ALTER TABLE t ADD CHECK (a ~ '^\d+$')`},
		{"assignment", "CALL p(a := 1)", "CALL p(a := 1)"},
		{"atomic body", atomicBody, atomicBody},
		{"column named begin", "CREATE TABLE t (begin int)", "CREATE TABLE t (begin int)"},
		{"rule", "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);", "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)"},
	}
	for _, c := range asIs {
		got, _ := ddlOf(t, string(AppendDDL(nil, "CREATE TABLE", c.sql)))
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	wrapped := []struct{ name, sql string }{
		{"backslash outside of quotes", `SELECT 1 \q`},
		{"variable", "SELECT :x"}, {"quoted variable", "SELECT :'x'"}, {"variable as a name", `SELECT :"x"`}, {"variable test", "SELECT :{?x}"},
		{"slice", "SELECT a[1:2]"},
		{"escape string that goes on in the next line", "SELECT E'a'\n'\\';'"},
		{"line like BEGIN", "CREATE FUNCTION f() AS $$\nBEGIN; -- xid 743\n$$"},
		{"line like COMMIT", "COMMENT ON TABLE t IS '\nCOMMIT; -- 0/1'"},
		{"line like ours", "COMMENT ON TABLE t IS '\n-- pg_scribe end\n'"},
		{"first line like ours", "-- pg_scribe end\nSELECT 1"},
		{"several statements", "SELECT 1; SELECT 2"},
		{"open string", "SELECT 'a"}, {"open comment", "SELECT 1 /* x"}, {"open parenthesis", "SELECT (1"},
		{"string that ends in a backslash", `SELECT '\'`},
		{"backslash quote", `COMMENT ON TABLE t IS 'it\'s -- x'`},
		{"routine named begin", "CREATE FUNCTION begin() RETURNS int LANGUAGE sql RETURN 1"},
		{"routine named begin, replaced", "create or replace procedure begin() language sql as ''"},
		{"label end in a body", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; END"},
		{"nothing", ""}, {"comment only", "-- x"},
	}
	for _, c := range wrapped {
		got, lines := ddlOf(t, string(AppendDDL(nil, "CREATE TABLE", c.sql)))
		if sql, ok := unwrap(got); !ok || sql != c.sql || lines != 1 {
			t.Errorf("%s: got %d lines %q, which hold %q", c.name, lines, got, sql)
		}
	}
}

func TestAppendDDLQuotesTag(t *testing.T) {
	text := string(AppendDDL([]byte("before\n"), "A\nTAG", "SELECT 1"))
	if text != "before\n-- pg_scribe ddl 1 \"A\\nTAG\"\nSELECT 1;\n" {
		t.Errorf("got %q", text)
	}
}

// Whatever the text, the framing holds, no line but the first is taken for
// pg_scribe's own, and the statement is there.
func FuzzAppendDDL(f *testing.F) {
	for _, c := range splitCases {
		f.Add(c.text)
	}
	for _, v := range hostileValues {
		f.Add("COMMENT ON TABLE t IS '\n" + v)
		f.Add(v + "\n" + v)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		statement, _ := ddlOf(t, string(AppendDDL(nil, "CREATE TABLE", sql)))
		for line := range strings.SplitSeq(statement, "\n") {
			if isOwn([]byte(line)) {
				t.Fatalf("line %q of %q", line, sql)
			}
		}
		if inner, ok := unwrap(statement); ok && inner == sql {
			return
		}
		parts, ok := SplitSQL(sql, true)
		if !ok || len(parts) != 1 || parts[0] != statement {
			t.Fatalf("%q is written %q", sql, statement)
		}
	})
}
