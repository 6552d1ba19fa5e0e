package filter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"pg_scribe/internal/command"
)

// maxSaid is how much of a command's last words an error shows.
const maxSaid = 300

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

// process is a command at work. Only while somebody waits for it, it must not
// stand still.
type process struct{ *command.Process }

func newProcess(text string, limit time.Duration) process {
	if limit == 0 {
		limit = DefaultTimeout
	}
	p := process{command.Shell(text)}
	p.Limit = limit
	// A process that it left behind may hold its output open.
	p.Cmd.WaitDelay = limit
	return p
}

func (p process) fail(format string, args ...any) error {
	return &ShellError{p.Name(), fmt.Sprintf(format, args...), p.Said.Line(maxSaid)}
}

// start returns why the command cannot be started.
func (p process) start() error {
	if err := p.Start(context.Background()); err != nil {
		return p.fail("cannot be started: %v", errors.Unwrap(err))
	}
	return nil
}

// wait returns how the command ended.
func (p process) wait() error {
	err := p.Wait()
	if err == nil {
		return nil
	}
	exit, _ := errors.AsType[*exec.ExitError](err)
	switch {
	case errors.Is(err, command.ErrIdle):
		return p.fail("neither took nor gave a byte for %s and was ended", p.Limit)
	case exit != nil && exit.Exited():
		return p.fail("ended with status %d", exit.ExitCode())
	case exit != nil:
		return p.fail("was ended by a signal (%s)", exit.ProcessState)
	}
	return p.fail("failed: %v", errors.Unwrap(err))
}

// shellWriter feeds a command whose output goes on to the next writer.
type shellWriter struct {
	process
	in io.WriteCloser
}

// moving notes that a command gives something.
type moving struct {
	process
	w io.Writer
}

func (m moving) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.Progress()
	return n, err
}

func (f Filter) newShellWriter(w io.Writer) (*shellWriter, error) {
	s := &shellWriter{process: newProcess(f.Write, f.Timeout)}
	s.Cmd.Stdout = moving{s.process, w}
	var err error
	if s.in, err = s.Cmd.StdinPipe(); err != nil {
		return nil, s.fail("cannot be started: %v", err)
	}
	return s, s.start()
}

func (s *shellWriter) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		s.Watch()
		n, err := s.in.Write(b[done:min(len(b), done+64<<10)])
		done += n
		if err != nil { // how it ends says more
			if werr := s.wait(); werr != nil {
				return done, werr
			}
			return done, s.fail("ended before it had read everything")
		}
		s.Pause()
	}
	return done, nil
}

// Close ends the command's input, and waits for its output.
func (s *shellWriter) Close() error {
	s.in.Close()
	s.Watch()
	return s.wait()
}

// abort ends the command, whatever it has done.
func (s *shellWriter) abort() {
	s.Kill(errAborted)
	s.in.Close()
	s.wait()
}

// shellReader reads what a command makes of its input.
type shellReader struct {
	process
	out  io.ReadCloser
	done error // how it ended
}

func (f Filter) newShellReader(src io.Reader) (*shellReader, error) {
	s := &shellReader{process: newProcess(f.Read, f.Timeout)}
	s.Cmd.Stdin = src
	var err error
	if s.out, err = s.Cmd.StdoutPipe(); err != nil {
		return nil, s.fail("cannot be started: %v", err)
	}
	return s, s.start()
}

func (s *shellReader) Read(b []byte) (int, error) {
	if s.done != nil {
		return 0, s.done
	}
	s.Watch()
	n, err := s.out.Read(b)
	if err == nil {
		s.Pause()
		return n, nil
	}
	if s.done = s.wait(); s.done == nil {
		s.done = err
	}
	return n, s.done
}

// Close ends the command if it has not ended by itself.
func (s *shellReader) Close() error {
	s.Kill(errAborted)
	s.wait()
	return nil
}
