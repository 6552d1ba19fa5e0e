package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/sqltext"
)

// Strings of several statements are split where the server's own parser does.
func TestSplitsAsTheServerDoes(t *testing.T) {
	source, _ := clusters(t)
	db := source.CreateDB(t, "split")
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, source.ConnString(db))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	run := func(sql string) (int, error) {
		results, err := conn.Exec(ctx, sql).ReadAll()
		n := 0
		for _, r := range results {
			if r.CommandTag.String() != "" {
				n++
			}
		}
		return n, err
	}
	body := `CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN CASE 1 WHEN 1 THEN 2 END ELSE 3 END; END`
	for _, c := range []struct {
		sql      string
		escaping bool // standard_conforming_strings = off
	}{
		{`SELECT 1; SELECT 2;`, false}, {`;;; SELECT 1;;`, false}, {`-- nothing`, false}, {`SELECT 1 -- ; SELECT 2`, false},
		{"SELECT 1; -- a;\nSELECT 2; /* b; /* c; */ d; */ SELECT 3", false}, {`SELECT 'a;''b;';
		  SELECT E'a\';b'; SELECT "x;""y;" FROM (SELECT 1 AS "x;""y;") z`, false},
		{`SELECT U&'\0061;'; SELECT U&"d;\0061" FROM (SELECT 1 AS "d;a") x; SELECT U&'!0061;' UESCAPE '!'; SELECT B'01', X'1F'`, false},
		{`SELECT $$a;b$$; SELECT $ü;$a$`, false}, {`SELECT $ünï$a;$$;b$ünï$; SELECT $a1$;$a$;$a1$; SELECT 1`, false}, {`SELECT 1 AS a$b$; SELECT 2 AS c$b$`, false},
		{`SELECT 'a;' /* c */` + "\n" + `'b;'; SELECT E'a\''` + "\n" + `'\';'; SELECT 1`, false},
		{`SELECT 'a\'; SELECT 2; --'`, false}, {`SELECT 'a\'; SELECT 2; --'; SELECT 3`, true}, {`SELECT 'a\\'; SELECT E'\\'; SELECT 1`, true},
		{`CREATE TABLE r (i int); CREATE RULE ru AS ON INSERT TO r DO ALSO (SELECT 1; SELECT 2;); DROP TABLE r`, false},
		{body + `; SELECT f(); DROP FUNCTION f; SELECT 1`, false}, {`CREATE OR REPLACE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC; END; CALL p();
		  DROP PROCEDURE p`, false},
		{`CREATE FUNCTION g() RETURNS int LANGUAGE sql RETURN CASE WHEN true THEN 1 END; SELECT g(); DROP FUNCTION g`, false},
		{`CREATE FUNCTION h() RETURNS int LANGUAGE sql /* BEGIN ATOMIC */ BEGIN /* ; */ ATOMIC SELECT ';END;'; SELECT 1 AS "end"; SELECT 2 AS begin; END;
		  DROP FUNCTION h`, false},
		{`BEGIN; SELECT 1 AS atomic; SAVEPOINT s; SELECT 2; ROLLBACK TO s; END; SELECT 3`, false}, {`BEGIN ISOLATION LEVEL SERIALIZABLE;
		  COMMIT AND CHAIN; END`, false},
		{`DO $$BEGIN PERFORM 1; PERFORM 2; END$$; DO 'BEGIN PERFORM 1; END'; SELECT 1`, false}, {`PREPARE q AS SELECT 1; EXECUTE q; DEALLOCATE q`, false},
		{`SELECT (SELECT 1)::int, ARRAY[1,2][1:2]; SELECT 1.5e3, .5, 1::int, 5 % 2, 3 - -1; SELECT 4--comment; SELECT 5` + "\n" + `; SELECT 6`, false},
		{`SELECT 1 /**/; SELECT/*;*/2; SELECT 3 */*x*/ 4`, false}, {`CREATE SCHEMA n CREATE TABLE x (i int) CREATE VIEW y AS SELECT 1 AS z;
		  DROP SCHEMA n CASCADE`, false},
		{"SELECT '\n;\r\n;'; SELECT 1\r\n;\tSELECT 2\f;\vSELECT 3", false}, {`SELECT 1 AS "case"; SELECT CASE WHEN 1 = 1 THEN ';' END; SELECT 2`, false},
		{`SELECT 'x' AS begin; SELECT begin.x FROM (SELECT 1 AS x) begin; SELECT 1`, false}, {`SELECT E'\x41;\\'; SELECT N'n;'; SELECT 1`, false},
		{`CREATE FUNCTION k() RETURNS int LANGUAGE sql BEGIN ATOMIC WITH a AS (SELECT CASE 1 WHEN 1 THEN 1 END AS "end;") SELECT "end;" FROM a; END; SELECT k();
		  DROP FUNCTION k`, false},
	} {
		setting := "on"
		if c.escaping {
			setting = "off"
		}
		if _, err := run("SET standard_conforming_strings = " + setting + "; SET escape_string_warning = off"); err != nil {
			t.Fatal(err)
		}
		want, err := run(c.sql)
		parts, ok := sqltext.Split(c.sql, !c.escaping)
		if err != nil {
			if ok && !strings.Contains(err.Error(), "42601") {
				t.Errorf("%s: %v", c.sql, err)
			}
			continue
		}
		if !ok || len(parts) != want {
			t.Errorf("%s: the server finds %d statements, not %d: %q (%v)", c.sql, want, len(parts), parts, ok)
			continue
		}
		for _, p := range parts { // each is one whole statement, and its tokens are all of it
			if again, ok := sqltext.Split(p, !c.escaping); !ok || len(again) != 1 || again[0] != p {
				t.Errorf("%s: part %q is split again into %q", c.sql, p, again)
			}
			last := 0
			for _, token := range sqltext.Tokens(p, !c.escaping) {
				if token.Start < last || p[token.Start:token.End()] != token.Text || token.Text == "" {
					t.Errorf("%s: token %q at %d", p, token.Text, token.Start)
				}
				last = token.End()
			}
			if last != len(p) {
				t.Errorf("%q: the tokens end at %d", p, last)
			}
		}
	}
}
