package storage

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

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
	defer p.mu.Unlock()
	// It is there before the command is, whose output makes progress.
	p.idle = time.AfterFunc(p.s.t.timeout, func() {
		p.kill(fmt.Errorf("the command made no progress for %s and was ended", p.s.t.timeout))
	})
	err := p.killed
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		p.idle.Stop()
		p.stop()
		return p.s.fail(p.op, p.name, Broken, err)
	}
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
