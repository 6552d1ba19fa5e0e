package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
	"pg_scribe/internal/throwaway"
)

func TestMain(m *testing.M) {
	if reexecuted() {
		return
	}
	pgtest.Main(m)
}

// safeBuffer may be written by the program while a test reads it.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// outcome is what one run of the program did.
type outcome struct {
	args        []string
	code        int
	out, errors string
}

// bench runs the program against a cluster.
type bench struct {
	t   *testing.T
	c   *pgtest.Cluster
	env []string
}

// noServer is for commands that need none.
func noServer() *pgtest.Cluster { return &pgtest.Cluster{Server: &throwaway.Server{}} }

func newBench(t *testing.T, c *pgtest.Cluster) *bench {
	b := &bench{t: t, c: c, env: append(c.Env(), "HOME="+t.TempDir(), "PG_COLOR=")}
	b.env = slices.DeleteFunc(b.env, func(s string) bool { return strings.HasPrefix(s, "PG_SCRIBE_") })
	return b
}

// run calls the program in this process.
func (b *bench) run(args ...string) outcome {
	b.t.Helper()
	return b.runContext(context.Background(), args...)
}

func (b *bench) runContext(ctx context.Context, args ...string) outcome {
	b.t.Helper()
	var out, errs safeBuffer
	began := time.Now()
	code := run(ctx, args, b.env, strings.NewReader(""), &out, &errs)
	b.t.Logf("%6.2fs pg_scribe %q", time.Since(began).Seconds(), args)
	return outcome{args, code, out.String(), errs.String()}
}

// must is run for what has to succeed.
func (b *bench) must(args ...string) outcome {
	b.t.Helper()
	o := b.run(args...)
	if o.code != exitOK {
		b.t.Fatalf("pg_scribe %s: exit code %d\n%s%s", strings.Join(args, " "), o.code, o.out, o.errors)
	}
	return o
}

// logStamp is what start puts in front of each line.
var logStamp = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ `)

// refused checks how a run failed: the exit code, one line of error and one
// of hint, and the words in them.
func (o outcome) refused(t *testing.T, code int, problem, hint string) {
	t.Helper()
	var errorLines, hintLines []string
	o.errors = logStamp.ReplaceAllString(o.errors, "")
	for _, line := range strings.Split(strings.TrimRight(o.errors, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "pg_scribe: error: "):
			errorLines = append(errorLines, line)
		case strings.HasPrefix(line, "hint: "):
			hintLines = append(hintLines, line)
		}
	}
	tail := fmt.Sprintf("pg_scribe %q\nexit code %d\nstdout: %s\nstderr: %s", o.args, o.code, o.out, o.errors)
	switch {
	case o.code != code:
		t.Errorf("exit code is not %d\n%s", code, tail)
	case len(errorLines) != 1 || len(hintLines) != 1 || !strings.HasSuffix(o.errors, "\n"+hintLines[0]+"\n") && o.errors != errorLines[0]+"\n"+hintLines[0]+"\n":
		t.Errorf("not one line of error and one of hint at the end\n%s", tail)
	case !strings.Contains(errorLines[0], problem):
		t.Errorf("the error does not say %q\n%s", problem, tail)
	case !strings.Contains(hintLines[0], hint):
		t.Errorf("the hint does not say %q\n%s", hint, tail)
	case strings.Contains(o.errors, "goroutine ") || strings.Contains(o.errors, "Usage:"):
		t.Errorf("more than words\n%s", tail)
	}
}

// state is all that a run could leave behind in a database and a folder.
func (b *bench) state(db, dir string) string {
	b.t.Helper()
	var s strings.Builder
	s.WriteString(b.c.Query(b.t, db, `SELECT 'slot ' || slot_name FROM pg_replication_slots
	  UNION ALL SELECT 'publication ' || pubname FROM pg_publication
	  UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
	  UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'scribe%'
	  UNION ALL SELECT 'identity ' || oid::regclass || ' ' || relreplident::text FROM pg_class WHERE oid >= 16384 AND relkind = 'r' AND relreplident <> 'd'
	  UNION ALL SELECT 'database ' || datname FROM pg_database ORDER BY 1`))
	s.WriteByte('\n')
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return nil // it is not there
		}
		// The catalog of an open repository has companions, which come and go.
		if strings.HasPrefix(d.Name(), "catalog.db-") || d.Name() == "pg_scribe.lock" {
			return nil
		}
		fmt.Fprintln(&s, path)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return s.String()
}

// decode reads a JSON report.
func decode[T any](t *testing.T, o outcome) T {
	t.Helper()
	var doc T
	if err := json.Unmarshal([]byte(o.out), &doc); err != nil {
		t.Fatalf("%v: %v\n%s", o.args, err, o.out)
	}
	return doc
}

// sourceDB is a database with a repository.
type sourceDB struct {
	*bench
	db, conn, dir, slot string
}

// newSource initialises one; slots belong to a cluster, so each has its own.
func newSource(t *testing.T, c *pgtest.Cluster, sql string) *sourceDB {
	b := newBench(t, c)
	db := c.CreateDB(t, "cli")
	c.Exec(t, db, sql)
	s := &sourceDB{bench: b, db: db, conn: c.ConnString(db), dir: filepath.Join(t.TempDir(), "repo"),
		slot: fmt.Sprintf("cli_%d", time.Now().UnixNano())}
	b.must("init", "-d", s.conn, "-f", s.dir, "-S", s.slot)
	return s
}

// catchUp streams everything up to now into the repository and stops.
func (s *sourceDB) catchUp(flags ...string) {
	s.t.Helper()
	s.c.Query(s.t, s.db, "SELECT pg_logical_emit_message(true, 'test', '')")
	end := s.c.Query(s.t, s.db, "SELECT pg_current_wal_flush_lsn()")
	s.must(append([]string{"start", "-d", s.conn, "-f", s.dir, "--endpos", end, "--no-loop", "-s", "0.2"}, flags...)...)
}

// waitFor polls until something is true.
func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about", what)
		}
	}
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func portOf(c *pgtest.Cluster) string { return fmt.Sprint(c.Port) }
