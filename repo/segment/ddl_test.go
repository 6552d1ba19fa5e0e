package segment

import (
	"fmt"
	"strings"
	"testing"

	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment/segmenttest"
)

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
		{"atomic body", segmenttest.AtomicBody, segmenttest.AtomicBody},
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
		if got != wrapStatement(c.sql) || lines != 1 {
			t.Errorf("%s: got %d lines %q", c.name, lines, got)
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
	for _, sql := range []string{"SELECT 1; SELECT 2", "SELECT E'a'\n  '\\';'; SELECT 2", "SELECT $x$ $$ ; $y$ $x$", "CREATE FUNCTION begin() BEGIN ATOMIC END",
		"SELECT :x -- y"} {
		f.Add(sql)
	}
	for _, v := range segmenttest.Hostile {
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
		if statement == wrapStatement(sql) {
			return
		}
		parts, ok := sqltext.Split(sql, true)
		if !ok || len(parts) != 1 || parts[0] != statement {
			t.Fatalf("%q is written %q", sql, statement)
		}
	})
}
