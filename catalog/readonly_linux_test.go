package catalog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// asNobody runs f with the file rights of an unprivileged user when the test runs as root, who may write everything.
func asNobody(t *testing.T, f func()) {
	if os.Geteuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	// The file system user belongs to the thread. A locked thread whose goroutine ends is thrown away with it.
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0); errno != 0 {
			t.Errorf("setfsuid: %v", errno)
			return
		}
		f()
	}()
	<-done
}

// readOnlyFolder returns a folder that make has filled and nobody may change any more.
func readOnlyFolder(t *testing.T, make func(dir string)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "catalog") // the parents of t.TempDir are closed to other users
	must(t, err)
	t.Cleanup(func() {
		os.Chmod(dir, 0o700)
		os.RemoveAll(dir)
	})
	make(dir)
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		must(t, os.Chmod(filepath.Join(dir, e.Name()), 0o444))
	}
	must(t, os.Chmod(dir, 0o555))
	return dir
}

func TestReadOnlyFileAndFolder(t *testing.T) {
	dir := readOnlyFolder(t, func(dir string) {
		c, err := Create(filepath.Join(dir, "catalog.db"))
		must(t, err)
		must(t, c.SetRepository(ctx, Repository{Slot: "s"}))
		must(t, c.Close())
	})
	path := filepath.Join(dir, "catalog.db")
	asNobody(t, func() {
		if f, err := os.Create(filepath.Join(dir, "x")); err == nil {
			f.Close()
			t.Error("the folder is writable, so this test shows nothing")
		}
		c, err := OpenReadOnly(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if inv, err := c.Inventory(ctx); err != nil || inv.Repository.Slot != "s" {
			t.Errorf("inventory %+v, %v", inv, err)
		}
		if _, err := Open(path); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Open: %v, want fs.ErrPermission", err)
		}
	})
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("reading left %v behind", entries)
	}
}

func TestDeadWriterInReadOnlyFolder(t *testing.T) {
	dir := readOnlyFolder(t, func(dir string) { deadWriter(t, filepath.Join(dir, "catalog.db")) })
	asNobody(t, func() {
		if _, err := OpenReadOnly(filepath.Join(dir, "catalog.db")); !errors.Is(err, ErrHotJournal) {
			t.Errorf("got %v, want ErrHotJournal", err)
		}
	})
}
