package compare

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/describe"
	"pg_scribe/internal/pgtest"
)

var update = flag.Bool("update", false, "write testdata/planted.txt")

func TestMain(m *testing.M) { pgtest.Main(m) }

// twins are a database with objects of all kinds, and a copy of it by pg_dump
// and psql.
func twins(t *testing.T) (source, target *pgx.Conn) {
	t.Helper()
	c := pgtest.Shared(t)
	from, to := c.CreateDB(t, "compared"), c.CreateDB(t, "comparison")
	text, err := os.ReadFile("../../internal/describe/testdata/objects.sql")
	if err != nil {
		t.Fatal(err)
	}
	c.Exec(t, from, string(text))
	dump, err := c.Command("pg_dump", "-d", c.ConnString(from)).Output()
	if err != nil {
		t.Fatal(err)
	}
	psql := c.Command("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", c.ConnString(to))
	psql.Stdin = strings.NewReader(string(dump))
	if out, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return c.Conn(t, from), c.Conn(t, to)
}

// expected describes all objects of a database.
func expected(t *testing.T, conn *pgx.Conn) *Expected {
	t.Helper()
	ctx := context.Background()
	e, err := NewExpected()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	reader, err := describe.NewReader(ctx, conn.PgConn())
	if err == nil {
		err = reader.All(ctx, conn.PgConn(), e.Put)
	}
	if err != nil {
		t.Fatal(err)
	}
	e.Complete()
	return e
}

func comparer(t *testing.T, conn *pgx.Conn) *Comparer {
	t.Helper()
	c, err := New(context.Background(), conn.PgConn(), pgtest.Shared(t).Major)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A hundred and more changes of one attribute each, made in the target before
// it is compared, are found, and all are repaired that testdata/planted.txt
// says are: the target then compares equal.
func TestPlanted(t *testing.T) {
	source, target := twins(t)
	ctx := context.Background()
	e, c := expected(t, source), comparer(t, target)
	if r, err := c.All(ctx, e, Options{}); err != nil || len(r.Differences) > 0 || r.Objects < 60 {
		t.Fatalf("the copy: %d objects, %+v, %v", r.Objects, r.Differences, err)
	}
	changes, err := os.ReadFile("../../internal/describe/testdata/changes.sql")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	n, repaired := 0, 0
	for line := range strings.Lines(string(changes)) {
		change := strings.TrimSpace(line)
		if change == "" || strings.HasPrefix(change, "--") {
			continue
		}
		n++
		r := plant(t, c, target, e, change)
		if len(r.Differences) == 0 {
			t.Errorf("not found: %s", change)
		}
		if len(r.Unrepaired()) == 0 {
			repaired++
		}
		fmt.Fprintf(&got, "%s\n", change)
		for _, d := range r.Differences {
			fmt.Fprintf(&got, "\t%s\n", line1(d))
		}
	}
	t.Logf("%d changes, %d repaired", n, repaired)
	if n < 100 {
		t.Errorf("only %d changes", n)
	}
	const golden = "testdata/planted.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got.String() {
		t.Errorf("other than in %s:\n%s", golden, got.String())
	}
}

// plant makes a change in the target, compares and repairs it, makes sure that
// what counts as repaired is, and takes all back.
func plant(t *testing.T, c *Comparer, target *pgx.Conn, e *Expected, change string) Result {
	t.Helper()
	ctx := context.Background()
	tx, err := target.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = public"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, change); err != nil {
		t.Fatalf("%s: %v", change, err)
	}
	r, err := c.All(ctx, e, Options{Repair: true})
	if err != nil {
		t.Fatalf("%s: %v", change, err)
	}
	again, err := c.All(ctx, e, Options{})
	if err != nil {
		t.Fatalf("%s: %v", change, err)
	}
	if len(again.Differences) != len(r.Unrepaired()) {
		t.Errorf("%s: %d differences are left, %d were said to be: %+v", change, len(again.Differences), len(r.Unrepaired()), again.Differences)
	}
	return r
}

func line1(d Difference) string {
	what := "repaired"
	if !d.Repaired {
		what = "LEFT"
	}
	text := fmt.Sprintf("%s: %s %s %s", what, d.Kind, d.Class, d.Identity)
	if d.Catalog != "" {
		text += fmt.Sprintf(": %s %s %s", d.Catalog, d.Row, d.Attribute)
	}
	if !d.Repaired {
		text += " (" + d.Reason + ")"
	}
	return strings.TrimSpace(text)
}
