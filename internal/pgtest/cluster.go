package pgtest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"pg_scribe/internal/throwaway"
)

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
	*throwaway.Server        // the server also listens on 127.0.0.1
	SocketDir         string // Dir
	Host              string // what ConnString uses: SocketDir
	Major             int    // major version of the server

	password string
}

// newCluster makes the place for a cluster.
func newCluster(binDir, password string) (*Cluster, error) {
	s, err := throwaway.New(throwaway.Place{BinDir: binDir, Prefix: "pgtest-", Mode: 0o755, TCP: true})
	if err != nil {
		return nil, err
	}
	return &Cluster{Server: s, SocketDir: s.Dir, Host: s.Dir, password: password}, nil
}

// Start makes a cluster and returns when it accepts connections. The caller must Stop it. When it fails, nothing is left,
// and the error ends with the last lines of the server's log.
func Start(opts Options) (*Cluster, error) {
	binDir, err := findBinDir(opts.Version)
	if err != nil {
		return nil, err
	}
	c, err := newCluster(binDir, opts.Password)
	if err != nil {
		return nil, err
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
	if c.Major, err = c.Server.Major(); err != nil {
		return err
	}
	all := maps.Clone(defaults)
	maps.Copy(all, opts.Settings)
	if err := c.Configure(all); err != nil {
		return err
	}
	return c.Server.Start()
}

// initDB fills c.DataDir.
func initDB(c *Cluster, opts Options) error {
	args := []string{"-A", cmp.Or(opts.Auth, "trust"), "-E", "UTF8", "--locale=C.UTF-8"}
	return c.InitDB(opts.Password, append(args, opts.InitArgs...)...)
}

// Kill stops the server as a crash does (immediate shutdown: no checkpoint, recovery at the next start) and keeps the
// folder for StartAgain.
func (c *Cluster) Kill() error { return c.Halt(syscall.SIGQUIT) }

// Restart stops the server in the given mode of pg_ctl ("fast", "immediate" or "smart") and starts it again on the same
// port.
func (c *Cluster) Restart(mode string) error {
	sig, ok := map[string]syscall.Signal{
		"smart": syscall.SIGTERM, "fast": syscall.SIGINT, "immediate": syscall.SIGQUIT,
	}[mode]
	if !ok {
		return fmt.Errorf("unknown shutdown mode %q", mode)
	}
	if err := c.Halt(sig); err != nil {
		return err
	}
	return c.StartAgain()
}

// ConnString is a keyword connection string for the superuser.
func (c *Cluster) ConnString(db string) string {
	s := c.Server.ConnString(db)
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
	env := append(throwaway.Env(c.BinDir), "PGHOST="+c.Host, "PGPORT="+strconv.Itoa(c.Port), "PGUSER="+throwaway.Superuser)
	if c.password != "" {
		env = append(env, "PGPASSWORD="+c.password)
	}
	return env
}

// Command is a PostgreSQL client program of this version, pointed at this cluster by its environment.
func (c *Cluster) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.BinDir, name), args...)
	cmd.Env = c.Env()
	return cmd
}
