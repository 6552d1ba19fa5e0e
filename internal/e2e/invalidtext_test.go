package e2e

import (
	"strconv"
	"strings"
	"testing"

	"pg_scribe/catalog"
)

// raw makes text of any bytes, as C functions and old releases did.
const raw = `CREATE CAST (bytea AS text) WITHOUT FUNCTION;
  CREATE FUNCTION raw(bytea) RETURNS text LANGUAGE sql AS 'SELECT $1::text';`

// standsFor is what text with such bytes is restored as in UTF8.
func standsFor(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c < 0x80 {
			b.WriteByte(c)
		} else {
			b.WriteRune(0xF700 + rune(c))
		}
	}
	return b.String()
}

// across restores to the latest moment, marks or not.
func (tr *trip) across() {
	tr.t.Helper()
	tr.backTo(catalog.Request{AcceptGaps: true}, true)
}

// reasons are those of the marks, as one text.
func (tr *trip) reasons() string {
	var list []string
	for _, gap := range tr.gaps() {
		reason, err := strconv.Unquote(strings.TrimPrefix(gap, "-- pg_scribe gap "))
		must(tr.t, err)
		list = append(list, reason)
	}
	return strings.Join(list, "\n")
}

// returns compares what a query of the restored database returns.
func (tr *trip) returns(query, want string) {
	tr.t.Helper()
	if got := tr.target.Query(tr.t, tr.restored, query); got != want {
		tr.t.Errorf("%s:\n%q\nwant\n%q", query, got, want)
	}
}

// Bytes that are no text in the database's encoding can be stored, and are
// read by no server: what stands for them is restored, and a mark says so.
func TestInvalidTextInRows(t *testing.T) {
	tr := begin(t, raw+`CREATE TABLE t (id int PRIMARY KEY, v text, w text[]); CREATE TABLE many (id int, v varchar(5)); CREATE TABLE other (v text);
	  CREATE TABLE long (id int PRIMARY KEY, v text); INSERT INTO long VALUES (1, repeat(U&'\2026', 4000))`)
	tr.run(`INSERT INTO t VALUES (1, 'caf' || raw('\xc3'), ARRAY['é,', raw('\x22ff5c')]), (2, 'café', NULL), (3, raw('\xeda080'), NULL)`,
		`INSERT INTO many SELECT g, CASE WHEN g % 10 = 0 THEN raw('\x4df6') ELSE 'ö' END FROM generate_series(1, 30) g`,
		`INSERT INTO other VALUES ('ü')`,
		`UPDATE long SET v = v || raw('\xe280')`, `UPDATE long SET id = 2`, `UPDATE t SET v = v || '!' WHERE id = 1`, `DELETE FROM t WHERE id = 3`)
	tr.capture()
	gaps := tr.reasons()
	for column, times := range map[string]int{"column v of public.t ": 2, "column w of public.t ": 2, "column v of public.many ": 1,
		"column v of public.long ": 2, "public.other": 0} {
		if got := strings.Count(gaps, column); got != times {
			t.Errorf("%d marks for %s, not %d:\n%s", got, column, times, gaps)
		}
	}
	tr.across()
	tr.returns("SELECT v || w::text FROM t WHERE id = 1", standsFor("caf\xc3")+"!"+`{"é,","\"`+standsFor("\xff")+`\\"}`)
	tr.returns("SELECT string_agg(v, ' ' ORDER BY id) FROM t WHERE id > 1", "café")
	tr.returns("SELECT v || ' ' || count(*) FROM many GROUP BY v ORDER BY count(*) DESC", "ö 27\n"+standsFor("M\xf6")+" 3")
	tr.returns("SELECT right(v, 3) || length(v) FROM long WHERE id = 2", "…"+standsFor("\xe2\x80")+"4002")
	out, code := tr.program("restore", "-f", tr.dir, "-C", "-d", tr.target.ConnString("refused"))
	if code != 4 || !strings.Contains(out, "is not valid in encoding UTF8") {
		t.Errorf("a restore without a word: exit code %d\n%s", code, out)
	}
}

// Keys of such bytes stay different from each other, and rows are found by
// them, with a key and without.
func TestInvalidTextInKeys(t *testing.T) {
	tr := begin(t, raw+`CREATE TABLE k (name text PRIMARY KEY, v int); CREATE TABLE f (name text, v int);
	  INSERT INTO k VALUES (raw('\x4dfc'), 1), (raw('\x4df6'), 2), ('Mü', 3), (raw('\xff'), 4)`)
	tr.run(`UPDATE k SET v = v + 10`, `UPDATE k SET name = name || raw('\xc3') WHERE v = 11`, `DELETE FROM k WHERE v = 14`,
		`INSERT INTO f SELECT name, v FROM k`, `UPDATE f SET v = -v`, `DELETE FROM f WHERE v = -12`)
	tr.capture()
	tr.across()
	tr.returns("SELECT string_agg(name || v, ' ' ORDER BY v) FROM k", standsFor("M\xfc\xc3")+"11 "+standsFor("M\xf6")+"12 Mü13")
	tr.returns("SELECT string_agg(name || v, ' ' ORDER BY v) FROM f", "Mü-13 "+standsFor("M\xfc\xc3")+"-11")
}

// A base with such rows can be restored, is marked behind its point, and what
// follows finds its rows.
func TestInvalidTextInBase(t *testing.T) {
	tr := begin(t, raw+`CREATE TABLE "a table" (name text PRIMARY KEY, v text); CREATE TABLE other (v text); INSERT INTO other VALUES ('ü');
	  INSERT INTO "a table" SELECT g || raw('\xe4'), repeat('é', g) || raw('\xe9') FROM generate_series(1, 3000) g`)
	tr.run(`UPDATE "a table" SET v = 'now' WHERE name = 7 || raw('\xe4')`)
	tr.capture()
	check := func(marks int) {
		t.Helper()
		if gaps := tr.reasons(); strings.Count(gaps, `text in public."a table" is not valid`) != marks || strings.Contains(gaps, "other") {
			t.Errorf("%d marks of bases:\n%s", marks, gaps)
		}
		tr.across()
		tr.returns(`SELECT count(*) FROM "a table" WHERE v = repeat('é', substr(name, 1, length(name) - 1)::int) || '`+standsFor("\xe9")+`'`, "2999")
		tr.returns(`SELECT name FROM "a table" WHERE v = 'now'`, "7"+standsFor("\xe4"))
	}
	check(1)
	tr.fullBackup()
	tr.run(`DELETE FROM "a table" WHERE name = 7 || raw('\xe4')`, `INSERT INTO "a table" VALUES (7 || raw('\xe4'), 'now')`)
	tr.capture()
	check(2)
	tr.run(`TRUNCATE "a table"`)
	tr.fullBackup()
	tr.capture()
	if out, code := tr.program("status", "-f", tr.dir); code != 0 {
		t.Errorf("corrected and with a new base: exit code %d\n%s", code, out)
	}
}

// A command that rewrites such rows runs on the source, and is marked.
func TestInvalidTextIsRewritten(t *testing.T) {
	tr := begin(t, raw+`CREATE UNLOGGED TABLE u (v text); INSERT INTO u VALUES (raw('\xc3')), ('é');
	  CREATE TABLE r (v text); INSERT INTO r VALUES (raw('\xc3')), ('é')`)
	tr.run("ALTER TABLE r ADD COLUMN n float8 DEFAULT random()", "ALTER TABLE u SET LOGGED", "CREATE TABLE c AS SELECT v FROM r", "SELECT v INTO d FROM r",
		"INSERT INTO r VALUES ('after', 1)")
	tr.capture()
	if gaps := tr.reasons(); !strings.Contains(gaps, "public.r ") || strings.Count(gaps, "contents after ALTER TABLE: invalid byte sequence") != 2 {
		t.Errorf("marks:\n%s", gaps)
	}
	tr.across()
	tr.returns("SELECT string_agg(v, ' ' ORDER BY v) FROM c", "é "+standsFor("\xc3"))
	tr.returns("SELECT string_agg(v, ' ' ORDER BY v) FROM d", "é "+standsFor("\xc3"))
	tr.returns("SELECT count(*) FROM r WHERE v = 'after'", "1")
}

// Other encodings have other characters that stand for bytes.
func TestInvalidTextInOtherEncodings(t *testing.T) {
	for _, encoding := range []string{"EUC_JP", "EUC_KR", "EUC_TW"} {
		t.Run(encoding, func(t *testing.T) {
			tr := beginEncoded(t, encoding, raw+`CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, raw('\x61ff') || raw('\xb0a1'))`)
			tr.run(`INSERT INTO t VALUES (2, raw('\xb0a1')), (3, raw('\xb0'))`, `UPDATE t SET id = -id`)
			tr.capture()
			tr.marks(3)
			tr.across()
			tr.returns("SELECT string_agg(encode(convert_to(v, getdatabaseencoding()), 'hex'), ' ' ORDER BY id DESC) FROM t", "61fee0b0a1 b0a1 fdd1")
		})
	}
}
