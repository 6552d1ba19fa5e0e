package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/describe"
	"pg_scribe/internal/pgtest"
)

// notYet are the cases of testdata/cases that do not come back equal, with what
// is seen. Each must fail: one that passes is to be taken off the list.
var notYet = map[string]string{
	"generated-column-function-replaced": "computed anew, as docs/LIMITS.md says",
	"orphans-behind-foreign-keys":        "the constraint is NOT VALID and listed",
}

// Each case of testdata/cases, NAME.pre.sql before init and NAME.sql while the stream
// runs, comes back equal to the source itself: every row, and the description
// of every object.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".sql")
		if strings.HasSuffix(name, ".pre") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var pre []string
			if text, err := os.ReadFile(strings.TrimSuffix(file, ".sql") + ".pre.sql"); err == nil {
				pre = append(pre, string(text))
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source, target := clusters(t)
			if reason := unfit(source, name, string(text)); reason != "" {
				t.Skip(reason)
			}
			diff := strings.Join(runCase(t, source, target, pre, string(text)), "\n")
			switch reason, listed := notYet[name]; {
			case listed && diff == "":
				t.Errorf("it is equal now, and stands in the list still: %s", reason)
			case !listed && diff != "":
				t.Error(diff)
			}
		})
	}
}

// unfit says why a case is not for this server.
func unfit(c *pgtest.Cluster, name, text string) string {
	var least int
	if _, version, ok := strings.Cut(name, ".pg"); ok {
		if _, err := fmt.Sscan(version, &least); err == nil && c.Major < least {
			return fmt.Sprintf("it needs PostgreSQL %d", least)
		}
	}
	if strings.HasPrefix(name, "postgis") {
		return "it needs an extension that is not part of PostgreSQL"
	}
	return ""
}

// runCase returns what differs, by lines; errors of the case's commands are part of it.
func runCase(t *testing.T, source, target *pgtest.Cluster, pre []string, text string) (diff []string) {
	t.Helper()
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "case"), dir: filepath.Join(t.TempDir(), "repo")}
	tr.slot = tr.db
	for _, sql := range pre {
		tr.tolerant(sql)
	}
	out, code := tr.program("init", "-d", tr.conn(), "-f", tr.dir, "-S", tr.slot)
	if code != 0 {
		return []string{"init: " + out}
	}
	t.Log(out)
	streamer := tr.launch("start", "-d", tr.conn(), "-f", tr.dir, "-F", "500ms", "-s", "100ms", "--state-interval", "1s")
	tr.tolerant(text)
	tr.acknowledged()
	streamer.stop(t)
	if strings.Contains(tr.text(), "\n-- pg_scribe gap") {
		for line := range strings.Lines(tr.text()) {
			if strings.HasPrefix(line, "-- pg_scribe gap") {
				diff = append(diff, strings.TrimSpace(line))
			}
		}
	}
	tr.restored = "back_" + tr.db
	out, code = tr.program("restore", "-f", tr.dir, "-C", "-d", tr.target.ConnString(tr.restored), "--accept-gaps")
	if code != 0 && code != 10 {
		return append(diff, "restore: "+out)
	}
	t.Log(out)
	t.Cleanup(func() { target.Exec(t, "postgres", "DROP DATABASE IF EXISTS "+tr.restored+" WITH (FORCE)") })
	if rehearseAll && len(diff) == 0 {
		tr.rehearses()
	}
	return append(diff, tr.differences()...)
}

// tolerant runs a script by psql, as a person who does not look at errors.
func (tr *trip) tolerant(sql string) {
	tr.t.Helper()
	cmd := tr.source.Command("psql", "-X", "-q", "-d", tr.db, "-f", "-")
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		tr.t.Fatalf("%v\n%s", err, out)
	}
}

// differences compares rows and descriptions of source and restored database.
func (tr *trip) differences() (list []string) {
	tr.t.Helper()
	if diff := tr.rowDiff(); diff != "" {
		list = append(list, "rows: "+diff)
	}
	source, target := tr.described(tr.source, tr.db), tr.described(tr.target, tr.restored)
	for _, key := range slices.Sorted(maps.Keys(source)) {
		found, _ := describe.Compare(source[key], target[key])
		for _, d := range found {
			list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s: %s %s %s", d.Kind, key, d.Catalog, d.Row, d.Attribute))+
				"\n  source   "+d.Source+"\n  restored "+d.Target)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(target)) {
		if _, there := source[key]; !there {
			list = append(list, "extra "+key)
		}
	}
	return list
}

// described returns the descriptions of all objects of a database.
func (tr *trip) described(c *pgtest.Cluster, db string) map[string]describe.Object {
	tr.t.Helper()
	return tr.describedBy(c.Conn(tr.t, db).PgConn())
}

func (tr *trip) describedBy(conn *pgconn.PgConn) map[string]describe.Object {
	tr.t.Helper()
	ctx := context.Background()
	all := map[string]describe.Object{}
	reader, err := describe.NewReader(ctx, conn)
	if err == nil {
		err = reader.All(ctx, conn, func(o describe.Object) error { all[o.Key()] = o; return nil })
	}
	if err != nil {
		tr.t.Fatal(err)
	}
	return all
}

// GRANT … ON ALL TABLES gives nothing of what another transaction made that committed
// before it and that it did not see.
func TestGrantOnAllBesideCreate(t *testing.T) {
	tr := begin(t, `CREATE SCHEMA ga; CREATE TABLE ga.early (id int PRIMARY KEY); CREATE TABLE ga.open (id int PRIMARY KEY);
	  CREATE PROCEDURE ga.p() LANGUAGE sql AS 'SELECT 1';
	  CREATE FUNCTION ga.f(text) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SEQUENCE ga.s; CREATE VIEW ga.v AS SELECT 1 AS one;
	  CREATE AGGREGATE ga.n(*) (sfunc = int8inc, stype = int8, initcond = '0');
	  REVOKE ALL ON ALL ROUTINES IN SCHEMA ga FROM PUBLIC`)
	role := "ga_reader_" + tr.db
	tr.run("CREATE ROLE " + role)
	t.Cleanup(func() { tr.source.Exec(t, tr.db, "DROP OWNED BY "+role); tr.source.Exec(t, tr.db, "DROP ROLE "+role) })
	ctx := context.Background()
	maker, granter := tr.source.Conn(t, tr.db), tr.source.Conn(t, tr.db)
	both := func(conn *pgx.Conn, sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	both(maker, `BEGIN; CREATE TABLE ga.late (id int PRIMARY KEY, v text); CREATE SEQUENCE ga.late_s;
	  CREATE FUNCTION ga.late_f() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION ga.late_f() FROM PUBLIC`)
	both(granter, "BEGIN; CREATE TABLE ga.mine (a int)")
	for _, kind := range []string{"SELECT ON ALL TABLES", "USAGE ON ALL SEQUENCES", "EXECUTE ON ALL ROUTINES"} {
		both(granter, "GRANT "+kind+" IN SCHEMA ga TO "+role)
	}
	both(granter, "REVOKE EXECUTE ON ALL PROCEDURES IN SCHEMA ga FROM "+role+"; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+role)
	both(maker, "COMMIT; INSERT INTO ga.late VALUES (1, 'secret')")
	both(granter, "COMMIT")
	tr.capture()
	tr.noGap()
	tr.back()
	if diff := tr.differences(); len(diff) > 0 {
		t.Error(strings.Join(diff, "\n"))
	}
	if got := tr.target.Query(t, tr.restored, "SELECT has_table_privilege('"+role+"', 'ga.late', 'SELECT'), has_table_privilege('"+role+
		"', 'ga.v', 'SELECT')"); got != "f|t" {
		t.Errorf("privileges: %s", got)
	}
}
