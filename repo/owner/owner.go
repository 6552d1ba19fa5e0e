// Package owner makes files belong to whom their directory belongs to.
//
// A command that root runs in somebody else's repository must not leave files
// there that their owner cannot read. Every file and directory of a repository
// is made by this package: where root makes it in a directory of another user,
// that user gets it. For everybody else, and in root's own directories, it is
// the same as package os. What cannot be given away is an Error, and is removed
// again.
//
// Only what was made just now is given away, never what a name leads to: else
// the owner of the directory could have root give away any file.
package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Error says that a file could not be given to the owner of its directory.
type Error struct {
	Path string
	UID  int // of the owner
	Err  error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s cannot be given to the owner of its directory, user %d: %v", e.Path, e.UID, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Create makes a file of mode 0600 that did not exist, opened with the flags.
func Create(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := give(f, filepath.Dir(path)); err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	return f, nil
}

// Open is Create for a file that may exist: then it is only opened.
func Open(path string, flag int) (*os.File, error) {
	f, err := Create(path, flag)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	return os.OpenFile(path, flag, 0)
}

// Mkdir makes a directory of mode 0700.
func Mkdir(path string) error { return MkdirFor(path, filepath.Dir(path)) }

// MkdirFor is Mkdir for the owner of another directory than the one it lies in.
func MkdirFor(path, of string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	err := take(path, of)
	if err != nil {
		os.Remove(path)
	}
	return err
}

// MkdirTemp is os.MkdirTemp.
func MkdirTemp(dir, pattern string) (string, error) {
	path, err := os.MkdirTemp(dir, pattern)
	if err == nil {
		if err = take(path, dir); err != nil {
			os.Remove(path)
		}
	}
	return path, err
}

// Take gives a file that another program has just made to the owner of its
// directory.
func Take(path string) error { return take(path, filepath.Dir(path)) }

func take(path, of string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return give(f, of)
}

// give passes a file that root has to the owner of a directory.
func give(f *os.File, of string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := os.Stat(of)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	to, known := dir.Sys().(*syscall.Stat_t)
	now, too := info.Sys().(*syscall.Stat_t)
	if !known || !too || to.Uid == now.Uid || now.Uid != 0 || info.Mode().IsRegular() && now.Nlink != 1 {
		return nil // a file system may give it to somebody by itself
	}
	if err := f.Chown(int(to.Uid), int(to.Gid)); err != nil {
		return &Error{f.Name(), int(to.Uid), err}
	}
	return nil
}
