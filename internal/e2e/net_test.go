package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/restore"
)

// Every round trip applies sets wherever it can, also of two rows.
var (
	allSets = restore.Limits{LookAfter: 1, Set: 2, NewSet: 2}
	ordered = os.Getenv("PG_SCRIBE_TEST_APPLY") == "ordered"
)

var netRounds = flag.Int("net-rounds", 4, "how many workloads TestNetRandom makes up")

// netTable is a table whose rows are changed at random: its columns with the
// values that they may get, as SQL, from few, so that they meet.
type netTable struct {
	name, sql string
	columns   []netColumn
	key       string // a column by which rows are chosen
}

type netColumn struct {
	name   string
	values []string
}

func numbers(format string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf(format, i))
	}
	return list
}

var (
	smallInts = numbers("%d", 12)
	someTexts = []string{"''", "'a'", "'it''s'", `E'tab\t\\ \n line'`, `'\N'`, `'\.'`, "'-- pg_scribe x'", "NULL", "'ä'", "'A'", "'--'"}
	longTexts = []string{"repeat('long ', 3000)", "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 200) g)", "'short'", "NULL"}
)

var netTables = []netTable{
	{"plain", "CREATE TABLE plain (id int PRIMARY KEY, v text, w text)", []netColumn{{"id", smallInts}, {"v", someTexts}, {"w", someTexts}}, "id"},
	{"apart", "CREATE TABLE apart (id int PRIMARY KEY, u int UNIQUE, v text)", []netColumn{{"id", smallInts}, {"u", numbers("%d", 14)}, {"v", someTexts}}, "id"},
	{"partial", "CREATE TABLE partial (id int PRIMARY KEY, u int, v text); " +
		"CREATE UNIQUE INDEX ON partial (u) WHERE u > 5; CREATE UNIQUE INDEX ON partial (lower(v))",
		[]netColumn{{"id", smallInts}, {"u", smallInts}, {"v", someTexts}}, "id"},
	{"later", "CREATE TABLE later (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, v text)",
		[]netColumn{{"id", smallInts}, {"u", numbers("%d", 14)}, {"v", someTexts}}, "id"},
	{"excluded", "CREATE TABLE excluded (id int PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&))",
		[]netColumn{{"id", smallInts}, {"r", []string{"'[1,3)'", "'[3,5)'", "'[5,9)'", "'[9,10)'", "'[10,20)'", "NULL", "'empty'", "'[20,30)'"}}}, "id"},
	{"numerics", "CREATE TABLE numerics (n numeric PRIMARY KEY, v numeric)",
		[]netColumn{{"n", []string{"1", "1.0", "1.00", "2", "2.000", "'NaN'", "0", "-0.0", "1e3", "1000.0"}}, {"v", []string{"1.50", "1.5", "'NaN'", "NULL"}}}, "n"},
	{"floats", "CREATE TABLE floats (f float8 PRIMARY KEY, v float4)",
		[]netColumn{{"f", []string{"0", "'-0'", "'NaN'", "'Infinity'", "0.1", "0.1::float8 + 0.2", "1e-300"}}, {"v", []string{"0.1", "'NaN'", "'-0'"}}}, "f"},
	{"folded", `CREATE COLLATION folded (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false); ` +
		`CREATE TABLE folded (k text COLLATE folded PRIMARY KEY, v text)`,
		[]netColumn{{"k", []string{"'a'", "'A'", "'b'", "'B'", "'ä'", "'Ä'", "''"}}, {"v", someTexts}}, "k"},
	{"cased", "CREATE EXTENSION citext; CREATE TABLE cased (k citext PRIMARY KEY, v citext)",
		[]netColumn{{"k", []string{"'a'", "'A'", "'b'", "'B'", "''"}}, {"v", someTexts}}, "k"},
	{"toasted", "CREATE TABLE toasted (id int PRIMARY KEY, n int, b text, c text); ALTER TABLE toasted ALTER b SET STORAGE EXTERNAL",
		[]netColumn{{"id", smallInts}, {"n", smallInts}, {"b", longTexts}, {"c", longTexts}}, "id"},
	{"apart2", "CREATE TABLE apart2 (id int PRIMARY KEY, u int, b text, c text, g int GENERATED ALWAYS AS (u + 1) STORED, EXCLUDE USING hash (u WITH =))",
		[]netColumn{{"id", smallInts}, {"u", numbers("%d", 14)}, {"b", longTexts}, {"c", longTexts}}, "id"},
	{"longkey", "CREATE TABLE longkey (k text PRIMARY KEY, n int, b text)",
		[]netColumn{{"k", []string{"repeat('k', 2500)", "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 70) g)", "'k'", "''"}},
			{"n", smallInts}, {"b", longTexts}}, "k"},
	{"whole", "CREATE TABLE whole (a int, b text); ALTER TABLE whole REPLICA IDENTITY FULL",
		[]netColumn{{"a", numbers("%d", 3)}, {"b", []string{"'x'", "'y'", "NULL"}}}, "a"},
	{"nokey", "CREATE TABLE nokey (a int, b text)", []netColumn{{"a", numbers("%d", 3)}, {"b", []string{"'x'", "'y'", "NULL"}}}, "a"},
	{"parts", "CREATE TABLE parts (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k); " +
		"CREATE TABLE p1 PARTITION OF parts FOR VALUES IN (1, 2, 3); " +
		"CREATE TABLE p2 PARTITION OF parts FOR VALUES IN (4, 5); CREATE TABLE p3 PARTITION OF parts DEFAULT",
		[]netColumn{{"id", smallInts}, {"k", numbers("%d", 8)}, {"v", someTexts}}, "id"},
	{"hashed", "CREATE TYPE hue AS ENUM ('red', 'green', 'blue'); CREATE TABLE hashed (h hue, id int, v text, PRIMARY KEY (h, id)) PARTITION BY HASH (h); " +
		"CREATE TABLE h1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE h2 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
		[]netColumn{{"h", []string{"'red'", "'green'", "'blue'"}}, {"id", numbers("%d", 5)}, {"v", someTexts}}, "id"},
	{"computed", "CREATE TABLE computed (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED, t text)",
		[]netColumn{{"id", smallInts}, {"n", smallInts}, {"t", someTexts}}, "id"},
	{"counted", "CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)", []netColumn{{"v", someTexts}}, "id"},
	{"counted2", "CREATE TABLE counted2 (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, a int GENERATED ALWAYS AS IDENTITY, v text)",
		[]netColumn{{"id", smallInts}, {"v", someTexts}}, "id"},
	{"types", `CREATE TYPE pair AS (a int, b text); CREATE DOMAIN few AS int CHECK (value < 100);
		CREATE TABLE types (k bytea, l int[], e hue, j jsonb, p pair, d few, ts timestamptz,
		  f float8[], x xml, c char(4), vc varchar(5), i inet, PRIMARY KEY (k, l))`,
		[]netColumn{{"k", []string{`'\x00'`, `'\x00ff'`, `'\\x'`, "''"}}, {"l", []string{"'{}'", "'{1,2}'", "'{NULL,3}'"}},
			{"e", []string{"'red'", "'blue'", "NULL"}},
			{"j", []string{`'{"a": [1.50, null], "b": "x\ny"}'`, "'null'", "NULL"}}, {"p", []string{"ROW(1, 'a,\"b')", "ROW(NULL, NULL)", "NULL"}},
			{"d", []string{"7", "NULL"}},
			{"ts", []string{"'2026-01-02 03:04:05.678+00'", "'infinity'", "'2000-01-01 BC'"}},
			{"f", []string{"'{NaN,-0}'", "NULL"}}, {"x", []string{"'<a>&lt;</a>'", "NULL"}},
			{"c", []string{"'ab'", "''"}}, {"vc", []string{"'ab  '", "'äöü'"}}, {"i", []string{"'10.0.0.1/8'", "NULL"}}}, "k"},
	{`"T x's ""q"""`, `CREATE TABLE "T x's ""q""" ("select" int, "Ä b" text, "from" text, PRIMARY KEY ("Ä b", "select"))`,
		[]netColumn{{`"select"`, smallInts}, {`"Ä b"`, []string{"'x'", "E'tab\\t'", "'a''b'"}}, {`"from"`, someTexts}}, `"select"`},
	{"dropped", "CREATE TABLE dropped (gone text, id int PRIMARY KEY, gone2 int, v text); ALTER TABLE dropped DROP gone; ALTER TABLE dropped DROP gone2",
		[]netColumn{{"id", smallInts}, {"v", someTexts}}, "id"},
	{"byindex", "CREATE TABLE byindex (id int, k text NOT NULL, v text); " +
		"CREATE UNIQUE INDEX byk ON byindex (k); ALTER TABLE byindex REPLICA IDENTITY USING INDEX byk",
		[]netColumn{{"id", smallInts}, {"k", []string{"'a'", "'b'", "'A'", "''", "'--'"}}, {"v", someTexts}}, "k"},
	{"child", "CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (PRIMARY KEY (id), w int) INHERITS (parent)",
		[]netColumn{{"id", smallInts}, {"v", someTexts}, {"w", smallInts}}, "id"},
	{"parent", "", []netColumn{{"id", smallInts}, {"v", someTexts}}, "id"},
	{"referring", "CREATE TABLE referred (id int PRIMARY KEY); INSERT INTO referred SELECT generate_series(0, 11); " +
		"CREATE TABLE referring (id int PRIMARY KEY, r int REFERENCES referred ON DELETE CASCADE ON UPDATE CASCADE)",
		[]netColumn{{"id", smallInts}, {"r", smallInts}}, "id"},
	{"referred", "", []netColumn{{"id", smallInts}}, "id"},
	{"judged", "CREATE FUNCTION even(i int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; " +
		"CREATE TABLE judged (id int PRIMARY KEY, n int CHECK (even(n)), h int GENERATED ALWAYS AS (hashtext(n::text)) STORED)",
		[]netColumn{{"id", smallInts}, {"n", smallInts}}, "id"},
}

// netWork makes transactions up.
type netWork struct {
	*rand.Rand
	b strings.Builder
}

func (w *netWork) of(list []string) string { return list[w.IntN(len(list))] }

func (w *netWork) where(t *netTable) string {
	by := t.columns[0]
	for _, c := range t.columns {
		if c.name == t.key {
			by = c
		}
	}
	if by.name != t.key { // the values are the server's
		return fmt.Sprintf("%[1]s = (SELECT %[1]s FROM %[2]s ORDER BY hashtext(%[1]s::text || '%[3]d') LIMIT 1)", t.key, t.name, w.IntN(1000))
	}
	return t.key + " = " + w.of(by.values)
}

func (w *netWork) insert(t *netTable) {
	var names, values []string
	for _, c := range t.columns {
		names, values = append(names, c.name), append(values, w.of(c.values))
	}
	fmt.Fprintf(&w.b, "INSERT INTO %s (%s) VALUES (%s);\n", t.name, strings.Join(names, ", "), strings.Join(values, ", "))
}

func (w *netWork) update(t *netTable) {
	var set []string
	for _, i := range w.Perm(len(t.columns))[:1+w.IntN(len(t.columns))] {
		set = append(set, t.columns[i].name+" = "+w.of(t.columns[i].values))
	}
	fmt.Fprintf(&w.b, "UPDATE %s SET %s WHERE %s;\n", t.name, strings.Join(set, ", "), w.where(t))
}

func (w *netWork) step(t *netTable) {
	switch w.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		w.insert(t)
	case 6, 7, 8, 9, 10, 11, 12:
		w.update(t)
	case 13, 14:
		fmt.Fprintf(&w.b, "DELETE FROM %s WHERE %s;\n", t.name, w.where(t))
	case 15: // delete, then insert
		fmt.Fprintf(&w.b, "DELETE FROM %s WHERE %s;\n", t.name, w.where(t))
		w.insert(t)
	case 16: // several rows of one statement, which may be a COPY block
		for range 9 {
			w.insert(t)
		}
	case 17: // another column's value, from row to row
		c := t.columns[w.IntN(len(t.columns))]
		fmt.Fprintf(&w.b, "UPDATE %[1]s SET %[2]s = (SELECT %[2]s FROM %[1]s AS o ORDER BY hashtext(o::text || '%[3]d') LIMIT 1) WHERE %[4]s;\n",
			t.name, c.name, w.IntN(1000), w.where(t))
	case 18:
		switch t.name {
		case "apart", "apart2", "later", "partial": // swap two values by a third
			a, b := w.of(smallInts), w.of(smallInts)
			fmt.Fprintf(&w.b, "UPDATE %[1]s SET u = -u - 1 WHERE u IN (%[2]s, %[3]s);\n"+
				"UPDATE %[1]s SET u = CASE -u - 1 WHEN %[2]s THEN %[3]s ELSE %[2]s END WHERE u < 0;\n",
				t.name, a, b)
		case "counted", "counted2":
			fmt.Fprintf(&w.b, "UPDATE %s SET id = DEFAULT WHERE %s;\n", t.name, w.where(t))
		case "plain":
			fmt.Fprintf(&w.b, "UPDATE plain SET id = id + %d;\nUPDATE plain SET v = id::text;\n", 20-w.IntN(2)*40)
			w.b.WriteString("INSERT INTO plain SELECT g, 'many', g::text FROM generate_series(100, 1200) g ON CONFLICT DO NOTHING;\n" +
				"DELETE FROM plain WHERE id > 90 AND id % 3 = 0;\n")
		case "toasted":
			w.b.WriteString("UPDATE toasted SET n = n + 1;\n")
		}
	case 19:
		kind := w.IntN(8)
		if t.name == "hashed" && kind < 3 { // what is done to single partitions is a gap
			return
		}
		switch kind {
		case 0:
			fmt.Fprintf(&w.b, "TRUNCATE %s CASCADE;\n", t.name)
		case 1:
			fmt.Fprintf(&w.b, "ALTER TABLE %s ADD extra%d int DEFAULT 7;\n", t.name, w.IntN(3))
		case 2:
			fmt.Fprintf(&w.b, "ALTER TABLE %s DROP COLUMN IF EXISTS extra%d;\n", t.name, w.IntN(3))
		case 3:
			w.b.WriteString("ALTER TYPE hue ADD VALUE IF NOT EXISTS 'grey';\n")
		}
	}
}

// TestNetRandom makes changes up to tables of all kinds, and compares what comes
// back with the source: by sets wherever that can be, by sets as it is usual, with
// little memory, and in order.
func TestNetRandom(t *testing.T) {
	var setup strings.Builder
	for _, table := range netTables {
		if table.sql != "" {
			setup.WriteString(table.sql + ";\n")
		}
	}
	first := uint64(1)
	if *randomSeed != 0 {
		first = *randomSeed
	}
	for seed := first; seed < first+uint64(*netRounds); seed++ {
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			tr := begin(t, setup.String())
			w := &netWork{Rand: rand.New(rand.NewPCG(seed, 3))}
			list := netTables
			if seed%2 == 0 { // few tables, many changes of each
				at := w.IntN(len(netTables) - 3)
				list = netTables[at : at+3]
			}
			for range 150 {
				inside := w.IntN(2) == 0
				if inside {
					w.b.WriteString("BEGIN;\n")
				}
				for range 1 + w.IntN(8) {
					w.step(&list[w.IntN(len(list))])
				}
				if inside {
					w.b.WriteString("COMMIT;\n")
				}
			}
			tr.careless(w.b.String())
			tr.capture()
			tr.noGap()
			want := tr.rowsOf(tr.conn())
			for how, o := range map[string]restore.Options{
				"all sets": {Limits: allSets}, "usual": {}, "in order": {Ordered: true},
				"little memory": {Limits: restore.Limits{LookAfter: 1, Set: 2, NewSet: 3, Copy: 4, Transactions: 7}, Memory: 20_000},
			} {
				got, notices := tr.restoredAs(o)
				if diff := pgtest.Diff(want, got); diff != "" {
					t.Errorf("%s: data differ:\n%s", how, diff)
				}
				for _, n := range notices {
					t.Log(how, n)
					if strings.Contains(n, "one after another") {
						t.Errorf("%s: %s", how, n)
					}
				}
			}
			if t.Failed() {
				file := filepath.Join(os.TempDir(), fmt.Sprintf("pg_scribe-net-%d.sql", seed))
				if err := os.WriteFile(file, []byte(w.b.String()+"\n-- segments\n"+tr.text()), 0o600); err == nil {
					t.Logf("statements and segments are in %s", file)
				}
			}
		})
		if !ok {
			t.Logf("to repeat: go test ./internal/e2e -run TestNetRandom -random-seed %d -net-rounds 1", seed)
		}
	}
}

// careless runs a script, of which statements may fail.
func (tr *trip) careless(sql string) {
	tr.t.Helper()
	cmd := tr.source.Command("psql", "-X", "-q", "-v", "ON_ERROR_ROLLBACK=on", "-d", tr.db, "-f", "-", "-o", os.DevNull)
	cmd.Stdin = strings.NewReader(sql)
	out, err := cmd.CombinedOutput()
	if err != nil {
		tr.t.Fatalf("%v: %s", err, out)
	}
	failed, lines := strings.Count(string(out), "ERROR:"), strings.Count(sql, ";\n")
	tr.t.Logf("%d of %d statements failed", failed, lines)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "syntax error") || strings.Contains(line, "ERROR:") && strings.Contains(line, "does not exist") {
			tr.t.Fatal(line)
		}
	}
}

// restoredAs restores to the end into a database that is dropped again, and
// returns what it holds.
func (tr *trip) restoredAs(o restore.Options) (state pgtest.State, notices []string) {
	tr.t.Helper()
	name := fmt.Sprintf("net_%d", time.Now().UnixNano())
	o.SyncSequences = true
	defer tr.target.Exec(tr.t, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	report, err := tr.restoreTo(name, catalog.Request{}, o)
	if err != nil {
		tr.t.Errorf("restore: %v", err)
		return state, nil
	}
	return tr.rowsOf(tr.target.ConnString(name)), report.Notices
}

// rowsOf is what a database holds. Enums hash by their OIDs, so that what is
// partitioned by them lies in other partitions.
func (tr *trip) rowsOf(conn string) pgtest.State {
	tr.t.Helper()
	state, err := pgtest.Snapshot(tr.t.Context(), conn, "")
	if err != nil {
		tr.t.Fatal(err)
	}
	delete(state.Tables, "public.h1")
	delete(state.Tables, "public.h2")
	return state
}

// TestNetKilled: restores that are killed while sets go in, and go on, end equal.
func TestNetKilled(t *testing.T) {
	tr := begin(t, `CREATE TABLE a (id int PRIMARY KEY, n int, v text); INSERT INTO a SELECT g, 0, repeat('x', 50) FROM generate_series(1, 20000) g;
CREATE TABLE log (id int, v text); CREATE TABLE bag (i int); INSERT INTO bag SELECT g % 5 FROM generate_series(1, 50) g;
CREATE PROCEDURE work(rounds int) LANGUAGE plpgsql AS $$BEGIN FOR r IN 1..rounds LOOP
  UPDATE a SET n = n + r WHERE id BETWEEN r AND r + 9; INSERT INTO log VALUES (r, 'x'); DELETE FROM a WHERE id = r * 3;
  INSERT INTO a VALUES (r * 3, r, 'new') ON CONFLICT DO NOTHING;
  UPDATE a SET id = -id WHERE id = r * 7;
  IF r % 500 = 0 THEN DELETE FROM bag WHERE ctid = (SELECT ctid FROM bag LIMIT 1); INSERT INTO bag VALUES (r); END IF;
  IF r % 4000 = 0 THEN EXECUTE 'ALTER TABLE a ADD c' || r || ' int DEFAULT 1'; END IF;
  COMMIT; END LOOP; END$$`)
	tr.run("CALL work(12000)")
	tr.capture()
	want := tr.rowsOf(tr.conn())
	const name = "net_killed"
	tr.target.Exec(t, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	defer tr.target.Exec(t, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	args := []string{"restore", "-d", tr.target.ConnString(name), "-f", tr.dir, "--memory", "1MB"}
	kills := 0
	r := tr.launch(append(args, "-C")...)
	await(t, "base", func() bool {
		return tr.target.Query(t, "postgres", "SELECT 1 FROM pg_database WHERE datname = '"+name+"'") == "1" &&
			tr.target.Query(t, name, "SELECT to_regclass('scribe_restore.progress') IS NOT NULL") == "t"
	})
	for ; ; kills++ {
		ended := make(chan error, 1)
		go func() { ended <- r.cmd.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v\n%s", err, r.text.String())
			}
			if got := tr.rowsOf(tr.target.ConnString(name)); pgtest.Diff(want, got) != "" {
				t.Error(pgtest.Diff(want, got))
			}
			if kills < 3 {
				t.Errorf("killed %d times only", kills)
			}
			return
		case <-time.After(time.Duration(50+kills*60) * time.Millisecond):
			r.cmd.Process.Kill()
			<-ended
			r = tr.launch(append(args, "--resume")...)
		}
	}
}
