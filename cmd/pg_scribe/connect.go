package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/term"

	"pg_scribe/stream"
)

// connString makes one connection string of the flags. What stands in -d as a
// keyword string or URI goes before -h, -p and -U, as in libpq; what nothing
// says comes from libpq's environment and files when it is parsed.
func (f connFlags) connString() string {
	given := [][2]string{{"host", f.Host}, {"port", f.Port}, {"user", f.Username}}
	switch {
	case isURI(f.Dbname):
		return completeURI(f.Dbname, given)
	case strings.Contains(f.Dbname, "="):
		return keywords(given) + f.Dbname
	}
	return keywords(append(given, [2]string{"dbname", f.Dbname}))
}

func isURI(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

// keywords writes settings so that their values read back as they are.
func keywords(list [][2]string) string {
	var b strings.Builder
	for _, kv := range list {
		if kv[1] != "" {
			fmt.Fprintf(&b, "%s='%s' ", kv[0], strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(kv[1]))
		}
	}
	return b.String()
}

// completeURI adds what a URI lacks as parameters.
func completeURI(uri string, given [][2]string) string {
	_, rest, _ := strings.Cut(uri, "://")
	rest, query, _ := strings.Cut(rest, "?")
	authority, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndex(authority, "@")
	hosts := authority[at+1:]
	user, _, _ := strings.Cut(authority[:max(at, 0)], ":")
	has := map[string]bool{"user": user != "", "host": hosts != "" && hosts[0] != ':',
		"port": strings.Contains(hosts[strings.LastIndex(hosts, "]")+1:], ":")}
	for _, parameter := range strings.Split(query, "&") {
		name, _, _ := strings.Cut(parameter, "=")
		has[name] = true
	}
	for _, kv := range given {
		if kv[1] != "" && !has[kv[0]] {
			uri = withSetting(uri, kv[0], kv[1])
		}
	}
	return uri
}

// withSetting returns the connection string with one setting replaced: of
// several the last counts, and a URI's parameters go before its parts.
func withSetting(connString, name, value string) string {
	if !isURI(connString) {
		return strings.TrimRight(connString, " ") + " " + strings.TrimRight(keywords([][2]string{{name, value}}), " ")
	}
	separator := "?"
	if strings.Contains(connString, "?") {
		separator = "&"
	}
	return connString + separator + name + "=" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

// connect finds out how to reach the database, asks for a password if that is
// wanted, and proves that the server lets us in. It returns the connection
// string that the packages below take.
func (a *app) connect(ctx context.Context, f connFlags) (string, error) {
	return a.connectTo(ctx, f, "")
}

// connectTo proves the connection with another database of the same server,
// if one is named; the string returned is still that of the flags.
func (a *app) connectTo(ctx context.Context, f connFlags, probe string) (string, error) {
	s := f.connString()
	cfg, err := pgx.ParseConfig(s)
	if err != nil {
		return "", &usageError{"the connection settings cannot be used: " + parseFault(err), "-d takes a name, 'key=value …' or postgresql://user@host:port/database"}
	}
	a.facts.setConn(f, &cfg.Config)
	if f.Password {
		password, err := a.askPassword("Password: ")
		if err != nil {
			return "", err
		}
		s = withSetting(s, "password", password)
	}
	err = a.probe(ctx, s, probe)
	var refused *stream.ConnectError
	if !errors.As(err, &refused) || refused.Fault != stream.FaultPassword || !a.mayAsk(f, cfg.Password, refused.Err) {
		return s, err
	}
	password, err := a.askPassword(fmt.Sprintf("Password for user %s: ", oneLine(cfg.User)))
	if err != nil {
		return "", err
	}
	s = withSetting(s, "password", password)
	return s, a.probe(ctx, s, probe)
}

func (a *app) probe(ctx context.Context, s, database string) error {
	if database != "" {
		s = withSetting(s, "dbname", database)
	}
	conn, err := stream.Connect(ctx, s)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// mayAsk tells whether a password would help and somebody is there to give
// one.
func (a *app) mayAsk(f connFlags, known string, refusal error) bool {
	var pg *pgconn.PgError
	if errors.As(refusal, &pg) && pg.Code == "28000" { // no password would change that
		return false
	}
	in, isFile := a.stdin.(*os.File)
	return known == "" && !f.Password && !f.NoPassword && isFile && term.IsTerminal(int(in.Fd()))
}

// errNoTerminal: a password or an answer is wanted and nobody can be asked.
var errNoTerminal = errors.New("there is no terminal to ask on")

// errNoPassword: the question was left with Ctrl-C or Ctrl-D.
var errNoPassword = errors.New("no password was given")

// askTerminal reads a password from the terminal, unseen. Echo is off before
// the question appears.
func askTerminal(prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", errNoTerminal
	}
	defer tty.Close()
	state, err := term.MakeRaw(int(tty.Fd()))
	if err != nil {
		return "", errNoTerminal
	}
	defer term.Restore(int(tty.Fd()), state)
	password, err := term.NewTerminal(tty, "").ReadPassword(prompt)
	if errors.Is(err, io.EOF) { // Ctrl-C arrives as a key
		err = errNoPassword
	}
	return password, err
}

// parseFault is what is wrong with a connection string, without the string:
// it may hold a password.
func parseFault(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		return text[i+3:]
	}
	return text
}

// setConn keeps the flags that lead to the same database, for hints.
func (f *facts) setConn(flags connFlags, cfg *pgconn.Config) {
	f.base, f.role, f.conn = cfg.Database, cfg.User, nil
	if f.base == "" {
		f.base = cfg.User // as the server reads it
	}
	if isURI(flags.Dbname) || strings.Contains(flags.Dbname, "=") {
		flags = connFlags{Dbname: cfg.Database, Host: cfg.Host, Port: fmt.Sprint(cfg.Port), Username: cfg.User}
	}
	for _, kv := range [][2]string{{"-d", flags.Dbname}, {"-h", flags.Host}, {"-p", flags.Port}, {"-U", flags.Username}} {
		if kv[1] != "" {
			f.conn = append(f.conn, kv[0], kv[1])
		}
	}
}
