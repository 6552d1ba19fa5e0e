// Package throwaway runs PostgreSQL servers that nobody depends on, from the
// programs that are installed on this machine: initdb into a temporary folder, a
// server on it, and the end of both.
//
// What it guarantees: nothing stays behind. The server is a direct child of the
// process and is only ever signalled through that child's handle. Beside each
// server a small shell, in a session of its own, reads from a pipe whose other
// end only this process holds. However the process ends, kill -9 included, the
// kernel closes the pipe; the shell then stops the server at once and removes the
// folder. This needs no thread to be kept alive, unlike a parent death signal, and
// works beyond Linux.
//
// PostgreSQL refuses to run as root. When the process is root, initdb and postgres
// run as user postgres, or as nobody where that does not exist.
//
// The package knows no repository and no client of the server.
package throwaway

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Superuser is the bootstrap superuser of every server.
const Superuser = "postgres"

// Place says where a server is to run.
type Place struct {
	BinDir string      // initdb, postgres, …: see Find
	Prefix string      // of the temporary folder's name
	Mode   os.FileMode // of that folder; whoever may enter it reaches the socket
	TCP    bool        // also listen on 127.0.0.1, on a free port
}

// Server is a place for a server, and the server that runs there. Its methods may
// be called from several goroutines.
type Server struct {
	Dir     string // holds all the rest, the socket included; removed by Stop
	DataDir string
	BinDir  string
	LogFile string
	Port    int
	User    *syscall.Credential // of the server; nil: that of this process

	tcp     bool
	mu      sync.Mutex
	guard   *guard // nil once stopped for good
	running *process
}

// New makes the folder for a server. The caller must Stop it.
func New(p Place) (*Server, error) {
	user, err := credential()
	if err != nil {
		return nil, err
	}
	dir, g, err := makeDir(p.Prefix, p.Mode, user)
	if err != nil {
		return nil, err
	}
	return &Server{Dir: dir, DataDir: filepath.Join(dir, "data"), BinDir: p.BinDir, LogFile: filepath.Join(dir, "server.log"),
		Port: 5432, User: user, tcp: p.TCP, guard: g}, nil
}

// InitDB fills the data folder. A password is asked for if one is given.
func (s *Server) InitDB(password string, args ...string) error {
	all := append([]string{"-D", s.DataDir, "-U", Superuser, "--no-sync", "--no-instructions"}, args...)
	if password != "" {
		file := filepath.Join(s.Dir, "password")
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			return err
		}
		defer os.Remove(file)
		if err := chown(file, s.User); err != nil {
			return err
		}
		all = append(all, "--pwfile="+file)
	}
	if out, err := s.command("initdb", all...).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// command is a program of the server's, run as its user.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.BinDir, name), args...)
	cmd.Dir, cmd.Env = s.Dir, Env(s.BinDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.User, Setsid: true}
	return cmd
}

// Configure adds settings to postgresql.conf. Address and port are given on the
// server's command line.
func (s *Server) Configure(settings map[string]string) error {
	var b strings.Builder
	b.WriteByte('\n')
	quote := strings.NewReplacer(`\`, `\\`, `'`, `''`)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, quote.Replace(settings[name]))
	}
	f, err := os.OpenFile(filepath.Join(s.DataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	return errors.Join(err, f.Close())
}

// Major is the major version of the data folder.
func (s *Server) Major() (int, error) {
	version, err := os.ReadFile(filepath.Join(s.DataDir, "PG_VERSION"))
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(version)))
	if err != nil {
		return 0, fmt.Errorf("PG_VERSION: %w", err)
	}
	return major, nil
}

// ConnString is a keyword connection string for the superuser, over the socket.
func (s *Server) ConnString(db string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s", connValue(s.Dir), s.Port, Superuser, connValue(db))
}

func connValue(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// Env is the environment of this process without libpq's variables, and with a
// folder first in PATH.
func Env(binDir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") && !strings.HasPrefix(v, "PG_") || strings.HasPrefix(v, "PATH=")
	})
	return append(env, "PATH="+binDir+string(os.PathListSeparator)+os.Getenv("PATH"))
}
