package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
)

func execute(t *testing.T, p *Prepared, o Options) Report {
	t.Helper()
	report, err := p.Execute(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestRestore: base, stream and sequences of a small repository, into a
// database whose name could not be worse.
func TestRestore(t *testing.T) {
	b := history(t)
	name := "a b;c'd\"e\n\\"
	c, o := target(t, name)
	p := b.prepare(catalog.Target{Kind: catalog.ByLSN, LSN: 400})
	report := execute(t, p, o)
	got := c.Query(t, name, "SELECT id, v FROM public.t ORDER BY id")
	want := "1|one\n2|two;\nsecond line\n11|a\n12|a\n13|a\n14|b\n20|x\n21|a\n30|a"
	if got != want {
		t.Errorf("table t:\n%s\nwant:\n%s", got, want)
	}
	if got := c.Query(t, name, "SELECT obj_description('public.t_v'::regclass)"); got != "it's; an index" {
		t.Errorf("comment: %q", got)
	}
	if got := c.Query(t, name, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'scribe%'"); got != "0" {
		t.Error("the progress schema is still there")
	}
	if !report.Created || report.Transactions != 7 || report.Statements != 8 || report.Last != p.Last || report.Database != name {
		t.Errorf("report is %+v", report)
	}
	want = "[{public.s 0 0 0 0} {public.t 9 1 0 0}]"
	if got := fmt.Sprint(report.Tables); got != want {
		t.Errorf("tables are %s, want %s", got, want)
	}
	var phases []string
	for _, phase := range report.Phases {
		phases = append(phases, phase.Name)
	}
	if got := strings.Join(phases, " "); got != "connect base replay sequences analyze" {
		t.Errorf("phases are %s", got)
	}
	if got := c.Query(t, name, "SELECT count(*) > 0 FROM pg_statistic WHERE starelid = 'public.t'::regclass"); got != "t" {
		t.Error("no statistics")
	}
}

// TestRestoreSequences: a sequence is moved behind the values of its column,
// and never back.
func TestRestoreSequences(t *testing.T) {
	b := build(t)
	base := smallBase + `
CREATE TABLE public.d (id bigint NOT NULL, n numeric);
ALTER TABLE public.d ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME public.d_id_seq START WITH -1 INCREMENT BY -1 MAXVALUE -1 MINVALUE -100);
CREATE SEQUENCE public."n ""seq" OWNED BY public.d.n;
`
	b.base(100, 5, base, "")
	b.open(100)
	b.tx(120, 11, 10, `INSERT INTO "public"."s" ("id") OVERRIDING SYSTEM VALUE VALUES ('2');`,
		`INSERT INTO "public"."d" ("id", "n") OVERRIDING SYSTEM VALUE VALUES ('-7', '11');`,
		`INSERT INTO "public"."d" ("id", "n") OVERRIDING SYSTEM VALUE VALUES ('-200', 'NaN');`)
	b.reach(200, 20)
	b.seal()
	c, o := target(t, "sequences")
	if report := execute(t, b.prepare(catalog.Target{}), o); report.Sequences != 2 {
		t.Errorf("%d sequences were moved", report.Sequences)
	}
	got := c.Query(t, "sequences", `SELECT nextval('public.s_id_seq'), nextval('public.d_id_seq'), nextval('public."n ""seq"')`)
	if got != "6|-8|12" {
		t.Errorf("next values are %s", got)
	}
}

// TestTolerated: what must not stop a restore.
func TestTolerated(t *testing.T) {
	b := build(t)
	b.base(100, 5, strings.Replace(smallBase, "SET client_encoding", "SET transaction_timeout = 0;\nSET client_encoding", 1)+`
CREATE FUNCTION public.bad(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / (SELECT count(*) FROM public.s); END $$;
INSERT INTO public.s VALUES (1);
CREATE INDEX bad ON public.t USING btree (public.bad(id));
`, "")
	b.open(100)
	b.tx(120, 11, 10, row(11, "a"), `DELETE FROM ONLY "public"."s" WHERE "id" = '1';`)
	b.seal()
	c, o := target(t, "tolerated")
	c.Exec(t, "postgres", "CREATE DATABASE tolerated TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
	o.CreateDatabase = false
	report := execute(t, b.prepare(catalog.Target{}), o)
	if got := strings.Join(report.Notices, "\n"); !strings.Contains(got, "LATIN1") || !strings.Contains(got, "no statistics of table public.t") ||
		len(report.Notices) != 2 {
		t.Errorf("notices are\n%s", got)
	}
}

func TestRowCountStops(t *testing.T) {
	for _, test := range []struct {
		sql        string
		rows, want int64
	}{
		{`UPDATE ONLY "public"."t" SET "v" = 'x' WHERE "id" = '99';`, 0, 1},
		{`DELETE FROM ONLY "public"."t" WHERE "id" = '99';`, 0, 1},
		{`DELETE FROM ONLY "public"."t" WHERE "v" = 'a';`, 2, 1},
	} {
		b := build(t)
		b.base(100, 5, smallBase, "")
		b.open(100)
		b.tx(120, 11, 10, row(11, "a"))
		b.tx(140, 12, 10, row(12, "a"), test.sql)
		b.tx(160, 13, 10, row(13, "a"))
		b.reach(200, 20)
		b.seal()
		c, o := target(t, "rowcount")
		report, err := b.prepare(catalog.Target{}).Execute(context.Background(), o)
		var count *RowCountError
		if test.want == 1 && test.rows == 3 {
			test.rows = 4
		}
		if !errors.As(err, &count) || count.Rows != test.rows || count.Want != test.want || count.XID != 12 || count.LSN != 140 ||
			count.SQL != test.sql || count.Line == 0 {
			t.Fatalf("%s: %v (%+v)", test.sql, err, count)
		}
		var incomplete *IncompleteError
		if !errors.As(err, &incomplete) || !incomplete.Resumable || !incomplete.Created || incomplete.Applied != 100 || !report.Created {
			t.Errorf("%+v", incomplete)
		}
		if got := c.Query(t, "rowcount", "SELECT count(*) FROM public.t"); got != "2" {
			t.Errorf("%s rows are left", got)
		}
		c.Exec(t, "postgres", "DROP DATABASE rowcount WITH (FORCE)")
	}
}

// TestStatementErrors: what the server refuses is named, wherever it stands.
func TestStatementErrors(t *testing.T) {
	const good = `ALTER TABLE public.t ADD COLUMN c int`
	tests := []struct {
		name, base string
		lines      []string
		sql, state string
	}{
		{"base", "CREATE TABLE a (i int);\nCREATE TABLE a (i int);\n", nil, "CREATE TABLE a (i int);", "42P07"},
		{"base copy", "CREATE TABLE public.a (i int);\nCOPY public.a (i) FROM stdin;\nx\n\\.\n", nil,
			"COPY public.a (i) FROM stdin;", "22P02"},
		{"base table", "CREATE TABLE public.a (i public.nix);\nCOPY public.a (i) FROM stdin;\n\\.\n", nil, "CREATE TABLE public.a (i public.nix);", "42704"},
		{"duplicate key", smallBase, []string{row(1, "x")}, row(1, "x"), "23505"},
		{"value", smallBase, []string{`INSERT INTO "public"."t" ("id") OVERRIDING SYSTEM VALUE VALUES ('x');`}, `INSERT INTO "public"."t" ("id") OVERRIDING SYSTEM ` +
			`VALUE VALUES ('x');`, "22P02"},
		{"no table", smallBase, []string{row(5, ""), `DELETE FROM ONLY "public"."nix" WHERE "a" = '1';`},
			`DELETE FROM ONLY "public"."nix" WHERE "a" = '1';`, "42P01"},
		{"command", smallBase, []string{"ddl " + good, "ddl " + good}, good + ";", "42701"},
		{"copy", smallBase, []string{"COPY \"public\".\"t\" (\"id\") FROM stdin;\n7\n8\n7\n\\."}, `COPY "public"."t" ("id") FROM stdin;`, "23505"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := build(t)
			base := b.base(100, 5, test.base, "")
			b.open(100)
			b.tx(120, 11, 10, test.lines...)
			b.reach(200, 20)
			b.seal()
			c, o := target(t, "statement_errors")
			report, err := b.prepare(catalog.Target{}).Execute(context.Background(), o)
			var s *StatementError
			var pg *pgconn.PgError
			if !errors.As(err, &s) || !errors.As(err, &pg) || pg.Code != test.state || s.SQL != test.sql || s.Line == 0 {
				t.Fatalf("%v (%+v)", err, s)
			}
			inBase := test.lines == nil
			if inBase != (s.File == base.Name) || inBase != (s.XID == 0) || inBase == report.Created ||
				inBase == exists(t, c, "statement_errors") {
				t.Errorf("file %s, xid %d, created %t", s.File, s.XID, report.Created)
			}
		})
	}
}

// TestBaseComesBack: a base whose statements fail where they stand is restored,
// in another order or way; what cannot be made is listed, and everything else is there.
func TestBaseComesBack(t *testing.T) {
	const table = "CREATE TABLE public.a (i int, j int CONSTRAINT small CHECK (public.small(j)));\n"
	const function = `CREATE FUNCTION public.small(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN $1 < (SELECT count(*) FROM public.a); END';` + "\n"
	const rows = "COPY public.a (i, j) FROM stdin;\n1\t7\n1\t8\n\\.\n"
	tests := []struct {
		name, base string
		left       []string // of what is listed, in order
		query      string   // is true
	}{
		{"a table before its function", table + function + rows, nil, "SELECT count(*) = 2 FROM public.a"},
		{"rows that a check judges otherwise", function + table + rows, nil,
			"SELECT count(*) = 1 FROM pg_constraint JOIN pg_class c ON c.oid = conrelid WHERE conname = 'small' AND contype = 'c' AND convalidated AND relchecks = 1"},
		{"an index on a column that is not there", smallBase + "CREATE INDEX i ON public.t USING btree (j);\nCREATE INDEX k ON public.t USING btree (id);\n",
			[]string{`column "j" does not exist`}, "SELECT to_regclass('public.k') IS NOT NULL"},
		{"a unique index over equal rows", function + table + rows + "ALTER TABLE ONLY public.a\n    ADD CONSTRAINT u UNIQUE (i);\nCOMMENT ON CONSTRAINT u ON " +
			"public.a IS 'x';\n",
			[]string{"could not create unique index", `constraint "u" for table "a" does not exist`}, "SELECT count(*) = 2 FROM public.a"},
		{"orphans", function + table + rows + smallBase + "ALTER TABLE ONLY public.a\n    ADD CONSTRAINT f FOREIGN KEY (j) REFERENCES public.t(id);\n",
			[]string{"the constraint is NOT VALID"}, "SELECT NOT convalidated FROM pg_constraint WHERE conname = 'f'"},
		{"a view before the table", "CREATE VIEW public.v AS SELECT id FROM public.t;\n" + smallBase, nil, "SELECT count(*) = (SELECT count(*) FROM public.t) FROM " +
			"public.v"},
		{"names that only the search_path finds", smallBase + `CREATE FUNCTION public.n() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t';` +
			"\nCREATE MATERIALIZED VIEW public.m AS SELECT public.n() AS n;\nCREATE MATERIALIZED VIEW public.m2 AS SELECT n FROM public.m;\n", nil,
			"SELECT relispopulated FROM pg_class WHERE oid = 'public.m2'::regclass"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := build(t)
			b.base(100, 5, "SET search_path = '';\nSET check_function_bodies = off;\n"+test.base, "")
			b.open(100)
			b.seal()
			c, o := target(t, "comes_back")
			report, err := b.prepare(catalog.Target{}).Execute(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(report.LeftOut) != len(test.left) {
				t.Fatalf("left out: %q", report.LeftOut)
			}
			for i, want := range test.left {
				if !strings.Contains(report.LeftOut[i], want) {
					t.Errorf("left out: %s, want %s", report.LeftOut[i], want)
				}
			}
			if got := c.Query(t, "comes_back", test.query); got != "t" {
				t.Errorf("%s: %s", test.query, got)
			}
			c.Exec(t, "postgres", "DROP DATABASE comes_back WITH (FORCE)")
		})
	}
}

// TestLineOfStatement: the line in an error is the one that an editor shows.
func TestLineOfStatement(t *testing.T) {
	b := build(t)
	b.base(100, 5, smallBase, "")
	b.open(100)
	b.tx(120, 11, 10, "ddl CREATE TABLE public.u (\n\ta int\n)", row(5, "x"), row(5, "y"))
	b.seal()
	_, o := target(t, "line")
	_, err := b.prepare(catalog.Target{}).Execute(context.Background(), o)
	var s *StatementError
	if !errors.As(err, &s) {
		t.Fatal(err)
	}
	reader, err := b.repo.OpenSegment(b.prepare(catalog.Target{}).Plan.Segments[0])
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for {
		item, err := reader.Next()
		if err != nil {
			t.Fatal(err)
		}
		if item.Line == s.Line {
			if string(item.SQL) != row(5, "y") {
				t.Errorf("line %d holds %s", item.Line, item.SQL)
			}
			return
		}
	}
}

func TestRefusals(t *testing.T) {
	b := history(t)
	p := b.prepare(catalog.Target{})
	c, o := target(t, "refused")
	run := func(p *Prepared, o Options) error {
		_, err := p.Execute(context.Background(), o)
		var incomplete *IncompleteError
		if errors.As(err, &incomplete) {
			t.Errorf("a refusal says that it left something: %+v", incomplete)
		}
		return err
	}

	c.Exec(t, "postgres", "CREATE DATABASE refused TEMPLATE template0")
	var existing *ExistsError
	if err := run(p, o); !errors.As(err, &existing) || existing.Database != "refused" {
		t.Errorf("existing: %v", err)
	}

	o.CreateDatabase = false
	objects := map[string]string{
		"CREATE TABLE t (i int)":   "table public.t",
		`CREATE SCHEMA "a b"`:      `schema "a b"`,
		"CREATE TYPE e AS ENUM ()": "type public.e",
		"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'": "function public.f",
		"SELECT lo_create(4711)":                                     "large object 4711",
		"CREATE VIEW v AS SELECT 1":                                  "view public.v",
	}
	for sql, object := range objects {
		c.Exec(t, "postgres", "DROP DATABASE refused")
		c.Exec(t, "postgres", "CREATE DATABASE refused TEMPLATE template0")
		c.Exec(t, "refused", sql)
		var full *NotEmptyError
		if err := run(p, o); !errors.As(err, &full) || full.Total != 1 || full.Objects[0] != object {
			t.Errorf("%s: %v", sql, err)
		}
	}
	o.Resume = true
	var resume *ResumeError
	if err := run(p, o); !errors.As(err, &resume) {
		t.Errorf("resume of nothing: %v", err)
	}
	if got := c.Query(t, "refused", "SELECT count(*) FROM pg_namespace WHERE nspname = 'scribe_restore'"); got != "0" {
		t.Error("a refusal left something")
	}
}

// TestSourceIsNoTarget, whatever it is called now; neither is an older server.
func TestSourceIsNoTarget(t *testing.T) {
	b := build(t)
	c, o := target(t, testDatabase)
	b.header.SystemID = c.Query(t, "postgres", "SELECT system_identifier FROM pg_control_system()")
	b.base(100, 5, smallBase, "")
	p := b.prepare(catalog.Target{})
	c.Exec(t, "postgres", "CREATE DATABASE "+testDatabase+" TEMPLATE template0")
	o.CreateDatabase, o.Force = false, true
	var source *SourceTargetError
	if _, err := p.Execute(context.Background(), o); !errors.As(err, &source) || source.Database != testDatabase {
		t.Errorf("source: %v", err)
	}
	// Where the OID is known, the name is a label.
	p.Repository.DatabaseOID = oidOf(t, c, testDatabase)
	c.Exec(t, "postgres", "ALTER DATABASE "+testDatabase+" RENAME TO renamed")
	c.Exec(t, "postgres", "CREATE DATABASE "+testDatabase+" TEMPLATE template0")
	_, renamed := target(t, "renamed")
	renamed.CreateDatabase, renamed.Force = false, true
	if _, err := p.Execute(context.Background(), renamed); !errors.As(err, &source) || source.Database != "renamed" {
		t.Errorf("renamed source: %v", err)
	}
	execute(t, p, o)

	b = build(t)
	b.header.Server = "99.1"
	b.base(100, 5, smallBase, "")
	p = b.prepare(catalog.Target{})
	_, o = target(t, "newer")
	var older *OlderTargetError
	if _, err := p.Execute(context.Background(), o); !errors.As(err, &older) || older.Source != "99.1" {
		t.Errorf("older: %v", err)
	}
	if exists(t, c, "newer") {
		t.Error("a refusal left a database")
	}
	o.Force = true
	execute(t, p, o)
}

func TestLocale(t *testing.T) {
	for _, h := range []segment.Header{
		{Encoding: "UTF8", Collate: "xx_YY.UTF-8", CType: "C", LocaleProvider: "libc"},
		{Encoding: "LATIN1", Collate: "C.UTF-8", CType: "C.UTF-8", LocaleProvider: "libc"},
		{Encoding: "UTF8", Collate: "C", CType: "C", LocaleProvider: "icu", Locale: "not a locale at all"},
	} {
		b := build(t)
		h.SystemID, h.Timeline, h.Database, h.Server = testSystem, 1, testDatabase, "15.1"
		b.header = h
		b.base(100, 5, smallBase, "")
		c, o := target(t, "locale")
		var locale *LocaleError
		if _, err := b.prepare(catalog.Target{}).Execute(context.Background(), o); !errors.As(err, &locale) || locale.Collate != h.Collate {
			t.Errorf("%+v: %v", h, err)
		}
		if exists(t, c, "locale") {
			t.Error("a refusal left a database")
		}
	}
	for major, want := range map[int]string{
		14: `CREATE DATABASE "a""b" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'x' LC_CTYPE 'y'`,
		17: `CREATE DATABASE "a""b" TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER "builtin" BUILTIN_LOCALE 'z' LC_COLLATE 'x' LC_CTYPE 'y'`,
	} {
		h := segment.Header{Encoding: "UTF8", Collate: "x", CType: "y", LocaleProvider: "builtin", Locale: "z"}
		if got := createStatement(major, `a"b`, h); got != want {
			t.Errorf("version %d: %s", major, got)
		}
	}
	b := build(t)
	b.header.Encoding, b.header.Collate, b.header.CType = "LATIN1", "C", "C"
	b.base(100, 5, smallBase, "")
	c, o := target(t, "latin")
	execute(t, b.prepare(catalog.Target{}), o)
	if got := c.Query(t, "latin", "SHOW server_encoding"); got != "LATIN1" {
		t.Errorf("encoding is %s", got)
	}
}

// TestResume cuts a restore off while it replays, and goes on.
func TestResume(t *testing.T) {
	const transactions = 3000
	b := build(t)
	b.base(100, 5, smallBase, "")
	b.open(100)
	for i := range transactions {
		b.tx(catalog.LSN(1000+i*100), uint32(100+i), i, row(100+i, "x"),
			`UPDATE ONLY "public"."t" SET "v" = `+sqltext.Literal(fmt.Sprint(i))+` WHERE "id" = '1';`)
		if i%1000 == 999 {
			b.next()
		}
	}
	b.reach(1e6, 1e5)
	b.seal()
	c, o := target(t, "resume")
	o.Limits.Transactions = 200
	clock := time.Now()
	o.Now = func() time.Time { clock = clock.Add(time.Minute); return clock } // report every batch
	p := b.prepare(catalog.Target{})
	var applied []catalog.LSN
	for cut := int64(1); ; cut++ {
		ctx, cancel := context.WithCancel(context.Background())
		seen := int64(0)
		o.Progress = func(p Progress) {
			if p.Phase == PhaseReplay && p.Done > 0 {
				if seen++; seen > 3 {
					cancel()
				}
			}
		}
		report, err := p.Execute(ctx, o)
		cancel()
		if err == nil {
			if !report.Resumed || report.Created {
				t.Errorf("%+v", report)
			}
			break
		}
		var incomplete *IncompleteError
		if !errors.Is(err, context.Canceled) || !errors.As(err, &incomplete) || !incomplete.Resumable {
			t.Fatal(err)
		}
		applied = append(applied, incomplete.Applied)
		if cut == 1 {
			checkOtherResumes(t, b, o)
		}
		o.Resume = true
	}
	if len(applied) < 3 {
		t.Errorf("was cut off at %v only", applied)
	}
	if got := c.Query(t, "resume", "SELECT count(*), sum(id), max(v) FILTER (WHERE id = 1) FROM public.t"); got != "3002|4798503|2999" {
		t.Errorf("after %d interruptions: %s", len(applied), got)
	}
}

// checkOtherResumes: only the plan that was interrupted can be continued.
func checkOtherResumes(t *testing.T, b *builder, o Options) {
	t.Helper()
	o.Progress = nil
	var existing *ExistsError
	if _, err := b.prepare(catalog.Target{}).Execute(context.Background(), o); !errors.As(err, &existing) {
		t.Errorf("without Resume: %v", err)
	}
	o.Resume = true
	b.base(2e5, 50, smallBase, "")
	var resume *ResumeError
	if _, err := b.prepare(catalog.Target{}).Execute(context.Background(), o); !errors.As(err, &resume) {
		t.Errorf("another base: %v", err)
	}
	short := b.prepare(catalog.Target{Kind: catalog.ByLSN, LSN: 100})
	if _, err := short.Execute(context.Background(), o); !errors.As(err, &resume) {
		t.Errorf("a target behind: %v", err)
	}
}
