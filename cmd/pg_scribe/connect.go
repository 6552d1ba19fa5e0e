package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/term"

	"pg_scribe/internal/conninfo"
	"pg_scribe/stream/source"
)

// info reads what the flags say. What stands in -d as a keyword string or URI goes before -h, -p and -U, as in libpq;
// what nothing says comes from libpq's environment and files.
func (f connFlags) info() (conninfo.Info, error) {
	i, err := conninfo.ParseName(f.Dbname)
	return i.Default("host", f.Host).Default("port", f.Port).Default("user", f.Username), err
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
	i, err := f.info()
	if err != nil {
		return "", badSettings(err)
	}
	cfg, err := i.Config()
	if err != nil {
		return "", badSettings(err)
	}
	a.hintContext.setConn(f, i, &cfg.Config)
	if f.Password {
		password, err := a.askPassword("Password: ")
		if err != nil {
			return "", err
		}
		i = i.With("password", password)
	}
	err = a.probe(ctx, i, probe)
	var refused *source.ConnectError
	if !errors.As(err, &refused) || refused.Fault != source.FaultPassword || !a.mayAsk(f, cfg.Password, refused.Err) {
		return i.Keywords(), err
	}
	password, err := a.askPassword(fmt.Sprintf("Password for user %s: ", oneLine(cfg.User)))
	if err != nil {
		return "", err
	}
	i = i.With("password", password)
	return i.Keywords(), a.probe(ctx, i, probe)
}

// badSettings is for what no server was asked about yet.
func badSettings(err error) error {
	return &usageError{"the connection settings cannot be used: " + oneLine(err.Error()),
		"-d takes a name, 'key=value …' or postgresql://user@host:port/database"}
}

func (a *app) probe(ctx context.Context, i conninfo.Info, database string) error {
	if database != "" {
		i = i.With("dbname", database)
	}
	conn, err := source.Connect(ctx, i.Keywords())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// mayAsk says whether a password would help and somebody is there to give
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

// withDatabase returns a connection string that leads to another database of the same server.
func withDatabase(connString, database string) (string, error) {
	i, err := conninfo.Parse(connString)
	return i.With("dbname", database).Keywords(), err
}

// setConn keeps the flags that lead to the same database, for hints. No
// password is among them.
func (f *hintContext) setConn(flags connFlags, i conninfo.Info, cfg *pgconn.Config) {
	f.base, f.role, f.conn = cfg.Database, cfg.User, nil
	if f.base == "" {
		f.base = cfg.User // as the server reads it
	}
	switch hosts, _ := i.Get("host"); {
	case !conninfo.IsString(flags.Dbname):
	case i.Only("host", "port", "user", "dbname", "password") && !strings.Contains(hosts, ","):
		flags = connFlags{Dbname: cfg.Database, Host: cfg.Host, Port: fmt.Sprint(cfg.Port), Username: cfg.User}
	default: // flags could not say it all
		flags = connFlags{Dbname: i.String()}
	}
	for _, kv := range [][2]string{{"-d", flags.Dbname}, {"-h", flags.Host}, {"-p", flags.Port}, {"-U", flags.Username}} {
		if kv[1] != "" {
			f.conn = append(f.conn, kv[0], kv[1])
		}
	}
}
