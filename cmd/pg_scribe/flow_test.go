package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
)

// TestDay goes through the commands as one does in a day: begin, stream, mark,
// take a base, look, restore.
func TestDay(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one')")
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (2, 'two')")
	if o := s.must("mark", "-d", s.conn, "before the mistake"); !strings.Contains(o.out, "--target-name 'before the mistake'") {
		t.Errorf("mark said %q", o.out)
	}
	s.c.Exec(t, s.db, "DELETE FROM t")
	s.catchUp()
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (3, 'three')")
	if o := s.must("--full-backup", "-d", s.conn, "-f", s.dir, "-Z", "gzip:1"); !regexp.MustCompile(`size .* of SQL, .* stored`).MatchString(o.out) {
		t.Errorf("full-backup said %s", o.out)
	}
	s.catchUp()

	o := s.must("list", "-f", s.dir)
	for _, want := range []string{"Bases (2)", ".sql.zst", ".sql.gz", "Segments (", `"before the mistake"`} {
		if !strings.Contains(o.out, want) {
			t.Errorf("list does not say %q:\n%s", want, o.out)
		}
	}
	if l := decode[map[string][]map[string]any](t, s.must("list", "points", "-f", s.dir, "--output", "json")); len(l) != 1 ||
		l["points"][0]["name"] != "before the mistake" {
		t.Errorf("list points: %v", l)
	}

	restored := func(want string, flags ...string) outcome {
		t.Helper()
		db := s.db + "_r"
		o := s.must(append([]string{"restore", "-f", s.dir, "-C", "-d", c.ConnString(db)}, flags...)...)
		got := c.Query(t, db, "SELECT string_agg(v, ',' ORDER BY id) FROM t")
		c.Exec(t, "postgres", "DROP DATABASE "+db)
		if got != want {
			t.Errorf("restore %q brought %q, want %q", flags, got, want)
		}
		return o
	}
	o = restored("three")
	for _, want := range []string{"Plan", "ends ", "is restored", "Rows by table", "public.t"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("restore does not say %q:\n%s", want, o.out)
		}
	}
	restored("one,two", "--target-name", "before the mistake")
	o = restored("one,two", "--target-name", "before the mistake", "--output", "json")
	r := decode[restoreJSONRead](t, o)
	if r.Plan.Last.LSN == "" || len(r.Phases) == 0 || !r.Created || r.Plan.Transactions == 0 {
		t.Errorf("restore's document is %+v\n%s", r, o.out)
	}
	before := s.state(s.db, s.dir)
	o = s.must("restore", "-f", s.dir, "--dry-run", "--target-lsn", r.Plan.Last.LSN)
	if !strings.Contains(o.out, "committed at") || strings.Contains(o.out, "restored") || s.state(s.db, s.dir) != before {
		t.Errorf("the dry run said or did %s", o.out)
	}
	restored("one,two", "--target-lsn", r.Plan.Last.LSN)
	restored("one,two", "--target-xid", fmt.Sprint(r.Plan.Last.XID))
	restored("one,two", "--target-time", r.Plan.Last.At)
}

// restoreJSONRead reads what restoreJSON writes.
type restoreJSONRead struct {
	Created bool `json:"created"`
	Plan    struct {
		Transactions int64 `json:"transactions"`
		Last         struct {
			LSN string `json:"lsn"`
			XID uint32 `json:"xid"`
			At  string `json:"at"`
		} `json:"last"`
	} `json:"plan"`
	Phases []struct {
		Name    string  `json:"name"`
		Seconds float64 `json:"seconds"`
	} `json:"phases"`
}

// TestStart streams in the background: progress lines, SIGHUP, status while it
// runs, a second streamer, and a clean end.
func TestStart(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (id int PRIMARY KEY)")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var out, errs safeBuffer
	done := make(chan int, 1)
	go func() { // the old habit: a file's path
		done <- run(ctx, []string{"--start", "-d", s.conn, "-f", filepath.Join(s.dir, "incremental.sql"), "-s", "0.1", "-F", "50ms"},
			s.env, strings.NewReader(""), &out, &errs)
	}()
	said := func(text string) func() bool {
		return func() bool { return strings.Contains(errs.String(), text) }
	}
	waitFor(t, "the repository", said("is inside the repository "+s.dir))
	waitFor(t, "progress", said("MB/s"))
	c.Exec(t, s.db, "INSERT INTO t VALUES (1)")
	waitFor(t, "the transaction", func() bool { return said("1 transaction (")() || said("2 transactions (")() }) // one may be the first sample
	s.run("start", "-d", s.conn, "-f", s.dir).refused(t, exitBackup, "another process streams into", "pg_scribe status -f")
	s.run("start", "-d", s.conn, "-f", "-", "-S", s.slot, "--no-loop").refused(t, exitSlot, "is in use by process", "pg_terminate_backend")
	s.run("drop", "-d", s.conn, "-S", s.slot, "--yes").refused(t, exitSlot, "is in use by process", "pg_terminate_backend")
	waitFor(t, "a verdict", func() bool { return s.run("status", "-d", s.conn, "-f", s.dir).code == exitOK })
	o := s.must("status", "-d", s.conn, "-f", s.dir)
	for _, want := range []string{"active         yes, process", "streamer       running", "restorable     from", "OK\n\nSlot "} {
		if !strings.Contains(o.out, want) {
			t.Errorf("status does not say %q:\n%s%s", want, o.out, o.errors)
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the new segment", said("new segment at"))
	stop()
	if code := <-done; code != exitOK || !said("stopped; everything up to")() || out.String() != "" {
		t.Errorf("exit code %d, said %s%s", code, out.String(), errs.String())
	}
	o = s.run("status", "-d", s.conn, "-f", s.dir)
	if o.code != exitWarnings || !strings.Contains(o.out, "ERROR: nothing streams from the slot") || !strings.Contains(o.errors, "fix: pg_scribe start") {
		t.Errorf("status after the end: %d\n%s%s", o.code, o.out, o.errors)
	}
	d := decode[map[string]any](t, s.run("status", "-d", s.conn, "-f", s.dir, "--output", "json"))
	if d["verdict"] != "critical" || d["slot"].(map[string]any)["confirmed_lsn"] == "" || d["repository"].(map[string]any)["freshness_seconds"] == nil {
		t.Errorf("status document: %v", d)
	}
}

// A crash leaves an open segment, and something a wrong byte in it: no stream
// goes on behind that, and the hint leads to one that does.
func TestDamagedOpenSegment(t *testing.T) {
	b := newBench(t, pgtest.Shared(t))
	db, dir, slot := b.c.CreateDB(t, "cli"), filepath.Join(t.TempDir(), "repo"), fmt.Sprintf("cli_%d", time.Now().UnixNano())
	b.c.Exec(t, db, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	b.must("init", "-d", b.c.ConnString(db), "-f", dir, "-S", slot, "-Z", "none")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan outcome, 1)
	go func() {
		done <- b.runContext(ctx, "start", "-d", b.c.ConnString(db), "-f", dir, "-s", "0.1", "-F", "50ms")
	}()
	b.c.Exec(t, db, "INSERT INTO t VALUES (1, 'a row to be kept')")
	var open string
	waitFor(t, "the row", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, "*.open"))
		if len(found) == 0 {
			return false
		}
		text, err := os.ReadFile(found[0])
		open = filepath.Base(found[0])
		listed := decode[struct{ Segments []struct{ Bytes int } }](t, b.run("list", "-f", dir, "--output", "json"))
		at := strings.Index(string(text), "a row to be kept")
		return err == nil && at > 0 && listed.Segments[0].Bytes > at
	})
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	stop()
	<-done
	path := filepath.Join(crashed, open)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "a row to be kept", "a row to be Kept", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	rebuild := "pg_scribe catalog rebuild --force -f " + crashed
	b.run("start", "-d", b.c.ConnString(db), "-f", crashed, "--no-loop").refused(t, exitBackup, "its bytes are not those that were stored", rebuild)
	if err := os.Rename(path, filepath.Join(t.TempDir(), open)); err != nil {
		t.Fatal(err)
	}
	b.must("catalog", "rebuild", "--force", "-f", crashed)
	b.run("start", "-d", b.c.ConnString(db), "-f", crashed, "--no-loop").refused(t, exitSlot, "", "full-backup")
	b.must("full-backup", "--new-slot", "-d", b.c.ConnString(db), "-f", crashed)
	b.must("verify", "-f", crashed)
}

// TestDropLeavesNothing: what init made on the server goes, files stay.
func TestDropLeavesNothing(t *testing.T) {
	c := pgtest.Shared(t)
	b := newBench(t, c)
	db := c.CreateDB(t, "cli")
	c.Exec(t, db, "CREATE TABLE t (v text)")
	dir := filepath.Join(t.TempDir(), "repo")
	before := b.state(db, "/nonexistent")
	b.must("init", "-d", c.ConnString(db), "-f", dir, "-S", "cli_drop", "--force", "--publication", "odd \"name\"; x")
	b.run("drop", "-d", c.ConnString(db), "-f", dir).refused(t, exitUsage, "not confirmed", "--yes")
	o := b.must("drop", "-d", c.ConnString(db), "-f", dir, "--yes", "--output", "json")
	if d := decode[dropJSON](t, o); len(d.Removed) != 3 {
		t.Errorf("removed %q", d.Removed)
	}
	if after := b.state(db, "/nonexistent"); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
	b.must("list", "-f", dir)
	b.run("drop", "-d", c.ConnString(db), "-f", dir, "--yes").refused(t, exitSlot, "does not exist", "pg_replication_slots")
}
