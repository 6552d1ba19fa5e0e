package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/internal/describe"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo/segment"
)

// described is a source whose objects are told in a base and in a stream.
type described struct {
	*builder
	c  *pgtest.Cluster
	db string
}

const describedSchema = `CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int DEFAULT 1, t int);
	CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMENT ON FUNCTION f() IS 'one';
	CREATE VIEW w AS SELECT id FROM t; GRANT SELECT ON t TO PUBLIC; CREATE SEQUENCE s INCREMENT 3`

func newDescribed(t *testing.T) *described {
	c := pgtest.Shared(t)
	d := &described{builder: build(t), c: c, db: c.CreateDB(t, "witness")}
	d.header.Server = c.Query(t, "postgres", "SHOW server_version_num")[:2] + ".0"
	c.Exec(t, d.db, describedSchema)
	return d
}

// lines are what a source says of its objects, of all or of those with a name.
func (d *described) lines(names ...string) (list []string) {
	d.t.Helper()
	ctx, conn := context.Background(), d.c.Conn(d.t, d.db).PgConn()
	reader, err := describe.NewReader(ctx, conn)
	if err == nil {
		err = reader.All(ctx, conn, func(o describe.Object) error {
			if len(names) == 0 || slices.Contains(names, o.Identity) {
				f := segment.NewFingerprint(o.Class, o.Identity, o.Append(nil))
				list = append(list, strings.TrimSuffix(string(segment.AppendObject(nil, f)), "\n"))
			}
			return nil
		})
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

// dumped writes the base: the source's dump, in which something reads otherwise.
func (d *described) dumped(changes ...string) {
	d.t.Helper()
	dump, err := d.c.Command("pg_dump", "-d", d.c.ConnString(d.db)).Output()
	if err != nil {
		d.t.Fatal(err)
	}
	sql := string(dump)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(sql, changes[i]) {
			d.t.Fatalf("%q is not in\n%s", changes[i], sql)
		}
		sql = strings.Replace(sql, changes[i], changes[i+1], 1)
	}
	d.base(100, 5, sql+strings.Join(d.lines(), "\n")+"\n", "")
	d.open(100)
}

// restore restores up to a transaction; 0: all.
func (d *described) restore(o Options, lsn catalog.LSN) (Report, error) {
	d.t.Helper()
	target := catalog.Target{}
	if lsn != 0 {
		target = catalog.Target{Kind: catalog.ByLSN, LSN: lsn}
	}
	p := d.prepare(target)
	defer p.Close()
	return p.Execute(context.Background(), o)
}

// places are where a report has differences.
func places(r Report) (list []string) {
	for _, d := range r.Differences {
		state := "repaired"
		if d.Accepted {
			state = "accepted"
		}
		list = append(list, strings.Join(strings.Fields(state+" "+string(d.Kind)+" "+d.Identity+" "+d.Attribute), " "))
	}
	slices.Sort(list)
	return list
}

func (d *described) same(r Report, err error, want ...string) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
	if got := places(r); !slices.Equal(got, want) {
		d.t.Errorf("differences: %q, want %q", got, want)
	}
}

// What the base made otherwise than the source has it is repaired, and reported.
func TestBaseIsCompared(t *testing.T) {
	d := newDescribed(t)
	d.dumped("AS $$SELECT 1$$", "AS $$SELECT 2$$", "GRANT SELECT ON TABLE public.t TO PUBLIC;", "", "INCREMENT BY 3", "INCREMENT BY 4",
		"COMMENT ON FUNCTION public.f() IS 'one';", "")
	d.seal()
	c, o := target(t, "compared_base")
	r, err := d.restore(o, 0)
	d.same(r, err, "repaired changed public.f() prosrc", "repaired changed public.s seqincrement", "repaired changed public.t relacl",
		"repaired missing public.f()")
	if got := c.Query(t, "compared_base", "SELECT f(), has_table_privilege('public', 't', 'SELECT'), obj_description('f'::regproc)"); got != "1|t|one" {
		t.Errorf("the target has %s", got)
	}
	if r.Compared < 6 {
		t.Errorf("%d objects were compared", r.Compared)
	}
}

// What a command makes and drops beside what it names (the constructors of a range)
// is described some time later. Until then a line about something else says nothing
// of it.
func TestByproductsAreDescribedLater(t *testing.T) {
	d := newDescribed(t)
	d.dumped()
	const function, span = "CREATE FUNCTION public.g() RETURNS int LANGUAGE sql AS 'SELECT 7'", "CREATE TYPE public.span AS RANGE (subtype = float8)"
	d.c.Exec(t, d.db, function+";"+span)
	var made, gone []string
	for _, line := range d.lines() {
		if !strings.Contains(line, "span") {
			continue
		}
		made = append(made, line)
		before, _, _ := strings.Cut(line, " sha256 ")
		gone = append(gone, before+" sha256 "+segment.Gone)
	}
	if len(made) < 5 {
		t.Fatalf("a range is %q", made)
	}
	d.tx(200, 10, 10, "ddl "+function+";", "ddl "+span+";")
	d.tx(300, 11, 11, d.lines("public.g()")...)
	d.tx(400, 12, 12, "ddl CREATE TABLE public.x (a int);")
	d.tx(500, 13, 13, made...)
	d.c.Exec(t, d.db, "DROP TYPE span; CREATE TABLE x (a int)")
	d.tx(600, 14, 14, "ddl DROP TYPE public.span;")
	d.tx(700, 15, 15, d.lines("public.x")...)
	d.tx(800, 16, 16, "ddl CREATE TABLE public.y (a int);")
	d.tx(900, 17, 17, gone...)
	d.reach(1000, 20)
	d.seal()
	for lsn, want := range map[catalog.LSN]string{300: "t", 700: "f"} {
		db := fmt.Sprintf("byproducts_%d", lsn)
		c, o := target(t, db)
		r, err := d.restore(o, lsn)
		d.same(r, err)
		if got := c.Query(t, db, "SELECT to_regtype('span') IS NOT NULL"); got != want {
			t.Errorf("at %d the type is there: %s, want %s", lsn, got, want)
		}
	}
}

// A command that makes something else than it did on the source is found behind
// its line, repaired, and what follows relies on it.
func TestStreamIsCompared(t *testing.T) {
	d := newDescribed(t)
	d.dumped()
	d.c.Exec(t, d.db, "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 7'; CREATE OR REPLACE VIEW w AS SELECT id FROM t WHERE id > 1")
	d.tx(200, 10, 10, "ddl CREATE FUNCTION public.g() RETURNS int LANGUAGE sql AS 'SELECT 8';",
		"ddl CREATE OR REPLACE VIEW public.w AS SELECT id FROM public.t WHERE id > 2;")
	d.tx(300, 11, 11, d.lines("public.g()", "public.w")...)
	d.c.Exec(t, d.db, "DROP FUNCTION g(); CREATE TABLE x AS SELECT 7 AS g")
	d.tx(400, 12, 12, "ddl CREATE TABLE public.x AS SELECT public.g() WITH NO DATA;", "ddl DROP FUNCTION public.g();")
	d.tx(500, 13, 13, append(d.lines("public.x"), strings.TrimSuffix(string(segment.AppendObject(nil,
		segment.Fingerprint{Class: "function", Identity: "public.g()", SHA256: segment.Gone})), "\n"))...)
	d.reach(600, 20)
	d.seal()
	c, o := target(t, "compared_stream")
	r, err := d.restore(o, 0)
	d.same(r, err, "repaired changed public.g() prosrc", "repaired changed public.w ev_action")
	if got := c.Query(t, "compared_stream", "SELECT pg_get_viewdef('w'), to_regproc('g')"); !strings.Contains(got, "> 1)") {
		t.Errorf("the target has %s", got)
	}
}

// What cannot be repaired ends the restore behind the line. It goes on where
// that is accepted, and the report has it.
func TestDifferenceEndsRestore(t *testing.T) {
	d := newDescribed(t)
	d.dumped()
	d.c.Exec(t, d.db, "ALTER TABLE u ADD c bigint; COMMENT ON TABLE u IS 'u'")
	d.tx(200, 10, 10, "ddl ALTER TABLE public.u ADD c int;")
	d.tx(300, 11, 11, d.lines("public.u")...)
	d.tx(400, 12, 12, row(5, "five"))
	d.reach(600, 20)
	d.seal()
	c, o := target(t, "compared_stop")
	r, err := d.restore(o, 0)
	var incomplete *IncompleteError
	var differs *DifferenceError
	if !errors.As(err, &incomplete) || !incomplete.Resumable || !errors.As(err, &differs) {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, part := range []string{"transaction 11 (commit LSN 0/12C)", "table public.u", `atttypid of pg_attribute "public.u.c"`,
		`"integer", in the source "bigint"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v has no %s", err, part)
		}
	}
	o.CreateDatabase, o.Resume, o.AcceptDifferences = false, true, true
	r, err = d.restore(o, 0)
	d.same(r, err, "accepted changed public.u atttypid")
	if got := c.Query(t, "compared_stop", "SELECT v, obj_description('u'::regclass) FROM t WHERE id = 5"); got != "five|u" {
		t.Errorf("the target has %s", got)
	}
}

// Of what a command touched behind the last line nobody knows what it should be,
// unless a line behind the end of the restore says so: it is left alone, and named.
func TestUndescribedAtEnd(t *testing.T) {
	d := newDescribed(t)
	d.dumped()
	d.tx(200, 10, 10, "ddl CREATE TABLE public.late (a serial);", "ddl COMMENT ON TABLE public.u IS 'x';", "ddl COMMENT ON VIEW public.w IS 'w';")
	d.c.Exec(t, d.db, "COMMENT ON TABLE u IS 'u'; COMMENT ON VIEW w IS 'w'")
	d.tx(300, 11, 11, d.lines("public.u")...)
	d.tx(400, 12, 12, "ddl CREATE TABLE public.later (a int);")
	d.tx(500, 13, 13, d.lines("public.w")...)
	d.reach(600, 20)
	d.seal()
	c, o := target(t, "compared_end")
	r, err := d.restore(o, 200)
	d.same(r, err, "repaired changed public.u description")
	notices := strings.Join(r.Notices, "\n")
	if !strings.Contains(notices, "table public.late was not compared") || !strings.Contains(notices, "sequence public.late_a_seq was") ||
		strings.Contains(notices, "public.w") {
		t.Error(notices)
	}
	if got := c.Query(t, "compared_end", "SELECT to_regclass('late'), obj_description('u'::regclass), obj_description('w'::regclass)"); got != "late|u|w" {
		t.Errorf("the target has %s", got)
	}
}

// What a line knows of may come behind it, as what a sample has found; what does
// not come is missing at the end.
func TestMissingComesLater(t *testing.T) {
	d := newDescribed(t)
	d.dumped()
	d.c.Exec(t, d.db, "CREATE TABLE stealth (a int)")
	d.tx(200, 10, 10, d.lines("public.stealth")...)
	d.tx(300, 11, 11, row(7, "seven"))
	d.tx(400, 12, 12, "ddl CREATE TABLE public.stealth (a int);")
	d.tx(500, 13, 13, d.lines("public.stealth")...)
	d.reach(600, 20)
	d.seal()
	_, o := target(t, "compared_later")
	r, err := d.restore(o, 0)
	d.same(r, err)
	_, o = target(t, "compared_never")
	var differs *DifferenceError
	if _, err := d.restore(o, 300); !errors.As(err, &differs) || differs.Where != "" ||
		!strings.Contains(err.Error(), "table public.stealth of the source is missing") {
		t.Error(err)
	}
}

// What the report lists as left out of the base is no difference as well.
func TestLeftOutIsNoDifference(t *testing.T) {
	d := newDescribed(t)
	d.c.Exec(t, d.db, "INSERT INTO u VALUES (1, 9); ALTER TABLE u ADD CONSTRAINT orphan FOREIGN KEY (t) REFERENCES t NOT VALID; "+
		"UPDATE pg_constraint SET convalidated = true WHERE conname = 'orphan'")
	d.dumped()
	d.seal()
	_, o := target(t, "compared_left")
	r, err := d.restore(o, 0)
	d.same(r, err)
	if len(r.LeftOut) != 1 || !strings.Contains(r.LeftOut[0], "orphan") {
		t.Errorf("left out: %q", r.LeftOut)
	}
}

// Nor is it after an interruption.
func TestLeftOutIsRecalled(t *testing.T) {
	d := newDescribed(t)
	d.c.Exec(t, d.db, "INSERT INTO u VALUES (1, 9); ALTER TABLE u ADD CONSTRAINT orphan FOREIGN KEY (t) REFERENCES t NOT VALID; "+
		"UPDATE pg_constraint SET convalidated = true WHERE conname = 'orphan'")
	d.dumped()
	d.tx(200, 10, 10, "ddl CREATE TABLE missing.a (i int);")
	d.reach(600, 20)
	d.seal()
	c, o := target(t, "compared_again")
	if _, err := d.restore(o, 0); err == nil {
		t.Fatal("it did not stop")
	}
	c.Exec(t, "compared_again", "CREATE SCHEMA missing")
	o.CreateDatabase, o.Resume = false, true
	r, err := d.restore(o, 0)
	d.same(r, err)
	if len(r.LeftOut) != 1 {
		t.Errorf("left out: %q", r.LeftOut)
	}
}
