package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A literal such as 'today' is a date where its type says so, and the date is
// that of the source, whenever it is restored; elsewhere it is a word.
func TestDatesThatAreWords(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d date, v text); INSERT INTO t VALUES (1, '2020-01-01', '2020-01-01', 'today');
	  CREATE TYPE w AS ENUM ('now', 'later');
	  CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE EXTENSION postgres_fdw;
	  CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw`)
	tr.run(`SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard';
	  CREATE TABLE a (a timestamptz DEFAULT 'now', b timestamp(1) DEFAULT 'now()', c date DEFAULT 'tomorrow', d time DEFAULT 'now', e timetz DEFAULT 'now', `+
		`f timestamptz DEFAULT 'yesterday 05:30', g tstzrange DEFAULT '[now,tomorrow)', h date[] DEFAULT '{today,tomorrow}',
	    i date GENERATED ALWAYS AS (DATE 'today' + 1) STORED, j int CHECK (j > 0 OR now() > TIMESTAMP 'Today'), k text DEFAULT 'x'); INSERT INTO a (j) VALUES (1);
	  ALTER TABLE t ADD CHECK (at < 'tomorrow'), ADD COLUMN n timestamptz DEFAULT E'now', ALTER d SET DEFAULT 'today';
		  ALTER TABLE t ADD COLUMN gen date GENERATED ALWAYS AS (d - (DATE 'now' - d)) STORED;
	  CREATE VIEW v AS SELECT * FROM t WHERE at < 'now'; CREATE MATERIALIZED VIEW mv AS SELECT DATE 'yesterday' AS y, at::date FROM t;
		  CREATE INDEX ON t (id) WHERE at > 'yesterday'; CREATE INDEX ON t ((at - TIMESTAMPTZ 'now'));
	  CREATE POLICY p ON t USING (at < 'now') WITH CHECK (d > 'today'); ALTER POLICY p ON t USING (at > 'now');
		  CREATE DOMAIN dom AS date DEFAULT 'today' CHECK (VALUE <> 'tomorrow'); ALTER DOMAIN dom ADD CHECK (VALUE < 'tomorrow');
	  CREATE RULE r AS ON UPDATE TO t WHERE old.at > 'now' DO INSTEAD NOTHING;
		  CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW WHEN (old.at > 'now') EXECUTE FUNCTION tf();
	  CREATE FUNCTION arg(x date DEFAULT 'today') RETURNS date LANGUAGE sql RETURN DATE 'today' + 1;
		  CREATE FUNCTION atom() RETURNS SETOF date LANGUAGE sql BEGIN ATOMIC SELECT d FROM t WHERE d < 'tomorrow'; END;
		  CREATE STATISTICS st ON (d - DATE 'today'), (at - TIMESTAMPTZ 'yesterday') FROM t;
	  CREATE SCHEMA made CREATE TABLE x (at timestamptz DEFAULT 'now') CREATE VIEW y AS SELECT TIMESTAMP 'tomorrow' AS z;
	  CREATE TABLE pk (d date) PARTITION BY RANGE ((d - DATE 'today')); CREATE FOREIGN TABLE ft (d date DEFAULT 'today') SERVER s;
		  DO $$BEGIN CREATE TABLE nested (d date DEFAULT 'yesterday'); EXECUTE 'ALTER TABLE nested ADD e time DEFAULT ''now'''; END$$`,
		`CREATE TABLE words (a text DEFAULT 'now', b w DEFAULT 'now', c text CHECK (c IN ('today', 'tomorrow')), d varchar(20) GENERATED ALWAYS AS `+
			`('today') STORED, `+
			`e jsonb DEFAULT '{"now": "today"}'); INSERT INTO words (c) VALUES ('today');
	  ALTER TABLE words ADD CHECK (a <> 'yesterday'); CREATE VIEW wv AS SELECT * FROM words WHERE a = 'now'; CREATE INDEX ON words (c) WHERE c = 'today';
			  CREATE FUNCTION body() RETURNS date LANGUAGE sql AS $$SELECT DATE 'today'$$;
			  CREATE FUNCTION body2() RETURNS date LANGUAGE sql AS 'SELECT DATE ''tomorrow''';
	  CREATE FOREIGN TABLE fw (a int OPTIONS (column_name 'now')) SERVER s OPTIONS (table_name 'today'); COMMENT ON TABLE words IS 'until ''today''';
			  CREATE TYPE w2 AS ENUM ('yesterday')`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	for _, sql := range []string{`SELECT * FROM a`, `SELECT * FROM mv`, `SELECT n FROM t`} {
		if want, got := tr.source.Query(t, tr.db, sql), tr.target.Query(t, tr.restored, sql); want != got {
			t.Errorf("%s: source %s, restored %s", sql, want, got)
		}
	}
}

// What holds both cannot be told apart: there is a mark.
func TestDatesAndWordsInOneCommand(t *testing.T) {
	tr := begin(t, `CREATE TABLE seed (i int)`)
	tr.run(`CREATE TABLE mixed (a text DEFAULT 'today', d date DEFAULT 'today')`)
	tr.capture()
	tr.marks(1)
}

// Of several SQL functions of one name, the one that ran is known by what it made.
func TestSQLFunctionsOfOneName(t *testing.T) {
	tr := begin(t, `CREATE FUNCTION mk(int) RETURNS void LANGUAGE sql AS $$ CREATE TABLE by_int (a int); COMMENT ON TABLE by_int IS 'i'; GRANT SELECT ON by_int `+
		`TO PUBLIC $$;
	  CREATE FUNCTION mk(text) RETURNS void LANGUAGE sql AS $$ CREATE TABLE "by text" (a text); COMMENT ON TABLE "by text" IS 't'; GRANT SELECT ON "by text" TO `+
		`PUBLIC $$;
	  CREATE SCHEMA other; CREATE FUNCTION other.mk() RETURNS void LANGUAGE sql AS $$ DROP TABLE IF EXISTS by_int $$`)
	tr.run(`SELECT mk('x'::text)`)
	tr.capture()
	tr.marks(1) // the GRANT, which names no object to the event triggers
	tr = begin(t, `CREATE FUNCTION mk(int) RETURNS void LANGUAGE sql AS $$ CREATE TABLE by_int (a int); COMMENT ON COLUMN by_int.a IS 'i' $$;
	  CREATE FUNCTION mk(text) RETURNS void LANGUAGE sql AS $$ CREATE TABLE "by text" (a text); COMMENT ON COLUMN "by text".a IS 't' $$`)
	tr.run(`SELECT mk('x'::text); SELECT mk(1)`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// A row too large for a message costs the contents of one table, not the command.
func TestRewriteOfAHugeRow(t *testing.T) {
	tr := begin(t, `CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v text)`)
	tr.run(`INSERT INTO t VALUES (1, repeat('x', 410000000)); ALTER TABLE t SET LOGGED`)
	tr.capture()
	tr.marks(1)
	if !strings.Contains(tr.text(), "\nALTER TABLE t SET LOGGED;\n") {
		t.Error("the command is missing")
	}
}

// marks fails the test unless the segments hold so many gap marks.
func (tr *trip) marks(want int) {
	tr.t.Helper()
	if n := strings.Count(tr.text(), "\n-- pg_scribe gap "); n != want {
		tr.t.Errorf("%d marks, not %d:\n%.20000s", n, want, tr.text())
	}
}

// What others do to their objects at the same moment, or what is broken about
// them, does not concern a command with a folded literal.
func TestFoldedLiteralBesideBrokenObjects(t *testing.T) {
	const broken = `UPDATE pg_attribute SET attnum = %d WHERE attrelid = 'other'::regclass AND attname = 'a'`
	roundTrip(t, `CREATE TABLE other (a int); CREATE INDEX other_a ON other (a)`,
		fmt.Sprintf(broken, 9), `CREATE VIEW v AS SELECT 'today'::date AS day`, fmt.Sprintf(broken, 1))
}
