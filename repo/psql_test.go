package repo

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
	"pg_scribe/repo/segment/segmenttest"
)

// The tests here have psql and a server read what this package writes.

// storable are the hostile values that a server takes: valid in UTF-8.
func storable() []string {
	values := slices.DeleteFunc(slices.Clone(segmenttest.Hostile), func(s string) bool { return !utf8.ValidString(s) })
	var all strings.Builder
	for b := range 128 {
		if b > 0 {
			all.WriteByte(byte(b))
		}
	}
	return append(values, all.String())
}

// hazards are commands that psql or a reader of lines could misread, and what
// to ask the server for afterwards.
var hazards = []struct{ off, sql, ask, want string }{
	{sql: "CREATE TABLE h1 (a int[] CHECK (a[1:2] IS NOT NULL), begin int, \"end;\" text DEFAULT 'a''b;\\');"},
	{sql: "CREATE FUNCTION begin() RETURNS int LANGUAGE sql RETURN 42; -- done;", ask: "SELECT public.begin()", want: "42"},
	{sql: segmenttest.AtomicBody, ask: "SELECT count(*) FROM pg_proc WHERE prosqlbody IS NOT NULL AND proname = 'f'", want: "1"},
	{sql: "CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1 AS end; SELECT 7 AS case; END", ask: "SELECT public.g()", want: "7"},
	{sql: "CREATE FUNCTION own() RETURNS text LANGUAGE sql AS $$ SELECT '\n-- pg_scribe end\nBEGIN; -- xid 1\n\\.\n:x' $$",
		ask: "SELECT public.own()", want: "\n-- pg_scribe end\nBEGIN; -- xid 1\n\\.\n:x"},
	{sql: "COMMENT ON TABLE h1 IS 'a :x b\n\\q\n\n  \\. :''x'' ' ;;", ask: "SELECT obj_description('public.h1'::regclass)", want: "a :x b\n\\q\n\n  \\. :'x' "},
	{sql: "CREATE RULE r AS ON UPDATE TO h1 DO ALSO (DELETE FROM t WHERE false; DELETE FROM t WHERE false;)"},
	{off: "off", sql: `COMMENT ON COLUMN h1.a IS 'it\'s -- \\ x';`, ask: "SELECT col_description('public.h1'::regclass, 1)", want: `it's -- \ x`},
	{off: "off", sql: `COMMENT ON COLUMN h1.begin IS 'a\nb'`, ask: "SELECT col_description('public.h1'::regclass, 2)", want: "a\nb"},
	{sql: "CREATE /* a /* nested; */ ' */ VIEW v2 AS SELECT E'a'\n  '\\';' AS x", ask: "SELECT x FROM public.v2", want: "a';"},
	{sql: "CREATE VIEW v3 AS SELECT 1 -- one\r, 2 AS two", ask: "SELECT two FROM public.v3", want: "2"},
}

// hostileTransactions writes values, names and commands into a segment.
func hostileTransactions(t *testing.T, w *SegmentWriter) {
	values := storable()
	var b []byte
	b = segment.AppendDDL(b, "CREATE TABLE", "CREATE TABLE public.t (n int, how text, v text);")
	for i, v := range values {
		b = fmt.Appendf(b, "INSERT INTO public.t VALUES ('%d', 'insert', ", i)
		b = append(sqltext.AppendLiteral(b, []byte(v)), ");\n"...)
		if name := truncated(v); name != "" {
			b = segment.AppendDDL(b, "CREATE TABLE", "CREATE TABLE public."+sqltext.Identifier(fmt.Sprintf("%s%d", name, i))+" ()")
		}
	}
	b = copyBegin(b, "public.t", `n`, `how`, `v`)
	for i, v := range values {
		b = copyRow(b, fmt.Sprint(i), "copy", v)
	}
	b = segment.AppendCopyEnd(b)
	b = segment.AppendDDL(b, "CREATE TABLE", "CREATE TABLE public.c1 (v text)")
	b = copyBegin(b, "public.c1", `v`)
	for _, v := range values {
		b = copyRow(b, v)
	}
	b = copyRow(b, nil)
	b = segment.AppendCopyEnd(b)
	for i, h := range hazards {
		b = append(b, "SET LOCAL search_path = public, pg_catalog;\n"...)
		if h.off != "" {
			b = append(b, "SET LOCAL standard_conforming_strings = off;\nSET LOCAL escape_string_warning = off;\n"...)
		}
		b = segment.AppendDDL(b, "DDL", h.sql)
		b = append(b, "SET LOCAL search_path = '';\nSET LOCAL standard_conforming_strings = on;\n"...)
		b = segment.AppendRestorePoint(b, fmt.Sprintf("after %d\n\\q", i))
		b = segment.AppendGap(b, ":x \\q '")
	}
	addTx(t, w, 1, strings.TrimSuffix(string(b), "\n"))
}

// truncated is as much of a text as fits into a name.
func truncated(s string) string {
	for len(s) > 40 || !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

func checkHostile(t *testing.T, c *pgtest.Cluster, db string) {
	t.Helper()
	values := storable()
	query := func(sql string) string { return c.Query(t, db, sql) }
	for i, v := range values {
		for _, how := range []string{"insert", "copy"} {
			got := query(fmt.Sprintf("SELECT encode(convert_to(v, 'UTF8'), 'hex') FROM public.t WHERE n = %d AND how = '%s'", i, how))
			if got != hex.EncodeToString([]byte(v)) {
				t.Errorf("value %q came by %s as %s", v, how, got)
			}
		}
		if name := truncated(v); name != "" {
			if got := query("SELECT count(*) FROM pg_class WHERE relname = convert_from(decode('" + hex.EncodeToString(fmt.Appendf(nil, "%s%d", name, i)) +
				"', 'hex'), 'UTF8')"); got != "1" {
				t.Errorf("%s tables are named %q", got, name)
			}
		}
	}
	if got, want := query("SELECT count(*), count(v) FROM public.c1"), fmt.Sprintf("%d|%d", len(values)+1, len(values)); got != want {
		t.Errorf("one column: %s rows, want %s", got, want)
	}
	for _, h := range hazards {
		if h.ask != "" && query(h.ask) != h.want {
			t.Errorf("%s: %q, want %q", h.sql, query(h.ask), h.want)
		}
	}
}

// psql runs a shell command whose output goes to psql.
func psql(t *testing.T, c *pgtest.Cluster, db, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir, cmd.Env = dir, append(c.Env(), "DB="+db)
	out, err := cmd.CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func TestPsqlReadsSegments(t *testing.T) {
	c := pgtest.Shared(t)
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		hostileTransactions(t, w)
		must(t, w.Checkpoint(ctx))
		must(t, w.Seal(ctx))
		a := segmentAt(t, r, txLSN(1))
		db := c.CreateDB(t, "psql")
		// The variables would show if psql took text for one.
		psql(t, c, db, r.dir, chainOf(t, r, a).Command(a.Name)+" | psql -X -q -v ON_ERROR_STOP=1 -v x=evil -v 2=evil -d $DB")
		checkHostile(t, c, db)
	})
}

// The same commands sent statement by statement, as restore does, without
// psql between.
func TestServerReadsItems(t *testing.T) {
	c := pgtest.Shared(t)
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	hostileTransactions(t, w)
	must(t, w.Seal(ctx))
	reader, err := r.OpenSegment(segmentAt(t, r, txLSN(1)))
	must(t, err)
	defer reader.Close()
	db := c.CreateDB(t, "items")
	conn := c.Conn(t, db).PgConn()
	run := func(sql string) {
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for {
		item, err := reader.Next()
		must(t, err)
		switch item.Kind {
		case segment.Begin:
			run("BEGIN")
		case segment.Commit:
			run("COMMIT")
		case segment.Preamble, segment.Statement, segment.RowChange, segment.TruncateTable, segment.Setting, segment.Block, segment.DDL:
			run(string(item.SQL))
		case segment.CopyBlock:
			if _, err := conn.CopyFrom(ctx, reader.CopyData(), string(item.SQL)); err != nil {
				t.Fatal(err)
			}
		}
		if item.Kind == segment.End {
			break
		}
	}
	checkHostile(t, c, db)
}

// recipe is the shell text of the metadata file that skips what the base has.
func recipe(t *testing.T) string {
	t.Helper()
	_, text, found := strings.Cut(byHandFor(filter.Default, false), "\n     P=0/3829A018\n")
	text, _, ended := strings.Cut(text, " | psql -X -q")
	if !found || !ended {
		t.Fatal("the metadata text has no recipe")
	}
	return text
}

func TestRecipeSkipsByLSN(t *testing.T) {
	need(t, "awk")
	r := testRepository(t, "zstd")
	lsns := []catalog.LSN{0x9, 0x10, 0xFFFF, 0x10000, 0xFFFFFFF0, 0x1_00000000, 0x9_00000001, 0x10_00000000, 0x10_00000010, 0xFF_00000000}
	w := createSegment(t, r, 0)
	for i, lsn := range lsns {
		text := segment.AppendBegin(nil, uint32(i), lsn, testClock)
		text = segment.AppendDDL(text, "X", "SELECT\n\n'BEGIN; -- xid 9 commit 0/0'\n, 'x\nCOMMIT; -- 0/0\n'")
		text = copyBegin(text, "t", `v`)
		for _, v := range []string{"BEGIN; -- xid 1 commit 0/0 at x", "COMMIT; -- 0/0", fmt.Sprintf("row of %d", i), "\x80\xff", strings.Repeat("x", i<<16)} {
			text = copyRow(text, v)
		}
		text = segment.AppendCommit(segment.AppendCopyEnd(text), lsn+1)
		must(t, w.Write(text))
		w.Add(segment.Stats{End: lsn + 1, Transactions: 1})
		if i%3 == 0 {
			must(t, w.Checkpoint(ctx))
		}
		if i%4 == 3 {
			next, err := w.Next(ctx)
			must(t, err)
			w = next
			t.Cleanup(func() { next.Close() })
		}
	}
	must(t, w.Seal(ctx))
	for _, shell := range []string{"awk", "mawk", "gawk", "busybox awk", "original-awk"} {
		words := strings.Fields(shell)
		if _, err := exec.LookPath(words[0]); err != nil && shell != "awk" {
			continue
		}
		for i, p := range lsns {
			for _, point := range []catalog.LSN{p, p + 1} {
				var stderr bytes.Buffer
				cmd := exec.Command("sh", "-ec", "P="+point.String()+"\n"+strings.Replace(recipe(t), "awk", shell, 1))
				cmd.Dir, cmd.Stderr = r.dir, &stderr
				out, err := cmd.Output()
				if err != nil || stderr.Len() > 0 {
					t.Fatalf("%s: %v %s", shell, err, stderr.Bytes())
				}
				first := i
				if point > p {
					first++
				}
				for j := range lsns {
					want := 0
					if j >= first {
						want = 1
					}
					if got := strings.Count(string(out), fmt.Sprintf("\nrow of %d\n", j)); got != want {
						t.Errorf("%s, P=%s: transaction %s is there %d times, want %d", shell, point, lsns[j], got, want)
					}
				}
				if n := strings.Count(string(out), "\nSET search_path"); n != 3 {
					t.Errorf("%s, P=%s: %d preambles", shell, point, n)
				}
			}
		}
	}
}

// A person restores with the text of the metadata file alone.
func TestRestoreByHand(t *testing.T) {
	c := pgtest.Shared(t)
	r := testRepository(t, "zstd")
	writeBase(t, r, filter.Default) // at 0/10
	w := createSegment(t, r, 8)
	at := func(lsn catalog.LSN, sql string) {
		must(t, w.Write(segment.AppendCommit(append(segment.AppendBegin(nil, 5, lsn, testClock), sql+"\n"...), lsn+1)))
		w.Add(segment.Stats{End: lsn + 1, Transactions: 1})
	}
	at(8, "INSERT INTO public.plain VALUES (1, 'it is in the base already', NULL);")
	at(0x10, "INSERT INTO public.plain VALUES (100, 'new', NULL);")
	at(0x20, "UPDATE ONLY public.plain SET v = 'changed' WHERE id = 1;")
	must(t, w.Seal(ctx))
	db := c.CreateDB(t, "by_hand")
	const to = " | psql -X -q -v ON_ERROR_STOP=1 -d $DB >&2"
	psql(t, c, db, r.dir, "zstd -dc base-*.sql.zst | psql -X -q -v ON_ERROR_STOP=1 -o /dev/null -d $DB; psql -X -q -o /dev/null -d $DB -f globals-*.sql "+
		"2>/dev/null")
	psql(t, c, db, r.dir, "P=0/10\n"+recipe(t)+to)
	if got, want := c.Query(t, db, "SELECT count(*), max(id), min(v) FILTER (WHERE id = 1) FROM public.plain"), "8|100|changed"; got != want {
		t.Errorf("rows %s, want %s", got, want)
	}
	if got := c.Query(t, db, "SELECT count(*) FROM public.lines WHERE line = '-- pg_scribe end'"); got != "1" {
		t.Errorf("%s rows look like a trailer", got)
	}
	if got := c.Query(t, db, "SELECT string_agg(evtname, ' ') FROM pg_event_trigger"); got != "mine" {
		t.Errorf("event triggers %s", got)
	}
}

// docs/FORMAT.md shows the same recipe as the metadata file.
func TestDocumentShowsTheRecipe(t *testing.T) {
	doc, err := os.ReadFile("../docs/FORMAT.md")
	must(t, err)
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if !strings.Contains(squeeze(string(doc)), squeeze(recipe(t))) {
		t.Error("docs/FORMAT.md has another recipe than the metadata file")
	}
}
