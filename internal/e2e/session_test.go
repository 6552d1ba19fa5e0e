package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/stream"
)

// What is set for the streaming role and the database neither shapes the text
// of values nor ends sessions that only wait.
func TestSettingsOfRoleAndDatabase(t *testing.T) {
	_, target := clusters(t)
	source := pgtest.New(t)
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), slot: "settings", dir: filepath.Join(t.TempDir(), "repo"),
		connMore: " user=streamer"}
	source.Exec(t, "postgres", `CREATE ROLE streamer LOGIN SUPERUSER`)
	for _, object := range []string{"ROLE streamer", "DATABASE " + tr.db} {
		for _, set := range []string{"extra_float_digits = -10", "DateStyle = 'German, DMY'", "IntervalStyle = 'iso_8601'", "TimeZone = 'Asia/Tokyo'",
			"bytea_output = 'escape'", "search_path = odd, public", "statement_timeout = '400ms'", "idle_in_transaction_session_timeout = '200ms'",
			"idle_session_timeout = '300ms'", "lock_timeout = '300ms'", "standard_conforming_strings = off", "client_encoding = 'LATIN1'",
			"quote_all_identifiers = on", "xmloption = document", "lc_monetary = 'C.UTF-8'", "default_transaction_isolation = 'serializable'", "row_security = off"} {
			source.Exec(t, "postgres", "ALTER "+object+" SET "+set)
		}
	}
	// The application's sessions have settings of their own.
	clean := "RESET ALL; SET statement_timeout = 0; SET idle_session_timeout = 0; SET search_path = public; SET lock_timeout = 0; SET client_encoding = 'UTF8'; " +
		"SET standard_conforming_strings = on; SET xmloption = content;\n"
	tr.begin(clean + `CREATE SCHEMA odd; CREATE TABLE odd.target (i int);
	  CREATE TABLE v (id int PRIMARY KEY, f8 float8, f4 float4, d date, ts timestamptz, i interval, b bytea,
	    r regclass, m money, x xml, t text);
	  CREATE TABLE bare (f8 float8, ts timestamptz, b bytea); ALTER TABLE bare REPLICA IDENTITY FULL;
	  INSERT INTO v VALUES (0, 0.1 + 0.2::float8, 1.1754944e-38, '2026-02-01', '2026-02-01 03:04:05.678901+00', '1 year 2 days', '\x00ff5c27', 'odd.target', ` +
		`'12.34', '<a/>b', 'a\b''é')`)
	work := `INSERT INTO v SELECT g, 0.1 + 0.2::float8, 1.1754944e-38, '2026-02-01', '2026-02-01 03:04:05.678901+00', '1 year 2 days 03:04:05.6', '\x00ff5c27', ` +
		`'odd.target', '1234.56', '<a/>b', 'a\b''é'
	    FROM generate_series(1, 20) g;
	  INSERT INTO bare SELECT f8, ts, b FROM v WHERE id < 3;
	  UPDATE bare SET f8 = 2 WHERE f8 < 1; DELETE FROM bare WHERE ctid = '(0,4)'; UPDATE v SET f8 = f8 * 3, i = i * 2 WHERE id % 2 = 0;
	  CREATE TABLE made (d date DEFAULT '2026-02-01', f float8 DEFAULT 0.1, b bytea DEFAULT '\x41'); INSERT INTO made DEFAULT VALUES;
		  CREATE TABLE copied AS SELECT f8, ts, b FROM v`
	tr.run(clean + work)
	// A base whose sessions wait for longer than the timeouts.
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	must(t, err)
	slow := func(ctx context.Context, name string, args ...string) *exec.Cmd {
		cmd := tr.command(ctx, "bash", append([]string{"-c", `sleep 1; exec "$@"`, name, filepath.Join(source.BinDir, name)}, args...)...)
		cmd.Path, cmd.Err = "/bin/bash", nil
		return cmd
	}
	_, err = stream.FullBackup(context.Background(), r, stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication, Command: slow})
	must(t, err)
	must(t, r.Close())
	tr.run(clean + `INSERT INTO v VALUES (100, 0.1 + 0.2::float8, 1.1754944e-38, '2026-02-03', now(), '-1 day 1 hour', 'x', 'v', '0.01', 'c<a/>', 'after')`)
	tr.capture()
	tr.noGap()
	// Both from the first base, with all changes, and from the second.
	bases := tr.inventory().Artifacts
	for _, a := range bases {
		if a.Kind == "base" {
			tr.backFrom(a.Name)
			tr.equal()
		}
	}
}

// A transaction that is open when the capture is installed may not see it: init
// waits for it, and marks what it cannot wait for.
func TestTransactionOlderThanTheCapture(t *testing.T) {
	source, target := clusters(t)
	for name, ends := range map[string]bool{"ends": true, "stays": false} {
		t.Run(name, func(t *testing.T) {
			tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), dir: t.TempDir() + "/repo"}
			tr.slot, tr.patience = tr.db, 300*time.Millisecond
			conn := source.Conn(t, tr.db)
			exec := func(sql string) {
				t.Helper()
				if _, err := conn.Exec(t.Context(), sql); err != nil {
					t.Error(err)
				}
			}
			// What the session knows of event triggers is from before, and the
			// transaction has nothing that a slot waits for.
			exec("CREATE TABLE t (id int PRIMARY KEY)")
			exec("BEGIN")
			done := make(chan struct{})
			if ends {
				tr.patience = time.Minute
				go func() {
					defer close(done)
					time.Sleep(time.Second)
					exec("ALTER TABLE t ADD a int")
					exec("COMMIT")
				}()
			} else {
				close(done)
			}
			tr.begin()
			<-done
			if ends {
				tr.capture()
				tr.noGap()
				tr.back()
				tr.equal()
				return
			}
			exec("ALTER TABLE t ADD a int")
			exec("COMMIT")
			tr.capture()
			if !strings.Contains(tr.text(), "older than the capture") {
				t.Errorf("not marked:\n%s", tr.text())
			}
		})
	}
}
