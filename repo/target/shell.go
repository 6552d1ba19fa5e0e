package target

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// shellTarget reaches its files by commands of /bin/sh.
type shellTarget struct {
	spec                      string
	write, read, list, remove string // templates
	detail                    string
	timeout                   time.Duration // without progress
}

// shellTimeout is how long a command may make no progress.
const shellTimeout = 10 * time.Minute

// parseShell reads shell key='value' …. A value stands in single or double
// quotes, doubled inside.
func parseShell(spec string) (Target, error) {
	t := &shellTarget{spec: spec, timeout: shellTimeout}
	bad := func(format string, args ...any) error { return &SpecError{spec, fmt.Sprintf(format, args...)} }
	given := map[string]bool{}
	for rest := strings.TrimSpace(strings.TrimPrefix(spec, "shell")); rest != ""; rest = strings.TrimSpace(rest) {
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, bad("%q is not of the form name='command'", rest)
		}
		value, left, err := shellValue(after)
		if err != nil {
			return nil, bad("%s: %v", key, err)
		}
		if given[key] {
			return nil, bad("%s is given twice", key)
		}
		given[key], rest = true, left
		switch key {
		case "write":
			t.write = value
		case "read":
			t.read = value
		case "list":
			t.list = value
		case "remove":
			t.remove = value
		case "detail":
			for i := 0; i < len(value); i++ {
				if !safe(value[i]) && value[i] != '/' {
					return nil, bad("detail may hold letters, digits and ._-+=@,:/ only")
				}
			}
			t.detail = value
		case "timeout":
			if t.timeout, err = time.ParseDuration(value); err != nil || t.timeout <= 0 {
				return nil, bad("timeout: %q is not a time such as 10m", value)
			}
		default:
			return nil, bad("%q is none of write, read, list, remove, detail, timeout", key)
		}
	}
	for _, c := range []struct {
		key, template string
		names         bool // takes %f
	}{{"write", t.write, true}, {"read", t.read, true}, {"list", t.list, false}, {"remove", t.remove, true}} {
		if !given[c.key] {
			return nil, bad("%s is missing", c.key)
		}
		if err := checkTemplate(c.template, c.names, given["detail"]); err != nil {
			return nil, bad("%s: %v", c.key, err)
		}
	}
	return t, nil
}

func shellValue(s string) (value, rest string, err error) {
	if s == "" || s[0] != '\'' && s[0] != '"' {
		value, rest, _ = strings.Cut(s, " ")
		return value, rest, nil
	}
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != quote:
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == quote:
			b.WriteByte(quote)
			i++
		case i+1 < len(s) && s[i+1] != ' ':
			return "", "", errors.New("there is something behind the closing quote")
		default:
			return b.String(), s[i+1:], nil
		}
	}
	return "", "", errors.New("the quote is not closed")
}

// checkTemplate knows %f, %d and %%. The names that take their place are put
// in quotes, so the template must not do it as well.
func checkTemplate(s string, names, detail bool) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("the command is empty")
	}
	found := false
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quote != '\'':
			i++
			if i < len(s) && s[i] == '%' {
				return errors.New(`\% has no meaning`)
			}
			continue
		case c == quote:
			quote = 0
			continue
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
			continue
		case c != '%':
			continue
		}
		i++
		switch {
		case i == len(s):
			return errors.New("it ends with a single %")
		case s[i] == '%':
		case quote != 0 && (s[i] == 'f' || s[i] == 'd'):
			return fmt.Errorf("%%%c is put in quotes by itself, and must stand outside of any", s[i])
		case s[i] == 'f' && names:
			found = true
		case s[i] == 'f':
			return errors.New("%f has no meaning here")
		case s[i] == 'd' && detail:
		case s[i] == 'd':
			return errors.New("%d stands for the detail, and none is given")
		default:
			return fmt.Errorf("%%%c has no meaning: there are %%f, %%d and %%%%", s[i])
		}
	}
	if names && !found {
		return errors.New("it must hold %f, the file's name")
	}
	return nil
}

// expand fills a template that checkTemplate has seen.
func (t *shellTarget) expand(template, name string) string {
	return strings.NewReplacer("%%", "%", "%f", "'"+name+"'", "%d", "'"+t.detail+"'").Replace(template)
}

func (t *shellTarget) String() string { return t.spec }

// Begin runs the listing, which shows that the commands are there and reach
// the place.
func (t *shellTarget) Begin(ctx context.Context) (Session, error) {
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
	t       *shellTarget
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

// A process is one command. It is ended, with all that it started, when it
// makes no progress for too long.
type process struct {
	s        *shellSession
	op, name string
	cmd      *exec.Cmd
	words    lastWords
	idle     *time.Timer
	stop     func() bool // the end of ctx does not matter any more
	killed   error       // why
	mu       sync.Mutex
	waited   sync.Once
	outcome  error // after waited
}

func (s *shellSession) command(ctx context.Context, op, name, template string) *process {
	p := &process{s: s, op: op, name: name, cmd: exec.Command("/bin/sh", "-c", s.t.expand(template, name))}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stderr = &p.words
	p.cmd.WaitDelay = 5 * time.Second
	p.stop = context.AfterFunc(ctx, func() { p.kill(context.Cause(ctx)) })
	return p
}

func (p *process) start() error {
	p.mu.Lock()
	err := p.killed
	if err == nil {
		err = p.cmd.Start()
	}
	p.mu.Unlock()
	if err != nil {
		p.stop()
		return p.s.fail(p.op, p.name, Broken, err)
	}
	p.idle = time.AfterFunc(p.s.t.timeout, func() {
		p.kill(fmt.Errorf("the command made no progress for %s and was ended", p.s.t.timeout))
	})
	return nil
}

func (p *process) progress() { p.idle.Reset(p.s.t.timeout) }

// kill ends the command and what it started.
func (p *process) kill(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed == nil {
		p.killed = why
	}
	if p.cmd.Process != nil {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// wait tells how the command ended. Only exit status 0 is success.
func (p *process) wait() error {
	p.waited.Do(func() { p.outcome = p.end() })
	return p.outcome
}

func (p *process) end() error {
	err := p.cmd.Wait()
	p.stop()
	p.idle.Stop()
	p.mu.Lock()
	killed := p.killed
	p.mu.Unlock()
	switch {
	case killed != nil && p.s.isContext(killed):
		return p.s.fail(p.op, p.name, Broken, killed)
	case killed != nil:
		return p.s.fail(p.op, p.name, Unreachable, killed)
	case err != nil:
		if words := p.words.String(); words != "" {
			err = fmt.Errorf("%w: %s", err, words)
		}
		return p.s.fail(p.op, p.name, Broken, fmt.Errorf("command %s: %w", p.cmd.Args[2], err))
	}
	return nil
}

func (s *shellSession) isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// lastWords keeps the end of what a command says.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

func (w *lastWords) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if len(w.text) > 2000 {
		w.text = append(w.text[:0], w.text[len(w.text)-1000:]...)
	}
	return len(p), nil
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimSpace(string(w.text))
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
	p := s.command(ctx, "write", name, s.t.write)
	in, err := p.cmd.StdinPipe()
	if err == nil {
		err = p.start()
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
		f.p.progress()
		if err != nil {
			return total, f.refused(err)
		}
		b = b[n:]
	}
	return total, nil
}

// refused tells why a command does not read its input: how it ended says more
// than the broken pipe.
func (f *shellFile) refused(err error) error {
	err = fmt.Errorf("the command did not read to the end: %w", err)
	grace := time.AfterFunc(2*time.Second, func() { f.p.kill(err) })
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
	f.p.kill(errors.New("given up"))
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
	p := s.command(ctx, "read", name, s.t.read)
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.start()
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
	r.p.progress()
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
		r.p.kill(errors.New("given up"))
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

// List runs the command to its end before it tells of any file: the output of
// one that fails is not to be trusted.
func (s *shellSession) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		p := s.command(ctx, "list", "", s.t.list)
		out := listing{p: p}
		p.cmd.Stdout = &out
		err := p.start()
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
	l.p.progress()
	if len(l.text)+len(b) > maxListing {
		err := l.p.s.fail("list", "", Broken, fmt.Errorf("the list command prints more than %d MB", maxListing>>20))
		l.p.kill(err)
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
	p := s.command(ctx, "remove", name, s.t.remove)
	if err := p.start(); err != nil {
		return err
	}
	return p.wait()
}

// Sweep has nothing to do: what commands leave behind is theirs to know.
func (s *shellSession) Sweep(context.Context) error { return nil }

func (s *shellSession) End() error { return nil }
