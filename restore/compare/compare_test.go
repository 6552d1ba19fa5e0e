package compare

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
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
func twins(t *testing.T, c *pgtest.Cluster) (source, target string) {
	t.Helper()
	from, to := c.CreateDB(t, "compared"), c.CreateDB(t, "comparison")
	text, err := os.ReadFile("../../internal/describe/testdata/objects.sql")
	if err != nil {
		t.Fatal(err)
	}
	c.Exec(t, from, string(text))
	copyTo(t, c, from, c, to)
	return from, to
}

// attver is an option of the newest minor versions only.
var attver = regexp.MustCompile(`(?m)^ALTER .* SET \(pg_attver=\d+\);$|, pg_attver=\d+|pg_attver=\d+, `)

// copyTo brings a database to another by the programs of the newer server, which
// is the second.
func copyTo(t *testing.T, from *pgtest.Cluster, source string, to *pgtest.Cluster, target string) {
	t.Helper()
	dump, err := to.Command("pg_dump", "-d", from.ConnString(source)).Output()
	if err != nil {
		t.Fatal(err)
	}
	psql := to.Command("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", to.ConnString(target))
	psql.Stdin = strings.NewReader(attver.ReplaceAllString(string(dump), ""))
	if out, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
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

// A hundred and more changes of one attribute each, made in the target before
// it is compared, are found, and all are repaired that testdata/planted.txt
// says are: the target then compares equal.
func TestPlanted(t *testing.T) {
	cluster := pgtest.Shared(t)
	source, target := twins(t, cluster)
	e := expected(t, cluster.Conn(t, source))
	if r := plant(t, cluster, target, e, "SELECT"); len(r.Differences) > 0 || r.Objects < 60 {
		t.Fatalf("the copy: %d objects, %+v", r.Objects, r.Differences)
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
		r := plant(t, cluster, target, e, change)
		if len(r.Differences) == 0 {
			t.Errorf("not found: %s", change)
		}
		if len(r.Unrepaired()) == 0 {
			repaired++
		}
		fmt.Fprintf(&got, "%s\n", change)
		for i, d := range r.Differences {
			if i == 12 && len(r.Unrepaired()) == 0 {
				fmt.Fprintf(&got, "\tand %d more, all repaired\n", len(r.Differences)-i)
				break
			}
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

// plant makes a change in a database like the target, compares and repairs it,
// and makes sure that what counts as repaired is.
func plant(t *testing.T, cluster *pgtest.Cluster, target string, e *Expected, change string) Result {
	t.Helper()
	ctx := context.Background()
	admin := cluster.Conn(t, "postgres")
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "CREATE DATABASE planted TEMPLATE "+target); err != nil {
		t.Fatal(err)
	}
	conn := cluster.Conn(t, "planted")
	defer func() {
		conn.Close(ctx)
		if _, err := admin.Exec(ctx, "DROP DATABASE planted WITH (FORCE)"); err != nil {
			t.Fatal(err)
		}
	}()
	if _, err := conn.Exec(ctx, "SET search_path = public; "+change); err != nil {
		t.Fatalf("%s: %v", change, err)
	}
	c, err := New(ctx, conn.PgConn(), cluster.Major)
	if err != nil {
		t.Fatal(err)
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

// An index that the source could not build may be missing, and be valid.
func TestUnfinishedIndex(t *testing.T) {
	c := pgtest.Shared(t)
	a, b := c.CreateDB(t, "unfinished"), c.CreateDB(t, "built")
	for _, db := range []string{a, b} {
		c.Exec(t, db, `CREATE TABLE t (id int PRIMARY KEY, "A b" int); CREATE INDEX built ON t (id, ("A b" + 1))`)
	}
	c.Exec(t, a, `CREATE INDEX "not built" ON t ("A b"); COMMENT ON INDEX "not built" IS 'x';
		UPDATE pg_index SET indisvalid = false WHERE indexrelid IN ('built'::regclass, '"not built"'::regclass)`)
	compared, err := New(context.Background(), c.Conn(t, b).PgConn(), c.Major)
	if err != nil {
		t.Fatal(err)
	}
	e := expected(t, c.Conn(t, a))
	r, err := compared.All(context.Background(), e, Options{})
	if err != nil || len(r.Differences) > 0 || r.Passed == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	c.Exec(t, b, "DROP INDEX built; ALTER TABLE t DROP CONSTRAINT t_pkey")
	if r, err = compared.All(context.Background(), e, Options{Repair: true}); err != nil || len(r.Differences) == 0 || len(r.Unrepaired()) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Between two versions nothing differs but what is different.
func TestVersions(t *testing.T) {
	matrix := strings.Fields(os.Getenv("PG_SCRIBE_TEST_MATRIX"))
	if len(matrix) == 0 {
		t.Skip("needs servers of several versions, which make matrix gets")
	}
	clusters := map[string]*pgtest.Cluster{}
	for _, v := range strings.Fields(strings.NewReplacer(":", " ").Replace(strings.Join(matrix, " "))) {
		if clusters[v] == nil {
			clusters[v] = pgtest.New(t, pgtest.Options{Version: v})
		}
	}
	text, err := os.ReadFile("../../internal/describe/testdata/objects.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range matrix {
		t.Run(pair, func(t *testing.T) {
			source, target, _ := strings.Cut(pair, ":")
			from, to := clusters[source], clusters[target]
			a, b := from.CreateDB(t, "older"), to.CreateDB(t, "newer")
			from.Exec(t, a, string(text))
			for _, role := range []string{"describe_reader", "describe_owner"} {
				to.Exec(t, b, "DO $$ BEGIN CREATE ROLE "+role+" NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
			}
			copyTo(t, from, a, to, b)
			c, err := New(context.Background(), to.Conn(t, b).PgConn(), from.Major)
			if err != nil {
				t.Fatal(err)
			}
			r, err := c.All(context.Background(), expected(t, from.Conn(t, a)), Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range r.Differences {
				t.Errorf("%s\n\t%s\n\t%s", line1(d), d.Source, d.Target)
			}
			t.Logf("%d objects, %d not compared", r.Objects, r.Passed)
		})
	}
}
