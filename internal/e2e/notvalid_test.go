package e2e

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
)

// constraints are all of a database, with what pg_dump does not tell of those
// that are inherited, and what the catalogs derive from them.
const constraints = `SELECT string_agg(x, E'\n' ORDER BY x COLLATE "C") FROM (
	SELECT concat_ws(' ', coalesce(conrelid::regclass::text, contypid::regtype::text), conname, contype, convalidated, conislocal, coninhcount, connoinherit,
		pg_get_constraintdef(k.oid), to_jsonb(k) ->> 'conenforced', obj_description(k.oid, 'pg_constraint'), c.relchecks,
		(SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = conrelid AND attnotnull)) AS x
	FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = conrelid WHERE connamespace = 'public'::regnamespace) y`

// unvalidated takes work on rows that violate constraints there and back.
func unvalidated(t *testing.T, setup string, work ...string) *trip {
	t.Helper()
	tr := roundTrip(t, setup, work...)
	want, got := tr.source.Query(t, tr.db, constraints), tr.target.Query(t, tr.restored, constraints)
	if want != got {
		t.Errorf("constraints differ:\n%s", lineDiff(want, got))
	}
	hand := tr.target.CreateDB(t, "hand")
	psql := tr.target.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", hand, "-f", "-")
	text, err := exec.Command("bash", "-c", "zstd -dcq "+tr.dir+"/base-* "+tr.dir+"/incremental-*").Output()
	must(t, err)
	psql.Stdin = bytes.NewReader(text)
	if out, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("by psql: %v\n%s", err, out)
	}
	if got := tr.target.Query(t, hand, constraints); want != got {
		t.Errorf("constraints by psql differ:\n%s", lineDiff(want, got))
	}
	return tr
}

// refuses tells that the restored database checks new rows.
func (tr *trip) refuses(sql string) {
	tr.t.Helper()
	if _, err := tr.target.Conn(tr.t, tr.restored).Exec(context.Background(), sql); err == nil || !strings.Contains(err.Error(), "violates") {
		tr.t.Errorf("%s: %v", sql, err)
	}
}

// Rows that violate a constraint which is NOT VALID survive that their table
// is rewritten, or gets a column with values of its own.
func TestRewriteWithRowsThatViolate(t *testing.T) {
	tr := unvalidated(t, `CREATE TABLE old (id int PRIMARY KEY, a int, b int CHECK (b > 0)); INSERT INTO old SELECT g, -g, g FROM generate_series(1, 20) g;
	  ALTER TABLE old ADD CONSTRAINT "in the base's" CHECK (a > 0) NOT VALID; COMMENT ON CONSTRAINT "in the base's" ON old IS 'it''s old';
	  CREATE TABLE parent (a int, b int); CREATE TABLE child (c int) INHERITS (parent); CREATE TABLE grandchild () INHERITS (child); CREATE TABLE other (a int);
	  CREATE TABLE two () INHERITS (parent, other); INSERT INTO parent VALUES (-1, 1); INSERT INTO child VALUES (-2, 2, 2);
	  INSERT INTO grandchild VALUES (-3, 3, 3); INSERT INTO two VALUES (-4, 4);
	  CREATE TABLE parts (k int, v int) PARTITION BY LIST (k); CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
	  CREATE TABLE part_2 PARTITION OF parts FOR VALUES IN (2) PARTITION BY RANGE (v);
	  CREATE TABLE part_2_1 PARTITION OF part_2 FOR VALUES FROM (MINVALUE) TO (MAXVALUE); INSERT INTO parts SELECT 1 + g % 2, -g FROM generate_series(1, 30) g`,
		`ALTER TABLE old ADD CONSTRAINT k2 CHECK (a > 10) NO INHERIT NOT VALID, ADD FOREIGN KEY (a) REFERENCES old NOT VALID; ALTER TABLE old ALTER a TYPE bigint;
		  UPDATE old SET a = id + 10, b = 7 WHERE id < 3;
	  ALTER TABLE old ADD COLUMN at timestamptz DEFAULT now(), ADD COLUMN n int DEFAULT 2;
		  ALTER TABLE old ADD COLUMN luck float8 DEFAULT random(), ADD CONSTRAINT k3 CHECK (luck < 0) NOT VALID;
		  INSERT INTO old SELECT 100 + g, 11 + g % 10, g, now(), 1, -1 FROM generate_series(1, 20) g`,
		`ALTER TABLE child ADD CONSTRAINT k CHECK (a > 0) NOT VALID; ALTER TABLE other ADD CONSTRAINT k CHECK (a > 0) NOT VALID;
		  ALTER TABLE parent ADD CONSTRAINT k CHECK (a > 0) NOT VALID;
	  ALTER TABLE ONLY parent ADD CONSTRAINT alone CHECK (b > 1) NO INHERIT NOT VALID; ALTER TABLE grandchild ADD CONSTRAINT own CHECK (c > 5) NOT VALID;
		  COMMENT ON CONSTRAINT k ON two IS 'of two';
	  ALTER TABLE parent ALTER b TYPE bigint; ALTER TABLE child ALTER c TYPE bigint; ALTER TABLE parent ADD d float8 DEFAULT random();
		  ALTER TABLE parent ADD e timestamptz DEFAULT now()`,
		`ALTER TABLE parts ADD CONSTRAINT positive CHECK (v > 0) NOT VALID; ALTER TABLE part_1 ADD CONSTRAINT own CHECK (v > 1) NOT VALID;
		  ALTER TABLE parts ADD at timestamptz DEFAULT now();
	  BEGIN; ALTER TABLE parts ADD luck float8 DEFAULT random(); INSERT INTO parts VALUES (1, 5), (2, 5); ALTER TABLE part_1 DROP CONSTRAINT own; COMMIT;
		  ALTER TABLE parts ADD luck2 float8 DEFAULT random()`)
	for _, sql := range []string{"INSERT INTO old VALUES (0, 1, 1, now(), 1, -1)", "UPDATE old SET n = 3 WHERE id = 9", "INSERT INTO two VALUES (-1, '1')",
		"INSERT INTO parent VALUES (1, '1')",
		"INSERT INTO grandchild (a, c) VALUES (1, '1')", "UPDATE part_1 SET luck = 0 WHERE v < 0", "INSERT INTO parts VALUES (2, 0)"} {
		tr.refuses(sql)
	}
}

// A value of a domain is checked when it is made, not when its row is written:
// a row keeps one that violates a constraint, and may hand it on.
func TestDomainValuesThatViolate(t *testing.T) {
	tr := unvalidated(t, `CREATE DOMAIN small AS int CHECK (value < 1000); CREATE DOMAIN smaller AS small CHECK (value < 900);
	  CREATE TYPE pair AS (a small, b text); CREATE DOMAIN late AS text; CREATE TYPE span AS RANGE (SUBTYPE = small);
	  CREATE TABLE d (id int PRIMARY KEY, s small, n int); CREATE TABLE keyless (s smaller, l small[], p pair, r span, n int);
	  CREATE TABLE l (id int PRIMARY KEY, v late, w late[], n int); CREATE TABLE plain (id int PRIMARY KEY, v text);
	  INSERT INTO d SELECT g, -g, g FROM generate_series(1, 30) g;
	  INSERT INTO keyless SELECT -g, ARRAY[-g, NULL], (-g, 'x')::pair, span(-g, 5), g FROM generate_series(1, 20) g;
	  INSERT INTO l SELECT g, 'v' || g, ARRAY['v' || g], g FROM generate_series(1, 20) g;
	  ALTER DOMAIN small ADD CONSTRAINT positive CHECK (value > 0) NOT VALID; COMMENT ON CONSTRAINT positive ON DOMAIN small IS 'it''s so';
	  INSERT INTO plain VALUES (1, 'x')`,
		`UPDATE d SET n = 0 WHERE id < 4; INSERT INTO d SELECT id + 100, s, n FROM d; UPDATE keyless SET n = -n WHERE n < 5; DELETE FROM keyless WHERE n > 15;
		  INSERT INTO keyless SELECT * FROM keyless LIMIT 3;
	  BEGIN; UPDATE d SET n = 1 WHERE id = 5; ALTER TABLE d ADD luck float8 DEFAULT random(); UPDATE d SET n = 2 WHERE id = 6; TRUNCATE plain;
		  UPDATE d SET n = 3 WHERE id = 7; INSERT INTO plain VALUES (2, 'y'); CREATE TABLE made AS SELECT s FROM d; UPDATE d SET n = 4 WHERE id = 8; COMMIT`,
		`UPDATE l SET n = 1 WHERE id = 2; ALTER DOMAIN late ADD CONSTRAINT never CHECK (value = '') NOT VALID; UPDATE l SET n = 2 WHERE id = 2;
		  INSERT INTO l SELECT id + 100, v, w FROM l; UPDATE l SET n = 3 WHERE id = 102; INSERT INTO d VALUES (200, 7, 7);
	  CREATE TABLE fresh (v late, s small); INSERT INTO fresh SELECT v, s FROM l JOIN d USING (id); CREATE TYPE wrap AS (v late); CREATE TABLE wrapped (w wrap);
		  INSERT INTO wrapped SELECT ROW(v)::wrap FROM l LIMIT 9; ALTER TABLE fresh ADD luck float8 DEFAULT random();
	  CREATE TABLE nest (f fresh); INSERT INTO nest SELECT f FROM fresh f; ALTER TABLE keyless ADD at timestamptz DEFAULT now(), ADD luck float8 DEFAULT random()`,
		`ALTER DOMAIN late DROP CONSTRAINT never; UPDATE d SET s = 1; UPDATE l SET n = 9`)
	for _, sql := range []string{"INSERT INTO d VALUES (0, 0)", "SELECT '{0}'::small[]", "SELECT (0, 'x')::pair"} {
		tr.refuses(sql)
	}
}

// Since version 18 a column's NOT NULL may be NOT VALID, too, and a constraint
// may be NOT ENFORCED.
func TestNotNullNotValid(t *testing.T) {
	source, _ := clusters(t)
	if source.Major < 18 {
		t.Skip("for PostgreSQL 18 and later")
	}
	tr := unvalidated(t, `CREATE TABLE n (id int PRIMARY KEY, a int, b int, c int NOT NULL); INSERT INTO n SELECT g, NULL, -g, g FROM generate_series(1, 20) g;
	  CREATE TABLE heir () INHERITS (n); INSERT INTO heir VALUES (1, NULL, NULL, 1); ALTER TABLE n ADD CONSTRAINT base NOT NULL a NOT VALID`,
		`ALTER TABLE n ALTER c TYPE bigint`,
		`UPDATE n SET a = 1 WHERE id = 1; ALTER TABLE ONLY heir ADD CONSTRAINT b_there NOT NULL b NOT VALID;
		  ALTER TABLE n ADD CHECK (b > 0) NOT ENFORCED, ADD CONSTRAINT p CHECK (b > 0) NOT VALID; COMMENT ON CONSTRAINT base ON n IS 'x';
	  ALTER TABLE n ADD luck float8 DEFAULT random(); ALTER TABLE n ADD at timestamptz DEFAULT now()`)
	for _, sql := range []string{"INSERT INTO n VALUES (0, NULL, 1, 1)", "INSERT INTO heir VALUES (0, 1, NULL, 1)", "INSERT INTO heir VALUES (0, NULL, 1, 1)",
		"INSERT INTO n VALUES (0, 1, -1, 1)"} {
		tr.refuses(sql)
	}
}

// The constraint is gone when start connects and reads rows from before.
func TestDomainConstraintGoneMeanwhile(t *testing.T) {
	tr := begin(t, `CREATE DOMAIN d AS int; CREATE TABLE t (id int PRIMARY KEY, v d, w text); INSERT INTO t SELECT g, g - 5, 'x' FROM generate_series(1, 9) g`)
	tr.run(`ALTER DOMAIN d ADD CONSTRAINT positive CHECK (value > 0) NOT VALID`)
	tr.capture()
	tr.run(`UPDATE t SET w = 'y'; INSERT INTO t SELECT id + 10, v, w FROM t`, `DELETE FROM t WHERE v <= 0; ALTER DOMAIN d VALIDATE CONSTRAINT positive`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
