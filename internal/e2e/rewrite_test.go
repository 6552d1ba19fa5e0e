package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// The contents of a rewritten table stay ahead of what the same transaction does
// to them, also where other sessions change the catalogs while they are sent:
// decoding then takes up the transaction and its subtransaction anew, and of a
// message and a change at the same position either may come first.
func TestContentsComeBeforeTheChangesOfThem(t *testing.T) {
	tr := begin(t, `CREATE TABLE wide (id int PRIMARY KEY, n int, v text); INSERT INTO wide SELECT g, g, 'v' || g FROM generate_series(1, 12000) g;
	  CREATE TABLE whole (n int, v text); ALTER TABLE whole REPLICA IDENTITY FULL; INSERT INTO whole SELECT g, 'v' || g FROM generate_series(1, 8000) g;
	  CREATE TABLE emptied (n int, v text); ALTER TABLE emptied REPLICA IDENTITY FULL; INSERT INTO emptied SELECT g, 'v' || g FROM generate_series(1, 8000) g;
	  CREATE TABLE beside (a int)`)
	others := tr.source.Command("psql", "-X", "-q", "-d", tr.db, "-c",
		"DO $$BEGIN LOOP ALTER TABLE beside SET (fillfactor = 90); COMMIT; PERFORM pg_sleep(0.003); END LOOP; END$$")
	if err := others.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		kind := []string{"bigint", "int"}[i%2]
		tr.once(fmt.Sprintf("ALTER TABLE wide ALTER n TYPE %s; DELETE FROM wide WHERE id = %d", kind, i+1))
		tr.once(fmt.Sprintf("ALTER TABLE whole ALTER n TYPE %s; UPDATE whole SET v = 'new' WHERE n = %d", kind, i+1))
		if i%10 == 0 {
			tr.once(fmt.Sprintf("ALTER TABLE emptied ALTER n TYPE %s; TRUNCATE emptied; INSERT INTO emptied SELECT g, 'w' || g FROM generate_series(1, 8000) g", kind))
		}
	}
	tr.source.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO $$BEGIN LOOP%' AND pid <> pg_backend_pid()")
	others.Wait()
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// What built-in immutable casts and functions decide is computed again by the
// target, and costs the source nothing.
func TestRewritesThatTheTargetComputes(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, a int, b numeric(10,2), c varchar(10), d date, e float4, f int, g text, h timestamp, i char(5),
	    j bit(8), k uuid, CHECK (a > 0), CHECK (length(c) < 9));
	  CREATE INDEX ON t (lower(c)) WHERE a < 1000; CREATE UNIQUE INDEX ON t (b, id);
	  INSERT INTO t SELECT n, n, n / 7.0, E'a\t\\"' || n, '2020-02-28'::date + n, n / 3.0, n, E'x,y)\n' || n,
	    '2020-02-28 12:34:56.789'::timestamp + n * interval '1 hour',
	    'c' || n % 10, n::bit(8), gen_random_uuid() FROM generate_series(1, 300) n;
	  UPDATE t SET c = NULL, g = '' WHERE id % 5 = 0;
	  CREATE TABLE parent (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE child PARTITION OF parent FOR VALUES FROM (0) TO (1000);
	  INSERT INTO parent SELECT n, n FROM generate_series(1, 50) n;
	  CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler`)
	tr.run(`ALTER TABLE t ALTER a TYPE bigint`, `ALTER TABLE t ALTER b TYPE numeric(12,4), ALTER c TYPE varchar(8), ALTER e TYPE float8`,
		`ALTER TABLE t ALTER d TYPE timestamp, ALTER f TYPE text, ALTER g TYPE varchar(40)`, `ALTER TABLE t ALTER h TYPE timestamp(0);
		  ALTER TABLE t ALTER k TYPE text`,
		`ALTER TABLE t ADD n bigint GENERATED ALWAYS AS (a * 2 + length(c)) STORED`, `ALTER TABLE t ALTER id TYPE bigint`, `UPDATE t SET a = a + 1 WHERE id > 290`,
		`BEGIN; ALTER TABLE parent ADD w int; UPDATE parent SET w = v WHERE id < 9; ALTER TABLE parent ALTER v TYPE numeric; DELETE FROM parent WHERE id = 1; COMMIT`,
		`DO $$BEGIN ALTER TABLE t ALTER e TYPE numeric; EXECUTE 'ALTER TABLE t ALTER i TYPE text'; END$$`, `ALTER TABLE t SET ACCESS METHOD other`)
	tr.capture()
	if strings.Contains(tr.text(), "COPY ") {
		t.Errorf("rows were sent again:\n%.3000s", tr.text())
	}
	tr.noGap()
	tr.back()
	tr.equal()
}

// What a setting, a function of users, the clock or chance decides is sent.
func TestRewritesThatOnlyTheSourceKnows(t *testing.T) {
	setup := `CREATE TABLE t (id int PRIMARY KEY, a int, b text, c timestamp, d char(5));
	    INSERT INTO t SELECT n, n, n, '2020-02-28'::timestamp + n * interval '1 hour', n
	    FROM generate_series(1, 200) n;
	  CREATE FUNCTION f(v bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT v';
	    CREATE FUNCTION own(bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
	  CREATE DOMAIN positive AS bigint CHECK (value > 0); CREATE TYPE pair AS (a int, b int)`
	for name, sql := range map[string]string{
		"using":            `ALTER TABLE t ALTER a TYPE bigint USING a + (random() * 1000)::int`,
		"time zone":        `SET timezone = 'Asia/Tokyo'; ALTER TABLE t ALTER c TYPE timestamptz`,
		"date style":       `SET datestyle = 'German'; ALTER TABLE t ALTER c TYPE text`,
		"domain":           `ALTER TABLE t ALTER a TYPE positive`,
		"volatile":         `ALTER TABLE t ADD u uuid DEFAULT gen_random_uuid()`,
		"serial":           `ALTER TABLE t ADD s serial`,
		"volatile, also":   `ALTER TABLE t ALTER a TYPE bigint, ADD u float8 DEFAULT random()`,
		"own check":        `ALTER TABLE t ADD CHECK (own(a)); ALTER TABLE t ALTER a TYPE bigint; ALTER TABLE t ALTER id TYPE bigint`,
		"clock in a check": `ALTER TABLE t ADD CHECK (c < now()); ALTER TABLE t ALTER a TYPE bigint`,
		"own index":        `CREATE INDEX ON t (f(a)); ALTER TABLE t ALTER id TYPE bigint`,
		"own generated":    `ALTER TABLE t ADD g bigint GENERATED ALWAYS AS (f(a)) STORED`,
		"logged":           `ALTER TABLE t SET UNLOGGED; UPDATE t SET b = 'unseen' WHERE id < 9; ALTER TABLE t SET LOGGED`,
		"in a function": `CREATE FUNCTION go() RETURNS void LANGUAGE sql AS 'ALTER TABLE t ALTER a TYPE bigint USING a + (random() * 1000)::int';
		  SELECT go()`,
		"no columns": `CREATE TABLE none (); INSERT INTO none SELECT FROM generate_series(1, 3); ALTER TABLE none SET UNLOGGED; ALTER TABLE none SET LOGGED`,
	} {
		t.Run(name, func(t *testing.T) {
			tr := begin(t, setup)
			tr.run(sql)
			tr.capture()
			if !strings.Contains(tr.text(), "\nDELETE FROM ONLY public.") && !strings.Contains(tr.text(), "\nDELETE FROM ONLY \"public\".") {
				t.Errorf("no rows were sent:\n%.3000s", tr.text())
			}
			tr.noGap()
			tr.back()
			tr.equal()
		})
	}
}

// Rows come in pieces of many pages, whatever lies in them or outside of them.
func TestContentsInPieces(t *testing.T) {
	tr := begin(t, `CREATE UNLOGGED TABLE wide (id int PRIMARY KEY, v text); ALTER TABLE wide ALTER v SET STORAGE external;
	  INSERT INTO wide SELECT n, repeat(n::text || E'\n', 3000) FROM generate_series(1, 400) n; DELETE FROM wide WHERE id BETWEEN 20 AND 60;
	  CREATE UNLOGGED TABLE long (id int, a text, b bytea, c int[], d text);
	    INSERT INTO long SELECT n, CASE n % 3 WHEN 0 THEN '' WHEN 1 THEN NULL ELSE 'a"b\c,(' END,
	    decode('00ff5c', 'hex'), ARRAY[n, NULL], E' \t' FROM generate_series(1, 60000) n`)
	tr.run(`ALTER TABLE wide SET LOGGED`, `ALTER TABLE long SET LOGGED`)
	tr.capture()
	tr.noGap()
	if n := strings.Count(tr.text(), "\nCOPY "); n < 6 {
		t.Errorf("%d pieces", n)
	}
	tr.back()
	tr.equal()
}

// A function in USING or DEFAULT that writes to other tables does not write once
// more in the target.
func TestRewritesWriteOnce(t *testing.T) {
	tr := begin(t, `CREATE TABLE tag (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text); CREATE TABLE counter (n int); INSERT INTO counter VALUES (100);
	  CREATE TABLE post (id int PRIMARY KEY, tag text); INSERT INTO post SELECT g, 'tag' || g % 3 FROM generate_series(1, 30) g;
	  CREATE TABLE parts (id int, v text) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF parts FOR VALUES IN (1);
	    INSERT INTO parts VALUES (1, 'a'), (1, 'b');
	  CREATE TABLE referred (id int PRIMARY KEY); INSERT INTO referred VALUES (1), (2); CREATE TABLE refers (r int REFERENCES referred);
	    INSERT INTO refers VALUES (1);
	  CREATE FUNCTION tag_of(v text) RETURNS int LANGUAGE sql AS 'INSERT INTO tag (name) VALUES (v) RETURNING id';
	  CREATE FUNCTION next() RETURNS int LANGUAGE sql AS 'UPDATE counter SET n = n + 1 RETURNING n';
	    CREATE FUNCTION plain(i int) RETURNS bigint LANGUAGE sql AS 'SELECT i'`)
	tr.run(`BEGIN; ALTER TABLE post ALTER tag TYPE int USING tag_of(tag); ALTER TABLE post ADD FOREIGN KEY (tag) REFERENCES tag; COMMIT`,
		`ALTER TABLE post ADD COLUMN no int NOT NULL DEFAULT next()`, `DO $$BEGIN EXECUTE 'ALTER TABLE post ADD COLUMN no2 int DEFAULT next()'; END$$`,
		`ALTER TABLE parts ALTER v TYPE int USING tag_of(v)`,
		`CREATE FUNCTION go() RETURNS void LANGUAGE sql AS 'ALTER TABLE post ADD COLUMN no3 int DEFAULT next()'; SELECT go()`,
		`ALTER TABLE referred ALTER id TYPE bigint USING plain(id)`,
		`ALTER TABLE counter ADD c int DEFAULT next()`) // which changes the table itself
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// A column that is added with a default which is NULL at the moment is NULL in
// the rows that were there, whatever the default gives where the command runs
// again: a setting of the application is empty in a session that once had it.
func TestAddedColumnsThatAreNull(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 9);
	  CREATE FUNCTION tenant() RETURNS text LANGUAGE sql STABLE AS $$SELECT current_setting('app.tenant', true)$$; CREATE SEQUENCE s`)
	tr.run(`SET app.tenant = 'x'; ALTER TABLE t ADD a text DEFAULT tenant()`, `ALTER TABLE t ADD b text DEFAULT tenant()`,
		`ALTER TABLE t ADD c date DEFAULT nullif(current_date, current_date), ADD d text DEFAULT tenant() || 'x'; UPDATE t SET b = 'set' WHERE id = 1`,
		`ALTER TABLE t ALTER b SET DEFAULT now()::text, ALTER b SET STATISTICS 10; INSERT INTO t (id) VALUES (10)`,
		`ALTER TABLE t ADD e text DEFAULT tenant(), ADD f int DEFAULT nextval('s')`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
