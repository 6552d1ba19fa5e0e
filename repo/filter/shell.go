package filter

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// ShellError says how a command of the shell failed.
type ShellError struct {
	Command string
	Reason  string // what it did
	Said    string // the end of its standard error
}

func (e *ShellError) Error() string {
	text := fmt.Sprintf("the command %q %s", shown(e.Command), e.Reason)
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

// NotText says that the text of the file may be in order.
func (e *ShellError) NotText() bool { return true }

// process is a command at work. It is a process group of its own, so that all
// of it can be ended, and the signals of a terminal, which ask pg_scribe to
// finish its file, do not reach it.
type process struct {
	command string
	cmd     *exec.Cmd
	limit   time.Duration
	said    lastWords
	stuck   atomic.Bool // it was ended because it stood still
	waited  bool
	err     error // how it ended
}

func newProcess(command string, limit time.Duration) *process {
	if limit == 0 {
		limit = DefaultTimeout
	}
	p := &process{command: command, limit: limit}
	p.cmd = exec.Command("/bin/sh", "-c", command)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stderr = &p.said
	// A process that it left behind may hold its output open.
	p.cmd.WaitDelay = limit
	return p
}

func (p *process) fail(format string, args ...any) error {
	return &ShellError{p.command, fmt.Sprintf(format, args...), p.said.String()}
}

func (p *process) kill() { syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// watch ends the process if the function that it returns is not called within
// the limit.
func (p *process) watch() (stop func() bool) {
	return time.AfterFunc(p.limit, func() {
		p.stuck.Store(true)
		p.kill()
	}).Stop
}

// wait returns how the process ended.
func (p *process) wait() error {
	if p.waited {
		return p.err
	}
	p.waited = true
	err := p.cmd.Wait()
	var exit *exec.ExitError
	switch {
	case p.stuck.Load():
		p.err = p.fail("neither took nor gave a byte for %s and was ended", p.limit)
	case err == nil:
	case errors.As(err, &exit) && exit.Exited():
		p.err = p.fail("ended with status %d", exit.ExitCode())
	case errors.As(err, &exit):
		p.err = p.fail("was ended by a signal (%s)", exit.ProcessState)
	default:
		p.err = p.fail("failed: %v", err)
	}
	return p.err
}

// shellWriter feeds a command whose output goes on to the next writer.
type shellWriter struct {
	*process
	in  io.WriteCloser
	out *moving
}

// moving counts what a command gives.
type moving struct {
	w io.Writer
	n atomic.Int64
}

func (m *moving) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.n.Add(int64(n))
	return n, err
}

func (f Filter) newShellWriter(w io.Writer) (*shellWriter, error) {
	s := &shellWriter{process: newProcess(f.Write, f.Timeout), out: &moving{w: w}}
	s.cmd.Stdout = s.out
	var err error
	if s.in, err = s.cmd.StdinPipe(); err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		return nil, s.fail("cannot be started: %v", err)
	}
	return s, nil
}

func (s *shellWriter) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		stop := s.watch()
		n, err := s.in.Write(b[done:min(len(b), done+64<<10)])
		stop()
		done += n
		if err != nil {
			if werr := s.wait(); werr != nil {
				return done, werr
			}
			return done, s.fail("ended before it had read everything")
		}
	}
	return done, nil
}

// Close tells the command that its input ends, and waits for its output.
func (s *shellWriter) Close() error {
	s.in.Close()
	ended := make(chan error, 1)
	go func() { ended <- s.wait() }()
	tick := time.NewTicker(s.limit)
	defer tick.Stop()
	for before := s.out.n.Load(); ; {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			if n := s.out.n.Load(); n != before {
				before = n
				continue
			}
			s.stuck.Store(true)
			s.kill()
			return <-ended
		}
	}
}

// abort ends the command, whatever it has done.
func (s *shellWriter) abort() {
	if !s.waited {
		s.kill()
	}
	s.in.Close()
	s.wait()
}

// shellReader reads what a command makes of its input.
type shellReader struct {
	*process
	out  io.ReadCloser
	done bool
}

func (f Filter) newShellReader(src io.Reader) (*shellReader, error) {
	s := &shellReader{process: newProcess(f.Read, f.Timeout)}
	s.cmd.Stdin = src
	var err error
	if s.out, err = s.cmd.StdoutPipe(); err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		return nil, s.fail("cannot be started: %v", err)
	}
	return s, nil
}

func (s *shellReader) Read(b []byte) (int, error) {
	if s.done {
		if s.err != nil {
			return 0, s.err
		}
		return 0, io.EOF
	}
	stop := s.watch()
	n, err := s.out.Read(b)
	stop()
	if err == nil {
		return n, nil
	}
	s.done = true
	if werr := s.wait(); werr != nil {
		return n, werr
	}
	return n, err
}

// Close ends the command if it has not ended by itself.
func (s *shellReader) Close() error {
	if !s.waited {
		s.kill()
		s.wait()
	}
	return nil
}

// lastWords keeps the end of what a command says.
type lastWords struct{ buf []byte }

func (l *lastWords) Write(p []byte) (int, error) {
	l.buf = append(l.buf, p...)
	if len(l.buf) > 16<<10 {
		l.buf = append(l.buf[:0], l.buf[len(l.buf)-4<<10:]...)
	}
	return len(p), nil
}

func (l *lastWords) String() string {
	const limit = 300
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(l.buf), "?")), " ")
	if len(text) > limit {
		text = "…" + strings.ToValidUTF8(text[len(text)-limit:], "")
	}
	return text
}
