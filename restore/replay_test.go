package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// TestReplayForms: every form of statement that a segment may hold.
func TestReplayForms(t *testing.T) {
	b := build(t)
	b.base(100, 5, `
CREATE TYPE public.mood AS ENUM ('sad', 'ok');
CREATE TABLE public."T x" (id int PRIMARY KEY, "c'1" text, m public.mood, n numeric(10,2), a int[], j json, iv interval,
	v varchar(5), f regproc, b bytea, g int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE public.ident (id int GENERATED ALWAYS AS IDENTITY, v text);
CREATE TABLE public.zero ();
CREATE TABLE public.bag (v text, j json);
CREATE TABLE public.parent (id int, v text) PARTITION BY LIST (id);
CREATE TABLE public.child PARTITION OF public.parent FOR VALUES IN (1, 2);
`, "")
	b.open(100)
	x := `"public"."T x"`
	b.tx(120, 11, 10,
		`INSERT INTO `+x+` ("id", "c'1", "m", "n", "a", "j", "iv", "v", "f", "b") OVERRIDING SYSTEM VALUE VALUES ('1', E'a\nb\\''', 'ok', '1.50', '{1,NULL}', `+
			`'{"a": 1}', '1 day 02:00:00', 'é', 'pg_catalog.now', '\x00ff');`,
		`INSERT INTO `+x+` ("id", "c'1", "m", "n", "a", "j", "iv", "v", "f", "b") OVERRIDING SYSTEM VALUE VALUES ('2', NULL, NULL, NULL, NULL, NULL, NULL, NULL, `+
			`NULL, NULL);`,
		`UPDATE ONLY `+x+` SET "c'1" = 'x', "a" = NULL WHERE "id" = '1';`,
		`UPDATE ONLY `+x+` SET "id" = '3', "v" = '' WHERE "id" = '2';`,
		`INSERT INTO "public"."ident" ("id", "v") OVERRIDING SYSTEM VALUE VALUES ('7', 'seven');`,
		`WITH d AS (DELETE FROM ONLY "public"."ident" WHERE "id" = '7' AND "id" IS DISTINCT FROM '8' RETURNING *) INSERT INTO "public"."ident" ("id", `+
			`"v") OVERRIDING SYSTEM VALUE SELECT '8', d."v" FROM d;`,
		`INSERT INTO "public"."zero" DEFAULT VALUES;`, `INSERT INTO "public"."zero" DEFAULT VALUES;`,
		`DELETE FROM ONLY "public"."zero" WHERE ctid = (SELECT ctid FROM ONLY "public"."zero" LIMIT 1);`,
		"COPY \"public\".\"bag\" (\"v\", \"j\") FROM stdin;\na\t[1]\na\t[1]\n\\N\t\\N\nb\\tc\\\\\t{}\n\\.",
		`DELETE FROM ONLY "public"."bag" WHERE ctid = (SELECT ctid FROM ONLY "public"."bag" WHERE "v" = 'a' AND format('%s', "j") = '[1]' LIMIT 1);`,
		`DELETE FROM ONLY "public"."bag" WHERE ctid = (SELECT ctid FROM ONLY "public"."bag" WHERE "v" IS NOT DISTINCT FROM NULL AND "j" IS NOT DISTINCT FROM `+
			`NULL LIMIT 1);`,
		`INSERT INTO "public"."child" ("id", "v") OVERRIDING SYSTEM VALUE VALUES ('1', 'one');`)
	b.tx(140, 12, 11, `UPDATE ONLY "public"."bag" SET "v" = 'all' WHERE ctid = (SELECT ctid FROM ONLY "public"."bag" WHERE "v" = 'a' AND format('%s', `+
		`"v") = 'a' LIMIT 1);`,
		`UPDATE ONLY "public"."bag" SET "v" = 'all' WHERE ctid = (SELECT ctid FROM ONLY "public"."bag" WHERE format('%s', "j") = '{}' LIMIT 1);`)
	b.tx(160, 13, 12,
		"ddl ALTER TABLE public.\"T x\" ALTER n TYPE text",
		`UPDATE ONLY `+x+` SET "n" = 'now text' WHERE "id" = '3';`,
		"ddl ALTER TYPE public.mood RENAME VALUE 'sad' TO 'blue'",
		`UPDATE ONLY `+x+` SET "m" = 'blue' WHERE "id" = '3';`,
		"TRUNCATE ONLY \"public\".\"zero\";")
	b.tx(180, 14, 13, "ddl ALTER TYPE public.mood ADD VALUE 'new'")
	b.tx(200, 15, 14, `UPDATE ONLY `+x+` SET "m" = 'new' WHERE "id" = '1';`)
	b.seal()
	c, o := target(t, "forms")
	report := execute(t, b.prepare(catalog.Target{}), o)
	for sql, want := range map[string]string{
		`SELECT * FROM public."T x" ORDER BY id`:       "1|x|new|1.50||{\"a\": 1}|1 day 02:00:00|é|now|\\x00ff|2\n3||blue|now text||||||||6",
		"SELECT * FROM public.ident":                   "8|seven",
		"SELECT count(*) FROM public.zero":             "0",
		"SELECT * FROM public.bag ORDER BY 1, 2::text": "all|[1]\nall|{}",
		"SELECT * FROM public.parent":                  "1|one",
	} {
		got := c.Query(t, "forms", sql)
		if strings.ReplaceAll(got, "||||||||", "|||||||") != strings.ReplaceAll(want, "||||||||", "|||||||") {
			t.Errorf("%s:\n%s\nwant\n%s", sql, got, want)
		}
	}
	if report.Transactions != 5 || report.Statements != 22 {
		t.Errorf("%d transactions, %d statements", report.Transactions, report.Statements)
	}
}

// TestUnknownForms: a statement that no segment has ends a restore with its
// place, and nothing is guessed: while it is planned, or when it comes there.
func TestUnknownForms(t *testing.T) {
	for i, sql := range []string{`UPDATE ONLY "public"."t" SET "v" = pg_catalog.jsonb_build_array('x', '5') WHERE "id" = '1';`,
		`INSERT INTO "public"."t" ("id", "v") VALUES ('10', 'x'), ('11', 'x');`, `DELETE FROM ONLY "public"."t" WHERE "id" = "id";`,
		`UPDATE ONLY "public"."t" SET "v" = 'x';`, `SELECT pg_catalog.set_config('a.b', 'c', true);`, `DROP TABLE "public"."t";`, `SET LOCAL a = 1; DROP TABLE t;`} {
		b := build(t)
		b.base(100, 5, smallBase, "")
		b.open(100)
		b.tx(120, 11, 10, row(5, "x"))
		b.tx(140, 12, 11, sql)
		b.seal()
		name := fmt.Sprint("unknown", i)
		c, o := target(t, name)
		p, err := Prepare(context.Background(), b.repo, catalog.Request{})
		if err == nil {
			_, err = p.Execute(context.Background(), o)
			if got := c.Query(t, name, "SELECT count(*) FROM public.t WHERE v = 'x'"); got != "0" && got != "1" {
				t.Errorf("%s: %s rows are there", sql, got)
			}
		}
		var f *repo.FormatError
		if !errors.As(err, &f) || f.File == "" || f.Line == 0 || !strings.Contains(f.Reason, segment.ErrUnknownForm.Error()) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// TestLargeValues: a value of many megabytes, and many rows in one block and in
// one transaction.
func TestLargeValues(t *testing.T) {
	b := build(t)
	b.base(100, 5, strings.Replace(smallBase, "CREATE INDEX t_v ON public.t USING btree (v);\n\nCOMMENT ON INDEX public.t_v IS 'it''s; an index';\n", "", 1), "")
	b.open(100)
	const size = 30 << 20
	b.tx(120, 11, 10, row(5, strings.Repeat("ä\n", size/3)))
	var rows bytes.Buffer
	for i := range 300000 {
		fmt.Fprintf(&rows, "%d\trow %d\\n\n", 1000+i, i)
	}
	b.tx(140, 12, 11, row(6, "before"), "COPY \"public\".\"t\" (\"id\", \"v\") FROM stdin;\n"+rows.String()+"\\.", row(7, "behind"))
	many := []string{}
	for i := range 20000 {
		many = append(many, fmt.Sprintf(`UPDATE ONLY "public"."t" SET "v" = 'u' WHERE "id" = '%d';`, 1000+i))
	}
	b.tx(160, 13, 12, many...)
	b.seal()
	c, o := target(t, "large")
	execute(t, b.prepare(catalog.Target{}), o)
	got := c.Query(t, "large", `SELECT count(*), count(*) FILTER (WHERE v = 'u'), max(length(v)), md5(string_agg(v, '' ORDER BY id) FILTER (WHERE id > 21000)) =
		(SELECT md5(string_agg('row ' || i - 1000 || E'\n', '' ORDER BY i)) FROM generate_series(21001, 300999) i) FROM public.t`)
	if got != fmt.Sprintf("300005|20000|%d|t", size/3*2) {
		t.Error(got)
	}
}

// TestFiringTriggers: what fires even during a replay has fired on the source.
func TestFiringTriggers(t *testing.T) {
	b := build(t)
	b.base(100, 5, smallBase+`
CREATE TABLE public.log (v text);
CREATE FUNCTION public.log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (TG_NAME); RETURN NULL; END $$;
CREATE FUNCTION public.elog() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (TG_TAG); END $$;
CREATE TRIGGER always BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.log();
ALTER TABLE public.t ENABLE ALWAYS TRIGGER always;
CREATE TRIGGER ordinary BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.log();
CREATE RULE r AS ON UPDATE TO public.t DO INSTEAD NOTHING;
ALTER TABLE public.t ENABLE REPLICA RULE r;
CREATE EVENT TRIGGER e1 ON ddl_command_end EXECUTE FUNCTION public.elog();
ALTER EVENT TRIGGER e1 ENABLE ALWAYS;
CREATE EVENT TRIGGER e2 ON ddl_command_end EXECUTE FUNCTION public.elog();
CREATE EVENT TRIGGER e3 ON ddl_command_end EXECUTE FUNCTION public.elog();
ALTER EVENT TRIGGER e3 ENABLE REPLICA;
`, "")
	b.open(100)
	b.tx(120, 11, 10, row(5, "x"), `UPDATE ONLY "public"."t" SET "v" = 'y' WHERE "id" = '5';`)
	b.tx(140, 12, 11, `INSERT INTO "public"."log" ("v") OVERRIDING SYSTEM VALUE VALUES ('from the stream');`,
		"ddl CREATE TRIGGER second AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.log()",
		"ddl ALTER TABLE public.t ENABLE ALWAYS TRIGGER second", row(6, "x"),
		"ddl ALTER TABLE public.t ENABLE TRIGGER always", row(7, "x"))
	b.tx(160, 13, 12, "ddl ALTER EVENT TRIGGER e3 DISABLE")
	b.seal()
	c, o := target(t, "firing")
	execute(t, b.prepare(catalog.Target{}), o)
	if got := c.Query(t, "firing", "SELECT string_agg(v, ',') FROM public.log"); got != "from the stream" {
		t.Errorf("fired: %s", got)
	}
	if got := c.Query(t, "firing", "SELECT string_agg(id || v, ',' ORDER BY id) FROM public.t WHERE id >= 5"); got != "5y,6x,7x" {
		t.Errorf("rows: %s", got)
	}
	got := c.Query(t, "firing", `SELECT (SELECT string_agg(concat(tgname, tgenabled), ',' ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal),
		(SELECT ev_enabled FROM pg_rewrite WHERE rulename = 'r'), (SELECT string_agg(concat(evtname, evtenabled), ',' ORDER BY evtname) FROM pg_event_trigger)`)
	if got != "alwaysO,ordinaryO,secondA|R|e1A,e2O,e3D" {
		t.Errorf("state: %s", got)
	}
}

// TestRolesInStream: commands run as who gave them, and what the restore does
// between them does not.
func TestRolesInStream(t *testing.T) {
	const role = `"r ""x"" 'y'"`
	b := build(t)
	b.base(100, 5, smallBase+"\nCREATE SCHEMA app AUTHORIZATION "+role+";\nALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;\n",
		"CREATE ROLE "+role+";\nALTER ROLE "+role+" WITH NOLOGIN;\n")
	b.open(100)
	b.tx(120, 11, 10, "SET LOCAL ROLE "+role+";", "ddl CREATE TABLE app.p (i int) PARTITION BY LIST (i)", "ddl CREATE TABLE app.c PARTITION OF app.p DEFAULT",
		`INSERT INTO "app"."c" ("i") OVERRIDING SYSTEM VALUE VALUES ('1');`)
	b.tx(140, 12, 10, "ddl SET LOCAL SESSION AUTHORIZATION "+role, "ddl CREATE TABLE app.q (i int)")
	b.tx(160, 13, 10, "ddl CREATE TABLE app.s (i int)")
	b.seal()
	c, o := target(t, "roles")
	t.Cleanup(func() {
		c.Exec(t, "postgres", "DROP DATABASE IF EXISTS roles; ")
		c.Exec(t, "postgres", "DROP ROLE IF EXISTS "+role)
	})
	execute(t, b.prepare(catalog.Target{}), o)
	got := c.Query(t, "roles", "SELECT string_agg(relname || ' ' || relowner::regrole, ', ' ORDER BY relname) FROM pg_class WHERE relnamespace = "+
		"'app'::regnamespace")
	if want := fmt.Sprintf("c %[1]s, p %[1]s, q %[1]s, s postgres", role); got != want {
		t.Errorf("owners are %s", got)
	}
}

// TestConnectionLost: a session that ends in the middle is an error, and the
// replay can be continued.
func TestConnectionLost(t *testing.T) {
	b := build(t)
	b.base(100, 5, smallBase, "")
	b.open(100)
	for i := range 5000 {
		b.tx(catalog.LSN(1000+i*100), uint32(100+i), i, row(100+i, "x"))
	}
	b.seal()
	c, o := target(t, "lost")
	clock := time.Now()
	o.Now = func() time.Time { clock = clock.Add(time.Minute); return clock }
	killed := false
	o.Progress = func(p Progress) {
		if p.Phase == PhaseReplay && p.Done > 0 && !killed {
			killed = true
			c.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'lost'")
		}
	}
	p := b.prepare(catalog.Target{})
	_, err := p.Execute(context.Background(), o)
	var incomplete *IncompleteError
	var pg *pgconn.PgError
	if !errors.As(err, &incomplete) || !errors.As(err, &pg) || pg.Code != "57P01" {
		t.Fatalf("%T %v", err, err)
	}
	o.Resume = true
	execute(t, p, o)
	if got := c.Query(t, "lost", "SELECT count(*) FROM public.t"); got != "5002" {
		t.Error(got)
	}
}

// TestCancelBase: a restore that is cut off before the base is complete leaves
// nothing.
func TestCancelBase(t *testing.T) {
	b := build(t)
	b.base(100, 5, smallBase+"\nSELECT pg_catalog.pg_sleep(60);\n", "")
	c, o := target(t, "cancelled")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	start := time.Now()
	_, err := b.prepare(catalog.Target{}).Execute(ctx, o)
	var incomplete *IncompleteError
	if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &incomplete) || time.Since(start) > 50*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	if exists(t, c, "cancelled") {
		t.Error("the database is still there")
	}
}

// TestBusy: two restores cannot work on one database.
func TestBusy(t *testing.T) {
	b := build(t)
	b.base(100, 5, smallBase, "")
	c, o := target(t, "busy")
	c.Exec(t, "postgres", "CREATE DATABASE busy TEMPLATE template0")
	c.Conn(t, "busy").Exec(context.Background(), fmt.Sprintf("SELECT pg_advisory_lock(%d)", lockRestore))
	o.CreateDatabase = false
	var busy *BusyError
	if _, err := b.prepare(catalog.Target{}).Execute(context.Background(), o); !errors.As(err, &busy) {
		t.Errorf("%v", err)
	}
}

func TestDirectoryBase(t *testing.T) {
	c, o := target(t, "directory")
	source := c.CreateDB(t, "directory_source")
	c.Exec(t, source, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i; CREATE TABLE left_out (i int)")
	b := build(t)
	h := b.header
	h.Start, h.At, h.Created = 100, at(1), at(1)
	w, err := b.repo.CreateDumpDir(h, "x", filter.Chain{})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.Command("pg_dump", "-Fd", "-j2", "-f", w.Path(), source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	list, err := c.Command("pg_restore", "--list", w.Path()).Output()
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(list)) {
		if !strings.Contains(line, " left_out ") {
			kept = append(kept, line)
		}
	}
	err = errors.Join(os.WriteFile(filepath.Join(w.Path(), repo.DirListName), []byte(strings.Join(kept, "")), 0o600),
		os.WriteFile(filepath.Join(w.Path(), repo.DirSettingsIn), []byte("-- x\nDO 'BEGIN EXECUTE format(''COMMENT ON DATABASE %I IS %L'', current_database(), "+
			"''a;b''); END';\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	base, err := w.Finish(segment.Trailer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.repo.AddBase(context.Background(), base, catalog.Artifact{}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	b.open(100)
	b.tx(120, 11, 10, row(2000, "x"))
	b.seal()
	p := b.prepare(catalog.Target{})
	o.Jobs = 2
	o.Command = func(ctx context.Context, name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, c.BinDir+"/"+name, args...)
		cmd.Env = c.Env()
		return cmd
	}
	execute(t, p, o)
	got := c.Query(t, "directory", "SELECT count(*), to_regclass('left_out') IS NULL, (SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE "+
		"datname = 'directory') FROM t")
	if got != "1001|t|a;b" {
		t.Error(got)
	}
	c.Exec(t, "postgres", "DROP DATABASE directory")
	o.Command = func(ctx context.Context, name string, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "sh", "-c", "echo no such thing >&2; exit 3")
	}
	var tool *ToolError
	if _, err := p.Execute(context.Background(), o); !errors.As(err, &tool) || tool.Output != "no such thing" {
		t.Errorf("%v", err)
	}
	if exists(t, c, "directory") {
		t.Error("the database is still there")
	}
}

func TestStatements(t *testing.T) {
	s := newStatements(2)
	get := func(text string) int {
		st, _ := s.get([]byte(text))
		if st == nil {
			return 0
		}
		return st.name
	}
	add := func(text string) int {
		_, evicted := s.add([]byte(text))
		if evicted == nil {
			return 0
		}
		return evicted.name
	}
	if add("a") != 0 || add("b") != 0 || get("a") != 1 || add("c") != 2 || get("b") != 0 || get("a") != 1 || get("c") != 3 || add("d") != 1 {
		t.Error("the one that was used last longest ago does not go first")
	}
	if names := s.clear(); len(names) != 2 || get("c") != 0 || add("e") != 0 || add("f") != 0 || add("g") != 5 {
		t.Errorf("cleared %v", names)
	}
}
