package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
)

// ownedBy fails for everything in the directories that is not the user's, or
// that others may read.
func ownedBy(t *testing.T, what string, uid int, dirs ...string) {
	t.Helper()
	seen := 0
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			seen++
			if got := info.Sys().(*syscall.Stat_t).Uid; int(got) != uid || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %s is of user %d and mode %o, want user %d", what, path, got, info.Mode().Perm(), uid)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if seen < 3*len(dirs) {
		t.Errorf("%s: only %d files were seen in %q", what, seen, dirs)
	}
}

// Whatever root does in somebody else's repository, spool directory and storage
// belongs to their owner, who can go on with it. Without root the files are
// simply those of this user.
func TestFilesBelongToTheOwner(t *testing.T) {
	c := pgtest.Shared(t)
	b := newBench(t, c)
	uid := os.Geteuid()
	var user *syscall.Credential
	if uid == 0 {
		uid = 65533
		user = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	place, err := os.MkdirTemp(c.Dir, "owned")
	if err != nil {
		t.Fatal(err)
	}
	sub := func(name string) string {
		path := filepath.Join(place, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if user != nil {
			if err := os.Chown(path, uid, uid); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	if err := os.Chmod(place, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, spools, target, late, rebuilt := sub("repo"), sub("spools"), sub("storage"), sub("late"), sub("rebuilt")
	db, slot := c.CreateDB(t, "cli"), fmt.Sprintf("cli_%d", time.Now().UnixNano())
	c.Exec(t, db, "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)")
	conn := c.ConnString(db)
	var dirs []string
	must := func(args ...string) {
		t.Helper()
		b.must(args...)
		ownedBy(t, "after "+strings.Join(args, " "), uid, dirs...)
	}
	dirs = []string{dir, spools, target}
	must("init", "-d", conn, "-f", dir, "-S", slot, "--spool-dir", spools, "--storage", target)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan outcome, 1)
	go func() { done <- b.runContext(ctx, "start", "-d", conn, "-f", dir, "-s", "0.2", "-F", "50ms") }()
	waitFor(t, "an open segment", func() bool {
		open, err := filepath.Glob(filepath.Join(spools, "*", "*.open"))
		return err == nil && len(open) == 1
	})
	c.Exec(t, db, "INSERT INTO t VALUES (0)")
	ownedBy(t, "while start runs", uid, dirs...)
	must("full-backup", "-d", conn, "-f", dir)
	must("full-backup", "-d", conn, "-f", dir, "--jobs", "2", "-Z", "gzip")
	stop()
	if o := <-done; o.code != exitOK {
		t.Fatalf("start: %+v", o)
	}
	ownedBy(t, "after start", uid, dirs...)
	dirs = append(dirs, late)
	must("copy", "-f", dir, "--storage", late)
	must("verify", "-f", dir)
	must("keep", decode[listJSONRead](t, b.must("list", "-f", dir, "--output", "json")).Bases[0].Name, "-f", dir)
	must("reencrypt", "-f", dir, "-Z", "lz4")
	must("catalog", "rebuild", "--force", "-f", dir)
	must("expire", "-f", dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm")
	dirs = append(dirs, rebuilt)
	must("catalog", "rebuild", "-f", rebuilt, "--storage", late)

	as := &bench{t, c, append(b.env, "TMPDIR="+sub("tmp"))}
	for _, args := range [][]string{
		{"verify", "-f", dir},
		{"start", "-d", conn, "-f", dir, "--no-loop", "-s", "0.2", "--endpos", c.Query(t, db, "SELECT pg_current_wal_flush_lsn()")},
		{"full-backup", "-d", conn, "-f", dir},
		{"list", "-f", dir},
		{"status", "-f", dir},
		{"restore", "-f", dir, "-C", "-d", c.ConnString(db + "_r")},
		{"status", "-f", late},
		{"verify", "-f", rebuilt},
	} {
		if o := as.asUser(user, "", args...); o.code != exitOK {
			t.Errorf("the owner's %q ends with %d\n%s%s", args, o.code, o.out, o.errors)
		}
	}
	if n := c.Query(t, db+"_r", "SELECT count(*) FROM t"); n != "1001" {
		t.Errorf("%s rows were restored", n)
	}
	c.Exec(t, "postgres", "DROP DATABASE "+db+"_r")

	if user == nil {
		return
	}
	// What an earlier version left to root is said before a restore needs it.
	bases, err := filepath.Glob(filepath.Join(dir, "base-*"))
	if err != nil || len(bases) == 0 || os.Chown(bases[0], 0, 0) != nil {
		t.Fatalf("%q %v", bases, err)
	}
	if o := as.asUser(user, "", "status", "-f", dir); o.code != exitWarnings || !strings.Contains(o.out, "WARNING: this user cannot read: "+
		filepath.Base(bases[0])) {
		t.Errorf("status: %d\n%s%s", o.code, o.out, o.errors)
	}
}
