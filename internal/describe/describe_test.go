package describe

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// reader is one of a server's.
func reader(t *testing.T, conn *pgx.Conn) *Reader {
	t.Helper()
	r, err := NewReader(context.Background(), conn.PgConn())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// all returns the descriptions in a database by what names the objects, and
// counts their rows. Each has a text that is read back.
func all(t *testing.T, conn *pgx.Conn, r *Reader) (objects map[string]Object, rows int) {
	t.Helper()
	objects = map[string]Object{}
	add := func(o Object) error {
		if _, twice := objects[o.Key()]; twice {
			t.Errorf("%s is described twice", o.Key())
		}
		objects[o.Key()] = o
		seen := map[string]bool{}
		for _, row := range o.Rows {
			key := row.Catalog + " " + row.Identity
			if seen[key] {
				t.Errorf("%s is described twice", key)
			}
			seen[key] = true
		}
		rows += len(o.Rows)
		text := o.Append(nil)
		if back, err := ParseObject(text); err != nil || back.Fingerprint() != o.Fingerprint() {
			t.Errorf("%s: %v", text, err)
		}
		return nil
	}
	if err := r.All(context.Background(), conn.PgConn(), add); err != nil {
		t.Fatal(err)
	}
	return objects, rows
}

// differences compares the objects of two databases.
func differences(a, b map[string]Object) (list []Difference) {
	for key, o := range a {
		d, _ := Compare(o, b[key])
		list = append(list, d...)
	}
	for key, o := range b {
		if _, there := a[key]; !there {
			list = append(list, Difference{Kind: Extra, Class: o.Class, Identity: o.Identity})
		}
	}
	return list
}

func script(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// copyOf is a database that pg_dump and psql made of another.
func copyOf(t *testing.T, c *pgtest.Cluster, source string) string {
	t.Helper()
	db := c.CreateDB(t, "copy")
	dump, err := c.Command("pg_dump", "-d", c.ConnString(source)).Output()
	if err != nil {
		t.Fatal(err)
	}
	psql := c.Command("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", c.ConnString(db))
	psql.Stdin = strings.NewReader(string(dump))
	if out, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return db
}

// Every catalog of the server is described, or known to need no description.
func TestNoCatalogIsUnknown(t *testing.T) {
	c := pgtest.Shared(t)
	if unknown := reader(t, c.Conn(t, "postgres")).Metadata.Unknown(); len(unknown) > 0 {
		t.Errorf("neither described nor passed over: %s", strings.Join(unknown, ", "))
	}
}

// A copy by pg_dump and psql, whose OIDs and attribute numbers are others, is
// described alike, with the same fingerprints.
func TestCopyIsDescribedAlike(t *testing.T) {
	c := pgtest.Shared(t)
	source := c.CreateDB(t, "described")
	c.Exec(t, source, script(t, "objects.sql"))
	conn := c.Conn(t, source)
	if _, err := conn.Exec(context.Background(), `CREATE TEMPORARY TABLE passing (id serial PRIMARY KEY, v text DEFAULT 'x');
		COMMENT ON TABLE passing IS 'x'; COMMENT ON COLUMN passing.v IS 'y';
		CREATE TYPE pg_temp.passed AS ENUM ('a'); COMMENT ON TYPE pg_temp.passed IS 'z'`); err != nil {
		t.Fatal(err)
	}
	r := reader(t, conn)
	want, rows := all(t, conn, r)
	got, _ := all(t, c.Conn(t, copyOf(t, c, source)), r)
	for key := range want {
		if strings.Contains(key, "pg_temp") {
			t.Errorf("%s is described", key)
		}
	}
	if len(want) < 60 || rows < 250 {
		t.Errorf("only %d objects with %d rows", len(want), rows)
	}
	for _, d := range differences(want, got) {
		t.Errorf("%+v", d)
	}
	for key, o := range want {
		if o.Fingerprint() != got[key].Fingerprint() {
			t.Errorf("fingerprint of %s:\n%s\n%s", key, o.Append(nil), got[key].Append(nil))
		}
	}
	t.Logf("%d objects, %d rows", len(want), rows)
}

// Each change of one attribute is found.
func TestEveryChangeIsFound(t *testing.T) {
	c := pgtest.Shared(t)
	source := c.CreateDB(t, "changed")
	c.Exec(t, source, script(t, "objects.sql"))
	conn := c.Conn(t, source)
	ctx := context.Background()
	r := reader(t, conn)
	before, _ := all(t, conn, r)
	n := 0
	for line := range strings.Lines(script(t, "changes.sql")) {
		change := strings.TrimSpace(line)
		if change == "" || strings.HasPrefix(change, "--") {
			continue
		}
		n++
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = public"); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, change); err != nil {
			t.Errorf("%s: %v", change, err)
		} else if after, _ := all(t, conn, r); len(differences(before, after)) == 0 {
			t.Errorf("not found: %s", change)
		}
		if err := tx.Rollback(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n < 100 {
		t.Errorf("only %d changes", n)
	}
	t.Logf("%d changes", n)
}

// What belongs to one table is described by itself.
func TestOneObject(t *testing.T) {
	c := pgtest.Shared(t)
	source := c.CreateDB(t, "one")
	c.Exec(t, source, script(t, "objects.sql"))
	conn := c.Conn(t, source)
	var oid uint32
	if err := conn.QueryRow(context.Background(), "SELECT 'public.orders'::regclass::oid").Scan(&oid); err != nil {
		t.Fatal(err)
	}
	r := reader(t, conn)
	objects, _ := all(t, conn, r)
	want := objects["table public.orders"]
	rows := map[string]bool{}
	for _, row := range want.Rows {
		rows[row.Catalog+" "+row.Identity] = true
		if !strings.Contains(row.Identity, "orders") {
			t.Errorf("%s %s is not of the table", row.Catalog, row.Identity)
		}
	}
	for _, key := range []string{"pg_class public.orders r", "pg_attribute public.orders.id", "pg_constraint orders_pkey on public.orders",
		"pg_index public.orders_pkey", "pg_class public.orders_pkey i", "pg_trigger orders_touch on public.orders", "pg_policy mine on public.orders",
		"pg_description table public.orders", "pg_description index public.orders_pkey", "pg_description policy mine on public.orders"} {
		if !rows[key] {
			t.Errorf("%s is missing", key)
		}
	}
	n := 0
	if err := r.Of(context.Background(), conn.PgConn(), []uint32{oid, 4242424}, func(o Object) error {
		n++
		if o.Fingerprint() != want.Fingerprint() {
			t.Errorf("alone it is %s, else %s", o.Append(nil), want.Append(nil))
		}
		return nil
	}); err != nil || n != 1 {
		t.Errorf("%d objects, %v", n, err)
	}
}

// Every object is found by its address in a copy, whose name and OIDs are
// others; what is not there is passed over. Neither changes the session.
func TestAddresses(t *testing.T) {
	c := pgtest.Shared(t)
	source := c.CreateDB(t, "addresses")
	c.Exec(t, source, script(t, "objects.sql"))
	from, to := c.Conn(t, source), c.Conn(t, copyOf(t, c, source))
	r := reader(t, from)
	want, _ := all(t, from, r)
	ctx := context.Background()
	if _, err := to.Exec(ctx, "SET search_path = app; BEGIN; SET LOCAL datestyle = german"); err != nil {
		t.Fatal(err)
	}
	addresses := []Address{{Class: "table", Names: []string{"public", "nobody's \\ table"}}, {Class: "composite type", Names: []string{"a", "b"}}}
	for _, o := range want {
		addresses = append(addresses, o.Address())
	}
	got := map[string]Object{}
	if err := r.At(ctx, to.PgConn(), addresses, func(o Object) error { got[o.Key()] = o; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, d := range differences(want, got) {
		t.Errorf("%+v", d)
	}
	var settings string
	if err := to.QueryRow(ctx, "SELECT current_setting('search_path') || ' ' || current_setting('datestyle')").Scan(&settings); err != nil ||
		settings != "app German, DMY" {
		t.Errorf("settings afterwards: %s, %v", settings, err)
	}
}

// FuzzParseObject reads texts back: what is accepted is canonical.
func FuzzParseObject(f *testing.F) {
	o := Object{Class: "table", Identity: "public.\"ä\"", Names: []string{"public", "ä𝄞\n\\"}, Args: []string{},
		Rows: []Row{{"pg_class", "public.t r", []byte(`{"relname": "t", "relacl": null}`)}}}
	f.Add(string(o.Append(nil)), "t", "x")
	f.Add(`{"class": "", "identity": "", "names": [], "args": [], "rows": []}`, "\x00\xff", "é")
	f.Fuzz(func(t *testing.T, text, class, name string) {
		if parsed, err := ParseObject([]byte(text)); err == nil && string(parsed.Append(nil)) != text {
			t.Errorf("%q reads as %q", text, parsed.Append(nil))
		}
		made := Object{Class: class, Identity: name, Names: []string{name, class}, Rows: []Row{{class, name, AppendString([]byte(`{"a": `), name)}}}
		made.Rows[0].Definition = append(made.Rows[0].Definition, '}')
		line := made.Append(nil)
		back, err := ParseObject(line)
		if err != nil || back.Fingerprint() != made.Fingerprint() || bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' && r != 0x7f }) {
			t.Errorf("%q: %v", line, err)
		}
		if utf8.ValidString(name) && Text(back.Rows[0].Attributes()["a"]) != name {
			t.Errorf("%q reads as %s", name, back.Rows[0].Definition)
		}
	})
}
