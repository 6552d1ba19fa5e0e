package conninfo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// forPgx are the parameters that pgx understands as libpq does. The others are seen to here, and nothing that libpq
// keeps for itself is sent to the server.
var forPgx = []string{"user", "dbname", "sslnegotiation", "sslcertmode", "sslsni", "krbsrvname", "target_session_attrs",
	"min_protocol_version", "max_protocol_version", "channel_binding", "require_auth"}

// Config reads a connection string for pgx, with what libpq's environment and files add. client_encoding and
// replication are left out: each connection chooses them for itself.
func Config(connString string) (*pgx.ConnConfig, error) {
	i, err := Parse(connString)
	if err != nil {
		return nil, err
	}
	return i.Config()
}

// Config is the function of the same name for a string that is read already.
func (i Info) Config() (*pgx.ConnConfig, error) {
	r, err := i.resolve()
	if err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	list, err := r.endpoints()
	if err != nil {
		return nil, err
	}
	if r.get("load_balance_hosts") == "random" {
		rand.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
	}
	cfg, err := r.parse(list)
	if err != nil {
		return nil, err
	}
	if err := r.secure(cfg, list); err != nil {
		return nil, err
	}
	setAddresses(&cfg.Config, list)
	if err := r.setDialer(&cfg.Config); err != nil {
		return nil, err
	}
	r.setPasswords(&cfg.Config, list)
	cfg.RuntimeParams = map[string]string{}
	for name, value := range map[string]string{"options": r.get("options"), "timezone": os.Getenv("PGTZ"),
		"application_name": or(r.get("application_name"), r.get("fallback_application_name"))} {
		if value != "" {
			cfg.RuntimeParams[name] = value
		}
	}
	return cfg, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// check refuses what libpq refuses, and what could only be ignored at the cost of security.
func (r resolved) check() error {
	for name, values := range map[string][]string{
		"sslmode":              {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
		"sslnegotiation":       {"postgres", "direct"},
		"sslcertmode":          {"disable", "allow", "require"},
		"channel_binding":      {"disable", "prefer", "require"},
		"gssencmode":           {"disable", "prefer", "require"},
		"target_session_attrs": {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
		"load_balance_hosts":   {"disable", "random"},
		"min_protocol_version": {"3.0", "3.2", "latest"},
		"max_protocol_version": {"3.0", "3.2", "latest"},
	} {
		if err := r.oneOf(name, values...); err != nil {
			return err
		}
	}
	for _, name := range []string{"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"} {
		if _, err := r.number(name, 0); err != nil {
			return err
		}
	}
	for _, name := range []string{"dbname", "host"} {
		if err := misplaced(name, r.get(name)); err != nil {
			return err
		}
	}
	switch {
	case r.get("gssencmode") == "require":
		return bad("gssencmode", "encryption by GSSAPI is not supported: use sslmode instead")
	case r.get("scram_client_key") != "" || r.get("scram_server_key") != "":
		return bad("scram_client_key", "logging in by a key is not supported: give the password")
	}
	return nil
}

// parse lets pgx read what it understands. No secret is handed over, because pgx's errors repeat the string.
func (r resolved) parse(list []endpoint) (*pgx.ConnConfig, error) {
	var hosts, ports []string
	for _, e := range list {
		host := e.host
		switch {
		case strings.HasPrefix(host, "@"):
			return nil, bad("host", "sockets in the abstract namespace are not supported")
		case host == "" || e.address != "" && filepath.IsAbs(host): // the socket is not used
			host = e.address
		}
		hosts, ports = append(hosts, host), append(ports, e.port)
	}
	var handed Info
	for _, name := range forPgx {
		if v := r.get(name); v != "" {
			handed = handed.With(name, v)
		}
	}
	handed = handed.With("host", strings.Join(hosts, ",")).With("port", strings.Join(ports, ","))
	handed = handed.With("password", "").With("passfile", "").With("connect_timeout", "0").With("options", "")
	handed, err := r.withTLS(handed)
	if err != nil {
		return nil, err
	}
	// What pgx finds in the environment is resolved already; only a service would be read again.
	if service := os.Getenv("PGSERVICE"); service != "" {
		file, err := emptyService(service)
		if err != nil {
			return nil, err
		}
		defer os.Remove(file)
		handed = handed.With("servicefile", file)
	}
	options := pgx.ParseConfigOptions{}
	if password := r.get("sslpassword"); password != "" {
		options.GetSSLPassword = func(context.Context) string { return password }
	}
	cfg, err := pgx.ParseConfigWithOptions(handed.Keywords(), options)
	if err == nil {
		if cfg.Database == "" {
			cfg.Database = cfg.User // as the server reads it
		}
		return cfg, nil
	}
	if cause := errors.Unwrap(err); cause != nil {
		return nil, bad("", "%v", cause)
	}
	text := err.Error()
	return nil, bad("", "%s", text[strings.LastIndex(text, "`: ")+1:])
}

// emptyService is a service file that says nothing.
func emptyService(name string) (file string, err error) {
	f, err := os.CreateTemp("", "pg_scribe-service-")
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintf(f, "[%s]\n", name)
	return f.Name(), errors.Join(err, f.Close())
}

// setAddresses makes each attempt go to the address of hostaddr. The certificate is still that of the host.
func setAddresses(cfg *pgconn.Config, list []endpoint) {
	sockets := 0
	for _, e := range list {
		if filepath.IsAbs(e.attempt()) {
			sockets++
		}
	}
	each := 1 // others may have two, with TLS and without
	if others := len(list) - sockets; others > 0 {
		each = (1 + len(cfg.Fallbacks) - sockets) / others
	}
	at := 0
	for _, e := range list {
		times := each
		if filepath.IsAbs(e.attempt()) {
			times = 1
		}
		for range times {
			if at == 0 {
				cfg.Host = e.attempt()
			} else {
				cfg.Fallbacks[at-1].Host = e.attempt()
			}
			at++
		}
	}
}

// setDialer applies what libpq does with a socket.
func (r resolved) setDialer(cfg *pgconn.Config) error {
	number := func(name string, otherwise int) int { n, _ := r.number(name, otherwise); return n } // check has read them
	dialer := &net.Dialer{}
	if seconds := number("connect_timeout", 0); seconds > 0 {
		cfg.ConnectTimeout = time.Duration(max(seconds, 2)) * time.Second
		dialer.Timeout = cfg.ConnectTimeout
	}
	dialer.KeepAliveConfig = net.KeepAliveConfig{
		Enable:   number("keepalives", 1) != 0,
		Idle:     time.Duration(number("keepalives_idle", 0)) * time.Second,
		Interval: time.Duration(number("keepalives_interval", 0)) * time.Second,
		Count:    number("keepalives_count", 0),
	}
	if !dialer.KeepAliveConfig.Enable {
		dialer.KeepAlive = -1
	}
	if timeout := number("tcp_user_timeout", 0); timeout > 0 {
		dialer.Control = func(network, _ string, conn syscall.RawConn) error {
			if strings.HasPrefix(network, "tcp") {
				return setUserTimeout(conn, timeout)
			}
			return nil
		}
	}
	cfg.DialFunc = dialer.DialContext
	return nil
}

// setPasswords finds the password of each server, and has the owner of a socket checked before anything is sent.
func (r resolved) setPasswords(cfg *pgconn.Config, list []endpoint) {
	cfg.Password = r.get("password")
	byServer := map[string]string{}
	if cfg.Password == "" {
		for _, e := range list {
			password := passwordOf(r.get("passfile"), e.name(), e.port, cfg.Database, cfg.User)
			if _, has := byServer[e.attempt()+" "+e.port]; !has {
				byServer[e.attempt()+" "+e.port] = password
			}
		}
		cfg.Password = byServer[list[0].attempt()+" "+list[0].port]
	}
	track := &addresses{host: map[string]string{}}
	lookup := cfg.LookupFunc
	cfg.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		found, err := lookup(ctx, host)
		track.add(host, found)
		return found, err
	}
	peer := r.get("requirepeer")
	cfg.AfterNetConnect = func(_ context.Context, used *pgconn.Config, conn net.Conn) (net.Conn, error) {
		if password, has := byServer[track.server(conn)]; has {
			used.Password = password
		}
		if unix, is := conn.(*net.UnixConn); is && peer != "" {
			return conn, checkPeer(unix, peer)
		}
		return conn, nil
	}
}

// addresses remembers which host an address was found for.
type addresses struct {
	sync.Mutex
	host map[string]string
}

func (a *addresses) add(host string, found []string) {
	a.Lock()
	defer a.Unlock()
	for _, address := range found {
		if _, has := a.host[address]; !has {
			a.host[address] = host
		}
	}
}

// server is the host and port that a connection was made to.
func (a *addresses) server(conn net.Conn) string {
	switch at := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		a.Lock()
		defer a.Unlock()
		return fmt.Sprintf("%s %d", or(a.host[at.IP.String()], at.IP.String()), at.Port)
	case *net.UnixAddr:
		return filepath.Dir(at.Name) + " " + strings.TrimPrefix(filepath.Ext(at.Name), ".")
	}
	return ""
}

// checkPeer makes sure that the process at the other end of a socket is of the user whom requirepeer names.
func checkPeer(conn *net.UnixConn, name string) error {
	uid, err := peerOf(conn)
	if err != nil {
		return err
	}
	owner, err := user.LookupId(fmt.Sprint(uid))
	if err != nil {
		return fmt.Errorf("requirepeer: the server runs as a user without a name, %d", uid)
	}
	if owner.Username != name {
		return fmt.Errorf("requirepeer names %q, and the server runs as %q", name, owner.Username)
	}
	return nil
}
