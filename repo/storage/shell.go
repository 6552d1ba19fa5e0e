package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"
)

// shellStorage reaches its files by commands of /bin/sh.
type shellStorage struct {
	spec                      string
	write, read, list, remove string // templates
	detail                    string
	timeout                   time.Duration // without progress
}

// shellTimeout is how long a command may make no progress.
const shellTimeout = 10 * time.Minute

func (t *shellStorage) String() string { return t.spec }

// Begin runs the listing, which shows that the commands are there and reach
// the place.
func (t *shellStorage) Begin(ctx context.Context) (Session, error) {
	s := &shellSession{scope: scope{"shell"}, t: t, writing: map[string]bool{}}
	for _, err := range s.List(ctx, "") {
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

type shellSession struct {
	scope
	t       *shellStorage
	mu      sync.Mutex
	writing map[string]bool // names of files in progress
}

// claim takes a name for a file in progress. A write that fails removes what
// it left, which must not be the work of another one.
func (s *shellSession) claim(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing[name] {
		return false
	}
	s.writing[name] = true
	return true
}

func (s *shellSession) release(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.writing, name)
}

func (s *shellSession) Create(ctx context.Context, name string, _ int64) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if !s.claim(name) {
		return nil, s.fail("create", name, Exists, errors.New("it is being written"))
	}
	// What the command does with a name that is there cannot be known.
	_, err := s.Stat(ctx, name)
	if err == nil {
		err = s.fail("create", name, Exists, nil)
	}
	if !errors.Is(err, NotFound) {
		s.release(name)
		return nil, err
	}
	p := s.command("write", name, s.t.write)
	in, err := p.Cmd.StdinPipe()
	if err == nil {
		err = p.start(ctx)
	}
	if err != nil {
		s.release(name)
		return nil, s.fail("write", name, Broken, err)
	}
	return &shellFile{ctx: ctx, p: p, in: in, sum: sha256.New()}, nil
}

type shellFile struct {
	ctx context.Context
	p   *process
	in  io.WriteCloser
	n   int64
	sum hash.Hash
}

func (f *shellFile) Write(b []byte) (int, error) {
	total := 0
	for len(b) > 0 {
		piece := b[:min(len(b), 1<<20)]
		n, err := f.in.Write(piece)
		total += n
		f.n += int64(n)
		f.sum.Write(piece[:n])
		f.p.Progress()
		if err != nil {
			return total, f.refused(err)
		}
		b = b[n:]
	}
	return total, nil
}

// refused returns why a command does not read its input: how it ended says more
// than the broken pipe.
func (f *shellFile) refused(err error) error {
	err = fmt.Errorf("the command did not read to the end: %w", err)
	grace := time.AfterFunc(2*time.Second, func() { f.p.Kill(err) })
	defer grace.Stop()
	if ended := f.p.wait(); ended != nil {
		return ended
	}
	return f.p.s.fail("write", f.p.name, Broken, err)
}

// Commit believes the exit status only when the file is there as a whole: a
// command that ends early may have left its input in the pipe.
func (f *shellFile) Commit() error {
	defer f.p.s.release(f.p.name)
	err := f.in.Close()
	if err := f.p.wait(); err != nil {
		f.clean()
		return err
	}
	if err == nil {
		err = f.verify()
	}
	if err != nil {
		f.clean()
		return f.p.s.fail("commit", f.p.name, Broken, err)
	}
	return nil
}

func (f *shellFile) verify() error {
	s := f.p.s
	info, err := s.Stat(f.ctx, f.p.name)
	if err != nil {
		if errors.Is(err, NotFound) {
			return s.fail("commit", f.p.name, Broken, errors.New("the command ended well, but the listing does not show the file"))
		}
		return err
	}
	if info.Size >= 0 {
		if info.Size != f.n {
			return fmt.Errorf("%d bytes were written, the listing shows %d", f.n, info.Size)
		}
		return nil
	}
	r, err := s.Open(f.ctx, f.p.name)
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if n, err := io.Copy(h, r); err != nil {
		return err
	} else if n != f.n || !bytes.Equal(h.Sum(nil), f.sum.Sum(nil)) {
		return fmt.Errorf("%d bytes were written, %d are read back, or others", f.n, n)
	}
	return nil
}

func (f *shellFile) Abort() {
	defer f.p.s.release(f.p.name)
	f.p.Kill(errors.New("given up"))
	f.in.Close()
	f.p.wait()
	f.clean()
}

// clean removes what a failed command may have left; the name was free before.
func (f *shellFile) clean() {
	f.p.s.Remove(context.WithoutCancel(f.ctx), f.p.name)
}

func (s *shellSession) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	// A command for a file that is missing may end well and say nothing.
	if _, err := s.Stat(ctx, name); err != nil {
		return nil, err
	}
	p := s.command("read", name, s.t.read)
	out, err := p.Cmd.StdoutPipe()
	if err == nil {
		err = p.start(ctx)
	}
	if err != nil {
		return nil, s.fail("read", name, Broken, err)
	}
	return &shellReader{p: p, out: out}, nil
}

// shellReader gives io.EOF only after the command has ended with success.
type shellReader struct {
	p    *process
	out  io.Reader
	done error
}

func (r *shellReader) Read(b []byte) (int, error) {
	if r.done != nil {
		return 0, r.done
	}
	n, err := r.out.Read(b)
	r.p.Progress()
	if err == nil {
		return n, nil
	}
	if r.done = r.p.wait(); r.done == nil {
		if r.done = err; !errors.Is(err, io.EOF) {
			r.done = r.p.s.fail("read", r.p.name, Broken, err)
		}
	}
	return n, r.done
}

func (r *shellReader) Close() error {
	if r.done == nil {
		r.done = io.ErrClosedPipe
		r.p.Kill(errors.New("given up"))
		r.p.wait()
	}
	return nil
}

func (s *shellSession) Stat(ctx context.Context, name string) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, err
	}
	for info, err := range s.List(ctx, name) {
		if err != nil || info.Name == name {
			return info, err
		}
	}
	return Info{}, s.fail("stat", name, NotFound, nil)
}

// List runs the command to its end before it yields any file: the output of
// one that fails is not to be trusted.
func (s *shellSession) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		p := s.command("list", "", s.t.list)
		out := listing{p: p}
		p.Cmd.Stdout = &out
		err := p.start(ctx)
		if err == nil {
			err = p.wait()
		}
		if err != nil {
			yield(Info{}, err)
			return
		}
		for line := range strings.Lines(string(out.text)) {
			info, ok := listLine(strings.TrimSpace(line))
			if ok && strings.HasPrefix(info.Name, prefix) && !yield(info, nil) {
				return
			}
		}
	}
}

// listing takes what a list command prints, and ends a command that never ends.
type listing struct {
	p    *process
	text []byte
}

// maxListing is the size of a listing of millions of files.
const maxListing = 256 << 20

func (l *listing) Write(b []byte) (int, error) {
	l.p.Progress()
	if len(l.text)+len(b) > maxListing {
		err := l.p.s.fail("list", "", Broken, fmt.Errorf("the list command prints more than %d MB", maxListing>>20))
		l.p.Kill(err)
		return 0, err
	}
	l.text = append(l.text, b...)
	return len(b), nil
}

// listLine reads NAME or SIZE NAME. Lines of other files are passed over.
func listLine(line string) (Info, bool) {
	info := Info{Name: line, Size: -1}
	if size, name, ok := strings.Cut(line, " "); ok {
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil || n < 0 {
			return Info{}, false
		}
		info.Size, info.Name = n, strings.TrimSpace(name)
	}
	info.Name = strings.TrimPrefix(info.Name, "./")
	return info, checkName(info.Name) == nil
}

func (s *shellSession) Remove(ctx context.Context, name string) error {
	if _, err := s.Stat(ctx, name); err != nil {
		return err
	}
	p := s.command("remove", name, s.t.remove)
	if err := p.start(ctx); err != nil {
		return err
	}
	return p.wait()
}

// Sweep has nothing to do: what commands leave behind is theirs to know.
func (s *shellSession) Sweep(context.Context) error { return nil }

func (s *shellSession) End() error { return nil }
