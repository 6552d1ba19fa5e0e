package repo_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"pg_scribe/catalog"
	. "pg_scribe/repo"
	"pg_scribe/repo/verify"
)

// A file that may not be read says nothing of its bytes.
func TestVerifyWithoutPermissionIsInconclusive(t *testing.T) {
	r := filled(t, "zstd")
	a := segmentAt(t, r, 0x10)
	// Others may look at all but one file, and change nothing.
	for dir := r.Dir(); dir != os.TempDir(); dir = dir[:strings.LastIndexByte(dir, '/')] {
		must(t, os.Chmod(dir, 0o755))
	}
	must(t, os.CopyFS(r.Dir()+"-open", os.DirFS(r.Dir())))
	must(t, r.Close())
	dir := r.Dir() + "-open"
	must(t, chmodAll(dir))
	must(t, os.Chmod(dir+"/"+a.Name, 0o000))
	var v verify.Report
	var err error
	asNobody(t, func() {
		var open *Repository
		if open, err = OpenReadOnly(ctx, dir); err == nil {
			v, err = verify.Run(ctx, open, verify.Options{})
			err = errors.Join(err, open.Close())
		}
	})
	must(t, err)
	list := findings(v)
	if v.Outcome != catalog.OutcomeInconclusive || v.Inconclusive != 1 || len(list) != 1 || !strings.Contains(list[0], a.Name) || v.Recorded {
		t.Errorf("%+v\n%v", v.Verification, list)
	}
}

func chmodAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		mode := os.FileMode(0o644)
		if e.IsDir() {
			mode = 0o755
			err = errors.Join(err, chmodAll(dir+"/"+e.Name()))
		}
		err = errors.Join(err, os.Chmod(dir+"/"+e.Name(), mode))
	}
	return errors.Join(err, os.Chmod(dir, 0o755))
}

// asNobody runs f with the file rights of an unprivileged user when the test
// runs as root, who may read everything.
func asNobody(t *testing.T, f func()) {
	if os.Geteuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	// The file system user belongs to the thread. A locked thread whose
	// goroutine ends is thrown away with it.
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
