package storage_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/repo/storage"
)

// sshServer is a real sshd with its own configuration, port and keys.
type sshServer struct {
	t    testing.TB
	dir  string
	port int
	cmd  *exec.Cmd
}

func startSSH(t testing.TB) *sshServer {
	t.Helper()
	sshd := "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("there is no sshd; the Debian package is openssh-server")
	}
	if os.Getuid() == 0 { // where it is not run as a service, nobody made this
		must(t, os.MkdirAll("/run/sshd", 0o755))
	}
	s := &sshServer{t: t, dir: t.TempDir()}
	must(t, os.Chmod(s.dir, 0o700))
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.path(key)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.port = listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	public, err := os.ReadFile(s.path("user.pub"))
	must(t, err)
	must(t, os.WriteFile(s.path("authorized"), public, 0o600))
	host, err := os.ReadFile(s.path("host.pub"))
	must(t, err)
	must(t, os.WriteFile(s.path("known"), fmt.Appendf(nil, "[127.0.0.1]:%d %s", s.port, host), 0o600))
	must(t, os.WriteFile(s.path("config"), fmt.Appendf(nil, `Port %d
ListenAddress 127.0.0.1
HostKey %s
PidFile none
AuthorizedKeysFile %s
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
`, s.port, s.path("host"), s.path("authorized")), 0o600))
	s.cmd = exec.Command(sshd, "-D", "-e", "-f", s.path("config"))
	log, err := os.Create(s.path("log"))
	must(t, err)
	s.cmd.Stderr = log
	must(t, s.cmd.Start())
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		log.Close()
	})
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			conn.Close()
			return s
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(s.path("log"))
			t.Fatalf("sshd does not answer: %v\n%s", err, text)
		}
	}
}

func (s *sshServer) path(name string) string { return filepath.Join(s.dir, name) }

func (s *sshServer) url(dir string) string {
	user := os.Getenv("USER")
	if user == "" {
		user = "root"
	}
	return fmt.Sprintf("sftp://%s@127.0.0.1:%d%s?identity=%s&known-hosts=%s", user, s.port, dir, s.path("user"), s.path("known"))
}

func TestSFTPRefusals(t *testing.T) {
	server := startSSH(t)
	other := startSSH(t)
	dir := t.TempDir()
	swap := func(from, to string) string { return strings.Replace(server.url(dir), from, to, 1) }
	cases := []struct {
		name, spec string
		fault      storage.Fault
	}{
		{"another key", swap("identity="+server.path("user"), "identity="+other.path("user")), storage.Denied},
		{"no key", swap("identity="+server.path("user"), "identity=/nonexistent"), storage.Denied},
		{"an unknown host", swap("known-hosts="+server.path("known"), "known-hosts="+other.path("known")), storage.Denied},
		{"no server", swap(fmt.Sprint(server.port), "1"), storage.Unreachable},
		{"no directory", server.url(dir + "/missing"), storage.NoPlace},
	}
	for _, c := range cases {
		tgt, err := storage.Parse(c.spec, environment())
		must(t, err)
		if _, err := tgt.Begin(context.Background()); !errors.Is(err, c.fault) {
			t.Errorf("%s: %v, want %q", c.name, err, c.fault)
		}
	}
	// A host that shows another key than the one it is known by.
	known, err := os.ReadFile(other.path("known"))
	must(t, err)
	line := strings.Replace(string(known), fmt.Sprint(other.port), fmt.Sprint(server.port), 1)
	must(t, os.WriteFile(server.path("known"), []byte(line), 0o600))
	tgt, err := storage.Parse(server.url(dir), environment())
	must(t, err)
	if _, err := tgt.Begin(context.Background()); !errors.Is(err, storage.Denied) {
		t.Errorf("another host key: %v", err)
	}
}

// A server that goes away in the middle is an error, and one that may pass.
func TestSFTPServerGoesAway(t *testing.T) {
	server := startSSH(t)
	dir := t.TempDir()
	s := begin(t, server.url(dir), environment())
	must(t, store(s, "whole", noise(8<<20), -1))
	f, err := s.Create(context.Background(), "torn", -1)
	must(t, err)
	_, err = f.Write(noise(1 << 20))
	must(t, err)
	r, err := s.Open(context.Background(), "whole")
	must(t, err)
	_, err = r.Read(make([]byte, 1000))
	must(t, err)
	// Every session has a process of its own.
	out, _ := exec.Command("ps", "-o", "pid=", "--ppid", fmt.Sprint(server.cmd.Process.Pid)).Output()
	for _, pid := range strings.Fields(string(out)) {
		must(t, exec.Command("kill", "-9", pid).Run())
	}
	if err := f.Commit(); !errors.Is(err, storage.Unreachable) || !storage.Temporary(err) {
		t.Errorf("the end of a file: %v", err)
	}
	n := 0
	for err == nil {
		var k int
		k, err = r.Read(make([]byte, 1<<20))
		n += k
	}
	if !errors.Is(err, storage.Unreachable) || n >= 8<<20 {
		t.Errorf("reading: %d bytes, %v", n, err)
	}
	again := begin(t, server.url(dir), environment())
	if got := names(t, again, ""); len(got) != 1 || got[0] != "whole" {
		t.Errorf("there are %q", got)
	}
	must(t, again.Sweep(context.Background()))
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}
