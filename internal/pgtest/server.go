package pgtest

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

// server is one run of the postgres program.
type server struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once the process has been waited for
}

// startOnFreePort starts the server on a port nobody has. Between choosing and binding it somebody may take it.
func (c *Cluster) startOnFreePort() error {
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		c.Port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return err
		}
		if err = c.startServer(); err == nil || try == 5 || !portTaken(c.Port) {
			return err
		}
	}
}

func portTaken(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return true
	}
	l.Close()
	return false
}

// startServer starts postgres and waits until it accepts connections. The caller holds c.mu.
func (c *Cluster) startServer() error {
	switch {
	case c.guard == nil:
		return errors.New("the cluster was stopped for good")
	case c.server != nil && c.server.running():
		return errors.New("the server is running already")
	}
	log, err := os.OpenFile(c.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(c.BinDir, "postgres"),
		"-D", c.DataDir, "-h", "127.0.0.1", "-p", strconv.Itoa(c.Port), "-k", c.SocketDir)
	cmd.Dir = c.DataDir
	cmd.Env = baseEnv(c.BinDir)
	cmd.Stdout, cmd.Stderr = log, log
	// A session of its own, so that Ctrl-C at the terminal is for the test process alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred, Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	s, g := &server{cmd: cmd, exited: make(chan struct{})}, c.guard
	c.server = s
	g.watch(cmd.Process.Pid)
	go func() {
		_ = cmd.Wait() // a crash is an exit status too, and tests ask for crashes
		g.unwatch()
		close(s.exited)
	}()
	if err := c.waitReady(s); err != nil {
		return errors.Join(fmt.Errorf("%w; end of the server log:\n%s", err, c.logTail()), c.halt(syscall.SIGQUIT))
	}
	return nil
}

// waitReady waits until postmaster.pid says that connections are accepted. This is what pg_ctl does; it needs no password.
func (c *Cluster) waitReady(s *server) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for {
		if ready(filepath.Join(c.DataDir, "postmaster.pid"), s.cmd.Process.Pid) {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("postgres ended while starting (%s)", s.cmd.ProcessState)
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

// halt signals the server and waits for its end. The caller holds c.mu.
func (c *Cluster) halt(sig syscall.Signal) error {
	s := c.server
	if s == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		c.server = nil
		return nil
	case <-time.After(patience):
		return fmt.Errorf("postgres (process %d) did not stop within %s of %s", s.cmd.Process.Pid, patience, sig)
	}
}

func (s *server) running() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// running says whether the server can be talked to at all.
func (c *Cluster) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server != nil && c.server.running()
}

// logTail is the end of the server's log.
func (c *Cluster) logTail() string {
	content, err := os.ReadFile(c.LogFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
