package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pg_scribe/internal/pgtest"
)

// copied is a database with a keyless table, one without any identity, and one
// that has a key.
const copied = `CREATE TABLE keyed (id int PRIMARY KEY, v text); INSERT INTO keyed VALUES (1, 'a'); CREATE TABLE keyless (v text);
	CREATE TABLE nothing (v text); ALTER TABLE nothing REPLICA IDENTITY NOTHING; CREATE TABLE "odd $$ 'n""ame" (v text)`

// aCopy is a database that was made from a captured one.
type aCopy struct {
	t      *testing.T
	server *pgtest.Cluster
	db     string
	tr     *trip // of the original
}

func (c aCopy) conn() string { return c.server.ConnString(c.db) }

// works runs commands of which the guard of replica identities, the capture
// and its publication could each make one fail.
func (c aCopy) works() {
	c.t.Helper()
	c.server.Exec(c.t, c.db, `CREATE TABLE later (v text); INSERT INTO later VALUES ('a'); UPDATE later SET v = 'b'`)
	c.server.Exec(c.t, c.db, `ALTER TABLE keyed DROP CONSTRAINT keyed_pkey; UPDATE keyed SET v = 'b'; ALTER TABLE keyed ADD PRIMARY KEY (id)`)
	c.server.Exec(c.t, c.db, `DO $$BEGIN CREATE INDEX ON keyed (v); ALTER TABLE keyed ALTER v TYPE varchar(9); DROP TABLE later; END$$`)
	c.server.Exec(c.t, c.db, `CREATE INDEX CONCURRENTLY by_v ON keyed (v)`)
	c.server.Exec(c.t, c.db, `BEGIN; DROP PUBLICATION pg_scribe; ROLLBACK; ALTER PUBLICATION pg_scribe SET (publish = 'insert');
	  REFRESH MATERIALIZED VIEW scribe.config`)
}

// messages are those of the capture that a function makes the server write.
func messages(t *testing.T, server *pgtest.Cluster, do func()) string {
	t.Helper()
	from := server.Query(t, "postgres", "SELECT pg_current_wal_insert_lsn()")
	do()
	to := server.Query(t, "postgres", "SELECT pg_switch_wal()") // flushes it
	var list []string
	timeline := server.Query(t, "postgres", "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int")
	out, err := exec.Command(filepath.Join(server.BinDir, "pg_waldump"), "-p", filepath.Join(server.DataDir, "pg_wal"), "-t", timeline,
		"-r", "LogicalMessage", "-s", from, "-e", to).CombinedOutput()
	if err != nil {
		t.Fatalf("pg_waldump: %v\n%s", err, out)
	}
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "pg_scribe") {
			list = append(list, fmt.Sprintf("%.200s", line))
		}
	}
	return strings.Join(list, "\n")
}

// silent makes sure that the copy works and captures nothing.
func (c aCopy) silent() {
	c.t.Helper()
	if got := messages(c.t, c.server, c.works); got != "" {
		c.t.Errorf("captured in a copy:\n%s", got)
	}
}

// identities are those that differ from the default.
func (c aCopy) identities() string {
	return c.server.Query(c.t, c.db, `SELECT string_agg(relname || ' ' || relreplident::text, ', ' ORDER BY relname) FROM pg_class
	  WHERE relkind = 'r' AND relreplident <> 'd' AND oid >= 16384 AND relnamespace = 'public'::regnamespace`)
}

// cleaned removes what came along. The original's slot stays.
func (c aCopy) cleaned() {
	c.t.Helper()
	c.tr.mustScribe("drop", "-d", c.conn(), "-S", c.tr.slot, "--yes")
	if got := c.server.Query(c.t, c.db, `SELECT (SELECT count(*) FROM pg_event_trigger), (SELECT count(*) FROM pg_publication), `+
		`to_regnamespace('scribe') IS NULL`); got != "0|0|t" {
		c.t.Errorf("event triggers, publications, no schema: %s", got)
	}
	if got := c.identities(); got != "nothing n" {
		c.t.Errorf("replica identities are %q", got)
	}
	if got := c.tr.source.Query(c.t, c.tr.db, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+c.tr.slot+"'"); got != "1" {
		c.t.Error("the slot of the original is gone")
	}
}

// usable begins a repository of the copy itself, and ends it.
func (c aCopy) usable(cameAlong bool) {
	c.t.Helper()
	slot := c.db + "_own"
	out := c.tr.mustScribe("init", "-d", c.conn(), "-S", slot, "-f", filepath.Join(c.t.TempDir(), "repo"), "--force")
	if strings.Contains(out, "removing the capture that came along") != cameAlong {
		c.t.Errorf("init says\n%s", out)
	}
	if got := messages(c.t, c.server, func() { c.server.Exec(c.t, c.db, "CREATE TABLE of_its_own (v text)") }); got == "" {
		c.t.Error("nothing was captured after init")
	}
	c.tr.mustScribe("drop", "-d", c.conn(), "-S", slot, "--yes")
	if got := c.identities(); got != "nothing n" {
		c.t.Errorf("replica identities are %q", got)
	}
}

// toldApart makes sure that every command says what the database is.
func (c aCopy) toldApart() {
	c.t.Helper()
	for _, args := range [][]string{{"status", "-S", c.tr.slot}, {"mark", "x"}, {"start", "-f", "-", "-S", c.tr.slot}} {
		out, code := c.tr.program(append(args, "-d", c.conn())...)
		if code == 0 || code == 1 || !strings.Contains(out, "is a copy of a captured database") || !strings.Contains(out, "pg_scribe drop") {
			c.t.Errorf("%s: exit code %d\n%s", args[0], code, out)
		}
	}
	// With the original's repository, whose that is comes first.
	if out, code := c.tr.program("full-backup", "-f", c.tr.dir, "-d", c.conn()); code != 5 || !strings.Contains(out, "the repository is of database") {
		c.t.Errorf("full-backup into the original's repository: exit code %d\n%s", code, out)
	}
}

func secretOf(tr *trip) string {
	return tr.source.Query(tr.t, tr.db, "SELECT value FROM scribe.config WHERE key = 'secret'")
}

// shell runs a pipe of PostgreSQL's tools.
func shell(t *testing.T, c *pgtest.Cluster, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", "set -e -o pipefail; "+script)
	cmd.Env = c.Env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// A copy that pg_dump made, in each of its formats, has no secret and is silent.
func TestCopyByDump(t *testing.T) {
	for _, mode := range []string{"guarded", "no-harm"} {
		for format, script := range map[string]string{
			"plain":  `pg_dump %s > $D/dump; psql -X -q -v ON_ERROR_STOP=1 -d "$T" -f $D/dump`,
			"custom": `pg_dump -Fc %s > $D/custom; pg_restore -f $D/dump $D/custom; pg_restore --exit-on-error -d "$T" $D/custom`,
		} {
			t.Run(mode+" "+format, func(t *testing.T) {
				source, target := clusters(t)
				tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), mode: mode, dir: filepath.Join(t.TempDir(), "repo")}
				tr.slot = tr.db
				tr.begin(copied)
				tr.run(`ALTER TABLE keyless RENAME TO keyless_now`)
				tr.capture() // which notes the name
				if mode == "no-harm" {
					tr.run(`ALTER TABLE keyed DROP CONSTRAINT keyed_pkey; ALTER TABLE keyed ADD PRIMARY KEY (id)`)
				}
				c := aCopy{t, target, target.CreateDB(t, "copy"), tr}
				dir := t.TempDir()
				shell(t, source, fmt.Sprintf(`D=%s T=%s; `+script, dir, "'"+strings.ReplaceAll(c.conn(), "'", `'\''`)+"'", tr.db))
				shell(t, source, fmt.Sprintf(`pg_dumpall > %s/all`, dir))
				secret := secretOf(tr)
				for _, name := range []string{"dump", "all"} {
					text, err := os.ReadFile(filepath.Join(dir, name))
					must(t, err)
					if len(secret) != 64 || strings.Contains(string(text), secret) || !strings.Contains(string(text), "MATERIALIZED VIEW scribe.config") {
						t.Errorf("%s: the secret is in it, or the capture is not (%d)", name, len(secret))
					}
				}
				c.toldApart()
				c.silent()
				c.server.Query(t, c.db, "SELECT pg_create_logical_replication_slot('"+c.db+"_td', 'test_decoding')")
				c.server.Exec(t, c.db, "CREATE TABLE decoded (v text)")
				if got := c.server.Query(t, c.db, "SELECT data FROM pg_logical_slot_get_changes('"+c.db+"_td', NULL, NULL) WHERE data LIKE '%pg_scribe%'"); got != "" {
					t.Errorf("captured beside another slot: %s", got)
				}
				if format == "plain" {
					c.cleaned()
				}
				c.usable(format != "plain")
			})
		}
	}
}

// A database that was made from a captured one as its template has the secret.
func TestCopyByTemplate(t *testing.T) {
	for _, mode := range []string{"guarded", "no-harm"} {
		t.Run(mode, func(t *testing.T) {
			source, target := clusters(t)
			one := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), mode: mode, dir: filepath.Join(t.TempDir(), "repo")}
			one.slot = one.db
			one.begin(copied)
			for _, first := range []bool{true, false} {
				c := aCopy{t, source, source.CreateDB(t, "copy"), one}
				source.Exec(t, "postgres", "DROP DATABASE "+c.db)
				source.Exec(t, "postgres", "CREATE DATABASE "+c.db+" TEMPLATE "+one.db)
				c.toldApart()
				c.silent()
				if first {
					c.cleaned()
				}
				c.usable(!first)
			}
			one.run(`CREATE TABLE goes_on (v text); INSERT INTO goes_on VALUES ('a')`)
			one.capture()
			one.noGap()
			one.back()
			one.equal()
		})
	}
}

// Of a copy of the server's files, one that pg_basebackup made has no slot and
// is silent. One that has the slot along cannot be told apart, and can be cleaned.
func TestCopyOfTheFiles(t *testing.T) {
	_, target := clusters(t)
	source := pgtest.New(t)
	tr := beginOn(t, source, target, copied)
	for _, first := range []bool{true, false} {
		c := aCopy{t, source.Snapshot(t), tr.db, tr}
		c.silent()
		if first {
			c.cleaned()
		}
		c.usable(false)
	}
	must(t, source.Kill())
	c := aCopy{t, source.Snapshot(t), tr.db, tr}
	must(t, source.StartAgain())
	if got := messages(t, c.server, func() { c.server.Exec(t, c.db, "CREATE TABLE one_more (v text)") }); got == "" {
		t.Error("a copy with its slot was told apart: docs/LIMITS.md says it cannot be")
	}
	c.cleaned()
	if got := c.server.Query(t, c.db, "SELECT count(*) FROM pg_replication_slots"); got != "0" {
		t.Errorf("%s slots are left in the copy", got)
	}
	c.usable(false)
}
