package conninfo

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// A Tool is how a program of libpq gets to the server that pgx gets to. Everybody can see a program's arguments, so
// secrets go another way.
type Tool struct {
	Dbname string // for --dbname: everything but secrets and settings of the session
	env    []string
	file   string // a service file with what has no variable, or ""
}

// ForTool makes a connection string fit for libpq's programs. The settings in options are put behind those of the user,
// so that they win. Close must be called when the program has ended.
func ForTool(connString, options string) (*Tool, error) {
	i, err := Parse(connString)
	if err != nil {
		return nil, err
	}
	r, err := i.resolve()
	if err != nil {
		return nil, err
	}
	cfg, err := i.Config()
	if err != nil {
		return nil, err
	}
	shown := r.explicit.Without("options", "client_encoding", "replication", "load_balance_hosts")
	// What pgx assumes need not be what the program was built with.
	shown = shown.Default("user", cfg.User).Default("dbname", cfg.Database).Default("port", r.get("port")).Default("hostaddr", r.get("hostaddr"))
	if _, has := r.all.Get("hostaddr"); has && r.get("host") == "" {
		shown = shown.Without("host")
	} else {
		shown = shown.Default("host", or(r.get("host"), cfg.Host))
	}
	t := &Tool{Dbname: shown.String()}
	if all := strings.TrimSpace(r.get("options") + " " + options); all != "" {
		t.env = append(t.env, "PGOPTIONS="+all)
	}
	password := r.get("password")
	if !strings.ContainsAny(r.get("host")+r.get("hostaddr"), ",") {
		password = cfg.Password // of the password file: the program may look for the server by another name
	}
	if password != "" {
		t.env = append(t.env, "PGPASSWORD="+password)
	}
	var secrets Info
	for _, s := range shown.list {
		if s.hidden() && s.name != "password" {
			secrets = secrets.With(s.name, s.value)
		}
	}
	if len(secrets.list) > 0 {
		if err := t.write(secrets); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// write puts secrets into a service file that only this user can read.
func (t *Tool) write(secrets Info) error {
	text := "[pg_scribe]\n"
	for _, s := range secrets.list {
		if strings.ContainsAny(s.value, "\r\n") || s.value != strings.TrimRight(s.value, blanks) {
			return bad(s.name, "it must neither hold a line feed nor end with a blank")
		}
		text += s.name + "=" + s.value + "\n"
	}
	f, err := os.CreateTemp("", "pg_scribe-service-") // 0600
	if err != nil {
		return err
	}
	t.file = f.Name()
	_, err = f.WriteString(text)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		t.Close()
		return fmt.Errorf("writing a service file: %w", err)
	}
	t.env = append(t.env, "PGSERVICEFILE="+t.file, "PGSERVICE=pg_scribe")
	return nil
}

// Environ is the environment for the program, made of the one that it would have. A service is resolved already, and
// the encoding is the program's own affair.
func (t *Tool) Environ(base []string) []string {
	out := slices.DeleteFunc(slices.Clone(base), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"PGSERVICE", "PGSERVICEFILE", "PGCLIENTENCODING", "PGOPTIONS", "PGPASSWORD", "PGHOST", "PGHOSTADDR",
			"PGPORT", "PGUSER", "PGDATABASE"}, name)
	})
	return append(out, t.env...)
}

// Close removes what was made for the program.
func (t *Tool) Close() {
	if t.file != "" {
		os.Remove(t.file)
	}
}
