package describe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// metadata reads what a server says of its catalogs.
func metadata(t *testing.T, conn *pgx.Conn) (m Metadata) {
	t.Helper()
	ctx := context.Background()
	rows, err := conn.Query(ctx, ColumnsSQL)
	if err == nil {
		m.Columns, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Column])
	}
	if err == nil {
		rows, err = conn.Query(ctx, ReferencesSQL)
	}
	if err == nil {
		m.References, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Reference])
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// descriptions returns the descriptions in a database, by catalog and identity.
func descriptions(t *testing.T, conn *pgx.Conn, query string) map[string]string {
	t.Helper()
	ctx := context.Background()
	if _, err := conn.Exec(ctx, SettingsSQL); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(ctx, "SELECT catalog || ' ' || identity, definition::text FROM ("+query+") d")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	var key, definition string
	if _, err := pgx.ForEachRow(rows, []any{&key, &definition}, func() error {
		if _, twice := all[key]; twice {
			t.Errorf("%s is described twice", key)
		}
		all[key] = definition
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// differences lists what differs between two descriptions.
func differences(a, b map[string]string) (list []string) {
	for key, definition := range a {
		switch other, there := b[key]; {
		case !there:
			list = append(list, key+" is missing")
		case other != definition:
			list = append(list, fmt.Sprintf("%s: %s, not %s", key, other, definition))
		}
	}
	for key := range b {
		if _, there := a[key]; !there {
			list = append(list, key+" is new")
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
	if unknown := metadata(t, c.Conn(t, "postgres")).Unknown(); len(unknown) > 0 {
		t.Errorf("neither described nor passed over: %s", strings.Join(unknown, ", "))
	}
}

// A copy by pg_dump and psql, whose OIDs and attribute numbers are others, is
// described alike.
func TestCopyIsDescribedAlike(t *testing.T) {
	c := pgtest.Shared(t)
	source := c.CreateDB(t, "described")
	c.Exec(t, source, script(t, "objects.sql"))
	conn := c.Conn(t, source)
	query := metadata(t, conn).Query("")
	want, got := descriptions(t, conn, query), descriptions(t, c.Conn(t, copyOf(t, c, source)), query)
	if len(want) < 250 {
		t.Errorf("only %d descriptions", len(want))
	}
	for _, d := range differences(want, got) {
		t.Error(d)
	}
	t.Logf("%d descriptions", len(want))
}

// Each change of one attribute is found, also by a query for the object alone.
func TestEveryChangeIsFound(t *testing.T) {
	c := pgtest.Shared(t)
	source := c.CreateDB(t, "changed")
	c.Exec(t, source, script(t, "objects.sql"))
	conn := c.Conn(t, source)
	ctx := context.Background()
	m := metadata(t, conn)
	before := descriptions(t, conn, m.Query(""))
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
		} else if found := differences(before, descriptions(t, tx.Conn(), m.Query(""))); len(found) == 0 {
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
	m := metadata(t, conn)
	all, one := descriptions(t, conn, m.Query("")), descriptions(t, conn, m.Query("ARRAY['public.orders'::regclass::oid]"))
	for _, key := range []string{"pg_class public.orders r", "pg_attribute public.orders.id", "pg_constraint orders_pkey on public.orders",
		"pg_index public.orders_pkey", "pg_class public.orders_pkey i", "pg_trigger orders_touch on public.orders", "pg_policy mine on public.orders",
		"pg_description table public.orders", "pg_description index public.orders_pkey", "pg_description policy mine on public.orders"} {
		if all[key] == "" || one[key] != all[key] {
			t.Errorf("%s: %q, and alone %q", key, all[key], one[key])
		}
	}
	for key := range one {
		if !strings.Contains(key, "orders") {
			t.Errorf("%s is not of the table", key)
		}
	}
}
