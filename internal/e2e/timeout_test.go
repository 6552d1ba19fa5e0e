package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pg_scribe/repo"
	"pg_scribe/stream"
)

// Limits that a server sets for its users are not for a base, which keeps a
// transaction open as long as it takes.
func TestBaseOutlastsTheServersTimeouts(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)`)
	limits := []string{"statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"}
	if tr.source.Major >= 17 {
		limits = append(limits, "transaction_timeout")
	}
	for _, name := range limits {
		tr.run("ALTER DATABASE " + tr.db + " SET " + name + " = '1s'")
	}
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	slow := func(ctx context.Context, name string, args ...string) *exec.Cmd {
		cmd := tr.command(ctx, name, args...)
		if name == "pg_dump" && !slices.Contains(args, "--version") {
			wait := exec.CommandContext(ctx, "sh", append([]string{"-c", `sleep 1.5; exec "$0" "$@"`, filepath.Join(tr.source.BinDir, name)}, args...)...)
			wait.Env = cmd.Env
			return wait
		}
		return cmd
	}
	if _, err := stream.FullBackup(context.Background(), r, stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication,
		Command: slow}); err != nil {
		t.Fatal(err)
	}
	tr.run("INSERT INTO t VALUES (1000)")
	r.Close()
	tr.capture()
	tr.back()
	tr.equal()
}
