package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/restore"
)

// bagTables have no key that their changes name: rows are known by all columns.
// Values are few, so that rows are alike, or nearly so.
var bagTables = []netTable{
	{"pairs", "CREATE TABLE pairs (a int, b text)", []netColumn{{"a", []string{"0", "1", "2", "NULL"}}, {"b", someTexts}}, "a"},
	{"single", "CREATE TABLE single (v text)", []netColumn{{"v", someTexts}}, "v"},
	{"amounts", "CREATE TABLE amounts (k int, n numeric, f float8, g float4)", []netColumn{{"k", numbers("%d", 3)},
		{"n", []string{"1", "1.0", "1.00", "'NaN'", "0", "-0.0", "NULL"}}, {"f", []string{"0", "'-0'", "'NaN'", "0.1::float8 + 0.2", "NULL"}},
		{"g", []string{"0.1", "'NaN'", "'-0'", "0"}}}, "k"},
	{"onlynumbers", "CREATE TABLE onlynumbers (n numeric)", []netColumn{{"n", []string{"1", "1.0", "1.00", "2", "'NaN'"}}}, "n"},
	{"letters", "CREATE EXTENSION citext; CREATE COLLATION folded (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false); " +
		"CREATE TABLE letters (c citext, f text COLLATE folded, p char(3))",
		[]netColumn{{"c", []string{"'a'", "'A'", "'b'", "NULL"}}, {"f", []string{"'a'", "'A'", "'Ä'", "'ä'", "NULL"}}, {"p", []string{"'x'", "'X'", "''"}}}, "c"},
	{"documents", "CREATE TABLE documents (k int, j json, b jsonb, x xml, t tsvector)",
		[]netColumn{{"k", numbers("%d", 3)}, {"j", []string{`'{"a":1}'`, `'{"a": 1}'`, "'null'", "NULL"}}, {"b", []string{`'{"a": 1.0}'`, `'{"a": 1}'`, "NULL"}},
			{"x", []string{"'<a/>'", "'<a></a>'", "NULL"}}, {"t", []string{"'b a'", "'a:1A'"}}}, "k"},
	{"outofline", "CREATE TABLE outofline (n int, b text, c text); ALTER TABLE outofline ALTER b SET STORAGE EXTERNAL",
		[]netColumn{{"n", numbers("%d", 4)}, {"b", longTexts}, {"c", longTexts}}, "n"},
	{"shrunk", "CREATE TABLE shrunk (gone text, a int, gone2 int, b text); ALTER TABLE shrunk DROP gone; ALTER TABLE shrunk DROP gone2",
		[]netColumn{{"a", numbers("%d", 3)}, {"b", someTexts}}, "a"},
	{"manifold", `CREATE TYPE hue AS ENUM ('red', 'blue'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN few AS int CHECK (value < 100);
		CREATE TABLE manifold (e hue, p pair, d few, k bytea, l int[], q "char", i inet, v interval, z timetz, m money, o point, r int4range, u varbit, h name)`,
		[]netColumn{{"e", []string{"'red'", "'blue'"}}, {"p", []string{"ROW(1, 'a,\"b')", "ROW(NULL, NULL)", "NULL"}}, {"d", []string{"7", "NULL"}},
			{"k", []string{`'\x00'`, `'\x00ff'`, "''"}}, {"l", []string{"'{}'", "'{NULL,3}'", "'[0:0]={3}'"}}, {"q", []string{"'x'", "''"}},
			{"i", []string{"'10.0.0.1/8'", "'10.0.0.1'"}}, {"v", []string{"'1 month'", "'30 days'", "'720 hours'"}}, {"z", []string{"'10:00+01'", "'09:00+00'"}},
			{"m", []string{"1.5", "NULL"}}, {"o", []string{"'(1,2)'", "'(1,-0)'"}}, {"r", []string{"'[1,3)'", "'empty'"}}, {"u", []string{"B'1'", "B'10'"}},
			{"h", []string{"'n'", "NULL"}}}, "e"},
	{"indexed", "CREATE TABLE indexed (a int, b text, c int); CREATE INDEX ON indexed (a); CREATE INDEX ON indexed (b)",
		[]netColumn{{"a", numbers("%d", 30)}, {"b", someTexts}, {"c", []string{"1", "NULL"}}}, "a"},
	{"keyed", "CREATE TABLE keyed (id int PRIMARY KEY, u int UNIQUE, v text); ALTER TABLE keyed REPLICA IDENTITY FULL",
		[]netColumn{{"id", smallInts}, {"u", numbers("%d", 14)}, {"v", someTexts}}, "id"},
	{"logged", "CREATE UNLOGGED TABLE logged (a int, b text); INSERT INTO logged SELECT g % 3, g % 2 FROM generate_series(1, 40) g",
		[]netColumn{{"a", numbers("%d", 3)}, {"b", []string{"'0'", "'1'", "NULL"}}}, "a"},
}

// wideTable has more columns than a function may have arguments.
func wideTable() netTable {
	t := netTable{name: "wide", key: "c0"}
	var columns []string
	for i := range 130 {
		name, kind, values := fmt.Sprintf("c%d", i), "int", []string{"0", "1", "NULL"}
		if i%2 == 1 {
			kind, values = "text", []string{"'a'", "'A'", "NULL"}
		}
		if i < 120 && i > 0 {
			values = values[:1]
		}
		columns = append(columns, name+" "+kind)
		t.columns = append(t.columns, netColumn{name, values})
	}
	t.columns[0].values = []string{"0", "1", "2"}
	t.sql = "CREATE TABLE wide (" + strings.Join(columns, ", ") + ")"
	return t
}

// rows is a step without commands.
func (w *netWork) rows(t *netTable) {
	switch w.IntN(10) {
	case 0, 1, 2:
		w.insert(t)
	case 3, 4, 5:
		w.update(t)
	case 6:
		fmt.Fprintf(&w.b, "DELETE FROM %s WHERE %s;\n", t.name, w.where(t))
	case 7: // one of those that are alike, and one again
		fmt.Fprintf(&w.b, "DELETE FROM %[1]s WHERE ctid = (SELECT ctid FROM %[1]s WHERE %[2]s LIMIT 1);\n", t.name, w.where(t))
		w.insert(t)
	case 8:
		c := t.columns[w.IntN(len(t.columns))]
		fmt.Fprintf(&w.b, "UPDATE %[1]s SET %[2]s = (SELECT %[2]s FROM %[1]s AS o ORDER BY hashtext(o::text || '%[3]d') LIMIT 1) WHERE %[4]s;\n",
			t.name, c.name, w.IntN(1000), w.where(t))
	case 9: // several that are alike, which may be a COPY block
		fmt.Fprintf(&w.b, "INSERT INTO %[1]s SELECT o.* FROM (SELECT * FROM %[1]s LIMIT 1) o, generate_series(1, 9);\n", t.name)
	}
}

// TestNetRowsWithoutKey makes changes up to tables without a key, and compares
// what comes back with the source. No row is updated or applied in order by sets.
func TestNetRowsWithoutKey(t *testing.T) {
	tables := append(bagTables[:len(bagTables):len(bagTables)], wideTable())
	var setup strings.Builder
	for _, table := range tables {
		setup.WriteString(table.sql + ";\n")
	}
	first := uint64(1)
	if *randomSeed != 0 {
		first = *randomSeed
	}
	for seed := first; seed < first+uint64(*netRounds); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			tr := begin(t, setup.String())
			w := &netWork{Rand: rand.New(rand.NewPCG(seed, 5))}
			w.b.WriteString("ALTER TABLE logged SET LOGGED;\n")
			for range 200 {
				w.b.WriteString("BEGIN;\n")
				for range 1 + w.IntN(6) {
					w.rows(&tables[w.IntN(len(tables))])
				}
				w.b.WriteString("COMMIT;\n")
			}
			tr.careless(w.b.String())
			tr.capture()
			tr.noGap()
			want := tr.rowsOf(tr.conn())
			for how, o := range map[string]restore.Options{
				"all sets": {Limits: allSets}, "usual": {}, "in order": {Ordered: true}, "few transactions": {Limits: restore.Limits{Transactions: 5}},
			} {
				got, inOrder := tr.restoredCounted(o)
				if diff := pgtest.Diff(want, got); diff != "" {
					t.Errorf("%s: data differ:\n%s", how, diff)
				}
				if inOrder != o.Ordered {
					t.Errorf("%s: rows were updated in order: %v", how, inOrder)
				}
			}
		})
		if t.Failed() {
			t.Fatalf("to repeat: go test ./internal/e2e -run TestNetRowsWithoutKey -random-seed %d -net-rounds 1", seed)
		}
	}
}

// restoredCounted is restoredAs, and says whether rows were updated: counted ones
// are deleted and inserted only.
func (tr *trip) restoredCounted(o restore.Options) (state pgtest.State, inOrder bool) {
	tr.t.Helper()
	name := fmt.Sprintf("bag_%d", time.Now().UnixNano())
	defer tr.target.Exec(tr.t, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	o.SyncSequences = true
	report, err := tr.restoreTo(name, catalog.Request{}, o)
	if err != nil {
		tr.t.Fatalf("restore: %v", err)
	}
	if notices := strings.Join(report.Notices, "\n"); strings.Contains(notices, "one after another") {
		tr.t.Error(notices)
	}
	await(tr.t, "the sessions' statistics", func() bool {
		return tr.target.Query(tr.t, name, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'") == "1" &&
			tr.target.Query(tr.t, name, "SELECT sum(n_tup_del) > 0 FROM pg_stat_user_tables") == "t"
	})
	inOrder = tr.target.Query(tr.t, name, "SELECT sum(n_tup_upd) > 0 FROM pg_stat_user_tables WHERE schemaname = 'public'") == "t"
	return tr.rowsOf(tr.target.ConnString(name)), inOrder
}
