package storage

import (
	"errors"
	"io"
)

// partFile is a file of a directory, here or on a server, that has another name
// until it is whole.
type partFile struct {
	scope
	name string
	f    interface {
		io.WriteCloser
		Sync() error
	}
	fault   func(error) Fault
	publish func() error // gives it its name, unless there is a file of that name
	discard func()       // removes it, if it has not got its name
}

func (f *partFile) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	if err != nil {
		err = f.fail("write", f.name, f.fault(err), err)
	}
	return n, err
}

func (f *partFile) Commit() error {
	err := errors.Join(f.f.Sync(), f.f.Close())
	if err == nil {
		err = f.publish()
	}
	if err != nil {
		f.discard()
		return f.fail("commit", f.name, f.fault(err), err)
	}
	return nil
}

func (f *partFile) Abort() {
	f.f.Close()
	f.discard()
}
