package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pg_scribe/repo/owner"
)

// dirStorage is a directory of a file system that is mounted here.
type dirStorage struct{ path string }

func (t dirStorage) String() string {
	if filepath.Clean(t.path) == t.path {
		return t.path
	}
	return filepath.Clean(t.path)
}

// Begin does not make the directory: a disk that is not mounted must not be
// taken for an empty one.
func (t dirStorage) Begin(context.Context) (Session, error) {
	s := &dirSession{scope{t.String()}, t.String()}
	info, err := os.Stat(s.root)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err == nil {
		var d *os.File
		if d, err = os.Open(s.root); err == nil {
			_, err = d.Readdirnames(1)
			d.Close()
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, s.fail("begin", "", NoPlace, err)
	}
	if err != nil {
		return nil, s.fail("begin", "", fileFault(err), err)
	}
	return s, nil
}

type dirSession struct {
	scope
	root string
}

func fileFault(err error) Fault {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	case errors.Is(err, fs.ErrExist):
		return Exists
	case errors.Is(err, syscall.EROFS):
		return ReadOnly
	case errors.Is(err, fs.ErrPermission):
		return Denied
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Full
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.ETIMEDOUT),
		errors.Is(err, syscall.ENOTCONN), errors.Is(err, syscall.EHOSTDOWN):
		return Unreachable
	}
	return Broken
}

func (s *dirSession) path(name string) string { return filepath.Join(s.root, filepath.FromSlash(name)) }

func (s *dirSession) Create(_ context.Context, name string, _ int64) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(s.path(name)); err == nil {
		return nil, s.fail("create", name, Exists, nil)
	}
	dir := filepath.Dir(s.path(name))
	if dir != s.root {
		if err := owner.Mkdir(dir); err == nil {
			err = syncDir(s.root)
			if err != nil {
				return nil, s.fail("create", name, fileFault(err), err)
			}
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, s.writeFault("create", name, err)
		}
	}
	partial := s.path(name) + "-" + rand.Text() + partialMark
	f, err := owner.Create(partial, os.O_WRONLY)
	if err != nil {
		return nil, s.writeFault("create", name, err)
	}
	return &partFile{s.scope, name, f, fileFault, func() error { return s.publish(partial, name) }, func() { os.Remove(partial) }}, nil
}

func (s *dirSession) writeFault(op, name string, err error) error {
	return s.fail(op, name, whenWriting(fileFault(err)), err)
}

// whenWriting: whoever may list a directory but not write into it sees it as
// read-only, whichever way that was done.
func whenWriting(fault Fault) Fault {
	switch fault {
	case Denied:
		return ReadOnly
	case NotFound:
		return NoPlace
	}
	return fault
}

// publish gives a file its name by a link, which, other than a rename, never
// replaces a file.
func (s *dirSession) publish(partial, name string) error {
	path := s.path(name)
	err := os.Link(partial, path)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS) {
		err = renameNew(partial, path) // a file system without links
	}
	os.Remove(partial)
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

func renameNew(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (s *dirSession) Open(_ context.Context, name string) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if _, err := s.Stat(context.Background(), name); err != nil { // a link could lead anywhere
		return nil, err
	}
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, s.fail("open", name, fileFault(err), err)
	}
	return &faultReader{f, func(err error) error { return s.fail("read", name, fileFault(err), err) }}, nil
}

// faultReader gives the errors of a reader their form.
type faultReader struct {
	io.ReadCloser
	fault func(error) error
}

func (r *faultReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.fault(err)
	}
	return n, err
}

func (s *dirSession) Stat(_ context.Context, name string) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, err
	}
	info, err := os.Lstat(s.path(name))
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if errors.Is(err, syscall.ENOTDIR) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Info{}, s.fail("stat", name, fileFault(err), err)
	}
	return Info{name, info.Size(), info.ModTime()}, nil
}

func (s *dirSession) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		s.walk(ctx, func(name string, e fs.DirEntry) bool {
			if !strings.HasPrefix(name, prefix) || checkName(name) != nil {
				return true
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return true // removed since
			}
			if err != nil {
				return yield(Info{}, s.fail("list", "", fileFault(err), err))
			}
			return yield(Info{name, info.Size(), info.ModTime()}, nil)
		}, func(err error) { yield(Info{}, err) })
	}
}

// walk visits the regular files of the directory and of those in it.
func (s *dirSession) walk(ctx context.Context, visit func(name string, e fs.DirEntry) bool, fail func(error)) {
	var within func(dir string) bool
	within = func(dir string) bool {
		entries, err := os.ReadDir(s.path(dir))
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			fail(s.fail("list", "", fileFault(err), err))
			return false
		}
		for _, e := range entries {
			switch {
			case e.Type().IsRegular() && !visit(dir+e.Name(), e):
				return false
			case e.IsDir() && dir == "" && checkName(e.Name()) == nil && !within(e.Name()+"/"):
				return false
			}
		}
		return true
	}
	within("")
}

func (s *dirSession) Remove(ctx context.Context, name string) error {
	if _, err := s.Stat(ctx, name); err != nil { // a directory is no file
		return err
	}
	err := os.Remove(s.path(name))
	if err == nil {
		dir := filepath.Dir(s.path(name))
		if dir != s.root && os.Remove(dir) == nil { // the last file of it
			dir = s.root
		}
		err = syncDir(dir)
	}
	if err != nil {
		return s.fail("remove", name, fileFault(err), err)
	}
	return nil
}

func (s *dirSession) Sweep(ctx context.Context) error {
	var failed error
	s.walk(ctx, func(name string, _ fs.DirEntry) bool {
		if !strings.HasSuffix(name, partialMark) {
			return true
		}
		if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = s.fail("sweep", name, fileFault(err), err)
		}
		return failed == nil
	}, func(err error) { failed = err })
	return failed
}

func (s *dirSession) End() error { return nil }
