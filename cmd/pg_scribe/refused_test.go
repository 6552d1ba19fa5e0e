package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/pgtest"
	"pg_scribe/stream/source"
)

// A role that the server does not let in, whatever its password, is not asked
// for one.
func TestRefusedRoles(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	b := newBench(t, c)
	c.Exec(t, "postgres", `CREATE ROLE "no login" NOLOGIN; CREATE ROLE stranger LOGIN`)
	path := c.Query(t, "postgres", "SHOW hba_file")
	hba, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append([]byte("local all stranger reject\nhost all stranger all reject\n"), hba...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Exec(t, "postgres", "SELECT pg_reload_conf()")
	dir := filepath.Join(t.TempDir(), "new")
	initAs := func(role string) outcome {
		return b.run("init", "-d", "postgres", "-h", c.Host, "-p", fmt.Sprint(c.Port), "-U", role, "-f", dir)
	}
	initAs("no login").refused(t, exitConnection, "is not permitted to log in", `ALTER ROLE "no login" LOGIN; or connect as another role with -U`)
	initAs("nobody's").refused(t, exitConnection, "does not exist", "createuser -h "+c.Host)
	waitFor(t, "the new pg_hba.conf", func() bool { return strings.Contains(initAs("stranger").errors, "pg_hba.conf") })
	initAs("stranger").refused(t, exitConnection, "pg_hba.conf", "add a line for it to the server's pg_hba.conf")
	if _, err := os.Stat(dir); err == nil {
		t.Error("init left its directory")
	}
	// A server that speaks another language.
	foreign := &source.ConnectError{Fault: source.FaultPassword, User: "who", Err: &pgconn.PgError{Code: "28000",
		Message: "Rolle »who« hat keine Berechtigung zum Einloggen", Routine: "InitializeSessionUserId"}}
	if _, hint := remedyFor(foreign, false, hintContext{}); !strings.Contains(hint, `ALTER ROLE "who" LOGIN`) || strings.Contains(hint, "-W") {
		t.Errorf("the hint is %s", hint)
	}
}
