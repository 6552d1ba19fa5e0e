package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
)

// TestBadArguments needs no server: nothing is contacted.
func TestBadArguments(t *testing.T) {
	b := newBench(t, pgtest.Shared(t))
	cases := []struct {
		args          string // separated by |
		problem, hint string
	}{
		{"start|-f|x|--foo", "unknown flag --foo", "pg_scribe help start"},
		{"--init|--start|-f|x", "two actions: init and start", "one of them"},
		{"status|--restore", "two actions: status and restore", "one of them"},
		{"-d|x|start", "the command comes first", "pg_scribe start"},
		{"frobnicate", "unknown command \"frobnicate\"", "pg_scribe help"},
		{"help|frobnicate", `unknown command "frobnicate"`, "pg_scribe help"},
		{"start|-d|x", "--file DIRECTORY is missing", "pg_scribe help start"},
		{"start|-f|x|-w|-W", "exclude each other", "pg_scribe help start"},
		{"start|-f|x|-s|soon", `"soon" is not a time span`, "pg_scribe help start"},
		{"start|-f|x|-F|-1s", "--fsync-interval", "pg_scribe help start"},
		{"start|-f|x|--segment-size|12 parsecs", `"12 parsecs" is not a size`, "pg_scribe help start"},
		{"start|-f|x|--endpos|12", "--endpos", "pg_scribe help start"},
		{"start|-f|-|-S|Bad Slot", `"Bad Slot" cannot be a replication slot's name`, "-S pg_scribe"},
		{"init|-f|x|-S|a;b\n", `"a;b\n" cannot be a replication slot's name`, "-S pg_scribe"},
		{"init|-f|x|--publication|" + strings.Repeat("p", 64), "cannot be a publication's name", "--publication"},
		{"full-backup|-f|x|-Z|rar", "rar", "pg_scribe help full-backup"},
		{"full-backup|-f|x|-Z|zstd:999", "zstd:999", "pg_scribe help full-backup"},
		{"list|-f|x|everything", "is one of", "pg_scribe help list"},
		{"list|-f|x|--output|xml", "is one of", "pg_scribe help list"},
		{"status", "neither a database nor a repository", "-d DATABASE, -f DIRECTORY"},
		{"mark|", "a mark needs a name", "pg_scribe mark"},
		{"mark", "NAME is missing", "pg_scribe help mark"},
		{"mark|x|-d|postgresql://[half", "connection settings", "postgresql://"},
		{"mark|x|-d|a='b", "connection settings", "postgresql://"},
		{"mark|x|-d|x|-p|teapot", "parameter port: it must be a number", "postgresql://"},
		{"restore|-f|x", "needs a target database", "-C -d NEW_DATABASE"},
		{"restore|-f|x|-d|y|--target-lsn|0/1|--target-xid|3", "exclude each other", "pg_scribe help restore"},
		{"restore|-f|x|-d|y|--target-lsn|0-1", `"0-1" is not an LSN`, "--target-lsn 16/B374D848"},
		{"restore|-f|x|-d|y|--target-xid|0", "is not a transaction ID", "--target-xid"},
		{"restore|-f|x|-d|y|--target-exclusive", "--target-exclusive without a target", "--target-lsn"},
		{"restore|-f|x|-d|y|--target-time|yesterday", `"yesterday" is not a time`, "--target-time '2026-11-21 02:00:00+01'"},
		{"restore|-f|x|-d|y|--target-time|2026-02-30 01:00Z", "no such moment", "--target-time"},
		{"restore|-f|x|-d|y|--target-time|2026-11-21 02:00:00", "has no time zone", "--target-time '2026-11-21 02:00:00Z' for UTC, --target-time '2026-11-21 " +
			"02:00:00"},
		{"restore|-f|x|-d|y|--target-time|2026-11-21 02:00 Mars/Olympus", "Mars/Olympus is no time zone", "Europe/Berlin"},
		{"restore|-f|x|-d|y|--globals|some", "is one of", "pg_scribe help restore"},
		{"restore|-f|x|-d|y|-j|0", "--jobs", "-j 4"},
		{"start|-f|x|--config|/nonexistent.conf", "/nonexistent.conf cannot be read", "--config FILE"},
	}
	t.Chdir(t.TempDir())
	for _, tc := range cases {
		t.Run(tc.args, func(t *testing.T) {
			b.t = t
			b.run(strings.Split(tc.args, "|")...).refused(t, exitUsage, tc.problem, tc.hint)
			if files, _ := os.ReadDir("."); len(files) > 0 {
				t.Errorf("left behind: %v", files)
			}
		})
	}
	b.t = t
	if o := b.run(); o.code != exitUsage || !strings.Contains(o.errors, "Usage: pg_scribe COMMAND") || strings.Count(o.errors, "\n") > 3 {
		t.Errorf("without arguments: %d %s", o.code, o.errors)
	}
}

// TestNoConnection: every command that connects, and every way not to get in.
func TestNoConnection(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Auth: "scram-sha-256", Password: "it's right"})
	t.Setenv("PGPASSFILE", "/nonexistent")
	db := c.CreateDB(t, "cli")
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY)")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, freePort, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	host := func(dbname, password string) []string {
		return []string{"-h", c.Host, "-p", fmt.Sprint(c.Port), "-U", "postgres", "-d", fmt.Sprintf("password='%s' dbname='%s'", password, dbname)}
	}
	faults := []struct {
		name          string
		flags         []string
		problem, hint string
	}{
		{"no server", []string{"-h", "127.0.0.1", "-p", freePort, "-d", "x"}, "connection refused", "pg_isready -h 127.0.0.1 -p " + freePort},
		{"no socket", []string{"-h", "/nonexistent", "-d", "x"}, "no such file", "pg_isready -h /nonexistent"},
		{"wrong password", host(db, "wrong"), "password authentication failed", "-W"},
		{"no password", append(host(db, ""), "-w"), "password", "-W"},
		{"no database", host("no \"such;\nbase", `it\'s right`), `no "such; base`, "psql -h"},
		{"no role", []string{"-h", c.Host, "-p", fmt.Sprint(c.Port), "-U", "who's", "-d", "password=x dbname=" + db}, `who's`, "-W"},
		{"-W without a terminal", append(host(db, ""), "-W"), "no terminal", "PGPASSWORD"},
	}
	commands := map[string][]string{
		"init":        {"-f", filepath.Join(t.TempDir(), "new")},
		"start":       {"-f", s.dir, "--no-loop"},
		"start to -":  {"-f", "-", "--no-loop"},
		"full-backup": {"-f", s.dir},
		"status":      {},
		"mark":        {"m"},
		"drop":        {"--yes"},
		"restore":     {"-f", s.dir},
	}
	before := s.state(s.db, s.dir)
	s.askWithout(t)
	for name, rest := range commands {
		for _, f := range faults {
			t.Run(name+" "+f.name, func(t *testing.T) {
				hint := f.hint
				if name == "restore" && f.name == "no database" {
					hint = "restoring with -C"
				}
				command, _, _ := strings.Cut(name, " ")
				s.t = t
				s.run(append(append([]string{command}, rest...), f.flags...)...).refused(t, exitConnection, f.problem, hint)
			})
		}
	}
	s.t = t
	if after := s.state(s.db, s.dir); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
	if _, err := os.Stat(commands["init"][1]); err == nil {
		t.Error("init left its directory")
	}
}

// askWithout makes sure that no test can wait at a terminal.
func (b *bench) askWithout(t *testing.T) {
	t.Helper()
	if tty, err := os.Open("/dev/tty"); err == nil {
		tty.Close()
		t.Skip("there is a terminal, where -W would wait for an answer")
	}
}

// TestSlots: a slot that exists, that is missing, and that is not ours.
func TestSlots(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY)")
	other := c.CreateDB(t, "cli")
	c.Query(t, other, "SELECT pg_create_logical_replication_slot('cli_other', 'test_decoding')")
	fresh := filepath.Join(t.TempDir(), "new")
	before := s.state(other, s.dir)
	s.run("init", "-d", c.ConnString(other), "-f", fresh, "-S", s.slot).
		refused(t, exitSlot, "exists already, and is of database", "-S pg_scribe_"+other)
	if c.Major < 17 {
		s.run("init", "-d", c.ConnString(other), "-f", fresh, "-S", "cli_failover", "--failover").
			refused(t, exitUsage, "failover slots need version 17", "leave out --failover")
	}
	s.run("start", "-d", s.conn, "-f", s.dir, "-S", "cli_missing").
		refused(t, exitSlot, "of slot "+s.slot, "leave out -S: pg_scribe start")
	s.run("start", "-d", s.conn, "-f", "-", "-S", "cli_missing").
		refused(t, exitSlot, `"cli_missing" does not exist`, "pg_scribe init")
	s.run("start", "-d", c.ConnString(other), "-f", "-", "-S", "cli_other").
		refused(t, exitSlot, "test_decoding", "-S")
	s.run("start", "-d", c.ConnString(other), "-f", s.dir).
		refused(t, exitUsage, "the repository is of database", "pg_scribe start -d "+s.db)
	s.run("full-backup", "-d", c.ConnString(other), "-f", s.dir).
		refused(t, exitUsage, "the repository is of database", "pg_scribe full-backup -d "+s.db)
	s.run("status", "-d", s.conn, "-S", "cli_missing").
		refused(t, exitSlot, "does not exist", "pg_scribe init")
	s.run("drop", "-d", c.ConnString(other), "-S", "cli_missing", "--yes").
		refused(t, exitSlot, "does not exist", "pg_replication_slots")
	s.run("drop", "-d", c.ConnString(other), "-S", s.slot, "--yes").
		refused(t, exitSlot, "it is of database", "-S")
	s.run("mark", "-d", c.ConnString(other), "m").
		refused(t, exitBackup, "not installed", "pg_scribe init")
	if after := s.state(other, s.dir); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("init left its directory")
	}
	// Confirmed past the repository's end by somebody else: history is lost.
	c.Exec(t, s.db, "INSERT INTO t VALUES (1)")
	c.Exec(t, s.db, fmt.Sprintf("SELECT pg_replication_slot_advance('%s', pg_current_wal_lsn())", s.slot))
	s.run("start", "-d", s.conn, "-f", s.dir).refused(t, exitSlot, "changes in between are lost", "--new-slot")
	if o := s.run("status", "-d", s.conn, "-f", s.dir); o.code != exitWarnings || !strings.Contains(o.out, "changes in between are lost") {
		t.Errorf("status: %d %s", o.code, o.out)
	}
	c.Exec(t, s.db, "SELECT pg_drop_replication_slot('"+s.slot+"')")
	s.run("start", "-d", s.conn, "-f", s.dir).refused(t, exitSlot, "does not exist", "--new-slot")
	// What the hint says helps.
	s.must("full-backup", "-d", s.conn, "-f", s.dir, "--new-slot")
	s.run("full-backup", "-d", s.conn, "-f", s.dir, "--new-slot").refused(t, exitSlot, "would break the stream", "leave out --new-slot")
	c.Exec(t, s.db, "INSERT INTO t VALUES (2)")
	s.catchUp()
	restored := "back_" + s.db
	defer c.Exec(t, "postgres", "DROP DATABASE IF EXISTS "+restored)
	s.must("restore", "-d", c.ConnString(restored), "-C", "-f", s.dir)
	if got := c.Query(t, restored, "SELECT string_agg(i::text, ' ' ORDER BY i) FROM t"); got != "1 2" {
		t.Errorf("restored: %s", got)
	}
}

// TestPreflight prints everything that is wrong at once.
func TestPreflight(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica", "max_replication_slots": "0"}})
	b := newBench(t, c)
	db := c.CreateDB(t, "cli")
	c.Exec(t, db, `CREATE TABLE "no key" (i int); CREATE UNLOGGED TABLE u (i int PRIMARY KEY)`)
	dir := filepath.Join(t.TempDir(), "new")
	before := b.state(db, dir)
	o := b.run("init", "-d", c.ConnString(db), "-f", dir)
	o.refused(t, exitUsage, "3 critical findings; nothing was changed", "--force")
	for _, want := range []string{"critical: wal_level is", "fix: ALTER SYSTEM SET wal_level", "critical: no replication slot is free",
		`critical: table public."no key"`, "warning: unlogged tables"} {
		if !strings.Contains(o.errors, want) {
			t.Errorf("not said: %q\n%s", want, o.errors)
		}
	}
	if strings.LastIndex(o.errors, "critical: ") > strings.Index(o.errors, "warning: ") {
		t.Errorf("critical findings do not come first:\n%s", o.errors)
	}
	d := decode[baseJSON2](t, b.run("init", "-d", c.ConnString(db), "-f", dir, "--output", "json"))
	if len(d.Findings) < 4 || !d.Findings[0].Critical || d.Findings[0].Fix == "" || d.Base != nil {
		t.Errorf("findings: %+v", d)
	}
	b.run("init", "-d", c.ConnString(db), "-f", dir, "--force").refused(t, exitBackup, "", "")
	if after := b.state(db, dir); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// baseJSON2 reads what baseJSON writes.
type baseJSON2 struct {
	Findings []struct {
		Critical bool   `json:"critical"`
		Fix      string `json:"fix"`
	} `json:"findings"`
	Base *struct {
		Name string `json:"name"`
	} `json:"base"`
}

// script puts a program in front of the PATH.
func (b *bench) script(name, text string) *bench {
	b.t.Helper()
	dir := b.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		b.t.Fatal(err)
	}
	path := ""
	for _, e := range b.env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			path = p
		}
	}
	return &bench{b.t, b.c, append(b.env[:len(b.env):len(b.env)], "PATH="+dir+":"+path)}
}

// TestBrokenTools: pg_dump missing, too old, failing, and killed midway.
func TestBrokenTools(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50000)")
	db := c.CreateDB(t, "cli")
	c.Exec(t, db, "CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 50000)")
	dir := filepath.Join(t.TempDir(), "new")
	real := filepath.Join(c.BinDir, "pg_dump")
	none := &bench{t, c, append(s.env[:len(s.env):len(s.env)], "PATH=/nonexistent")}
	versionOr := `case "$*" in *--version*) exec ` + real + ` --version;; esac` + "\n"
	cases := []struct {
		name    string
		b       *bench
		problem string
	}{
		{"missing", none, "not found"},
		{"too old", s.script("pg_dump", "echo 'pg_dump (PostgreSQL) 13.3'"), "of version 13, older than the server's"},
		{"nonsense", s.script("pg_dump", "echo hello"), "hello"},
		{"dies at once", s.script("pg_dump", versionOr+"echo 'pg_dump: error: no\nluck' >&2; exit 1"), "pg_dump: error: no"},
		{"killed midway", s.script("pg_dump", versionOr+real+` "$@" | head -c 100000; kill -9 $$`), "killed"},
		{"output cut off", s.script("pg_dump", versionOr+real+` "$@" | head -c 100000`), "pg_dump"},
		{"globals die", s.script("pg_dumpall", `case "$*" in *--version*) echo 'pg_dumpall (PostgreSQL) 99.1'; exit;; esac; echo 'half'; exit 1`),
			"pg_dumpall failed"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			tc.b.t = t
			beforeNew, beforeOld := s.state(db, dir), s.state(s.db, s.dir)
			o := tc.b.run("full-backup", "-d", s.conn, "-f", s.dir)
			o.refused(t, exitBackup, tc.problem, "")
			o = tc.b.run("init", "-d", c.ConnString(db), "-f", dir, "-S", "cli_tools", "--force")
			o.refused(t, exitBackup, tc.problem, "")
			if after := s.state(db, dir); after != beforeNew {
				t.Errorf("init left behind:\n%s\nbefore:\n%s", after, beforeNew)
			}
			if after := s.state(s.db, s.dir); after != beforeOld {
				t.Errorf("full-backup left behind:\n%s\nbefore:\n%s", after, beforeOld)
			}
		})
	}
	s.must("full-backup", "-d", s.conn, "-f", s.dir)
}

// TestInterrupted: Ctrl-C in the middle of a dump undoes all.
func TestInterrupted(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY)")
	db := c.CreateDB(t, "cli")
	c.Exec(t, db, "CREATE TABLE t (i int)")
	dir, flag := filepath.Join(t.TempDir(), "new"), filepath.Join(t.TempDir(), "flag")
	slow := s.script("pg_dump", `case "$*" in *--version*) exec `+filepath.Join(c.BinDir, "pg_dump")+` --version;; esac; echo x > `+flag+`; exec sleep 60`)
	for name, args := range map[string][]string{
		"init":        {"init", "-d", c.ConnString(db), "-f", dir, "-S", "cli_int", "--force"},
		"full-backup": {"full-backup", "-d", s.conn, "-f", s.dir},
	} {
		os.Remove(flag)
		beforeNew, beforeOld := s.state(db, dir), s.state(s.db, s.dir)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan outcome, 1)
		go func() { done <- slow.runContext(ctx, args...) }()
		waitFor(t, "the dump", func() bool { _, err := os.Stat(flag); return err == nil })
		cancel()
		select {
		case o := <-done:
			o.refused(t, exitGeneral, "interrupted", "")
		case <-time.After(5 * time.Minute):
			t.Fatal(name + " does not stop")
		}
		if s.state(db, dir) != beforeNew || s.state(s.db, s.dir) != beforeOld {
			t.Errorf("%s left behind:\n%s\n%s", name, s.state(db, dir), s.state(s.db, s.dir))
		}
	}
}
