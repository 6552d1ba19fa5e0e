package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
)

// Two repositories of one database sample on their own: what one has put into
// the stream for itself is not the other's sample before.
func TestTwoRepositoriesOfADatabase(t *testing.T) {
	a := begin(t, `CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) VALUES ('base'); SELECT lo_from_bytea(100, 'base')`)
	b := &trip{t: t, source: a.source, target: a.target, db: a.db, slot: a.slot + "_b", dir: filepath.Join(t.TempDir(), "repo")}
	b.begin()
	role := a.db + "_role"
	t.Cleanup(func() { a.source.Exec(t, "postgres", "DROP ROLE IF EXISTS "+role) })
	// Each of them sees a state that is gone when the other one samples.
	a.run(`CREATE ROLE `+role, `SELECT lo_from_bytea(200, 'for a moment'), lo_put(100, 0, 'BASE')`, `ALTER DATABASE `+a.db+` SET work_mem = '5MB'`,
		`INSERT INTO t (v) VALUES ('one')`)
	a.capture()
	a.run(`DROP ROLE `+role, `SELECT lo_unlink(200), lo_put(100, 0, 'base')`, `ALTER DATABASE `+a.db+` RESET work_mem`, `INSERT INTO t (v) VALUES ('two')`)
	b.capture()
	a.capture()
	for name, tr := range map[string]*trip{"a": a, "b": b} {
		tr.noGap()
		tr.back()
		tr.equal()
		tr.largeObjects()
		if got := tr.target.Query(t, "postgres", `SELECT count(*) FROM pg_roles WHERE rolname = '`+role+`'`); got != "0" {
			t.Errorf("%s: the role is there", name)
		}
		if got := tr.target.Query(t, tr.restored, `SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = `+
			`current_database())`); got != "0" {
			t.Errorf("%s: %s settings of the database", name, got)
		}
	}
}

// neighbours are others who replicate all tables of a database.
type neighbours struct {
	tr         *trip
	subscriber *pgtest.Cluster
	dbs        []string
}

// begin makes a publication of all tables and slots that read it.
func (n *neighbours) begin() {
	db := n.tr.db
	n.tr.source.Exec(n.tr.t, db, "CREATE PUBLICATION everything FOR ALL TABLES")
	for _, plugin := range []string{"test_decoding", "pgoutput"} {
		n.tr.source.Query(n.tr.t, db, fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s_%s', '%[2]s')", db, plugin))
	}
}

// subscribe makes a subscriber that has the tables by now.
func (n *neighbours) subscribe() {
	t, db := n.tr.t, n.subscriber.CreateDB(n.tr.t, "sub")
	shell(t, n.tr.source, fmt.Sprintf(`pg_dump --schema-only -t 'public.*' --no-publications %s | psql -X -q -v ON_ERROR_STOP=1 -d "%s"`, n.tr.db,
		n.subscriber.ConnString(db)))
	n.subscriber.Exec(t, db, fmt.Sprintf("CREATE SUBSCRIPTION %s CONNECTION '%s' PUBLICATION everything", db, strings.ReplaceAll(n.tr.conn(), "'", "''")))
	n.dbs = append(n.dbs, db)
}

// change runs DDL on both sides, and changes rows on the source.
func (n *neighbours) change(ddl, rows string) {
	n.tr.t.Helper()
	for _, db := range n.dbs {
		n.subscriber.Exec(n.tr.t, db, ddl)
	}
	n.tr.source.Exec(n.tr.t, n.tr.db, ddl)
	for _, db := range n.dbs {
		n.subscriber.Exec(n.tr.t, db, "ALTER SUBSCRIPTION "+db+" REFRESH PUBLICATION")
	}
	n.tr.source.Exec(n.tr.t, n.tr.db, rows)
}

// undisturbed waits until every subscriber has a table's rows as the source has them.
func (n *neighbours) undisturbed(when, table string) {
	n.tr.t.Helper()
	sum := "SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM " + table + " x"
	want := n.tr.source.Query(n.tr.t, n.tr.db, sum)
	for _, db := range n.dbs {
		var got string
		for began := time.Now(); got != want && time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) {
			got = n.subscriber.Query(n.tr.t, db, sum)
		}
		errors := n.subscriber.Query(n.tr.t, db, "SELECT apply_error_count + sync_error_count FROM pg_stat_subscription_stats WHERE subname = '"+db+"'")
		tables := n.subscriber.Query(n.tr.t, db, "SELECT string_agg(srrelid::regclass::text, ' ') FROM pg_subscription_rel WHERE srrelid::regclass::text ~ 'scribe'")
		if got != want || errors != "0" || tables != "" {
			n.tr.t.Errorf("%s: subscriber %s has %s of %s, want %s; %s errors; tables of the capture: %q", when, db, got, table, want, errors, tables)
		}
	}
}

// received is what a slot gives to pg_recvlogical up to now.
func (n *neighbours) received(plugin string, options ...string) string {
	n.tr.t.Helper()
	file := filepath.Join(n.tr.t.TempDir(), plugin)
	args := []string{"-d", n.tr.db, "-S", n.tr.db + "_" + plugin, "--start", "--no-loop", "-f", file, "--endpos", n.tr.lsn().String()}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(n.tr.source.BinDir, "pg_recvlogical"), args...)
	cmd.Env = n.tr.source.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		n.tr.t.Fatalf("pg_recvlogical of %s: %v\n%s", plugin, err, out)
	}
	text, err := os.ReadFile(file)
	must(n.tr.t, err)
	return string(text)
}

// Others who replicate all tables of the database go on undisturbed, whether
// they began before the capture or with it, and never see its secret.
func TestNeighboursThatReplicateAllTables(t *testing.T) {
	_, target := clusters(t)
	source := pgtest.New(t)
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), dir: filepath.Join(t.TempDir(), "repo")}
	tr.slot = tr.db
	source.Exec(t, tr.db, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'before'); CREATE TABLE keyless (v text); ALTER TABLE keyless "+
		"REPLICA IDENTITY FULL")
	n := &neighbours{tr: tr, subscriber: target}
	n.begin()
	n.subscribe()
	n.undisturbed("before init", "t")
	tr.begin()
	secret := secretOf(tr)
	n.change("CREATE TABLE u (id serial PRIMARY KEY, v text); ALTER TABLE t ADD COLUMN w timestamptz DEFAULT '2026-01-01'", "INSERT INTO u (v) SELECT 'after' "+
		"FROM generate_series(1, 9); INSERT INTO t VALUES (2, 'after')")
	n.undisturbed("after init", "t")
	n.undisturbed("after init", "u")
	n.subscribe()
	n.undisturbed("a subscriber after init", "t") // a rewrite would empty the table in the snapshot of its first copy
	n.change("ALTER TABLE t ALTER v TYPE varchar(50); CREATE TABLE without (v text); ALTER TABLE without REPLICA IDENTITY FULL",
		"UPDATE t SET v = v || '!'; INSERT INTO without VALUES ('a'); UPDATE without SET v = 'b'")
	for _, table := range []string{"t", "u", "without", "keyless"} {
		n.undisturbed("a subscriber after init, and DDL", table)
	}
	// What else writes to the capture's state: a guarded table, a second
	// publication, a REFRESH of somebody's, and a base.
	source.Exec(t, tr.db, "CREATE TABLE guarded (v text); DROP TABLE guarded")
	tr.mustScribe("init", "-d", tr.conn(), "-S", tr.db+"_b", "--publication", "another", "-f", filepath.Join(t.TempDir(), "repo"))
	if got := source.Query(t, tr.db, "SELECT count(*) FROM scribe.config WHERE key LIKE 'publication %' AND value <> ''"); got != "2" {
		t.Errorf("%s publications are guarded", got)
	}
	source.Exec(t, tr.db, "REFRESH MATERIALIZED VIEW scribe.config")
	if got := secretOf(tr); got != secret {
		t.Errorf("the secret is %q after REFRESH", got)
	}
	tr.capture()
	tr.noGap()
	tr.fullBackup()
	if text := tr.text(); strings.Contains(text, "scribe.config") || strings.Contains(text, secret) {
		t.Error("the capture's state is in the backup")
	}
	for _, slot := range []string{tr.db, tr.db + "_b"} {
		tr.mustScribe("drop", "-d", tr.conn(), "-S", slot, "--publication", map[bool]string{true: "pg_scribe", false: "another"}[slot == tr.db], "--yes")
	}
	n.change("CREATE TABLE last (id int PRIMARY KEY)", "INSERT INTO last VALUES (1); UPDATE t SET v = 'last'")
	n.undisturbed("after drop", "t")
	n.undisturbed("after drop", "last")

	decoded := n.received("test_decoding")
	for _, line := range strings.Split(decoded, "\n") {
		if strings.Contains(line, "scribe") && !strings.HasPrefix(line, "message: transactional: 1 prefix: pg_scribe") || strings.Contains(line, secret) {
			t.Errorf("test_decoding sees %.300s", line)
		}
	}
	if !strings.Contains(decoded, "table public.last: INSERT") || !strings.Contains(decoded, "prefix: pg_scribe,") {
		t.Errorf("test_decoding does not see everything: %.1000s", decoded)
	}
	if got := n.received("pgoutput", "proto_version=1", "publication_names=everything"); strings.Contains(got, "scribe") || strings.Contains(got, secret) ||
		!strings.Contains(got, "last") {
		t.Errorf("pgoutput sees %.1000q", got)
	}
}

// A physical standby streams on and can be queried and dumped, and a role that
// has no rights on the capture dumps what is its own.
func TestNeighboursThatDump(t *testing.T) {
	source := pgtest.New(t)
	standby := source.Standby(t)
	_, target := clusters(t)
	tr := beginOn(t, source, target, copied)
	tr.run(`CREATE TABLE later (v text); INSERT INTO later VALUES ('a'); UPDATE later SET v = 'b'`)
	standby.CatchUp(t, source)
	if got := standby.Query(t, tr.db, "SELECT (SELECT v FROM later), (SELECT status FROM pg_stat_wal_receiver), scribe.here()"); got != "b|streaming|t" {
		t.Errorf("the standby says %s", got)
	}
	shell(t, standby, "pg_dump "+tr.db+" | grep -c 'CREATE TABLE public.later'")
	role := tr.db + "_small"
	tr.run(`CREATE ROLE ` + role + ` LOGIN; CREATE DATABASE ` + role + ` OWNER ` + role)
	for _, table := range []string{"keyed", "keyless", "nothing", `"odd $$ 'n""ame"`, "later"} {
		tr.run("ALTER TABLE " + table + " OWNER TO " + role)
	}
	shell(t, source, "pg_dump -U "+role+" "+tr.db+" | grep -c 'CREATE TABLE public.later'")
}
