package restore

import (
	"bytes"
	"strings"
	"testing"

	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
)

func TestCut(t *testing.T) {
	tests := []struct {
		sql, text string
		values    []string // "\x00" is a null
		rows      int64
	}{
		{`INSERT INTO "s"."t" ("a", "b", "c") OVERRIDING SYSTEM VALUE VALUES ('x', NULL, 'it''s');`,
			`INSERT INTO "s"."t" ("a", "b", "c") OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3);`, []string{"x", "\x00", "it's"}, 1},
		{`INSERT INTO "s"."t" DEFAULT VALUES;`, `INSERT INTO "s"."t" DEFAULT VALUES;`, nil, 1},
		{`INSERT INTO "s"."t" ("a") VALUES ('x'), ('y');`, `INSERT INTO "s"."t" ("a") VALUES ($1), ($2);`, []string{"x", "y"}, 2},
		{`INSERT INTO "s"."t" ("a") VALUES ('schema.f'::regproc);`, `INSERT INTO "s"."t" ("a") VALUES ($1::regproc);`, []string{"schema.f"}, 1},
		{`INSERT INTO "s"."t" ("a") SELECT "b" FROM "s"."u";`, `INSERT INTO "s"."t" ("a") SELECT "b" FROM "s"."u";`, nil, anyRows},
		{`UPDATE ONLY "s"."t" SET "a" = E'x\ny\\z''', "b" = NULL WHERE "k" = '5';`,
			`UPDATE ONLY "s"."t" SET "a" = $1, "b" = $2 WHERE "k" = $3;`, []string{"x\ny\\z'", "\x00", "5"}, 1},
		{`UPDATE ONLY "s"."t" SET "a" = 'x';`, `UPDATE ONLY "s"."t" SET "a" = $1;`, []string{"x"}, anyRows},
		{`UPDATE ONLY "s"."WHERE 'x'" SET "a" = '';`, `UPDATE ONLY "s"."WHERE 'x'" SET "a" = $1;`, []string{""}, anyRows},
		{`DELETE FROM ONLY "s"."t" WHERE "k" IS NOT DISTINCT FROM NULL AND "l" IS NOT DISTINCT FROM 'x';`,
			`DELETE FROM ONLY "s"."t" WHERE "k" IS NOT DISTINCT FROM NULL AND "l" IS NOT DISTINCT FROM $1;`, []string{"x"}, 1},
		{`DELETE FROM ONLY "s"."t" WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE "a" OPERATOR("x".=) 'b' AND pg_catalog.format('%s', "c") = '1' LIMIT 1);`,
			`DELETE FROM ONLY "s"."t" WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE "a" OPERATOR("x".=) $1 AND pg_catalog.format($2, "c") = $3 LIMIT 1);`,
			[]string{"b", "%s", "1"}, 1},
		{`DELETE FROM ONLY "s"."t" WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE pg_catalog.format('%s', "c") = '1' LIMIT 1);`,
			`DELETE FROM ONLY "s"."t" WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE pg_catalog.format($1, "c") = $2 LIMIT 1);`,
			[]string{"%s", "1"}, 1},
		{`DELETE FROM ONLY U&"a\000ab'"."t" WHERE "k" = 'é';`, `DELETE FROM ONLY U&"a\000ab'"."t" WHERE "k" = $1;`, []string{"é"}, 1},
		{`DELETE FROM ONLY "s""'"."t";`, `DELETE FROM ONLY "s""'"."t";`, nil, anyRows},
		// What is not understood goes as it stands.
		{sql: `UPDATE ONLY "s"."t" SET "a" = E'\t' WHERE "k" = '5';`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = U&'\0041' WHERE "k" = '5';`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = DATE '2026-01-01' WHERE "k" = '5';`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = TIMESTAMP(3) '2026-01-01' WHERE "k" = '5';`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = $$x$$ WHERE "k" = '5';`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = '5' -- 'x';`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = '5' /* ' */;`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = '5`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = E'5\`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = '5'; DELETE FROM x;`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = '5'`},
		{sql: `UPDATE ONLY "s"."t" SET "a" = é;`},
		{sql: `TRUNCATE ONLY "s"."t";`},
		{sql: `DO 'BEGIN END';`},
		{sql: `;`}, {sql: ``},
	}
	for _, test := range tests {
		var c cutter
		ok := c.cut([]byte(test.sql))
		if ok != (test.text != "") {
			t.Errorf("%s\nunderstood: %t", test.sql, ok)
			continue
		}
		if !ok {
			continue
		}
		var values []string
		for _, v := range c.values {
			if v.kind == literalNull {
				values = append(values, "\x00")
				continue
			}
			values = append(values, string(v.append(nil, []byte(test.sql))))
		}
		if string(c.text) != test.text || strings.Join(values, "|") != strings.Join(test.values, "|") || c.rows != test.rows {
			t.Errorf("%s\ngives %s\nwith %q, rows %d", test.sql, c.text, values, c.rows)
		}
	}
}

// FuzzCut: what the cutter takes apart, put together again by the repository's
// own quoting, says the same.
func FuzzCut(f *testing.F) {
	for _, s := range []string{`UPDATE ONLY "t" SET "a" = E'x\n''' WHERE "k" = '5';`, `INSERT INTO "t" ("a") VALUES (NULL, 'x');`,
		`DELETE FROM ONLY U&"\000a" WHERE "a" IS NOT DISTINCT FROM NULL;`, `INSERT INTO t VALUES ('a''b', E'\\');`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sql []byte) {
		var c cutter
		if !c.cut(sql) {
			return
		}
		again := rebuild(&c, sql)
		if len(c.values) == 0 && !bytes.Equal(again, sql) {
			t.Fatalf("%q became %q", sql, again)
		}
		var d cutter
		if !d.cut(again) {
			t.Fatalf("%q became %q, which is not understood", sql, again)
		}
		if !bytes.Equal(c.text, d.text) || len(c.values) != len(d.values) || c.rows != d.rows {
			t.Fatalf("%q became %q", sql, again)
		}
		for i := range c.values {
			before, after := c.values[i].append(nil, sql), d.values[i].append(nil, again)
			if !bytes.Equal(before, after) || (c.values[i].kind == literalNull) != (d.values[i].kind == literalNull) {
				t.Fatalf("value %d of %q: %q became %q", i+1, sql, before, after)
			}
		}
	})
}

// FuzzCutValue: any value that the repository quotes comes out as it was.
func FuzzCutValue(f *testing.F) {
	f.Add([]byte("it's\r\n\\"), "a\"b\n")
	f.Fuzz(func(t *testing.T, value []byte, name string) {
		sql := append([]byte("UPDATE ONLY "+sqltext.Identifier(name)+" SET \"a\" = "), repo.AppendLiteral(nil, value)...)
		sql = append(sql, " WHERE \"k\" = '1';"...)
		var c cutter
		if !c.cut(sql) {
			t.Fatalf("%q is not understood", sql)
		}
		if got := c.values[0].append(nil, sql); !bytes.Equal(got, value) || len(c.values) != 2 || c.rows != 1 {
			t.Fatalf("%q became %q", value, got)
		}
	})
}

// rebuild puts the values back in place of the parameters.
func rebuild(c *cutter, sql []byte) []byte {
	var out []byte
	inName := false
	for i, n := 0, 0; i < len(c.text); i++ {
		b := c.text[i]
		if b == '"' {
			inName = !inName
		}
		if b != '$' || inName {
			out = append(out, b)
			continue
		}
		v := c.values[n]
		n++
		i += len(appendInt(nil, n))
		if v.kind == literalNull {
			out = append(out, "NULL"...)
		} else {
			out = repo.AppendLiteral(out, v.append(nil, sql))
		}
	}
	return out
}
