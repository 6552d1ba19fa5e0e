package restore

import (
	"strings"
	"testing"

	"pg_scribe/catalog"
)

func TestSpaces(t *testing.T) {
	tests := []struct {
		sql, want string
		told      bool
	}{
		{"SET default_tablespace = '';", "same", false},
		{"SET default_tablespace = here;", "same", false},
		{"SET default_tablespace = gone;", "SET default_tablespace = '';", true},
		{"SET LOCAL default_tablespace = '\"gone\"';", "SET LOCAL default_tablespace = '';", true},
		{"SET LOCAL default_tablespace TO 'here';", "same", false},
		{"SET default_tablespace = DEFAULT;", "same", false},
		{"CREATE TABLE t (a int) TABLESPACE here;", "same", false},
		{"CREATE TABLE t (a int) TABLESPACE gone;", "CREATE TABLE t (a int) ;", true},
		{"CREATE UNLOGGED TABLE t (a int PRIMARY KEY USING INDEX TABLESPACE gone) tablespace \"gone\";",
			"CREATE UNLOGGED TABLE t (a int PRIMARY KEY ) ;", true},
		{"CREATE TABLE t TABLESPACE gone AS SELECT 1 AS tablespace;", "CREATE TABLE t  AS SELECT 1 AS tablespace;", true},
		{"CREATE INDEX i ON t (a) TABLESPACE gone WHERE b;", "CREATE INDEX i ON t (a)  WHERE b;", true},
		{"ALTER TABLE t SET TABLESPACE gone;", "", true},
		{"ALTER INDEX i SET TABLESPACE here;", "same", false},
		{"ALTER TABLE t SET TABLESPACE gone, ADD b int;", "ALTER TABLE t  ADD b int;", true},
		{"ALTER TABLE t ADD b int, SET TABLESPACE gone;", "ALTER TABLE t ADD b int;", true},
		{"ALTER TABLE t ADD UNIQUE (a) USING INDEX TABLESPACE gone;", "ALTER TABLE t ADD UNIQUE (a) ;", true},
		// The word is no reserved one.
		{"CREATE TABLE tablespace (tablespace text, a int DEFAULT 1);", "same", false},
		{"ALTER TABLE t ADD COLUMN tablespace text;", "same", false},
		{"CREATE INDEX tablespace ON t (tablespace);", "same", false},
		{"CREATE INDEX i ON tablespace USING btree (tablespace);", "same", false},
		{"CREATE VIEW v AS SELECT t.tablespace AS a FROM t;", "same", false},
		{"COMMENT ON COLUMN t.tablespace IS 'TABLESPACE gone';", "same", false},
		{"CREATE TABLE t (a text DEFAULT ') TABLESPACE gone');", "same", false},
		{"CREATE TABLE t (a text DEFAULT E'\\') TABLESPACE gone');", "same", false},
		{"CREATE TABLE t (a int) /* TABLESPACE gone */ -- TABLESPACE gone\n;", "same", false},
		{"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $a$ CREATE TABLE t (a int) TABLESPACE gone $a$;", "same", false},
	}
	for _, test := range tests {
		s := &spaces{known: map[string]bool{"": true, "here": true}, told: map[string]bool{}}
		got, notice := s.rewrite(test.sql)
		want := test.want
		if want == "same" {
			want = test.sql
		}
		if got != want || (notice != "") != test.told {
			t.Errorf("%s\nbecame %s\n%s", test.sql, got, notice)
		}
	}
}

func TestMissingTablespace(t *testing.T) {
	b := build(t)
	base := strings.Replace(smallBase, "ALTER TABLE ONLY public.t\n", "SET default_tablespace = \"no space\";\nALTER TABLE ONLY public.t\n", 1)
	b.base(100, 5, base, "")
	b.open(100)
	b.tx(120, 11, 10, `SET LOCAL default_tablespace = 'other';`, "ddl CREATE TABLE public.u (a int) TABLESPACE third",
		"ddl ALTER TABLE public.u SET TABLESPACE pg_default", "ddl ALTER TABLE public.u SET TABLESPACE third")
	b.seal()
	c, o := target(t, "missing_space")
	report := execute(t, b.prepare(catalog.Target{}), o)
	if len(report.Notices) != 3 {
		t.Errorf("notices are %q", report.Notices)
	}
	if got := c.Query(t, "missing_space", "SELECT count(*) FROM pg_class WHERE relname IN ('u', 't_pkey') AND reltablespace = 0"); got != "2" {
		t.Error("they are not in the default tablespace")
	}
}
