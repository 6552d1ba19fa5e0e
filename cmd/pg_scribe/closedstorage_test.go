package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"pg_scribe/internal/pgtest"
)

// A directory storage that this user may not write, or not even list.
func TestTargetDirectoryNotWritable(t *testing.T) {
	c := pgtest.Shared(t)
	b := newBench(t, c)
	db := c.CreateDB(t, "tgt")
	var nobody *syscall.Credential
	if os.Geteuid() == 0 {
		nobody = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	base, err := os.MkdirTemp(c.Dir, "closed")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	open := filepath.Join(base, "open")
	if err := errors.Join(os.Chmod(base, 0o755), os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	for mode, problem := range map[os.FileMode]string{0o555: "it can be read, but not written", 0o311: "access is denied"} {
		closed := filepath.Join(base, mode.String())
		if err := errors.Join(os.Mkdir(closed, 0o700), os.Chmod(closed, mode)); err != nil {
			t.Fatal(err)
		}
		before := b.state(db, base)
		b.asUser(nobody, "", "init", "-d", c.ConnString(db), "-f", filepath.Join(open, "repo"), "-S", "tgt_closed", "--storage", closed).
			refused(t, exitBackup, problem, "let this user read and write there: ls -ld "+closed)
		if after := b.state(db, base); after != before {
			t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
		}
	}
}
