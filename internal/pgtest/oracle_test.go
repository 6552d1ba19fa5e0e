package pgtest

import (
	"context"
	"strings"
	"testing"
)

func snapshotOf(t *testing.T, c *Cluster, db string) State {
	t.Helper()
	state, err := Snapshot(t.Context(), c.ConnString(db), "")
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestSnapshotNoticesOneValue(t *testing.T) {
	t.Parallel()
	c := Shared(t)
	db := c.CreateDB(t, "oracle")
	c.Exec(t, db, `CREATE TABLE t (i int, v text, t double precision);
		INSERT INTO t SELECT i, 'v' || i, 1 / i::float8 FROM generate_series(1, 1000) i;
		CREATE TABLE "Odd ""name" (); INSERT INTO "Odd ""name" DEFAULT VALUES; CREATE TABLE untouched (i int)`)
	before := snapshotOf(t, c, db)
	if diff := Diff(before, snapshotOf(t, c, db)); diff != "" {
		t.Errorf("a difference without a change:\n%s", diff)
	}

	// The same rows in another order, with other settings for output.
	c.Exec(t, db, `ALTER DATABASE `+quoteIdent(db)+` SET extra_float_digits = -5;
		WITH d AS (DELETE FROM t RETURNING *) INSERT INTO t SELECT * FROM d ORDER BY i DESC`)
	if diff := Diff(before, snapshotOf(t, c, db)); diff != "" {
		t.Errorf("the order of rows or a setting makes a difference:\n%s", diff)
	}

	c.Exec(t, db, "UPDATE t SET t = t + 1e-15 WHERE i = 500; DROP TABLE untouched; CREATE TABLE added (i int)")
	after := snapshotOf(t, c, db)
	want := "public.added: want no such table, got 0 rows (hash 0)\n" +
		"public.t: want " + before.Tables["public.t"].String() + ", got " + after.Tables["public.t"].String() + "\n" +
		"public.untouched: want 0 rows (hash 0), got no such table\n"
	if got := Diff(before, after); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	if got := after.Tables[`public."Odd ""name"`].Rows; got != 1 {
		t.Errorf("table without columns: %d rows", got)
	}
}

func TestSnapshotSwapAndDuplicates(t *testing.T) {
	t.Parallel()
	c := Shared(t)
	db := c.CreateDB(t, "oracle")
	c.Exec(t, db, `CREATE TABLE a AS VALUES (1, 'x'), (2, 'y'); CREATE TABLE b AS VALUES (1, 'y'), (2, 'x');
		CREATE TABLE twice AS VALUES (1), (1), (2); CREATE TABLE other AS VALUES (1), (2), (2)`)
	tables := snapshotOf(t, c, db).Tables
	if tables["public.a"] == tables["public.b"] || tables["public.twice"] == tables["public.other"] {
		t.Errorf("different tables with the same hash: %v", tables)
	}
}

func TestSnapshotSelectsTables(t *testing.T) {
	t.Parallel()
	c := Shared(t)
	db := c.CreateDB(t, "oracle")
	c.Exec(t, db, `CREATE TABLE parted (i int) PARTITION BY LIST (i); CREATE TABLE part PARTITION OF parted DEFAULT;
		CREATE TABLE parent (i int); CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (1);
		CREATE UNLOGGED TABLE unlogged (i int); CREATE MATERIALIZED VIEW mv AS SELECT 1; CREATE VIEW v AS SELECT 1;
		CREATE MATERIALIZED VIEW unfilled AS SELECT 1 WITH NO DATA;
		CREATE SCHEMA scribe; CREATE TABLE scribe.own (i int); CREATE SCHEMA s; CREATE TABLE s.t (i int)`)
	want := map[string]int64{"public.part": 0, "public.parent": 0, "public.child": 1, "public.mv": 1, "s.t": 0}
	got := snapshotOf(t, c, db).Tables
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for name, rows := range want {
		if h, ok := got[name]; !ok || h.Rows != rows {
			t.Errorf("%s: got %v (%v)", name, h, ok)
		}
	}
}

func TestSnapshotImports(t *testing.T) {
	t.Parallel()
	c := Shared(t)
	db := c.CreateDB(t, "oracle")
	c.Exec(t, db, "CREATE TABLE t AS VALUES (1)")
	conn := c.Conn(t, db)
	var id string
	if _, err := conn.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	c.Exec(t, db, "INSERT INTO t VALUES (2); CREATE TABLE later (i int)")

	then, err := Snapshot(t.Context(), c.ConnString(db), id)
	if err != nil {
		t.Fatal(err)
	}
	if now := snapshotOf(t, c, db); len(then.Tables) != 1 || then.Tables["public.t"].Rows != 1 || now.Tables["public.t"].Rows != 2 {
		t.Errorf("then %v, now %v", then.Tables, now.Tables)
	}
	schema, err := c.SchemaDump(t.Context(), db, id)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(schema, "later") {
		t.Error("the schema dump does not see the snapshot")
	}
	if _, err := Snapshot(t.Context(), c.ConnString(db), "no'such"); err == nil {
		t.Error("unknown snapshot: no error")
	}
}

const userSchema = `CREATE TABLE t (id int PRIMARY KEY, v varchar CHECK (v IN ('a', 'b')), n int NOT NULL);
	CREATE UNIQUE INDEX n ON t (n);
	CREATE TABLE u (i int);
	COMMENT ON TABLE t IS 'kept';
	GRANT SELECT ON t TO pg_monitor;
	CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN

		END';
	CREATE EVENT TRIGGER mine ON sql_drop EXECUTE FUNCTION f();
	COMMENT ON EVENT TRIGGER mine IS 'kept too';`

const scribeSchema = `CREATE SCHEMA scribe;
	CREATE FUNCTION scribe.f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
	CREATE EVENT TRIGGER scribe_a ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION scribe.f();
	CREATE EVENT TRIGGER scribe_b ON ddl_command_end EXECUTE FUNCTION scribe.f();
	ALTER EVENT TRIGGER scribe_b ENABLE ALWAYS;
	COMMENT ON EVENT TRIGGER scribe_a IS 'removed';
	CREATE PUBLICATION scribe FOR ALL TABLES;
	ALTER TABLE t REPLICA IDENTITY USING INDEX n;
	ALTER TABLE u REPLICA IDENTITY FULL;`

func TestSchemaDumpNormalizes(t *testing.T) {
	t.Parallel()
	c := New(t, Options{Template: true}) // of its own, to see that no scratch database is left
	plain, captured := c.CreateDB(t, "plain"), c.CreateDB(t, "captured")
	c.Exec(t, plain, userSchema)
	c.Exec(t, captured, userSchema)
	c.Exec(t, captured, scribeSchema)
	for name, schemaOf := range map[string]func(context.Context, string) (string, error){
		"SchemaDump":   func(ctx context.Context, db string) (string, error) { return c.SchemaDump(ctx, db, "") },
		"NormalSchema": c.NormalSchema,
	} {
		want, err := schemaOf(t.Context(), plain)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := schemaOf(t.Context(), captured)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := Diff(State{Schema: want}, State{Schema: got}); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		for _, word := range []string{"OWNER TO postgres", "GRANT SELECT ON TABLE public.t TO pg_monitor", "CREATE EVENT TRIGGER mine",
			"'kept'", "'kept too'", "CREATE UNIQUE INDEX n", "PostgreSQL database dump complete"} {
			if !strings.Contains(want, word) {
				t.Errorf("%s: %q is missing", name, word)
			}
		}
		for _, word := range []string{"scribe", "REPLICA", "restrict", "Dumped"} {
			if strings.Contains(got, word) {
				t.Errorf("%s: %q is still there", name, word)
			}
		}
	}
	if got := c.Query(t, "postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'pgtest_normal%'"); got != "0" {
		t.Error("a scratch database is left")
	}
}

func TestNormalSchemaIsStable(t *testing.T) {
	t.Parallel()
	c := Shared(t)
	original, restored := c.CreateDB(t, "original"), c.CreateDB(t, "restored")
	c.Exec(t, original, userSchema)
	first, err := c.SchemaDump(t.Context(), original, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.output(t.Context(), first, "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", c.ConnString(restored)); err != nil {
		t.Fatal(err)
	}
	want, err := c.NormalSchema(t.Context(), original)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.NormalSchema(t.Context(), restored)
	if err != nil {
		t.Fatal(err)
	}
	if want == first {
		t.Error("the first dump is stable already: this test shows nothing")
	}
	if diff := Diff(State{Schema: want}, State{Schema: got}); diff != "" {
		t.Error(diff)
	}
	if _, err := c.NormalSchema(t.Context(), "nowhere"); err == nil {
		t.Error("no such database: no error")
	}
}

func TestDiffOfSchemas(t *testing.T) {
	t.Parallel()
	got := Diff(State{Schema: "a\nb\nc\nd\ne\nf\ng"}, State{Schema: "a\nb\nc\nd\ne\nX\nY\ng"})
	want := "schema differs from line 6 on (- want, + got):\n  b\n  c\n  d\n  e\n- f\n+ X\n+ Y\n"
	if got != want {
		t.Errorf("got:\n%s", got)
	}
	long := Diff(State{Schema: ""}, State{Schema: strings.Repeat("x\n", 100)})
	if !strings.Contains(long, "more lines") || strings.Count(long, "\n") > 50 {
		t.Errorf("got:\n%s", long)
	}
	if got := Diff(State{}, State{}); got != "" {
		t.Errorf("two empty states: %q", got)
	}
}
