package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
)

// startPooler runs a pgbouncer in front of a database, in transaction mode, and returns its port.
func startPooler(t *testing.T, c *pgtest.Cluster, db, extra string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	dir, err := os.MkdirTemp("", "pg_scribe-pooler-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := fmt.Sprintf("[databases]\n%s = host=%s port=%d\n"+
		"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%s\nunix_socket_dir=\nauth_type=trust\nauth_file=%s\npool_mode=transaction\n%s\n",
		db, c.SocketDir, c.Port, port, filepath.Join(dir, "users"), extra)
	for name, text := range map[string]string{"ini": config, "users": `"postgres" ""` + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{filepath.Join(dir, "ini")}
	if os.Geteuid() == 0 { // which pgbouncer refuses
		args = append([]string{"-u", "postgres"}, args...)
	}
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // not in everybody's PATH
	}
	pooler := exec.Command(program, args...)
	if err := pooler.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pooler.Process.Kill()
		pooler.Wait()
	})
	waitFor(t, "pgbouncer", func() bool {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return port
}

// TestThroughPooler: a pooler that refuses what a session is to begin with, and one that ignores it. Every command says so
// in one line, and leaves nothing behind.
func TestThroughPooler(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY)")
	for name, extra := range map[string]string{
		"refuses": "",
		"ignores": "ignore_startup_parameters = extra_float_digits,options,search_path,datestyle,intervalstyle,timezone,bytea_output,lc_monetary," +
			"statement_timeout,idle_in_transaction_session_timeout,idle_session_timeout,default_transaction_read_only,lock_timeout,replication",
	} {
		port := startPooler(t, c, s.db, extra)
		for _, args := range [][]string{
			{"init", "-f", filepath.Join(t.TempDir(), "new"), "-S", "pooled"}, {"status", "-S", "none"}, {"mark", "m"}, {"drop", "--yes"},
			{"start", "-f", s.dir}, {"start", "-f", "-"}, {"full-backup", "-f", s.dir}, {"restore", "-f", s.dir},
		} {
			t.Run(name+" "+args[0], func(t *testing.T) {
				s.t = t
				before := s.state(s.db, s.dir)
				o := s.run(append(args, "-d", "host=127.0.0.1 port="+port+" user=postgres dbname="+s.db)...)
				o.refused(t, exitConnection, "a connection pooler answers on 127.0.0.1 port "+port, "pg_scribe "+args[0]+" -h SERVER -p 5432 -U postgres -d "+s.db)
				if after := s.state(s.db, s.dir); after != before {
					t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
				}
			})
		}
	}
}
