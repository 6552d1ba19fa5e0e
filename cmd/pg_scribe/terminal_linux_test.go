package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pg_scribe/internal/pgtest"
)

// atTerminal runs the program in a process whose terminal is a new one, types
// each answer when its question appears, and returns the exit code and all
// that the terminal showed.
func (b *bench) atTerminal(args []string, dialogue ...string) (int, string) {
	b.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		b.t.Skip(err)
	}
	defer master.Close()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(b.env, reexecVariable+"=terminal")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	tty.Close()
	var screen safeBuffer
	copied := make(chan struct{})
	go func() {
		io.Copy(&screen, master) // ends with an error when the program does
		close(copied)
	}()
	seen := 0
	for i := 0; i+1 < len(dialogue); i += 2 {
		waitFor(b.t, dialogue[i], func() bool { return strings.Contains(screen.String()[seen:], dialogue[i]) })
		seen = len(screen.String())
		fmt.Fprintln(master, dialogue[i+1])
	}
	cmd.Wait()
	<-copied
	return cmd.ProcessState.ExitCode(), screen.String()
}

// TestTerminal: passwords and confirmations.
func TestTerminal(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Auth: "scram-sha-256", Password: "it's right"})
	b := newBench(t, c)
	b.env = append(b.env, "PGPASSWORD=", "PGPASSFILE=/nonexistent")
	db := c.CreateDB(t, "cli")
	c.Exec(t, db, "CREATE TABLE t (i int PRIMARY KEY)")
	conn := []string{"-h", c.Host, "-p", portOf(c), "-U", "postgres", "-d", db}
	on := func(args ...string) []string { return append(args, conn...) }
	dir := filepath.Join(t.TempDir(), "repo")
	check := func(what string, code, want int, screen string, words ...string) {
		t.Helper()
		for _, w := range words {
			if code != want || !strings.Contains(screen, w) {
				t.Errorf("%s: exit code %d, want %d with %q:\n%s", what, code, want, w, screen)
			}
		}
		if strings.Contains(screen, "it's right") {
			t.Errorf("%s: the password is shown:\n%s", what, screen)
		}
	}
	const ask = "Password for user postgres: "
	code, screen := b.atTerminal(on("init", "-f", dir), ask, "it's right")
	check("init", code, exitOK, screen, "is ready")
	code, screen = b.atTerminal(on("mark", "m", "-W"), "Password: ", "it's right")
	check("-W", code, exitOK, screen, "Marked")
	code, screen = b.atTerminal(on("mark", "m"), ask, "wrong")
	check("wrong", code, exitConnection, screen, "password authentication failed")
	if strings.Count(screen, ask) != 1 {
		t.Errorf("asked more than once:\n%s", screen)
	}
	code, screen = b.atTerminal(on("mark", "m"), ask, "\x03")
	check("Ctrl-C", code, exitConnection, screen, "no password was given")
	code, screen = b.atTerminal(on("mark", "m", "-w"))
	check("-w", code, exitConnection, screen, "hint: ")
	b.env = append(b.env, "PGPASSWORD=it's right")
	code, screen = b.atTerminal(on("drop"), "[y/N] ", "n")
	check("no", code, exitUsage, screen, "not confirmed", "replication slot pg_scribe, publication")
	code, screen = b.atTerminal(on("drop"), "[y/N] ", "y")
	check("yes", code, exitOK, screen, "No files were touched")
	code, screen = b.atTerminal([]string{"list", "-f", "/nonexistent"})
	check("colour", code, exitUsage, screen, "pg_scribe: error: ")
	b.env = append(b.env, "PG_COLOR=auto")
	code, screen = b.atTerminal([]string{"list", "-f", "/nonexistent"})
	check("colour", code, exitUsage, screen, "\x1b[01;31merror: \x1b[0m")
}

// TestEnvironment: libpq's variables, service file and password file.
func TestEnvironment(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Auth: "scram-sha-256", Password: "pw"})
	b := newBench(t, c)
	db := c.CreateDB(t, "cli")
	c.Exec(t, db, "CREATE TABLE t (i int PRIMARY KEY)")
	c.Query(t, db, "SELECT pg_create_logical_replication_slot('pg_scribe', 'pgoutput')")
	pass, services := filepath.Join(c.Dir, "pgpass"), filepath.Join(c.Dir, "services")
	for path, text := range map[string]string{
		pass:     "*:*:*:postgres:pw\n",
		services: fmt.Sprintf("[mine]\nhost=%s\nport=%d\nuser=postgres\ndbname=%s\n", c.Host, c.Port, db),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own := &bench{t, c, append(b.env, "PGPASSWORD=", "PGPASSFILE="+pass, "PGDATABASE="+db)}
	if o := own.asUser(nil, "", "drop", "--yes"); o.code != exitOK || !strings.Contains(o.out, "replication slot pg_scribe") {
		t.Errorf("by environment: %d %s%s", o.code, o.out, o.errors)
	}
	bare := &bench{t, c, append(b.env, "PGHOST=", "PGPORT=", "PGUSER=", "PGPASSWORD=", "PGPASSFILE="+pass, "PGSERVICEFILE="+services)}
	o := bare.asUser(nil, "", "status", "-d", "service=mine")
	o.refused(t, exitSlot, `"pg_scribe" does not exist`, "pg_scribe init")
	o = bare.asUser(nil, "", "init", "-d", "service=mine", "-f", filepath.Join(t.TempDir(), "repo"))
	if o.code != exitOK {
		t.Errorf("by service: %d %s%s", o.code, o.out, o.errors)
	}
}
