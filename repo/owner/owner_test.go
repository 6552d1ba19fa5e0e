package owner

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is made is the directory's owner's; what a name leads to is not given
// away, nor is a file that has another name elsewhere.
func TestGive(t *testing.T) {
	uid := os.Geteuid()
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if uid == 0 {
		uid = 65533
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	owned := func(path string, want int) {
		t.Helper()
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; int(got) != want {
			t.Errorf("%s is of user %d, want %d", path, got, want)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	f, err := Create(in("file"), os.O_RDWR)
	if err != nil || f.Close() != nil || Mkdir(in("folder")) != nil {
		t.Fatal(err)
	}
	if _, err := Create(in("file"), os.O_RDWR); !os.IsExist(err) {
		t.Errorf("a file that exists: %v", err)
	}
	owned(in("file"), uid)
	owned(in("folder"), uid)
	if err := MkdirFor(filepath.Join(filepath.Dir(outside), "spool"), dir); err != nil {
		t.Fatal(err)
	}
	owned(filepath.Join(filepath.Dir(outside), "spool"), uid)

	if os.Symlink(outside, in("link")) != nil || os.Link(outside, in("hard")) != nil {
		t.Fatal("no links")
	}
	if f, err = Open(in("link"), os.O_RDWR); err != nil || f.Close() != nil {
		t.Error(err)
	}
	if err := Take(in("link")); os.Geteuid() == 0 && err == nil {
		t.Error("a symbolic link was followed")
	}
	if err := Take(in("hard")); err != nil {
		t.Error(err)
	}
	owned(outside, os.Geteuid())
}
