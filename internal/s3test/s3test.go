// Package s3test runs a real S3 server for tests: versitygw, built once into
// the user's cache and outside of this module, whose go.mod it would bloat.
package s3test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// module is what is built, at a version that the tests were written against.
const module, version = "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"

// Credentials of the server's owner.
const (
	AccessKey = "pgscribetest"
	SecretKey = "pgscribetestsecret"
)

// Binary builds the server if it is not in the cache, and returns its path.
func Binary() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "pg_scribe-test", "versitygw-"+version)
	path := filepath.Join(dir, "versitygw")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	tmp := filepath.Join(dir, "tmp")
	build := exec.Command("go", "install", module+"@"+version)
	build.Dir = dir // outside of this module
	build.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w: %s", build, err, out)
	}
	return path, os.Rename(filepath.Join(tmp, "versitygw"), path)
}

// A Server serves the directory Root, each folder of which is a bucket.
type Server struct {
	Root string
	Port int

	t    testing.TB
	args []string
	mu   sync.Mutex
	cmd  *exec.Cmd
	log  *os.File
}

// Start starts a server with one bucket, "backups". More arguments are
// versitygw's own, such as --readonly. It ends with the test.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "backups"), 0o755); err != nil {
		t.Fatal(err)
	}
	return Serve(t, root, args...)
}

// Serve is Start for a directory that is there.
func Serve(t testing.TB, root string, args ...string) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Root: root, Port: listener.Addr().(*net.TCPAddr).Port, t: t, args: args}
	listener.Close()
	if s.log, err = os.CreateTemp(t.TempDir(), "versitygw"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		s.log.Close()
	})
	s.StartAgain()
	return s
}

// StartAgain starts it on the same port, and waits until it answers. More
// arguments are versitygw's own, for this time.
func (s *Server) StartAgain(more ...string) {
	s.t.Helper()
	binary, err := Binary()
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	args := append([]string{"--port", fmt.Sprintf("127.0.0.1:%d", s.Port), "--access", AccessKey, "--secret", SecretKey, "--quiet"}, s.args...)
	args = append(args, more...)
	cmd := exec.Command(binary, append(args, "posix", s.Root)...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = cmd
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(s.log.Name())
			s.t.Fatalf("versitygw does not answer: %v\n%s", err, text)
		}
	}
}

// Kill ends the server at once, as a crash would.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
	s.cmd.Wait()
	s.cmd = nil
}

// URL is the target's name for a prefix of the bucket "backups".
func (s *Server) URL(prefix string) string {
	return fmt.Sprintf("s3://backups/%s?endpoint=http://127.0.0.1:%d", prefix, s.Port)
}

// Env is the environment with the owner's credentials, and nothing else that
// concerns S3.
func Env() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") {
			env = append(env, e)
		}
	}
	return append(env, "AWS_ACCESS_KEY_ID="+AccessKey, "AWS_SECRET_ACCESS_KEY="+SecretKey)
}
