// Package command runs external programs: pg_dump and pg_restore, and what users
// give as commands of the shell.
//
// What it guarantees: a program is ended together with all that it started, when
// its context ends, when it stands still for too long, or when its caller gives
// it up. Wait returns nil only for exit status 0. Of what a program says, a
// bounded part is kept. The package knows no program, and words no hint.
package command

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// ErrIdle is why a program was ended that stood still for longer than its Limit.
var ErrIdle = errors.New("it made no progress")

// Error is how a program failed.
type Error struct {
	Program string
	Code    int    // its exit status; -1: it did not begin, or did not end by itself
	Said    string // the end of its standard error, in one line
	Ended   bool   // by Kill, and not by itself
	Err     error  // why it did not begin, why it was ended, or an *exec.ExitError
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %v", e.Program, e.Err)
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// A Process is one program at work. It is the leader of a process group, so that
// all of it can be ended, and the signals of a terminal, which ask pg_scribe to
// finish its file, do not reach it. Its methods may be called by several
// goroutines at once.
type Process struct {
	Cmd   *exec.Cmd     // for its environment and pipes, before Start
	Limit time.Duration // how long it may stand still while it is watched; 0: for ever
	Said  Tail          // what it writes to its standard error, unless Cmd.Stderr was set

	name    string
	stop    func() bool // the end of the context does not matter any more
	mu      sync.Mutex
	idle    *time.Timer // nil: it is not watched
	killed  error       // why it was ended
	reaped  bool        // its number may belong to somebody else
	once    sync.Once
	outcome error
}

// New prepares a program that was not begun yet. name is what errors call it.
func New(cmd *exec.Cmd, name string) *Process { return &Process{Cmd: cmd, name: name} }

// Shell prepares a command of /bin/sh.
func Shell(text string) *Process { return New(exec.Command("/bin/sh", "-c", text), text) }

// Name is what errors call the program.
func (p *Process) Name() string { return p.name }

// Start begins the program, which is ended when ctx is.
func (p *Process) Start(ctx context.Context) error {
	if p.Cmd.SysProcAttr == nil {
		p.Cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	p.Cmd.SysProcAttr.Setpgid = true
	if p.Cmd.Stderr == nil {
		p.Cmd.Stderr = &p.Said
	}
	if p.Cmd.Cancel != nil { // made with a context: the whole group ends with it
		p.Cmd.Cancel = func() error { p.Kill(context.Canceled); return nil }
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := context.Cause(ctx)
	if err == nil {
		err = p.Cmd.Start()
	}
	if err != nil {
		p.reaped = true
		return &Error{Program: p.name, Code: -1, Err: err}
	}
	p.stop = context.AfterFunc(ctx, func() { p.Kill(context.Cause(ctx)) })
	return nil
}

// Watch begins to count how long the program stands still.
func (p *Process) Watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Limit <= 0 || p.reaped {
		return
	}
	if p.idle != nil {
		p.idle.Stop()
	}
	p.idle = time.AfterFunc(p.Limit, func() { p.Kill(ErrIdle) })
}

// Progress says that the program has taken or given something.
func (p *Process) Progress() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle != nil {
		p.idle.Reset(p.Limit)
	}
}

// Pause ends the count: nobody waits for the program.
func (p *Process) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle != nil {
		p.idle.Stop()
		p.idle = nil
	}
}

// Kill ends the program and all that it started, and remembers the first reason;
// nil: how it ends is its error.
func (p *Process) Kill(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped || p.Cmd.Process == nil {
		return
	}
	if p.killed == nil {
		p.killed = why
	}
	syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
}

// Wait returns how the program ended; nil only for exit status 0. It may be called
// again.
func (p *Process) Wait() error {
	p.once.Do(func() { p.outcome = p.end() })
	return p.outcome
}

func (p *Process) end() error {
	err := p.Cmd.Wait()
	p.mu.Lock()
	p.reaped = true
	killed := p.killed
	p.mu.Unlock()
	p.Pause()
	p.stop()
	if killed != nil {
		err = killed
	}
	if err == nil {
		return nil
	}
	failed := &Error{Program: p.name, Code: -1, Said: p.Said.Line(maxLine), Ended: killed != nil, Err: err}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		failed.Code = exit.ExitCode()
	}
	return failed
}
