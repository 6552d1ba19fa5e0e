package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pg_scribe/internal/pgtest"
)

// withoutLibpq keeps libpq's settings of who runs the tests out of them.
func withoutLibpq(t *testing.T) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PG_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
}

// asPsql is a connection string that psql and pg_scribe are to read alike.
type asPsql struct {
	conn  string
	env   []string // NAME=VALUE
	since int      // the version of psql that first knows it
}

// check compares both, and makes sure that no output holds a part of the password.
func (tc asPsql) check(t *testing.T, b *bench, works bool) {
	for _, v := range tc.env {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	b = &bench{t, b.c, append(os.Environ(), "PATH="+b.c.BinDir+":"+os.Getenv("PATH"))}
	psql := exec.Command(filepath.Join(b.c.BinDir, "psql"), "-XAtqw", "-d", tc.conn, "-c", "SELECT 'in'")
	psql.Env = os.Environ()
	text, err := psql.CombinedOutput()
	if in := err == nil && strings.Contains(string(text), "in"); in != works && b.c.Major >= tc.since {
		t.Errorf("psql connects: %v, want %v: %s", in, works, text)
	}
	for _, args := range [][]string{{"status", "-S", "none"}, {"status", "-S", "none", "--output", "json", "-v"}} {
		o := b.run(append(args, "-w", "-d", tc.conn)...)
		if works != (o.code == exitSlot) || !works && o.code != exitConnection && o.code != exitUsage {
			t.Errorf("exit code %d\n%s%s", o.code, o.out, o.errors)
		}
		for _, part := range []string{"Zebra", "Quokka"} {
			if strings.Contains(o.out+o.errors, part) {
				t.Errorf("the password is shown: %s%s", o.out, o.errors)
			}
		}
	}
}

// TestConnectionStringsAsPsql compares with psql, on a server that wants a password with odd characters.
func TestConnectionStringsAsPsql(t *testing.T) {
	withoutLibpq(t)
	const password = `Zebra^|{}#?[]'\<>!$*()~"Quokka`
	c := pgtest.New(t, pgtest.Options{Auth: "scram-sha-256", Password: password})
	b, db := newBench(t, c), c.CreateDB(t, "cli")
	enc := strings.ReplaceAll(url.QueryEscape(password), "+", "%20")
	socket := strings.ReplaceAll(c.SocketDir, "/", "%2F")
	quoted := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'"
	tcp := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=%s password=%s ", c.Port, db, quoted)
	local := fmt.Sprintf("host=%s port=%d user=postgres dbname=%s password=%s ", c.SocketDir, c.Port, db, quoted)
	uri := fmt.Sprintf("postgresql://postgres:%s@127.0.0.1:%d/%s", enc, c.Port, db)
	info, err := os.Stat(c.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := user.LookupId(fmt.Sprint(info.Sys().(*syscall.Stat_t).Uid))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	pgpass := "127.0.0.1:*:*:postgres:" + strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(password) + "\n"
	service := write("services", fmt.Sprintf("# mine\n[other]\nhost=nowhere.invalid\n"+
		"[mine]\nhost=127.0.0.1\nport=%d\nuser=postgres\ndbname=%s\npassword=%s\nkeepalives_idle=60\n",
		c.Port, db, password), 0o600)
	broken := write("services", "[mine]\nhost = 127.0.0.1\npassword=Zebra\n", 0o600)
	noPassword := strings.Replace(tcp, "password="+quoted, "", 1)
	good := []asPsql{
		{conn: fmt.Sprintf("postgresql://postgres:%s@%s:%d/%s", enc, socket, c.Port, db)},
		{conn: fmt.Sprintf("postgresql://postgres:%s@127.0.0.1:%d/%s", password, c.Port, db)},
		{conn: fmt.Sprintf("postgresql:///%s?host=%s&port=%d&user=postgres&password=%s", db, c.SocketDir, c.Port, enc)},
		{conn: fmt.Sprintf("postgres://post%%67res:%s@127.0.0.1:1,127.0.0.1:%d/%s", enc, c.Port, db)},
		{conn: fmt.Sprintf("postgresql://postgres:%s@127.0.0.1,localhost/%s?port=%d", enc, db, c.Port)},
		{conn: uri + "?options=-c%20work_mem%3D8MB%20-c%20search_path%3Da%2C%5C%20b"},
		{conn: uri + "?application_name=a%20b%2Bc+d"}, {conn: uri + "?ssl=true&sslmode=disable"}, {conn: uri + "?"},
		{conn: fmt.Sprintf("host = 127.0.0.1 port = %d user = postgres password = %s dbname = '%s'", c.Port, quoted, db)},
		{conn: tcp + `options='-c work_mem=8MB -c search_path=a,\\ b'`}, {conn: tcp + "hostaddr=127.0.0.1"},
		{conn: strings.Replace(tcp, "host=127.0.0.1", "host=nowhere.invalid", 1) + "hostaddr=127.0.0.1"},
		{conn: strings.Replace(tcp, "host=127.0.0.1", "host=a.invalid,b.invalid", 1) + "hostaddr=127.0.0.2,127.0.0.1 sslmode=disable"},
		{conn: tcp + "keepalives=0"}, {conn: tcp + "keepalives=1 keepalives_idle=30 keepalives_interval=10 keepalives_count=3"},
		{conn: tcp + "tcp_user_timeout=10000"}, {conn: tcp + "gssencmode=disable"}, {conn: tcp + "gssencmode=prefer krbsrvname=x"},
		{conn: tcp + "fallback_application_name=job"}, {conn: local + "requirepeer=" + owner.Username},
		{conn: tcp + "requirepeer=nobody"},
		{conn: tcp + "sslcrl=/dev/null sslcompression=0 sslsni=0"}, {conn: tcp + "ssl_min_protocol_version=TLSv1.2 ssl_max_protocol_version=tlsv1.3"},
		{conn: tcp + "load_balance_hosts=random", since: 16}, {conn: tcp + "require_auth=scram-sha-256", since: 16}, {conn: tcp + "channel_binding=prefer"},
		{conn: tcp + "connect_timeout=' 5 '"}, {conn: tcp + "connect_timeout=-1"}, {conn: tcp + "client_encoding=auto"},
		{conn: tcp + "target_session_attrs=read-write"},
		{conn: tcp + "sslpassword=Zebra"}, {conn: tcp + "sslmode=prefer sslrootcert=/nonexistent sslcert=/nonexistent"}, {conn: local + "sslmode=verify-full"},
		{conn: "service=mine", env: []string{"PGSERVICEFILE=" + service}}, {conn: "postgresql://?service=mine", env: []string{"PGSERVICEFILE=" + service}},
		{conn: db, env: []string{"PGSERVICEFILE=" + service, "PGSERVICE=mine"}},
		{conn: db, env: []string{"PGHOST=nowhere.invalid", "PGHOSTADDR=127.0.0.1", fmt.Sprint("PGPORT=", c.Port), "PGUSER=postgres", "PGPASSWORD=" + password}},
		{conn: noPassword, env: []string{"PGPASSFILE=" + write("pass", pgpass, 0o600)}},
		{conn: noPassword + "passfile=" + write("pass", "# x\nx:*:*:*:no\n"+pgpass, 0o600)},
	}
	bad := []asPsql{
		{conn: tcp + "keepalive=1"}, {conn: tcp + "port=0"}, {conn: tcp + "port=x"}, {conn: tcp + "sslmode=maybe"}, {conn: tcp + "sslmode=require"},
		{conn: tcp + "hostaddr=127.0.0.1,127.0.0.1"}, {conn: tcp + "port=1,2"}, {conn: local + "requirepeer=nobody"}, {conn: tcp + "connect_timeout=soon"},
		{conn: tcp + "keepalives=on"}, {conn: tcp + "gssencmode=require"}, {conn: tcp + "channel_binding=require"}, {conn: tcp + "target_session_attrs=standby"},
		{conn: tcp + "target_session_attrs=best"}, {conn: tcp + "sslmode=verify-ca sslrootcert=/nonexistent"}, {conn: tcp + "ssl_min_protocol_version=TLSv9"},
		{conn: tcp + "require_auth=none", since: 16}, {conn: "service=none", env: []string{"PGSERVICEFILE=" + service}},
		{conn: "service=mine", env: []string{"PGSERVICEFILE=" + broken}}, {conn: "service=mine", env: []string{"PGSERVICEFILE=/nonexistent"}},
		{conn: noPassword, env: []string{"PGPASSFILE=" + write("pass", pgpass, 0o644)}}, {conn: uri + "?nosuch=1"}, {conn: uri + "?password=Zebra&Quokka"},
		{conn: "postgresql://postgres:Zebra%zz@127.0.0.1/d"}, {conn: "postgresql://postgres:Zebra@Quokka@127.0.0.1/d"}, {conn: "password='Zebra"},
		{conn: "postgresql://postgres:Zebra/Quokka@127.0.0.1/d"}, {conn: "host=127.0.0.1 password=Zebra Quokka"}, {conn: "postgre://u:Zebra@h/d?x=Quokka"},
	}
	for n, tc := range append(good, bad...) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Log(tc.conn, tc.env)
			tc.check(t, b, n < len(good))
		})
	}
}

// TestOptionsAreMerged: options of the user do not take away what pins the text of a base, and secrets are not among the
// arguments of pg_dump, which --verbose shows.
func TestOptionsAreMerged(t *testing.T) {
	withoutLibpq(t)
	c := pgtest.Shared(t)
	for n, how := range []string{"string", "environment"} {
		b, db := newBench(t, c), c.CreateDB(t, "cli")
		c.Exec(t, db, `CREATE TABLE t (i int PRIMARY KEY, b bytea); INSERT INTO t VALUES (1, '\x4141ff');
		  ALTER DATABASE `+quoted(db)+` SET bytea_output = 'escape'`)
		conn := c.ConnString(db) + " password=Zebra sslpassword=Quokka"
		if how == "string" {
			conn += ` options='-c work_mem=8MB -c application_name=a\\ b'`
		} else {
			t.Setenv("PGOPTIONS", `-c work_mem=8MB -c application_name=a\ b`)
		}
		dir, slot := filepath.Join(t.TempDir(), "repo"), fmt.Sprintf("cli_merged_%d", n)
		o := b.must("init", "-v", "-d", conn, "-f", dir, "-S", slot, "-Z", "none")
		if said := o.out + o.errors; !strings.Contains(said, "running pg_dump '--dbname=") || strings.Contains(said, "Zebra") || strings.Contains(said, "Quokka") {
			t.Errorf("by %s: %s", how, said)
		}
		bases, err := filepath.Glob(filepath.Join(dir, "base-*.sql"))
		if err != nil || len(bases) != 1 {
			t.Fatal(bases, err)
		}
		text, err := os.ReadFile(bases[0])
		if err != nil || !strings.Contains(string(text), `\\x4141ff`) {
			t.Errorf("by %s: the base has bytea in another form: %v %s", how, err, text)
		}
		left, err := filepath.Glob(filepath.Join(os.TempDir(), "pg_scribe-service-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		b.must("drop", "-d", conn, "-S", slot, "--yes")
	}
}
