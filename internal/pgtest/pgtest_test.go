package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// orphanEnv makes the test binary start a cluster, print where it is and wait to be killed.
const orphanEnv = "PGTEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphanEnv) != "" {
		c, err := Start(Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(c.Dir, c.PID())
		select {}
	}
	Main(m)
}

func TestStopLeavesNothing(t *testing.T) {
	c, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	pid := c.PID()
	for range 2 { // the second does nothing
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(c.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder %s: %v", c.Dir, err)
	}
	if alive(pid) {
		t.Errorf("process %d is still there", pid)
	}
	if err := c.StartAgain(); err == nil {
		t.Error("StartAgain after Stop: no error")
	}
}

func TestKilledProcessLeavesNothing(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orphanEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err := errors.Join(err, cmd.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	var dir string
	var pid int
	if _, err := fmt.Sscan(line, &dir, &pid); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) && !alive(pid) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("folder %s: %v; process %d alive: %v", dir, err, pid, alive(pid))
		}
	}
}

// alive says whether a process exists and is more than a zombie that nobody has waited for yet.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(string(out), "Z")
}

func TestServerFailsToStart(t *testing.T) {
	_, err := Start(Options{Template: true, Settings: map[string]string{"wal_level": "no\\such'level"}})
	if err == nil || !strings.Contains(err.Error(), "wal_level") || !strings.Contains(err.Error(), "server log") {
		t.Errorf("the error does not show the log: %v", err)
	}
	if _, err := Start(Options{Version: "1"}); err == nil || !strings.Contains(err.Error(), "no PostgreSQL 1 server") {
		t.Errorf("version 1: %v", err)
	}
	t.Setenv("PG_SCRIBE_TEST_BIN", t.TempDir())
	if _, err := Start(Options{}); err == nil || !strings.Contains(err.Error(), "PG_SCRIBE_TEST_BIN") {
		t.Errorf("folder without a server: %v", err)
	}
}

func TestFindBinDir(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PG_SCRIBE_TEST_BIN", dir)
	if got, err := findBinDir(""); got != dir || err != nil {
		t.Errorf("named by environment: %q, %v", got, err)
	}
	t.Setenv("PG_SCRIBE_TEST_BIN", "")
	t.Setenv("PATH", "") // no pg_config
	if got, err := findBinDir(""); err == nil && got != newestBinDir() {
		t.Errorf("without pg_config: %q, %v", got, err)
	}
}

func TestCrashAndRestart(t *testing.T) {
	t.Parallel()
	c := New(t, Options{Template: true, Settings: map[string]string{"application_name": `it's a \ name`, "work_mem": "5MB"}})
	db := c.CreateDB(t, "crash")
	c.Exec(t, db, "CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
	if err := c.StartAgain(); err == nil {
		t.Error("StartAgain of a running server: no error")
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.query(t.Context(), db, "SELECT 1"); err == nil {
		t.Error("the server answers after Kill")
	}
	if err := c.StartAgain(); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"fast", "immediate", "smart"} {
		if err := c.Restart(mode); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
	}
	if err := c.Restart("slow"); err == nil {
		t.Error("unknown mode: no error")
	}
	if got, want := c.Query(t, db, "SELECT i FROM t; SHOW work_mem; SHOW wal_level"), "1\n5MB\nlogical"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.Query(t, db, "SELECT setting FROM pg_file_settings WHERE name = 'application_name'"); got != `it's a \ name` {
		t.Errorf("setting: %q", got)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	c := New(t, Options{Auth: "scram-sha-256", Password: `it's a \ "secret"`})
	if got := c.Query(t, "postgres", "SHOW password_encryption"); got != "scram-sha-256" {
		t.Errorf("got %q", got)
	}
	psql := c.Command("psql", "-XAtc", "SELECT current_user", "postgres")
	if out, err := psql.CombinedOutput(); err != nil || string(out) != "postgres\n" {
		t.Errorf("psql: %v\n%s", err, out)
	}
	without := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres password=wrong", c.Port)
	if _, err := Snapshot(t.Context(), without, ""); err == nil {
		t.Error("a wrong password is accepted")
	}
}

func TestSharedIsOne(t *testing.T) {
	t.Parallel()
	c := Shared(t)
	if c != Shared(t) {
		t.Error("two shared clusters")
	}
	version := c.Query(t, "postgres", "SELECT current_setting('server_version_num')::int / 10000")
	if strconv.Itoa(c.Major) != version {
		t.Errorf("Major is %d, the server says %s", c.Major, version)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	c := Shared(t)
	db := c.CreateDB(t, `Odd "name's; \ = `)
	got := c.Query(t, db, "SELECT 1, NULL, true UNION ALL SELECT 2, 'x', false; SELECT current_database()")
	if want := "1||t\n2|x|f\n" + db; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := c.Conn(t, db).Ping(t.Context()); err != nil {
		t.Error(err)
	}
	psql := c.Command("psql", "-XAt", "-d", c.ConnString(db), "-c", "SELECT current_database()")
	if out, err := psql.CombinedOutput(); err != nil || string(out) != db+"\n" {
		t.Errorf("psql: %v\n%s", err, out)
	}
}

func TestDatabaseIsDropped(t *testing.T) {
	t.Parallel()
	c := New(t, Options{Template: true})
	var db string
	var streamer *exec.Cmd
	t.Run("held in every way", func(t *testing.T) {
		db = c.CreateDB(t, "held")
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, c.ConnString(db)) // still open when the database is dropped
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		c.Exec(t, db, "SELECT pg_create_logical_replication_slot('idle', 'pgoutput')")
		c.Exec(t, db, "SELECT pg_create_logical_replication_slot('busy', 'pgoutput')")
		c.Exec(t, db, "CREATE TABLE t (i int); CREATE PUBLICATION p")
		c.Exec(t, db, "CREATE SUBSCRIPTION s CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)")
		c.Exec(t, db, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'pending'")
		streamer = c.Command("pg_recvlogical", "-d", db, "-S", "busy", "--start", "-f", os.DevNull, "--no-loop",
			"-o", "proto_version=1", "-o", "publication_names=p")
		if err := streamer.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool {
			return c.Query(t, db, "SELECT active FROM pg_replication_slots WHERE slot_name = 'busy'") == "t"
		})
	})
	_ = streamer.Wait() // the server ended its connection
	if got := c.Query(t, "postgres", "SELECT count(*) FROM pg_database WHERE datname = "+quoteLiteral(db)); got != "0" {
		t.Error("the database is still there")
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 30 s")
		}
	}
}
