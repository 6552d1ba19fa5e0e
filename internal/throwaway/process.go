package throwaway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience bounds every wait for a server. Recovery after a crash is part of a start.
const patience = 5 * time.Minute

// process is one run of the postgres program.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once the process has been waited for
}

// Start starts the server for the first time and returns when it accepts connections.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tcp {
		return s.start()
	}
	// Between choosing a port and binding it somebody may take it.
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.Port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return err
		}
		if err = s.start(); err == nil || try == 5 || !portTaken(s.Port) {
			return err
		}
	}
}

// StartAgain starts the server after Halt, on the same port.
func (s *Server) StartAgain() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start()
}

// Halt signals the server, waits for its end, and keeps the folder for StartAgain: SIGQUIT ends it as a crash does.
func (s *Server) Halt(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.halt(sig)
}

// Stop stops the server at once and removes the folder. Calling it again does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guard == nil {
		return nil
	}
	err := errors.Join(s.halt(syscall.SIGQUIT), s.guard.release())
	s.guard = nil
	return err
}

// Running says whether the server can be talked to at all.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running != nil && s.running.running()
}

func portTaken(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return true
	}
	l.Close()
	return false
}

// PID is the process of the server; 0: it was halted.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return 0
	}
	return s.running.cmd.Process.Pid
}

// start starts postgres and waits until it accepts connections. The caller holds s.mu.
func (s *Server) start() error {
	switch {
	case s.guard == nil:
		return errors.New("the server was stopped for good")
	case s.running != nil && s.running.running():
		return errors.New("the server is running already")
	}
	log, err := os.OpenFile(s.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	address := ""
	if s.tcp {
		address = "127.0.0.1"
	}
	// A session of its own, so that Ctrl-C at the terminal is for this process alone.
	cmd := s.command("postgres", "-D", s.DataDir, "-h", address, "-p", strconv.Itoa(s.Port), "-k", s.Dir)
	cmd.Dir = s.DataDir
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	p, g := &process{cmd: cmd, exited: make(chan struct{})}, s.guard
	s.running = p
	g.watch(cmd.Process.Pid)
	go func() {
		_ = cmd.Wait() // a crash is an exit status too, and tests ask for crashes
		g.unwatch()
		close(p.exited)
	}()
	if err := s.waitReady(p); err != nil {
		return errors.Join(fmt.Errorf("%w; end of the server log:\n%s", err, s.logTail()), s.halt(syscall.SIGQUIT))
	}
	return nil
}

// waitReady waits until postmaster.pid says that connections are accepted. This is what pg_ctl does; it needs no password.
func (s *Server) waitReady(p *process) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for {
		if ready(filepath.Join(s.DataDir, "postmaster.pid"), p.cmd.Process.Pid) {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("postgres ended while starting (%s)", p.cmd.ProcessState)
		case <-timeout:
			return fmt.Errorf("postgres did not accept connections within %s", patience)
		case <-tick.C:
		}
	}
}

func ready(pidFile string, pid int) bool {
	content, err := os.ReadFile(pidFile)
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) < 8 || lines[0] != strconv.Itoa(pid) {
		return false
	}
	status := strings.TrimSpace(lines[7])
	return status == "ready" || status == "standby"
}

// halt signals the server and waits for its end. The caller holds s.mu.
func (s *Server) halt(sig syscall.Signal) error {
	p := s.running
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		s.running = nil
		return nil
	case <-time.After(patience):
		return fmt.Errorf("postgres (process %d) did not stop within %s of %s", p.cmd.Process.Pid, patience, sig)
	}
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// logTail is the end of the server's log.
func (s *Server) logTail() string {
	content, err := os.ReadFile(s.LogFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
