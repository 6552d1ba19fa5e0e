// Package storage is where the files of a backup go: a directory, an object
// store, a server reached by SFTP, or whatever shell commands reach. All are
// used through one small interface: begin a session, begin a file, write, end
// the file, end the session, with several files in progress at once.
//
// What every implementation guarantees:
//
//   - A file is there as a whole or not at all: its name appears with Commit,
//     which returns nil only when the bytes are stored for good.
//   - A file that is there is never overwritten.
//   - Reading a file gives all of its bytes or an error.
//   - Every error of the storage is an *Error, whose Fault says what is wrong.
//
// Files are opaque bytes with a name; what they hold is the caller's matter.
// The package imports nothing of the program.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// A Storage is a place for files. It holds no connection.
type Storage interface {
	// String is the storage as Parse reads it. It never holds a secret.
	String() string
	// Begin begins a session: it connects, and proves that the place is there
	// and can be listed.
	Begin(ctx context.Context) (Session, error)
}

// A Session is a connection to a storage. Its methods may be called by several
// goroutines at once.
type Session interface {
	// Create begins a file of the given size, or of unknown size (-1). It
	// fails with Exists if the storage has the name; so may Commit, if somebody
	// else was faster. ctx holds until the file's end.
	Create(ctx context.Context, name string, size int64) (File, error)
	// Open reads a file. The last Read returns io.EOF only when the file was
	// read as a whole.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Stat describes one file.
	Stat(ctx context.Context, name string) (Info, error)
	// List yields all files whose names begin with prefix, in no certain
	// order. An error ends it.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Remove deletes a file. It fails with NotFound if there is none.
	Remove(ctx context.Context, name string) error
	// Sweep removes what files that never ended have left. The caller makes
	// sure that nobody writes to the storage meanwhile.
	Sweep(ctx context.Context) error
	// End ends the session.
	End() error
}

// A File is being written. It is used by one goroutine, and ends with exactly
// one call of Commit or Abort.
type File interface {
	io.Writer
	// Commit ends the file and waits until it is stored for good. On an error
	// the storage has no such file, as far as that can be known.
	Commit() error
	// Abort ends the file and leaves nothing of it.
	Abort()
}

// Info is what a listing knows of a file.
type Info struct {
	Name     string
	Size     int64     // -1: the storage does not say
	Modified time.Time // zero: the storage does not say
}

// A Fault is what is wrong. It can be asked for by errors.Is.
type Fault string

// The faults.
const (
	NotFound    Fault = "there is no such file"
	Exists      Fault = "the file is there already"
	NoPlace     Fault = "the bucket or directory does not exist"
	Denied      Fault = "access is denied"
	ReadOnly    Fault = "it can be read, but not written"
	ClockSkew   Fault = "its clock and the clock of this machine differ too much"
	Full        Fault = "there is no room left"
	Unreachable Fault = "it cannot be reached"
	Misused     Fault = "it cannot be used so"
	Broken      Fault = "it did not do as asked"
)

func (f Fault) Error() string { return string(f) }

// Error is what went wrong with a storage.
type Error struct {
	Storage string
	Op      string // begin, create, write, commit, open, read, stat, list, remove, sweep
	Name    string // of the file, if it is about one
	Fault   Fault
	Err     error // the cause; may be nil
}

func (e *Error) Error() string {
	text := "storage " + e.Storage
	if e.Name != "" {
		text += ", " + e.Op + " " + e.Name
	}
	text += ": " + string(e.Fault)
	if e.Err != nil {
		// Words may follow, and S3's messages end like sentences.
		text += ": " + strings.TrimRight(strings.TrimSpace(e.Err.Error()), ".")
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, storage.NotFound) work.
func (e *Error) Is(target error) bool { return target == error(e.Fault) }

// Temporary says whether the same may succeed later without anybody doing
// anything but look after the storage's machine, network and disks.
func Temporary(err error) bool {
	return errors.Is(err, Unreachable) || errors.Is(err, Full)
}

// SpecError says that a text names no storage.
type SpecError struct{ Spec, Reason string }

func (e *SpecError) Error() string { return fmt.Sprintf("storage %q: %s", shown(e.Spec), e.Reason) }

// shown is a text that names no storage without what may be a secret in it: commands, what comes before an @ wherever that
// stands, and parameters.
func shown(spec string) string {
	if strings.HasPrefix(spec, "shell ") {
		return "shell …"
	}
	scheme, rest, isURL := strings.Cut(spec, "://")
	if !isURL {
		return spec
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		rest = "…" + rest[at:]
	}
	if place, _, has := strings.Cut(rest, "?"); has {
		rest = place + "?…"
	}
	return scheme + "://" + rest
}

// unknownOption is the error for a parameter of a URL. Its name may be the end of a password with a ? in it.
func unknownOption(name, query, known string) string {
	if strings.Contains(query, "@") {
		return "a parameter is none of " + known
	}
	return fmt.Sprintf("%q is none of %s", name, known)
}

// NameError says that a file cannot bear a name.
type NameError struct{ Name string }

func (e *NameError) Error() string {
	return fmt.Sprintf("%q cannot be the name of a file on a storage", e.Name)
}

// Env is what Parse and the storages take from the process.
type Env struct {
	Lookup func(string) (string, bool) // the environment
	Home   string
}

func (e Env) get(names ...string) string {
	for _, name := range names {
		if value, ok := e.Lookup(name); ok && value != "" {
			return value
		}
	}
	return ""
}

// IsSpec says whether a text is meant to name a storage rather than a local
// directory.
func IsSpec(text string) bool {
	for _, prefix := range []string{"file:", "s3://", "sftp://", "shell "} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// Parse reads what names a storage:
//
//	/PATH or file:/PATH
//	s3://BUCKET/PREFIX?endpoint=URL&region=NAME…
//	sftp://USER@HOST:PORT/PATH?identity=FILE…
//	shell write='COMMAND' read='COMMAND' list='COMMAND' remove='COMMAND'…
func Parse(spec string, env Env) (Storage, error) {
	switch {
	case strings.HasPrefix(spec, "s3://"):
		return parseS3(spec, env)
	case strings.HasPrefix(spec, "sftp://"):
		return parseSFTP(spec, env)
	case strings.HasPrefix(spec, "shell "):
		return parseShell(spec)
	}
	path := spec
	if rest, ok := strings.CutPrefix(spec, "file:"); ok {
		path = rest
		if strings.HasPrefix(path, "//") {
			path = "/" + strings.TrimLeft(path, "/")
		}
	} else if strings.Contains(spec, "://") {
		return nil, &SpecError{spec, "the kinds are a directory's absolute path, s3://, sftp:// and shell"}
	}
	if !strings.HasPrefix(path, "/") {
		return nil, &SpecError{spec, "a directory's path must be absolute"}
	}
	return dirStorage{path}, nil
}

// checkName refuses names that could mean something else to a file system, a
// shell or a URL. One slash is allowed: a base may be a directory.
func checkName(name string) error {
	parts := strings.Split(name, "/")
	if len(parts) > 2 || len(name) > 500 {
		return &NameError{name}
	}
	for _, part := range parts {
		if part == "" || part[0] == '.' || part[0] == '-' || len(part) > 250 || strings.HasSuffix(part, partialMark) {
			return &NameError{name}
		}
		for i := 0; i < len(part); i++ {
			if !safe(part[i]) {
				return &NameError{name}
			}
		}
	}
	return nil
}

func safe(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._-+=@,:", c) >= 0
}

// partialMark ends the names of files that are being written, where the
// storage has no better way to hide them.
const partialMark = ".partial"

// scope makes the errors of one storage.
type scope struct{ storage string }

func (s scope) fail(op, name string, fault Fault, err error) error {
	var already *Error
	if errors.As(err, &already) {
		return err
	}
	return &Error{Storage: s.storage, Op: op, Name: name, Fault: fault, Err: err}
}
