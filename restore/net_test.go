package restore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pg_scribe/catalog"
)

func update(id int, set string) string {
	return fmt.Sprintf(`UPDATE ONLY "public"."t" SET %s WHERE "id" = '%d';`, set, id)
}

// apartBase has a table with a second unique column.
const apartBase = `SET search_path = '';
CREATE TABLE public.t (id int PRIMARY KEY, u int UNIQUE, v text);
CREATE TABLE public.other (id int PRIMARY KEY, v text);
INSERT INTO public.t SELECT g, g, 'v' || g FROM generate_series(1, 9) g;
INSERT INTO public.other SELECT g, 'v' || g FROM generate_series(1, 9) g;
`

// bothWays restores by sets and in order. They have to come to the same rows, or
// the same error.
func bothWays(t *testing.T, b *builder, name string, change ...func(*Options)) (report Report, err error) {
	t.Helper()
	var rows [2]string
	var errs [2]error
	p := b.prepare(catalog.Target{})
	for i, way := range []string{"net", "ordered"} {
		c, o := target(t, name+"_"+way)
		for _, f := range change {
			f(&o)
		}
		o.Ordered = way == "ordered"
		r, err := p.Execute(context.Background(), o)
		if errs[i] = err; i == 0 {
			report = r
		}
		rows[i] = c.Query(t, name+"_"+way, "SELECT (SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM public.t), "+
			"(SELECT string_agg(o::text, ' ' ORDER BY o) FROM public.other o)")
		if err == nil && r.Transactions != report.Transactions || r.Statements != report.Statements {
			t.Errorf("%s: %d transactions, %d statements; net %d, %d", way, r.Transactions, r.Statements, report.Transactions, report.Statements)
		}
	}
	if rows[0] != rows[1] {
		t.Errorf("net:\n%s\nordered:\n%s", rows[0], rows[1])
	}
	if fmt.Sprint(errs[0]) != fmt.Sprint(errs[1]) {
		t.Errorf("net: %v\nordered: %v", errs[0], errs[1])
	}
	return report, errs[0]
}

// TestNetFallsBack: what sets cannot do is done in order, with a notice, and
// what comes behind by sets again.
func TestNetFallsBack(t *testing.T) {
	b := build(t)
	b.base(100, 5, strings.ReplaceAll(apartBase, "public.t (id int", "public.t (id numeric"), "")
	b.open(100)
	// To the server it is one row, whatever its key looks like.
	b.tx(120, 11, 10, update(1, `"v" = 'x'`), `DELETE FROM ONLY "public"."t" WHERE "id" = '1.0';`, `DELETE FROM ONLY "public"."other" WHERE "id" = '1';`)
	b.tx(140, 12, 11, `UPDATE ONLY "public"."other" SET "v" = 'a' WHERE "id" = '2';`, `UPDATE ONLY "public"."other" SET "v" = 'a' WHERE "id" = '3';`)
	b.tx(160, 13, 12, update(2, `"v" = 'x'`), `DELETE FROM ONLY "public"."t" WHERE "id" = '2.0';`, `DELETE FROM ONLY "public"."other" WHERE "id" = '2';`)
	b.seal()
	report, err := bothWays(t, b, "falls", func(o *Options) { o.Limits.Transactions = 1 })
	if err != nil {
		t.Fatal(err)
	}
	want := "changes of public.t are applied one after another, since their net effect could not be: 0 rows changed instead of 1"
	if got := strings.Join(report.Notices, "\n"); got != want {
		t.Errorf("notices: %s", got)
	}
}

// TestNetSwaps: values that are unique go from row to row, without a fallback.
func TestNetSwaps(t *testing.T) {
	b := build(t)
	b.base(100, 5, apartBase, "")
	b.open(100)
	b.tx(120, 11, 10, update(1, `"u" = '-1'`), update(2, `"u" = '1'`), update(3, `"u" = '2'`), update(1, `"u" = '3'`),
		`DELETE FROM ONLY "public"."t" WHERE "id" = '4';`, update(5, `"u" = '4'`),
		`INSERT INTO "public"."t" ("id", "u", "v") OVERRIDING SYSTEM VALUE VALUES ('4', '5', 'new');`,
		`UPDATE ONLY "public"."t" SET "id" = '60', "u" = '60', "v" = 'moved' WHERE "id" = '6';`,
		`INSERT INTO "public"."t" ("id", "u", "v") OVERRIDING SYSTEM VALUE VALUES ('6', '6', 'new');`)
	// In two statements of different columns.
	b.tx(140, 12, 11, update(1, `"u" = '-1'`), update(2, `"u" = '3', "v" = 'x'`), update(1, `"u" = '1'`), update(7, `"v" = 'y'`))
	b.seal()
	report, err := bothWays(t, b, "swaps")
	if err != nil || len(report.Notices) > 0 {
		t.Errorf("%v, notices: %s", err, report.Notices)
	}
}

// TestNetErrors: a target that is not as it should be ends a restore with the
// statement that is wrong, and is whole up to the transaction before.
func TestNetErrors(t *testing.T) {
	for name, lines := range map[string][]string{
		"a row that is missing": {update(1, `"v" = 'x'`), update(99, `"v" = 'x'`)},
		"one to delete":         {`DELETE FROM ONLY "public"."t" WHERE "id" = '99';`, update(1, `"v" = 'x'`)},
		"one that is there":     {update(1, `"v" = 'x'`), `INSERT INTO "public"."t" ("id", "u", "v") OVERRIDING SYSTEM VALUE VALUES ('5', '50', 'new');`},
		"inserted twice": {`INSERT INTO "public"."t" ("id", "u", "v") OVERRIDING SYSTEM VALUE VALUES ('50', '50', 'new');`,
			`INSERT INTO "public"."t" ("id", "u", "v") OVERRIDING SYSTEM VALUE VALUES ('50', '51', 'new');`, update(50, `"v" = 'x'`)},
		"deleted twice":          {`DELETE FROM ONLY "public"."t" WHERE "id" = '5';`, `DELETE FROM ONLY "public"."t" WHERE "id" = '5';`},
		"a value of no type":     {update(1, `"u" = 'x'`), update(2, `"v" = 'x'`)},
		"a column that is none":  {update(1, `"w" = 'x'`), update(2, `"w" = 'x'`), update(3, `"w" = 'x'`)},
		"a table that is none":   {update(1, `"v" = 'x'`), `INSERT INTO "public"."none" ("id") OVERRIDING SYSTEM VALUE VALUES ('50');`},
		"a command":              {update(1, `"v" = 'x'`), "ddl DROP TABLE public.none"},
		"a row without its file": {"COPY \"public\".\"t\" (\"id\", \"u\", \"v\") FROM stdin;\n50\t50\tx\n50\t51\tx\n51\t52\tx\n\\."},
	} {
		b := build(t)
		b.base(100, 5, apartBase, "")
		b.open(100)
		b.tx(120, 11, 10, update(7, `"v" = 'first'`), update(8, `"v" = 'first'`))
		b.tx(140, 12, 11, lines...)
		b.tx(160, 13, 12, update(9, `"v" = 'last'`))
		b.seal()
		_, err := bothWays(t, b, "errors "+name)
		var incomplete *IncompleteError
		if !errors.As(err, &incomplete) || incomplete.Applied > 140 {
			t.Errorf("%s: %v", name, err)
		}
		var s *StatementError
		var c *RowCountError
		if !errors.As(err, &s) && !errors.As(err, &c) || s != nil && (s.LSN != 140 || s.XID != 12 || s.Line == 0) ||
			c != nil && (c.LSN != 140 || c.XID != 12 || c.Line == 0) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNetEffect: of many changes only their effect reaches the server.
func TestNetEffect(t *testing.T) {
	b := build(t)
	b.base(100, 5, apartBase, "")
	b.open(100)
	for i := range 300 {
		b.tx(catalog.LSN(1000+i*100), uint32(100+i), i, update(1, fmt.Sprintf(`"v" = '%d'`, i)),
			fmt.Sprintf(`INSERT INTO "public"."other" ("id", "v") OVERRIDING SYSTEM VALUE VALUES ('%d', 'x');`, 100+i),
			fmt.Sprintf(`DELETE FROM ONLY "public"."other" WHERE "id" = '%d';`, 100+i))
	}
	b.seal()
	c, o := target(t, "effect")
	execute(t, b.prepare(catalog.Target{}), o)
	counts := ""
	for range 100 { // the server's statistics come when a session ends
		counts = c.Query(t, "effect", `SELECT sum(n_tup_upd), sum(n_tup_ins), sum(n_tup_del), (SELECT v FROM public.t WHERE id = 1) FROM pg_stat_user_tables
			WHERE relname IN ('t', 'other')`)
		if strings.HasPrefix(counts, "1|18|0|") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if counts != "1|18|0|299" {
		t.Errorf("updated, inserted, deleted: %s", counts)
	}
}

// TestNetAndCommands: rows before, between and behind commands of one
// transaction and of others, and tables whose changes go in order.
func TestNetAndCommands(t *testing.T) {
	b := build(t)
	b.base(100, 5, apartBase+"CREATE TABLE public.bag (i int);\nINSERT INTO public.bag VALUES (1), (1), (2);\nCREATE TYPE public.mood AS ENUM ('a');\n", "")
	b.open(100)
	bag := `DELETE FROM ONLY "public"."bag" WHERE ctid = (SELECT ctid FROM ONLY "public"."bag" WHERE "i" = '%d' LIMIT 1);`
	for i := range 5 {
		lsn := catalog.LSN(1000 * (i + 1))
		b.tx(lsn, uint32(100*i+1), 10, update(1, `"v" = 'x'`), update(2, `"v" = 'x'`), update(3, `"v" = 'x'`))
		b.tx(lsn+100, uint32(100*i+2), 11, update(1, `"v" = 'y'`), "ddl ALTER TABLE public.t ALTER v TYPE varchar("+fmt.Sprint(50+i)+")",
			update(2, `"v" = 'z'`), "ddl ALTER TABLE public.t ADD c"+fmt.Sprint(i)+" public.mood", update(3, fmt.Sprintf(`"c%d" = 'a'`, i)))
		b.tx(lsn+200, uint32(100*i+3), 12, "TRUNCATE ONLY \"public\".\"other\";",
			fmt.Sprintf(`INSERT INTO "public"."other" ("id", "v") OVERRIDING SYSTEM VALUE VALUES ('%d', 'x');`, i))
		b.tx(lsn+300, uint32(100*i+4), 13, fmt.Sprintf(`INSERT INTO "public"."bag" ("i") OVERRIDING SYSTEM VALUE VALUES ('%d');`, i), fmt.Sprintf(bag, 1),
			`INSERT INTO "public"."bag" ("i") OVERRIDING SYSTEM VALUE VALUES ('1');`, update(4, fmt.Sprintf(`"c%d" = 'a'`, i)), update(5, fmt.Sprintf(`"c%d" = 'a'`, i)))
		b.tx(lsn+400, uint32(100*i+5), 14, "ddl ALTER TYPE public.mood RENAME TO mood2", "ddl ALTER TYPE public.mood2 RENAME TO mood")
	}
	b.seal()
	report, err := bothWays(t, b, "commands")
	if err != nil || len(report.Notices) > 0 {
		t.Errorf("%v, notices: %s", err, report.Notices)
	}
}

// TestNetResumes: a session that ends between sets, and a restore that goes on.
func TestNetResumes(t *testing.T) {
	b := build(t)
	b.base(100, 5, apartBase+"INSERT INTO public.other SELECT g, 'v' FROM generate_series(10, 3000) g;\n", "")
	b.open(100)
	for i := range 4000 {
		b.tx(catalog.LSN(1000+i*100), uint32(100+i), i, fmt.Sprintf(`UPDATE ONLY "public"."other" SET "v" = '%d' WHERE "id" = '%d';`, i, 1+i%3000),
			fmt.Sprintf(`INSERT INTO "public"."t" ("id", "u", "v") OVERRIDING SYSTEM VALUE VALUES ('%d', '%d', 'x');`, 100+i, 100+i),
			fmt.Sprintf(`UPDATE ONLY "public"."t" SET "id" = '%d', "u" = '%d', "v" = 'y' WHERE "id" = '%d';`, -100-i, 5000+i, 100+i))
	}
	b.seal()
	p := b.prepare(catalog.Target{})
	want := ""
	for i, way := range []string{"ordered", "net"} {
		name := "resumes_" + way
		c, o := target(t, name)
		o.Ordered, o.Limits.Transactions = i == 0, 100
		clock, kills := time.Now(), 0
		o.Now = func() time.Time { clock = clock.Add(time.Minute); return clock }
		o.Progress = func(p Progress) {
			if p.Phase == PhaseReplay && p.Done > 0 && kills < 3 && i == 1 {
				kills++
				c.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
			}
		}
		var incomplete *IncompleteError
		_, err := p.Execute(context.Background(), o)
		for errors.As(err, &incomplete) {
			o.Resume = true
			_, err = p.Execute(context.Background(), o)
		}
		if err != nil || i == 1 && kills < 3 {
			t.Fatalf("%d kills: %v", kills, err)
		}
		got := c.Query(t, name, `SELECT (SELECT md5(string_agg(t::text, ' ' ORDER BY t)) FROM public.t),
			(SELECT md5(string_agg(o::text, ' ' ORDER BY o)) FROM public.other o)`)
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s: %s, want %s", way, got, want)
		}
	}
}

// TestNetMemory: one transaction of many updates of one row, and one of many rows,
// take no more memory than they may.
func TestNetMemory(t *testing.T) {
	const n = 1_000_000
	b := build(t)
	b.base(100, 5, apartBase, "")
	b.open(100)
	lines := make([]string, 0, 2*n)
	for i := range n {
		lines = append(lines, update(1, fmt.Sprintf(`"v" = '%d'`, i)))
	}
	for i := range n {
		lines = append(lines, fmt.Sprintf(`INSERT INTO "public"."other" ("id", "v") OVERRIDING SYSTEM VALUE VALUES ('%d', '%s');`, 100+i, strings.Repeat("x", 40)))
	}
	b.tx(120, 11, 10, lines...)
	b.seal()
	lines = nil
	p := b.prepare(catalog.Target{})
	c, o := target(t, "memory")
	o.Memory = 16 << 20
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, peak := m.HeapAlloc, uint64(0)
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !over.Load() {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	execute(t, p, o)
	over.Store(true)
	<-done
	if taken := int64(peak) - int64(before); taken > 40<<20 {
		t.Errorf("%d MB", taken>>20)
	}
	got := c.Query(t, "memory", "SELECT (SELECT v FROM public.t WHERE id = 1), count(*), min(length(v)) FROM public.other WHERE id >= 100")
	if got != fmt.Sprintf("%d|%d|40", n-1, n) {
		t.Error(got)
	}
}
