package pgtest

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

// superuser is the bootstrap superuser of every cluster.
const superuser = "postgres"

// Options says what kind of cluster to start. The zero value is a cluster of the default version with wal_level logical
// and no password.
type Options struct {
	// Version is a major version such as "15", installed or made available by .ci/postgresql. Empty means the folder in
	// PG_SCRIBE_TEST_BIN, else the one pg_config names, else the newest installed one that has a server.
	Version string
	// Settings are added to postgresql.conf and win over the defaults of this package.
	Settings map[string]string
	// InitArgs are further arguments for initdb; they win over the defaults of this package.
	InitArgs []string
	// Auth is the authentication method, "trust" when empty. "scram-sha-256" needs a Password.
	Auth     string
	Password string
	// Template copies a data folder that initdb made once in this process: some tenths of a second faster, but such
	// clusters all have the same system identifier.
	Template bool
}

// defaults are for clusters that may lose everything when the machine stops, and hold many slots.
var defaults = map[string]string{
	"wal_level":                 "logical",
	"max_replication_slots":     "50",
	"max_wal_senders":           "50",
	"max_prepared_transactions": "10",
	"max_connections":           "100",
	"shared_buffers":            "128MB",
	"fsync":                     "off",
	"full_page_writes":          "off",
	"log_min_messages":          "warning",
	"logging_collector":         "off",
}

// Cluster is a running (or killed) throwaway server. Its methods may be called from several goroutines.
type Cluster struct {
	Dir       string // holds all the rest; removed by Stop
	DataDir   string
	BinDir    string // initdb, postgres, psql, pg_dump, … of this version
	SocketDir string
	Host      string // what ConnString uses: SocketDir. The server also listens on 127.0.0.1
	Port      int
	LogFile   string
	Major     int // major version of the server

	password string
	cred     *syscall.Credential // of the server; nil: that of this process

	mu     sync.Mutex
	guard  *guard // nil once stopped for good
	server *server
}

// Start makes a cluster and returns when it accepts connections. The caller must Stop it. When it fails, nothing is left,
// and the error ends with the last lines of the server's log.
func Start(opts Options) (*Cluster, error) {
	binDir, err := findBinDir(opts.Version)
	if err != nil {
		return nil, err
	}
	cred, err := serverCredential()
	if err != nil {
		return nil, err
	}
	dir, g, err := makeDir(cred)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		Dir: dir, DataDir: filepath.Join(dir, "data"), BinDir: binDir, SocketDir: dir, Host: dir,
		LogFile: filepath.Join(dir, "server.log"), password: opts.Password, cred: cred, guard: g,
	}
	if err := c.create(opts); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) create(opts Options) error {
	var err error
	if opts.Template {
		err = copyTemplate(c, opts)
	} else {
		err = initDB(c, opts)
	}
	if err != nil {
		return err
	}
	version, err := os.ReadFile(filepath.Join(c.DataDir, "PG_VERSION"))
	if err != nil {
		return err
	}
	if c.Major, err = strconv.Atoi(strings.TrimSpace(string(version))); err != nil {
		return fmt.Errorf("PG_VERSION: %w", err)
	}
	if err := c.configure(opts.Settings); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.startOnFreePort()
}

// initDB fills c.DataDir.
func initDB(c *Cluster, opts Options) error {
	auth := opts.Auth
	if auth == "" {
		auth = "trust"
	}
	args := []string{
		"-D", c.DataDir, "-U", superuser, "-A", auth, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions",
	}
	if opts.Password != "" {
		file := filepath.Join(c.Dir, "password")
		if err := os.WriteFile(file, []byte(opts.Password+"\n"), 0o600); err != nil {
			return err
		}
		defer os.Remove(file)
		if err := chown(file, c.cred); err != nil {
			return err
		}
		args = append(args, "--pwfile="+file)
	}
	cmd := exec.Command(filepath.Join(c.BinDir, "initdb"), append(args, opts.InitArgs...)...)
	cmd.Dir = c.Dir
	cmd.Env = baseEnv(c.BinDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// configure adds the settings to postgresql.conf. Address and port are given on the server's command line.
func (c *Cluster) configure(settings map[string]string) error {
	all := maps.Clone(defaults)
	maps.Copy(all, settings)
	var b strings.Builder
	b.WriteString("\n# pgtest\n")
	quote := strings.NewReplacer(`\`, `\\`, `'`, `''`)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, quote.Replace(all[name]))
	}
	f, err := os.OpenFile(filepath.Join(c.DataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	return errors.Join(err, f.Close())
}

// Stop stops the server at once and removes the folder. Calling it again does nothing.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guard == nil {
		return nil
	}
	err := errors.Join(c.halt(syscall.SIGQUIT), c.guard.release())
	c.guard = nil
	return err
}

// Kill stops the server as a crash does (immediate shutdown: no checkpoint, recovery at the next start) and keeps the
// folder for StartAgain.
func (c *Cluster) Kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.halt(syscall.SIGQUIT)
}

// StartAgain starts the server after Kill, on the same port.
func (c *Cluster) StartAgain() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.startServer()
}

// Restart stops the server in the given mode of pg_ctl ("fast", "immediate" or "smart") and starts it again on the same
// port.
func (c *Cluster) Restart(mode string) error {
	sig, ok := map[string]syscall.Signal{
		"smart": syscall.SIGTERM, "fast": syscall.SIGINT, "immediate": syscall.SIGQUIT,
	}[mode]
	if !ok {
		return fmt.Errorf("unknown shutdown mode %q", mode)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.halt(sig); err != nil {
		return err
	}
	return c.startServer()
}

// ConnString is a keyword connection string for the superuser.
func (c *Cluster) ConnString(db string) string {
	s := fmt.Sprintf("host=%s port=%d user=%s dbname=%s", quoteConnValue(c.Host), c.Port, superuser, quoteConnValue(db))
	if c.password != "" {
		s += " password=" + quoteConnValue(c.password)
	}
	return s
}

func quoteConnValue(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// Env is the environment of this process with PGHOST, PGPORT, PGUSER (and PGPASSWORD) for this cluster in place of every
// libpq variable, and with BinDir first in PATH.
func (c *Cluster) Env() []string {
	env := append(baseEnv(c.BinDir), "PGHOST="+c.Host, "PGPORT="+strconv.Itoa(c.Port), "PGUSER="+superuser)
	if c.password != "" {
		env = append(env, "PGPASSWORD="+c.password)
	}
	return env
}

// baseEnv is the environment without libpq's variables, with binDir first in PATH.
func baseEnv(binDir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") && !strings.HasPrefix(v, "PG_") || strings.HasPrefix(v, "PATH=")
	})
	return append(env, "PATH="+binDir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// Command is a PostgreSQL client program of this version, pointed at this cluster by its environment.
func (c *Cluster) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.BinDir, name), args...)
	cmd.Env = c.Env()
	return cmd
}
