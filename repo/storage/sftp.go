package storage

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sftpStorage is a directory that an SSH server serves.
type sftpStorage struct {
	spec             string
	user, host, root string
	identities       []string
	knownHosts       []string
	agent            string // socket
}

// parseSFTP reads sftp://USER@HOST:PORT/PATH. Keys, agent and known hosts are
// those of ssh.
func parseSFTP(spec string, env Env) (Storage, error) {
	bad := func(format string, args ...any) error { return &SpecError{spec, fmt.Sprintf(format, args...)} }
	u, err := url.Parse(spec)
	if err != nil {
		return nil, bad("it is no URL")
	}
	if _, has := u.User.Password(); has {
		return nil, &SpecError{"sftp://…@" + u.Host + u.Path, "a password does not belong into it: use a key"}
	}
	if u.Hostname() == "" || !strings.HasPrefix(u.Path, "/") || u.Fragment != "" {
		return nil, bad("it must be of the form sftp://USER@HOST:PORT/PATH")
	}
	t := &sftpStorage{spec: spec, user: u.User.Username(), root: path.Clean(u.Path), agent: env.get("SSH_AUTH_SOCK")}
	if t.user == "" {
		t.user = env.get("USER", "LOGNAME")
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	t.host = net.JoinHostPort(u.Hostname(), port)
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, bad("what follows the ? is malformed")
	}
	if file := values.Get("identity"); file != "" {
		t.identities = []string{file}
	} else {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			t.identities = append(t.identities, filepath.Join(env.Home, ".ssh", name))
		}
	}
	if file := values.Get("known-hosts"); file != "" {
		t.knownHosts = []string{file}
	} else {
		for _, file := range []string{filepath.Join(env.Home, ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"} {
			if _, err := os.Stat(file); err == nil {
				t.knownHosts = append(t.knownHosts, file)
			}
		}
	}
	for name := range values {
		if name != "identity" && name != "known-hosts" {
			return nil, bad("%s", unknownOption(name, u.RawQuery, "identity, known-hosts"))
		}
	}
	return t, nil
}

func (t *sftpStorage) String() string { return t.spec }

func (t *sftpStorage) Begin(ctx context.Context) (Session, error) {
	s := &sftpSession{scope: scope{"sftp://" + t.host + t.root}, root: t.root}
	known, err := knownhosts.New(t.knownHosts...)
	if err != nil {
		return nil, s.fail("begin", "", Misused, err)
	}
	auth, closeAgent, err := t.auth()
	if err != nil {
		return nil, s.fail("begin", "", Denied, err)
	}
	defer closeAgent()
	config := &ssh.ClientConfig{User: t.user, Auth: auth, HostKeyCallback: known, Timeout: 30 * time.Second}
	// Of a host that is known by one kind of key, another kind would look
	// like a stranger's.
	if algorithms := keyKinds(known, t.host); len(algorithms) > 0 {
		config.HostKeyAlgorithms = algorithms
	}
	conn, err := (&net.Dialer{Timeout: 30 * time.Second}).DialContext(ctx, "tcp", t.host)
	if err != nil {
		return nil, s.fail("begin", "", Unreachable, err)
	}
	// A server that says nothing must not hold up for ever.
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	c, chans, requests, err := ssh.NewClientConn(conn, t.host, config)
	if err != nil {
		conn.Close()
		return nil, s.fail("begin", "", handshakeFault(err), err)
	}
	conn.SetDeadline(time.Time{})
	s.ssh = ssh.NewClient(c, chans, requests)
	if s.client, err = sftp.NewClient(s.ssh, sftp.UseConcurrentWrites(true)); err != nil {
		s.ssh.Close()
		return nil, s.fail("begin", "", Broken, err)
	}
	if _, err := s.client.ReadDir(s.root); err != nil {
		s.End()
		fault := sftpFault(err)
		if fault == NotFound {
			fault = NoPlace
		}
		return nil, s.fail("begin", "", fault, err)
	}
	return s, nil
}

// auth offers the keys of the agent and of the files that need no passphrase.
func (t *sftpStorage) auth() (methods []ssh.AuthMethod, end func(), err error) {
	end = func() {}
	var signers []ssh.Signer
	for _, file := range t.identities {
		text, rerr := os.ReadFile(file)
		if rerr != nil {
			err = rerr
			continue
		}
		signer, perr := ssh.ParsePrivateKey(text)
		if perr != nil {
			err = fmt.Errorf("%s: %w", file, perr)
			continue
		}
		signers = append(signers, signer)
	}
	if t.agent != "" {
		if conn, derr := net.Dial("unix", t.agent); derr == nil {
			end = func() { conn.Close() }
			if more, serr := agent.NewClient(conn).Signers(); serr == nil {
				signers = append(signers, more...)
			}
		}
	}
	if len(signers) == 0 {
		end()
		return nil, end, fmt.Errorf("no key is at hand: %w", err)
	}
	return []ssh.AuthMethod{ssh.PublicKeys(signers...)}, end, nil
}

// keyKinds are the kinds of keys by which a host is known.
func keyKinds(known ssh.HostKeyCallback, host string) []string {
	var unknown *knownhosts.KeyError
	probe, err := ssh.NewPublicKey(make(ed25519.PublicKey, ed25519.PublicKeySize))
	if err != nil || !errors.As(known(host, &net.TCPAddr{}, probe), &unknown) {
		return nil
	}
	var kinds []string
	for _, k := range unknown.Want {
		if kind := k.Key.Type(); kind == ssh.KeyAlgoRSA {
			kinds = append(kinds, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func handshakeFault(err error) Fault {
	var key *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	if errors.As(err, &key) || errors.As(err, &revoked) || strings.Contains(err.Error(), "unable to authenticate") ||
		strings.Contains(err.Error(), "no common algorithm") {
		return Denied
	}
	return Unreachable
}

type sftpSession struct {
	scope
	root   string
	ssh    *ssh.Client
	client *sftp.Client
}

func sftpFault(err error) Fault {
	var status *sftp.StatusError
	switch {
	case errors.Is(err, sftp.ErrSSHFxConnectionLost), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF):
		return Unreachable
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return fileFault(err)
	case errors.As(err, &status) && status.FxCode() == sftp.ErrSSHFxNoConnection:
		return Unreachable
	}
	var network net.Error
	if errors.As(err, &network) {
		return Unreachable
	}
	return Broken
}

func (s *sftpSession) path(name string) string { return path.Join(s.root, name) }

func (s *sftpSession) Create(_ context.Context, name string, _ int64) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if _, err := s.client.Lstat(s.path(name)); err == nil {
		return nil, s.fail("create", name, Exists, nil)
	}
	if dir := path.Dir(s.path(name)); dir != s.root {
		if err := s.client.Mkdir(dir); err != nil {
			if _, serr := s.client.Stat(dir); serr != nil {
				return nil, s.failWrite("create", name, err)
			}
		}
	}
	partial := s.path(name) + "-" + rand.Text() + partialMark
	f, err := s.client.OpenFile(partial, os.O_CREATE|os.O_EXCL|os.O_WRONLY)
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err != nil {
		return nil, s.failWrite("create", name, err)
	}
	return &partFile{s.scope, name, f, sftpFault, func() error { return s.publish(partial, name) }, func() { s.client.Remove(partial) }}, nil
}

func (s *sftpSession) failWrite(op, name string, err error) error {
	return s.fail(op, name, whenWriting(sftpFault(err)), err)
}

// publish gives a file its name by the protocol's own rename, which, other
// than POSIX's, never replaces a file.
func (s *sftpSession) publish(partial, name string) error {
	err := s.client.Rename(partial, s.path(name))
	if err != nil && sftpFault(err) != Unreachable {
		if _, serr := s.client.Lstat(s.path(name)); serr == nil {
			return s.fail("commit", name, Exists, err)
		}
	}
	return err
}

func (s *sftpSession) Open(_ context.Context, name string) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f, err := s.client.Open(s.path(name))
	if err != nil {
		return nil, s.fail("open", name, sftpFault(err), err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, s.fail("open", name, sftpFault(err), err)
	}
	return &sizedReader{faultReader{f, func(err error) error { return s.fail("read", name, sftpFault(err), err) }}, info.Size()}, nil
}

// sizedReader does not take an early end for the end.
type sizedReader struct {
	faultReader
	left int64
}

func (r *sizedReader) Read(p []byte) (int, error) {
	n, err := r.faultReader.Read(p)
	if r.left -= int64(n); errors.Is(err, io.EOF) && r.left > 0 {
		err = r.fault(io.ErrUnexpectedEOF)
	}
	return n, err
}

func (s *sftpSession) Stat(_ context.Context, name string) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, err
	}
	info, err := s.client.Lstat(s.path(name))
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Info{}, s.fail("stat", name, sftpFault(err), err)
	}
	return Info{name, info.Size(), info.ModTime()}, nil
}

func (s *sftpSession) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		s.walk(ctx, "", func(name string, info fs.FileInfo, err error) bool {
			if err == nil && (!strings.HasPrefix(name, prefix) || checkName(name) != nil) {
				return true
			}
			if err != nil {
				return yield(Info{}, s.fail("list", "", sftpFault(err), err))
			}
			return yield(Info{name, info.Size(), info.ModTime()}, nil)
		})
	}
}

// walk visits the regular files of a directory and of those in it. It returns
// false when it was told to stop or an error was told.
func (s *sftpSession) walk(ctx context.Context, dir string, visit func(string, fs.FileInfo, error) bool) bool {
	entries, err := s.client.ReadDirContext(ctx, s.path(dir))
	if err != nil {
		visit("", nil, err)
		return false
	}
	for _, e := range entries {
		switch {
		case e.Mode().IsRegular() && !visit(dir+e.Name(), e, nil):
			return false
		case e.IsDir() && dir == "" && checkName(e.Name()) == nil && !s.walk(ctx, e.Name()+"/", visit):
			return false
		}
	}
	return true
}

func (s *sftpSession) Remove(ctx context.Context, name string) error {
	if _, err := s.Stat(ctx, name); err != nil { // a directory is no file
		return err
	}
	if err := s.client.Remove(s.path(name)); err != nil {
		return s.fail("remove", name, sftpFault(err), err)
	}
	if dir := path.Dir(s.path(name)); dir != s.root {
		s.client.RemoveDirectory(dir) // if that was the last file of it
	}
	return nil
}

func (s *sftpSession) Sweep(ctx context.Context) error {
	var failed error
	s.walk(ctx, "", func(name string, _ fs.FileInfo, err error) bool {
		if err == nil && strings.HasSuffix(name, partialMark) {
			err = s.client.Remove(s.path(name))
		}
		if err != nil {
			failed = s.fail("sweep", name, sftpFault(err), err)
		}
		return failed == nil
	})
	return failed
}

func (s *sftpSession) End() error { return errors.Join(s.client.Close(), s.ssh.Close()) }
