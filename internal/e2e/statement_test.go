package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A role without any privilege runs its commands as without the capture; also
// where it may not even call set_config, which leaves a mark.
func TestRoleWithoutPrivileges(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	role := tr.db + "_small"
	conn := tr.as(role, "")
	tr.run(`CREATE SCHEMA own AUTHORIZATION `+role, `REVOKE ALL ON SCHEMA public FROM PUBLIC`, `REVOKE ALL ON DATABASE `+tr.db+` FROM PUBLIC`,
		`GRANT CONNECT ON DATABASE `+tr.db+` TO `+role)
	commands := func(name string) []string {
		return []string{`CREATE TABLE own.` + name + ` (v text)`, `INSERT INTO own.` + name + ` VALUES ('a'); UPDATE own.` + name + ` SET v = 'b'`,
			`ALTER TABLE own.` + name + ` ADD COLUMN w timestamptz DEFAULT clock_timestamp(), ALTER v TYPE varchar(20)`,
			`CREATE INDEX CONCURRENTLY ON own.` + name + ` (v)`, `CREATE TABLE own.gone (id int); DROP TABLE own.gone`}
	}
	mustExec(t, conn, commands("a")...)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	tr.run(`REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC`)
	mustExec(t, conn, commands("b")...)
	tr.capture()
	if gaps := strings.Join(tr.gaps(), "\n"); !strings.Contains(gaps, "the role that runs it could not be noted") {
		t.Errorf("gaps: %s", gaps)
	}
}

// A statement_timeout that strikes while the capture sends the contents of a
// rewritten table does not fail the command, which was done.
func TestTimeoutWhileContentsAreSent(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, repeat('v', 100) FROM generate_series(1, 100000) g`)
	conn := tr.source.Conn(t, tr.db)
	rewrite := func(i int, timeout time.Duration) (time.Duration, error) {
		mustExec(t, conn, fmt.Sprintf("SET statement_timeout = %d", timeout.Milliseconds()))
		began := time.Now()
		_, err := conn.Exec(context.Background(), fmt.Sprintf("ALTER TABLE t ALTER id TYPE %s USING id + 1", []string{"int", "bigint"}[i%2]))
		return time.Since(began), err
	}
	whole, err := rewrite(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	late, cancelled := 0, 0
	for i := 0; late < 3; i++ {
		if i == 300 {
			t.Fatalf("%d commands were done after their time, %d cancelled", late, cancelled)
		}
		timeout := max(whole*time.Duration(20+i%16*5)/100, time.Millisecond) // of the time that it takes
		took, err := rewrite(i, timeout)
		var pg *pgconn.PgError
		switch {
		case err == nil && took > timeout+timeout/20+10*time.Millisecond:
			late++
		case errors.As(err, &pg) && pg.Code == "57014":
			cancelled++
		case err != nil:
			t.Fatal(err)
		default:
			whole = took // the machine is faster by now
		}
	}
	t.Logf("%d were done after their time, %d cancelled", late, cancelled)
	mustExec(t, conn, "SET statement_timeout = 0")
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// While somebody's transaction stays open that ran DDL, and so holds locks on
// what the capture reads and has written, nobody else waits for it.
func TestNobodyWaitsForAnOpenTransaction(t *testing.T) {
	for _, mode := range []string{"guarded", "no-harm"} {
		t.Run(mode, func(t *testing.T) {
			source, target := clusters(t)
			tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), mode: mode, dir: filepath.Join(t.TempDir(), "repo")}
			tr.slot = tr.db
			tr.begin(`CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY); CREATE TABLE dropped (v text)`)
			open := source.Conn(t, tr.db)
			mustExec(t, open, `BEGIN`, `CREATE TABLE held (v text)`, `ALTER TABLE t DROP CONSTRAINT t_pkey`, `DROP TABLE dropped`)
			other := source.Conn(t, tr.db)
			mustExec(t, other, `SET lock_timeout = '100ms'`, `CREATE TABLE other (v text)`, `ALTER TABLE u DROP CONSTRAINT u_pkey`, `INSERT INTO u VALUES (1);
			  UPDATE u SET id = 2`,
				`ALTER TABLE other ADD COLUMN w timestamptz DEFAULT clock_timestamp()`, `ALTER TABLE u ADD PRIMARY KEY (id)`, `CREATE INDEX CONCURRENTLY ON u (id)`,
				`DROP TABLE other`, `CREATE TABLE again (id int PRIMARY KEY)`)
			tr.capture()
			mustExec(t, open, `INSERT INTO t VALUES (1); UPDATE t SET id = 2`, `COMMIT`)
			tr.capture()
			if mode == "guarded" {
				tr.noGap()
				tr.back()
				tr.equal()
			}
		})
	}
}

// What init of a second repository has to lock, it asks for only for a moment:
// others that run DDL meanwhile do not queue behind it.
func TestSecondInitDoesNotQueueTheApplication(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	open := tr.source.Conn(t, tr.db)
	mustExec(t, open, `BEGIN`, `CREATE TABLE held (v text)`)
	done := make(chan string)
	go func() {
		out, _ := tr.program("init", "-d", tr.conn(), "-S", tr.db+"_b", "--publication", "another", "-f", filepath.Join(t.TempDir(), "repo"))
		done <- out
	}()
	waiting := 0
	for i := 0; i < 60; i++ {
		began := time.Now()
		tr.run(fmt.Sprintf("CREATE TABLE c%d (id int PRIMARY KEY)", i))
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a command took %s", took)
		}
		if tr.source.Query(t, tr.db, "SELECT count(*) FROM pg_locks WHERE relation = 'scribe.config'::regclass AND NOT granted") != "0" {
			waiting++
		}
		time.Sleep(50 * time.Millisecond)
	}
	mustExec(t, open, `COMMIT`)
	if out := <-done; !strings.Contains(out, "pg_scribe start") {
		t.Errorf("init says\n%s", out)
	}
	if waiting == 0 {
		t.Error("init never waited for a lock: the test shows nothing")
	}
	tr.mustScribe("drop", "-d", tr.conn(), "-S", tr.db+"_b", "--publication", "another", "--keep-capture", "--yes")
}
