package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pg_scribe/internal/pgtest"
)

// TestDirectories: not empty, a repository already, none, a file.
func TestDirectories(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY)")
	db := c.CreateDB(t, "cli")
	full := filepath.Join(t.TempDir(), "it's; full\n")
	if err := os.MkdirAll(full, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(full, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.MkdirAll(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "catalog.db"), []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := s.state(db, filepath.Dir(full))
	conn := c.ConnString(db)
	init := func(dir string) outcome { return s.run("init", "-d", conn, "-f", dir, "-S", "cli_dir") }
	init(full).refused(t, exitUsage, "it's; full  is not empty", "empty directory")
	init(s.dir).refused(t, exitUsage, "already a repository", "pg_scribe start")
	init(file).refused(t, exitUsage, "not a directory", "-f")
	init(filepath.Join(file, "below")).refused(t, exitUsage, "not a directory", "-f")
	for _, command := range [][]string{{"start", "-d", conn}, {"full-backup", "-d", conn}, {"status"}, {"list"}, {"restore", "-d", "x"}, {"drop", "-d", conn,
		"--yes"}} {
		on := func(dir string) outcome { return s.run(append(command[:len(command):len(command)], "-f", dir)...) }
		hint := "pg_scribe init"
		if command[0] == "restore" { // nobody who wants to restore begins a repository
			hint = "name the repository's directory with -f: ls -la"
		}
		on(full).refused(t, exitUsage, "is not a repository", hint)
		on(filepath.Join(full, "absent")).refused(t, exitUsage, "is not a repository", hint)
		on(broken).refused(t, exitUsage, "cannot be read", "ls -la "+broken)
	}
	if after := s.state(db, filepath.Dir(full)); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// asUser runs the program in a process of its own, as somebody who is not
// root or under a limit that a shell sets.
func (b *bench) asUser(credential *syscall.Credential, limit string, args ...string) outcome {
	b.t.Helper()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	// The test binary lies where only this user may go.
	copied := filepath.Join(b.c.Dir, fmt.Sprintf("cli-%d", os.Getpid()))
	if _, err := os.Stat(copied); err != nil {
		binary, err := os.ReadFile(self)
		if err == nil {
			err = os.WriteFile(copied, binary, 0o755)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", limit + ` exec "$0" "$@"`, copied}, args...)...)
	cmd.Env = append(b.env, reexecVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return outcome{args, cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// TestNotWritable: a directory that belongs to somebody else.
func TestNotWritable(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY)")
	db := c.CreateDB(t, "cli")
	var nobody *syscall.Credential
	if os.Geteuid() == 0 {
		nobody = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	base, err := os.MkdirTemp(c.Dir, "closed")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	closed := filepath.Join(base, "closed")
	if err := errors.Join(os.Chmod(base, 0o755), os.Mkdir(closed, 0o555), os.Rename(s.dir, filepath.Join(closed, "repo"))); err != nil {
		// Another file system: the repository is copied.
		if out, cerr := exec.Command("cp", "-a", s.dir, filepath.Join(closed, "repo")).CombinedOutput(); cerr != nil {
			t.Fatal(err, string(out))
		}
	}
	before := s.state(db, base)
	s.asUser(nobody, "", "init", "-d", c.ConnString(db), "-f", filepath.Join(closed, "new"), "-S", "cli_closed").
		refused(t, exitBackup, "permission denied", "ls -ld "+closed)
	s.asUser(nobody, "", "start", "-d", s.conn, "-f", filepath.Join(closed, "repo")).refused(t, exitBackup, "permission denied", "ls -ld")
	s.asUser(nobody, "", "full-backup", "-d", s.conn, "-f", filepath.Join(closed, "repo")).refused(t, exitBackup, "permission denied", "ls -ld")
	if after := s.state(db, base); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// TestFullDisk: a small file system of our own, else a limit on the size of
// files.
func TestFullDisk(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY, v text); INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 200000) g")
	disk := t.TempDir()
	program := s.run
	problem, hint := "no space left", "df -h"
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=3m"); err == nil {
		defer syscall.Unmount(disk, 0)
	} else {
		problem, hint = "file too large", "ulimit -f"
		program = func(args ...string) outcome { return s.asUser(nil, "ulimit -f 4096;", args...) }
	}
	dir := filepath.Join(disk, "repo")
	before := s.state(s.db, disk)
	program("init", "-d", s.conn, "-f", dir, "-S", "cli_full").refused(t, exitBackup, problem, hint)
	if after := s.state(s.db, disk); after != before {
		t.Errorf("init left behind:\n%s\nbefore:\n%s", after, before)
	}

	// A repository that fits, until more comes.
	small := c.CreateDB(t, "cli")
	c.Exec(t, small, "CREATE TABLE t (i int PRIMARY KEY, v text)")
	s.must("init", "-d", c.ConnString(small), "-f", dir, "-S", "cli_small")
	c.Exec(t, small, "INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 200000) g")
	end := c.Query(t, small, "SELECT pg_current_wal_flush_lsn()")
	before = s.state(small, disk)
	program("full-backup", "-d", c.ConnString(small), "-f", dir).refused(t, exitBackup, problem, hint)
	if after := s.state(small, disk); after != before {
		t.Errorf("full-backup left behind:\n%s\nbefore:\n%s", after, before)
	}
	program("start", "-d", c.ConnString(small), "-f", dir, "--endpos", end, "-s", "0.2").refused(t, exitBackup, problem, hint)
	// The server keeps what could not be stored: with room, it goes on.
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=60m"); err == nil || strings.Contains(hint, "ulimit") {
		s.must("start", "-d", c.ConnString(small), "-f", dir, "--endpos", end, "-s", "0.2")
		s.must("restore", "-f", dir, "-C", "-d", c.ConnString(small+"_r"))
		if got := c.Query(t, small+"_r", "SELECT count(*) FROM t"); got != "200000" {
			t.Errorf("%s rows after the disk was full", got)
		}
		c.Exec(t, "postgres", "DROP DATABASE "+small+"_r")
	}
}
